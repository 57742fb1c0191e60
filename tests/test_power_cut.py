"""The power goes while SQLite writes, and what was not yet on the disk is lost or torn: nothing acknowledged is.

The statements are those of a real installation, recorded once; they run again on a file system that forgets. After
every cut the file is opened as a start of the worker would open it, and holds exactly the transactions that were
acknowledged, or these and the one that was under way.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw
import pytest
from sqlalchemy import event, text

from crowdfund import sqlite
from crowdfund.db import Database
from support.paper import Paper, coin
from support.power import Disk, PowerVfs, left_after_a_cut

SEED = int(os.environ.get("FAULT_SEED") or 0)
Statement = tuple[str, Any]


@dataclass
class Recording:
    """An installation before, and each transaction that was written since, with a digest of the records after it."""

    template: Path
    transactions: list[list[Statement]] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Cut:
    """The disk at a moment, and how many transactions had been acknowledged by then."""

    disk: Disk
    acknowledged: int


def story(paper: Paper) -> None:
    """Campaigns, pledges, payments, blocks, one reorganisation."""
    for number in range(4):
        campaign = paper.campaign()
        pledges = [paper.pledge(campaign) for _ in range(3)]
        paper.mempool([coin(pledge, 50_000, f"{number} {pledge.id}") for pledge in pledges])
        paper.mine([coin(pledge, 50_000, f"{number} {pledge.id}") for pledge in pledges], blocks=3)
    paper.fork(2)
    paper.mine(blocks=3, branch="other")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    folder = tmp_path_factory.mktemp("recorded")
    found = Recording(folder / "template.sqlite")
    with Paper(folder / "house") as paper:
        with closing(sqlite3.connect(folder / "house" / "crowdfund.sqlite")) as source:
            source.execute(f"VACUUM INTO '{found.template}'")
        record_into(found, paper.database)
        story(paper)
    path = folder / "again.sqlite"
    shutil.copy(found.template, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as plain:
        sqlite.prepare(plain)
        found.digests.append(digest(plain))
        play(plain.execute, found.transactions, lambda: found.digests.append(digest(plain)))
    assert len(set(found.digests)) == len(found.digests) == len(found.transactions) + 1 > 40
    return found


def record_into(found: Recording, database: Database) -> None:
    """Every statement of every transaction that is committed from now on."""
    open_now: list[Statement] = []

    def statement(_c: object, _cursor: object, sql: str, values: Any, _context: object, many: bool) -> None:
        if sql == "BEGIN IMMEDIATE":
            open_now.clear()
        if sql.startswith(("INSERT", "UPDATE", "DELETE")):
            open_now.extend((sql, each) for each in (values if many else [values]))

    def committed(_connection: object) -> None:
        if open_now:
            found.transactions.append(list(open_now))

    event.listen(database.engine, "before_cursor_execute", statement)
    event.listen(database.engine, "commit", committed)


def play(execute: Callable[..., Any], transactions: list[list[Statement]], acknowledged: Callable[[], object]) -> None:
    """Run all transactions; `acknowledged` is called after each commit."""
    for statements in transactions:
        execute("BEGIN IMMEDIATE")
        for sql, values in statements:
            execute(sql, values).fetchall()
        execute("COMMIT")
        acknowledged()


def digest(connection: sqlite3.Connection) -> str:
    """All rows of all tables."""
    return sha256("\n".join(connection.iterdump()).encode()).hexdigest()


def cuts(recorded: Recording, folder: Path, chance: random.Random, number: int, *pragmas: str) -> list[Cut]:
    """Play the recording on a disk that forgets, and cut the power at `number` moments of it."""
    counted: list[int] = []
    _on_that_disk(recorded, folder / "count", lambda vfs, done: counted.append(done), pragmas)
    moments = set(chance.sample(range(len(counted)), number))
    found: list[Cut] = []
    ticks = iter(range(len(counted) + 1000))

    def tick(vfs: PowerVfs, done: int) -> None:
        if next(ticks) in moments:
            found.append(Cut(vfs.copied(), done))

    _on_that_disk(recorded, folder / "cut", tick, pragmas)
    assert len(found) == number
    return found


def _on_that_disk(
    recorded: Recording, folder: Path, tick: Callable[[PowerVfs, int], None], pragmas: tuple[str, ...]
) -> None:
    folder.mkdir(parents=True)
    shutil.copy(recorded.template, folder / "x.sqlite")
    acknowledged: list[None] = []
    vfs = PowerVfs(folder.as_posix(), lambda: tick(vfs, len(acknowledged)))
    connection = _Connection(str(folder / "x.sqlite"), vfs=folder.as_posix())
    sqlite.prepare(connection)
    for pragma in ("wal_autocheckpoint=15", *pragmas):  # so that the story has many checkpoints in it
        connection.execute(f"PRAGMA {pragma}")
    play(connection.execute, recorded.transactions, lambda: acknowledged.append(None))
    connection.close()
    vfs.unregister()


class _Connection(apsw.Connection):
    """With the attribute that the product sets on the other driver's connections."""

    isolation_level: str | None = None


def outcome(recorded: Recording, cut: Cut, folder: Path, chance: random.Random) -> str:
    """What a start after the cut finds: "" for all that was promised, else what is wrong."""
    left_after_a_cut(cut.disk, folder, chance)
    database = Database(f"sqlite:///{folder / 'x.sqlite'}")
    try:
        with database.transaction() as session:
            if session.execute(text("PRAGMA integrity_check")).scalar() != "ok":
                return "the file is damaged"
    finally:
        database.close()
    with closing(sqlite3.connect(folder / "x.sqlite")) as connection:
        found = digest(connection)
    shutil.rmtree(folder)
    allowed = recorded.digests[cut.acknowledged : cut.acknowledged + 2]
    return "" if found in allowed else f"not what {cut.acknowledged} acknowledged transactions left"


def campaign_of_cuts(recorded: Recording, folder: Path, seeds: range, *pragmas: str) -> list[str]:
    """What was wrong after each of so many cuts, with the seed that shows it again."""
    chance = random.Random(seeds.start)
    wrong = []
    for number, cut in enumerate(cuts(recorded, folder, chance, len(seeds), *pragmas)):
        fault = outcome(recorded, cut, folder / f"after {number}", random.Random(seeds.start + number))
        if fault:
            wrong.append(f"FAULT_SEED={seeds.start}, cut {number}: {fault}")
    return wrong


def test_a_power_cut_takes_nothing_that_was_acknowledged(recorded: Recording, tmp_path: Path) -> None:
    assert campaign_of_cuts(recorded, tmp_path, range(SEED, SEED + 100)) == []


def test_a_weaker_setting_would_be_noticed(recorded: Recording, tmp_path: Path) -> None:
    """NORMAL loses what was acknowledged; the disk of these tests is one that shows it."""
    wrong = campaign_of_cuts(recorded, tmp_path, range(40), "synchronous=NORMAL")
    assert len(wrong) > 5 and not [each for each in wrong if "damaged" in each]


@pytest.mark.long
@pytest.mark.parametrize("first", range(SEED, SEED + 1_000, 100))
def test_a_thousand_power_cuts(first: int, recorded: Recording, tmp_path: Path) -> None:
    assert campaign_of_cuts(recorded, tmp_path, range(first, first + 100)) == []
