"""Pledging: the form, and the pledge's own page behind its secret link."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from crowdfund.accounts import limits
from crowdfund.campaigns import queries, service, stock
from crowdfund.errors import NotFound, Problems, UserError
from crowdfund.web import door, hints, ownership
from crowdfund.web.forms import PledgeForm, read_amount, show_problems
from crowdfund.web.keepsakes import keepsakes_of
from crowdfund.web.more import reward_view
from crowdfund.web.public import open_snapshot
from crowdfund.web.readdressing import changes_of
from crowdfund.web.security import code_of
from crowdfund.web.site import as_of, here
from crowdfund.web.telling import address_of
from crowdfund.web.views import pledge_view

pages = Blueprint("pledges", __name__)


@pages.route("/campaigns/<campaign_id>/pledge", methods=["GET", "POST"])
def new(campaign_id: str) -> str | Response | tuple[str, int]:
    """Amount and refund address, then the address to pay."""
    form = PledgeForm()
    code = 200
    if form.is_submitted():
        code = 422
        amount_sats, unreadable = _read_amount(form)
        unreadable |= ownership.unanswered(campaign_id, form)
        try:
            if form.validate():
                if "own" in unreadable:
                    _refuse(campaign_id, amount_sats, form)
                pledge_id = _open(campaign_id, amount_sats, form)
                ownership.note(pledge_id, form)
                return redirect(url_for("pledges.show", pledge_id=pledge_id), 303)
        except NotFound:
            raise
        except UserError as error:
            show_problems(form, error, unreadable)
            code = code_of(error)
    elif request.args.get("reward", "").isdigit():
        form.reward.data = request.args["reward"]
    snapshot, campaign = open_snapshot(campaign_id)
    with here().database.reading() as db:
        shelves = stock.shelves(db, snapshot.campaign)
        in_time = hints.time_hint(campaign.deadline_at, as_of(db))
    asked = ownership.is_asked(campaign_id)
    more = {"shelves": shelves, "ask_own": asked, "in_time_hint": in_time}
    return render_template("pledge_new.html", campaign=campaign, form=form, **more), code


@pages.get("/p/<pledge_id>")
def show(pledge_id: str) -> str:
    """Where the money is."""
    site = here()
    with site.database.reading() as db:
        snapshot, pledge = queries.load_by_pledge(db, pledge_id)
        now = as_of(db)
        view = pledge_view(snapshot, pledge, site.network, now, site.settings.base_url)
        kept = keepsakes_of(db, snapshot, pledge, site.network, now)
        told = address_of(db, pledge_id)
        reward = reward_view(db, pledge)
        more = {
            "readdressed": changes_of(db, pledge),
            "told_again": hints.reorganised(db, pledge),
            "batch": hints.batch_place(db, snapshot, pledge),
            "in_time_hint": hints.time_hint(view.campaign.deadline_at, now),
        }
    return render_template("pledge.html", pledge=view, kept=kept, told=told, reward=reward, **more)


def _read_amount(form: PledgeForm) -> tuple[int, dict[str, str]]:
    """The amount, or 0, which no check lets pass, with a sentence: all other faults are told in the same answer."""
    try:
        return read_amount(form.amount.data, form.amount_unit.data, "amount"), {}
    except UserError as error:
        return 0, {"amount": error.sentence}


def _refuse(campaign_id: str, amount_sats: int, form: PledgeForm) -> None:
    """Raise Problems, also where all else is well."""
    values = form.refund_address.data or "", form.name.data or "", form.message.data or ""
    with here().database.reading() as db:
        service.check_pledge(db, here().settings, campaign_id, amount_sats, *values)
    raise Problems({})


def _open(campaign_id: str, amount_sats: int, form: PledgeForm) -> str:
    door.limit_address(limits.PLEDGE)
    return service.open_pledge(
        here().database,
        here().settings,
        campaign_id,
        amount_sats,
        form.refund_address.data or "",
        form.name.data or "",
        form.message.data or "",
        _reward(form.reward.data),
        door.limit_reserving(campaign_id),
    )


def _reward(text: str | None) -> int | None:
    """The number of the reward; one that is no number is one that there is not."""
    if not text or text == "None":
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1
