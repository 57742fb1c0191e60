"""Who saw the whole chain and every branch of it, straight from the node, and judges what the books claim.

Never looks through the backend that is tested. `note` must be called whenever the chain or the mempool may have
changed; `judge` after every round of the worker.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowdfund.campaigns.lifecycle import COINBASE_MATURITY
from crowdfund.campaigns.models import (
    AttemptOutput,
    BatchInput,
    BatchRow,
    Block,
    Campaign,
    Coin,
    DecisionRow,
    Incident,
    Pledge,
    RivalRow,
)
from crowdfund.campaigns.terms import CampaignTerms
from support.truth import Coins
from support.world import World

Place = tuple[str, int]
REACH = 300  # blocks; more than any world looks back when it begins


@dataclass(frozen=True)
class Seen:
    """A block and what the chain up to it holds for us. `made` are the heights of all our coins' blocks, `mined` those
    of them that are a coinbase's, `paid` the transactions that pay backers and creators back."""

    hash: str
    prev_hash: str
    height: int
    median_time: int
    txids: frozenset[str]
    coins: Coins
    mined: frozenset[Place]
    paid: frozenset[tuple[str, str]]


@dataclass
class Witness:
    """Everything that was ever true of one world."""

    world: World
    blocks: dict[str, Seen] = field(default_factory=dict)
    unconfirmed: dict[Place, int] = field(default_factory=dict)
    pooled: set[str] = field(default_factory=set)
    _ours: set[str] = field(default_factory=set)
    _foreign: set[str] = field(default_factory=set)
    _scripts: dict[Place, str] = field(default_factory=dict)
    _tip: str = ""
    _incidents: int = 0
    _judged: set[str] = field(default_factory=set)

    def note(self) -> None:
        """Look at the node: its chain, its mempool, and the scripts that were given out."""
        self._read_scripts()
        for block in self._new_blocks():
            self._take(block)
        for txid in set(self.world.node.rpc("getrawmempool")) - self.pooled:
            tx = self.world.node.rpc("getrawtransaction", txid, True)
            self.pooled.add(txid)
            self.unconfirmed |= {(txid, o["n"]): sats(o) for o in tx["vout"] if script(o) in self._ours}

    def judge(self) -> None:
        """Is all that the books claim true, or was it? Fails with what never was."""
        with self.world.database.reading() as session:
            blocks = {b.height: b.hash for b in session.scalars(select(Block))}
            if not blocks:
                return
            tip = self.blocks[blocks[max(blocks)]]
            branch = self._branch(tip)
            assert {h: branch[h].hash for h in blocks} == blocks, "the recorded blocks are no chain"
            self._judge_coins(session, tip, branch)
            self._judge_rivals(session)
            self._judge_incidents(session, tip)
            for decision in session.scalars(select(DecisionRow)):
                if decision.campaign_id not in self._judged:
                    self._judged.add(decision.campaign_id)
                    self._judge_decision(session, decision, tip, branch)
            self._judge_payments(session, tip)
            self._tip = tip.hash

    def truth(self) -> Seen:
        """The tip as the node has it now."""
        return self.blocks[str(self.world.node.rpc("getbestblockhash"))]

    def _judge_coins(self, session: Session, tip: Seen, branch: dict[int, Seen]) -> None:
        for coin in session.scalars(select(Coin)):
            place = (coin.txid, coin.vout)
            if coin.height is None:
                known = {self.unconfirmed.get(place)} | {
                    b.coins[place][0] for b in self.blocks.values() if place in b.coins
                }
                assert coin.value_sats in known, f"{place} was never there with {coin.value_sats}"
                assert coin.spent_by is None, f"{place} is in no block and spent"
                continue
            value_sats, height, spent_by = tip.coins.get(place, (None, None, None))
            assert (coin.value_sats, coin.height) == (value_sats, height), f"{place} is not {value_sats} at {height}"
            assert coin.block_hash == branch[coin.height].hash
            assert coin.spent_by in (None, spent_by), f"{place} is spent by {spent_by}, not {coin.spent_by}"

    def _judge_rivals(self, session: Session) -> None:
        for row in session.scalars(select(RivalRow)):
            heights = {b.height for b in self.blocks.values() if row.by in b.txids}
            assert heights or row.by in self.pooled, f"the rival {row.by} of {row.txid} was never there"
            assert row.height is None or row.height in heights, f"the rival {row.by} was never in {row.height}"

    def _judge_incidents(self, session: Session, tip: Seen) -> None:
        rows = session.scalars(select(Incident).order_by(Incident.id)).all()
        fresh, self._incidents = rows[self._incidents :], len(rows)
        if self._tip and (fork := self._fork(self.blocks[self._tip], tip)) < self.blocks[self._tip].height:
            told = [(i.kind, i.height, i.depth) for i in fresh]
            true = [("reorganisation", fork + 1, self.blocks[self._tip].height - fork)]
            assert told == true, f"a reorganisation is told as {told}, it was {true}"
        else:
            assert not fresh, f"no reorganisation was there, told is {[(i.kind, i.height, i.depth) for i in fresh]}"

    def _judge_decision(self, session: Session, decision: DecisionRow, tip: Seen, branch: dict[int, Seen]) -> None:
        terms = CampaignTerms.parse(session.get_one(Campaign, decision.campaign_id).terms or "")
        closing = min(h for h, b in branch.items() if b.median_time > int(terms.deadline.timestamp()))
        assert (decision.closing_height, decision.closing_hash) == (closing, branch[closing].hash)
        assert tip.height >= decision.decided_height >= closing + terms.confirmations - 1
        decided_at = branch[decision.decided_height]
        pledges = select(Pledge.script).where(Pledge.campaign_id == decision.campaign_id)
        own = {s.hex() for s in session.scalars(pledges) if s}
        counted = 0
        for place, (value_sats, height, _) in decided_at.coins.items():
            counts_from = (height or 0) + (COINBASE_MATURITY if place in decided_at.mined else 0)
            if self._scripts[place] in own and counts_from < closing and value_sats >= terms.min_coin_sats:
                counted += value_sats
        assert decision.counted_sats == counted, f"decided on {decision.counted_sats}, the chain holds {counted}"
        assert decision.outcome == ("funded" if counted >= terms.goal_sats else "failed")

    def _judge_payments(self, session: Session, tip: Seen) -> None:
        """Whoever was paid was paid by a planned transaction, and each coin is planned once (by the table's key)."""
        planned: dict[str, set[str]] = {}
        rows = select(AttemptOutput.script, AttemptOutput.txid)
        for paid, txid in session.execute(rows):
            planned.setdefault(paid.hex(), set()).add(txid)
        for paid_script, txid in tip.paid:
            assert txid in planned.get(paid_script, set()), f"{txid} pays a backer or creator and was never planned"
        per_coin = select(func.count()).select_from(BatchInput).join(BatchRow).where(BatchRow.parent_id.is_(None))
        assert set(session.scalars(per_coin.group_by(BatchInput.coin_id))) <= {1}, "a coin was planned again"

    def _branch(self, tip: Seen) -> dict[int, Seen]:
        found = {tip.height: tip}
        while tip.prev_hash in self.blocks:
            tip = self.blocks[tip.prev_hash]
            found[tip.height] = tip
        return found

    def _fork(self, one: Seen, other: Seen) -> int:
        others = self._branch(other)
        return max(h for h, block in self._branch(one).items() if h in others and others[h] is block)

    def _read_scripts(self) -> None:
        with self.world.database.reading() as session:
            for own, back in session.execute(select(Pledge.script, Pledge.refund_script)):
                self._ours |= {own.hex()} if own else set()
                self._foreign.add(back.hex())
            for terms in session.scalars(select(Campaign.terms).where(Campaign.terms.is_not(None))):
                self._foreign.add(CampaignTerms.parse(terms or "").payout_script)

    def _new_blocks(self) -> list[Any]:
        """Those that were not looked at; of a chain that others have used before, the last ones are enough."""
        found: list[Any] = []
        wanted = str(self.world.node.rpc("getbestblockhash"))
        while wanted and wanted not in self.blocks and (self.blocks or len(found) < REACH):
            found.append(self.world.node.rpc("getblock", wanted, 2))
            wanted = found[-1].get("previousblockhash", "")
        return found[::-1]

    def _take(self, block: Any) -> None:
        before = self.blocks.get(block.get("previousblockhash", ""))
        coins: Coins = dict(before.coins) if before else {}
        mined, paid = (set(before.mined), set(before.paid)) if before else (set(), set())
        for tx in block["tx"]:
            for spent in tx["vin"]:
                place = (spent.get("txid", ""), spent.get("vout", 0))
                if place in coins:
                    coins[place] = (*coins[place][:2], tx["txid"])
            for output in tx["vout"]:
                if script(output) in self._ours:
                    place = (tx["txid"], output["n"])
                    coins[place] = (sats(output), block["height"], None)
                    self._scripts[place] = script(output)
                    mined |= {place} if "coinbase" in tx["vin"][0] else set()
                if script(output) in self._foreign:
                    paid.add((script(output), tx["txid"]))
        txids = frozenset(tx["txid"] for tx in block["tx"])
        self.blocks[block["hash"]] = Seen(
            block["hash"],
            block.get("previousblockhash", ""),
            block["height"],
            block["mediantime"],
            txids,
            coins,
            frozenset(mined),
            frozenset(paid),
        )


def script(output: Any) -> str:
    """An output's locking script in hex."""
    return str(output["scriptPubKey"]["hex"])


def sats(output: Any) -> int:
    """An output's value in satoshi."""
    return int(Decimal(output["value"]) * 100_000_000)
