"""The systemd units: what each process may not do is written down, is read by systemd, and lets the process work."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crowdfund.config import Settings

DEPLOY = Path(__file__).parent.parent / "deploy"
NAMES = ("web", "worker", "signer")


def unit(name: str) -> dict[str, list[str]]:
    """The directives of the unit, each with all its values."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / f"crowdfund-{name}.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def settings(name: str) -> Settings:
    """What an example of an environment file says."""
    lines = [line for line in (DEPLOY / name).read_text().splitlines() if line and not line.startswith("#")]
    return Settings.from_env(dict(line.split("=", 1) for line in lines))


@pytest.mark.parametrize("name", NAMES)
def test_no_process_may_do_more_than_it_must(name: str) -> None:
    for key, value in {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "MemoryDenyWriteExecute": "yes",
        "CapabilityBoundingSet": "",
        "RestrictNamespaces": "yes",
        "LimitCORE": "0",
    }.items():
        assert unit(name)[key] == [value], key
    command = {"web": "serve"}.get(name, name)
    assert unit(name)["ExecStart"] == [f"/opt/crowdfund/.venv/bin/crowdfund {command}"]


def test_each_process_is_a_user_of_its_own() -> None:
    assert len({unit(name)["User"][0] for name in NAMES}) == 3
    known = (DEPLOY / "crowdfund.sysusers").read_text()
    for name in NAMES:
        assert f"u {unit(name)['User'][0]} " in known
        assert f"g {unit(name)['Group'][0]} " in known


def test_the_signer_has_no_network_and_keeps_its_memory_off_the_disk() -> None:
    found = unit("signer")
    assert found["PrivateNetwork"] == ["yes"]
    assert found["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert found["MemorySwapMax"] == ["0"]
    assert found["UMask"] == ["0077"]
    assert found["StateDirectoryMode"] == ["0700"]
    (credential,) = found["LoadCredentialEncrypted"]
    assert credential.partition(":")[0] == settings("signer.env.example").signer_credential


def test_the_worker_reaches_the_socket_and_the_web_process_does_not() -> None:
    group = unit("signer")["Group"][0]
    assert unit("worker")["SupplementaryGroups"] == [group]
    assert group not in str(unit("web"))
    assert "/run/crowdfund-signer" in unit("web")["InaccessiblePaths"][0]
    signer, others = settings("signer.env.example"), settings("crowdfund.env.example")
    assert signer.signer_peer == unit("worker")["User"][0]
    assert signer.signer_socket == others.signer_socket == Path("/run/crowdfund-signer/signer.sock")
    assert signer.network == others.network
    assert signer.data_dir == Path("/var/lib") / unit("signer")["StateDirectory"][0]
    for name in ("web", "worker"):
        assert unit(name)["ReadWritePaths"] == [str(others.data_dir)]
        assert str(signer.data_dir) in unit(name)["InaccessiblePaths"][0]


@pytest.mark.parametrize("name", NAMES)
def test_systemd_reads_the_unit(name: str, tmp_path: Path) -> None:
    """Where there is a systemd; elsewhere the tests above are all there is to see."""
    program = shutil.which("systemd-analyze")
    copy = tmp_path / f"crowdfund-{name}.service"
    text = (DEPLOY / copy.name).read_text().replace("/opt/crowdfund/.venv/bin/crowdfund", sys.executable)
    copy.write_text(text)
    if program is not None:
        for arguments in (["verify"], ["security", "--offline=true", "--threshold=20", "--no-pager"]):
            told = subprocess.run([program, *arguments, str(copy)], capture_output=True, text=True, check=False)
            assert told.returncode == 0, told.stdout + told.stderr
            assert copy.name not in told.stderr, told.stderr
    assert sys.executable in text


AT_WORK = """
import ctypes, mmap
denied = ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0  # PR_SET_MDWE, since Linux 6.3
if denied:
    try:
        mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        raise SystemExit("memory can be written and executed all the same")
    except PermissionError:
        pass
import crowdfund.web.server, crowdfund.worker
from crowdfund.wallet.descriptors import campaign_descriptor
from crowdfund.wallet.keystore import Keystore, sealed_seed
from crowdfund.wallet.passphrase import Passphrase
from crowdfund.wallet.seed_file import Cost
from crowdfund.wallet.shield import keep_memory_private
from crowdfund.wallet.signing import sign
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx, verify_signed
keep_memory_private()
sealed_seed(bytes(32), Passphrase("six words drawn by dice"), "signet", Cost(8, 1, 1))
store = Keystore("abandon " * 11 + "about", "signet")
tx = UnsignedTx((TxInput("aa" * 32, 0, 1000, 0),), (TxOutput(b"\\0\\x14" + b"p" * 20, 500),), 1)
raw = sign(tx, store.branch(0, bytes(32)))
verify_signed(raw, tx, campaign_descriptor(store.fingerprint, 0, store.account_xpub(0), bytes(32), "signet"))
print("works")
"""


def test_all_works_without_memory_that_is_written_and_executed() -> None:
    """MemoryDenyWriteExecute, as the kernel has it: ctypes, cffi and both builds of libsecp256k1 do without."""
    told = subprocess.run([sys.executable, "-c", AT_WORK], capture_output=True, text=True, timeout=120, check=False)
    assert told.stdout == "works\n", told.stderr
