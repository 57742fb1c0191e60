"""A campaign inside of other sites: the card that they show in a frame, and oEmbed, by which they find it themselves.

The card is the same for everybody. It knows no session, sets no cookie and runs no script; and it is the only page here
that another site may put into a frame.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

from flask import Blueprint, Response, current_app, request
from flask_babel import gettext as _
from markupsafe import Markup
from werkzeug.exceptions import NotImplemented as NotMade

from crowdfund.errors import NotFound, UserError
from crowdfund.languages import ASKED, LANGUAGES
from crowdfund.notices.feed import xml_text
from crowdfund.web.glance import Glance, as_of_words, glance, play_money
from crowdfund.web.i18n import asked_for, browsers_language, direction, offered, speaking
from crowdfund.web.prints import card
from crowdfund.web.security import EMBED_SECURITY_POLICY
from crowdfund.web.site import here

KEPT_S = 60
WIDTH, LEAST_WIDTH, HEIGHT = 480, 240, 320
CACHE_AGE_S = 300
IFRAME = Markup(
    '<iframe src="{src}" width="{width}" height="{height}" title="{title}" loading="lazy" '
    'style="border:0;max-width:100%"></iframe>'
)
PAGE = re.compile(r"/campaigns/([0-9A-Za-z]{1,64})/?")
NO_SUCH_PAGE = "There is no campaign of this site at that address."

pages = Blueprint("embed", __name__)


@pages.get("/embed/<campaign_id>")
def show(campaign_id: str) -> Response:
    """The card. Raises NotFound for a draft, as for what does not exist."""
    # Not by render_template, which gives a template the visitor, and so asks for the session.
    template = current_app.jinja_env.get_template("embed.html")
    # Nor in the language that somebody has chosen here, but in the one of its address, or that the browser asks for.
    language = asked_for() or browsers_language()
    with speaking(language):
        page = template.render(**card_of(glance(campaign_id)), language=language, direction=direction(language))
    response = Response(page, content_type="text/html; charset=utf-8")
    if len(LANGUAGES) > 1:
        response.vary.add("Accept-Language")
    response.headers["Content-Security-Policy"] = EMBED_SECURITY_POLICY
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers["X-Robots-Tag"] = "noindex"
    response.headers["Cache-Control"] = f"public, max-age={KEPT_S}"
    response.add_etag()
    response.make_conditional(request)
    return response


@pages.get("/oembed")
def oembed() -> Response:
    """What a site needs to show the campaign at `url`. Raises NotFound for what is no campaign's page here."""
    form = request.args.get("format", "json")
    if form not in ("json", "xml"):
        raise NotMade(_("This site answers in the formats json and xml."))
    campaign_id, ending = _campaign_at(request.args.get("url", ""))
    told = _told(glance(campaign_id), ending, _most("maxwidth"), _most("maxheight"))
    if form == "xml":
        return _answer(_xml(told), "text/xml; charset=utf-8")
    return _answer(json.dumps(told, ensure_ascii=False).encode(), "application/json; charset=utf-8")


def card_of(found: Glance) -> dict[str, Any]:
    """What the card's template needs."""
    return {"shown": found, "site": here(), "as_of_line": as_of_words(found.height), "note": play_money()}


def snippet(found: Glance, width: int = WIDTH, ending: str = "") -> Markup:
    """The frame, as it stands on other sites; `ending` of its address names a language."""
    src = f"{here().settings.base_url}/embed/{found.id}{ending}"
    return IFRAME.format(src=src, width=width, height=HEIGHT, title=found.title)


def _told(found: Glance, ending: str, max_width: int, max_height: int) -> dict[str, object]:
    """The answer by oembed.com, 2.3.4: where there is no room for the card it is a link, which has no size."""
    told: dict[str, object] = {
        "version": "1.0",
        "type": "link",
        "title": found.title,
        "author_name": found.creator_name,
        "provider_name": here().name,
        "provider_url": f"{here().settings.base_url}/",
        "cache_age": CACHE_AGE_S,
    }
    if max_width >= LEAST_WIDTH and max_height >= HEIGHT:
        width = min(WIDTH, max_width)
        told |= {"type": "rich", "html": str(snippet(found, width, ending)), "width": width, "height": HEIGHT}
    if max_width >= card.WIDTH and max_height >= card.HEIGHT:
        told |= {
            "thumbnail_url": f"{found.address}/card.png{ending}",
            "thumbnail_width": card.WIDTH,
            "thumbnail_height": card.HEIGHT,
        }
    return told


def _campaign_at(url: str) -> tuple[str, str]:
    """(the id in the address of a campaign's page; what asks for the page's language, or nothing). Raises NotFound for
    every other address."""
    base = here().settings.base_url
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise NotFound(NO_SUCH_PAGE) from error
    own = urlsplit(base)
    path = parts.path.removeprefix(own.path) if parts.path.startswith(f"{own.path}/") else ""
    found = PAGE.fullmatch(path)
    if (parts.scheme, parts.netloc) != (own.scheme, own.netloc) or found is None:
        raise NotFound(NO_SUCH_PAGE)
    asked = parse_qs(parts.query).get(ASKED, [""])[-1]
    return found[1], f"?{ASKED}={asked}" if asked in offered() else ""


def _most(name: str) -> int:
    """A bound in pixels; a large one where none is given. Raises UserError."""
    text = request.args.get(name, "99999")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise UserError(f"{name} must be a whole number of pixels.", name)
    return int(text)


def _xml(told: dict[str, object]) -> bytes:
    root = ElementTree.Element("oembed")
    for name, value in told.items():
        ElementTree.SubElement(root, name).text = xml_text(str(value))
    return b'<?xml version="1.0" encoding="utf-8" standalone="yes"?>\n' + bytes(ElementTree.tostring(root, "utf-8"))


def _answer(data: bytes, kind: str) -> Response:
    """Anybody's script may read it: there is nothing in it that is not for everybody."""
    response = Response(data, content_type=kind)
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cache-Control"] = f"public, max-age={KEPT_S}"
    response.headers["X-Robots-Tag"] = "noindex"
    return response
