"""A real node as the story's chain: what `SimChain` does in memory, done by RPC.

Transactions are made by the bank's wallet and signed; the node's own rules say what fits. Blocks are read in JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from crowdfund.chain.core import CoreBackend
from crowdfund.chain.local_rpc import RpcError
from crowdfund.chain.regtest import RegtestNode
from support.model import Block, Outpoint, Tx
from support.node import new_address
from support.simchain import NOBODY

FEE_SATS = 2_000


class NodeChain:
    """See SimChain; the same names mean the same."""

    def __init__(self, node: RegtestNode) -> None:
        self.node = node
        self.backend = CoreBackend(node.rpc_url, node.cookie_file)
        self.before: Callable[[str], None] = lambda _: None
        self.known: dict[str, Block] = {}
        self._txs: dict[str, Tx] = {}
        self._fee_sats = FEE_SATS
        self._values: dict[Outpoint, int] = {}
        self._spare = self._coins()
        self.tips: list[str] = [self.tip.hash]

    @property
    def tip(self) -> Block:
        """The last block of the best branch."""
        return self._block(str(self.node.rpc("getbestblockhash")))

    def branch(self, tip_hash: str) -> list[Block]:
        """The blocks from the first one up to this one."""
        found = [self._block(tip_hash)]
        while found[-1].height:
            found.append(self._block(found[-1].prev))
        return found[::-1]

    def mempool(self) -> Mapping[str, Tx]:
        """What waits to be confirmed."""
        return {t: self._txs.get(t) or read_tx(self.node.rpc("getrawtransaction", t, True))
                for t in self.node.rpc("getrawmempool")}  # fmt: skip

    @property
    def pool(self) -> Mapping[str, Tx]:
        """The same."""
        return self.mempool()

    def fresh_coin(self) -> Outpoint:
        """A mature coin of the bank that no test has used."""
        return self._spare.pop()

    def tx(self, spends: Sequence[Outpoint], outputs: Sequence[tuple[int, bytes]]) -> Tx:
        """A signed transaction, not sent yet; each pays a higher fee than the ones before it.

        Where these coins do not suffice, it spends more of the bank's.
        """
        self._fee_sats += 1_500
        rest = sum(map(self._value, spends)) - sum(sats for sats, _ in outputs) - self._fee_sats
        while rest < 0:
            spends = [*spends, self.fresh_coin()]
            rest += self._value(spends[-1])
        paid = [(sats, script) for sats, script in outputs if script != NOBODY]
        rest += sum(sats for sats, script in outputs if script == NOBODY)
        raw = raw_transaction(spends, [*paid, (rest, self._change())])
        signed = self.node.bank("signrawtransactionwithwallet", raw)["hex"]
        made = read_tx(self.node.rpc("decoderawtransaction", signed), bytes.fromhex(signed))
        self._txs[made.txid] = made
        return made

    def send(self, tx: Tx) -> bool:
        """Into the mempool, if the node takes it."""
        try:
            self.node.rpc("sendrawtransaction", tx.raw.hex())
        except RpcError:
            return False
        return True

    def evict(self, txid: str) -> None:
        """No call does that to a node."""

    def mine(self, txs: Iterable[Tx], seconds: int, to: tuple[int, bytes] = (0, NOBODY)) -> Block:
        """A block on the tip with those of these transactions that fit into it, in this order."""
        self.node.rpc("setmocktime", max(self.node.node_time() + max(seconds, 1), self.tip.time + 1))
        held: list[str] = []
        for tx in txs:
            if self._block_of([*held, tx.raw.hex()], submit=False):
                held.append(tx.raw.hex())
        assert self._block_of(held, submit=True)
        self.tips.append(self.tip.hash)
        return self.tip

    def go_to(self, tip_hash: str, remember: bool) -> None:
        """Back along the best branch to this block."""
        above = self.node.rpc("getblockhash", self._block(tip_hash).height + 1)
        self.node.rpc("invalidateblock", above)
        self.tips.append(tip_hash)

    def _block_of(self, raw: Sequence[str], submit: bool) -> bool:
        try:
            self.node.rpc("generateblock", new_address(self.node), list(raw), submit)
        except RpcError:
            return False
        return True

    def _coins(self) -> list[Outpoint]:
        for coin in self.node.bank("listunspent"):
            if coin["amount"] > 1:
                self._values[str(coin["txid"]), int(coin["vout"])] = int(coin["amount"] * 10**8)
        return [*self._values]

    def _value(self, outpoint: Outpoint) -> int:
        known = self._txs.get(outpoint[0])
        return known.outputs[outpoint[1]][0] if known else self._values[outpoint]

    def _change(self) -> bytes:
        return bytes.fromhex(self.node.bank("getaddressinfo", new_address(self.node))["scriptPubKey"])

    def _block(self, block_hash: str) -> Block:
        if block_hash not in self.known:
            told = self.node.rpc("getblock", block_hash, 2)
            txs = tuple(read_tx(tx) for tx in told["tx"])
            prev = str(told.get("previousblockhash", ""))
            self.known[block_hash] = Block(block_hash, prev, int(told["height"]), int(told["time"]), txs)
        return self.known[block_hash]


def read_tx(told: Any, raw: bytes = b"") -> Tx:
    """A transaction as the node's JSON has it."""
    coinbase = "coinbase" in told["vin"][0]
    spends = () if coinbase else tuple((str(i["txid"]), int(i["vout"])) for i in told["vin"])
    outputs = tuple((int(Decimal(o["value"]) * 10**8), bytes.fromhex(o["scriptPubKey"]["hex"])) for o in told["vout"])
    return Tx(str(told["txid"]), spends, outputs, coinbase, raw or bytes.fromhex(told.get("hex", "")))


def raw_transaction(spends: Sequence[Outpoint], outputs: Sequence[tuple[int, bytes]]) -> str:
    """Unsigned, in hex; it says that it may be replaced."""
    parts = [(2).to_bytes(4, "little"), bytes([len(spends)])]
    parts += [bytes.fromhex(t)[::-1] + n.to_bytes(4, "little") + b"\0\xfd\xff\xff\xff" for t, n in spends]
    parts.append(bytes([len(outputs)]))
    parts += [sats.to_bytes(8, "little") + bytes([len(script)]) + script for sats, script in outputs]
    return b"".join([*parts, bytes(4)]).hex()
