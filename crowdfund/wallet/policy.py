"""What the signer may sign: requests read strictly, and judged by the terms and by what was promised before. Pure.

Holds no key, no socket and no file. What was promised is asked for through `Held`; whoever calls these functions
notes the outcome in the log before any signature leaves. Every refusal is a UserError with one sentence.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Protocol

from crowdfund.errors import UserError
from crowdfund.wallet.addresses import address_of, script_of
from crowdfund.wallet.amounts import MAX_MONEY_SATS
from crowdfund.wallet.cancellation import RULE, CancellationProof
from crowdfund.wallet.fees import (
    MAX_FEE_SATS,
    MAX_FEERATE_SAT_VB,
    MAX_REFUND_FEE_PERCENT,
    MAX_RELEASE_FEE_PERCENT,
    MAX_WEIGHT,
    dust_limit_sats,
    transaction_vsize,
    transaction_weight,
)
from crowdfund.wallet.outcome_proof import CoinProof, Opening, Proven, ShownCoin, within_cap
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx

MAX_INDEX = 2**31 - 1
MAX_UINT32 = 2**32 - 1
MAX_HEIGHT = 499_999_999  # from 500,000,000 on a lock time is a time and no height
MAX_REGISTRATIONS = 1_000  # in one request
MAX_TERMS_BYTES = 64 * 1024
MAX_LOCK_BLOCKS = 10 * 52_560  # ten years: where terms have no time-locked refunds, nothing nearer bounds a lock time
RELEASE, REFUND = "release", "refund"

_TXID = re.compile(r"(?!0{64})[0-9a-f]{64}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_HEX = re.compile(r"(?:[0-9a-f]{2})+", re.ASCII)
_VERSION_1: dict[str, type] = {
    "version": int, "network": str, "payout_address": str, "payout_script": str, "opened_height": int,
    "opened_hash": str, "deadline_at": str, "confirmations": int, "goal_sats": int, "min_coin_sats": int,
}  # fmt: skip
_ADDED: dict[int, dict[str, type]] = {
    2: {"receipt_key": str, "timelock_height": int, "timelock_feerate_sat_vb": int, "cap_sats": int},
    3: {"details_sha256": str, "cancellable": str},
}


@dataclass(frozen=True)
class EndingFacts:
    """What the terms say of how the campaign ends. Amounts in satoshi, `deadline` in unix seconds, a cap of 0 is
    none."""

    opened_hash: str
    deadline: int
    confirmations: int
    goal_sats: int
    min_coin_sats: int
    cap_sats: int = 0


@dataclass(frozen=True)
class TermsFacts:
    """What the signer needs of a campaign's terms. `timelock_height` is 0 where no time-locked refunds are promised."""

    version: int
    hash: bytes
    network: str
    payout_script: bytes
    opened_height: int
    ending: EndingFacts
    receipt_key: str = ""
    timelock_height: int = 0
    timelock_feerate_sat_vb: int = 0
    cancellable: bool = False


class PartRefusal(UserError):
    """A refusal for the sake of one pledge or coin among others: it says nothing against these."""


class Held(Protocol):
    """What was promised before."""

    def terms_hash(self, account: int) -> bytes | None:
        """The terms that an account serves, None while it serves none."""

    def refund_script(self, account: int, index: int) -> bytes | None:
        """Where an address index of the account is refunded to, None where nobody said."""

    def kind(self, outpoint: str) -> str | None:
        """ "release" or "refund", None where the outpoint was signed for neither."""

    def shown(self, outpoint: str) -> tuple[int, int, int] | None:
        """(account, index, satoshi) of a coin whose transaction was shown, None where none was."""

    def released(self, account: int) -> bool:
        """Was a release ever signed for the account?"""


def read_terms(text: object, network: str) -> TermsFacts:
    """The facts in canonical terms of version 1, 2 or 3 for this network. Raises UserError, ValueError."""
    if not isinstance(text, str) or len(text) > MAX_TERMS_BYTES:
        raise UserError("the terms are no text, or too long.")
    raw = text.encode()
    found = json.loads(raw, parse_float=_no_float, parse_constant=_no_float)
    if not isinstance(found, dict) or _canonical(found) != text:
        raise UserError("the terms are not in canonical form.")
    version = found.get("version")
    if type(version) is not int or version not in (1, 2, 3):
        raise UserError("the terms are of another version.")
    wanted = dict(_VERSION_1)
    for since, added in _ADDED.items():
        if since <= version:
            wanted |= added
        elif added.keys() & found.keys():
            raise UserError("the terms are of another version.")
    if any(type(found.get(name)) is not kind for name, kind in wanted.items()):
        raise UserError("the terms lack something, or have it in another type.")
    if found["network"] != network:
        raise UserError(f"these terms are for {found['network'][:20]}, this signer serves {network}.")
    return _facts(found, sha256(raw).digest(), network)


def _facts(found: dict[str, Any], terms_hash: bytes, network: str) -> TermsFacts:
    payout_script = script_of(found["payout_address"], network)
    if payout_script.hex() != found["payout_script"]:
        raise UserError("payout address and payout script in the terms differ.")
    opened_height, ending = whole(found["opened_height"], MAX_HEIGHT), _ending(found)
    if found["version"] == 1:
        return TermsFacts(1, terms_hash, network, payout_script, opened_height, ending)
    timelock_height = whole(found["timelock_height"], MAX_HEIGHT)
    feerate_sat_vb = whole(found["timelock_feerate_sat_vb"], MAX_FEERATE_SAT_VB)
    if timelock_height and not (opened_height < timelock_height and feerate_sat_vb):
        raise UserError("the time lock in the terms makes no sense.")
    locks = (found["receipt_key"], timelock_height, feerate_sat_vb)
    cancellable = found.get("cancellable", "")
    if found["version"] == 3 and not _HASH.fullmatch(found["details_sha256"]):
        raise UserError("the terms do not name the details that belong to them.")
    if cancellable not in ("", RULE):
        raise UserError("the terms name a way of cancelling that nobody knows.")
    facts = (found["version"], terms_hash, network, payout_script, opened_height, ending, *locks)
    return TermsFacts(*facts, cancellable=cancellable == RULE)


def _ending(found: dict[str, Any]) -> EndingFacts:
    """A goal of nothing, or blocks that need no confirmation, would make every proof an easy one."""
    goal_sats, confirmations = whole(found["goal_sats"], MAX_MONEY_SATS), whole(found["confirmations"], MAX_INDEX)
    deadline = datetime.fromisoformat(found["deadline_at"])
    if not goal_sats or not confirmations or deadline.tzinfo is None:
        raise UserError("the goal, the confirmations or the deadline in the terms make no sense.")
    return EndingFacts(
        opened_hash=found["opened_hash"],
        deadline=int(deadline.timestamp()),
        confirmations=confirmations,
        goal_sats=goal_sats,
        min_coin_sats=whole(found["min_coin_sats"], MAX_MONEY_SATS),
        cap_sats=whole(found.get("cap_sats", 0), MAX_MONEY_SATS),
    )


def opening_of(terms: TermsFacts) -> Opening:
    """What the proof of a campaign's end is held against."""
    end = terms.ending
    return Opening(terms.network, terms.opened_height, end.opened_hash, end.deadline, end.confirmations)


def check_outcome(kind: object, tx: UnsignedTx, terms: TermsFacts, proven: Proven | None) -> None:
    """Nothing is settled before the end is proven; a release spends coins that are proven to count, which together
    reach the goal; and what was proven to count is not given back once they do. Of a cancelled campaign everything is
    given back, and nothing is released."""
    if proven is None:
        raise UserError("nobody has proven yet that this campaign has come to its end.")
    if proven.cancelled_by:
        if kind == RELEASE:
            raise UserError("this campaign was cancelled: nothing of it is ever paid out.")
        return
    reached = proven.total_sats >= terms.ending.goal_sats
    for i in tx.inputs:
        coin = proven.coins.get(outpoint(i))
        if kind == REFUND and coin is not None and reached:
            raise PartRefusal(f"{outpoint(i)} counts, and the goal was reached: it is not given back.")
        if kind == RELEASE and (coin is None or coin.value_sats != i.value_sats):
            raise UserError(f"{outpoint(i)} is not proven to count, with this value, and is not paid out.")
    if kind == RELEASE and not reached:
        raise UserError("the coins proven so far do not reach the goal.")
    if kind == RELEASE and not within_cap(proven.coins.values(), terms.ending.cap_sats):
        raise UserError("more coins were proven than can count under the cap.")


def check_cancellable(terms: TermsFacts, account: int, held: Held) -> None:
    """Only where the terms say so, and not once a release was signed."""
    if not terms.cancellable:
        raise UserError("these terms cannot be cancelled.")
    if held.released(account):
        raise UserError("a release of this campaign was signed: it cannot be cancelled any more.")


def check_account(terms: TermsFacts, own_receipt_key: str, account: int, held: Held) -> None:
    """One account serves one set of terms for ever, and since version 2 they name the account's own receipt key."""
    if terms.version >= 2 and terms.receipt_key != own_receipt_key:
        raise UserError("the receipt key in the terms is not this account's.")
    if held.terms_hash(account) not in (None, terms.hash):
        raise UserError("this account serves other terms already, and will serve no others.")


def read_refunds(pairs: object, network: str) -> dict[int, bytes]:
    """Refund scripts by address index, as a client sends them. Raises UserError, ValueError."""
    if not isinstance(pairs, dict) or len(pairs) > MAX_REGISTRATIONS:
        raise UserError(f"at most {MAX_REGISTRATIONS} refund addresses are registered at once.")
    found = {}
    for index, script in pairs.items():
        if not _INDEX.fullmatch(index):
            raise UserError("an address index is written in plain digits.")
        found[whole(int(index), MAX_INDEX)] = read_hex(script)
    for script in found.values():
        address_of(script, network)  # a ValueError where nobody could be paid
    return found


def new_refunds(refunds: Mapping[int, bytes], account: int, held: Held) -> dict[int, bytes]:
    """Those that are not held yet. The first word counts: one that differs from what is held refuses them all."""
    known = {index: held.refund_script(account, index) for index in refunds}
    if any(known[index] not in (None, script) for index, script in refunds.items()):
        raise UserError("another refund address is registered for this pledge, and the first one counts.")
    return {index: script for index, script in refunds.items() if known[index] is None}


def read_tx(message: Mapping[str, Any]) -> UnsignedTx:
    """The transaction in a request: one spelling only for each outpoint, as the log knows it by its text."""
    return UnsignedTx(
        tuple(_input(*fields) for fields in message["inputs"]),
        tuple(_output(*fields) for fields in message["outputs"]),
        whole(message["locktime"], MAX_HEIGHT),
    )


def read_coin_proof(fields: object) -> CoinProof:
    """The proof of a coin as requests spell it. Raises UserError, ValueError."""
    if not isinstance(fields, list) or len(fields) != 6:
        raise ValueError("a proof has six parts")
    raw, vout, index, height, branch, position = fields
    return CoinProof(
        raw=b64decode(raw, validate=True),
        vout=whole(vout, MAX_UINT32),
        index=whole(index, MAX_INDEX),
        height=whole(height, MAX_HEIGHT),
        branch=tuple(branch),
        position=whole(position, MAX_UINT32),
    )


def read_cancellation(message: Mapping[str, Any]) -> CancellationProof:
    """The proof of a cancellation in a request. Raises UserError, ValueError."""
    return CancellationProof(
        raw=b64decode(message["raw"], validate=True),
        spent=b64decode(message["spent"], validate=True),
        height=whole(message["height"], MAX_HEIGHT),
        branch=tuple(message["branch"]),
        position=whole(message["position"], MAX_UINT32),
    )


def read_shown_coin(fields: object) -> ShownCoin:
    """A coin as requests show it. Raises UserError, ValueError."""
    if not isinstance(fields, list) or len(fields) != 3:
        raise ValueError("a coin is shown in three parts")
    raw, vout, index = fields
    return ShownCoin(b64decode(raw, validate=True), whole(vout, MAX_UINT32), whole(index, MAX_INDEX))


def check_settlement(kind: object, tx: UnsignedTx, terms: TermsFacts, account: int, held: Held) -> None:
    """Refuse whatever is not a release or a refund under these terms, or contradicts what was promised."""
    _check_form(tx)
    _check_fee(tx)
    _check_locktime(tx.locktime, terms)
    if kind == RELEASE:
        _check_release(tx, terms.payout_script)
    elif kind == REFUND:
        _check_refund(tx, account, held)
    else:
        raise UserError("a settlement is a release or a refund.")
    _check_values(tx, account, held)
    for i in tx.inputs:
        if held.kind(outpoint(i)) not in (None, kind):
            raise PartRefusal(
                f"{outpoint(i)} was signed for a {held.kind(outpoint(i))} and is signed for nothing else."
            )


def check_timelocked(tx: UnsignedTx, terms: TermsFacts, account: int, held: Held) -> None:
    """A refund of one coin that its backer keeps: valid from the height in the terms on, for the fee in the terms."""
    _check_form(tx)
    if not terms.timelock_height:
        raise UserError("these terms promise no time-locked refunds.")
    if len(tx.inputs) != 1 or len(tx.outputs) != 1 or tx.outputs[0].index != tx.inputs[0].index:
        raise UserError("a time-locked refund has one coin and one output.")
    if tx.locktime != terms.timelock_height:
        raise UserError(f"a time-locked refund is valid from block {terms.timelock_height} on.")
    script = held.refund_script(account, tx.inputs[0].index)
    if script is None or tx.outputs[0].script != script:
        raise UserError("a refund goes to the address registered for its pledge and nowhere else.")
    fee_sats = transaction_vsize(1, [script]) * terms.timelock_feerate_sat_vb
    if tx.fee_sats != fee_sats:
        raise UserError(f"the fee of this time-locked refund is {fee_sats} sat, as the terms say.")
    _check_values(tx, account, held)


def outpoint(spent: TxInput) -> str:
    """Its name in the log."""
    return f"{spent.txid}:{spent.vout}"


def whole(value: object, highest: int) -> int:
    """A whole number from 0 to `highest`; nothing else that JSON or int() would take for one."""
    if type(value) is not int or not 0 <= value <= highest:
        raise UserError("a number in the request is none, or out of its range.")
    return value


def read_hex(text: object) -> bytes:
    """Bytes from hex digits in small letters, at least one byte."""
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        raise UserError("a script is written in hex digits in small letters.")
    return bytes.fromhex(text)


def _input(txid: object, vout: object, value_sats: object, index: object) -> TxInput:
    if not isinstance(txid, str) or not _TXID.fullmatch(txid):
        raise UserError("a txid has 64 hex digits in small letters.")
    return TxInput(txid, whole(vout, MAX_UINT32), whole(value_sats, MAX_MONEY_SATS), whole(index, MAX_INDEX))


def _output(script: object, value_sats: object, index: object) -> TxOutput:
    place = None if index is None else whole(index, MAX_INDEX)
    return TxOutput(read_hex(script), whole(value_sats, MAX_MONEY_SATS), place)


def _check_form(tx: UnsignedTx) -> None:
    """What every transaction must be: some inputs, each once, outputs that nodes relay, and not too heavy."""
    if not tx.inputs or not tx.outputs:
        raise UserError("a settlement has inputs and outputs.")
    if len({(i.txid, i.vout) for i in tx.inputs}) != len(tx.inputs):
        raise UserError("an outpoint stands twice among the inputs.")
    if any(o.value_sats < dust_limit_sats(o.script) for o in tx.outputs):
        raise UserError("an output is too small to be relayed.")
    if transaction_weight(len(tx.inputs), [o.script for o in tx.outputs]) > MAX_WEIGHT:
        raise UserError(f"a transaction weighs at most {MAX_WEIGHT} units.")


def _check_fee(tx: UnsignedTx) -> None:
    by_size_sats = transaction_vsize(len(tx.inputs), [o.script for o in tx.outputs]) * MAX_FEERATE_SAT_VB
    cap_sats = min(by_size_sats, MAX_FEE_SATS)
    if not 0 < tx.fee_sats <= cap_sats:
        raise UserError(f"a fee of {tx.fee_sats} sat is not between 1 and {cap_sats}.")


def _check_locktime(locktime: int, terms: TermsFacts) -> None:
    """A height since the opening, before time-locked refunds are valid: the signer does not know how high the chain is,
    and a lock time far away would keep coins from everyone."""
    end = terms.timelock_height or terms.opened_height + MAX_LOCK_BLOCKS
    if not terms.opened_height <= locktime < end:
        raise UserError(f"a lock time under these terms is a height from {terms.opened_height} to {end - 1}.")


def _check_release(tx: UnsignedTx, payout_script: bytes) -> None:
    if len(tx.outputs) != 1 or tx.outputs[0].script != payout_script:
        raise UserError("a release has one output, to the payout address in the terms.")
    spent_sats = sum(i.value_sats for i in tx.inputs)
    if tx.fee_sats * 100 > spent_sats * MAX_RELEASE_FEE_PERCENT:
        raise UserError(f"the fee of a release is at most {MAX_RELEASE_FEE_PERCENT} % of what it spends.")


def _check_refund(tx: UnsignedTx, account: int, held: Held) -> None:
    """Exactly one output for each pledge spent, to its registered script, for what it paid less a share of the fee."""
    paid: Counter[int] = Counter()
    for i in tx.inputs:
        paid[i.index] += i.value_sats
    back = {o.index: o for o in tx.outputs}
    if len(back) != len(tx.outputs) or set(paid) != set(back):
        raise UserError("a refund has one output for each pledge that it spends.")
    for index, paid_sats in paid.items():
        if back[index].script != held.refund_script(account, index):
            raise PartRefusal("a refund goes to the address registered for its pledge and nowhere else.")
        if back[index].value_sats > paid_sats:
            raise PartRefusal("a refund is never more than what its pledge paid.")
        if back[index].value_sats * 100 < paid_sats * (100 - MAX_REFUND_FEE_PERCENT):
            raise PartRefusal(
                f"at most {MAX_REFUND_FEE_PERCENT} % of what a pledge holds goes to the fee of its refund."
            )


def _check_values(tx: UnsignedTx, account: int, held: Held) -> None:
    """Every coin is one that was shown to lie at an address of this campaign, with this value and of this pledge. A
    signature covers only its own input's value: with a false story about the others, money would go astray."""
    for i in tx.inputs:
        if held.shown(outpoint(i)) != (account, i.index, i.value_sats):
            raise PartRefusal(f"{outpoint(i)} was not shown to be a coin of this pledge with this value.")


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _no_float(_text: str) -> object:
    raise UserError("the terms hold a number that is not whole.")
