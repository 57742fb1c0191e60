"""The pictures that other sites show of a campaign or of this site, and the posters that people print.

Cards are the same for everybody and asked for by programs, so they may be kept for some minutes, and speak the
language that their address names. What was drawn is kept here as well, and drawing anew is counted against the address
that asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from threading import BoundedSemaphore
from urllib.parse import urlsplit

from flask import Blueprint, Response, request
from flask_babel import get_locale
from flask_babel import gettext as _

from crowdfund.accounts.limits import network_of
from crowdfund.errors import TooMany
from crowdfund.languages import LANGUAGES
from crowdfund.web.drawing import pattern_seed
from crowdfund.web.filters import day, grouped
from crowdfund.web.glance import Glance, as_of_words, glance, play_money, shared_picture
from crowdfund.web.i18n import asked_for, speaking
from crowdfund.web.pace import Pace
from crowdfund.web.prints.card import CardFacts, SiteFacts, card, site_card
from crowdfund.web.prints.kept import Kept
from crowdfund.web.prints.pdf import pdf
from crowdfund.web.prints.png import png
from crowdfund.web.prints.poster import PosterFacts, poster
from crowdfund.web.prints.sheet import Sheet
from crowdfund.web.site import here

KEPT_S = 300
# Changes whenever the same facts are drawn in another way.
STYLE = "1"
POSTER_SCALE = 150 / 72  # pixels a point: 150 dpi
# Painting a poster takes some ten megabytes: two at a time, the next ones wait their turn.
AT_ONCE, WAIT_S = 2, 10

pages = Blueprint("printing", __name__)
_kept = Kept(48)
_pace = Pace(120, 600)
_turns = BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True)
class Drawn:
    """What is drawn, as what; `facts` say all that can be seen."""

    facts: CardFacts | SiteFacts | PosterFacts
    kind: str
    language: str


@pages.get("/card.png")
def site() -> Response:
    """The card of the site."""
    language = asked_for() or LANGUAGES[0]
    with speaking(language):
        facts = SiteFacts(
            here().name,
            play_money(),
            _("Fund what belongs to everyone."),
            _("All or nothing, in bitcoin: if a campaign falls short, every backer gets the money back."),
            pattern_seed(None),
        )
    return _shared(Drawn(facts, "png", language), lambda: png(site_card(facts)))


@pages.get("/campaigns/<campaign_id>/card.png")
def campaign(campaign_id: str) -> Response:
    """The card of a campaign. Raises NotFound for a draft, as for what does not exist."""
    language = asked_for() or LANGUAGES[0]
    with speaking(language):
        found = glance(campaign_id)
        facts = CardFacts(
            site=here().name,
            note=play_money(),
            title=found.title,
            instead=_("All or nothing, in bitcoin."),
            stripes=found.stripes,
            goal_sats=found.goal_sats,
            figure=f"{found.percent}%",
            beside=_("of %(goal)s sat are confirmed", goal=grouped(found.goal_sats)),
            left=found.ends,
            right=as_of_words(found.height),
            seed=pattern_seed(found.terms_hash),
            picture=found.shared_sha256,
        )
    return _shared(Drawn(facts, "png", language), lambda: png(card(facts, shared_picture(found))))


@pages.get("/campaigns/<campaign_id>/poster.pdf")
def poster_pdf(campaign_id: str) -> Response:
    """A page to be printed. Raises NotFound for a draft, as for what does not exist."""
    found = glance(campaign_id)
    facts, language = _poster_facts(found), str(get_locale() or LANGUAGES[0])

    def draw() -> bytes:
        return pdf(_poster(facts, found), found.title, here().name, language.replace("_", "-"), datetime.now(UTC))

    return _file(_drawn(Drawn(facts, "pdf", language), draw), "application/pdf", f"poster-{campaign_id}.pdf")


@pages.get("/campaigns/<campaign_id>/poster.png")
def poster_png(campaign_id: str) -> Response:
    """The same as a picture. Raises NotFound for a draft, as for what does not exist."""
    found = glance(campaign_id)
    facts, language = _poster_facts(found), str(get_locale() or LANGUAGES[0])
    data = _drawn(Drawn(facts, "png", language), lambda: png(_poster(facts, found), POSTER_SCALE))
    return _file(data, "image/png", f"poster-{campaign_id}.png")


def _poster(facts: PosterFacts, found: Glance) -> Sheet:
    return poster(facts, shared_picture(found))


def _poster_facts(found: Glance) -> PosterFacts:
    parts = urlsplit(found.address)
    ends = _("%(date)s, %(time)s UTC", date=day(found.deadline_at), time=f"{found.deadline_at.astimezone(UTC):%H:%M}")
    return PosterFacts(
        site=here().name,
        title=found.title,
        summary=found.summary,
        goal=(_("Goal"), f"{grouped(found.goal_sats)} sat"),
        ends=(_("Ends"), ends),
        promise=_("All or nothing: if the goal is not reached by then, every pledge goes back to its backer."),
        how=_("You pay from any bitcoin wallet, without an account. The page says how your money is kept."),
        scan=_("Scan to see the campaign"),
        address=found.address,
        shown=f"{parts.netloc}{parts.path}",
        foot=play_money() or _("Crowdfunding in bitcoin for what belongs to everyone"),
        seed=pattern_seed(found.terms_hash),
        alt=found.picture.alt if found.picture else "",
        picture=found.shared_sha256,
    )


def _shared(drawn: Drawn, draw: Callable[[], bytes]) -> Response:
    """A picture that other sites may show, and that need not be drawn for whoever has it already."""
    tag = sha256(f"{STYLE} {drawn}".encode()).hexdigest()[:32]
    known = request.if_none_match.contains(tag)
    response = Response(b"" if known else _drawn(drawn, draw), content_type="image/png")
    response.headers["Cache-Control"] = f"public, max-age={KEPT_S}"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.set_etag(tag)
    response.make_conditional(request)
    return response


def _drawn(drawn: Drawn, draw: Callable[[], bytes]) -> bytes:
    """What was kept, or drawn now. Raises TooMany."""
    data = _kept.get(drawn)
    if data is None:
        _pace.take(network_of(request.remote_addr), here().settings.limit_factor)
        if not _turns.acquire(timeout=WAIT_S):
            raise TooMany(WAIT_S, _("Many pictures are being drawn just now. Please try again in a moment."))
        try:
            data = draw()
        finally:
            _turns.release()
        _kept.keep(drawn, data)
    return data


def _file(data: bytes, kind: str, name: str) -> Response:
    response = Response(data, content_type=kind)
    response.headers["Content-Disposition"] = f"inline; filename={name}"
    return response
