"""What must be true of settlements after every single step, judged from blocks, raw transactions and plain rows.

Every rule is written down here once more, from what the words mean. The judge sees every signature that the signer
ever makes, whether anybody gets it or not: what is signed may turn up in a block one day.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from support.model import DUST_BELOW_SATS, Block, Outpoint, Verdict
from support.paybooks import Given, Plan, Row, Shelf, Terms
from support.paychain import RIPE_AFTER, PayChain, Sealed

MOST_SAT_VB, MOST_FEE_SATS, MOST_WEIGHT = 500, 5_000_000, 400_000
INPUT_WEIGHT = 41 * 4 + 1 + 1 + 72 + 1 + 33  # a key hash's, with the longest signature


@dataclass(frozen=True)
class Signed:
    """A transaction that can be anywhere from now on."""

    sealed: Sealed
    campaign: str
    kind: str

    @property
    def spends(self) -> frozenset[Outpoint]:
        """Its inputs."""
        return frozenset(self.sealed.tx.spends)


@dataclass(frozen=True)
class Mined:
    """A coin of ours as a branch has it."""

    outpoint: Outpoint
    sats: int
    given: Given
    height: int
    coinbase: bool
    spent_by: str | None


@dataclass
class Judge:
    """Everything ever signed, and what was true a step ago."""

    chain: PayChain
    shelf: Shelf
    terms: dict[str, Terms]
    signed: dict[str, Signed] = field(default_factory=dict)
    kinds: dict[Outpoint, str] = field(default_factory=dict)
    given: dict[bytes, Given] = field(default_factory=dict)
    decided: dict[str, Verdict] = field(default_factory=dict)
    planned: dict[Outpoint, Plan] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    timelocked: dict[str, Signed] = field(default_factory=dict)
    counted: dict[str, set[Outpoint]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._forever: dict[Row, Row] = {}
        self._indices: dict[str, list[int]] = {}
        self._tips_seen = len(self.chain.tips)
        self._looked_at: set[str] = set()
        self._sums: dict[str, object] = {}
        self.check()

    # What is signed and sent

    def seen(self, raw: bytes) -> None:
        """The signer has signed this: I3, I4, I5 and I10."""
        sealed = self.chain.sign(raw)
        if sealed.tx.txid in self.signed or sealed.tx.txid in self.timelocked:
            return
        assert sealed.tx.spends and all(spent in self.chain.made for spent in sealed.tx.spends), (
            "spends what is nowhere"
        )
        owners = [self.given.get(self.chain.made[spent][1]) for spent in sealed.tx.spends]
        spent = [owner for owner in owners if owner is not None]
        assert len(spent) == len(owners), "spends what is not ours"
        campaigns = {owner.campaign for owner in spent}
        assert len(campaigns) == 1, "joins the coins of several campaigns"
        terms = self.terms[campaigns.pop()]
        to_payout = {script for _, script in sealed.tx.outputs} == {terms.payout_script}
        made = Signed(sealed, terms.id, "release" if to_payout and len(sealed.tx.outputs) == 1 else "refund")
        if sealed.locktime == terms.timelock_height:
            self._check_timelocked(sealed, spent[0], terms)
            return
        if made.kind == "refund":
            self._check_refund(sealed, spent)
        self._check_fee(made)
        for outpoint in made.spends:
            kind = self.kinds.setdefault(outpoint, made.kind)
            assert kind == made.kind, f"{outpoint} was signed for a {kind}, and now: {made}"
        for other in self.signed.values():
            common = made.spends & other.spends
            assert common in (set(), made.spends, other.spends), "two transactions overlap, neither holds the other"
        self.signed[sealed.tx.txid] = made

    def _check_timelocked(self, sealed: Sealed, spent: Given, terms: Terms) -> None:
        """A refund that its backer keeps: of one coin, to the backer's own address, for the fee in the terms. Until its
        height has come no block can hold it, so it may stand beside a release."""
        ((sats, script),) = sealed.tx.outputs
        assert script == spent.refund_script, "a time-locked refund to somebody else"
        weight = 34 + 8 + INPUT_WEIGHT + 4 * (9 + len(script))
        assert self.chain.fee_sats(sealed.tx) == -(-weight // 4) * terms.timelock_sat_vb
        assert len(sealed.tx.spends) == 1 and self.chain.is_valid(sealed) and sats >= dust_sats(script)
        self.timelocked[sealed.tx.txid] = Signed(sealed, terms.id, "refund")

    def received(self, raw: bytes) -> None:
        """Somebody broadcasts this: I6."""
        txid = self.chain.sign(raw).tx.txid
        assert txid in self.signed, "broadcast, and never signed"
        assert self.shelf.is_stored(raw), "broadcast before it was stored, and noted as sent"
        self.sent[txid] += 1

    def _check_refund(self, sealed: Sealed, spent: Sequence[Given]) -> None:
        """One output for each pledge spent, to its own address, for what it paid less its own share of the fee."""
        paid: dict[tuple[str, int], int] = defaultdict(int)
        weight: dict[tuple[str, int], int] = defaultdict(int)
        owner = {(g.campaign, g.index): g for g in spent}
        for outpoint, given in zip(sealed.tx.spends, spent, strict=True):
            paid[given.campaign, given.index] += self.chain.made[outpoint][0]
            weight[given.campaign, given.index] += INPUT_WEIGHT
        back: dict[bytes, list[int]] = defaultdict(list)
        for sats, script in sealed.tx.outputs:
            back[script].append(sats)
        fee_sats = self.chain.fee_sats(sealed.tx)
        for pledge, given in owner.items():
            weight[pledge] += 4 * (9 + len(given.refund_script))
        for script in {g.refund_script for g in owner.values()}:
            pledges = [p for p, g in owner.items() if g.refund_script == script]
            got, owed = sorted(back.pop(script, [])), sorted(paid[p] for p in pledges)
            assert len(got) == len(owed), "a refund of this pledge is missing, or is there twice"
            assert all(a <= b for a, b in zip(got, owed, strict=True)), "more than the pledge paid"
            assert all(2 * a >= b for a, b in zip(got, owed, strict=True)), "more than half of it went to the miners"
            if len(pledges) == 1:
                share = owed[0] - got[0]
                exact = fee_sats * weight[pledges[0]]
                assert abs(share * sum(weight.values()) - exact) < 2 * sum(weight.values()), "not its share of the fee"
        assert not back, f"pays somebody who pledged nothing here: {[s.hex() for s in back]}"

    def _check_fee(self, made: Signed) -> None:
        sealed, fee_sats = made.sealed, self.chain.fee_sats(made.sealed.tx)
        assert self.chain.is_valid(sealed), "a signature is not valid"
        longest = -(-(sealed.weight + 3 * len(sealed.tx.spends)) // 4)
        assert 0 < fee_sats <= min(MOST_FEE_SATS, MOST_SAT_VB * longest), f"a fee of {fee_sats} for {longest} vB"
        spent_sats = sum(self.chain.made[spent][0] for spent in sealed.tx.spends)
        assert made.kind == "refund" or 10 * fee_sats <= spent_sats, "more than a tenth of a release for the miners"
        assert sealed.weight <= MOST_WEIGHT
        assert sealed.sequences == {0xFFFFFFFD}
        assert all(sats >= dust_sats(script) for sats, script in sealed.tx.outputs), "dust"

    # What the books say

    def check(self) -> None:
        """After every step."""
        tips = self.chain.tips[max(0, self._tips_seen - 1) :]
        self._tips_seen = len(self.chain.tips)
        self._check_blocks()
        if not self.shelf.changed():
            return
        self._check_kept()
        self._check_addresses()
        self._check_decisions(tips)
        self._check_plans(tips)
        self._check_sums()

    def _check_blocks(self) -> None:
        """Nobody but the signer spends a coin of ours."""
        for block in self.chain.holders(self.chain.tip.hash):
            if block.hash not in self._looked_at:
                self._looked_at.add(block.hash)
                for tx in block.txs[1:]:
                    ours = [spent for spent in tx.spends if self.chain.made.get(spent, (0, b""))[1] in self.given]
                    known = tx.txid in self.signed or tx.txid in self.timelocked
                    assert known or not ours, f"{tx.txid} spends {ours}, and nobody signed it"

    def _check_kept(self) -> None:
        """I9: what was written for ever is there, as it was. A column that was empty may have been filled."""
        now = self.shelf.forever()
        for key, row in self._forever.items():
            assert key in now, f"{key} is gone"
            if row is not now[key] and row != now[key]:
                for old, new in zip(row, now[key], strict=True):
                    assert old is None or old == new, f"{key} was {row} and is {now[key]}"
        self._forever = now

    def _check_addresses(self) -> None:
        """I8: no address index twice, each higher than all before it; an address stays its pledge's."""
        found: dict[str, list[int]] = defaultdict(list)
        for campaign, index in self.shelf.indices():
            found[campaign].append(index)
        for campaign, indices in found.items():
            assert sorted(indices) == list(range(len(indices))), f"{campaign}: {indices}"
            assert len(indices) >= len(self._indices.get(campaign, [])), "an index was taken back"
        self._indices = found
        for given in self.shelf.given():
            assert self.given.setdefault(given.script, given) == given, "an address has changed hands"

    def _check_decisions(self, tips: Iterable[str]) -> None:
        """I7: an outcome never changes, and it is that of a chain that was there in this step."""
        stored = self.shelf.decisions()
        assert {name: stored.get(name) for name in self.decided} == self.decided, "an outcome has changed"
        for name in stored.keys() - self.decided.keys():
            possible = [self.verdict(tip, self.terms[name]) for tip in tips]
            assert stored[name] in possible, f"{name} is {stored[name]}, and the chain says {possible}"
            self.counted[name] = self.counted_by(stored[name].closing_hash, self.terms[name])
        self.decided = stored

    def _check_plans(self, tips: Sequence[str]) -> None:
        """A coin is planned for one kind for ever, for the right one, when it was deep enough; nothing is unplanned."""
        now: dict[Outpoint, Plan] = {}
        for plan in self.shelf.plans():
            first = now.setdefault(plan.outpoint, plan)
            assert first.kind == plan.kind, f"{plan.outpoint} is planned for both kinds"
        assert self.planned.keys() <= now.keys(), "a plan was unmade"
        for outpoint, plan in now.items():
            before = self.planned.get(outpoint)
            assert before is None or before == plan
        fresh = [plan for outpoint, plan in now.items() if outpoint not in self.planned]
        owed = {name: [self.owed(tip, name) for tip in tips] for name in {plan.campaign for plan in fresh}}
        for plan in fresh:
            assert any(one.get(plan.outpoint) == plan.kind for one in owed[plan.campaign]), f"not owed: {plan}"
        self.planned = now

    def _check_sums(self) -> None:
        """I1, I2: the books hold the coins of their own tip, and every satoshi is in the bucket where it is."""
        tip = self.shelf.tip()
        truth = self.coins(tip)
        rows = {((row[0], row[1]), *row[2:]) for row in self.shelf.confirmed()}
        assert rows == {(c.outpoint, c.sats, c.given.script, c.height, c.spent_by) for c in truth}, "other coins"
        for name in self.terms:
            own = [c for c in truth if c.given.campaign == name]
            key = (own, len(self.shelf.attempts()), len(self.planned), self.decided.get(name))
            if self._sums.get(name) != key:
                self._sums[name] = key
                right = self.where_it_is(name, own)
                assert self.shelf.buckets(name) == right, (right, self.shelf.buckets(name))
                assert self.shelf.shown(name) == right, (right, self.shelf.shown(name))

    def where_it_is(self, campaign: str, coins: Sequence[Mined]) -> tuple[dict[str, int], int]:
        """(what became of the spent coins, the sum of those that lie at our addresses)."""
        spent = dict.fromkeys(("paid_out", "refunded", "miner_fee", "foreign_spend"), 0)
        for txid in {c.spent_by for c in coins if c.spent_by is not None}:
            outputs = (self.signed.get(txid) or self.timelocked[txid]).sealed.tx.outputs
            for sats, script in outputs:
                spent["paid_out" if script == self.terms[campaign].payout_script else "refunded"] += sats
            spent["miner_fee"] += sum(c.sats for c in coins if c.spent_by == txid) - sum(sats for sats, _ in outputs)
        return spent, sum(c.sats for c in coins if c.spent_by is None)

    # What a chain says

    def coins(self, tip: str) -> list[Mined]:
        """Every coin of ours in the branch, spent or not."""
        found: dict[Outpoint, Mined] = {}
        spent: dict[Outpoint, str] = {}
        for block in self.chain.holders(tip):
            for tx in block.txs:
                spent |= dict.fromkeys(tx.spends, tx.txid)
                for vout, (sats, script) in enumerate(tx.outputs):
                    given = self.given.get(script)
                    if given is not None:
                        at = (tx.txid, vout)
                        found[at] = Mined(at, sats, given, block.height, tx.coinbase, None)
        return [Mined(c.outpoint, c.sats, c.given, c.height, c.coinbase, spent.get(c.outpoint)) for c in found.values()]

    def closing(self, branch: Sequence[Block], terms: Terms) -> Block | None:
        """The first block whose median time is later than the deadline."""
        states = self.chain.states
        return next((b for b in branch if states[b.hash].median_time > terms.deadline), None)

    def verdict(self, tip: str, terms: Terms) -> Verdict | None:
        """The outcome that this branch gives, once its closing block is deep enough."""
        branch = self.chain.branch(tip)
        closing = self.closing(branch, terms)
        if closing is None or branch[-1].height - closing.height + 1 < terms.confirmations:
            return None
        own = [c for c in self.coins(tip) if c.given.campaign == terms.id]
        counted = self.counted_by(closing.hash, terms)
        total = sum(c.sats for c in own if c.outpoint in counted)
        return Verdict("funded" if total >= terms.goal_sats else "failed", total, closing.height, closing.hash)

    def counted_by(self, closing_hash: str, terms: Terms) -> set[Outpoint]:
        """The coins that count if this is the closing block: those in the blocks below it."""
        own = [c for c in self.coins(closing_hash) if c.given.campaign == terms.id]
        return counting(own, self.chain.known[closing_hash].height, terms.cap_sats)

    def owed(self, tip: str, campaign: str) -> dict[Outpoint, str]:
        """What is owed for the campaign's unspent coins, if this branch is the chain and they are deep enough. What
        counted when it was decided is paid out, wherever a reorganisation has moved it since; what came to count by
        one, the decision does not rest on, and it goes back."""
        decision, terms = self.decided[campaign], self.terms[campaign]
        own = [c for c in self.coins(tip) if c.given.campaign == campaign]
        height = self.chain.known[tip].height
        return {
            c.outpoint: "release" if c.outpoint in self.counted[campaign] and decision.outcome == "funded" else "refund"
            for c in own
            if c.sats >= DUST_BELOW_SATS and c.spent_by is None
            if height - c.height + 1 >= (RIPE_AFTER if c.coinbase else terms.confirmations)
        }

    def unsettled(self) -> Mapping[Outpoint, str]:
        """Coins that are owed now and that no block spends, with what is owed for them; all others were settled, each
        once, as the chain does not let a coin be spent twice."""
        found: dict[Outpoint, str] = {}
        for name in self.decided:
            found |= self.owed(self.chain.tip.hash, name)
        return found

    def blocked(self) -> set[Outpoint]:
        """Coins that wait in one batch with a coin that a reorganisation took away for good."""
        there = {c.outpoint for c in self.coins(self.chain.tip.hash)}
        plans = self.shelf.plans()
        whole = {plan.parent for plan in plans}
        lost = {plan.batch for plan in plans if plan.outpoint not in there and plan.batch not in whole}
        return {plan.outpoint for plan in plans if plan.batch in lost}

    def too_small(self) -> set[Outpoint]:
        """Coins that nobody planned and that together cannot be released for a tenth of what they hold."""
        found: set[Outpoint] = set()
        sats = {c.outpoint: c.sats for c in self.coins(self.chain.tip.hash)}
        for name, terms in self.terms.items():
            owed = self.owed(self.chain.tip.hash, name) if name in self.decided else {}
            loose = [o for o, kind in owed.items() if kind == "release" and o not in self.planned]
            weight = 34 + 8 + INPUT_WEIGHT * len(loose) + 4 * (9 + len(terms.payout_script))
            if 10 * (weight // 4) > sum(sats[o] for o in loose):
                found |= set(loose)
        return found

    def disliked(self) -> set[Outpoint]:
        """Coins whose refund no node takes just now."""
        coins = self.coins(self.chain.tip.hash)
        return {c.outpoint for c in coins if c.given.refund_script in self.chain.poison}


def counting(coins: Iterable[Mined], closing_height: int, cap_sats: int) -> set[Outpoint]:
    """The coins of a campaign that count for the goal: in the order of the chain, until the cap is reached (0 is none).
    A miner's fresh coin is as if it came when it ripens."""
    found, room_sats = set(), cap_sats
    for coin in sorted(coins, key=lambda c: (c.height, c.outpoint)):
        comes_at = coin.height + (RIPE_AFTER if coin.coinbase else 0)
        if coin.sats >= DUST_BELOW_SATS and comes_at < closing_height:
            if not cap_sats or room_sats > 0:
                found.add(coin.outpoint)
            room_sats -= coin.sats
    return found


def dust_sats(script: bytes) -> int:
    """The smallest output that nodes relay."""
    witness = script[0] in (0, *range(0x51, 0x61)) and script[1] == len(script) - 2
    return (9 + len(script) + (67 if witness else 148)) * 3
