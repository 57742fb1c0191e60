"""For those who run the site: is it well, and how does it stand? No secret in either answer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from flask import Blueprint, Response, jsonify
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowdfund.campaigns import halts, incidents, queries
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.ledger_models import AcknowledgedSpend
from crowdfund.campaigns.models import ChainView, Incident, Pledge
from crowdfund.campaigns.queries import Summary
from crowdfund.notices import outbox
from crowdfund.notices.outbox import Count
from crowdfund.web.live import changes_here
from crowdfund.web.site import AsOf, as_of, here

INCIDENT_KINDS = ("reorganisation", "disagreement")

pages = Blueprint("health", __name__)


@pages.get("/healthz")
def healthz() -> tuple[Response, int]:
    """200 while the chain is watched and nothing stands in the way of settling, else 503 with the reason."""
    with here().database.reading() as db:
        now, view = as_of(db), db.get(ChainView, 1)
        halted = [halts.sentence(halt) for halt in halts.open_halts(db)]
    trouble = view.trouble if view else ""
    well = now is not None and now.ok and not trouble and not halted
    answer = {
        "status": "ok" if well else "degraded",
        "network": here().network,
        "node": now.state if now else view.state if view else "no block was read yet",
        "trouble": trouble or None,
        "halted": halted,
        "pause": (view.pause if view else "") or None,
        "height": now.height if now else None,
    }
    return jsonify(answer), 200 if well else 503


@pages.get("/metrics")
def metrics() -> Response:
    """Prometheus text: how the chain is watched, pledges, incidents, and every bucket over all campaigns."""
    registry = CollectorRegistry()
    with here().database.reading() as db:
        _watching(registry, as_of(db))
        _counts(registry, db)
        halted = Gauge("crowdfund_halted", "what keeps settlement from going on", registry=registry)
        halted.set(len(halts.open_halts(db)))
        viewers = Gauge("crowdfund_viewers", "pages that listen for live updates", registry=registry)
        viewers.set(changes_here().streams.viewers)
        _notices(registry, outbox.counts(db), datetime.now(UTC))
        _money(registry, [queries.summarise(snapshot) for snapshot in queries.published(db)])
    return Response(generate_latest(registry), content_type="text/plain; version=0.0.4; charset=utf-8")


def _watching(registry: CollectorRegistry, now: AsOf | None) -> None:
    Gauge("crowdfund_up", "1 while the chain is watched", registry=registry).set(1 if now and now.ok else 0)
    Gauge("crowdfund_height", "last recorded block", registry=registry).set(now.height if now else 0)
    paused = Gauge("crowdfund_decisions_paused", "1 while decisions wait", registry=registry)
    paused.set(1 if now and now.pause else 0)
    if now is not None:
        age_s = (datetime.now(UTC) - now.seen_at).total_seconds()
        age = Gauge("crowdfund_seen_age_seconds", "since the worker last said how it stands", registry=registry)
        age.set(max(0.0, age_s))


def _counts(registry: CollectorRegistry, db: Session) -> None:
    pledges = db.scalar(select(func.count()).select_from(Pledge)) or 0
    Gauge("crowdfund_pledges", "pledges, paid or not", registry=registry).set(pledges)
    told = Gauge("crowdfund_incidents", "incidents on record", ["kind"], registry=registry)
    for kind in INCIDENT_KINDS:
        found = select(func.count()).select_from(Incident).where(Incident.kind == kind)
        told.labels(kind).set(db.scalar(found) or 0)
    spent = db.scalar(select(func.count()).select_from(AcknowledgedSpend)) or 0
    told.labels(incidents.FOREIGN_SPEND).set(spent)


def _notices(registry: CollectorRegistry, counts: Iterable[Count], now: datetime) -> None:
    """A queue whose oldest notice grows old says that nobody sends, or that a server takes nothing."""
    found = {(count.channel, count.state): count for count in counts}
    number = Gauge("crowdfund_notices", "mails and webhook messages", ["channel", "state"], registry=registry)
    age = Gauge("crowdfund_notices_waiting_seconds", "age of the oldest that waits", ["channel"], registry=registry)
    for channel in outbox.CHANNELS:
        for state in outbox.STATES:
            number.labels(channel, state).set(found[channel, state].number if (channel, state) in found else 0)
        waiting = found.get((channel, "queued"))
        age.labels(channel).set(max(0.0, (now - waiting.oldest_at).total_seconds()) if waiting else 0)


def _money(registry: CollectorRegistry, summaries: Iterable[Summary]) -> None:
    sats = Gauge("crowdfund_bucket_sats", "satoshi by bucket", ["bucket"], registry=registry)
    states = Gauge("crowdfund_campaigns", "campaigns by state", ["state"], registry=registry)
    for bucket in Bucket:
        sats.labels(bucket).set(0)
    for summary in summaries:
        states.labels(summary.state).inc()
        for bucket, value_sats in summary.buckets.items():
            sats.labels(bucket).inc(value_sats)
