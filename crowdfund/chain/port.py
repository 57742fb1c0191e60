"""What the rest of the program asks of a chain, and the plain values it gets back.

The port belongs to those who use it; a backend (core.py) fulfils it. Hashes and txids are hex in the byte order
that people read. Every method may raise WorldError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True)
class BlockRef:
    """A block's place. Times are unix seconds; `median_time_past` is BIP 113's, this block included."""

    height: int
    hash: str
    prev_hash: str
    time: int
    median_time_past: int


@dataclass(frozen=True)
class UnspentCoin:
    """A confirmed output that nothing has spent, and the height of its block."""

    txid: str
    vout: int
    value_sats: int
    script: bytes
    coinbase: bool
    height: int


@dataclass(frozen=True)
class NodeStatus:
    """What a node says of itself. `synced` is False while it still downloads or verifies blocks."""

    genesis_hash: str
    height: int
    headers: int
    tip_hash: str
    median_time_past: int
    synced: bool


class Sent(StrEnum):
    """What became of a broadcast. Nothing here ever means "not paid"; see `worker`."""

    ACCEPTED = "accepted"
    KNOWN = "known"
    INPUTS_GONE = "inputs gone"
    REFUSED = "refused"


@dataclass(frozen=True)
class SendResult:
    """Outcome and, where the node gave one, its reason."""

    sent: Sent
    reason: str = ""


class ChainBackend(Protocol):
    """A view of one chain."""

    def status(self) -> NodeStatus:
        """Tip, sync state and genesis hash, as of one moment."""

    def block_hash(self, height: int) -> str | None:
        """Hash of the best chain's block at `height`, None above the tip."""

    def block_refs(self, hashes: Sequence[str]) -> list[BlockRef]:
        """Headers of these blocks, in the same order."""

    def block(self, block_hash: str) -> bytes:
        """A whole block, serialised as on the wire."""

    def mempool_txids(self) -> list[str]:
        """Every unconfirmed transaction that the node holds."""

    def mempool_transactions(self, txids: Sequence[str]) -> dict[str, bytes]:
        """Raw bytes of these unconfirmed transactions; those that have left meanwhile are missing."""

    def unspent(self, scripts: Sequence[bytes]) -> tuple[str, list[UnspentCoin]]:
        """(hash of the tip, every unspent output that pays one of `scripts` as of that tip). May take minutes."""

    def broadcast(self, raw: bytes) -> SendResult:
        """Hand a signed transaction to the network."""

    def feerate_sat_vb(self, target_blocks: int) -> int | None:
        """The node's estimate, rounded up to whole sat/vB; None if it has none."""
