"""Proofs that transactions lie in blocks, through each kind of server, on a real node."""

from __future__ import annotations

import pytest

from crowdfund.chain.inclusion import headers_from, inclusions
from crowdfund.chain.port import WrongAnswer
from crowdfund.wallet.merkle import verify_branch
from support.simchain import SimChain


def test_headers_are_fetched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crowdfund.chain.inclusion.HEADERS_AT_ONCE", 4)
    chain = SimChain(20)
    assert headers_from(chain, 3, 16) == b"".join(chain.header[h] for h in chain.best[3:17])
    with pytest.raises(WrongAnswer, match="height 20"):
        headers_from(chain, 3, 21)


def test_transactions_are_proven_from_blocks() -> None:
    chain = SimChain()
    txs = [chain.tx([chain.fresh_coin()], [(n + 1, b"\x00\x14" + b"x" * 20)]) for n in range(7)]
    blocks = [chain.mine(txs[:4], 600), chain.mine(txs[4:], 600)]
    found = inclusions(chain, [(tx.txid, block.height) for block in blocks for tx in block.txs[1:]])
    assert {f.txid for f in found} == {tx.txid for tx in txs}
    for each in found:
        root = chain.header[chain.best[each.height]][36:68][::-1].hex()
        assert verify_branch(each.txid, each.branch, each.position) == root
    with pytest.raises(WrongAnswer, match="does not hold"):
        inclusions(chain, [(txs[0].txid, blocks[1].height)])
    with pytest.raises(WrongAnswer, match="no block"):
        inclusions(chain, [(txs[0].txid, 500)])


def test_a_block_that_ends_too_early_is_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = SimChain()
    tx = chain.tx([chain.fresh_coin()], [(1, b"\x00\x14" + b"x" * 20)])
    block = chain.mine([tx], 600)
    whole = chain.block
    monkeypatch.setattr(chain, "block", lambda block_hash: whole(block_hash)[:-9])
    with pytest.raises(WrongAnswer, match="cannot be read"):
        inclusions(chain, [(tx.txid, block.height)])
