"""Block headers: reading them, linking them, judging their work (BIP 113 time included). Pure.

A header names the one before it by hash, so a list of headers that hang together, and that start at a block we
know, can only be forged with as much work as mining it would take. Regtest asks for no work.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from crowdfund.wallet.blocks import HEADER_SIZE, double_sha256

MEDIAN_SPAN = 11
RETARGET = 2016
# The easiest target that each network allows, in the compact form of the header's `bits`.
EASIEST = {"mainnet": 0x1D00FFFF, "testnet4": 0x1D00FFFF, "signet": 0x1E0377AE}
# Where the difficulty changes at every 2016th block only, and never by more than four times.
STEADY = ("mainnet", "signet")


@dataclass(frozen=True)
class Header:
    """A header's fields. Hashes in hex as people read them; `time` in unix seconds."""

    hash: str
    prev_hash: str
    merkle_root: str
    time: int
    bits: int


def read_header(raw: bytes) -> Header:
    """Raises ValueError unless `raw` has 80 bytes."""
    if len(raw) != HEADER_SIZE:
        raise ValueError("a header has 80 bytes")
    _, prev, root, time, bits, _ = struct.unpack("<i32s32sIII", raw)
    return Header(double_sha256(raw)[::-1].hex(), prev[::-1].hex(), root[::-1].hex(), time, bits)


def target(bits: int) -> int:
    """The number that a block's hash may not exceed. Raises ValueError for a negative or absurd one."""
    size, digits = bits >> 24, bits & 0x7FFFFF
    if bits & 0x800000 or size > 32:
        raise ValueError("the target is none")
    return digits << 8 * (size - 3) if size > 3 else digits >> 8 * (3 - size)


def check_chain(headers: Sequence[Header], first_height: int, network: str) -> None:
    """Raises ValueError unless the headers follow each other and carry the work that the network asks for."""
    for before, after in pairwise(headers):
        if after.prev_hash != before.hash:
            raise ValueError("a header does not follow the one before it")
    if network not in EASIEST:
        return
    for header in headers:
        goal = target(header.bits)
        if int(header.hash, 16) > goal or goal > target(EASIEST[network]):
            raise ValueError("a header lacks the work that it claims")
    if network in STEADY:
        for height, (before, after) in enumerate(pairwise(headers), first_height + 1):
            _check_step(before, after, height)


def _check_step(before: Header, after: Header, height: int) -> None:
    if height % RETARGET:
        if after.bits != before.bits:
            raise ValueError("the difficulty changed where it may not")
    elif target(after.bits) > 4 * target(before.bits):
        raise ValueError("the difficulty fell too far")


def median_time_past(headers: Sequence[Header], position: int) -> int:
    """BIP 113: the median of the times of the header at `position` and the ten before it, in unix seconds. Near the
    first block of all there are fewer; elsewhere the caller sees to it that they are there."""
    times = sorted(h.time for h in headers[max(0, position - MEDIAN_SPAN + 1) : position + 1])
    return times[len(times) // 2]
