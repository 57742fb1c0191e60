"""Backups for tests: a cheap key, and an installation whose database is lost and comes back."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import select

from crowdfund.backup.making import Made, Sources, make_backup
from crowdfund.backup.restoring import Restored, restore_backup
from crowdfund.backup.signer_past import head_of
from crowdfund.campaigns.models import Attempt, Coin, Pledge
from crowdfund.wallet.passphrase import Passphrase
from crowdfund.wallet.seed_file import Cost
from support.world import World

CHEAP = Cost(memory_kib=8, passes=1, lanes=1)
SECRET = Passphrase("a long enough passphrase")
TABLES_THAT_STAY = ("creators", "api_tokens", "campaigns", "pledges", "coins", "decisions", "batches", "attempts")


def log_of(folder: Path) -> Path:
    """The signer's log of the installation in `folder`."""
    return folder / "signer" / "log.jsonl"


def seed_of(folder: Path) -> Path:
    """The signer's seed of the installation in `folder`."""
    return folder / "signer" / "seed"


def back_up(world: World, path: Path) -> Made:
    """A backup of a World, without its seed."""
    return make_backup(world.database, world.settings, Sources(log_of(world.folder), None), path, SECRET, CHEAP)


def lose_database(world: World) -> Path:
    """Move the database away, with all its files; returns where it is now."""
    lost = world.folder / "lost"
    lost.mkdir()
    for file in world.folder.glob("crowdfund.sqlite*"):
        shutil.move(file, lost / file.name)
    return lost / "crowdfund.sqlite"


def lose_log(world: World) -> None:
    """The signer's log is gone, and its head."""
    log_of(world.folder).unlink()
    head_of(log_of(world.folder)).unlink()


def bring_back(world: World, path: Path) -> Restored:
    """Restore a backup into the folder of a World that has ended."""
    return restore_backup(world.settings, path, SECRET, log_of(world.folder), seed_of(world.folder))


def coins(world: World) -> set[tuple[str, int, int, int | None, str | None]]:
    """Every coin in the books: outpoint, value, height, spender."""
    with world.database.reading() as session:
        return {(c.txid, c.vout, c.value_sats, c.height, c.spent_by) for c in session.scalars(select(Coin))}


def addresses(world: World) -> dict[str, tuple[str, int]]:
    """Address -> (campaign, index) of every address given out."""
    with world.database.reading() as session:
        return {p.address: (p.campaign_id, p.index) for p in session.scalars(select(Pledge)) if p.address}


def txids(world: World) -> set[str]:
    """Of every settlement transaction in the books."""
    with world.database.reading() as session:
        return set(session.scalars(select(Attempt.txid)))
