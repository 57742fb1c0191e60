"""How numbers, addresses and times are written on the pages.

Digits and addresses are grouped by margins, never by characters, so that what a person copies is a number
or an address and nothing else. It may not compute money: whole satoshi come in, text goes out. Every amount on a page
goes through here, so that all follow the reader's unit.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import lru_cache

from babel.dates import format_date
from babel.numbers import format_decimal
from flask import Flask
from flask_babel import get_locale
from flask_babel import gettext as _
from markupsafe import Markup, escape

from crowdfund.wallet.amounts import format_btc
from crowdfund.web import units
from crowdfund.web.drawing import BarWords, bar_percents, bar_svg, pattern_svg
from crowdfund.web.markdown import story_html
from crowdfund.web.stored_words import watch_state, word

GAP = Markup("<i></i>")


def number(value: int) -> Markup:
    """A whole number in groups of three: 210<i></i>000."""
    return GAP.join(f"{value:,}".split(","))


def grouped(value: int) -> str:
    """The same as plain text, as the reader's language groups digits: for pictures and what stands for them."""
    return str(format_decimal(value, locale=get_locale() or "en"))


def sats(value: int) -> Markup:
    """Satoshi as an amount in the reader's unit: 210<i></i>000 sat, or 0.00<i></i>210<i></i>000 BTC."""
    return figure(value) + f" {units.current()}"


def figure(value: int) -> Markup:
    """The same without its unit, for columns that name it once."""
    return btc(value) if units.current() == units.BTC else number(value)


def other(value: int) -> Markup:
    """The amount in the unit that the reader has not chosen, where both matter."""
    return number(value) + " sat" if units.current() == units.BTC else btc(value) + " BTC"


def btc(value: int) -> Markup:
    """Satoshi as BTC with eight decimals, grouped as satoshi are: 0.00<i></i>210<i></i>000."""
    whole, decimals = format_btc(value).split(".")
    return Markup("{}.{}").format(whole, GAP.join((decimals[:2], decimals[2:5], decimals[5:])))


def fours(address: str) -> Markup:
    """An address in fours of alternating colour; it copies as one string and breaks only between fours."""
    even, odd = Markup("<b>{}</b>"), Markup("<span>{}</span>")
    marked = [(odd if start % 8 else even).format(address[start : start + 4]) for start in range(0, len(address), 4)]
    return Markup('<span class="fours">{}</span>').format(Markup("<wbr>").join(marked))


def when(moment: datetime) -> Markup:
    """A moment in words and for machines: <time>1 December 2026, 18:00 UTC</time>. Needs an aware datetime.

    Raises ValueError for a naive datetime, because its zone would be a guess.
    """
    if moment.tzinfo is None:
        raise ValueError("when() needs an aware datetime")
    utc = moment.astimezone(UTC)
    text = _("%(date)s, %(time)s UTC", date=day(utc), time=f"{utc:%H:%M}")
    return Markup('<time datetime="{}">{}</time>').format(f"{utc:%Y-%m-%dT%H:%M:%SZ}", text)


def day(moment: datetime) -> str:
    """1 December 2026, in the words of the reader."""
    found = get_locale()
    return _day(moment.date(), "en" if found is None else str(found))


@lru_cache(maxsize=1024)
def _day(date_: date, language: str) -> str:
    return format_date(date_, "long", locale="en_GB" if language == "en" else language)


def bar(stripes: Sequence[tuple[int, bool]], goal_sats: int, compact: bool = False, optimum_sats: int = 0) -> Markup:
    """The progress bar with its words."""
    shared = _("Pledges that are too small to be drawn alone share a stripe with their neighbours.")
    words = BarWords(_("goal"), bar_text(stripes, goal_sats), shared)
    return bar_svg(stripes, goal_sats, words, compact, optimum_sats)


def bar_text(stripes: Sequence[tuple[int, bool]], goal_sats: int) -> str:
    """What the bar shows, in words: the text equivalent of the drawing."""
    counted, seen = bar_percents(stripes, goal_sats)
    if not seen:
        return _("%(counted)s percent of the goal is confirmed.", counted=counted)
    return _(
        "%(counted)s percent of the goal is confirmed, and %(seen)s percent more is seen but not yet counted.",
        counted=counted,
        seen=seen,
    )


def short_id(value: str) -> Markup:
    """The two ends of a long hexadecimal id; the whole of it is in the title."""
    if len(value) <= 20:
        return escape(value)
    return Markup('<abbr class="id" title="{}">{}…{}</abbr>').format(value, value[:8], value[-8:])


def register(app: Flask) -> None:
    """Gives every template the filters and the two drawings."""
    app.jinja_env.filters.update(sats=sats, number=number, btc=btc, fours=fours, when=when, short_id=short_id)
    app.jinja_env.filters.update(markdown=story_html, figure=figure, other=other)
    app.jinja_env.filters.update(word=word, watch_state=watch_state, grouped=grouped)
    app.jinja_env.globals.update(unit=units.current, here_again=units.here_again)
    app.jinja_env.globals.update(pattern_svg=pattern_svg, bar_svg=bar, bar_text=bar_text)
