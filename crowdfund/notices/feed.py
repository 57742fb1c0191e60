"""Feeds, as Atom (RFC 4287) and as JSON Feed (1.1), with the standard library. Pure: from values to bytes.

The id of an entry follows from what it tells of alone, so that it stays the same when the site moves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid5
from xml.etree import ElementTree

ATOM = "http://www.w3.org/2005/Atom"
JSON_FEED = "https://jsonfeed.org/version/1.1"
OURS = UUID("6f0a1c52-7f0e-5d0a-9b44-7b4fd1a5c3e7")


@dataclass(frozen=True)
class Entry:
    """`key` names what it tells of; `at` is when that happened."""

    key: str
    title: str
    text: str
    link: str
    at: datetime


@dataclass(frozen=True)
class Feed:
    """`key` names the feed; `link` is the page it belongs to, `own_link` and `json_link` its own addresses in either
    form. `began_at` is its time while there is no entry."""

    key: str
    title: str
    author: str
    link: str
    own_link: str
    json_link: str
    began_at: datetime
    entries: Sequence[Entry]


def atom(feed: Feed) -> bytes:
    """The feed as a document."""
    ElementTree.register_namespace("", ATOM)
    root = ElementTree.Element(_name("feed"))
    _text(root, "id", urn(feed.key))
    _text(root, "title", feed.title)
    _text(root, "updated", _time(max((entry.at for entry in feed.entries), default=feed.began_at)))
    _link(root, "self", feed.own_link, "application/atom+xml")
    _link(root, "alternate", feed.link, "text/html")
    _text(ElementTree.SubElement(root, _name("author")), "name", feed.author)
    for entry in feed.entries:
        node = ElementTree.SubElement(root, _name("entry"))
        _text(node, "id", urn(entry.key))
        _text(node, "title", entry.title)
        _text(node, "updated", _time(entry.at))
        _text(node, "published", _time(entry.at))
        _link(node, "alternate", entry.link, "text/html")
        _text(node, "content", entry.text).set("type", "text")
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def json_feed(feed: Feed) -> bytes:
    """The same as JSON."""
    document = {
        "version": JSON_FEED,
        "title": feed.title,
        "home_page_url": feed.link,
        "feed_url": feed.json_link,
        "authors": [{"name": feed.author}],
        "language": "en",
        "items": [_item(entry) for entry in feed.entries],
    }
    return f"{json.dumps(document, indent=1, ensure_ascii=False)}\n".encode(errors="replace")


def _item(entry: Entry) -> dict[str, str]:
    return {
        "id": urn(entry.key),
        "url": entry.link,
        "title": entry.title,
        "content_text": entry.text,
        "date_published": _time(entry.at),
    }


def urn(key: str) -> str:
    """A name for ever (RFC 9562, version 5)."""
    return f"urn:uuid:{uuid5(OURS, key)}"


def _name(tag: str) -> str:
    return f"{{{ATOM}}}{tag}"


def _text(parent: ElementTree.Element, tag: str, text: str) -> ElementTree.Element:
    node = ElementTree.SubElement(parent, _name(tag))
    node.text = xml_text(text)
    return node


def _link(parent: ElementTree.Element, rel: str, href: str, kind: str) -> None:
    ElementTree.SubElement(parent, _name("link"), {"rel": rel, "href": href, "type": kind})


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def xml_text(text: str) -> str:
    """What of a text an XML document can hold."""
    return "".join(c for c in text if _fits_xml(c))


def _fits_xml(c: str) -> bool:
    """XML 1.0 has no place for some characters, however they are written."""
    return c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000"
