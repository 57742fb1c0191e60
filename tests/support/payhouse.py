"""Where stories about settlements begin: one chain, one database and three campaigns, made once a process."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import pytest

from crowdfund import worker as worker_module
from crowdfund.accounts import people
from crowdfund.campaigns import service
from crowdfund.campaigns.drafts import Draft
from crowdfund.config import Settings
from crowdfund.wallet import descriptors, signer_log
from crowdfund.wallet.addresses import address_of
from crowdfund.worker import Worker
from support.paychain import PayChain
from support.payparts import Clock, CountedDatabase, Disk, InTurn, NearClient, Steps, Vault

HOUR = 3_600
GOALS, CAPS, CONFIRMATIONS, HOURS = (50_000, 100_000, 30_000), (0, 0, 80_000), (2, 1, 3), (3, 5, 3)
AMOUNTS = (10_000, 30_000, 70_000, 400_000)
REFUNDS = (b"\x00\x14" + b"r" * 20, b"\x00\x20" + b"s" * 32, b"\x76\xa9\x14" + b"t" * 20 + b"\x88\xac",
           b"\xa9\x14" + b"u" * 20 + b"\x87", b"\x51\x20" + b"v" * 32, b"\x00\x14" + b"w" * 20)  # fmt: skip
DISK = Disk(Steps())
IDS = InTurn()


@dataclass(frozen=True)
class Beginning:
    """A chain and a database that every story begins with."""

    chain: PayChain
    database: Path
    folder: Path
    settings: Settings


def prepared(patch: pytest.MonkeyPatch) -> None:
    """Time, ids and the signer's disk are the stories'; an address is derived once, as long as the terms are the
    same."""
    patch.setattr(worker_module.log, "disabled", True)
    patch.setattr(worker_module, "datetime", Clock)
    patch.setattr(service, "datetime", Clock)
    patch.setattr(service, "derive_address", lru_cache(maxsize=None)(descriptors.derive_address))
    patch.setattr(service, "new_id", IDS)
    patch.setattr(signer_log, "os", DISK)


@lru_cache(maxsize=1)
def beginning() -> Beginning:
    """Made once a process."""
    folder = Path(tempfile.mkdtemp(prefix="crowdfund-payday-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    chain = PayChain()
    path = folder / "template.sqlite"
    database = CountedDatabase(f"sqlite:///{path}", Steps())
    database.upgrade()
    steps = Steps()
    DISK.steps, DISK.full = steps, False
    Clock.seconds = staticmethod(lambda: chain.tip.time)
    with database.transaction() as session:
        creator = people.sign_up(session, "alice", "correct horse battery", datetime.now(UTC)).id
    worker = Worker(database, chain, NearClient(Vault(folder / "new vault", steps, DISK, lambda _: None)), "regtest")
    while worker.round():
        pass
    settings = None
    for number, goal_sats in enumerate(GOALS):
        settings = Settings.from_env(
            {"CROWDFUND_DATA_DIR": str(folder), "CROWDFUND_CONFIRMATIONS": str(CONFIRMATIONS[number])}
        )
        deadline = chain.tip.time + HOURS[number] * HOUR
        payout = b"\x00\x14" + b"p" * 19 + bytes([number])
        draft = Draft(
            f"Campaign {number}", "Drawings.", "By hand.", goal_sats, datetime.fromtimestamp(deadline, UTC),
            address_of(payout, "regtest"), "https://example.org", "MIT", CAPS[number],
        )  # fmt: skip
        with database.transaction() as session:
            made = service.save_draft(session, settings, creator, draft).id
            service.publish(session, settings, creator, made)
        for amount, refund in zip(AMOUNTS, REFUNDS, strict=False):
            service.open_pledge(database, settings, made, amount, address_of(refund, "regtest"))
    worker.round()
    database.close()
    assert settings is not None
    return Beginning(chain, path, folder, settings)


@lru_cache(maxsize=2)
def opened(path: Path, number: int) -> CountedDatabase:
    """The same two objects in every story: what they have compiled is good for the next one."""
    return CountedDatabase(f"sqlite:///{path}", Steps())
