"""PostgreSQL is killed around a commit of the settlement, and comes back: whether the commit was done, nobody knows.

The worker does not guess: its next round reads again what is stored, and acts on that. So each backer's money moves
once, and the books are what the chain says.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError

from crowdfund import create_app
from crowdfund.campaigns.ledger import Bucket
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import WorldError
from support.paper import Paper
from support.postgres import Server
from support.world import World

SEED = int(os.environ.get("FAULT_SEED") or 0)
MOST_ROUNDS = 60
# Before the commit is asked for; while it is on its way; after it was done, with the answer lost.
MOMENTS = ("before", "meanwhile", "after")
COMMITS = 5  # planning, storing the signature, noting that it is sent, its result, and one more


class Killer:
    """Kills the server around the chosen commit (from 1) of the process, once."""

    def __init__(self, server: Server, world: World) -> None:
        self.server = server
        self.left, self.moment, self.delay_s = 0, "", 0.0
        self.blow = threading.Thread()
        event.listen(world.database.engine, "commit", self._around)

    def _around(self, connection: Connection) -> None:
        self.left -= 1
        if self.left == 0:
            if self.moment == "after":
                connection.exec_driver_sql("COMMIT")
            if self.moment == "meanwhile":
                self.blow = threading.Timer(self.delay_s, self.server.stop_at_once)
                self.blow.start()
            else:
                self.server.stop_at_once()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def world(node: RegtestNode, tmp_path: Path, server: Server) -> Iterator[World]:
    with World(node, tmp_path, DATABASE_URL=server.url("postgres")) as whole:
        yield whole


def settle_under_fire(world: World, killer: Killer) -> int:
    """Rounds until nothing changes, the server started again whenever it is gone. Returns how often it was."""
    losses = 0
    for _ in range(MOST_ROUNDS):
        moved = True
        with suppress(DBAPIError, WorldError):  # the worker's own loop goes on after both, too
            moved = world.worker.round()
        if killer.blow.ident is not None:
            killer.blow.join()
        if killer.server.gone:
            killer.server.start()
            losses += 1
        elif not moved and killer.left <= 0:
            return losses
    raise AssertionError("the worker does not come to rest")


def once_and_whole(world: World, campaign: str) -> None:
    """Every coin is spent by one transaction, the one that is stored; every satoshi is where the books say."""
    world.node.mine()
    world.sync()
    snapshot, summary = world.snapshot(campaign), world.summary(campaign)
    attempts = [attempt.txid for batch in snapshot.batches for attempt in batch.attempts]
    assert len(attempts) == len(snapshot.batches) == 1
    (spent,) = (world.node.rpc("getrawtransaction", txid, True) for txid in attempts)
    assert spent["confirmations"] == 1
    assert summary.state in ("released", "refunded")
    coins = {(coin.txid, coin.vout) for pledge in snapshot.pledges for coin in pledge.coins}
    assert {(i["txid"], i["vout"]) for i in spent["vin"]} == coins
    paid_sats = sum(round(output["value"] * 100_000_000) for output in spent["vout"])
    assert summary.buckets[Bucket.PAID_OUT] + summary.buckets[Bucket.REFUNDED] == paid_sats
    assert summary.buckets[Bucket.MINER_FEE] == summary.received_sats - paid_sats


def one_story(world: World, killer: Killer, number: int, chance: random.Random) -> int:
    """A campaign that is settled while the server dies. Returns how often the server was lost."""
    campaign = world.campaign(goal_sats=(200_000, 50_000_000)[chance.randrange(2)])
    for amount_sats in (150_000, 100_000):
        world.paid(campaign, amount_sats)
    terms = world.snapshot(campaign).terms
    assert terms is not None
    world.node.jump_to(int(terms.deadline.timestamp()) + 1)
    killer.moment, killer.left = MOMENTS[number % len(MOMENTS)], 1 + number // len(MOMENTS) % COMMITS
    killer.delay_s = chance.uniform(0, 0.002)
    if chance.randrange(2):
        world.worker = world.new_worker()
    losses = settle_under_fire(world, killer)
    once_and_whole(world, campaign)
    return losses


def test_a_commit_of_unknown_outcome_pays_once(world: World, server: Server) -> None:
    killer = Killer(server, world)
    losses = [one_story(world, killer, number, random.Random(number)) for number in range(6)]
    assert losses == [1] * 6


def test_pages_say_so_while_the_records_are_away(server: Server, tmp_path: Path) -> None:
    with Paper(tmp_path, database_url=server.url("postgres")) as paper:
        client = create_app(paper.settings).test_client()
        assert client.get("/").status_code == client.get("/api/v1/campaigns").status_code == 200
        server.stop_at_once()
        # What was asked for a moment ago is still kept under its address, for two seconds at most.
        for path in ("/?afresh", "/about", "/healthz", "/metrics", "/no-such-page", "/api/v1/campaigns"):
            answer = client.get(path)
            assert answer.status_code == 503, path
            assert "records cannot be reached" in answer.get_data(as_text=True)
        assert client.get("/api/v1/campaigns").content_type == "application/problem+json"
        server.start()
        assert client.get("/").status_code == client.get("/api/v1/campaigns").status_code == 200
        client.application.extensions["crowdfund"].database.close()


@pytest.mark.long
def test_two_hundred_commits_of_unknown_outcome(world: World, server: Server) -> None:
    killer = Killer(server, world)
    for number in range(200):
        seed = SEED + number
        print(f"FAULT_SEED={seed}")
        one_story(world, killer, seed, random.Random(seed))
