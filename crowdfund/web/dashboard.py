"""A campaign's dashboard, for its creator: the course, a forecast, a rehearsal of the refunds, the pledges, exports.

Shows nothing that would let a creator act as a backer: no secret links, no refund addresses.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from crowdfund.campaigns import overview, own_money, posts, progress, queries, updates
from crowdfund.campaigns.models import Campaign, Pledge
from crowdfund.campaigns.moderation import find
from crowdfund.campaigns.overview import PledgeRow
from crowdfund.campaigns.queries import Snapshot
from crowdfund.campaigns.rights import may
from crowdfund.errors import NotFound
from crowdfund.projects.roles import Action
from crowdfund.wallet.fees import MIN_FEERATE_SAT_VB
from crowdfund.web import words
from crowdfund.web.chart import course_svg, share_svg
from crowdfund.web.site import AsOf, as_of, creators_only, current_creator, here
from crowdfund.web.spreadsheet import to_csv
from crowdfund.web.views import campaign_view, chain_time, preview_view

pages = Blueprint("dashboard", __name__)
SHOWN = 200
COLUMNS = tuple(field.name for field in fields(PledgeRow))
MARK = "\ufeff"  # tells spreadsheets that the letters are UTF-8


@dataclass(frozen=True)
class ShareView:
    """A part of what counts."""

    label: str
    sats: int
    percent: str
    drawing: str


def _may_cancel(db: Session, snapshot: Snapshot) -> bool:
    cancellable = snapshot.terms is not None and bool(snapshot.terms.cancellable)
    return cancellable and may(db, current_creator(), Action.CANCEL, snapshot.campaign)


@pages.get("/campaigns/<campaign_id>/dashboard")
@creators_only
def show(campaign_id: str) -> str:
    """How the campaign does."""
    with here().database.reading() as db:
        snapshot, now = _own(db, campaign_id), as_of(db)
        view = campaign_view(snapshot, here().network, now)
        rows = overview.pledge_rows(snapshot)
        talk = posts.talk_of(db, snapshot)
        told = {
            "rehearsal": overview.rehearse(snapshot, now.feerate_sat_vb if now else MIN_FEERATE_SAT_VB),
            "preview": preview_view(snapshot, now),
            "unpaid": overview.unpaid_count(db, campaign_id),
            "may_cancel": _may_cancel(db, snapshot),
            "update_count": len(updates.of_campaign(db, campaign_id)),
            **_course(db, snapshot, now),
        }
    return render_template(
        "campaign_dashboard.html",
        campaign=view,
        rows=rows[::-1][:SHOWN],
        row_count=len(rows),
        talk=talk,
        **told,
    )


@pages.get("/campaigns/<campaign_id>/pledges.csv")
@creators_only
def as_csv(campaign_id: str) -> Response:
    """The pledges as a table for spreadsheets."""
    rows = _rows(campaign_id)
    text = MARK + to_csv(COLUMNS, ([getattr(row, name) for name in COLUMNS] for row in rows))
    return _file(text, "text/csv", f"pledges-{campaign_id}.csv")


@pages.get("/campaigns/<campaign_id>/pledges.json")
@creators_only
def as_json(campaign_id: str) -> Response:
    """The pledges for programs; the API has the same."""
    text = json.dumps({"pledges": [asdict(row) for row in _rows(campaign_id)]}, indent=2, ensure_ascii=False)
    return _file(text + "\n", "application/json", f"pledges-{campaign_id}.json")


@pages.post("/campaigns/<campaign_id>/own-money")
@creators_only
def declare(campaign_id: str) -> AnyResponse:
    """Say of a pledge that it is own money, or is not."""
    number, own = request.form.get("number", ""), request.form.get("own") == "yes"
    creator = current_creator()
    with here().database.transaction() as db:
        _own(db, campaign_id)
        target = find(
            db, campaign_id, "pledge", int(number) if number.isascii() and number.isdigit() and len(number) < 10 else -1
        )
        assert creator is not None and target.pledge_id is not None
        own_money.declare(db, creator, db.get_one(Pledge, target.pledge_id), own, datetime.now(UTC))
    flash("Noted. Backers see what counts with and without your own money.", "good")
    return redirect(url_for("dashboard.show", campaign_id=campaign_id, _anchor="pledges"), 303)


def _own(db: Session, campaign_id: str) -> Snapshot:
    """The campaign, if who is logged in may see its dashboard. Raises NotFound."""
    campaign = db.get(Campaign, campaign_id)
    if campaign is None or not may(db, current_creator(), Action.DASHBOARD, campaign):
        raise NotFound("There is no such campaign among yours.")
    return queries.load(db, campaign_id)


def _rows(campaign_id: str) -> list[PledgeRow]:
    with here().database.reading() as db:
        return overview.pledge_rows(_own(db, campaign_id))


def _course(db: Session, snapshot: Snapshot, as_of_now: AsOf | None) -> dict[str, Any]:
    """Everything that goes by the chain's time, as coins count by it."""
    came = overview.arrivals(db, snapshot)
    now = as_of_now.median_time_past if as_of_now else datetime.now(UTC)
    first = min((each.at for each in came), default=now)
    start = min(overview.opened_at(db, snapshot) or first, first)
    steps, end, goal_sats = progress.course(came), snapshot.campaign.deadline_at, snapshot.campaign.goal_sats
    days = progress.by_day(steps)
    said = progress.forecast(came, start, now, end, goal_sats)
    total_sats = days[-1].total_sats if days else 0
    label = words.course_words(total_sats, goal_sats, len(days))
    return {
        "course": course_svg(steps, goal_sats, start, now, end, label) if steps else None,
        "course_words": label,
        "start": start,
        "end": max(end, now),
        "days": days,
        "forecast": said,
        "forecast_words": words.forecast_words(said),
        "shares": _shares(progress.concentration(came, now)),
        "left": words.time_left(end, chain_time(here().network, as_of_now)),
    }


def _shares(held: progress.Concentration) -> list[ShareView]:
    parts = {
        "from the largest pledge": held.largest_sats,
        "from the five largest": held.five_largest_sats,
        "in the last 24 hours": held.last_day_sats,
    }
    found = progress.shares(parts, held.total_sats)
    return [
        ShareView(label, sats, f"{found[label] // 10}.{found[label] % 10} %", share_svg(found[label]))
        for label, sats in parts.items()
    ]


def _file(text: str, kind: str, name: str) -> Response:
    answer = Response(text, content_type=f"{kind}; charset=utf-8")
    answer.headers.set("Content-Disposition", "attachment", filename=name)
    return answer
