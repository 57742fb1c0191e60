"""The test bench, on regtest only: pay a pledge, mine a block, jump to the deadline, from the page itself.

It drives the node's own wallet like any stranger's. Where the bench is off, its addresses do not exist.
"""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from crowdfund.campaigns import queries
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import UserError
from crowdfund.wallet.amounts import parse_amount
from crowdfund.web.site import here, local_path

MAX_BLOCKS = 144

pages = Blueprint("bench", __name__, url_prefix="/bench")


@pages.before_request
def _only_where_it_belongs() -> None:
    if not here().settings.test_bench:
        abort(404)


@pages.post("/pay/<pledge_id>")
def pay(pledge_id: str) -> Response:
    """Pay a pledge from the bank."""
    with here().database.reading() as db:
        _, pledge = queries.load_by_pledge(db, pledge_id)
    try:
        amount_sats = parse_amount(request.form.get("amount_sats") or str(pledge.amount_sats), "sat")
        _node().pay(pledge.address or "", amount_sats)
        flash("Paid. It is seen at once, and counts when a block is mined.", "good")
    except UserError as error:
        flash(error.sentence, "bad")
    return _back()


@pages.post("/mine")
def mine() -> Response:
    """Mine blocks."""
    text = request.form.get("blocks") or "1"
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_BLOCKS):
        flash(f"Between 1 and {MAX_BLOCKS} blocks at once.", "bad")
        return _back()
    _node().mine(int(text))
    flash("A block was mined." if text == "1" else f"{text} blocks were mined.", "good")
    return _back()


@pages.post("/jump/<campaign_id>")
def jump(campaign_id: str) -> Response:
    """Move the chain's time past a campaign's deadline."""
    with here().database.reading() as db:
        snapshot = queries.load(db, campaign_id)
    if snapshot.terms is not None:
        _node().jump_to(int(snapshot.terms.deadline.timestamp()))
        flash("The chain's time is past the deadline now. One more block confirms what follows.", "good")
    return _back()


def _node() -> RegtestNode:
    return RegtestNode.attach(here().settings.data_dir)


def _back() -> Response:
    return redirect(local_path(request.form.get("back")) or url_for("public.front"), 303)
