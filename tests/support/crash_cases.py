"""Many campaigns that end at once on one chain, each in a data folder of its own, each killed at its own steps.

A play takes all its cases through the same six stages: the chain moves, then every case lives until nothing is left
to do. In each stage a case is killed as it was told, started again, and perhaps killed again; a sleeper stays dead
until the chain has moved on. Who is killed, and when, is a value; what was found on disk after each death is kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from crowdfund.campaigns import queries, service
from crowdfund.chain.regtest import RegtestNode
from crowdfund.config import Settings
from crowdfund.db import Database
from support.cancelling import cancellation, payout_coin
from support.crash_store import Files, Store, rows
from support.node import new_address
from support.nursery import IN_TROUBLE, KILLED, Nursery
from support.world import DAY, World

STAGES = ("seen", "confirmed", "settle", "final", "late", "late final")
PLANNING = ("settle", "late")
DULL = ("confirmed", "final")  # who is not killed in these stays away: the next stage tells it all
UNSIGNED = 12  # from about this step on, what is on disk when the worker dies says what it would send
FIRST_SATS = (400_000, 500_000, 30_000)
SECOND_SATS = 250_000  # pledge 0 pays in two parts
LATE_SATS, VERY_LATE_SATS = 40_000, 50_000  # pledge 1 after the deadline, pledge 2 after the settlement
CANCELLED = "cancelled"
GOALS = {"funded": 1_000_000, "failed": 50_000_000, CANCELLED: 1_000_000}
PLAN = "SELECT txid, raw FROM attempts"
SPARE_ACCOUNTS = 5  # few, so that the worker asks for more


@dataclass(frozen=True)
class Kill:
    """Kill the worker or the signer at this step (from 1) of its life."""

    who: str
    step: int


Kills = Mapping[str, Sequence[Kill]]  # stage -> one kill a life


@dataclass
class Case:
    """One campaign in a folder of its own."""

    name: str
    ending: str
    kills: Kills
    sleeps: bool = False
    every_statement: bool = False
    folder: Path = field(default=Path(), repr=False)
    env: dict[str, str] = field(default_factory=dict, repr=False)
    campaign_id: str = ""
    payout_script: str = ""
    payout_address: str = ""
    terms_hash: bytes = b""
    cancelling_tx: str = field(default="", repr=False)
    pledges: list[tuple[str, str]] = field(default_factory=list, repr=False)  # (script paid to, refund script)
    addresses: list[str] = field(default_factory=list, repr=False)
    signer_pid: int = 0
    lives: int = 0
    hits: list[tuple[str, int, Kill, str]] = field(default_factory=list, repr=False)  # stage, life, kill, label
    steps: dict[tuple[str, int, str], list[str]] = field(default_factory=dict, repr=False)  # (stage, life, who)
    plans: list[dict[str, bytes | None]] = field(default_factory=list, repr=False)  # txid -> raw, after each death
    undisturbed: dict[str, bytes | None] = field(default_factory=dict, repr=False)

    store: Store = field(default_factory=Files, repr=False)

    @property
    def outcome(self) -> str:
        """What is decided."""
        return "failed" if self.ending == CANCELLED else self.ending

    @property
    def database_url(self) -> str:
        """Its database."""
        return self.store.url(self.folder)


class Play:
    """All cases on one node, in one folder."""

    def __init__(
        self, node: RegtestNode, folder: Path, nurseries: Sequence[Nursery], store: Store | None = None
    ) -> None:
        self.node = node
        self.nurseries = nurseries
        self._store: Store = store or Files()
        self._folder = folder
        self._template = folder / "template"
        self._plays = 0

    def run(self, cases: Sequence[Case]) -> int:
        """Take all cases through all stages; returns the height before the first payment."""
        deadline = datetime.fromtimestamp(self.node.status()["median_time_past"], UTC) + 3 * DAY
        self._prepare(cases, deadline)
        self._get_ready_to_cancel([case for case in cases if case.ending == CANCELLED])
        base = int(self.node.rpc("getblockcount"))
        for stage, move in zip(STAGES, self._moves(cases, deadline), strict=True):
            move()
            self._everybody(cases, partial(_live_through, stage))
        self.node.mine()  # who slept through the last stages catches up
        self._everybody([case for case in cases if case.sleeps], partial(_live_through, "afterwards"))
        self._everybody(cases, lambda nursery, case: nursery.end(case.signer_pid))
        return base

    def _moves(self, cases: Sequence[Case], deadline: datetime) -> list[Callable[[], object]]:
        """What the chain does before each stage."""

        def pay() -> None:
            for n, amount_sats in enumerate(FIRST_SATS):
                self._pay([c.addresses[n] for c in cases], amount_sats)
            self._pay([c.addresses[0] for c in cases], SECOND_SATS)

        def close() -> None:
            for raw in (c.cancelling_tx for c in cases if c.ending == CANCELLED):
                self.node.rpc("sendrawtransaction", raw)
            if any(c.ending == CANCELLED for c in cases):
                self.node.mine()
            self.node.jump_to(int(deadline.timestamp()) + 1)
            self._pay([c.addresses[1] for c in cases], LATE_SATS)
            self.node.mine()

        def pay_very_late() -> None:
            self._pay([c.addresses[2] for c in cases], VERY_LATE_SATS)
            self.node.mine()

        return [pay, self.node.mine, close, self.node.mine, pay_very_late, self.node.mine]

    def _get_ready_to_cancel(self, cases: Sequence[Case]) -> None:
        """A coin at each payout address, and the transaction that will spend it, not sent yet."""
        coins = [payout_coin(self.node, case.payout_address) for case in cases]
        if cases:
            self.node.mine()
        for case, coin in zip(cases, coins, strict=True):
            case.cancelling_tx = cancellation(self.node, coin, case.terms_hash)

    def _pay(self, addresses: Iterable[str], amount_sats: int) -> None:
        self.node.bank("sendmany", "", dict.fromkeys(addresses, f"0.{amount_sats:08d}"))

    def _everybody(self, cases: Sequence[Case], act: Callable[[Nursery, Case], object]) -> None:
        """Each nursery takes its share of the cases, one after the other."""

        def share(first: int) -> None:
            for case in cases[first :: len(self.nurseries)]:
                act(self.nurseries[first], case)

        with ThreadPoolExecutor(len(self.nurseries)) as pool:
            list(pool.map(share, range(len(self.nurseries))))

    def _prepare(self, cases: Sequence[Case], deadline: datetime) -> None:
        """A copy of the template for each case, with a published campaign and three pledges, not yet paid."""
        self._plays += 1
        with World(self.node, self._template, DATABASE_URL=self._store.url(self._template)) as world:
            creator_id = world.creator(f"alice in play {self._plays}")
            with world.database.transaction() as session:
                session.connection().exec_driver_sql(f'DELETE FROM accounts WHERE "index" >= {SPARE_ACCOUNTS}')
            world.database.close()
            for case in cases:
                folder = self._folder / f"{self._plays}-{case.name}"
                shutil.copytree(self._template, folder, ignore=shutil.ignore_patterns("*.sock"))
                case.store = self._store
                self._store.url(folder, self._template)
                _publish(case, world, folder, creator_id, deadline)


def _publish(case: Case, world: World, folder: Path, creator_id: int, deadline: datetime) -> None:
    case.folder = folder
    case.env = {
        "CROWDFUND_DATA_DIR": str(folder),
        "CROWDFUND_DATABASE_URL": case.database_url,
        "CROWDFUND_BITCOIND_URL": world.node.rpc_url,
        "CROWDFUND_BITCOIND_COOKIE_FILE": str(world.node.cookie_file),
    }
    settings = Settings.from_env(case.env)
    database = Database(settings.database_url)
    draft = world.draft(title=f"Case {case.name}", goal_sats=GOALS[case.ending], deadline_at=deadline)
    with database.transaction() as session:
        campaign = service.save_draft(session, settings, creator_id, draft)
        service.publish(session, settings, creator_id, campaign.id)
        case.campaign_id = campaign.id
    for amount_sats in FIRST_SATS:
        refund = new_address(world.node)
        pledge_id = service.open_pledge(database, settings, case.campaign_id, amount_sats, refund)
        with database.reading() as session:
            snapshot, pledge = queries.load_by_pledge(session, pledge_id)
        case.addresses.append(str(pledge.address))
        case.pledges.append(((pledge.script or b"").hex(), pledge.refund_script.hex()))
    assert snapshot.terms is not None
    case.payout_script, case.payout_address = snapshot.terms.payout_script, snapshot.terms.payout_address
    case.terms_hash = snapshot.terms.hash
    database.close()


def _live_through(stage: str, nursery: Nursery, case: Case) -> None:
    """Live and die as told, until nothing is left to do in this stage."""
    planned = list(case.kills.get(stage, ()))
    if stage in DULL and case.kills and not planned and not case.sleeps:
        return
    if stage in PLANNING and planned and planned[0].step <= UNSIGNED and not case.sleeps:
        _ask_a_twin(case, nursery)
    for life in range(len(planned) + 2):
        kill = planned[life] if life < len(planned) else None
        if _one_life(case, nursery, stage, life, kill) == 0 and life >= len(planned):
            return
        if case.sleeps and kill is not None:
            return
    raise AssertionError(f"{case.name} does not come to rest in {stage}: {_last_words(case)}")


def _one_life(case: Case, nursery: Nursery, stage: str, life: int, kill: Kill | None) -> int:
    """One life of the worker; a signer stands by, with a death of its own if it is its turn."""
    case.lives += 1
    files = {who: case.folder / "lives" / f"{case.lives}-{who}" for who in ("worker", "signer")}
    at = {kill.who: kill.step} if kill else {}
    if case.signer_pid == 0 or "signer" in at or not case.kills:
        _new_signer(case, nursery, files["signer"], at.get("signer"))
    steps_file, here = files["worker"], not case.kills
    exit_code = nursery.worker(case.env, steps_file, at.get("worker"), case.every_statement, here=here)
    for who, path in files.items():
        case.steps[(stage, life, who)] = path.read_text().splitlines() if path.exists() else []
    if "signer" in at:
        _new_signer(case, nursery, case.folder / "lives" / "signer", None)
    if kill is None or len(steps := case.steps[(stage, life, kill.who)]) < kill.step:
        assert exit_code == 0, f"{case.name} ended with {exit_code} in {stage}: {_last_words(case)}"
        return 0
    case.hits.append((stage, life, kill, steps[-1]))
    assert exit_code == (KILLED if kill.who == "worker" else IN_TROUBLE), f"{case.name}: {_last_words(case)}"
    case.plans.append(plan_on_disk(case))
    return exit_code


def _new_signer(case: Case, nursery: Nursery, steps: Path, kill_at: int | None) -> None:
    if case.signer_pid:
        nursery.end(case.signer_pid)
    case.signer_pid = nursery.signer(case.env, steps, kill_at)


def _ask_a_twin(case: Case, nursery: Nursery) -> None:
    """What would this case plan and sign now, undisturbed? A copy lives to the end, but sends nothing."""
    twin = case.folder.with_name(f"{case.folder.name}-twin")
    shutil.copytree(case.folder, twin, ignore=shutil.ignore_patterns("*.sock", "lives"))
    url = case.store.url(twin, case.folder)
    env = {**case.env, "CROWDFUND_DATA_DIR": str(twin), "CROWDFUND_DATABASE_URL": url}
    signer = nursery.signer(env, twin / "lives" / "signer")
    assert nursery.worker(env, twin / "lives" / "worker", muted=True) == 0, (twin / "life.log").read_text()
    nursery.end(signer)
    case.undisturbed = dict(rows(url, PLAN))
    shutil.rmtree(twin)


def plan_on_disk(case: Case) -> dict[str, bytes | None]:
    """What the dead worker's database holds: txid -> signed bytes (None while unsigned) of every attempt."""
    return dict(case.store.after_death(case.folder, PLAN))


def _last_words(case: Case) -> str:
    path = case.folder / "life.log"
    return path.read_text()[-2000:] if path.exists() else "nothing was said"
