"""Stories: Markdown to HTML that is safe to show. Raw HTML stays text; no pictures, no foreign schemes."""

from __future__ import annotations

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h2", "h3", "h4", "hr", "li", "ol", "p", "pre", "s", "strong",
    "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip

# Headings start below the page's own, so that its outline stays whole.
_LOWER = {"h1": "h3", "h2": "h3", "h3": "h4", "h4": "h4", "h5": "h4", "h6": "h4"}

_markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable(["image"])


def story_html(text: str) -> Markup:
    """The story as HTML. Links go to http(s) only and tell search engines nothing."""
    tokens = _markdown.parse(text)
    for token in tokens:
        token.tag = _LOWER.get(token.tag, token.tag)
    html = _markdown.renderer.render(tokens, _markdown.options, {})
    return Markup(
        nh3.clean(
            html,
            tags=TAGS,
            attributes={"a": {"href"}, "ol": {"start"}},
            url_schemes={"http", "https"},
            link_rel="nofollow noopener ugc",
        )
    )
