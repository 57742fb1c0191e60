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
RETARGET_SPAN_S = 14 * 24 * 3_600


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


def compact(number: int) -> int:
    """A target in the compact form of `bits`: the three leading bytes, rounded down, and how many there are."""
    size = (number.bit_length() + 7) // 8
    digits = number >> 8 * (size - 3) if size > 3 else number << 8 * (3 - size)
    if digits & 0x800000:  # the highest bit would mean a negative number
        digits, size = digits >> 8, size + 1
    return size << 24 | digits


def next_bits(first_time: int, last_time: int, bits: int, network: str) -> int:
    """The `bits` of the 2016 blocks that follow those between these two times (of the first and the last of them):
    the target grows with the time they took, held between a quarter and four times two weeks."""
    took_s = max(RETARGET_SPAN_S // 4, min(4 * RETARGET_SPAN_S, last_time - first_time))
    return compact(min(target(EASIEST[network]), target(bits) * took_s // RETARGET_SPAN_S))


def check_retargets(headers: Sequence[Header], first_height: int, network: str) -> None:
    """Raises ValueError unless each change of difficulty is the very one that the blocks before it call for.

    `first_height` has to be a multiple of 2016, so that the first block of each period is there. Stricter than
    `check_chain`, which is for lists that begin anywhere.
    """
    if first_height % RETARGET:
        raise ValueError("the headers must begin where the difficulty may change")
    if network not in STEADY:
        return
    for start in range(RETARGET, len(headers), RETARGET):
        first, last = headers[start - RETARGET], headers[start - 1]
        if headers[start].bits != next_bits(first.time, last.time, first.bits, network):
            raise ValueError("the difficulty changed to another one than the blocks call for")


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
