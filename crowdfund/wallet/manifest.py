"""What a server hands to the machine that signs without a wire: everything that its rules want to see, as JSON.

Pure. The offline machine believes nothing of it: the signer there derives its keys from the terms, has its own log
of refund addresses and outpoints, and refuses what the terms do not allow.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crowdfund.errors import UserError
from crowdfund.wallet.addresses import address_of
from crowdfund.wallet.cancellation import CancellationProof
from crowdfund.wallet.fees import transaction_vsize
from crowdfund.wallet.outcome_proof import CoinProof, OutcomeProof, ShownCoin
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx

VERSION = 1
SHOWN_OUTPUTS = 20

_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class ToSign:
    """A transaction that waits for a signature. `kind` is release or refund."""

    kind: str
    tx: UnsignedTx


@dataclass(frozen=True)
class CampaignToSign:
    """A campaign's canonical terms, its account, its refund scripts by address index, what waits, and the proof of how
    the campaign ended (None while nothing waits), and the transactions that made the coins which are to be spent."""

    terms: str
    account_index: int
    descriptor: str
    refunds: Mapping[int, bytes]
    waiting: tuple[ToSign, ...]
    proof: OutcomeProof | None = None
    shown: tuple[ShownCoin, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """All campaigns that the signing machine should hear of."""

    network: str
    campaigns: tuple[CampaignToSign, ...]

    def to_json(self) -> str:
        """Text that `parse` reads back."""
        campaigns = [_campaign_json(c) for c in self.campaigns]
        return json.dumps({"version": VERSION, "network": self.network, "campaigns": campaigns}, indent=1) + "\n"

    @classmethod
    def parse(cls, text: str) -> Manifest:
        """Raises UserError where the text is no manifest of this version."""
        try:
            read = json.loads(text)
            if read["version"] != VERSION:
                raise UserError(f"This manifest has version {read['version']}, and version {VERSION} is read here.")
            return cls(str(read["network"]), tuple(_campaign(c) for c in read["campaigns"]))
        except _UNREADABLE as error:
            raise UserError("The manifest cannot be read; export it again.") from error


def campaign_title(campaign: CampaignToSign) -> str:
    """Its title, for a terminal. Raises UserError where the terms cannot be read."""
    return _printable(str(_terms(campaign)["title"]))


def in_words(campaign: CampaignToSign, waiting: ToSign, network: str) -> list[str]:
    """What a person is asked to agree to, in lines for a terminal. Raises UserError where nobody could be paid."""
    tx, count = waiting.tx, len(waiting.tx.inputs)
    what = {"release": "Payout to the creator", "refund": "Refund to backers"}.get(waiting.kind, waiting.kind)
    spent = sum(i.value_sats for i in tx.inputs)
    vsize = transaction_vsize(count, [o.script for o in tx.outputs])
    try:
        paid = [_output_words(campaign, o, network) for o in tx.outputs]
    except ValueError as error:
        raise UserError(f"{tx.txid} pays to something that is no address.") from error
    more = [f"  … and {len(paid) - SHOWN_OUTPUTS} more"] if len(paid) > SHOWN_OUTPUTS else []
    return [
        f"{_printable(what)}, campaign “{campaign_title(campaign)}”",
        f"  transaction {tx.txid}",
        f"  spends {count} {'coin' if count == 1 else 'coins'} of {spent:,} sat together",
        *paid[:SHOWN_OUTPUTS],
        *more,
        f"  fee {tx.fee_sats:,} sat ({tx.fee_sats // max(1, vsize)} sat/vB)",
    ]


def _output_words(campaign: CampaignToSign, output: TxOutput, network: str) -> str:
    address = address_of(output.script, network)
    if address == _terms(campaign)["payout_address"]:
        whose = "the payout address in the terms"
    elif output.index is not None and campaign.refunds.get(output.index) == output.script:
        whose = f"the refund address of pledge {output.index}"
    else:
        whose = "an address that is NOT in the terms"
    return f"  pays {output.value_sats:,} sat to {address}, {whose}"


def _terms(campaign: CampaignToSign) -> dict[str, Any]:
    try:
        terms = json.loads(campaign.terms)
        return {"title": terms["title"], "payout_address": terms["payout_address"]}
    except _UNREADABLE as error:
        raise UserError("The terms of a campaign cannot be read; export again.") from error


def _printable(text: str) -> str:
    """Nothing that could move the cursor and write over what was said before."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _campaign_json(campaign: CampaignToSign) -> dict[str, object]:
    return {
        "terms": campaign.terms,
        "account": campaign.account_index,
        "descriptor": campaign.descriptor,
        "proof": None if campaign.proof is None else _proof_json(campaign.proof),
        "shown": [[b64encode(coin.raw).decode(), coin.vout, coin.index] for coin in campaign.shown],
        "refunds": {str(index): script.hex() for index, script in campaign.refunds.items()},
        "transactions": [
            {
                "txid": w.tx.txid,
                "kind": w.kind,
                "inputs": [[i.txid, i.vout, i.value_sats, i.index] for i in w.tx.inputs],
                "outputs": [[o.script.hex(), o.value_sats, o.index] for o in w.tx.outputs],
                "locktime": w.tx.locktime,
            }
            for w in campaign.waiting
        ],
    }


def _campaign(read: Mapping[str, Any]) -> CampaignToSign:
    return CampaignToSign(
        terms=str(read["terms"]),
        account_index=_whole(read["account"]),
        descriptor=str(read["descriptor"]),
        refunds={int(index): bytes.fromhex(script) for index, script in read["refunds"].items()},
        waiting=tuple(_to_sign(one) for one in read["transactions"]),
        proof=None if read["proof"] is None else _proof(read["proof"]),
        shown=tuple(ShownCoin(b64decode(raw, validate=True), _whole(v), _whole(i)) for raw, v, i in read["shown"]),
    )


def _proof_json(proof: OutcomeProof) -> dict[str, object]:
    """A cancellation has a key of its own, which the others do without."""
    found: dict[str, object] = {
        "headers": b64encode(proof.headers).decode(),
        "coins": [
            [b64encode(c.raw).decode(), c.vout, c.index, c.height, list(c.branch), c.position] for c in proof.coins
        ],
    }
    end = proof.cancellation
    if end is not None:
        raw, spent = b64encode(end.raw).decode(), b64encode(end.spent).decode()
        found["cancellation"] = [raw, spent, end.height, list(end.branch), end.position]
    return found


def _proof(read: Mapping[str, Any]) -> OutcomeProof:
    coins = (
        CoinProof(b64decode(raw, validate=True), _whole(v), _whole(i), _whole(h), tuple(map(str, branch)), _whole(p))
        for raw, v, i, h, branch, p in read["coins"]
    )
    end = None if read.get("cancellation") is None else _cancellation(*read["cancellation"])
    return OutcomeProof(b64decode(read["headers"], validate=True), tuple(coins), end)


def _cancellation(raw: str, spent: str, height: int, branch: list[str], position: int) -> CancellationProof:
    made = b64decode(raw, validate=True), b64decode(spent, validate=True)
    return CancellationProof(*made, _whole(height), tuple(map(str, branch)), _whole(position))


def _to_sign(read: Mapping[str, Any]) -> ToSign:
    tx = UnsignedTx(
        tuple(TxInput(str(t), _whole(v), _whole(s), _whole(i)) for t, v, s, i in read["inputs"]),
        tuple(
            TxOutput(bytes.fromhex(script), _whole(s), None if i is None else _whole(i))
            for script, s, i in read["outputs"]
        ),
        _whole(read["locktime"]),
    )
    if tx.txid != read["txid"]:
        raise UserError(f"The manifest was changed: what it calls {_printable(str(read['txid']))} is {tx.txid}.")
    return ToSign(str(read["kind"]), tx)


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("not a whole number")
    return value
