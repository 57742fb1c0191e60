"""The seed: written once, readable by its owner only, and nowhere to be seen afterwards."""

from __future__ import annotations

import os
import threading
import traceback
from pathlib import Path

import pytest
from embit import bip32, bip39

from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.keystore import Keystore, create_seed


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    path = tmp_path / "signer" / "seed"
    create_seed(path)
    return path


def test_a_seed_has_24_words_that_only_its_owner_reads(seed: Path) -> None:
    assert len(seed.read_text().split()) == 24
    assert seed.stat().st_mode & 0o777 == 0o600
    assert seed.parent.stat().st_mode & 0o077 == 0
    assert [p.name for p in seed.parent.iterdir()] == ["seed"], "no draft is left behind"


def test_a_seed_is_never_overwritten(seed: Path) -> None:
    before = seed.read_text()
    with pytest.raises(UserError, match="never overwritten"):
        create_seed(seed)
    assert seed.read_text() == before
    assert [p.name for p in seed.parent.iterdir()] == ["seed"]


def test_a_draft_left_by_a_crash_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".seed-abcdefgh").write_text("torn")
    create_seed(tmp_path / "seed")
    Keystore.open(tmp_path / "seed", "regtest")


def test_two_that_create_at_once_make_one_seed(tmp_path: Path) -> None:
    refused = []
    start = threading.Barrier(4)

    def create() -> None:
        start.wait()
        try:
            create_seed(tmp_path / "seed")
        except UserError as error:
            refused.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3
    Keystore.open(tmp_path / "seed", "regtest")


def test_seeds_differ(tmp_path: Path) -> None:
    for name in "abc":
        create_seed(tmp_path / name)
    assert len({(tmp_path / name).read_text() for name in "abc"}) == 3


def test_the_same_seed_gives_the_same_keys_and_each_account_its_own(seed: Path) -> None:
    first, second = Keystore.open(seed, "regtest"), Keystore.open(seed, "regtest")
    assert first.account_xpub(7) == second.account_xpub(7)
    assert len({first.account_xpub(n) for n in range(5)}) == 5
    assert first.account_xpub(0) != Keystore(seed.read_text().strip(), "mainnet").account_xpub(0)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_seed_that_others_can_read_is_not_opened(seed: Path, mode: int) -> None:
    seed.chmod(mode)
    with pytest.raises(WorldError, match="readable by others"):
        Keystore.open(seed, "regtest")


@pytest.mark.parametrize("damage", ["", "abandon", "not words at all", "abandon " * 24, "zoo " * 12, "\x00\x01", "{}"])
def test_a_damaged_seed_is_named_and_not_shown(seed: Path, damage: str) -> None:
    seed.write_text(damage)
    with pytest.raises(WorldError, match="damaged") as refused:
        Keystore.open(seed, "regtest")
    told = "".join(traceback.format_exception(refused.value))
    assert not refused.value.retryable
    assert not any(word in told for word in ("abandon", "zoo", "not words")), "no word of it is logged"


@pytest.mark.parametrize("network", ["signet", "testnet4", "mainnet"])
def test_a_plain_seed_is_for_regtest_only(seed: Path, network: str) -> None:
    with pytest.raises(WorldError, match="keys encrypt") as refused:
        Keystore.open(seed, network)
    assert network in refused.value.sentence and not refused.value.retryable


def test_a_missing_seed_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="keys create"):
        Keystore.open(tmp_path / "none", "regtest")


@pytest.mark.parametrize("account", [-1, 2**31])
def test_accounts_are_31_bit(seed: Path, account: int) -> None:
    with pytest.raises(ValueError, match="not an account"):
        Keystore.open(seed, "regtest").account_xpub(account)


def test_no_word_of_the_seed_is_printed(seed: Path) -> None:
    store = Keystore.open(seed, "regtest")
    shown = repr(store) + str(store) + store.account_xpub(0) + store.fingerprint
    assert "prv" not in store.account_xpub(0)
    assert not any(f" {word} " in shown for word in seed.read_text().split())
    assert os.environ["BCL_DATA_DIR"], "bitcoinlib keeps to a folder of ours"


def test_the_receipt_key_is_that_of_another_library_and_of_no_xpub() -> None:
    words = "abandon " * 11 + "about"
    store = Keystore(words, "regtest")
    master = bip32.HDKey.from_seed(bip39.mnemonic_to_seed(words))
    for account in (0, 7):
        wanted = master.derive(f"m/84h/1h/{account}h/0h").get_public_key().sec().hex()
        assert store.receipt_key(account).public_key.format().hex() == wanted and len(wanted) == 66
    assert store.receipt_key(0).secret != store.receipt_key(1).secret
