"""The signer against whoever took over another process: it redirects nothing, and it goes on serving.

First as the worker's user, who may speak and knows every trick; then as another user, who is not even answered. The
rules one by one are in test_policy.py; here each attack goes through the real socket, and nothing may be signed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crowdfund.errors import WorldError
from crowdfund.processes import peer_uids
from crowdfund.wallet import signer as signer_module
from crowdfund.wallet.addresses import address_of
from crowdfund.wallet.fees import transaction_vsize
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx, verify_signed
from support.signing import (
    ACCOUNT,
    PAYOUT,
    TIMELOCK,
    TIMELOCK_FEERATE,
    House,
    descriptor_of,
    receipt_key,
    running_signer,
    signing_request,
    terms,
    terms_2,
)

BOB, CAROL, MALLORY = (b"\x00\x14" + letter * 20 for letter in (b"b", b"c", b"m"))
TERMS = terms_2()
COINS = (TxInput("a1" * 32, 0, 100_000, 0), TxInput("b2" * 32, 3, 200_000, 1))
RELEASE = UnsignedTx(COINS, (TxOutput(PAYOUT, 299_000),), 150)
REFUND = UnsignedTx(COINS, (TxOutput(BOB, 99_500, 0), TxOutput(CAROL, 199_500, 1)), 150)
LOCKED = UnsignedTx(COINS[:1], (TxOutput(BOB, 100_000 - transaction_vsize(1, [BOB]) * TIMELOCK_FEERATE, 0),), TIMELOCK)
NOBODY = 65_534


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with running_signer(tmp_path, coins=COINS) as running:
        running.client.register(TERMS, ACCOUNT, {0: BOB, 1: CAROL})
        yield running


def ask(kind: str, tx: UnsignedTx, /, **changes: object) -> dict[str, Any]:
    return signing_request(kind, tx, TERMS, **changes)


THEFTS: list[tuple[str, UnsignedTx, dict[str, object]]] = [
    ("release", replace(RELEASE, outputs=(TxOutput(MALLORY, 299_000),)), {}),
    ("release", replace(RELEASE, outputs=(TxOutput(PAYOUT, 150_000), TxOutput(MALLORY, 149_000))), {}),
    ("release", replace(RELEASE, outputs=(TxOutput(PAYOUT, 298_000), TxOutput(PAYOUT, 900))), {}),
    ("release", REFUND, {}),
    ("refund", RELEASE, {}),
    ("refund", replace(REFUND, outputs=(TxOutput(MALLORY, 99_500, 0), REFUND.outputs[1])), {}),
    ("refund", replace(REFUND, outputs=(TxOutput(CAROL, 99_500, 0), TxOutput(BOB, 199_500, 1))), {}),
    ("refund", replace(REFUND, outputs=(TxOutput(BOB, 199_500, 0), TxOutput(CAROL, 99_500, 1))), {}),
    ("refund", replace(REFUND, outputs=(*REFUND.outputs, TxOutput(MALLORY, 400))), {}),
    ("refund", replace(REFUND, inputs=(COINS[0], replace(COINS[1], index=0))), {}),
    ("release", replace(RELEASE, outputs=(TxOutput(PAYOUT, 245_000),)), {}),  # a fee burn, by feerate
    ("release", replace(RELEASE, outputs=(TxOutput(PAYOUT, 300_001),)), {}),
    ("release", replace(RELEASE, locktime=TIMELOCK), {}),  # frozen until the time lock
    ("release", replace(RELEASE, locktime=499_999_999), {}),
    ("release", replace(RELEASE, locktime=1_700_000_000), {}),
    ("release", RELEASE, {"terms": terms_2(title="Another")}),
    ("release", RELEASE, {"terms": terms()}),
    ("release", RELEASE, {"terms": terms_2(receipt_key=receipt_key(9))}),
    ("release", RELEASE, {"terms": TERMS + " "}),
    ("release", replace(RELEASE, outputs=(TxOutput(MALLORY, 299_000),)), {
        "terms": terms_2(payout_address=address_of(MALLORY, "regtest"), payout_script=MALLORY.hex())}),
    ("release", replace(RELEASE, outputs=(TxOutput(MALLORY, 299_000),)), {
        "terms": terms_2(payout_script=MALLORY.hex())}),
    ("refund", REFUND, {"account": ACCOUNT + 1, "terms": terms_2(ACCOUNT + 1)}),
    ("refund", REFUND, {"account": True}),
    ("timelocked", LOCKED, {"op": "sign"}),
]  # fmt: skip
LOCKED_THEFTS = [
    replace(LOCKED, outputs=(replace(LOCKED.outputs[0], script=MALLORY),)),
    replace(LOCKED, outputs=(replace(LOCKED.outputs[0], script=PAYOUT),)),
    replace(LOCKED, locktime=0),
    replace(LOCKED, locktime=TIMELOCK - 1),
    replace(LOCKED, outputs=(replace(LOCKED.outputs[0], value_sats=50_000),)),
    replace(LOCKED, inputs=COINS),
    replace(LOCKED, inputs=(replace(COINS[0], index=1),), outputs=(replace(LOCKED.outputs[0], index=1),)),
]


@pytest.mark.parametrize("theft", range(len(THEFTS)))
def test_no_redirection_is_signed(theft: int, house: House) -> None:
    before = house.log.read_bytes()
    kind, tx, changes = THEFTS[theft]
    house.refused(ask(kind, tx, **changes))
    assert house.log.read_bytes() == before
    verify_signed(house.client.sign(TERMS, ACCOUNT, "release", RELEASE), RELEASE, descriptor_of(TERMS))


def test_no_early_or_redirected_time_locked_refund_is_signed(house: House) -> None:
    before = house.log.read_bytes()
    for tx in LOCKED_THEFTS:
        house.refused(ask("", tx, op="timelocked_refund"))
    assert house.log.read_bytes() == before
    verify_signed(house.client.timelocked_refund(TERMS, ACCOUNT, LOCKED), LOCKED, descriptor_of(TERMS))


@pytest.mark.parametrize(("first", "second"), [("release", "refund"), ("refund", "release")])
def test_what_went_one_way_never_goes_the_other(first: str, second: str, house: House) -> None:
    plans = {"release": RELEASE, "refund": REFUND}
    locked = house.client.timelocked_refund(TERMS, ACCOUNT, LOCKED)
    house.client.sign(TERMS, ACCOUNT, first, plans[first])
    assert house.client.timelocked_refund(TERMS, ACCOUNT, LOCKED) == locked, "the backer's own way stays open"
    outputs = {"release": (TxOutput(PAYOUT, 99_000),), "refund": (TxOutput(BOB, 99_000, 0),)}[second]
    for tx in (plans[second], replace(plans[second], locktime=151), UnsignedTx(COINS[:1], outputs, 150)):
        assert "nothing else" in house.refused(ask(second, tx))


def test_a_lie_about_a_value_holds_for_ever(house: House) -> None:
    """Also where the first story was told for a time-locked refund."""
    house.client.timelocked_refund(TERMS, ACCOUNT, LOCKED)
    lied = replace(RELEASE, inputs=(replace(COINS[0], value_sats=99_999), COINS[1]))
    assert "not shown" in house.refused(ask("release", lied))
    house.client.sign(TERMS, ACCOUNT, "release", RELEASE)
    assert "not shown" in house.refused(ask("release", lied))


def test_an_account_serves_the_terms_it_served_first(house: House, tmp_path: Path) -> None:
    mine = terms_2(payout_address=address_of(MALLORY, "regtest"), payout_script=MALLORY.hex())
    for op, extra in (("register", {"refunds": {"9": MALLORY.hex()}}), ("receipt", {"index": 0, "amount_sats": 1})):
        assert "other terms" in house.refused({"op": op, "terms": mine, "account": ACCOUNT, **extra})
    assert "other terms" in house.refused(ask("", LOCKED, op="timelocked_refund", terms=mine))
    fresh = ACCOUNT + 1
    house.client.register(terms_2(fresh), fresh, {0: BOB})
    assert "receipt key" in house.refused({"op": "register", "terms": TERMS, "account": fresh + 1, "refunds": {}})


def test_too_many_registrations_at_once_are_refused(house: House) -> None:
    message = {"op": "register", "terms": TERMS, "account": ACCOUNT}
    assert "at most 1000" in house.refused({**message, "refunds": {str(n): BOB.hex() for n in range(2, 1_003)}})
    assert "range" in house.refused({**message, "refunds": {str(2**31): BOB.hex()}})
    house.still_honest()


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(
    [TERMS, "a1" * 32, "release", BOB.hex(), MALLORY.hex(), 2**31, 2**63, -1]
)  # fmt: skip
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip
FIELDS = ["op", "terms", "account", "kind", "locktime", "inputs", "outputs", "refunds", "index", "amount_sats"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["sign", "register", "receipt", "timelocked_refund", "accounts"]),
    st.dictionaries(st.sampled_from(FIELDS), anything, min_size=1, max_size=3),
)
def test_no_json_makes_it_stumble_or_pay_mallory(house: House, op: str, changes: dict[str, object]) -> None:
    base = ask("refund", REFUND, op=op, refunds={}, index=0, amount_sats=1, first=0, count=1)
    answer = house.ask(json.dumps({**base, **changes}).encode() + b"\n")
    assert MALLORY.hex() not in answer.get("raw", "")
    assert answer.get("error", ".").endswith(".")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_no_bytes_make_it_stumble(house: House, line: bytes) -> None:
    assert set(house.ask(line + b"\n")) == {"error"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_request_signs_nothing_else(house: House, data: st.DataObject) -> None:
    line = bytearray(json.dumps(ask("refund", REFUND)).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(32, 126))
    answer = house.ask(bytes(line) + b"\n")
    raw = answer.get("raw", "")
    assert not raw or (BOB.hex() in raw and CAROL.hex() in raw)


def test_a_huge_line_is_cut_and_hinders_nobody(house: House) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(house.path))
        with pytest.raises(OSError):
            for _ in range(200):
                connection.sendall(b"[" * 65_536)
            raise AssertionError("it went on reading")
    house.still_honest()


def test_a_slow_line_is_given_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte now and then keeps a plain timeout from ever running out."""
    monkeypatch.setattr(signer_module, "PATIENCE_S", 1)
    start = time.monotonic()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(house.path))
        with pytest.raises(OSError):
            while time.monotonic() < start + 15:
                connection.sendall(b" ")
                time.sleep(0.05)
            raise AssertionError("it went on waiting")
    assert time.monotonic() - start < 10
    house.still_honest()


def test_two_hundred_connections_at_once_keep_nobody_out(house: House) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(200)]
    try:
        for connection in silent:
            connection.settimeout(20)
            connection.connect(str(house.path))
            connection.sendall(b'{"op": ')
        house.still_honest()
        verify_signed(house.client.sign(TERMS, ACCOUNT, "refund", REFUND), REFUND, descriptor_of(TERMS))
    finally:
        for connection in silent:
            connection.close()
    answers: list[bool] = []

    def client() -> None:
        answers.append("raw" in house.ask(json.dumps(ask("refund", REFUND)).encode() + b"\n"))

    threads = [threading.Thread(target=client) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 50


# -- another user ----------------------------------------------------------------------------------------------

STRANGER = """
import os, socket, sys
user, path = int(sys.argv[1]), sys.argv[2]
if user >= 0:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
with socket.socket(socket.AF_UNIX) as connection:
    connection.settimeout(20)
    connection.connect(path)
    try:
        connection.sendall(sys.stdin.buffer.read())
        print(len(connection.recv(100)))
    except (BrokenPipeError, ConnectionResetError):
        print(0)
"""


def stranger(path: Path, user: int) -> subprocess.CompletedProcess[str]:
    """What another process gets for a request that is right. Only root can become somebody else."""
    return subprocess.run(
        [sys.executable, "-c", STRANGER, str(user), str(path)],
        input=json.dumps(ask("release", RELEASE)) + "\n", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def open_to_all(path: Path) -> None:
    """Rights of the files opened wide, so that only the signer's own look at its peer is left."""
    path.chmod(0o777)
    for folder in path.parents:
        if folder.stat().st_uid == os.getuid() and folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(0o755)


def test_another_user_is_not_answered(house: House) -> None:
    """Run as root this is a real other user; otherwise the signer is told that its own user is somebody else."""
    open_to_all(house.path)
    user = NOBODY if os.getuid() == 0 else -1
    if user < 0:
        house.server.allowed_uids = {os.getuid() + 1}
    before = house.log.read_bytes()
    told = stranger(house.path, user)
    assert (told.returncode, told.stdout.strip()) == (0, "0"), told.stderr
    assert house.log.read_bytes() == before
    house.server.allowed_uids = {os.getuid()}
    house.still_honest()


def test_the_rights_of_the_socket_keep_others_away_as_well(house: House, tmp_path: Path) -> None:
    assert house.path.stat().st_mode & 0o777 == 0o600
    folder = tmp_path / "shared"
    folder.mkdir()
    with running_signer(folder, peers=[NOBODY]) as shared:
        assert shared.path.stat().st_mode & 0o777 == 0o660


def test_the_user_that_the_settings_name_is_heard(tmp_path: Path) -> None:
    user = NOBODY if os.getuid() == 0 else -1
    with running_signer(tmp_path, peers=[NOBODY], coins=COINS) as house:
        house.client.register(TERMS, ACCOUNT, {0: BOB, 1: CAROL})
        assert house.server.allowed_uids == {os.getuid(), NOBODY}
        open_to_all(house.path)
        told = stranger(house.path, user)
        assert told.returncode == 0 and int(told.stdout) > 0, told.stderr


def test_a_peer_is_a_name_or_a_number() -> None:
    assert peer_uids("") == set()
    assert peer_uids("1234") == {1234}
    assert peer_uids("root") == {0}
    with pytest.raises(WorldError, match="no such user"):
        peer_uids("nobody-of-this-name")
