"""Long lists, a page at a time: `limit`, `cursor`, and where the next page is, in the body and as a Link (RFC 8288).

A cursor names the place after one entry by what never changes of it, so that nothing is left out or comes twice when
something is added in front. It is nobody's business what is in it.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from flask import Response, jsonify, request

from crowdfund.errors import Problems
from crowdfund.web.site import here

USUAL, MOST = 50, 100
NO_CURSOR = "“cursor” must be the one that stands in the “next” of the page before."

Key = tuple[str | int, ...]
T = TypeVar("T")


def limit() -> int:
    """How many entries are asked for. Raises Problems."""
    given = request.args.get("limit")
    if given is None:
        return USUAL
    if not (given.isascii() and given.isdigit() and len(given) < 4 and 1 <= int(given) <= MOST):
        raise Problems({"limit": f"“limit” must be a whole number between 1 and {MOST}."})
    return int(given)


def cursor(*kinds: type) -> Key | None:
    """The key of the last entry of the page before; None for the first page. Raises Problems."""
    given = request.args.get("cursor")
    if given is None:
        return None
    try:
        found = json.loads(urlsafe_b64decode(given.encode("ascii") + b"=="))
    except (ValueError, RecursionError) as error:
        raise Problems({"cursor": NO_CURSOR}) from error
    if not isinstance(found, list) or [type(each) for each in found] != list(kinds):
        raise Problems({"cursor": NO_CURSOR})
    if any(isinstance(each, int) and not -(2**62) < each < 2**62 for each in found):
        raise Problems({"cursor": NO_CURSOR})
    return tuple(found)


def page(rows: Iterable[T], key: Callable[[T], Key], newest_first: bool = True) -> tuple[list[T], Key | None]:
    """(what of these is on the page that was asked for, the key to go on from). `key` is another for each entry."""
    ordered = sorted(rows, key=key, reverse=newest_first)
    kinds = [type(part) for part in key(ordered[0])] if ordered else []
    after = cursor(*kinds) if ordered else None
    if after is not None:
        ordered = [row for row in ordered if (key(row) < after if newest_first else key(row) > after)]
    shown = ordered[: limit()]
    return shown, key(shown[-1]) if len(ordered) > len(shown) else None


def answer(told: dict[str, Any], after: Key | None) -> Response:
    """The page; `after` is where the next one begins, None on the last."""
    url = None if after is None else _url(after)
    response = jsonify({**told, "next": url})
    if url is not None:
        response.headers["Link"] = f'<{url}>; rel="next"'
    return response


def listed(
    name: str, rows: Iterable[T], tell: Callable[[T], Any], key: Callable[[T], Key], newest_first: bool = True
) -> Response:
    """One list, of which a page is told."""
    shown, after = page(rows, key, newest_first)
    return answer({name: [tell(row) for row in shown]}, after)


def _url(after: Sequence[str | int]) -> str:
    token = urlsafe_b64encode(json.dumps(list(after), separators=(",", ":")).encode()).decode().rstrip("=")
    kept = [(name, value) for name, value in request.args.items(multi=True) if name != "cursor"]
    return f"{here().settings.base_url}{request.path}?{urlencode([*kept, ('cursor', token)])}"
