"""A refund that the signer refuses for the sake of one pledge: that one waits for a person, everybody else is paid."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from crowdfund.audit.bundle import build_bundle
from crowdfund.audit.verify import verify
from crowdfund.campaigns import halts
from crowdfund.campaigns.checks import Breach
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.models import BatchRow, Pledge
from crowdfund.errors import WorldError
from crowdfund.wallet.addresses import script_of
from crowdfund.wallet.signer_client import PartRefused, SignerClient
from crowdfund.wallet.transactions import UnsignedTx
from support.node import new_address
from support.world import World

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
AMOUNTS = (100_000, 101_000, 102_000, 103_000, 104_000)
Sign = Callable[[str, int, str, UnsignedTx], bytes]


def trouble(world: World) -> str:
    with world.database.reading() as session:
        return str(session.execute(text("SELECT trouble FROM chain_view")).scalar_one())


def states(world: World, campaign: str) -> list[str]:
    snapshot = world.snapshot(campaign)
    return sorted(snapshot.batch_state(b).value for b in snapshot.batches)


def signed_for(world: World, campaign: str) -> set[int]:
    """Ids of the batches that the signer has signed."""
    return {b.id for b in world.snapshot(campaign).batches if any(a.raw is not None for a in b.attempts)}


def indices(batch: BatchRow, pledges: list[Pledge]) -> set[int]:
    own = {i.coin.pledge_id for i in batch.inputs}
    return {pledge.index for pledge in pledges if pledge.id in own}


def ended(world: World, goal_sats: int = 10**9) -> tuple[str, list[Pledge]]:
    """A campaign past its deadline, of which the worker has not heard that."""
    campaign = world.campaign(goal_sats=goal_sats)
    pledges = [world.pledge(campaign, amount) for amount in AMOUNTS]
    world.sync()
    for pledge in pledges:
        world.node.pay(str(pledge.address), pledge.amount_sats)
    world.node.mine()
    world.sync()
    terms = world.snapshot(campaign).terms
    assert terms is not None
    world.node.jump_to(int(terms.deadline.timestamp()) + 1)
    return campaign, pledges


def instead(world: World, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Sign, UnsignedTx], None]) -> list[Any]:
    """Before the signer signs, `answer` may raise. Returns the list of what it was asked to sign."""
    signer, asked = world.worker.signer, list[Any]()
    assert signer is not None
    real = signer.sign

    def sign(terms: str, account: int, kind: str, tx: UnsignedTx) -> bytes:
        asked.append((kind, tx))
        answer(real, tx)
        return real(terms, account, kind, tx)

    monkeypatch.setattr(signer, "sign", sign)
    return asked


def refusing(bad: set[int]) -> Callable[[Sign, UnsignedTx], None]:
    def answer(_real: Sign, tx: UnsignedTx) -> None:
        if bad & {i.index for i in tx.inputs}:
            raise PartRefused("The signer refuses: not this one.")

    return answer


def test_a_conflicting_registration_and_what_becomes_of_it(world: World) -> None:
    """With the real signer, from the registration to the blocks."""
    campaign = world.campaign(goal_sats=10**9)
    pledges = [world.pledge(campaign, amount) for amount in AMOUNTS]
    row = world.snapshot(campaign).campaign
    client = SignerClient(world.settings.signer_socket)
    elsewhere = script_of(new_address(world.node), "regtest")
    client.register(str(row.terms), row.account_index or 0, {pledges[2].index: elsewhere})
    world.sync()
    assert f"pledge {pledges[2].index} of campaign {campaign}" in trouble(world)
    assert "another refund address is registered" in trouble(world)
    with world.database.reading() as session:
        waiting = session.execute(text('SELECT "index" FROM pledges WHERE NOT registered')).scalars().all()
    assert waiting == [pledges[2].index]
    for pledge in pledges:
        world.node.pay(str(pledge.address), pledge.amount_sats)
    world.node.mine()
    world.sync()
    world.close(campaign)
    assert "needs a person" in trouble(world) and f"of pledge {pledges[2].index} of campaign" in trouble(world)
    assert set(states(world, campaign)) == {"needs human", "partitioned", "sent"}
    world.node.mine()
    world.sync()
    assert [world.pledge_state(p) for p in pledges] == ["refunded", "refunded", "in_settlement", "refunded", "refunded"]
    buckets = world.summary(campaign).buckets
    assert buckets[Bucket.IN_SETTLEMENT] == AMOUNTS[2]
    assert buckets[Bucket.REFUNDED] + buckets[Bucket.MINER_FEE] == sum(AMOUNTS) - AMOUNTS[2]
    assert verify(build_bundle(world.snapshot(campaign), "regtest"), world.core).ok
    before = states(world, campaign)
    world.worker = world.new_worker()
    world.node.mine()
    world.sync()
    assert states(world, campaign) == before and "needs a person" in trouble(world), "and it stays so"


@pytest.mark.parametrize("places", [{0}, {1, 4}, {0, 1, 2, 3, 4}])
def test_only_the_refused_wait_and_they_are_paid_when_the_signer_relents(
    world: World, monkeypatch: pytest.MonkeyPatch, places: set[int]
) -> None:
    campaign, pledges = ended(world)
    bad = {pledges[place].index for place in places}
    with monkeypatch.context() as patch:
        instead(world, patch, refusing(bad))
        world.sync()
        waiting = [b for b in world.snapshot(campaign).standing_batches if b.id not in signed_for(world, campaign)]
        assert sorted(sorted(indices(b, pledges)) for b in waiting) == [[index] for index in sorted(bad)]
        assert states(world, campaign).count("needs human") == len(bad)
        world.node.mine()
        world.sync()
        assert world.summary(campaign).buckets[Bucket.IN_SETTLEMENT] == sum(AMOUNTS[place] for place in places)
    world.node.mine()
    world.sync()
    world.node.mine()
    world.sync()
    assert world.summary(campaign).state == "refunded" and trouble(world) == ""
    assert verify(build_bundle(world.snapshot(campaign), "regtest"), world.core).ok


def whole(world: World, campaign: str) -> None:
    """The one batch, in one piece and unsigned."""
    (batch,) = world.snapshot(campaign).batches
    assert [a.raw for a in batch.attempts] == [None] and len(batch.inputs) == len(AMOUNTS)


def test_a_payout_is_never_taken_apart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign, pledges = ended(world, goal_sats=sum(AMOUNTS))
    asked = instead(world, monkeypatch, refusing({pledges[1].index}))
    world.sync()
    whole(world, campaign)
    assert {kind for kind, _ in asked} == {"release"} and "not this one" in trouble(world)


def test_a_refusal_of_the_whole_takes_nothing_apart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part would be refused in the same way: the signer's clock, its disk, its other terms."""
    campaign, _ = ended(world)

    def answer(_real: Sign, _tx: UnsignedTx) -> None:
        raise WorldError("The signer refuses: its disk is full.", retryable=False)

    instead(world, monkeypatch, answer)
    world.sync()
    whole(world, campaign)
    assert "disk is full" in trouble(world)


def test_a_signer_that_has_forgotten_what_it_was_shown_is_shown_it_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign, _ = ended(world)
    refused: list[UnsignedTx] = []

    def answer(_real: Sign, tx: UnsignedTx) -> None:
        refused.append(tx)
        if len(refused) == 1:
            raise PartRefused("The signer refuses: a coin was not shown.")

    instead(world, monkeypatch, answer)
    world.sync()
    assert states(world, campaign) == ["sent"] and len(refused) == 2 and trouble(world) == ""


@pytest.mark.parametrize("question", [1, 2])
def test_during_a_halt_nothing_is_taken_apart(world: World, monkeypatch: pytest.MonkeyPatch, question: int) -> None:
    """Not where one was there before, nor where one begins while the signer is asked."""
    campaign, pledges = ended(world)
    bad = {pledges[3].index}

    def answer(real: Sign, tx: UnsignedTx) -> None:
        if len(asked) == question:
            with world.database.transaction() as session:
                halts.begin(session, [Breach(campaign, "Its sums are wrong.")], NOW)
        refusing(bad)(real, tx)

    with monkeypatch.context() as patch:
        asked = instead(world, patch, answer)
        world.sync()
        whole(world, campaign)
        assert len(asked) == question and "Its sums are wrong." in trouble(world)
        world.node.mine()
        world.sync()
        whole(world, campaign)
        assert len(asked) == question, "nobody is asked for a halted campaign"
    with world.database.transaction() as session:
        halts.end_all(session, "they were not", NOW)
    with monkeypatch.context() as patch:
        instead(world, patch, refusing(bad))
        world.node.mine()
        world.sync()
    assert states(world, campaign).count("needs human") == 1


def test_what_was_sent_once_is_not_taken_apart_for_a_higher_fee(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign, pledges = ended(world)
    world.sync()
    instead(world, monkeypatch, refusing({pledges[0].index}))
    for _ in range(6):
        world.node.rpc("generateblock", new_address(world.node), [])
        world.sync()
    (batch,) = world.snapshot(campaign).batches
    assert [a.raw is not None for a in batch.attempts] == [True, False] and "not this one" in trouble(world)
    assert world.node.rpc("getrawmempool") == [batch.attempts[0].txid]
    world.node.mine()
    world.sync()
    assert world.summary(campaign).state == "refunded"
