"""Judging what became of a case: from the node's own blocks first, and only then from the case's books.

Nothing here uses the production code's way of looking at blocks; amounts come from the node's JSON.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from crowdfund.campaigns import queries
from crowdfund.campaigns.ledger import Bucket
from crowdfund.chain.regtest import RegtestNode
from crowdfund.db import Database
from crowdfund.wallet.signer_log import SignerLog
from support.crash_cases import CANCELLED, Case
from support.crash_store import rows, sound

Outpoint = tuple[str, int]


@dataclass(frozen=True)
class Payment:
    """An output in a block."""

    txid: str
    vout: int
    value_sats: int


@dataclass(frozen=True)
class ChainRecord:
    """Everything in the best chain above some height: payments by script (hex), spenders, raw bytes by txid."""

    paid_to: dict[str, list[Payment]]
    spent_by: dict[Outpoint, str]
    raw: dict[str, bytes]

    @classmethod
    def read(cls, node: RegtestNode, above: int) -> ChainRecord:
        """Ask the node for every block above this height."""
        record = cls(defaultdict(list), {}, {})
        for height in range(above + 1, int(node.rpc("getblockcount")) + 1):
            for tx in node.rpc("getblock", node.rpc("getblockhash", height), 2)["tx"]:
                record._take(tx)
        return record

    def _take(self, tx: dict[str, Any]) -> None:
        assert tx["txid"] not in self.raw
        self.raw[tx["txid"]] = bytes.fromhex(tx["hex"])
        for spent in tx["vin"]:
            if "txid" in spent:
                assert (spent["txid"], spent["vout"]) not in self.spent_by
                self.spent_by[(spent["txid"], spent["vout"])] = tx["txid"]
        for n, output in enumerate(tx["vout"]):
            payment = Payment(tx["txid"], n, int(output["value"] * 100_000_000))
            self.paid_to[output["scriptPubKey"]["hex"]].append(payment)


def judge(case: Case, chain: ChainRecord, coin_sats: list[int]) -> None:
    """One decision, one plan, one payment: fails with the case's name otherwise. `coin_sats`: what was paid in."""
    attempts = _attempts(case)
    coins = [p for script, _ in case.pledges for p in chain.paid_to[script]]
    assert sorted(c.value_sats for c in coins) == sorted(coin_sats), case.name
    _judge_chain(case, chain, coins, set(attempts))
    _judge_memory(case, attempts, chain)
    _judge_books(case, chain, coins)
    _judge_signer_log(case, {(c.txid, c.vout) for c in coins}, chain)


def _judge_chain(case: Case, chain: ChainRecord, coins: list[Payment], ours: set[str]) -> None:
    """Every coin is spent, by what was planned, to those who are owed and to nobody else."""
    spenders = {chain.spent_by.get((c.txid, c.vout)) for c in coins}
    assert spenders == ours, f"{case.name}: planned {ours}, in blocks {spenders}"
    payouts = chain.paid_to[case.payout_script]
    refunds = [p for _, script in case.pledges for p in chain.paid_to[script]]
    assert len(payouts) == (1 if case.ending == "funded" else 0), case.name
    assert {p.txid for p in payouts + refunds} == ours, case.name
    outputs = sum(1 for script_payments in chain.paid_to.values() for p in script_payments if p.txid in ours)
    assert outputs == len(payouts) + len(refunds), f"{case.name}: somebody else was paid"
    wanted = [0, 1, 1] if case.ending == "funded" else [1, 1, 2]
    for (pledge, refund), count in zip(case.pledges, wanted, strict=True):
        assert len(chain.paid_to[refund]) == count, f"{case.name}: {len(chain.paid_to[refund])} refunds"
        back = sum(p.value_sats for p in chain.paid_to[refund])
        owed = [p for p in chain.paid_to[pledge] if _kind_on_chain(case, chain, p) == "refund"]
        assert 0 <= sum(p.value_sats for p in owed) - back < 2_000, f"{case.name}: {back} sat came back"


def _kind_on_chain(case: Case, chain: ChainRecord, coin: Payment) -> str:
    spender = chain.spent_by[(coin.txid, coin.vout)]
    return "release" if any(p.txid == spender for p in chain.paid_to[case.payout_script]) else "refund"


def _judge_memory(case: Case, attempts: dict[str, bytes | None], chain: ChainRecord) -> None:
    """No plan was ever forgotten or made anew, and nothing was sent that was not stored before."""
    for plan in [*case.plans, case.undisturbed]:
        for txid, raw in plan.items():
            assert txid in attempts, f"{case.name}: the plan of {txid} was dropped"
            assert raw in (None, attempts[txid]), f"{case.name}: {txid} was signed twice, differently"
    for txid, raw in attempts.items():
        assert raw == chain.raw[txid], f"{case.name}: {txid} has other bytes in the block"
    sent = [line.split(maxsplit=1) for line in (case.folder / "broadcasts").read_text().splitlines()]
    assert {raw for raw, _ in sent} == {(raw or b"").hex() for raw in attempts.values()}, case.name
    assert all(stored == "stored" for _, stored in sent), f"{case.name}: bytes went out before they were stored"


def _judge_books(case: Case, chain: ChainRecord, coins: list[Payment]) -> None:
    """The buckets are what the chain says, to the satoshi, and nothing is left in between."""
    database = Database(case.database_url)
    with database.reading() as session:
        snapshot = queries.load(session, case.campaign_id)
        summary = queries.summarise(snapshot)
        assert snapshot.decision is not None
        assert snapshot.decision.outcome == case.outcome, case.name
        assert (snapshot.cancellation is not None) == (case.ending == CANCELLED), case.name
    database.close()
    received = sum(c.value_sats for c in coins)
    paid_out = sum(p.value_sats for p in chain.paid_to[case.payout_script])
    refunded = sum(p.value_sats for _, script in case.pledges for p in chain.paid_to[script])
    nothing = dict.fromkeys(Bucket, 0)
    wanted = {Bucket.PAID_OUT: paid_out, Bucket.REFUNDED: refunded, Bucket.MINER_FEE: received - paid_out - refunded}
    assert summary.buckets == {**nothing, **wanted}, case.name
    assert summary.received_sats == received, case.name
    assert summary.state == ("released" if case.ending == "funded" else "refunded"), case.name


def _judge_signer_log(case: Case, outpoints: set[Outpoint], chain: ChainRecord) -> None:
    """One line for each transaction, each outpoint in one line, and the chain of hashes whole."""
    path = case.folder / "signer" / "log.jsonl"
    SignerLog(path)
    settled = [e["settle"] for e in map(json.loads, path.read_text().splitlines()) if "settle" in e]
    by_outpoint = [(outpoint, txid) for _, txid, _, spent in settled for outpoint in spent]
    assert sorted(by_outpoint) == sorted((f"{t}:{n}", chain.spent_by[(t, n)]) for t, n in outpoints), case.name


def _attempts(case: Case) -> dict[str, bytes | None]:
    """Every attempt; also: one decision, one attempt a batch, a sound file."""
    url = case.database_url
    assert sound(url), case.name
    found = rows(url, "SELECT txid, raw, batch_id, sent_at FROM attempts")
    ((decisions, batches),) = rows(url, "SELECT (SELECT count(*) FROM decisions), (SELECT count(*) FROM batches)")
    assert decisions == 1, case.name
    assert len({batch for _, _, batch, _ in found}) == len(found) == batches, case.name
    assert all(sent_at is not None for *_, sent_at in found), case.name
    return {txid: raw for txid, raw, _, _ in found}
