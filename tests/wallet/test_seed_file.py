"""The encrypted seed: it comes back whole or not at all, and says why."""

from __future__ import annotations

import json
import traceback
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from argon2.exceptions import HashingError
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.errors import UserError, WorldError
from crowdfund.wallet import seed_file
from crowdfund.wallet.keystore import Keystore, open_seed, sealed_seed, unsealed
from crowdfund.wallet.passphrase import Passphrase
from crowdfund.wallet.seed_file import COST, MAX_COST, Cost, Damaged, SealedSeed, WrongPassphrase, seal
from crowdfund.wallet.words import words_of

CHEAP = Cost(memory_kib=8, passes=1, lanes=1)
ENTROPY = bytes(range(32))
RIGHT, WRONG = Passphrase("right horse battery"), Passphrase("wrong horse battery")
NETWORKS = ("signet", "testnet4", "mainnet", "regtest")


@pytest.fixture(scope="module")
def sealed() -> SealedSeed:
    return sealed_seed(ENTROPY, RIGHT, "signet", CHEAP)


def forged(data: bytes, change: dict[str, Any]) -> bytes:
    """The file with some fields changed, and a check sum that fits again: what an attacker would write."""
    fields = json.loads(data)
    del fields["check"]
    for path, value in change.items():
        *outer, last = path.split(".")
        inner = fields
        for name in outer:
            inner = inner[name]
        inner[last] = value
    text = json.dumps(fields, indent=1).encode() + b"\n"
    return json.dumps({**fields, "check": sha256(text).hexdigest()}, indent=1).encode() + b"\n"


@given(
    st.sampled_from((16, 20, 24, 28, 32)).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=100),
    st.sampled_from(NETWORKS),
)
def test_what_is_sealed_comes_back(entropy: bytes, text: str, network: str) -> None:
    data = seal(entropy, Passphrase(text), network, "0a0b0c0d", CHEAP).to_bytes()
    again = SealedSeed.from_bytes(data)
    assert again.to_bytes() == data
    assert (again.network, again.fingerprint, again.cost) == (network, "0a0b0c0d", CHEAP)
    assert again.unseal(Passphrase(text)) == entropy
    with pytest.raises(WrongPassphrase):
        again.unseal(Passphrase(f"{text}x"))


def test_the_file_tells_network_and_fingerprint_and_nothing_of_the_seed(sealed: SealedSeed) -> None:
    data = sealed.to_bytes()
    assert json.loads(data)["network"] == "signet"
    assert json.loads(data)["fingerprint"] == Keystore(words_of(ENTROPY), "signet").fingerprint
    shown = (data.decode() + repr(sealed)).lower()
    assert ENTROPY.hex() not in shown and not any(f'"{word}' in shown for word in words_of(ENTROPY).split())


def test_two_files_of_one_seed_share_neither_salt_nor_nonce_nor_bytes() -> None:
    made = [seal(ENTROPY, RIGHT, "signet", "0a0b0c0d", CHEAP) for _ in range(50)]
    for part in ("salt", "nonce", "sealed"):
        assert len({getattr(one, part) for one in made}) == 50, part


def test_a_guess_is_dear_unless_a_test_asks_otherwise() -> None:
    assert Cost(memory_kib=256 * 1024, passes=3, lanes=4) == COST
    assert sealed_seed(ENTROPY, RIGHT, "regtest").cost == COST
    for name in ("cli_keys.py", "processes.py", "demo/house.py"):
        text = (Path(seed_file.__file__).parent.parent / name).read_text()
        assert "cost" not in text.lower(), "production code takes the one cost there is"


def test_every_byte_counts(sealed: SealedSeed, tmp_path: Path) -> None:
    data = sealed.to_bytes()
    for at in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            with pytest.raises(WorldError, match=r"damaged|newer"):
                SealedSeed.from_bytes(bytes(flipped))
    path = tmp_path / "seed"
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        path.chmod(0o600)
        with pytest.raises(WorldError):
            open_seed(path, "signet", lambda: pytest.fail("nobody is asked for the passphrase of a damaged file"))


def test_a_piece_is_no_seed(sealed: SealedSeed) -> None:
    data = sealed.to_bytes()
    for end in range(len(data)):
        with pytest.raises(Damaged):
            SealedSeed.from_bytes(data[:end])
    for more in (b"\n", b" ", b"\0", data):
        with pytest.raises(Damaged):
            SealedSeed.from_bytes(data + more)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_anything_else_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        SealedSeed.from_bytes(data)


@pytest.mark.parametrize("data", [b"[]", b"{}", b"null", b"3", b'{"check": 1}', b"[" * 4000, b'{"a":' * 4000, b"NaN"])
def test_other_json_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        SealedSeed.from_bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        {"network": "mainnet"},
        {"fingerprint": "00000000"},
        {"kdf.salt": "00" * 16},
        {"kdf.passes": 2},
        {"kdf.memory_kib": 16},
        {"cipher.nonce": "00" * 12},
        {"sealed": "00" * 48},
        {"sealed": "00" * 32},
    ],
)
def test_a_change_with_a_fitting_check_sum_opens_nothing(sealed: SealedSeed, change: dict[str, Any]) -> None:
    found = SealedSeed.from_bytes(forged(sealed.to_bytes(), change))
    with pytest.raises(WrongPassphrase):
        found.unseal(RIGHT)


@pytest.mark.parametrize(
    "change",
    [
        {"kdf.memory_kib": MAX_COST.memory_kib + 1},
        {"kdf.passes": MAX_COST.passes + 1},
        {"kdf.lanes": MAX_COST.lanes + 1},
        {"kdf.lanes": 2},
        {"kdf.passes": 0},
        {"kdf.passes": True},
        {"kdf.passes": 1.0},
        {"kdf.passes": "1"},
        {"kdf.memory_kib": -8},
        {"kdf.name": "argon2i"},
        {"kdf.salt": "00" * 15},
        {"kdf.salt": 1},
        {"kdf": []},
        {"cipher.name": "none"},
        {"cipher.nonce": ""},
        {"network": "testnet3"},
        {"network": []},
        {"fingerprint": "zz"},
        {"sealed": ""},
        {"sealed": "00" * 47},
        {"version": 1.0},
        {"version": True},
        {"format": "another"},
        {"more": 1},
    ],
)
def test_what_we_would_never_write_is_not_even_tried(sealed: SealedSeed, change: dict[str, Any]) -> None:
    with pytest.raises(Damaged):
        SealedSeed.from_bytes(forged(sealed.to_bytes(), change))


def test_a_newer_format_is_named(sealed: SealedSeed) -> None:
    with pytest.raises(WorldError, match="newer version") as refused:
        SealedSeed.from_bytes(forged(sealed.to_bytes(), {"version": 2}))
    assert not isinstance(refused.value, Damaged)


def test_a_wrong_passphrase_and_a_damaged_file_are_told_apart(sealed: SealedSeed) -> None:
    with pytest.raises(UserError, match="passphrase does not open") as wrong:
        sealed.unseal(WRONG)
    with pytest.raises(WorldError, match="damaged or was changed"):
        SealedSeed.from_bytes(sealed.to_bytes().replace(b"signet", b"Signet"))
    told = "".join(traceback.format_exception(wrong.value))
    assert "horse" not in told and "InvalidTag" not in told


def test_a_seed_of_another_network_is_not_opened(sealed: SealedSeed, tmp_path: Path) -> None:
    (tmp_path / "seed").write_bytes(sealed.to_bytes())
    (tmp_path / "seed").chmod(0o600)
    for network in ("testnet4", "mainnet", "regtest"):
        with pytest.raises(WorldError, match=f"made for signet, and CROWDFUND_NETWORK is {network}"):
            Keystore.open(tmp_path / "seed", network, lambda: pytest.fail("asked for nothing"))


def test_the_signer_opens_it_with_the_passphrase_alone(sealed: SealedSeed, tmp_path: Path) -> None:
    path = tmp_path / "seed"
    path.write_bytes(sealed.to_bytes())
    path.chmod(0o600)
    store = Keystore.open(path, "signet", lambda: RIGHT)
    assert store.account_xpub(3) == Keystore(words_of(ENTROPY), "signet").account_xpub(3)
    with pytest.raises(WorldError, match="nobody gave its passphrase"):
        Keystore.open(path, "signet")
    with pytest.raises(WrongPassphrase):
        Keystore.open(path, "signet", lambda: WRONG)
    path.chmod(0o640)
    with pytest.raises(WorldError, match="readable by others"):
        Keystore.open(path, "signet", lambda: RIGHT)


def test_a_fingerprint_that_is_not_the_seeds_is_refused() -> None:
    """Nobody but the holder of the passphrase can write such a file; it would be our own mistake."""
    with pytest.raises(Damaged):
        unsealed(seal(ENTROPY, RIGHT, "signet", "00000000", CHEAP), "signet", RIGHT)


def test_too_little_memory_gets_a_sentence(sealed: SealedSeed, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise HashingError("Memory allocation error")

    monkeypatch.setattr(seed_file, "hash_secret_raw", fail)
    with pytest.raises(WorldError, match="256 MiB of free memory"):
        replace(sealed, cost=COST).unseal(RIGHT)
