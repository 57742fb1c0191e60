"""The signer as a process: where it gets its passphrase, and when it does not start."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crowdfund.wallet.keystore import Keystore, sealed_seed
from crowdfund.wallet.passphrase import Passphrase
from crowdfund.wallet.seed_file import Cost
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.wallet.words import words_of
from support.terminal import Terminal, environment

CHEAP = Cost(memory_kib=8, passes=1, lanes=1)
SECRET = "six words drawn by dice"
ENTROPY = hashlib.sha256(b"another seed of these tests").digest()


def store(folder: Path, network: str) -> None:
    (folder / "signer").mkdir(mode=0o700)
    seed = folder / "signer" / "seed"
    seed.write_bytes(sealed_seed(ENTROPY, Passphrase(SECRET), network, CHEAP).to_bytes())
    seed.chmod(0o600)


@contextmanager
def signer(folder: Path, env: dict[str, str]) -> Iterator[SignerClient]:
    """A signer without a terminal, that listens."""
    process = subprocess.Popen([sys.executable, "-m", "crowdfund", "signer"], env=env, stdin=subprocess.DEVNULL)
    try:
        wait_for_socket(folder, lambda: process.poll() is None)
        yield SignerClient(folder / "signer.sock")
    finally:
        process.terminate()
        assert process.wait(30) == 0


def wait_for_socket(folder: Path, alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not (folder / "signer.sock").exists():
        assert alive() and time.monotonic() < deadline
        time.sleep(0.05)


def refused(env: dict[str, str]) -> str:
    answer = subprocess.run(
        [sys.executable, "-m", "crowdfund", "signer"],
        env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 1 and "Traceback" not in answer.stderr
    return answer.stderr


def test_it_opens_the_seed_with_a_passphrase_file(tmp_path: Path) -> None:
    store(tmp_path, "signet")
    place = tmp_path / "passphrase"
    place.write_text(f"{SECRET}\n")
    place.chmod(0o600)
    env = environment(tmp_path, NETWORK="signet", SIGNER_PASSPHRASE_FILE=str(place))
    with signer(tmp_path, env) as client:
        assert client.accounts(2, 1)[0].xpub == Keystore(words_of(ENTROPY), "signet").account_xpub(2)
    place.chmod(0o640)
    assert "chmod 600" in refused(env)
    place.chmod(0o600)
    place.write_text("six words drawn by luck")
    assert "This passphrase does not open the seed." in refused(env)


def test_it_opens_the_seed_with_a_systemd_credential(tmp_path: Path) -> None:
    store(tmp_path, "testnet4")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "crowdfund-passphrase").write_text(SECRET)
    (tmp_path / "credentials" / "crowdfund-passphrase").chmod(0o400)
    env = {**environment(tmp_path, NETWORK="testnet4"), "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    with signer(tmp_path, env) as client:
        assert client.accounts(0, 1)[0].fingerprint == Keystore(words_of(ENTROPY), "testnet4").fingerprint


def test_it_asks_on_a_terminal(tmp_path: Path) -> None:
    store(tmp_path, "signet")
    with Terminal(environment(tmp_path, NETWORK="signet"), "signer") as terminal:
        terminal.answer("Passphrase of the seed: ", SECRET)
        wait_for_socket(tmp_path, lambda: True)
        assert len(SignerClient(tmp_path / "signer.sock").accounts(0, 3)) == 3
        terminal.press(b"\x03")
        assert terminal.end() == 0
    assert SECRET not in terminal.seen


def test_it_does_not_start_where_nobody_gives_the_passphrase(tmp_path: Path) -> None:
    store(tmp_path, "signet")
    told = refused(environment(tmp_path, NETWORK="signet"))
    assert "crowdfund-passphrase" in told and "CROWDFUND_SIGNER_PASSPHRASE_FILE" in told


def test_it_does_not_start_on_mainnet_while_the_threat_model_names_holes(tmp_path: Path) -> None:
    store(tmp_path, "mainnet")
    place = tmp_path / "passphrase"
    place.write_text(SECRET)
    place.chmod(0o600)
    told = refused(environment(tmp_path, NETWORK="mainnet", SIGNER_PASSPHRASE_FILE=str(place)))
    assert "This version is not fit for mainnet yet: " in told and told.strip().endswith("so no signer runs there.")


@pytest.mark.parametrize("network", ["testnet4", "mainnet", "regtest"])
def test_a_seed_of_another_network_does_not_start(tmp_path: Path, network: str) -> None:
    store(tmp_path, "signet")
    told = refused(environment(tmp_path, NETWORK=network))
    assert ("made for signet" in told) or network == "mainnet"
