"""The units in deploy/: the walls around the seed are written there, and what runs behind them can run."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import click
import pytest

from crowdfund.cli import main
from crowdfund.config import KNOWN, Settings
from crowdfund.db import Database
from crowdfund.wallet.keystore import make_folder, sealed_seed
from crowdfund.wallet.passphrase import Passphrase
from support.offline import CHEAP
from support.terminal import ROOT, environment

DEPLOY = ROOT / "deploy"
SERVICES = ("web", "worker", "signer", "notify")
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1

Unit = dict[str, list[str]]


def unit(name: str) -> Unit:
    """Setting -> its values, of all sections, in their order."""
    found: Unit = defaultdict(list)
    for line in (DEPLOY / f"crowdfund-{name}.service").read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found[key].append(value)
    return found


def variables(name: str) -> dict[str, str]:
    """What a sample file or a unit sets."""
    path = DEPLOY / name
    lines = [line.removeprefix("Environment=") for line in path.read_text().splitlines()]
    return dict(line.split("=", 1) for line in lines if line.startswith("CROWDFUND_"))


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_walled_in(name: str) -> None:
    found = unit(name)
    for key, value in {
        "User": f"crowdfund-{name}",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "PrivateDevices": "yes",
        "MemoryDenyWriteExecute": "yes",
        "RestrictSUIDSGID": "yes",
        "LimitCORE": "0",
        "CapabilityBoundingSet": "",
        "AmbientCapabilities": "",
        "SystemCallFilter": "@system-service",
        "SystemCallArchitectures": "native",
        "Restart": "always",
    }.items():
        assert found[key] == [value], key


def test_the_signer_has_no_way_out() -> None:
    found = unit("signer")
    for key, value in {
        "PrivateNetwork": "yes",
        "RestrictAddressFamilies": "AF_UNIX",
        "MemorySwapMax": "0",
        "UMask": "0077",
        "StateDirectoryMode": "0700",
        "LoadCredentialEncrypted": "crowdfund-passphrase:/etc/crowdfund/passphrase.cred",
    }.items():
        assert found[key] == [value], key
    credential = found["LoadCredentialEncrypted"][0].partition(":")[0]
    assert Settings.from_env({}).signer_credential == credential
    assert "PrivateUsers" not in found, "the kernel would call every peer nobody"
    assert "ReadWritePaths" not in found


def test_the_worker_reaches_the_socket_and_the_web_does_not() -> None:
    web, worker, signer, _ = (unit(name) for name in SERVICES)
    assert (signer["RuntimeDirectory"], signer["RuntimeDirectoryMode"]) == (["crowdfund-signer"], ["0750"])
    assert signer["Group"] == ["crowdfund-signing"]
    assert "CROWDFUND_SIGNER_PEER=crowdfund-worker" in signer["Environment"]
    assert "crowdfund-signing" in worker["SupplementaryGroups"][0].split()
    assert web["Group"] == ["crowdfund"] and "SupplementaryGroups" not in web
    socket = Path(variables("crowdfund.env.example")["CROWDFUND_SIGNER_SOCKET"])
    assert socket.parent == Path("/run") / signer["RuntimeDirectory"][0]
    hidden = web["InaccessiblePaths"][0].split()
    assert {f"-{socket.parent}", f"-/var/lib/{signer['StateDirectory'][0]}"} <= set(hidden)
    assert web["IPAddressDeny"] == ["any"] and "CROWDFUND_FETCHING=off" in web["Environment"], "it could not anyway"
    assert "/etc/crowdfund/worker.env" not in web["EnvironmentFile"] + signer["EnvironmentFile"]


def test_what_tells_people_reaches_neither_the_signer_nor_the_node() -> None:
    notify = unit("notify")
    assert notify["Group"] == ["crowdfund"] and "SupplementaryGroups" not in notify
    hidden = notify["InaccessiblePaths"][0].split()
    assert {"-/run/crowdfund-signer", "-/var/lib/crowdfund-signer"} <= set(hidden)
    for name in SERVICES:
        assert ("/etc/crowdfund/notify.env" in unit(name)["EnvironmentFile"]) == (name == "notify")
        assert ("/etc/crowdfund/worker.env" in unit(name)["EnvironmentFile"]) == (name == "worker")


def test_users_groups_and_folders_are_made_before_they_are_named() -> None:
    lines = [line.split() for line in (DEPLOY / "crowdfund.sysusers").read_text().splitlines()]
    users = {line[1] for line in lines if line and line[0] == "u"}
    groups = {line[1] for line in lines if line and line[0] == "g"}
    assert users == {unit(name)["User"][0] for name in SERVICES}
    assert groups == {unit(name)["Group"][0] for name in SERVICES}
    folders = {line.split()[1]: line.split()[0] for line in (DEPLOY / "crowdfund.tmpfiles").read_text().splitlines()
               if line[0] != "#"}  # fmt: skip
    for name in ("web", "worker", "notify"):
        assert folders[unit(name)["ReadWritePaths"][0]] == "d"
        assert f"CROWDFUND_DATA_DIR={unit(name)['ReadWritePaths'][0]}" in unit(name)["Environment"]
    database = Settings.from_env({"CROWDFUND_DATA_DIR": "/var/lib/crowdfund"}).database_url.removeprefix("sqlite:///")
    assert folders[database] == "f"


def test_a_database_begins_in_the_empty_file_that_is_made_for_it(tmp_path: Path) -> None:
    file = tmp_path / "empty.sqlite"
    file.touch()
    file.chmod(0o660)
    database = Database(f"sqlite:///{file}")
    database.upgrade()
    with database.reading():
        assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("empty.sqlite*")} == {0o660}
    database.close()


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_started_is_a_command_with_settings_that_exist(name: str) -> None:
    (line,) = unit(name)["ExecStart"]
    program, command, *options = shlex.split(line)
    assert program == "/opt/crowdfund/.venv/bin/crowdfund"
    found = main.get_command(click.Context(main), command)
    assert found is not None
    found.make_context(command, list(options))
    known = {f"CROWDFUND_{known}" for known in (*KNOWN, "SIGNER_PEER")}
    assert set(variables(f"crowdfund-{name}.service")) <= known


def test_the_samples_can_be_used_and_hold_no_secret() -> None:
    shared, worker = variables("crowdfund.env.example"), variables("worker.env.example")
    mail = variables("notify.env.example")
    assert Settings.from_env({**shared, **mail}).smtp_url.startswith("smtp")
    assert not set(mail) & {*shared, *worker}, "its password is nobody else's"
    made = Settings.from_env({**shared, **worker})
    assert (made.network, made.signer) == ("signet", "socket")
    assert made.bitcoind_password is None and made.secret_key is None and "@" not in made.bitcoind_url
    assert not {name for name in (*shared, *worker) if name.rpartition("_")[2] in ("PASSWORD", "KEY", "PASSPHRASE")}


# What the signer needs of native code, after the kernel was told that no page of this process may become executable.
BEHIND_THE_WALL = """
import ctypes, mmap, sys
refused = ctypes.CDLL(None, use_errno=True).prctl(int(sys.argv[1]), int(sys.argv[2]), 0, 0, 0)
assert refused == 0, "this kernel has no PR_SET_MDWE: Linux 6.3 or newer is needed for this test"
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    raise SystemExit("there is no wall")
except PermissionError:
    pass
from crowdfund.cli import main
main(["cold", "accounts", sys.argv[3]], standalone_mode=False)
from crowdfund.wallet.bcl import HDKey, Transaction
from crowdfund.wallet.descriptors import campaign_descriptor, derive_script
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx, verify_signed
import crowdfund.wallet.signer
key = HDKey.from_seed(bytes(32), network="regtest", witness_type="segwit")
descriptor = campaign_descriptor("00000000", 0, key.wif_public(witness_type="legacy"), bytes(32), "regtest")
for _ in range(8):
    key = key.child_private(0)
tx = UnsignedTx((TxInput("ab" * 32, 0, 100_000, 7),), (TxOutput(derive_script(descriptor, 1), 90_000),), 1)
made = Transaction(version=2, locktime=1, network="regtest", witness_type="segwit", replace_by_fee=True)
made.add_input("ab" * 32, 0, keys=[key.child_private(7)], script_type="sig_pubkey", witness_type="segwit",
               value=100_000, sequence=0xFFFFFFFD)
made.add_output(90_000, lock_script=derive_script(descriptor, 1))
made.sign()
verify_signed(bytes(made.raw()), tx, descriptor)
print("signed behind the wall")
"""


def test_the_signers_libraries_run_without_memory_that_is_written_and_executed(tmp_path: Path) -> None:
    """MemoryDenyWriteExecute=yes as the kernel has it: a sealed seed is opened, accounts derived, a coin signed for."""
    seed = tmp_path / "signer" / "seed"
    make_folder(seed)
    seed.write_bytes(sealed_seed(bytes(32), Passphrase("right horse battery"), "regtest", CHEAP).to_bytes())
    (tmp_path / "passphrase").write_text("right horse battery")
    for file in (seed, tmp_path / "passphrase"):
        file.chmod(0o600)
    wall = [str(PR_SET_MDWE), str(PR_MDWE_REFUSE_EXEC_GAIN)]
    done = subprocess.run(
        [sys.executable, "-c", BEHIND_THE_WALL, *wall, str(tmp_path / "accounts.json")],
        env=environment(tmp_path, SIGNER_PASSPHRASE_FILE=str(tmp_path / "passphrase")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("signed behind the wall\n")
