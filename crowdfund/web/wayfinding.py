"""What programs ask every site for: robots.txt, the map of its pages, and whom to tell of a hole in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from flask import Blueprint, Response
from sqlalchemy import func, select

from crowdfund.campaigns.models import Campaign
from crowdfund.errors import NotFound
from crowdfund.web.site import here

MAP = "http://www.sitemaps.org/schemas/sitemap/0.9"
# The standard allows for 50,000.
ON_A_PAGE = 5_000
ALWAYS = ("/", "/about", "/api")
KEPT_S = 3_600
# RFC 9116 asks for an end within a year, so that a contact that nobody looks after any more is not trusted.
GOOD_FOR = timedelta(days=90)
# Only what is worth nothing to a search. Pages behind secret links are not named: what may not be fetched cannot say
# that it does not want to be found, and its address would be listed without its words.
ROBOTS = """\
User-agent: *
Disallow: /live/
Disallow: /drafts/
Disallow: /dashboard
Disallow: /account
Disallow: /bench/
Disallow: /source.tar.gz

Sitemap: {base}/sitemap.xml
"""

pages = Blueprint("wayfinding", __name__)


@pages.get("/robots.txt")
def robots() -> Response:
    """Everything may be read that is for reading."""
    return _text(ROBOTS.format(base=here().settings.base_url))


@pages.get("/sitemap.xml")
def sitemap() -> Response:
    """Which maps there are, each of some thousand pages."""
    with here().database.reading() as db:
        count = db.scalar(select(func.count()).select_from(Campaign).where(Campaign.terms.is_not(None))) or 0
    numbers = range(1, max(1, -(-count // ON_A_PAGE)) + 1)
    return _map("sitemapindex", "sitemap", [f"/sitemap-{number}.xml" for number in numbers])


@pages.get("/sitemap-<number:page>.xml")
def sitemap_page(page: int) -> Response:
    """Some thousand pages: the ids of campaigns, and nothing else of them, are read. Raises NotFound past the last."""
    ids = (
        select(Campaign.id)
        .where(Campaign.terms.is_not(None))
        .order_by(Campaign.id)
        .offset(max(0, page - 1) * ON_A_PAGE)
        .limit(ON_A_PAGE)
    )
    with here().database.reading() as db:
        found = db.scalars(ids).all()
    if page < 1 or (page > 1 and not found):
        raise NotFound("There is no such map.")
    always = ALWAYS if page == 1 else ()
    return _map("urlset", "url", [*always, *(f"/campaigns/{campaign_id}" for campaign_id in found)])


@pages.get("/.well-known/security.txt")
def security() -> Response:
    """Whom to tell of a hole (RFC 9116). Raises NotFound where the operator names nobody."""
    settings = here().settings
    if not settings.security_contact:
        raise NotFound("This site names nobody to tell of holes in it.")
    contact = settings.security_contact
    lines = (
        f"Contact: {contact if contact.startswith('https://') else f'mailto:{contact}'}",
        f"Expires: {datetime.now(UTC) + GOOD_FOR:%Y-%m-%dT00:00:00Z}",
        "Preferred-Languages: en",
        f"Canonical: {settings.base_url}/.well-known/security.txt",
    )
    return _text("".join(f"{line}\n" for line in lines))


def _map(root: str, each: str, paths: list[str]) -> Response:
    tree = ElementTree.Element(root, {"xmlns": MAP})
    for path in paths:
        ElementTree.SubElement(ElementTree.SubElement(tree, each), "loc").text = here().settings.base_url + path
    text = ElementTree.tostring(tree, "utf-8", xml_declaration=True)
    return _kept(Response(text, content_type="application/xml; charset=utf-8"))


def _text(text: str) -> Response:
    return _kept(Response(text, content_type="text/plain; charset=utf-8"))


def _kept(response: Response) -> Response:
    """The same for everybody, and it seldom changes."""
    response.headers["Cache-Control"] = f"public, max-age={KEPT_S}"
    return response
