"""What a program sends: a JSON object, and the values in it. What is not what it should be is named by its field."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from flask import request

from crowdfund.campaigns.terms import parse_time
from crowdfund.errors import Problems, UserError
from crowdfund.wallet.amounts import MAX_MONEY_SATS
from crowdfund.web.problems import Refusal

Body = dict[str, Any]

NO_OBJECT = "Send a JSON object, with Content-Type: application/json."
MOST = 2**31 - 1


def body() -> Body:
    """The object. Raises Refusal, UserError."""
    if request.content_type and not request.is_json:
        raise Refusal(415, "media-type", NO_OBJECT, told={"Accept": "application/json"})
    try:
        found = request.get_json(silent=True)
    except RecursionError:  # brackets in brackets, a hundred thousand deep
        found = None
    if not isinstance(found, dict):
        raise UserError(NO_OBJECT)
    return found


def text(held: Body, name: str, required: bool = True) -> str:
    """Raises Problems."""
    value = held.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or not is_text(value):
        raise Problems({name: f"“{name}” must be a text."})
    return value


def is_text(value: str) -> bool:
    """JSON can carry half of a surrogate pair, which is no text and fits no database; nor does NUL fit all of them."""
    return not any(c == "\x00" or "\ud800" <= c <= "\udfff" for c in value)


def sats(held: Body, name: str, least: int = 1) -> int:
    """An amount. Raises Problems."""
    value = held.get(name)
    if not _is_whole(value, least, MAX_MONEY_SATS):
        raise Problems({name: f"“{name}” must be a whole number of satoshi between {least} and 21 million BTC."})
    return int(value or 0)


def whole(held: Body, name: str, least: int = 0, otherwise: int | None = None) -> int:
    """A number that every database can hold; `otherwise` where there is none. Raises Problems."""
    value = held.get(name)
    if value is None and otherwise is not None:
        return otherwise
    if not _is_whole(value, least, MOST):
        raise Problems({name: f"“{name}” must be a whole number of at least {least}."})
    return int(value or 0)


def truth(held: Body, name: str) -> bool:
    """Raises Problems."""
    value = held.get(name)
    if not isinstance(value, bool):
        raise Problems({name: f"“{name}” must be true or false."})
    return value


def texts(held: Body, name: str) -> list[str]:
    """A list of texts. Raises Problems."""
    value = held.get(name)
    if not isinstance(value, list) or not all(isinstance(each, str) and is_text(each) for each in value):
        raise Problems({name: f"“{name}” must be a list of texts."})
    return value


def time(held: Body, name: str) -> datetime:
    """Raises Problems."""
    try:
        return parse_time(text(held, name))
    except (ValueError, OverflowError) as error:  # the latter: an offset that leads out of the years 1 to 9999
        raise Problems({name: f"“{name}” must be RFC 3339, such as 2026-12-01T18:00:00Z."}) from error


def only(held: Body, names: Iterable[str]) -> None:
    """For what changes a part: a name that is no part would be lost without a word. Raises Problems."""
    unknown = [name for name in held if name not in set(names)]
    if unknown:
        shown = [name[:60] if is_text(name) else "?" for name in unknown[:5]]
        raise Problems({name: f"There is no “{name}” here." for name in shown})


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
