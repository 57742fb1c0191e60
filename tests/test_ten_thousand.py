"""Ten thousand pledges, paid, settled both ways on a real node, and judged by the blocks alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.lifecycle import BatchState
from crowdfund.chain.regtest import RegtestNode
from crowdfund.wallet.addresses import address_of
from crowdfund.wallet.blocks import parse_block
from support.node import new_node
from support.world import World

PLEDGES = 10_000
AT_ONCE = 1_000
SATS = 25_000
BLOCKS = 40


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RegtestNode]:
    with new_node(tmp_path / "node") as node:
        yield node


def refund_address(number: int) -> str:
    """An address that nobody has, another one for each number."""
    return address_of(b"\x00\x14" + number.to_bytes(20, "big"), "regtest")


def payments(node: RegtestNode, first_height: int) -> list[list[tuple[int, bytes]]]:
    """What each transaction pays, in satoshi and to which script, in all blocks from this height on."""
    found: list[list[tuple[int, bytes]]] = []
    for height in range(first_height, int(node.rpc("getblockcount")) + 1):
        raw = bytes.fromhex(node.rpc("getblock", node.rpc("getblockhash", height), 0))
        found += [list(tx.outputs) for tx in parse_block(raw)[2]]
    return found


def received(made: list[list[tuple[int, bytes]]]) -> Counter[bytes]:
    """Satoshi by locking script."""
    sums: Counter[bytes] = Counter()
    for value_sats, script in (output for outputs in made for output in outputs):
        sums[script] += value_sats
    return sums


def fill(world: World, campaign: str) -> dict[bytes, bytes]:
    """Pledge and pay; returns address script -> refund script."""
    pledges = [world.pledge(campaign, SATS, refund_address(n + 1)) for n in range(PLEDGES)]
    for first in range(0, PLEDGES, AT_ONCE):
        part = pledges[first : first + AT_ONCE]
        world.node.bank("sendmany", "", {str(p.address): f"{SATS / 10**8:.8f}" for p in part})
        world.node.mine()
    world.sync()
    return {p.script or b"": p.refund_script for p in pledges}


def settle(world: World, campaign: str) -> None:
    """Past the deadline, and on until all is final."""
    world.close(campaign)
    for _ in range(BLOCKS):
        world.node.mine()
        world.sync()
        batches = world.snapshot(campaign).batches
        if batches and all(world.snapshot(campaign).batch_state(b) is BatchState.FINAL for b in batches):
            return
    raise AssertionError("the settlement does not come to its end")


@pytest.mark.long
@pytest.mark.parametrize("ending", ["funded", "failed"])
def test_ten_thousand_pledges_are_settled(node: RegtestNode, tmp_path: Path, ending: str) -> None:
    with World(node, tmp_path / "world") as world:
        goal_sats = PLEDGES * SATS if ending == "funded" else PLEDGES * SATS + 1
        campaign = world.campaign(goal_sats=goal_sats)
        scripts = fill(world, campaign)
        first_height = int(node.rpc("getblockcount")) + 1
        settle(world, campaign)
        summary, made = world.summary(campaign), payments(node, first_height)
        paid = received(made)
        terms = world.snapshot(campaign).terms
        assert terms is not None
        assert summary.state == ("released" if ending == "funded" else "refunded")
        fee_sats = summary.buckets[Bucket.MINER_FEE]
        if ending == "funded":
            assert paid[bytes.fromhex(terms.payout_script)] == PLEDGES * SATS - fee_sats
            assert not any(paid[refund] for refund in scripts.values())
        else:
            assert sum(paid[refund] for refund in scripts.values()) == PLEDGES * SATS - fee_sats
            assert paid[bytes.fromhex(terms.payout_script)] == 0
            ours = set(scripts.values())
            batches = [back for outputs in made if (back := [sats for sats, script in outputs if script in ours])]
            assert len(batches) >= PLEDGES // 1_000
            # One batch may have had to pay a dearer rung than another; within one nobody pays for his neighbour.
            assert all(max(back) - min(back) <= 1 for back in batches), "equal pledges bear equal fees"
        unspent = node.rpc("scantxoutset", "start", [f"raw({script.hex()})" for script in scripts])
        assert unspent["unspents"] == []
        assert 0 < fee_sats < PLEDGES * SATS // 10
