"""A random story, watched through a line that fails in every way, for each kind of backend.

Whatever is written down was true at some moment, whatever the line did; nothing but WorldError ever comes out of a
round; and once the line is good again the books are the chain within two blocks. A failure names its seed:
FAULT_SEED=n, or make test-long SEED=n, plays the same story with the same faults, as far as timing allows.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crowdfund.campaigns import queries
from crowdfund.campaigns.models import Pledge
from crowdfund.chain.backends import AnyBackend
from crowdfund.chain.core import CoreBackend
from crowdfund.chain.electrum import ElectrumBackend
from crowdfund.chain.esplora import EsploraBackend
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import WorldError
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.worker import Worker
from support.node import new_address
from support.proxy import FaultyProxy
from support.servers import server_settings
from support.truth import even
from support.witness import Witness
from support.world import World

KINDS = ("core", "electrum", "esplora")
SEED = int(os.environ.get("FAULT_SEED") or 20261122)
LONG_SEED = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(10**9))
STORY_S, LONG_S = 10.0, 20 * 60.0
MOST_ROUNDS = 500
MOST_TURNS = 5
TIMEOUT_S = 0.5
CONFIRMATIONS = 3
DEEPEST = CONFIRMATIONS - 1  # what was decided rests on blocks that stay
RATES = {"core": 0.12, "electrum": 0.04, "esplora": 0.06}
MOST_GROWTH_KIB = 96 * 1024


class Story:
    """Backers, miners and deadlines at random, and a worker at the end of the line."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.node = world.node
        self.chance = random.Random(seed)
        self.witness = Witness(world)
        self.open: list[str] = []
        self.pledges: list[Pledge] = []
        self.bumpable: list[str] = []
        self.rounds = self.troubles = 0

    def play(self, until: float, enough: Callable[[], bool]) -> None:
        """Act and look in turns until that moment of the monotonic clock and until it is enough; a machine that stands
        still for a while has not told a story."""
        acts = {self.pledge: 3, self.pay: 8, self.bump: 2, self.double_spend: 2, self.mine: 6, self.reorganise: 2}
        acts |= {self.pass_deadline: 1}
        self.start_campaign()
        self.look(1)
        while time.monotonic() < until or not (enough() or self.rounds > MOST_ROUNDS):
            for act in self.chance.choices(list(acts), list(acts.values()), k=self.chance.randint(1, 3)):
                act()
            self.look(self.chance.randint(1, 4))

    def look(self, rounds: int) -> None:
        """Rounds as in production: what fails is noted and tried again."""
        self.witness.note()
        for _ in range(rounds):
            self.rounds += 1
            try:
                self.world.worker.round()
            except WorldError as error:
                self.troubles += 1
                self.world.worker.note_trouble(error)
            self.witness.note()  # settlements sent meanwhile
            self.witness.judge()

    def start_campaign(self) -> None:
        self.open.append(self.world.campaign(goal_sats=self.chance.choice((100_000, 400_000, 10**9))))
        self.pledge()

    def pledge(self) -> None:
        self.pledges.append(self.world.pledge(self.chance.choice(self.open), self.chance.randint(20_000, 200_000)))

    def pay(self) -> None:
        """In full, too little, too much or dust; in time or late."""
        pledge = self.chance.choice(self.pledges[-12:])
        sats = self.chance.choice((pledge.amount_sats, pledge.amount_sats, pledge.amount_sats - 1, 60_000, 900))
        self.bumpable.append(self.node.pay(str(pledge.address), sats))

    def bump(self) -> None:
        waiting = [t for t in self.bumpable if t in self.node.rpc("getrawmempool")]
        if waiting:
            try:
                self.bumpable.append(self.node.bank("bumpfee", self.chance.choice(waiting))["txid"])
            except WorldError:  # something spends it already
                return

    def double_spend(self) -> None:
        """Pay, and take it back with a higher fee, before or after anybody looked."""
        coins = [c for c in self.node.bank("listunspent") if c["amount"] > 1]
        if not coins:
            return
        coin, pledge = self.chance.choice(coins), self.chance.choice(self.pledges[-12:])
        self.node.rpc("sendrawtransaction", self.spend(coin, str(pledge.address), 1_000))
        if self.chance.random() < 0.7:
            self.look(1)
        self.node.rpc("sendrawtransaction", self.spend(coin, new_address(self.node), 60_000))

    def spend(self, coin: Any, address: str, fee_sats: int) -> str:
        left_sats = int(coin["amount"] * 10**8) - 50_000 - fee_sats
        outputs = [{address: "0.00050000"}, {new_address(self.node): f"{left_sats // 10**8}.{left_sats % 10**8:08d}"}]
        spent = [{"txid": coin["txid"], "vout": coin["vout"], "sequence": 0xFFFFFFFD}]
        raw = self.node.bank("createrawtransaction", spent, outputs)
        return str(self.node.bank("signrawtransactionwithwallet", raw)["hex"])

    def mine(self) -> None:
        if self.chance.random() < 0.3:
            self.node.rpc("generateblock", new_address(self.node), [])
        else:
            self.node.mine(self.chance.choice((1, 1, 1, 2)))

    def reorganise(self) -> None:
        """Another branch, one block longer, which leaves out what it likes."""
        depth = self.chance.randint(1, DEEPEST)
        self.witness.note()
        first = self.node.rpc("getblockhash", int(self.node.rpc("getblockcount")) - depth + 1)
        self.node.rpc("invalidateblock", first)
        for _ in range(depth):
            self.node.rpc("generateblock", new_address(self.node), [])
        if self.chance.random() < 0.5:
            self.node.rpc("generateblock", new_address(self.node), [])
        else:
            self.node.mine()

    def pass_deadline(self) -> None:
        """Beyond the deadline of every open campaign, and a little later perhaps deep enough."""
        last = max(int(self.terms_of(c)) for c in self.open)
        self.look(1)
        self.node.jump_to(last + 1)
        self.look(2)
        self.node.mine(self.chance.randint(1, CONFIRMATIONS))
        self.open.clear()
        self.start_campaign()

    def terms_of(self, campaign: str) -> float:
        terms = self.world.snapshot(campaign).terms
        assert terms is not None
        return terms.deadline.timestamp()

    def end(self, proxy: FaultyProxy) -> None:
        """The line is good again: two blocks later the books are the chain, and a few later all is settled."""
        proxy.calm()
        for _ in range(2):
            self.node.mine()
            self.look(4)
        self.witness.note()
        even(self.world)
        self.witness.judge()
        self.pass_deadline()
        for _ in range(MOST_TURNS):  # the bank may bring back what the jump in time has thrown out of the mempool
            for blocks in (CONFIRMATIONS, 1, CONFIRMATIONS):
                self.node.mine(blocks)
                even(self.world)
            if not (unsettled := self.unsettled()):
                break
        self.witness.note()
        self.witness.judge()
        assert not unsettled, unsettled

    def unsettled(self) -> dict[str, str]:
        """Campaigns that are over and not settled, with their state."""
        with self.world.database.reading() as session:
            states = {s.campaign.id: str(queries.summarise(s).state) for s in queries.published(session)}
        return {c: s for c, s in states.items() if c not in self.open and s not in ("released", "refunded")}


@contextmanager
def lined(world: World, kind: str, settings: dict[str, str], seed: int) -> Iterator[FaultyProxy]:
    """The world's worker looks through a faulty line."""
    targets = {
        "core": world.node.rpc_url,
        "electrum": settings.get("ELECTRUM_URL"),
        "esplora": settings.get("ESPLORA_URL"),
    }
    with FaultyProxy(str(targets[kind]), seed, RATES[kind], TIMEOUT_S) as proxy:
        backend = backend_through(proxy.url, kind, world)
        world.worker = Worker(world.database, backend, SignerClient(world.settings.signer_socket), "regtest")
        try:
            yield proxy
        finally:
            backend.close()


def backend_through(url: str, kind: str, world: World) -> AnyBackend:
    """A backend with little patience that takes nobody's word."""
    if kind == "electrum":
        return ElectrumBackend(url, "regtest", timeout_s=TIMEOUT_S)
    if kind == "esplora":
        return EsploraBackend(url, "regtest", timeout_s=TIMEOUT_S)
    return CoreBackend(url, world.node.cookie_file, timeout_s=TIMEOUT_S, believed=False)


def play(node: RegtestNode, folder: Path, kind: str, settings: dict[str, str], seed: int) -> None:
    """One story, judged all along."""
    with (
        World(node, folder, CONFIRMATIONS=str(CONFIRMATIONS), **settings) as world,
        lined(world, kind, settings, seed) as proxy,
    ):
        story = Story(world, seed)
        try:
            story.play(time.monotonic() + STORY_S, lambda: len(proxy.counts) > 3)
            assert len(proxy.counts) > 3, "hardly any fault came about"
            story.end(proxy)
        except BaseException as error:
            error.add_note(f"FAULT_SEED={seed} over {kind}; the last faults: " + "; ".join(proxy.recent))
            raise
        print(f"{kind}, seed {seed}: {story.rounds} rounds, {story.troubles} failed, {dict(proxy.counts)}")


def held() -> tuple[int, int]:
    """(threads, open files and sockets) of this process."""
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def memory_kib() -> int:
    """What this process has in memory."""
    words = Path("/proc/self/statm").read_text().split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.fixture(scope="module", params=KINDS)
def server(
    node: RegtestNode, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[str, dict[str, str]]]:
    with server_settings(node, tmp_path_factory.mktemp("server"), request.param) as settings:
        yield request.param, settings


def test_a_story_through_a_faulty_line(node: RegtestNode, tmp_path: Path, server: tuple[str, dict[str, str]]) -> None:
    before = held()
    play(node, tmp_path, *server, SEED)
    threads, files = held()
    assert threads <= before[0] + 1 and files <= before[1] + 4, f"left open: {before} before, {(threads, files)} now"


@pytest.mark.long
def test_stories_through_a_faulty_line(node: RegtestNode, tmp_path: Path, server: tuple[str, dict[str, str]]) -> None:
    until = time.monotonic() + LONG_S
    play(node, tmp_path / "first", *server, LONG_SEED)
    before, kib, number = held(), memory_kib(), 0
    while time.monotonic() < until:
        number += 1
        play(node, tmp_path / str(number), *server, LONG_SEED + number)
    threads, files = held()
    assert threads <= before[0] + 1 and files <= before[1] + 4, f"left open: {before} before, {(threads, files)} now"
    assert memory_kib() - kib < MOST_GROWTH_KIB, f"{memory_kib() - kib} KiB more in {number} stories"
