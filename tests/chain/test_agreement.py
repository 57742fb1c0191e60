"""Before anything is decided: the right network, and a second backend with the same blocks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from crowdfund.chain.agreement import refuse_wrong_chain, second_opinion
from crowdfund.chain.port import NodeStatus, Unreachable, WrongAnswer
from crowdfund.errors import WorldError
from crowdfund.wallet.networks import NETWORKS
from support.made_up import Chain

GENESIS = NETWORKS["regtest"].genesis
BLOCKS = {1_160: "aa" * 32, 1_165: "bb" * 32}
STATUS = NodeStatus(GENESIS, 1_170, 1_170, "cc" * 32, True)


@dataclass
class Second(Chain):
    """A second backend that has these blocks, or fails."""

    held: dict[int, str] = field(default_factory=lambda: dict(BLOCKS))
    told: NodeStatus = STATUS
    fault: WorldError | None = None
    name: str = "Electrum server at example.org:50002"

    def status(self) -> NodeStatus:
        if self.fault is not None:
            raise self.fault
        return self.told

    def block_hash(self, height: int) -> str | None:
        self.asked.append(str(height))
        return self.held.get(height)


def test_the_same_blocks_leave_no_doubt() -> None:
    assert second_opinion(Second(), "regtest", BLOCKS) is None
    behind = Second(told=replace(STATUS, height=1_165, synced=False))
    assert second_opinion(behind, "regtest", BLOCKS) is None, "what matters is whether it has these blocks"


@pytest.mark.parametrize(
    ("held", "sentence", "height"),
    [
        ({1_160: "aa" * 32}, "until {} has seen block 1,165 too.", None),
        ({}, "until {} has seen block 1,160 too.", None),
        ({**BLOCKS, 1_160: "ee" * 32}, "{} has another block 1,160 than we have.", 1_160),
        ({**BLOCKS, 1_165: "ee" * 32}, "{} has another block 1,165 than we have.", 1_165),
        ({1_160: "ee" * 32, 1_165: "ff" * 32}, "{} has another block 1,160 than we have.", 1_160),
        ({1_160: "ee" * 32}, "{} has another block 1,160 than we have.", 1_160),
    ],
)
def test_a_missing_block_is_waited_for_and_another_one_is_disputed(
    held: dict[int, str], sentence: str, height: int | None
) -> None:
    doubt = second_opinion(Second(held=held), "regtest", BLOCKS)
    assert doubt is not None and doubt.height == height
    assert doubt.sentence.startswith("The decision waits") and doubt.sentence.endswith(
        sentence.format("a second server")
    )
    assert doubt.detail.endswith(sentence.format("the Electrum server at example.org:50002"))


@pytest.mark.parametrize(
    "fault", [Unreachable("It does not answer."), WrongAnswer("It answers strangely."), WorldError("It is busy.")]
)
def test_one_that_is_away_makes_the_decision_wait_and_disputes_nothing(fault: WorldError) -> None:
    doubt = second_opinion(Second(fault=fault), "regtest", BLOCKS)
    assert doubt is not None and doubt.height is None and "example.org" not in doubt.sentence
    assert doubt.detail == f"A decision waits for a second opinion: {fault.sentence}"


def test_one_on_another_network_has_no_opinion() -> None:
    second = Second(told=replace(STATUS, genesis_hash="00" * 32))
    doubt = second_opinion(second, "regtest", BLOCKS)
    assert doubt is not None and doubt.height is None
    assert "Electrum server at example.org:50002 is not on" in doubt.detail and second.asked == []


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_the_first_block_tells_the_network(network: str) -> None:
    status = replace(STATUS, genesis_hash=NETWORKS[network].genesis)
    for each in NETWORKS:
        if each == network:
            refuse_wrong_chain(Second(), status, each)
        else:
            with pytest.raises(WorldError, match="its first block is another") as refused:
                refuse_wrong_chain(Second(), status, each)
            assert refused.value.sentence.startswith("The Electrum server at") and refused.value.retryable
