"""Amounts: text that people write, integers that the program counts.

Pure. One satoshi is the only unit inside the program; BTC text is parsed here and printed here and nowhere else.
"""

from __future__ import annotations

import re
from decimal import Decimal

from crowdfund.errors import UserError
from crowdfund.sentences import N_, Sentence

SATS_PER_BTC = 100_000_000
MAX_MONEY_SATS = 21_000_000 * SATS_PER_BTC

LONGEST_TEXT = 28  # as many digits as Decimal reckons with by default: beyond them it would round

_PLAIN = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)


def parse_amount(text: str, unit: str, field: str | None = None) -> int:
    """Read an amount in `unit` ("sat" or "BTC") and return satoshi, 1 to 21 million BTC.

    Only plain digits with at most one decimal point are read: what could be understood in two ways is refused.
    Raises UserError with one sentence.
    """
    text = text.strip()
    if not text:
        raise UserError("Please write an amount.", field)
    if not _PLAIN.fullmatch(text):
        raise UserError(
            Sentence("“{text}” is not an amount: {why}", text=text[:40], why=_why_not_plain(text, unit)), field
        )
    if len(text) > LONGEST_TEXT:
        raise UserError(Sentence("“{text}…” is too long for an amount.", text=text[:20]), field)
    sats = Decimal(text) * (SATS_PER_BTC if unit == "BTC" else 1)
    if sats != int(sats):
        raise UserError(_too_fine(unit), field)
    if sats <= 0:
        raise UserError("The amount must be more than zero.", field)
    if sats > MAX_MONEY_SATS:
        raise UserError("That is more than the 21 million BTC that can ever exist.", field)
    return int(sats)


def _why_not_plain(text: str, unit: str) -> Sentence:
    if text.startswith("-"):
        return Sentence("it must be more than zero.")
    if re.search(r"[\s,'_\u2009\u202f]", text):
        if unit == "BTC":
            return Sentence("leave out spaces, commas and other separators and use a point.")
        return Sentence("leave out spaces, commas and other separators.")
    if unit == "BTC":
        return Sentence("use the digits 0 to 9 and at most one point.")
    return Sentence("use the digits 0 to 9 only.")


def _too_fine(unit: str) -> str:
    if unit == "BTC":
        return N_("A bitcoin has eight decimal places; there is nothing smaller than 0.00000001 BTC.")
    return N_("A satoshi cannot be divided; write a whole number.")


def format_btc(sats: int) -> str:
    """`210000` -> `"0.00210000"`: always eight decimal places, as BIP 321 amounts are written."""
    sign, sats = ("-", -sats) if sats < 0 else ("", sats)
    return f"{sign}{sats // SATS_PER_BTC}.{sats % SATS_PER_BTC:08d}"


def btc_to_sats(value: Decimal | int) -> int:
    """A node's decimal BTC figure in satoshi. Raises ValueError where it is not a whole number of them."""
    sats = Decimal(value) * SATS_PER_BTC
    if sats != int(sats):
        raise ValueError(f"{value} BTC is not a whole number of satoshi")
    return int(sats)
