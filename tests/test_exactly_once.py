"""Many workers, stopped workers, workers that wake up too late: one decision, one plan, one payment.

Only one worker may run on a data folder, and a lock sees to it. These tests also take the lock away and look at
what stands behind it: the tables' keys, one writer at a time, the signer's log, and the coins themselves.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crowdfund.campaigns.models import ChainView
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import WorldError
from crowdfund.locks import only_one
from support.crash_store import rows as rows_of
from support.nursery import REFUSED, Nursery
from support.postgres import DATABASES, database_of
from support.turns import long_unless
from support.world import World

ENDINGS = ("funded", "failed")
WORKERS, ROUNDS = 8, 3
TURNED_AWAY = re.compile(
    r'IntegrityError: (UNIQUE constraint failed: blocks\.|duplicate key value violates unique constraint "blocks_)'
)
# Moments of a worker that settles, outside of transactions: words of their labels.
MOMENTS = (
    "after the commit of UPDATE chain_view changes",
    "after the commit of INSERT INTO transfers",
    "the refund is signed, not stored",
    "after the commit of UPDATE attempts raw",
    "after the commit of UPDATE attempts sent_at",
    "the node has it, its answer is not seen",
)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.fixture(scope="module")
def second() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def world(request: pytest.FixtureRequest, node: RegtestNode, tmp_path: Path) -> Iterator[World]:
    """A fresh installation, on SQLite if nothing else is said."""
    with (
        database_of(getattr(request, "param", "sqlite"), tmp_path) as url,
        World(node, tmp_path, DATABASE_URL=url) as whole,
    ):
        yield whole


@pytest.fixture(params=ENDINGS)
def due(request: pytest.FixtureRequest, world: World) -> str:
    """A campaign whose deadline has just passed, with the worker not having looked since."""
    return due_campaign(world, str(request.param))


def due_campaign(world: World, ending: str) -> str:
    """A campaign with three paid pledges, past its deadline; nobody has looked since."""
    campaign = world.campaign(goal_sats=300_000 if ending == "funded" else 50_000_000)
    for amount_sats in (100_000, 200_000, 30_000):
        world.node.pay(str(world.pledge(campaign, amount_sats).address), amount_sats)
    world.node.mine()
    terms = world.snapshot(campaign).terms
    assert terms is not None
    world.node.jump_to(int(terms.deadline.timestamp()) + 1)
    return campaign


def rows(world: World, table: str) -> list[tuple[object, ...]]:
    """The whole table."""
    return rows_of(world.settings.database_url, f"SELECT * FROM {table}")


def paid_once(world: World, campaign: str) -> None:
    """Mine, look, and find one decision, one batch, one attempt in a block, and everybody paid what was planned."""
    world.node.mine()
    world.sync()
    snapshot, summary = world.snapshot(campaign), world.summary(campaign)
    assert summary.state in ("released", "refunded")
    assert len(snapshot.batches) == len(rows(world, "decisions")) == len(rows(world, "attempts")) == 1
    (attempt,) = snapshot.batches[0].attempts
    assert {coin.spent_by for coin in snapshot.coins} == {attempt.txid}
    assert world.node.rpc("getrawmempool") == []
    for output in attempt.outputs:
        address = world.node.rpc("decodescript", output.script.hex())["address"]
        assert world.node.bank("getreceivedbyaddress", address) * 100_000_000 == output.value_sats


def stopped(world: World, nursery: Nursery, moment: str) -> int:
    """The process id of a worker that the kernel has stopped at this moment."""
    pid = nursery.stopping_worker(world.settings.to_env(), world.folder / "steps", moment)
    give_up = time.monotonic() + 30
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < give_up, "the worker was not stopped"
        time.sleep(0.01)
    return pid


@pytest.mark.parametrize("world", DATABASES, indirect=True)
@pytest.mark.parametrize(
    ("due", "seen"),
    [
        pytest.param(ending, seen, marks=long_unless((ending == "funded") is seen))
        for ending in ENDINGS
        for seen in (False, True)
    ],
    indirect=["due"],
)
def test_eight_workers_at_once(world: World, due: str, nursery: Nursery, seen: bool) -> None:
    """Without the lock: the tables turn losers away, at the same blocks or (if these are `seen`) at the decision."""
    if seen:
        while world.worker.watch(world.backend.status()) is not False:
            pass
    met = nursery.crowd(world.settings.to_env(), WORKERS, ROUNDS)
    assert all(TURNED_AWAY.match(error) for error in met) and not (seen and met), met
    world.sync()
    paid_once(world, due)


def test_the_lock_lets_one_in(tmp_path: Path) -> None:
    lock = tmp_path / "worker.lock"
    with only_one(lock):
        with pytest.raises(WorldError, match="Another"), only_one(lock):
            raise AssertionError("two hold the lock")
        with pytest.raises(WorldError, match="Another"), only_one(lock):
            raise AssertionError("asking has broken the lock")
    with only_one(lock):
        pass


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_stopped_worker_keeps_the_others_out_until_it_dies(
    world: World, nursery: Nursery, second: Nursery, moment: str
) -> None:
    due = due_campaign(world, "failed")
    pid = stopped(world, nursery, moment)
    attempts = rows(world, "attempts")
    assert second.worker(world.settings.to_env(), world.folder / "other") == REFUSED
    assert rows(world, "attempts") == attempts
    nursery.end(pid)
    assert second.worker(world.settings.to_env(), world.folder / "other") == 0
    assert [a[0] for a in rows(world, "attempts")][: len(attempts)] == [a[0] for a in attempts]  # by txid
    paid_once(world, due)


@pytest.mark.parametrize(
    ("moment", "mined"),
    [
        pytest.param(moment, mined, marks=long_unless(turn % 2 == mined))
        for turn, moment in enumerate(MOMENTS)
        for mined in (False, True)
    ],
)
def test_a_worker_that_wakes_up_too_late_does_no_harm(
    world: World, nursery: Nursery, second: Nursery, moment: str, mined: bool
) -> None:
    """It was stopped, its lock file was removed, another one has done everything; then it goes on where it was."""
    due = due_campaign(world, "failed")
    pid = stopped(world, nursery, moment)
    (world.folder / "worker.lock").unlink()
    assert second.worker(world.settings.to_env(), world.folder / "other") == 0, (world.folder / "life.log").read_text()
    attempts = rows(world, "attempts")
    if mined:
        world.node.mine()
    os.kill(pid, signal.SIGCONT)
    assert nursery.wait(pid) == 0, (world.folder / "life.log").read_text()
    assert rows(world, "attempts") == attempts
    paid_once(world, due)


@contextmanager
def robot(world: World, nursery: Nursery, locked: bool) -> Iterator[None]:
    """A worker runs beside us, and has looked once."""
    pid = nursery.robot(world.settings.to_env(), locked)
    try:
        yield
    finally:
        nursery.end(pid)


def until(happens: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.05)


def taken(world: World) -> bool:
    """Does a worker hold the lock?"""
    try:
        with only_one(world.folder / "worker.lock"):
            return False
    except WorldError:
        return True


PRESSED, BESIDE = 8, 5
# What those who come second may read: another one has written the block, or has settled meanwhile.
LOST_RACE = re.compile(
    r"The database cannot be used: (UNIQUE constraint failed: blocks\.|duplicate key value violates unique constraint "
    r'"blocks_)'
)


def once_by_the_blocks(world: World, campaign: str) -> None:
    """One decision, one plan, one transaction that spends every coin, found in the blocks and nowhere twice."""
    snapshot = world.snapshot(campaign)
    (batch,) = snapshot.batches
    (attempt,) = batch.attempts
    assert snapshot.decision is not None and world.node.rpc("getrawmempool") == []
    ours = {(coin.txid, coin.vout) for coin in snapshot.coins}
    first = min(coin.height or 0 for coin in snapshot.coins)
    spends = []
    for height in range(first, int(world.node.rpc("getblockcount")) + 1):
        block = world.node.rpc("getblock", world.node.rpc("getblockhash", height), 2)
        spends += [tx["txid"] for tx in block["tx"] if any((i.get("txid"), i.get("vout")) in ours for i in tx["vin"])]
    assert spends == [attempt.txid]


def test_an_operator_who_settles_now(world: World, due: str, second: Nursery) -> None:
    """One pressing does all that is due; the next one finds nothing to do; the node away, it says so."""
    environment = world.settings.to_env()
    for _ in range(2):
        assert second.press(environment, 1, locked=True) == [""]
        assert [a.sent_at is not None for b in world.snapshot(due).batches for a in b.attempts] == [True]
    world.node.mine()
    assert second.press(environment, 1, locked=True) == [""]
    assert world.summary(due).state in ("released", "refunded")
    once_by_the_blocks(world, due)
    away = {**environment, "CROWDFUND_BITCOIND_URL": "http://127.0.0.1:1"}
    assert "127.0.0.1:1" in second.press(away, 1, locked=True)[0]
    with world.database.reading() as session:
        assert session.get_one(ChainView, 1).state.startswith("node unreachable")


def test_what_stands_in_the_way_is_said(world: World, due: str, second: Nursery) -> None:
    environment = {**world.settings.to_env(), "CROWDFUND_SIGNER_SOCKET": str(world.folder / "nobody")}
    assert second.press(environment, 1, locked=True)[0].startswith("The signer does not answer")
    assert len(world.snapshot(due).batches) == 1, "what needs no signer is done"


def test_pressing_again_and_again_beside_a_running_worker(
    world: World, due: str, nursery: Nursery, second: Nursery
) -> None:
    with robot(world, nursery, locked=True):
        until(lambda: taken(world))
        for _ in range(BESIDE):
            for met in second.press(world.settings.to_env(), 1, locked=True):
                assert met.startswith("Another process holds") and "runs here already" in met
        until(lambda: bool(world.node.rpc("getrawmempool")))
        world.node.mine()
        until(lambda: world.summary(due).state in ("released", "refunded"))
    once_by_the_blocks(world, due)


def pressed_without_lock(world: World, due: str, second: Nursery) -> None:
    met = second.press(world.settings.to_env(), PRESSED, locked=False)
    assert len(met) == PRESSED and all(not one or LOST_RACE.match(one) for one in met), met
    until(lambda: len(world.node.rpc("getrawmempool")) == 1)
    world.node.mine()
    second.press(world.settings.to_env(), PRESSED, locked=False)
    until(lambda: world.summary(due).state in ("released", "refunded"))
    once_by_the_blocks(world, due)


@pytest.mark.parametrize(
    ("world", "due"),
    [
        pytest.param(kind, ending, marks=long_unless(turn % 2 == ENDINGS.index(ending)))
        for turn, kind in enumerate(DATABASES)
        for ending in ENDINGS
    ],
    indirect=True,
)
def test_eight_pressings_at_once_beside_a_worker_without_the_lock(
    world: World, due: str, nursery: Nursery, second: Nursery
) -> None:
    with robot(world, nursery, locked=False):
        pressed_without_lock(world, due, second)
    assert len(rows(world, "decisions")) == len(rows(world, "batches")) == len(rows(world, "attempts")) == 1


HUNDRED = 100


@pytest.mark.long
def test_eight_pressings_at_a_hundred_settlements(world: World, nursery: Nursery, second: Nursery) -> None:
    """The robot goes on all the while; both endings by turns."""
    with robot(world, nursery, locked=False):
        for number in range(HUNDRED):
            due = due_campaign(world, "funded" if number % 2 else "failed")
            pressed_without_lock(world, due, second)
    assert len(rows(world, "decisions")) == len(rows(world, "batches")) == len(rows(world, "attempts")) == HUNDRED


@pytest.mark.long
def test_eight_workers_at_a_hundred_settlements(world: World, nursery: Nursery) -> None:
    """One round after the other, each ending once more: eight that start together, and never a second payment."""
    for number in range(HUNDRED):
        due = due_campaign(world, "funded" if number % 2 else "failed")
        met = nursery.crowd(world.settings.to_env(), WORKERS, ROUNDS)
        assert set(met) <= {"IntegrityError: UNIQUE constraint failed: blocks.height"}
        world.sync()
        world.node.mine()
        world.sync()
        snapshot = world.snapshot(due)
        (batch,) = snapshot.batches
        assert {coin.spent_by for coin in snapshot.coins} == {attempt.txid for attempt in batch.attempts}
        assert world.summary(due).state in ("released", "refunded")
    assert len(rows(world, "decisions")) == len(rows(world, "batches")) == len(rows(world, "attempts")) == HUNDRED
