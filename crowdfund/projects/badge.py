"""A campaign's badge: a small SVG picture for a README, stamped with the block as of which it tells the truth. Pure.

It is one file without script, style or anything from elsewhere, and brings its own backgrounds along, so that it can be
read on light and dark pages alike. May not know anything but what it is given.
"""

from __future__ import annotations

import unicodedata

from markupsafe import Markup

TITLE_LIMIT = 40
HEIGHT, PAD, EM = 22, 8, 11

GREEN, GREY, INK, PAPER = "#1c6b50", "#5b5348", "#211d18", "#ffffff"
# state -> (what is said, colour behind it)
SAID = {
    "open": ("", GREEN),
    "closing": ("closed, being counted", GREY),
    "releasing": ("funded", GREEN),
    "released": ("funded, paid out", GREEN),
    "refunding": ("not funded, refunding", GREY),
    "refunded": ("not funded, refunded", GREY),
}

_SVG = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
    'role="img" aria-labelledby="t"><title id="t">{words}</title>'
    '<rect width="{width}" height="{height}" rx="4" fill="{ink}"/>'
    '<path d="M{left} 0H{end}a4 4 0 0 1 4 4V{foot}a4 4 0 0 1-4 4H{left}z" fill="{colour}"/>'
    '<rect x=".5" y=".5" width="{inner}" height="{low}" rx="3.5" fill="none" stroke="{paper}" stroke-opacity=".35"/>'
    '<g fill="{paper}" font-family="Verdana,DejaVu Sans,sans-serif" font-size="{em}" aria-hidden="true">'
    '<text x="{pad}" y="15" textLength="{title_width}" lengthAdjust="spacingAndGlyphs">{title}</text>'
    '<text x="{right}" y="15" textLength="{said_width}" lengthAdjust="spacingAndGlyphs">{said}</text></g></svg>\n'
)


def badge_svg(
    title: str, counted_sats: int, goal_sats: int, state: str, days_left: int | None, height: int | None
) -> str:
    """The picture. `days_left` is None where nobody can pay any more, `height` None before the first block.

    A state that is not known here is said as it is.
    """
    name = _shortened(_plain(title))
    said = badge_words(counted_sats, goal_sats, state, days_left, height)
    title_width, said_width = _width(name), _width(said)
    left = title_width + 2 * PAD
    width = left + said_width + 2 * PAD
    return _SVG.format(
        width=width, height=HEIGHT, left=left, end=width - 4, foot=HEIGHT - 4, inner=width - 1, low=HEIGHT - 1,
        words=f"{_plain(title)}: {said}", colour=_said(state)[1], ink=INK, paper=PAPER, em=EM, pad=PAD,
        title=name, title_width=title_width, said=said, right=left + PAD, said_width=said_width,
    )  # fmt: skip


def badge_words(counted_sats: int, goal_sats: int, state: str, days_left: int | None, height: int | None) -> str:
    """What the badge says: `63% of 1,000,000 sat · 9 days left · block 840,000`."""
    parts = [f"{counted_sats * 100 // max(goal_sats, 1)}% of {goal_sats:,} sat", _said(state)[0]]
    if state == "open" and days_left is not None:
        parts.append(f"{days_left} day{'' if days_left == 1 else 's'} left" if days_left else "last day")
    if height is not None:
        parts.append(f"block {height:,}")
    return " · ".join(filter(None, parts))


def _said(state: str) -> tuple[str, str]:
    return SAID.get(state, (_plain(state), GREY))


def _plain(text: str) -> str:
    """Without signs that XML forbids, or that turn the direction of what follows."""
    return " ".join("".join(sign for sign in text if _is_shown(sign)).split()) or "Campaign"


def _is_shown(sign: str) -> bool:
    return sign.isspace() or (unicodedata.category(sign)[0] != "C" and sign < "\ufffe")


def _shortened(text: str) -> str:
    return text if len(text) <= TITLE_LIMIT else text[: TITLE_LIMIT - 1].rstrip() + "…"


def _width(text: str) -> int:
    """About what the text takes; textLength makes it fit exactly, whatever font there is."""
    return max(1, sum(map(_advance, text)) * EM // 100)


def _advance(sign: str) -> int:
    """In hundredths of an em."""
    if unicodedata.combining(sign):
        return 0
    if unicodedata.east_asian_width(sign) in "WF" or sign > "\uffff":
        return 100
    if sign in "mwMW%@":
        return 95
    if sign in "iljftr.,:;!|'()[] ·":
        return 38
    return 72 if sign.isupper() else 62
