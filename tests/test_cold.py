"""Settling with the seed on another machine: accounts, plans and signatures travel as files, the rest is as ever."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner

from crowdfund.campaigns import service, settling
from crowdfund.chain.regtest import RegtestNode
from crowdfund.cli import main
from crowdfund.config import Settings
from crowdfund.wallet import shield
from crowdfund.wallet.keystore import create_seed
from crowdfund.wallet.signer_client import ColdSigner
from support.node import new_address
from support.world import World


@dataclass
class Machine:
    """A machine's command line."""

    env: dict[str, str]

    def __call__(self, *arguments: str, fails: bool = False) -> str:
        """Run `crowdfund ARGUMENTS`; all that it prints."""
        told = CliRunner().invoke(main, list(arguments), env=self.env)
        assert told.exception is None or isinstance(told.exception, SystemExit), told.exception
        assert (told.exit_code != 0) == fails, told.output
        return told.output


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The machine with the seed: it has a data folder, and no network that we know of."""
    create_seed(tmp_path / "vault" / "signer" / "seed")
    monkeypatch.setattr(
        shield, "keep_memory_private", lambda: None
    )  # that is for a process of its own, not for this one
    return Machine(Settings.from_env({"CROWDFUND_DATA_DIR": str(tmp_path / "vault")}).to_env())


@pytest.fixture
def server(world: World) -> Machine:
    return Machine(world.settings.to_env())


@pytest.fixture
def world(node: RegtestNode, tmp_path: Path) -> Iterator[World]:
    before = os.umask(0o077)
    (tmp_path / "server").mkdir()
    with World(node, tmp_path / "server", SIGNER="cold") as made:
        assert isinstance(made.worker.signer, ColdSigner)
        yield made
    os.umask(before)


def stocked(server: Machine, vault: Machine, tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"
    file.write_text(vault("cold", "accounts", "--count", "12"))
    assert "12 accounts" in server("cold", "import-accounts", str(file))
    assert "12 accounts" in server("cold", "import-accounts", str(file)), "twice is no harm"


def waiting(world: World) -> int:
    """How many transactions wait for their signature."""
    with world.database.reading() as session:
        return sum(job.raw is None for job in settling.open_jobs(session))


def trouble(world: World) -> str:
    world.sync()
    return world.worker._view.trouble


def test_both_endings_by_files_and_pictures(world: World, server: Machine, vault: Machine, tmp_path: Path) -> None:
    assert "cold accounts" in trouble(world)
    stocked(server, vault, tmp_path)
    won, lost = world.campaign(goal_sats=100_000), world.campaign(goal_sats=100_000)
    world.paid(won, 150_000)
    refund_address = new_address(world.node)
    pledge = world.pledge(lost, 50_000, refund_address)
    world.node.pay(str(pledge.address), 50_000)
    world.node.mine()
    world.sync()
    assert server("cold", "export", str(tmp_path / "early")).startswith("0 plans of 2 campaigns")
    vault("cold", "sign", str(tmp_path / "early"))

    world.close(won)
    assert "waits for signatures" in trouble(world)
    assert waiting(world) == 2
    folder = tmp_path / "due"
    assert server("cold", "export", str(folder), "--qr").startswith("2 plans of 2 campaigns")
    assert "exists" in server("cold", "export", str(folder), fails=True)
    told = vault("cold", "sign", str(folder))
    assert "Signed release" in told and "Signed refund" in told and refund_address in told

    signed = sorted(folder.glob("*.signed.psbt"))
    unsigned = next(f for f in folder.glob("*.psbt") if f not in signed)
    assert "has 0 signatures" in server("cold", "import", str(unsigned), fails=True)
    assert "is signed and stored" in server("cold", "import", *map(str, signed))
    world.sync()
    world.node.mine()
    world.sync()
    assert (world.summary(won).state, world.summary(lost).state) == ("released", "refunded")
    assert trouble(world) == ""
    pictures = sorted((folder / unsigned.stem).glob("*.png"))
    picture = cv2.imread(str(pictures[0]))
    assert picture is not None and cv2.QRCodeDetector().detectAndDecode(picture)[0].startswith("B$")


def test_a_server_that_lies_gets_nothing_signed(world: World, server: Machine, vault: Machine, tmp_path: Path) -> None:
    stocked(server, vault, tmp_path)
    campaign = world.campaign(goal_sats=100_000)
    world.paid(campaign, 50_000)
    server("cold", "export", str(tmp_path / "early"))
    vault("cold", "sign", str(tmp_path / "early"))
    world.close(campaign)
    server("cold", "export", str(tmp_path / "due"))
    manifest = tmp_path / "due" / "manifest.json"
    honest = json.loads(manifest.read_text())
    theft = json.loads(manifest.read_text())
    mallory = "0014" + "99" * 20
    theft["plans"][0]["outputs"][0][0] = mallory
    for found in theft["campaigns"]:
        found["refunds"] = dict.fromkeys(found["refunds"], mallory)
    manifest.write_text(json.dumps(theft))
    told = vault("cold", "sign", str(tmp_path / "due"), fails=True)
    assert "first one counts" in told and "nowhere else" in told
    assert not list((tmp_path / "due").glob("*.signed.psbt"))
    wrongs: list[object] = [{**honest, "network": "signet"}, {**honest, "version": 2}, {**honest, "plans": 5}, []]
    for wrong in wrongs:
        manifest.write_text(json.dumps(wrong))
        assert "This file is" in vault("cold", "sign", str(tmp_path / "due"), fails=True)
    manifest.write_text(json.dumps(honest))
    vault("cold", "sign", str(tmp_path / "due"))
    (signed,) = (tmp_path / "due").glob("*.signed.psbt")
    damaged = bytearray(signed.read_bytes())
    damaged[-80] ^= 1
    (tmp_path / "damaged.psbt").write_bytes(damaged)
    server("cold", "import", str(tmp_path / "damaged.psbt"), fails=True)
    assert waiting(world) == 1
    server("cold", "import", str(signed))
    assert waiting(world) == 0


def test_accounts_that_are_none_are_refused(world: World, server: Machine, vault: Machine, tmp_path: Path) -> None:
    good = json.loads(vault("cold", "accounts", "--count", "2"))
    assert [account["index"] for account in good["accounts"]] == [0, 1]
    file = tmp_path / "accounts.json"
    swapped = json.loads(json.dumps(good))
    swapped["accounts"][0]["xpub"] = good["accounts"][1]["xpub"]
    for wrong in (swapped, {**good, "accounts": [5]}, {**good, "format": "x"}, {**good, "network": "signet"}):
        file.write_text(json.dumps(wrong))
        server("cold", "import-accounts", str(file), fails=True)
    with world.database.reading() as session:
        assert service.account_stock(session) == (0, 0)
