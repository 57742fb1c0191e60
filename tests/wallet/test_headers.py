"""Headers: links, work, retargeting and BIP 113's time, against known facts of the main chain and a real node."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.chain.core import CoreBackend
from crowdfund.chain.placing import place
from crowdfund.chain.regtest import RegtestNode
from crowdfund.wallet.headers import EASIEST, RETARGET, Header, check_chain, read_header, target

GENESIS = bytes.fromhex(
    "01000000"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a"
    "29ab5f49ffff001d1dac2b7c"
)
BLOCK_1 = bytes.fromhex(
    "01000000"
    "6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000"
    "982051fd1e4ba744bbbe680e1fee14677ba1a3c3540bf7b1cdb606e857233e0e"
    "61bc6649ffff001d01e36299"
)
EASY = EASIEST["mainnet"]


def chain(*bits: int, hashes: Sequence[str] = ()) -> list[Header]:
    """Headers that hang together, each with a hash that meets any target, made a second apart."""
    names = list(hashes) or [f"{n + 1:064x}" for n in range(len(bits))]
    before = ["00" * 32, *names]
    return [Header(names[n], before[n], "", n, each) for n, each in enumerate(bits)]


def test_the_first_two_headers_of_the_main_chain() -> None:
    first, second = read_header(GENESIS), read_header(BLOCK_1)
    assert first.hash == "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    assert first.prev_hash == "00" * 32
    assert first.merkle_root == "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
    assert (first.time, first.bits) == (1_231_006_505, 0x1D00FFFF)
    assert second.hash == "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048"
    assert second.prev_hash == first.hash
    check_chain([first, second], 0, "mainnet")
    refs = place([first, second], 0, 0)
    assert [(r.height, r.prev_hash, r.time, r.median_time_past) for r in refs] == [
        (0, "", 1_231_006_505, 1_231_006_505),
        (1, first.hash, 1_231_469_665, 1_231_469_665),
    ]


@pytest.mark.parametrize("size", [0, 79, 81, 160])
def test_a_header_has_eighty_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="80 bytes"):
        read_header((GENESIS + BLOCK_1)[:size])


@pytest.mark.parametrize("where", range(80))
def test_no_bit_of_a_header_can_be_changed(where: int) -> None:
    """Whatever is changed, the work is gone, or the link, or both."""
    forged = BLOCK_1[:where] + bytes([BLOCK_1[where] ^ 1]) + BLOCK_1[where + 1 :]
    with pytest.raises(ValueError, match=r"follow|work|target"):
        check_chain([read_header(GENESIS), read_header(forged)], 0, "mainnet")
    if where < 4 or where >= 36:
        check_chain([read_header(GENESIS), read_header(forged)], 0, "regtest")


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0x1D00FFFF, 0xFFFF << 208),
        (0x207FFFFF, 0x7FFFFF << 232),
        (0x03123456, 0x123456),
        (0x04123456, 0x12345600),
        (0x02123456, 0x1234),
        (0x01123456, 0x12),
        (0x00123456, 0),
        (0x1D000000, 0),
        (0, 0),
    ],
)
def test_a_target_in_its_compact_form(bits: int, expected: int) -> None:
    assert target(bits) == expected


@pytest.mark.parametrize("bits", [0x1D80FFFF, 0x00800000, 0x21000001, 0xFF00FFFF, 0xFFFFFFFF])
def test_a_negative_or_absurd_target_is_none(bits: int) -> None:
    with pytest.raises(ValueError, match="target"):
        target(bits)
    with pytest.raises(ValueError, match="target"):
        check_chain(chain(bits), 5, "mainnet")


@given(st.integers(0, 2**32 - 1))
def test_no_bits_make_a_target_beyond_256_bits(bits: int) -> None:
    try:
        assert 0 <= target(bits) < 2**256
    except ValueError as error:
        assert str(error) == "the target is none"


@pytest.mark.parametrize("network", sorted(EASIEST))
def test_work_is_a_hash_up_to_the_target_and_a_target_up_to_the_easiest(network: str) -> None:
    goal = target(EASIEST[network])
    check_chain(chain(EASIEST[network], hashes=[f"{goal:064x}"]), 5, network)
    with pytest.raises(ValueError, match="work"):
        check_chain(chain(EASIEST[network], hashes=[f"{goal + 1:064x}"]), 5, network)
    with pytest.raises(ValueError, match="work"):
        check_chain(chain(EASIEST[network] + 1), 5, network)
    with pytest.raises(ValueError, match="work"):
        check_chain(chain(0x207FFFFF), 5, network)
    check_chain(chain(0x207FFFFF, hashes=["ff" * 32]), 5, "regtest")


@pytest.mark.parametrize("network", ["mainnet", "signet"])
def test_the_difficulty_moves_at_the_2016th_block_only_and_up_to_four_times(network: str) -> None:
    hard, four_times, more = 0x1B0404CB, 0x1B10132C, 0x1B10132D
    assert target(four_times) == 4 * target(hard)
    for after in (four_times, 0x1B00FFFF, 0x1A000001):
        check_chain(chain(hard, after), RETARGET - 1, network)
        for height in (RETARGET - 2, RETARGET, RETARGET + 1):
            with pytest.raises(ValueError, match="may not"):
                check_chain(chain(hard, after), height, network)
    with pytest.raises(ValueError, match="too far"):
        check_chain(chain(hard, more), RETARGET - 1, network)
    check_chain(chain(hard, hard, four_times, four_times), 9 * RETARGET - 2, network)
    check_chain(chain(hard, more), RETARGET, "testnet4")


def test_a_wrong_link_is_found_wherever_it_is() -> None:
    good = chain(*[EASY] * 6)
    check_chain(good, 7, "mainnet")
    for network in ("mainnet", "testnet4", "regtest"):
        for where in range(1, 6):
            bad = [*good[:where], replace(good[where], prev_hash="ee" * 32), *good[where + 1 :]]
            with pytest.raises(ValueError, match="does not follow"):
                check_chain(bad, 7, network)
        with pytest.raises(ValueError, match="does not follow"):
            check_chain(good[::-1], 7, network)
    check_chain([], 7, "mainnet")


def test_the_median_is_that_of_eleven_and_of_fewer_at_the_start() -> None:
    times = [50, 10, 40, 20, 30, 99, 5, 60, 1, 2, 3, 70, 80]
    headers = [replace(h, time=t) for h, t in zip(chain(*[EASY] * 13), times, strict=True)]
    medians = [r.median_time_past for r in place(headers, 0, 0)]
    # Of an even number, the later of the two in the middle, as consensus has it.
    assert medians[:5] == [50, 50, 40, 40, 30]
    assert medians[10:] == [sorted(times[n - 10 : n + 1])[5] for n in (10, 11, 12)]
    assert [r.height for r in place(headers, 900, 911)] == [911, 912]
    assert [r.median_time_past for r in place(headers, 900, 911)] == medians[11:]


@given(st.lists(st.integers(0, 2**32 - 1), min_size=12, max_size=60), st.data())
def test_where_the_reading_starts_makes_no_difference(times: list[int], data: st.DataObject) -> None:
    raw: list[bytes] = []
    for when in times:
        before = bytes.fromhex(read_header(raw[-1]).hash)[::-1] if raw else bytes(32)
        raw.append(struct.pack("<i32s32sIII", 1, before, bytes(32), when, 0, 0))
    headers = [read_header(r) for r in raw]
    whole = place(headers, 0, 0)
    first = data.draw(st.integers(0, len(times) - 1))
    start = max(0, first - 11)
    assert place(headers[start:], start, first) == whole[first:]
    assert all(a.hash == b.prev_hash for a, b in pairwise(whole))


def test_a_real_nodes_headers_hang_together_and_give_its_times(node: RegtestNode) -> None:
    node.mine(3)
    backend = CoreBackend(node.rpc_url, node.cookie_file)
    tip = backend.status().height
    headers = [read_header(raw) for raw in backend.headers(0, tip + 1)]
    backend.close()
    assert len(headers) == tip + 1
    check_chain(headers, 0, "regtest")
    refs = place(headers, 0, 0)
    for ref in (*refs[:13], *refs[-3:]):
        told = node.rpc("getblockheader", ref.hash)
        assert (ref.height, ref.time, ref.median_time_past) == (told["height"], told["time"], told["mediantime"])
        assert (ref.prev_hash, ref.merkle_root) == (told.get("previousblockhash", ""), told["merkleroot"])
    assert list(accumulate((r.median_time_past for r in refs), max)) == [r.median_time_past for r in refs]
    with pytest.raises(ValueError, match="work"):
        check_chain(headers, 0, "mainnet")
