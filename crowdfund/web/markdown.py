"""Stories: Markdown to HTML that is safe to show. Raw HTML stays text; no pictures, no foreign schemes, no anchors.

A link leads to where it says: it is written as text unless it names a host on http(s), and where its words name
another host than it leads to, the true one stands behind them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from crowdfund.campaigns.drafts import clean_text

TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "hr", "li", "ol", "p", "pre", "s", "strong", "table",
    "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
URL_LIMIT = 2_000
# One long address, defined once and referred to on every line, would make a page a thousand times the story's length.
ALL_URLS_LIMIT = 100_000
STORIES_KEPT = 64

# Headings start below the page's own, so that its outline stays whole.
_LOWER = {"h1": "h3", "h2": "h3", "h3": "h4", "h4": "h4", "h5": "h4", "h6": "h4"}
_HOST = re.compile(r"([^\s/@:?#.]+\.)+[^\W\d_][^\s/@:?#.]+")
# What stands between letters without being seen.
_UNSEEN = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff]")


class _Markdown(MarkdownIt):
    """CommonMark with other ideas of which links are good."""

    def validateLink(self, url: str) -> bool:
        """Whether this becomes a link at all."""
        return len(url) <= URL_LIMIT and bool(_host(url))

    def normalizeLinkText(self, link: str) -> str:
        """An address without words of its own is shown as it is asked for: other alphabets have letters like ours."""
        return link


_markdown = _Markdown("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable(["image"])


@lru_cache(STORIES_KEPT)
def story_html(text: str) -> Markup:
    """The story as HTML. Links go to http(s) only and tell search engines nothing."""
    tokens = _markdown.parse(text)
    left = ALL_URLS_LIMIT
    for token in tokens:
        token.tag = _LOWER.get(token.tag, token.tag)
        if token.children:
            token.children, left = _honest(token.children, left)
    html = _markdown.renderer.render(tokens, _markdown.options, {})
    return Markup(
        nh3.clean(
            clean_text(html),  # again, since entities can write what the draft was freed from; before the last check
            tags=TAGS,
            attributes={"*": set(), "a": {"href"}, "ol": {"start"}},  # else title and lang could stand on all
            url_schemes={"http", "https"},
            url_relative="deny",
            link_rel="nofollow noopener ugc",
        )
    )


def _honest(tokens: Sequence[Token], left: int) -> tuple[list[Token], int]:
    """The inline tokens with the true host behind links that name another, and how many characters of addresses may
    still come; behind those links lead nowhere."""
    found: list[Token] = []
    host, words = "", ""
    for token in tokens:
        found.append(token)
        if token.type == "link_open":
            href = str(token.attrs.get("href", ""))
            left -= len(href)
            if left < 0:
                token.attrs = {}
            host, words = _host(href), ""
        elif token.type == "link_close" and host and _claims_another(words, host):
            found.append(Token("text", "", 0, content=f" ({host})"))
        words += token.content
    return found, left


def _host(url: str) -> str:
    """The host that an address on http(s) names; empty for any other address, or one that could be taken for another:
    with a name before the host, or a backslash, which browsers read as a slash."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and url.isprintable() and not {"\\", " "} & set(url)
        return parts.hostname or "" if usable and "@" not in parts.netloc else ""
    except ValueError:
        return ""


def _claims_another(words: str, host: str) -> bool:
    """Whether the words of a link look like an address with another host."""
    said = _UNSEEN.sub("", words).strip().lower()
    claimed = re.split(r"[/?#:\s]", re.sub(r"^[a-z]+:[/\\]*", "", said))[0]
    looks_like = said.startswith(("http:", "https:")) or (_HOST.fullmatch(claimed) and " " not in said)
    return bool(looks_like) and claimed.removeprefix("www.") != host.removeprefix("www.")
