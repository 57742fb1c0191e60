"""What the rest of the program asks of a chain, and the plain values it gets back.

The ports belong to those who use them; the backends (core.py, esplora.py, electrum.py) fulfil them. Hashes and
txids are hex in the byte order that people read. Every method may raise WorldError: `Unreachable` where nobody
answers, `WrongAnswer` where what comes back cannot be true.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from crowdfund.errors import WorldError
from crowdfund.wallet.blocks import ParsedTx

Outpoint = tuple[str, int]
"""(txid, number of the output)."""


class Unreachable(WorldError):
    """Nobody answers, or not in time."""


class WrongAnswer(WorldError):
    """The answer is damaged, contradicts itself or was not asked for. Asking again may help; believing never does."""


@dataclass(frozen=True)
class BlockRef:
    """A block's place. Times are unix seconds; `median_time_past` is BIP 113's, this block included.

    `merkle_root` is known of blocks just fetched; the records do without it.
    """

    height: int
    hash: str
    prev_hash: str
    time: int
    median_time_past: int
    merkle_root: str = ""


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
    """What a backend says of itself at one moment. `synced` is False while it still downloads or verifies blocks;
    `headers` is how many blocks it knows there to be."""

    genesis_hash: str
    height: int
    headers: int
    tip_hash: str
    synced: bool


@dataclass(frozen=True)
class Spender:
    """A transaction that spends an outpoint; `height` is that of its block, None while it is unconfirmed."""

    txid: str
    height: int | None


@dataclass(frozen=True)
class Origin:
    """The transaction that made an output which another one spends, in raw bytes; None where the server no longer has
    it, though it knows the output's script."""

    raw: bytes | None


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
    """A view of one chain, whatever kind of server gives it."""

    @property
    def name(self) -> str:
        """How sentences call it: "node at 127.0.0.1:8332"."""

    def status(self) -> NodeStatus:
        """Tip, sync state and genesis hash, as of one moment."""

    def block_hash(self, height: int) -> str | None:
        """Hash of the best chain's block at `height`, None above the tip."""

    def headers(self, first_height: int, count: int) -> list[bytes]:
        """Up to `count` headers of 80 bytes of the best chain from `first_height` on; fewer at the tip. Who calls
        checks that they hang together."""

    def unspent(self, scripts: Sequence[bytes]) -> tuple[str, list[UnspentCoin]]:
        """(hash of the tip, every unspent output that pays one of `scripts` as of that tip). May take minutes."""

    def spenders(self, outpoints: Sequence[Outpoint]) -> Mapping[Outpoint, Spender]:
        """The transactions that spend these outpoints, as far as the server knows; some know unconfirmed ones only."""

    def origin(self, tx: ParsedTx, block_hash: str, script: bytes) -> Origin | None:
        """Where an output with this script comes from that `tx`, in this block, spends; None where it spends none."""

    def broadcast(self, raw: bytes) -> SendResult:
        """Hand a signed transaction to the network."""

    def feerate_sat_vb(self, target_blocks: int) -> int | None:
        """The server's estimate, rounded up to whole sat/vB; None if it has none."""

    def close(self) -> None:
        """Close what this thread holds open. The next question opens it again."""


@runtime_checkable
class BlockBackend(ChainBackend, Protocol):
    """A backend that hands out whole blocks and its whole mempool."""

    @property
    def believed(self) -> bool:
        """Is it the operator's own node on this machine, whose blocks need no second hashing?"""

    def block(self, block_hash: str) -> bytes:
        """A whole block, serialised as on the wire."""

    def mempool_txids(self) -> list[str]:
        """Every unconfirmed transaction that the node holds."""

    def mempool_transactions(self, txids: Sequence[str]) -> dict[str, bytes]:
        """Raw bytes of these unconfirmed transactions; those that have left meanwhile are missing."""


@dataclass(frozen=True)
class HistoryItem:
    """A transaction that pays or spends a script; `height` is 0 or less while it is unconfirmed."""

    txid: str
    height: int


class ScriptBackend(ChainBackend, Protocol):
    """A backend that knows the history of each script it is asked to watch (the Electrum protocol)."""

    def watch(self, scripts: Collection[bytes]) -> None:
        """Subscribe to these scripts for as long as the connection lives. Those already watched cost nothing."""

    def histories(self) -> Mapping[bytes, tuple[HistoryItem, ...]]:
        """Script -> history of every watched script, brought up to date with all notices received so far."""

    def transactions(self, txids: Sequence[str]) -> dict[str, bytes]:
        """Raw bytes of these transactions, each checked against its txid; unknown ones are missing."""

    def proofs(self, items: Sequence[HistoryItem]) -> list[tuple[list[str], int]]:
        """For each confirmed transaction: (Merkle branch of hashes, position in its block), unchecked."""
