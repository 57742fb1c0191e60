"""Cancellations found by who reads whole blocks: what is one, what only looks like it, and where it lies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.chain.cancelling import Cancellable, Placed, cancellations, named
from crowdfund.chain.follow import BlockFollower, Changes
from crowdfund.chain.port import BlockRef, WrongAnswer
from crowdfund.chain.scan import OUTPUT_SCRIPTS, scan_block
from crowdfund.wallet.blocks import parse_block, parse_tx
from crowdfund.wallet.cancellation import SCRIPT_SIZE, mark
from crowdfund.wallet.merkle import verify_branch
from support.made_up import THEIRS, Chain, Records, gathered, transaction, txid_of

PAYOUT = b"\x00\x14" + b"p" * 20
TERMS, OTHER, REASON = b"t" * 32, b"u" * 32, b"r" * 32
SPENT = transaction((THEIRS, 9), (PAYOUT, 8), salt=50)
COIN = (txid_of(SPENT), 1)


def cancelling(terms: bytes = TERMS, coin: tuple[str, int] = COIN, salt: int = 60) -> bytes:
    return transaction((PAYOUT, 7), (mark(terms, REASON), 0), spends=[coin], salt=salt)


@pytest.fixture
def chain() -> Chain:
    made = Chain()
    for _ in range(5):
        made.mine()
    made.mine(SPENT)
    return made


def watching(chain: Chain, opened: int = 3) -> tuple[BlockFollower, Records]:
    records = Records(cancellable={TERMS: Cancellable(PAYOUT, opened)})
    gathered(follower := BlockFollower(chain, "regtest"), chain, records)
    return follower, records


def ends(changes: Changes) -> list[tuple[int, str]]:
    return [(facts.block.height, found.txid) for facts in changes.blocks for found in facts.cancellations]


def test_a_cancellation_is_found_with_what_shows_it(chain: Chain) -> None:
    follower, records = watching(chain)
    others = [transaction((THEIRS, n), salt=n) for n in range(70, 73)]
    block = chain.mine(*others, cancelling(), transaction((THEIRS, 1), salt=80))
    changes = gathered(follower, chain, records)
    assert ends(changes) == [(6, txid_of(cancelling()))]
    (found,) = changes.blocks[0].cancellations
    assert (found.terms_hash, found.reason_sha256, found.spent) == (TERMS, REASON, SPENT)
    assert found.placed.raw == cancelling() and found.placed.position == 4
    root = verify_branch(found.txid, found.placed.branch, found.placed.position)
    assert root == parse_header_root(chain, block) == changes.blocks[0].block.merkle_root


def test_a_block_that_comes_damaged_the_second_time_hides_none(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    follower, records = watching(chain)
    chain.mine(cancelling())
    honest, reads = chain.block, list[str]()

    def damaged(block_hash: str) -> bytes:
        reads.append(block_hash)
        raw = honest(block_hash)
        return raw if len(reads) == 1 else raw.replace(PAYOUT, THEIRS)

    with monkeypatch.context() as patch:
        patch.setattr(chain, "block", damaged)
        with pytest.raises(WrongAnswer, match="otherwise when it was read once more"):
            gathered(follower, chain, records)
    assert len(reads) == 2
    assert ends(gathered(follower, chain, records)) == [(6, txid_of(cancelling()))]


def parse_header_root(chain: Chain, block: str) -> str:
    return chain.header[block][36:68][::-1].hex()


def test_what_only_looks_like_one_is_none(chain: Chain) -> None:
    follower, records = watching(chain)
    wrong_key = cancelling(coin=(txid_of(SPENT), 0))
    wrong_terms = cancelling(OTHER, salt=61)
    unmarked = transaction((PAYOUT, 7), spends=[COIN], salt=62)
    chain.mine(wrong_key, wrong_terms, unmarked)
    assert ends(gathered(follower, chain, records)) == []


def test_one_up_to_the_opening_block_is_none(chain: Chain) -> None:
    follower, records = watching(chain, opened=6)
    chain.mine(cancelling())
    assert ends(gathered(follower, chain, records)) == []
    chain.mine(cancelling(coin=(txid_of(cancelling()), 0), salt=63))
    assert len(ends(gathered(follower, chain, records))) == 1


def test_in_two_branches_it_is_found_in_both(chain: Chain) -> None:
    follower, records = watching(chain)
    chain.mine(cancelling())
    gathered(follower, chain, records)
    del chain.branch[-1]
    chain.mine(salt=5)
    chain.mine(cancelling(), salt=6)
    changes = gathered(follower, chain, records)
    assert ends(changes) == [(7, txid_of(cancelling()))] and changes.fork_height == 5


def test_a_mark_is_no_script_of_usual_length_so_the_fast_scan_sees_it() -> None:
    assert SCRIPT_SIZE not in OUTPUT_SCRIPTS


@given(
    st.lists(st.sampled_from([PAYOUT, THEIRS, mark(TERMS, REASON), mark(OTHER, REASON), b"\x6a\x44cxl1"]), max_size=6)
)
def test_the_fast_scan_finds_each_mark(scripts: list[bytes]) -> None:
    chain = Chain()
    tx = transaction(*((script, 1) for script in scripts), salt=9) if scripts else transaction((THEIRS, 1), salt=9)
    chain.mine(transaction((THEIRS, 3), salt=4), tx, transaction((THEIRS, 2), salt=7))
    raw = chain.raw[chain.branch[0]]
    slow = [t for t in parse_block(raw)[2] if any(s.startswith(b"\x6a\x44cxl1") and len(s) == 70 for _, s in t.outputs)]
    assert scan_block(raw, frozenset()) == slow


def test_a_branch_that_leads_elsewhere_is_not_believed(chain: Chain) -> None:
    chain.mine(cancelling())
    ref = BlockRef(6, chain.branch[6], chain.branch[5], 6, 6, parse_header_root(chain, chain.branch[6]))
    wanted = {TERMS: Cancellable(PAYOUT, 3)}
    for placed in (
        Placed(cancelling(), ("00" * 32,), 0),
        Placed(cancelling(), ("zz",), 1),
        Placed(cancelling(), (), 1),
    ):
        with pytest.raises(WrongAnswer):
            cancellations(chain, ref, [placed], wanted)
    assert named(parse_tx(cancelling()), 6, wanted) == {TERMS: REASON}
    assert named(parse_tx(cancelling()), 3, wanted) == {}
