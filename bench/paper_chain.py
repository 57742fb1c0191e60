"""A chain on paper whose headers lead to real transactions, so that a signer can be shown how a campaign ended."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import datetime

from crowdfund.chain.port import BlockRef, SendResult, Sent
from crowdfund.wallet.blocks import double_sha256, merkle_root
from crowdfund.wallet.headers import MEDIAN_SPAN
from support.model import Tx
from support.paper import BLOCK_TIME, START, Paper
from support.simchain import SimChain

NO_HASH, BITS = "00" * 32, 0x207FFFFF
EMPTY_ROOT = "11" * 32
FIRST = 100  # the height at which Paper begins, at START


class Headers:
    """Headers from height 0 on, ten minutes apart."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.hashes: list[str] = []

    def add(self, txids: Sequence[str] = ()) -> str:
        """The next header, over these transactions; returns its hash."""
        before, root = self.hashes[-1] if self.hashes else NO_HASH, merkle_root([*txids]) if txids else EMPTY_ROOT
        raw = struct.pack("<i", 4) + bytes.fromhex(before)[::-1] + bytes.fromhex(root)[::-1]
        # the median of the last eleven is the time of the one five before
        raw += struct.pack("<III", int(_median_time(len(self.raw) + MEDIAN_SPAN // 2).timestamp()), BITS, 0)
        self.raw.append(raw)
        self.hashes.append(double_sha256(raw)[::-1].hex())
        return self.hashes[-1]

    def reach(self, height: int) -> None:
        """Empty blocks up to this height, where there are none yet."""
        while len(self.raw) <= height:
            self.add()


class PaperChain(Paper):
    """Paper whose blocks have these headers."""

    headers = Headers()

    def ref(self, height: int, branch: str = "") -> BlockRef:
        """See the parent; there is one branch."""
        self.headers.reach(height)
        mtp = int(_median_time(height).timestamp())
        return BlockRef(height, self.headers.hashes[height], self.headers.hashes[height - 1], mtp, mtp)


class Node(SimChain):
    """A backend of which headers and a few blocks are asked, and that takes every transaction."""

    def __init__(self, headers: Headers) -> None:
        super().__init__(0)
        self._headers = headers
        self._blocks: dict[str, bytes] = {}

    def hold(self, height: int, txs: Sequence[Tx]) -> None:
        """This is the block at that height."""
        count = struct.pack("<BH", 0xFD, len(txs))
        self._blocks[self._headers.hashes[height]] = self._headers.raw[height] + count + b"".join(tx.raw for tx in txs)

    def block_hash(self, height: int) -> str | None:
        """See the port."""
        return self._headers.hashes[height]

    def headers(self, first_height: int, count: int) -> list[bytes]:
        """See the port."""
        return self._headers.raw[first_height : first_height + count]

    def block(self, block_hash: str) -> bytes:
        """See the port."""
        return self._blocks[block_hash]

    def broadcast(self, raw: bytes) -> SendResult:
        """Always welcome."""
        return SendResult(Sent.ACCEPTED)


def _median_time(height: int) -> datetime:
    return START + (height - FIRST) * BLOCK_TIME
