"""An indication of what an amount is in a state's money, from a file that the operator keeps fresh.

Nothing is fetched, nothing is stored, and nothing is decided by it. Where the file is missing, cannot be read or is too
old, pages are as if there were none.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

from flask import Flask, g
from flask_babel import gettext as _

from crowdfund.wallet.amounts import SATS_PER_BTC

FRESH = timedelta(hours=1)
AHEAD = timedelta(minutes=5)  # clocks differ
MAX_BYTES = 1_000
SIGNS = {"EUR": "€", "GBP": "£", "USD": "US$", "JPY": "¥"}


@dataclass(frozen=True)
class Rate:
    """What a bitcoin was worth at a moment, in units of `currency` (ISO 4217)."""

    currency: str
    per_btc: Decimal
    at: datetime


def read_rate(path: Path | None, now: datetime) -> Rate | None:
    """The rate in the file; None where there is none that is fresh and makes sense."""
    try:
        if path is None or path.stat().st_size > MAX_BYTES:
            return None
        told = json.loads(path.read_text(), parse_float=Decimal)
        rate = Rate(str(told["currency"]), Decimal(str(told["per_btc"])), datetime.fromisoformat(told["at"]))
        sensible = re.fullmatch("[A-Z]{3}", rate.currency) and rate.per_btc.is_finite() and rate.per_btc > 0
        return rate if sensible and now - FRESH < rate.at <= now + AHEAD else None
    except (OSError, ValueError, KeyError, TypeError, InvalidOperation, RecursionError):
        return None


def words(sats: int, rate: Rate) -> str:
    """`about 41 €, indication of 12:30 UTC`."""
    value = sats * rate.per_btc / SATS_PER_BTC
    shown = f"{value:,.0f}" if value >= 10 else f"{value:,.2f}"
    currency = SIGNS.get(rate.currency, rate.currency)
    time = f"{rate.at.astimezone(UTC):%H:%M}"
    return _("about %(amount)s %(currency)s, indication of %(time)s UTC", amount=shown, currency=currency, time=time)


def install(app: Flask, path: Path | None) -> None:
    """Give every template the filter `fiat`: the words for an amount, or nothing. The file is read once a request."""

    def indication(sats: int) -> str:
        if "fiat_rate" not in g:
            g.fiat_rate = read_rate(path, datetime.now(UTC))
        return "" if g.fiat_rate is None else words(sats, g.fiat_rate)

    app.jinja_env.filters["fiat"] = indication
