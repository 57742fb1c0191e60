"""The chain in memory with the rules that money has: a node that takes, refuses and forgets transactions, and miners.

On top of `SimChain`: an output is spent once and only if it is there, a signature must be valid, a lock time must have
come; a transaction in conflict with another replaces it for a higher fee only; the mempool has a floor. Strangers'
payments are made up, so their signatures and amounts are nobody's concern; what a worker sends is looked at as a node
would. May not: call anything of the product but the words of its ports.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from embit.ec import PublicKey, Signature
from embit.hashes import hash160
from embit.script import Script
from embit.transaction import Transaction

from crowdfund.chain.port import NodeStatus, Outpoint, SendResult, Sent, Unreachable, UnspentCoin
from support.model import Block, Tx, median_time
from support.simchain import NOBODY, NULL, START, SimChain, double, make_tx, root_of

RIPE_AFTER = 100
STEP_SAT_VB = 1  # what a replacement pays more, as Core asked for until it asked for less


@dataclass(frozen=True)
class Output:
    """An output in a block."""

    sats: int
    script: bytes
    height: int
    coinbase: bool


@dataclass(frozen=True)
class State:
    """What a block leaves behind: every unspent output, and every outpoint ever spent."""

    unspent: dict[Outpoint, Output] = field(default_factory=dict)
    spent: set[Outpoint] = field(default_factory=set)
    median_time: int = 0


@dataclass(frozen=True)
class Sealed:
    """A transaction as somebody signed it. `weight` in weight units."""

    tx: Tx
    locktime: int
    weight: int
    parsed: Transaction

    @property
    def vsize(self) -> int:
        """In vB."""
        return -(-self.weight // 4)

    @property
    def sequences(self) -> set[int]:
        """Of all inputs."""
        return {spent.sequence for spent in self.parsed.vin}


def read_sealed(raw: bytes) -> Sealed:
    """A signed transaction from its bytes."""
    parsed = Transaction.parse(raw)
    assert parsed.serialize() == raw
    spends = tuple((spent.txid.hex(), int(spent.vout)) for spent in parsed.vin)
    outputs = tuple((int(paid.value), bytes(paid.script_pubkey.data)) for paid in parsed.vout)
    bare = len(raw) - 2 - sum(1 + sum(1 + len(item) for item in spent.witness.items) for spent in parsed.vin)
    return Sealed(Tx(parsed.txid().hex(), spends, outputs, raw=raw), parsed.locktime, 3 * bare + len(raw), parsed)


def is_signed(sealed: Sealed, number: int, spent: tuple[int, bytes]) -> bool:
    """BIP 143, for a key hash: the key of the script spent has signed this input, all others and all outputs."""
    items = sealed.parsed.vin[number].witness.items
    if len(items) != 2 or items[0][-1] != 1:
        return False
    key = bytes(items[1])
    digest = sealed.parsed.sighash_segwit(number, Script(b"\x76\xa9\x14" + spent[1][2:] + b"\x88\xac"), spent[0])
    right = spent[1] == b"\x00\x14" + hash160(key)
    return right and bool(PublicKey.parse(key).verify(Signature.parse(items[0][:-1]), digest))


class PayChain(SimChain):
    """See above. `received` is called with all that is sent here, before it is looked at."""

    def __init__(self, length: int = 12) -> None:
        self.states: dict[str, State] = {}
        self.busy: dict[str, bool] = {}
        self.made: dict[Outpoint, tuple[int, bytes]] = {}  # every output of every transaction, wherever it is now
        self.sealed: dict[str, Sealed] = {}
        self.strangers: dict[str, Tx] = {}
        self.received: Callable[[bytes], None] = lambda _: None
        self.away = False
        self.replies_lost = 0
        self.poison: set[bytes] = set()
        self.estimate_sat_vb: int | None = 2
        self.floor_sat_vb = 1
        self.changes = 0
        self._valid: dict[str, bool] = {}
        super().__init__(length)

    def copy(self) -> PayChain:
        """Another one with the same past."""
        twin = PayChain(0)
        twin.known, twin.header, twin.best = dict(self.known), dict(self.header), list(self.best)
        twin.tips, twin._salt, twin._real = list(self.tips), self._salt, set(self._real)
        twin.states, twin.busy, twin.made = dict(self.states), dict(self.busy), dict(self.made)
        return twin

    # As the author has it

    def branch(self, tip_hash: str) -> list[Block]:
        """The blocks from the first one up to this one."""
        if self.best and tip_hash == self.best[-1]:
            return [self.known[found] for found in self.best]
        return super().branch(tip_hash)

    def tx(self, spends: Sequence[Outpoint], outputs: Sequence[tuple[int, bytes]]) -> Tx:
        """A stranger's transaction, not sent yet."""
        made = super().tx(spends, outputs)
        self._note(made)
        self.strangers[made.txid] = made
        return made

    def sign(self, raw: bytes) -> Sealed:
        """Take note of what somebody has signed: from now on a miner may have it."""
        sealed = read_sealed(raw)
        self._note(sealed.tx)
        self.sealed.setdefault(sealed.tx.txid, sealed)
        return sealed

    def send(self, tx: Tx) -> bool:
        """A stranger's transaction, into the mempool; what it conflicts with goes."""
        if self._invalid(tx, self._tip_state(), with_pool=True):
            return False
        for txid in self._conflicts(tx):
            self.evict(txid)
        if self._invalid(tx, self._tip_state(), with_pool=True):
            return False  # it spends what it would replace
        self.pool[tx.txid] = tx
        return True

    def mine(self, txs: Iterable[Tx], seconds: int, to: tuple[int, bytes] = (50, NOBODY)) -> Block:
        """A block on the tip with those of these transactions that it can hold."""
        parent = self.tip if self.best else None
        last = [self.known[found] for found in self.best[-11:]]
        earliest = median_time(last, len(last) - 1) + 1 if last else START
        height = len(self.best)
        self._salt += 1
        held = [make_tx([NULL], [to], self._salt, coinbase=True)]
        self._note(held[0])
        before = self.states[parent.hash] if parent else State()
        after = State(dict(before.unspent), set(before.spent))
        _apply(after, held[0], height)
        for tx in txs:
            if tx.txid not in {t.txid for t in held} and not self._invalid(tx, after, height=height):
                held.append(tx)
                _apply(after, tx, height)
        time = max(earliest, (parent.time if parent else START) + seconds)
        header = struct.pack("<i", 4) + bytes.fromhex(parent.hash if parent else "00" * 32)[::-1]
        header += root_of(tx.txid for tx in held) + struct.pack("<III", time, 0x207FFFFF, self._salt)
        block = Block(double(header)[::-1].hex(), parent.hash if parent else "", height, time, tuple(held))
        last = [*last, block][-11:]
        self.known[block.hash], self.header[block.hash] = block, header
        self.states[block.hash] = State(after.unspent, after.spent, median_time(last, len(last) - 1))
        self.busy[block.hash] = len(held) > 1 or to[1] != NOBODY
        self.best.append(block.hash)
        self.tips.append(block.hash)
        self._tidy({})
        return block

    def raise_floor(self, sat_vb: int) -> None:
        """The mempool is full of better ones: what pays less falls out."""
        self.floor_sat_vb = sat_vb
        for txid in [txid for txid in self.pool if txid in self.sealed]:
            if self.fee_sats(self.sealed[txid].tx) < sat_vb * self.sealed[txid].vsize:
                self.evict(txid)

    def fee_sats(self, tx: Tx) -> int:
        """Of a transaction whose inputs are all known."""
        return sum(self.made[spent][0] for spent in tx.spends) - sum(sats for sats, _ in tx.outputs)

    def is_valid(self, sealed: Sealed) -> bool:
        """Are its signatures good?"""
        txid = sealed.tx.txid
        if txid not in self._valid:
            spends = enumerate(sealed.tx.spends)
            self._valid[txid] = all(is_signed(sealed, n, self.made[spent]) for n, spent in spends)
        return self._valid[txid]

    def holders(self, tip_hash: str) -> list[Block]:
        """The blocks of the branch that hold more than their own coin for nobody, from below."""
        return [block for block in self.branch(tip_hash) if self.busy[block.hash]]

    # As a backend

    def _ask(self, moment: str) -> None:
        self.before(moment)
        if self.away:
            raise Unreachable("The node does not answer.")

    def status(self) -> NodeStatus:
        """See the port."""
        self._ask("status")
        return super().status()

    def unspent(self, scripts: Sequence[bytes]) -> tuple[str, list[UnspentCoin]]:
        """See the port."""
        self._ask("unspent")
        wanted = set(scripts)
        return self.tip.hash, [
            UnspentCoin(txid, vout, found.sats, found.script, found.coinbase, found.height)
            for (txid, vout), found in self._tip_state().unspent.items()
            if found.script in wanted
        ]

    def broadcast(self, raw: bytes) -> SendResult:
        """See the port. The words of a refusal are Core's."""
        self._ask("broadcast")
        self.received(raw)
        result = self._accept(self.sign(raw))
        if self.replies_lost:
            self.replies_lost -= 1
            raise Unreachable("The node's answer did not come.")
        return result

    def feerate_sat_vb(self, target_blocks: int) -> int | None:
        """See the port: never below what the mempool takes."""
        self._ask("feerate_sat_vb")
        if self.estimate_sat_vb is None:
            return None if self.floor_sat_vb <= 1 else self.floor_sat_vb
        return max(self.estimate_sat_vb, self.floor_sat_vb)

    def _accept(self, sealed: Sealed) -> SendResult:
        tx, state = sealed.tx, self._tip_state()
        if any((tx.txid, n) in state.unspent for n in range(len(tx.outputs))):
            return SendResult(Sent.KNOWN)
        if tx.txid in self.pool:
            return SendResult(Sent.KNOWN)
        invalid = self._invalid(tx, state, with_pool=True, height=len(self.best))
        if invalid == "bad-txns-inputs-missingorspent":
            return SendResult(Sent.INPUTS_GONE, invalid)
        refusal = invalid or self._impolite(sealed)
        if refusal:
            return SendResult(Sent.REFUSED, refusal)
        for txid in self._conflicts(tx):
            self.evict(txid)
        self.pool[tx.txid] = tx
        return SendResult(Sent.ACCEPTED)

    def _impolite(self, sealed: Sealed) -> str:
        """What is no crime, and not relayed all the same."""
        tx, fee_sats, floor_sats = sealed.tx, self.fee_sats(sealed.tx), self.floor_sat_vb * sealed.vsize
        if {script for _, script in tx.outputs} & self.poison:
            return "scriptpubkey"
        if any(sats < 294 for sats, _ in tx.outputs):
            return "dust"
        if sealed.weight > 400_000:
            return "tx-size"
        if fee_sats < sealed.vsize:
            return f"min relay fee not met, {fee_sats} < {sealed.vsize}"
        if fee_sats < floor_sats:
            return f"mempool min fee not met, {fee_sats} < {floor_sats}"
        rivals = [self.sealed[txid] for txid in self._conflicts(tx)]
        owed_sats = sum(self.fee_sats(rival.tx) for rival in rivals)
        if any(fee_sats * rival.vsize <= self.fee_sats(rival.tx) * sealed.vsize for rival in rivals):
            return f"insufficient fee, rejecting replacement {tx.txid}; new feerate <= old feerate"
        if rivals and fee_sats < owed_sats + STEP_SAT_VB * sealed.vsize:
            return f"insufficient fee, rejecting replacement {tx.txid}, not enough additional fees to relay"
        return ""

    # What only the chain itself needs

    def _note(self, tx: Tx) -> None:
        self._real.add(tx.txid)
        self.made |= {(tx.txid, n): output for n, output in enumerate(tx.outputs)}

    def _tip_state(self) -> State:
        return self.states[self.best[-1]]

    def _conflicts(self, tx: Tx) -> list[str]:
        wanted = set(tx.spends)
        return [other.txid for other in self.pool.values() if wanted & set(other.spends)]

    def _invalid(self, tx: Tx, state: State, with_pool: bool = False, height: int | None = None) -> str:
        """What keeps the transaction out of the next block, "" if nothing does."""
        height = len(self.best) if height is None else height
        for spent in tx.spends:
            there = state.unspent.get(spent)
            if there is None and spent[0] in self._real and not (with_pool and spent[0] in self.pool):
                return "bad-txns-inputs-missingorspent"
            if spent in state.spent:
                return "bad-txns-inputs-missingorspent"
            if there is not None and there.coinbase and height - there.height < RIPE_AFTER:
                return "bad-txns-premature-spend-of-coinbase"
        if (tx.txid, 0) in state.unspent or (tx.txid, 0) in state.spent:
            return "bad-txns-BIP30"
        sealed = self.sealed.get(tx.txid)
        return self._unlawful(sealed, height) if sealed else ""

    def _unlawful(self, sealed: Sealed, height: int) -> str:
        if sealed.locktime >= height:
            return "non-final"
        if self.fee_sats(sealed.tx) < 0:
            return "bad-txns-in-belowout"
        return "" if self.is_valid(sealed) else "mandatory-script-verify-flag-failed"

    def _tidy(self, returning: object) -> None:
        """Only what the next block could hold stays in the mempool; parents come first."""
        self.changes += 1
        back = returning if isinstance(returning, dict) else {}
        waiting, self.pool = {**back, **self.pool}, {}
        state, taken = self._tip_state(), set[Outpoint]()
        for txid, tx in waiting.items():
            if not self._invalid(tx, state, with_pool=True) and not taken & set(tx.spends):
                self.pool[txid] = tx
                taken |= set(tx.spends)


def _apply(state: State, tx: Tx, height: int) -> None:
    for spent in tx.spends:
        state.unspent.pop(spent, None)
        state.spent.add(spent)
    for vout, (sats, script) in enumerate(tx.outputs):
        state.unspent[tx.txid, vout] = Output(sats, script, height, tx.coinbase)
