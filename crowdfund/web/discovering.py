"""Finding campaigns: the page with the search, and the cards that lists show. All of it works by links and one form
that is read from the address, so that what was found can be kept and passed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from flask import Blueprint, render_template, request, url_for
from flask_babel import gettext as _
from sqlalchemy.orm import Session

from crowdfund.campaigns import discovering
from crowdfund.campaigns.discovering import Filters, FoundCampaign, Order, Stage
from crowdfund.campaigns.lifecycle import CampaignState
from crowdfund.projects.models import KINDS
from crowdfund.web import words
from crowdfund.web.kept import kept
from crowdfund.web.picture_views import PictureView, views_of
from crowdfund.web.site import AsOf, as_of, here
from crowdfund.web.views import chain_time

ON_A_PAGE = 12
NEARLY_SHOWN, OPEN_SHOWN, FUNDED_SHOWN = 3, 6, 3
LICENSES_SHOWN = 40
MOST_PAGES = 1_000_000

pages = Blueprint("discovering", __name__)

_E = TypeVar("_E", bound=StrEnum)


@dataclass(frozen=True)
class Card:
    """A campaign in a list. The bar has one stripe for all that counts, and one for what may."""

    id: str
    title: str
    summary: str
    license: str
    terms_hash: str
    state: CampaignState
    state_label: str
    goal_sats: int
    percent: int
    stripes: list[tuple[int, bool]]
    time_left: str
    wants_help: bool
    pictures: Sequence[PictureView]


@dataclass(frozen=True)
class Asked:
    """What the address asks for, as far as it can be understood; `notes` are sentences about the rest."""

    filters: Filters
    order: Order
    page: int
    notes: tuple[str, ...]

    def address(self, page: int) -> str:
        """Of another page of the same."""
        filters = self.filters
        values: dict[str, Any] = {
            "q": filters.words, "show": filters.stage, "license": filters.license, "kind": filters.kind,
            "hands": "1" if filters.hands else "", "order": "" if self.order is Order.NEWEST else self.order,
            "page": page if page > 1 else "",
        }  # fmt: skip
        return url_for("discovering.index", **{name: value for name, value in values.items() if value})


@pages.get("/campaigns")
@kept
def index() -> str:
    """Search, filters, order, one page of cards."""
    asked = _asked()
    with here().database.reading() as db:
        now = as_of(db)
        moment = chain_time(here().network, now)
        number = discovering.count(db, asked.filters, moment)
        last = max(1, -(-number // ON_A_PAGE))
        if asked.page > last:
            there = _("The list ends on page %(last)s, which is shown.", last=last)
            asked = replace(asked, page=last, notes=(*asked.notes, there))
        skip = (asked.page - 1) * ON_A_PAGE
        found = discovering.discover(db, asked.filters, asked.order, limit=ON_A_PAGE, now=moment, skip=skip)
        cards = cards_of(db, found, now)
        licenses = discovering.licenses(db)[:LICENSES_SHOWN]
    return render_template(
        "discover.html", asked=asked, number=number, last=last, skip=skip, cards=cards, licenses=licenses,
        stages=_stages(), orders=_orders(), kinds=_kinds(),
    )  # fmt: skip


def front_cards(db: Session, now: AsOf | None) -> list[Card]:
    """Some campaigns for the front page: open ones, those that lack little before the newest, and the last funded."""
    moment = chain_time(here().network, now)
    nearly = discovering.discover(db, Filters(stage=Stage.NEARLY), Order.CLOSEST, limit=NEARLY_SHOWN, now=moment)
    known = {one.id for one in nearly}
    newest = discovering.discover(db, Filters(stage=Stage.OPEN), limit=OPEN_SHOWN + NEARLY_SHOWN, now=moment)
    running = [*nearly, *(one for one in newest if one.id not in known)][:OPEN_SHOWN]
    funded = discovering.discover(db, Filters(stage=Stage.FUNDED), Order.ENDED, limit=FUNDED_SHOWN, now=moment)
    return cards_of(db, [*running, *funded], now)


def cards_of(db: Session, found: Sequence[FoundCampaign], now: AsOf | None) -> list[Card]:
    """The cards of these campaigns, with their covers."""
    pictures = views_of(db, [one.id for one in found])
    return [_card(one, pictures.get(one.id, ())[:1], now) for one in found]


def _card(one: FoundCampaign, pictures: Sequence[PictureView], now: AsOf | None) -> Card:
    coming_sats = 0
    if one.state is CampaignState.OPEN:
        coming_sats = one.maturing_sats + (0 if one.full else one.seen_sats)
    stripes = [(sats, confirmed) for sats, confirmed in ((one.counted_sats, True), (coming_sats, False)) if sats]
    return Card(
        id=one.id,
        title=one.title,
        summary=one.summary,
        license=one.license,
        terms_hash=one.terms_hash,
        state=one.state,
        state_label=words.state_label(one.state, one.cancelled),
        goal_sats=one.goal_sats,
        percent=one.percent,
        stripes=stripes,
        time_left=words.time_left(one.ends_at, chain_time(here().network, now)),
        wants_help=one.wants_help,
        pictures=pictures,
    )


def _asked() -> Asked:
    """What cannot be understood is left out, and the page says so: an old or mistyped link still finds something."""
    given, notes = request.args, list[str]()
    stage = _one_of(Stage, given.get("show", ""), _("There is no such selection; all campaigns are searched."), notes)
    order = _one_of(Order, given.get("order", ""), _("There is no such order; the newest come first."), notes)
    kind = given.get("kind", "")
    if kind and kind not in KINDS:
        kind = ""
        notes.append(_("There is no such kind of project; all kinds are searched."))
    page = given.get("page", "")
    if page and not (page.isascii() and page.isdigit() and 0 < int(page[:9]) < MOST_PAGES and len(page) < 9):
        page = ""
        notes.append(_("There is no such page; this is the first one."))
    filters = Filters(
        words=" ".join(given.get("q", "")[: discovering.MOST_LETTERS].split()).replace("\0", ""),
        stage=stage,
        license=given.get("license", "")[: discovering.MOST_LETTERS].strip().replace("\0", ""),
        kind=kind,
        hands=given.get("hands", "") not in ("", "0"),
    )
    return Asked(filters, order or Order.NEWEST, int(page or 1), tuple(notes))


def _one_of(kind: type[_E], text: str, note: str, notes: list[str]) -> _E | None:
    if text and text not in list(kind):
        notes.append(note)
    return kind(text) if text in list(kind) else None


def _stages() -> list[tuple[str, str]]:
    return [
        ("", _("All campaigns")),
        (Stage.OPEN, _("Open")),
        (Stage.NEARLY, _("Nearly there: open, %(percent)s%% of the goal or more", percent=discovering.NEARLY_PERCENT)),
        (Stage.SOON, _("Ending within seven days")),
        (Stage.FUNDED, _("Funded")),
        (Stage.FINISHED, _("Ended, funded or not")),
    ]


def _orders() -> list[tuple[str, str]]:
    return [
        ("", _("Newest first")),
        (Order.ENDING, _("Ending soonest first")),
        (Order.FUNDED, _("Most money first")),
        (Order.CLOSEST, _("Closest to the goal first")),
        (Order.ENDED, _("Last ended first")),
    ]


def _kinds() -> list[tuple[str, str]]:
    names = {"software": _("Software"), "hardware": _("Hardware"), "culture": _("Culture"), "data": _("Data")}
    return [("", _("Any kind of project")), *((kind, names[kind]) for kind in KINDS)]
