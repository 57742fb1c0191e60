"""For those who run the site: is it well, and how does it stand? No secret in either answer."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from sqlalchemy import func, select

from crowdfund.campaigns import queries
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.models import ChainView, Pledge
from crowdfund.web.site import as_of, here

pages = Blueprint("health", __name__)


@pages.get("/healthz")
def healthz() -> tuple[Response, int]:
    """200 while the chain is watched and nothing stands in the way of settling, else 503 with the reason."""
    with here().database.reading() as db:
        now, view = as_of(db), db.get(ChainView, 1)
    trouble = view.trouble if view else ""
    well = now is not None and now.ok and not trouble
    answer = {
        "status": "ok" if well else "degraded",
        "network": here().network,
        "node": now.state if now else view.state if view else "no block was read yet",
        "trouble": trouble or None,
        "height": now.height if now else None,
    }
    return jsonify(answer), 200 if well else 503


@pages.get("/metrics")
def metrics() -> Response:
    """Prometheus text: height, pledges, and every bucket over all campaigns."""
    registry = CollectorRegistry()
    with here().database.reading() as db:
        now = as_of(db)
        pledges = db.scalar(select(func.count()).select_from(Pledge)) or 0
        summaries = [queries.summarise(snapshot) for snapshot in queries.published(db)]
    Gauge("crowdfund_up", "1 while the chain is watched", registry=registry).set(1 if now and now.ok else 0)
    Gauge("crowdfund_height", "last recorded block", registry=registry).set(now.height if now else 0)
    Gauge("crowdfund_pledges", "pledges, paid or not", registry=registry).set(pledges)
    sats = Gauge("crowdfund_bucket_sats", "satoshi by bucket", ["bucket"], registry=registry)
    for bucket in Bucket:
        sats.labels(bucket).set(sum(s.buckets[bucket] for s in summaries))
    states = Gauge("crowdfund_campaigns", "campaigns by state", ["state"], registry=registry)
    for summary in summaries:
        states.labels(summary.state).inc()
    return Response(generate_latest(registry), content_type="text/plain; version=0.0.4; charset=utf-8")
