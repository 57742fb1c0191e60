"""Merkle branches: every leaf of every small tree, and branches that are none."""

from __future__ import annotations

import pytest

from crowdfund.wallet.blocks import double_sha256, merkle_root, parse_tx
from crowdfund.wallet.merkle import branches_of, check_branch, could_be_node, is_hash, verify_branch


def txid(number: int) -> str:
    return double_sha256(number.to_bytes(4, "big")).hex()


def branch_of(txids: list[str], position: int) -> list[str]:
    """The hashes beside the path from a leaf to the root."""
    level, branch = [bytes.fromhex(t)[::-1] for t in txids], []
    while len(level) > 1:
        level += level[-1:] * (len(level) % 2)
        branch.append(level[position ^ 1][::-1].hex())
        level = [double_sha256(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
        position >>= 1
    return branch


@pytest.mark.parametrize("size", [*range(1, 18), 33])
def test_every_leaf_leads_to_the_root(size: int) -> None:
    txids = [txid(n) for n in range(size)]
    for position, leaf in enumerate(txids):
        branch = branch_of(txids, position)
        assert verify_branch(leaf, branch, position) == merkle_root(txids)
        if size > 1:
            assert verify_branch(txid(999), branch, position) != merkle_root(txids)
            # the last of an odd level stands beside itself, so that both positions lead to the root
            assert verify_branch(leaf, branch, position ^ 1) != merkle_root(txids) or branch[0] == leaf


@pytest.mark.parametrize("size", [*range(1, 18), 33])
def test_all_branches_of_a_tree_at_once(size: int) -> None:
    txids = [txid(n) for n in range(size)]
    found = branches_of(txids, range(size))
    assert found == {position: tuple(branch_of(txids, position)) for position in range(size)}
    assert branches_of(txids, [size - 1]) == {size - 1: found[size - 1]}


@pytest.mark.parametrize(
    ("branch", "position"),
    [
        ([], 1),
        ([], -1),
        ([txid(1)], 2),
        ([txid(1)] * 33, 0),
        (["00"], 0),
        ([txid(1).upper()], 0),
        ([txid(1) + "\n"], 0),
        ([5], 0),
        ([None], 0),
    ],
)
def test_what_is_no_branch(branch: list[str], position: int) -> None:
    for check in (lambda: check_branch(branch, position), lambda: verify_branch(txid(0), branch, position)):
        with pytest.raises(ValueError):
            check()


def test_what_is_no_txid() -> None:
    with pytest.raises(ValueError):
        verify_branch("00", [], 0)
    assert not is_hash(None) and not is_hash("0" * 63) and is_hash("0f" * 32)


def transaction(script_sig: int, script: int, witness: bool) -> bytes:
    """One input, one output, with scripts of these lengths."""
    start, end = (b"\x02\0\0\0\0\1", b"\1\1\x07\0\0\0\0") if witness else (b"\x02\0\0\0", b"\0\0\0\0")
    spend = b"\1" + b"\x11" * 36 + bytes([script_sig]) + b"\x51" * script_sig + b"\xff\xff\xff\xff"
    return start + spend + b"\1" + (7).to_bytes(8, "little") + bytes([script]) + b"\x51" * script + end


@pytest.mark.parametrize("witness", [False, True])
@pytest.mark.parametrize("script_sig", range(6))
@pytest.mark.parametrize("script", range(6))
def test_a_transaction_that_could_be_two_hashes(script_sig: int, script: int, witness: bool) -> None:
    raw = transaction(script_sig, script, witness)
    assert could_be_node(raw, parse_tx(raw).txid) == (script_sig + script == 4)
