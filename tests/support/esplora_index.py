"""What an Esplora server knows of a node's chain: an index over its blocks and mempool, built from RPC alone.

Follows the node at each question: blocks that left the best chain are undone, new ones are read, the mempool is read
anew. Shares no code with the program's own reading of blocks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from hashlib import sha256
from typing import Any

from crowdfund.chain.local_rpc import RpcError
from crowdfund.chain.regtest import RegtestNode

Json = dict[str, Any]
Outpoint = tuple[str, int]
KINDS = {
    "pubkey": "p2pk",
    "pubkeyhash": "p2pkh",
    "scripthash": "p2sh",
    "witness_v0_keyhash": "v0_p2wpkh",
    "witness_v0_scripthash": "v0_p2wsh",
    "witness_v1_taproot": "v1_p2tr",
    "nulldata": "op_return",
}
NO_TXID = "00" * 32


class Index:
    """`with index.now()` gives it as of the node's present tip and mempool, to one thread at a time."""

    def __init__(self, node: RegtestNode) -> None:
        self.node = node
        self.blocks: list[Json] = []
        self.heights: dict[str, int] = {}  # of blocks
        self.mempool: list[str] = []
        self.txs: dict[str, Json] = {}  # every transaction ever seen, as the node tells of it
        self._confirmed: dict[str, int] = {}
        self._spent: dict[Outpoint, tuple[str, int]] = {}
        self._spent_unconfirmed: dict[Outpoint, tuple[str, int]] = {}
        self._touching: dict[str, dict[str, None]] = {}  # script hash -> txids, oldest first
        self._lock = threading.Lock()

    @contextmanager
    def now(self) -> Iterator[Index]:
        with self._lock:
            self._follow()
            while not self._read_mempool():
                self._follow()
            yield self

    def _follow(self) -> None:
        new, at = [], str(self.node.rpc("getbestblockhash"))
        while at not in self.heights:
            block = self.node.rpc("getblock", at, 2)
            new.append(block)
            if "previousblockhash" not in block:
                break
            at = block["previousblockhash"]
        else:
            while self.blocks[-1]["hash"] != at:
                self._undo(self.blocks.pop())
        for block in reversed(new):
            self._connect(block)

    def _connect(self, block: Json) -> None:
        self.heights[block["hash"]] = len(self.blocks)
        self.blocks.append(block)
        for tx in block["tx"]:
            self._learn(tx)
            self._confirmed[tx["txid"]] = block["height"]
            for outpoint, spender in _spends(tx):
                self._spent[outpoint] = spender
            for script_hash in self._scripts(tx):
                self._touching.setdefault(script_hash, {}).pop(tx["txid"], None)
                self._touching[script_hash][tx["txid"]] = None

    def _undo(self, block: Json) -> None:
        del self.heights[block["hash"]]
        for tx in block["tx"]:
            del self._confirmed[tx["txid"]]
            for outpoint, _ in _spends(tx):
                del self._spent[outpoint]

    def _read_mempool(self) -> bool:
        """False if the chain moved on while it was read, or a transaction left."""
        self.mempool = self.node.rpc("getrawmempool")
        self._spent_unconfirmed = {}
        try:
            for txid in self.mempool:
                if txid not in self.txs:
                    self._learn(self.node.rpc("getrawtransaction", txid, 1))
                self._spent_unconfirmed.update(_spends(self.txs[txid]))
        except RpcError:
            return False
        for txid in self.mempool:
            for script_hash in self._scripts(self.txs[txid]):
                self._touching.setdefault(script_hash, {}).setdefault(txid)
        return bool(self.node.rpc("getbestblockhash") == self.blocks[-1]["hash"])

    def _learn(self, tx: Json) -> None:
        self.txs.setdefault(tx["txid"], tx)

    def _scripts(self, tx: Json) -> set[str]:
        spent = [self.txs[t]["vout"][n] for (t, n), _ in _spends(tx)]
        return {sha256(bytes.fromhex(o["scriptPubKey"]["hex"])).hexdigest() for o in [*tx["vout"], *spent]}

    # Questions, each in the shape that the API gives its answers.

    def status(self, txid: str) -> Json:
        if txid not in self._confirmed:
            return {"confirmed": False}
        block = self.blocks[self._confirmed[txid]]
        return {
            "confirmed": True,
            "block_height": block["height"],
            "block_hash": block["hash"],
            "block_time": block["time"],
        }

    def known(self, txid: str) -> Json | None:
        """The transaction, if it is in the best chain or the mempool."""
        return self.txs[txid] if txid in self._confirmed or txid in self.mempool else None

    def outspend(self, outpoint: Outpoint) -> Json:
        by = self._spent.get(outpoint) or self._spent_unconfirmed.get(outpoint)
        return (
            {"spent": False}
            if by is None
            else {"spent": True, "txid": by[0], "vin": by[1], "status": self.status(by[0])}
        )

    def history(self, script_hash: str) -> tuple[list[str], list[str]]:
        """(unconfirmed, confirmed) transactions of a script, newest first."""
        touching = list(self._touching.get(script_hash, {}))[::-1]
        confirmed = sorted((t for t in touching if t in self._confirmed), key=lambda t: -self._confirmed[t])
        return [t for t in touching if t in self.mempool], confirmed

    def utxo(self, script_hash: str) -> list[Json]:
        """Outputs that nothing spends, not even an unconfirmed transaction."""
        unconfirmed, confirmed = self.history(script_hash)
        funded = self._funded(script_hash, [*confirmed, *unconfirmed])
        return [
            {"txid": t, "vout": n, "status": self.status(t), "value": sats}
            for (t, n), sats in funded.items()
            if (t, n) not in self._spent and (t, n) not in self._spent_unconfirmed
        ]

    def stats(self, script_hash: str) -> Json:
        unconfirmed, confirmed = self.history(script_hash)
        funded = self._funded(script_hash, [*confirmed, *unconfirmed])
        return {
            "chain_stats": self._sums(script_hash, confirmed, funded, self._spent),
            "mempool_stats": self._sums(script_hash, unconfirmed, funded, self._spent_unconfirmed),
        }

    def _sums(self, script_hash: str, txids: list[str], funded: dict[Outpoint, int], spent: Json | Any) -> Json:
        mine = self._funded(script_hash, txids)
        gone = [sats for outpoint, sats in funded.items() if outpoint in spent]
        return {
            "funded_txo_count": len(mine),
            "funded_txo_sum": sum(mine.values()),
            "spent_txo_count": len(gone),
            "spent_txo_sum": sum(gone),
            "tx_count": len(txids),
        }

    def _funded(self, script_hash: str, txids: list[str]) -> dict[Outpoint, int]:
        return {
            (txid, out["n"]): sats(out["value"])
            for txid in txids
            for out in self.txs[txid]["vout"]
            if sha256(bytes.fromhex(out["scriptPubKey"]["hex"])).hexdigest() == script_hash
        }

    def tx(self, txid: str) -> Json:
        """The main fields of a transaction."""
        tx = self.txs[txid]
        vin, vout = [self._vin(i) for i in tx["vin"]], [_vout(o) for o in tx["vout"]]
        paid = sum(i["prevout"]["value"] for i in vin if i["prevout"])
        return {
            "txid": txid,
            "version": tx["version"],
            "locktime": tx["locktime"],
            "vin": vin,
            "vout": vout,
            "size": tx["size"],
            "weight": tx["weight"],
            "fee": paid - sum(o["value"] for o in vout) if paid else 0,
            "status": self.status(txid),
        }

    def _vin(self, vin: Json) -> Json:
        coinbase = "coinbase" in vin
        script = {"hex": vin["coinbase"], "asm": ""} if coinbase else vin["scriptSig"]
        return {
            "txid": NO_TXID if coinbase else vin["txid"],
            "vout": 0xFFFFFFFF if coinbase else vin["vout"],
            "prevout": None if coinbase else _vout(self.txs[vin["txid"]]["vout"][vin["vout"]]),
            "scriptsig": script["hex"],
            "scriptsig_asm": script["asm"],
            **({"witness": vin["txinwitness"]} if vin.get("txinwitness") else {}),
            "is_coinbase": coinbase,
            "sequence": vin["sequence"],
        }

    def merkle_proof(self, txid: str) -> Json | None:
        """A branch as Electrum servers give it."""
        if txid not in self._confirmed:
            return None
        block = self.blocks[self._confirmed[txid]]
        level = [bytes.fromhex(tx["txid"])[::-1] for tx in block["tx"]]
        at = position = [tx["txid"] for tx in block["tx"]].index(txid)
        branch = []
        while len(level) > 1:
            level += level[-1:] * (len(level) % 2)
            branch.append(level[at ^ 1][::-1].hex())
            level = [_twice(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
            at //= 2
        return {"block_height": block["height"], "merkle": branch, "pos": position}


def sats(btc: Decimal) -> int:
    """An amount of the node's JSON in satoshi."""
    return int(Decimal(btc) * 100_000_000)


def _twice(data: bytes) -> bytes:
    return sha256(sha256(data).digest()).digest()


def _spends(tx: Json) -> list[tuple[Outpoint, tuple[str, int]]]:
    return [((i["txid"], i["vout"]), (tx["txid"], n)) for n, i in enumerate(tx["vin"]) if "coinbase" not in i]


def _vout(out: Json) -> Json:
    script = out["scriptPubKey"]
    return {
        "scriptpubkey": script["hex"],
        "scriptpubkey_asm": script["asm"],
        "scriptpubkey_type": KINDS.get(script["type"], "unknown"),
        **({"scriptpubkey_address": script["address"]} if "address" in script else {}),
        "value": sats(out["value"]),
    }
