"""Reading a bundle that anyone may have made up: from JSON to typed claims, or one sentence that says what is wrong.

Pure. Trusts nothing: every key, type, length and range is checked here, so that the checks need not. What the
claims are worth is not asked here.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise

from crowdfund.audit.claims import AsOf, Cancellation, Claims, Coin, Outpoint, Output, Settlement, SignedChange
from crowdfund.campaigns.details import LENGTH_LIMIT
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.lifecycle import Kind, Outcome
from crowdfund.errors import UserError
from crowdfund.wallet.amounts import MAX_MONEY_SATS
from crowdfund.wallet.networks import NETWORKS

VERSIONS = (1, 2)
MAX_ISSUED = 1_000_000
MAX_COINS = 1_000_000
MAX_HEIGHT = 2**31 - 1
MAX_UINT32 = 2**32 - 1
MAX_SCRIPT_BYTES = 10_000
MAX_TERMS_LENGTH = 1_000_000
MAX_TX_BYTES = 4_000_000
MAX_REASON_LENGTH = 500
MAX_CHANGE_LENGTH = 1_000
KEYS = "version network terms terms_hash descriptor issued as_of coins closing outcome counted_sats buckets settlements"


class FormError(ValueError):
    """The bundle is not put together as it must be; the text is a sentence."""


def parse_json(text: str) -> object:
    """The JSON value in `text`. Raises UserError where it is none, or holds fractions or one key twice."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_float=_refuse, parse_constant=_refuse)
    except FormError as error:
        raise UserError(f"The bundle cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError("The bundle cannot be read: it is not JSON; download it again.") from error


def read(value: object) -> Claims:
    """The claims of a bundle. Raises FormError at the first thing that is not as it must be."""
    top = _object(
        value,
        "The bundle",
        KEYS + (" details cancellation" if _is_second(value) else ""),
        optional="statements refund_changes",
    )
    _int(top["version"], "version", *VERSIONS)
    rows = [_coin(row, f"coins[{n}]") for n, row in enumerate(_list(top["coins"], "coins", MAX_COINS))]
    coins = tuple(coin for coin, _ in rows)
    _ascending([(c.height, c.txid, c.vout) for c in coins], "coins")
    if len({c.outpoint for c in coins}) < len(coins):
        raise FormError("One of the coins is listed twice.")
    listed = _list(top["settlements"], "settlements", MAX_COINS)
    settlements = tuple(_settlement(row, f"settlements[{n}]") for n, row in enumerate(listed))
    _ascending([(0, s.txid, 0) for s in settlements], "settlements")
    return Claims(
        network=_one_of(top["network"], "network", tuple(NETWORKS)),
        terms_text=_text(top["terms"], "terms", MAX_TERMS_LENGTH),
        terms_hash=_hash(top["terms_hash"], "terms_hash"),
        descriptor=_text(top["descriptor"], "descriptor", 1_000),
        issued=_int(top["issued"], "issued", 0, MAX_ISSUED),
        as_of=_as_of(top["as_of"]),
        coins=coins,
        labels={coin.outpoint: label for coin, label in rows},
        closing=None if top["closing"] is None else _closing(top["closing"]),
        outcome=None if top["outcome"] is None else Outcome(_one_of(top["outcome"], "outcome", tuple(Outcome))),
        counted_sats=_sats(top["counted_sats"], "counted_sats"),
        buckets=_buckets(top["buckets"]),
        settlements=settlements,
        own_money=_own_money(top["statements"]) if "statements" in top else (),
        refund_changes=_refund_changes(top["refund_changes"]) if "refund_changes" in top else (),
        details_text=_text(top["details"], "details", LENGTH_LIMIT) if "details" in top else None,
        cancellation=None if top.get("cancellation") is None else _cancellation(top["cancellation"]),
    )


def _is_second(value: object) -> bool:
    """Bundles of the second form hold the details and what cancelled the campaign; those of the first are written where
    the terms name no details."""
    return isinstance(value, dict) and value.get("version") == VERSIONS[1]


def _coin(value: object, where: str) -> tuple[Coin, str]:
    row = _object(value, where, "index txid vout value_sats height block_hash coinbase spent_by spent_height bucket")
    if not isinstance(row["coinbase"], bool):
        raise FormError(f"{where}.coinbase is neither true nor false.")
    if (row["spent_by"] is None) != (row["spent_height"] is None):
        raise FormError(f"{where} names a spending transaction without its height, or the other way round.")
    coin = Coin(
        index=_int(row["index"], f"{where}.index", 0, MAX_HEIGHT),
        txid=_hash(row["txid"], f"{where}.txid"),
        vout=_int(row["vout"], f"{where}.vout", 0, MAX_UINT32),
        value_sats=_sats(row["value_sats"], f"{where}.value_sats"),
        height=_height(row["height"], f"{where}.height"),
        block_hash=_hash(row["block_hash"], f"{where}.block_hash"),
        coinbase=row["coinbase"],
        spent_by=None if row["spent_by"] is None else _hash(row["spent_by"], f"{where}.spent_by"),
        spent_height=None if row["spent_height"] is None else _height(row["spent_height"], f"{where}.spent_height"),
    )
    return coin, _one_of(row["bucket"], f"{where}.bucket", tuple(Bucket))


def _settlement(value: object, where: str) -> Settlement:
    row = _object(value, where, "kind txid locktime height fee_sats inputs outputs")
    inputs = [_outpoint(v, f"{where}.inputs[{n}]") for n, v in enumerate(_list(row["inputs"], where, MAX_COINS, 1))]
    outputs = [_output(v, f"{where}.outputs[{n}]") for n, v in enumerate(_list(row["outputs"], where, MAX_COINS, 1))]
    if len(set(inputs)) < len(inputs):
        raise FormError(f"{where} spends one coin twice.")
    return Settlement(
        kind=Kind(_one_of(row["kind"], f"{where}.kind", tuple(Kind))),
        txid=_hash(row["txid"], f"{where}.txid"),
        locktime=_int(row["locktime"], f"{where}.locktime", 0, MAX_UINT32),
        height=None if row["height"] is None else _height(row["height"], f"{where}.height"),
        fee_sats=_sats(row["fee_sats"], f"{where}.fee_sats"),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )


def _outpoint(value: object, where: str) -> Outpoint:
    row = _object(value, where, "txid vout")
    return _hash(row["txid"], f"{where}.txid"), _int(row["vout"], f"{where}.vout", 0, MAX_UINT32)


def _output(value: object, where: str) -> Output:
    row = _object(value, where, "script value_sats index")
    return Output(
        script=bytes.fromhex(_hex(row["script"], f"{where}.script", 0, MAX_SCRIPT_BYTES)),
        value_sats=_sats(row["value_sats"], f"{where}.value_sats"),
        index=None if row["index"] is None else _int(row["index"], f"{where}.index", 0, MAX_HEIGHT),
    )


def _as_of(value: object) -> AsOf:
    row = _object(value, "as_of", "height block_hash median_time_past")
    return AsOf(
        _height(row["height"], "as_of.height"),
        _hash(row["block_hash"], "as_of.block_hash"),
        _int(row["median_time_past"], "as_of.median_time_past", 0, MAX_UINT32),
    )


def _closing(value: object) -> tuple[int, str]:
    row = _object(value, "closing", "height hash")
    return _height(row["height"], "closing.height"), _hash(row["hash"], "closing.hash")


def _cancellation(value: object) -> Cancellation:
    row = _object(value, "cancellation", "txid height raw spent reason")
    spent, reason = row["spent"], row["reason"]
    return Cancellation(
        txid=_hash(row["txid"], "cancellation.txid"),
        height=_height(row["height"], "cancellation.height"),
        raw=bytes.fromhex(_hex(row["raw"], "cancellation.raw", 1, MAX_TX_BYTES)),
        spent=None if spent is None else bytes.fromhex(_hex(spent, "cancellation.spent", 1, MAX_TX_BYTES)),
        reason=None if reason is None else _letters(reason, "cancellation.reason", MAX_REASON_LENGTH),
    )


def _letters(value: object, where: str, limit: int) -> str:
    """A text that can be hashed: no half characters in it."""
    text = _text(value, where, limit)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FormError(f"{where} holds half a character.") from None
    return text


def _buckets(value: object) -> dict[str, int]:
    row = _object(value, "buckets", " ".join(Bucket))
    return {name: _sats(value_sats, f"buckets.{name}") for name, value_sats in row.items()}


def _own_money(value: object) -> tuple[int, ...]:
    """What the creator says of own money: address indices, each once, in their order."""
    row = _object(value, "statements", "own_money")
    where = "statements.own_money"
    numbers = tuple(_int(n, where, 0, MAX_HEIGHT) for n in _list(row["own_money"], where, MAX_ISSUED, 1))
    if any(a >= b for a, b in pairwise(numbers)):
        raise FormError(f"{where} is not in ascending order.")
    return numbers


def _refund_changes(value: object) -> tuple[SignedChange, ...]:
    """Texts and signatures, in the order of pledges and of the changes of each."""
    found = []
    for number, each in enumerate(_list(value, "refund_changes", MAX_ISSUED, 1)):
        where = f"refund_changes[{number}]"
        row = _object(each, where, "text signature")
        text, signature = (_letters(row[name], f"{where}.{name}", MAX_CHANGE_LENGTH) for name in ("text", "signature"))
        found.append(SignedChange(text, signature))
    return tuple(found)


def _object(value: object, where: str, keys: str, optional: str = "") -> dict[str, object]:
    wanted = set(keys.split())
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise FormError(f"{where} is not a JSON object.")
    if missing := wanted - value.keys():
        raise FormError(f"{where} lacks {', '.join(sorted(missing))}.")
    if more := value.keys() - wanted - set(optional.split()):
        raise FormError(f"{where} has a part that does not belong there: {min(more)[:40]!r}.")
    return value


def _list(value: object, where: str, most: int, least: int = 0) -> list[object]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise FormError(f"{where} is not a list of {least:,} to {most:,} entries.")
    return value


def _int(value: object, where: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise FormError(f"{where} is not a whole number from {low:,} to {high:,}.")
    return value


def _height(value: object, where: str) -> int:
    return _int(value, where, 0, MAX_HEIGHT)


def _sats(value: object, where: str) -> int:
    return _int(value, where, 0, MAX_MONEY_SATS)


def _text(value: object, where: str, limit: int) -> str:
    if not isinstance(value, str) or len(value) > limit:
        raise FormError(f"{where} is not a text of at most {limit:,} characters.")
    return value


def _one_of(value: object, where: str, names: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in names:
        raise FormError(f"{where} is not one of {', '.join(names)}.")
    return value


def _hex(value: object, where: str, least: int, most: int) -> str:
    """Lower-case hex of `least` to `most` bytes."""
    if not isinstance(value, str) or len(value) % 2 or not least * 2 <= len(value) <= most * 2:
        raise FormError(f"{where} is not hex of the right length.")
    if not re.fullmatch("[0-9a-f]*", value):
        raise FormError(f"{where} is not in lower-case hex.")
    return value


def _hash(value: object, where: str) -> str:
    return _hex(value, where, 32, 32)


def _ascending(keys: list[tuple[int, str, int]], where: str) -> None:
    if any(not first < second for first, second in pairwise(keys)):
        raise FormError(f"{where} are not in order, or one is listed twice.")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise FormError("it has one key twice.")
    return found


def _refuse(text: str) -> object:
    raise FormError(f"{text[:40]} is not a whole number.")
