"""Merkle branches: which root a transaction and the hashes beside its path lead to. Pure.

A branch proves that a transaction is in a block whose header we believe; nothing here says that we may.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from crowdfund.wallet.blocks import double_sha256

DEEPEST = 32
NODE_SIZE = 64  # two hashes side by side: what a tree hashes at each step
_HASH = re.compile("[0-9a-f]{64}", re.ASCII)


def is_hash(text: object) -> bool:
    """True for 64 hex digits in lower case, as every hash and txid is written."""
    return isinstance(text, str) and _HASH.fullmatch(text) is not None


def check_branch(branch: Sequence[str], position: int) -> None:
    """Raises ValueError unless this can be a branch: hashes, at most 32, and a position that such a tree has."""
    if len(branch) > DEEPEST or not all(is_hash(step) for step in branch):
        raise ValueError("a Merkle branch consists of at most 32 hashes")
    if not 0 <= position < 1 << len(branch):
        raise ValueError("the tree has no such position")


def verify_branch(txid: str, branch: Sequence[str], position: int) -> str:
    """The Merkle root (hex as people read it) that `branch` leads to from the transaction at `position`.

    The caller compares it with the header's, and asks `could_be_node` first. Raises ValueError for what is no branch.
    """
    check_branch(branch, position)
    if not is_hash(txid):
        raise ValueError("a txid is a hash")
    node = bytes.fromhex(txid)[::-1]
    for level, step in enumerate(branch):
        beside = bytes.fromhex(step)[::-1]
        node = double_sha256(beside + node if position >> level & 1 else node + beside)
    return node[::-1].hex()


def branches_of(txids: Sequence[str], positions: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """position -> the branch that proves the transaction there, of a block with these txids. See `verify_branch`.

    The tree is hashed once, however many branches are asked for.
    """
    level, depth = [bytes.fromhex(txid)[::-1] for txid in txids], 0
    found: dict[int, list[str]] = {position: [] for position in positions}
    while len(level) > 1:
        if len(level) % 2:
            level.append(level[-1])
        for position, branch in found.items():
            branch.append(level[position >> depth ^ 1][::-1].hex())
        level, depth = [double_sha256(level[i] + level[i + 1]) for i in range(0, len(level), 2)], depth + 1
    return {position: tuple(branch) for position, branch in found.items()}


def could_be_node(raw: bytes, txid: str) -> bool:
    """True where the transaction without its witness has exactly 64 bytes.

    Such a one may be two hashes of a tree in disguise (CVE-2017-12842), so no branch proves it. The txid is the hash
    of those bytes, which is why one comparison is enough.
    """
    has_witness = raw[4:6] == b"\x00\x01"
    stripped = raw[:4] + raw[6:62] + raw[-4:] if has_witness else raw
    return len(stripped) == NODE_SIZE and double_sha256(stripped)[::-1].hex() == txid
