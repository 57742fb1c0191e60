"""The unit that amounts are shown in: sat or BTC, as the reader chose by a link. A cookie keeps it.

It changes what is shown and never what is meant: forms take what they took, and programs are answered in satoshi.
"""

from __future__ import annotations

from flask import has_request_context, request

SAT, BTC = "sat", "BTC"
NAMES = {"sat": SAT, "btc": BTC}
COOKIE = "unit"


def current() -> str:
    """The unit of this reader: sat, until they choose another."""
    if not has_request_context() or request.path.startswith("/api/"):
        return SAT
    return NAMES.get(request.cookies.get(COOKIE, ""), SAT)


def here_again() -> str | None:
    """This page's own address, to come back to; None for the answer to a form, which a link would lose."""
    if request.method != "GET":
        return None
    return request.full_path if request.query_string else request.path
