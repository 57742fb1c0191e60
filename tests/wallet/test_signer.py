"""The signer at its real socket: honest clients are served, hostile ones get a sentence and nothing signed."""

from __future__ import annotations

import json
import os
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crowdfund.errors import UserError, WorldError
from crowdfund.wallet import signer as signer_module
from crowdfund.wallet.addresses import address_of
from crowdfund.wallet.fees import MAX_FEE_SATS, MAX_FEERATE_SAT_VB, transaction_vsize
from crowdfund.wallet.keystore import Keystore
from crowdfund.wallet.signer import SignerServer
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.wallet.signer_log import SignerLog
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx, verify_signed
from support.signing import (
    ACCOUNT,
    OPENED,
    PAYOUT,
    WORDS,
    CarefreeSigner,
    House,
    descriptor_of,
    running_signer,
    signing_request,
    terms,
)

BOB, CAROL = b"\x00\x14" + b"b" * 20, b"\x51\x20" + b"c" * 32
TERMS = terms()
COINS = (TxInput("a1" * 32, 0, 100_000, 0), TxInput("b2" * 32, 3, 200_000, 1))
RELEASE = UnsignedTx(COINS, (TxOutput(PAYOUT, 299_000),), 150)
REFUND = UnsignedTx(COINS, (TxOutput(BOB, 99_500, 0), TxOutput(CAROL, 199_500, 1)), 150)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with running_signer(tmp_path) as running:
        running.client.register(TERMS, ACCOUNT, {0: BOB, 1: CAROL})
        yield running


@pytest.fixture
def other_folder(tmp_path: Path) -> Path:
    """For a signer that has not heard of these terms."""
    folder = tmp_path / "other"
    folder.mkdir()
    return folder


def request(kind: str, tx: UnsignedTx, /, **changes: object) -> dict[str, Any]:
    """A signing request as the client sends it, with `changes`."""
    return signing_request(kind, tx, TERMS, **changes)


def descriptor(text: str = TERMS) -> str:
    return descriptor_of(text)


def still_honest(house: House) -> None:
    """The next honest client is served."""
    house.still_honest()


@pytest.mark.parametrize(("kind", "tx"), [("release", RELEASE), ("refund", REFUND)])
def test_an_honest_request_is_signed_and_the_same_bytes_come_again(kind: str, tx: UnsignedTx, house: House) -> None:
    raw = house.client.sign(TERMS, ACCOUNT, kind, tx)
    verify_signed(raw, tx, descriptor())
    lines = house.log.read_bytes()
    assert house.client.sign(TERMS, ACCOUNT, kind, tx) == raw
    assert house.log.read_bytes() == lines, "nothing new was promised"


def test_a_restarted_signer_remembers(house: House, tmp_path: Path) -> None:
    raw = house.client.sign(TERMS, ACCOUNT, "release", RELEASE)
    other = replace(RELEASE, outputs=(TxOutput(PAYOUT, 298_000),))
    again = CarefreeSigner(Keystore(WORDS, "regtest"), SignerLog(house.log), "regtest")
    assert again.answer(request("release", RELEASE)) == {"raw": raw.hex()}
    assert "raw" in again.answer(request("release", other)), "another one of the same kind"
    with pytest.raises(UserError, match="signed for nothing else"):
        again.answer(request("refund", REFUND))
    with pytest.raises(UserError, match="other terms"):
        again.answer({"op": "register", "terms": terms(title="x"), "account": ACCOUNT, "refunds": {"7": CAROL.hex()}})
    with pytest.raises(UserError, match="first one counts"):
        again.answer({"op": "register", "terms": TERMS, "account": ACCOUNT, "refunds": {"0": CAROL.hex()}})


def test_a_release_pays_the_terms_script_alone(house: House) -> None:
    for outputs in (
        [TxOutput(BOB, 299_000)],
        [TxOutput(PAYOUT, 100_000), TxOutput(BOB, 199_000)],
        [TxOutput(PAYOUT, 100_000), TxOutput(PAYOUT, 199_000)],
        [TxOutput(PAYOUT + b"\x00", 299_000)],
    ):
        sentence = house.refused(request("release", replace(RELEASE, outputs=tuple(outputs))))
        assert "payout address" in sentence
    house.client.sign(TERMS, ACCOUNT, "release", RELEASE)


@pytest.mark.parametrize(
    "outputs",
    [
        (TxOutput(PAYOUT, 99_500, 0), TxOutput(CAROL, 199_500, 1)),  # not the registered script
        (TxOutput(CAROL, 99_500, 0), TxOutput(BOB, 199_500, 1)),  # exchanged
        (TxOutput(BOB, 100_001, 0), TxOutput(CAROL, 198_000, 1)),  # more than it paid
        (TxOutput(BOB, 299_000, 0),),  # one pledge is forgotten
        (TxOutput(BOB, 99_500, 0), TxOutput(CAROL, 100_000, 1), TxOutput(CAROL, 99_000, 1)),
        (TxOutput(BOB, 99_500, 0), TxOutput(CAROL, 199_000, 1), TxOutput(PAYOUT, 500)),
        (TxOutput(BOB, 99_500, 0), TxOutput(CAROL, 199_500)),
        (TxOutput(BOB, 99_500, 0), TxOutput(CAROL, 199_500, 2)),
        (TxOutput(BOB, 99_500), TxOutput(CAROL, 199_500)),
    ],
)
def test_a_refund_goes_where_it_was_registered_and_nowhere_else(outputs: tuple[TxOutput, ...], house: House) -> None:
    assert "refund" in house.refused(request("refund", replace(REFUND, outputs=outputs)))
    house.client.sign(TERMS, ACCOUNT, "refund", REFUND)


def test_the_first_registered_refund_address_counts(house: House) -> None:
    with pytest.raises(WorldError, match="the first one counts"):
        house.client.register(TERMS, ACCOUNT, {0: PAYOUT})
    house.client.register(TERMS, ACCOUNT, {0: BOB, 1: CAROL})
    hijacked = replace(REFUND, outputs=(TxOutput(PAYOUT, 99_500, 0), REFUND.outputs[1]))
    assert "registered" in house.refused(request("refund", hijacked))


def test_an_unregistered_pledge_is_not_refunded(house: House) -> None:
    tx = UnsignedTx((TxInput("c3" * 32, 0, 50_000, 9),), (TxOutput(BOB, 49_000, 9),), 150)
    assert "registered" in house.refused(request("refund", tx))


def test_an_outpoint_is_signed_for_one_kind_only(house: House) -> None:
    house.client.sign(TERMS, ACCOUNT, "release", RELEASE)
    assert "signed for nothing else" in house.refused(request("refund", REFUND))
    part = UnsignedTx(COINS[:1], (TxOutput(BOB, 99_000, 0),), 150)
    assert "signed for nothing else" in house.refused(request("refund", part))
    fresh = TxInput("d4" * 32, 0, 50_000, 0)
    mixed = UnsignedTx((fresh, COINS[1]), (TxOutput(BOB, 49_000, 0), TxOutput(CAROL, 199_000, 1)), 150)
    assert "signed for nothing else" in house.refused(request("refund", mixed))
    house.client.sign(TERMS, ACCOUNT, "refund", UnsignedTx((fresh,), (TxOutput(BOB, 49_000, 0),), 150))


@pytest.mark.parametrize(("kind", "tx"), [("release", RELEASE), ("refund", REFUND)])
def test_fees_may_rise_and_a_batch_may_be_parted(kind: str, tx: UnsignedTx, house: House) -> None:
    """All of them spend the same outpoints, so one at most is ever in the chain."""
    bumped = replace(tx, outputs=tuple(replace(o, value_sats=o.value_sats - 900) for o in tx.outputs), locktime=160)
    parts = [
        UnsignedTx((coin,), (replace(tx.outputs[-1 - n % len(tx.outputs)], value_sats=coin.value_sats - 700),), 161)
        for n, coin in enumerate(COINS)
    ]
    if kind == "refund":
        parts = [
            replace(p, outputs=(TxOutput((BOB, CAROL)[n], p.outputs[0].value_sats, n),)) for n, p in enumerate(parts)
        ]
    for one in (tx, bumped, *parts, tx):
        verify_signed(house.client.sign(TERMS, ACCOUNT, kind, one), one, descriptor())
    assert house.log.read_text().count("settle") == 4, "each is noted, once"


@pytest.mark.parametrize("form", [str.upper, lambda t: t[:2] + " " + t[2:], lambda t: t[:2] + "\n" + t[2:] + " "])
def test_an_outpoint_in_another_spelling_is_not_signed_again(form: Any, house: House) -> None:
    house.client.sign(TERMS, ACCOUNT, "release", RELEASE)
    spelled = tuple(replace(i, txid=form(i.txid)) for i in COINS)
    house.refused(request("refund", replace(REFUND, inputs=spelled)))
    house.refused(request("release", replace(RELEASE, inputs=(COINS[0], replace(COINS[0], txid=spelled[0].txid)))))


def test_values_that_change_between_two_requests_are_noticed(house: House) -> None:
    """Each signature covers its own input's value only: two half-lies together would give the rest to the miners."""
    burnt = UnsignedTx(COINS, (TxOutput(PAYOUT, 100_500),), 150)
    first = replace(burnt, inputs=(COINS[0], replace(COINS[1], value_sats=1_000)))
    second = replace(burnt, inputs=(replace(COINS[0], value_sats=1_000), replace(COINS[1], value_sats=100_000)))
    house.client.sign(TERMS, ACCOUNT, "release", first)
    assert first.txid == second.txid == burnt.txid
    assert "not shown" in house.refused(request("release", second))


def test_the_fee_is_above_zero_and_below_the_caps(house: House) -> None:
    big = TxInput("a7" * 32, 0, 40 * MAX_FEE_SATS, 0)
    cap_sats = transaction_vsize(1, [PAYOUT]) * MAX_FEERATE_SAT_VB
    for fee_sats in (-1, 0, cap_sats + 1, 40 * MAX_FEE_SATS - 1_000):
        assert "a fee of" in house.refused(request("release", lone(big, fee_sats=fee_sats)))
    assert "10 %" in house.refused(request("release", lone(COINS[0], fee_sats=10_001)))
    house.client.sign(TERMS, ACCOUNT, "release", lone(big, fee_sats=cap_sats))
    house.client.sign(TERMS, ACCOUNT, "release", lone(COINS[0], fee_sats=10_000))


def test_the_fee_of_one_transaction_is_capped_whatever_its_size(house: House) -> None:
    many = tuple(TxInput(f"{n + 1:064x}", 0, 10**6, 0) for n in range(150))
    assert "5000000" in house.refused(request("release", lone(*many, fee_sats=MAX_FEE_SATS + 1)))
    house.client.sign(TERMS, ACCOUNT, "release", lone(*many, fee_sats=MAX_FEE_SATS))


def test_half_of_a_pledge_at_most_goes_to_the_fee_of_its_refund(house: House) -> None:
    unfair = replace(REFUND, outputs=(TxOutput(BOB, 49_999, 0), TxOutput(CAROL, 199_999, 1)))
    assert "50 %" in house.refused(request("refund", unfair))
    house.client.sign(
        TERMS, ACCOUNT, "refund", replace(REFUND, outputs=(TxOutput(BOB, 50_000, 0), TxOutput(CAROL, 199_999, 1)))
    )


def test_nothing_is_signed_that_nodes_do_not_relay(house: House) -> None:
    small = TxInput("a8" * 32, 0, 310, 0)
    assert "too small" in house.refused(request("release", lone(small, fee_sats=17)))
    house.client.sign(TERMS, ACCOUNT, "release", lone(small, fee_sats=16))
    heavy = tuple(TxInput(f"{n + 1:064x}", 0, 10_000, 0) for n in range(1_480))
    assert "weighs" in house.refused(request("release", lone(*heavy)))


@pytest.mark.parametrize("locktime", [0, OPENED - 1, OPENED + 525_600, 419_999_999])
def test_a_lock_time_is_a_height_that_is_not_far_away(locktime: int, house: House) -> None:
    assert "lock time" in house.refused(request("release", replace(RELEASE, locktime=locktime)))
    house.client.sign(TERMS, ACCOUNT, "release", replace(RELEASE, locktime=OPENED))
    house.client.sign(TERMS, ACCOUNT, "release", replace(RELEASE, locktime=OPENED + 525_599))


def lone(*inputs: TxInput, fee_sats: int = 1_000, locktime: int = 150) -> UnsignedTx:
    """A release that is right in all but what the test makes wrong."""
    return UnsignedTx(inputs, (TxOutput(PAYOUT, sum(i.value_sats for i in inputs) - fee_sats),), locktime)


@pytest.mark.parametrize(
    "tx",
    [
        replace(RELEASE, outputs=()),
        replace(RELEASE, inputs=()),
        replace(lone(COINS[0]), outputs=(TxOutput(PAYOUT, 0),)),
        replace(lone(COINS[0]), outputs=(TxOutput(PAYOUT, -1),)),
        lone(COINS[0], COINS[0]),
        lone(COINS[0], replace(COINS[0], value_sats=5_000)),
        lone(COINS[0], replace(COINS[0], index=1)),
        lone(replace(COINS[0], vout=-1)),
        lone(replace(COINS[0], vout=2**32)),
        lone(replace(COINS[0], index=-1)),
        lone(replace(COINS[0], index=2**31)),
        lone(replace(COINS[0], value_sats=2**63)),
        lone(replace(COINS[0], value_sats=2**70)),
        lone(COINS[0], replace(COINS[1], value_sats=-1_000)),
        lone(replace(COINS[0], txid="00" * 32)),
        lone(replace(COINS[0], txid="a1" * 31)),
        lone(replace(COINS[0], txid="a1" * 33)),
        lone(replace(COINS[0], txid="zz" * 32)),
        lone(COINS[0], locktime=-1),
        lone(COINS[0], locktime=2**32),
    ],
)
def test_impossible_transactions_are_refused(tx: UnsignedTx, house: House) -> None:
    house.refused(request("release", tx))
    house.client.sign(TERMS, ACCOUNT, "release", RELEASE)


def test_terms_that_differ_by_one_letter_sign_nothing_real(house: House, other_folder: Path) -> None:
    """Even with the same payout script the keys are others, so the signature does not fit the real addresses."""
    changed = terms(title="A seed Drill")
    assert "other terms" in house.refused(request("release", RELEASE, terms=changed))
    with running_signer(other_folder) as other:
        raw = other.client.sign(changed, ACCOUNT, "release", RELEASE)
    verify_signed(raw, RELEASE, descriptor(changed))
    with pytest.raises(WorldError, match="not valid"):
        verify_signed(raw, RELEASE, descriptor())


def test_own_terms_with_an_own_payout_script_sign_nothing_real(house: House, other_folder: Path) -> None:
    mine = terms(payout_address=address_of(BOB, "regtest"), payout_script=BOB.hex())
    theft = replace(RELEASE, outputs=(TxOutput(BOB, 299_000),))
    assert "other terms" in house.refused(request("release", theft, terms=mine))
    with running_signer(other_folder) as other:
        raw = other.client.sign(mine, ACCOUNT, "release", theft)
    with pytest.raises(WorldError, match="not valid"):
        verify_signed(raw, theft, descriptor())


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"{",
        b"[]",
        b"5",
        b"null",
        b'"sign"',
        b"\xff\xfe\x00",
        b"{}",
        b'{"op": null}',
        b'{"op": ["sign"]}',
        b'{"op": {}}',
        b'{"op": "seed"}',
        b'{"op": "accounts"}',
        b'{"op": "accounts", "first": Infinity, "count": 1}',
        b'{"op": "accounts", "first": NaN, "count": 1}',
        b'{"op": "accounts", "first": 1e400, "count": 1}',
        b'{"op": "accounts", "first": -1, "count": 1}',
        b'{"op": "accounts", "first": 0, "count": 101}',
        b'{"op": "accounts", "first": 0, "count": 0}',
        b'{"op": "accounts", "first": 2147483648, "count": 1}',
        b'{"op": "accounts", "first": 2147483640, "count": 100}',
        b'{"op": "accounts", "first": ' + b"9" * 5_000 + b', "count": 1}',
        b'{"op": "accounts", "first": "0", "count": {}}',
        b'{"op": "register", "terms": "\\ud800", "account": 0, "refunds": {}}',
        b'{"op": "register", "terms": "[]", "account": 0, "refunds": {}}',
        b'{"op": "register", "terms": 5, "account": 0, "refunds": {}}',
        b"[" * 100_000 + b"\n",
        b'{"op":' * 50_000 + b"\n",
    ],
    ids=lambda line: repr(line[:40]),
)
def test_what_is_no_request_gets_a_sentence(line: bytes, house: House) -> None:
    answer = house.ask(line)
    assert set(answer) - {"part"} == {"error"} and answer["error"].endswith(".")
    still_honest(house)


@pytest.mark.parametrize("field", ["op", "terms", "account", "kind", "locktime", "inputs", "outputs"])
@pytest.mark.parametrize(
    "value",
    [None, True, -1, 1.5, 1e308, 2**70, "", "x", [], [[]], [None], {}, {"a": 1}, [["x", 0, 0, 0]], [[1, 2, 3, 4]]],
)
def test_wrong_types_everywhere_get_a_sentence(field: str, value: object, house: House) -> None:
    house.refused(request("release", RELEASE, **{field: value}))
    house.refused(request("refund", REFUND, **{field: value}))


@pytest.mark.parametrize("index", [None, "0", 0.5, True, [], {}, -1, 2**31, 2**80])
def test_wrong_types_of_an_output_index_get_a_sentence(index: object, house: House) -> None:
    outputs = [[BOB.hex(), 99_500, index], [CAROL.hex(), 199_500, 1]]
    house.refused(request("refund", REFUND, outputs=outputs))


@pytest.mark.parametrize(
    "refunds",
    [None, [], {"x": BOB.hex()}, {"-1": BOB.hex()}, {"0": "zz"}, {"0": None}, {"2147483648": BOB.hex()}, {"5": 5}],
)
def test_registrations_that_make_no_sense_get_a_sentence(refunds: object, house: House) -> None:
    house.refused({"op": "register", "terms": TERMS, "account": ACCOUNT, "refunds": refunds})
    still_honest(house)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([TERMS, "a1" * 32]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["accounts", "register", "sign"]), st.dictionaries(st.sampled_from(
    ["terms", "account", "kind", "locktime", "inputs", "outputs", "first", "count", "refunds"]), json_values
), st.sampled_from(["release", "refund"]), st.booleans())  # fmt: skip
def test_no_json_makes_it_stumble(house: House, op: str, changes: dict[str, object], kind: str, whole: bool) -> None:
    base = request(kind, RELEASE if kind == "release" else REFUND) if whole else {}
    answer = house.ask(json.dumps({**base, "op": op, **changes}).encode() + b"\n")
    assert set(answer) - {"part"} in ({"error"}, {"raw"}, {"accounts"}, {"registered"})
    if "error" in answer:
        assert answer["error"].endswith(".")


def test_a_line_that_never_ends_is_cut(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signer_module, "MAX_LINE", 2_000)
    assert "error" in house.ask(b'{"op": "' + b"a" * 4_000)
    still_honest(house)


def test_a_silent_client_hinders_nobody(house: House) -> None:
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as rude:
        silent.connect(str(house.path))
        rude.connect(str(house.path))
        rude.sendall(b'{"op": "accounts", "first": 0, "count": 100}\n')
        rude.close()
        still_honest(house)


def test_another_network_is_refused(house: House) -> None:
    foreign = TERMS.replace('"regtest"', '"mainnet"')
    assert "mainnet" in house.refused(request("release", RELEASE, terms=foreign))


def test_another_user_is_not_heard(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert signer_module._peer_uid is not None
    monkeypatch.setattr(signer_module, "_peer_uid", lambda _: os.getuid() + 1)
    with pytest.raises(WorldError, match="does not answer"):
        house.client.sign(TERMS, ACCOUNT, "release", RELEASE)
    assert "settle" not in house.log.read_text()
    monkeypatch.undo()
    still_honest(house)


def test_the_kernel_names_the_peer(house: House) -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert signer_module._peer_uid(one) == os.getuid()
    assert house.path.stat().st_mode & 0o777 == 0o600
    assert house.log.stat().st_mode & 0o777 == 0o600


def test_of_many_clients_at_once_one_kind_wins(house: House) -> None:
    """Releases and refunds of the same coins race; only one kind is ever signed."""
    answers: list[str] = []
    start = threading.Barrier(8)

    def race(number: int) -> None:
        kind, tx = ("release", RELEASE) if number % 2 else ("refund", REFUND)
        start.wait()
        try:
            house.client.sign(TERMS, ACCOUNT, kind, tx)
            answers.append(kind)
        except WorldError as error:
            answers.append(error.sentence)

    threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(a.startswith("The signer refuses") for a in answers) == 4
    assert len(set(answers) & {"release", "refund"}) == 1


def test_a_path_too_long_for_a_socket_gets_a_sentence(tmp_path: Path) -> None:
    signer = CarefreeSigner(Keystore(WORDS, "regtest"), SignerLog(tmp_path / "log"), "regtest")
    with pytest.raises(WorldError, match="107 letters"):
        SignerServer(signer, tmp_path / ("x" * 120))


def test_an_absent_signer_is_a_retryable_trouble(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="does not answer") as away:
        SignerClient(tmp_path / "none").accounts(0, 1)
    assert away.value.retryable


@pytest.mark.parametrize("answer", [b"", b"[]\n", b"5\n", b"{}\n", b'{"accounts": 5}\n', b'{"raw": 5}\n', b"null\n"])
def test_an_answer_that_cannot_be_read_is_a_trouble_and_no_crash(answer: bytes, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def reply() -> None:
            for _ in range(2):
                with listening.accept()[0] as connection:
                    connection.recv(100_000)
                    connection.sendall(answer)

        threading.Thread(target=reply, daemon=True).start()
        client = SignerClient(path)
        with pytest.raises(WorldError):
            client.accounts(0, 1)
        with pytest.raises(WorldError):
            client.sign(TERMS, ACCOUNT, "release", RELEASE)


# -- the log ---------------------------------------------------------------------------------------------------


def filled(folder: Path) -> Path:
    """A log of four lines."""
    path = folder / "log"
    log = SignerLog(path)
    for index, script in enumerate((BOB, CAROL)):
        log.register(ACCOUNT, sha256(TERMS.encode()).digest(), {index: script})
    signer = CarefreeSigner(Keystore(WORDS, "regtest"), log, "regtest")
    signer.answer(request("release", RELEASE))
    signer.answer(request("release", UnsignedTx((TxInput("e5" * 32, 0, 9_000, 3),), (TxOutput(PAYOUT, 8_500),), 150)))
    assert len(path.read_text().splitlines()) == 4
    return path


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_changed_line_stops_the_signer(number: int, tmp_path: Path) -> None:
    path = filled(tmp_path)
    whole = path.read_bytes()
    path.with_suffix(".head").unlink()  # the lines alone must give it away
    lines = whole.splitlines(keepends=True)
    mark = lines[number].index(b":") + 1
    altered = lines[number][:mark] + b" " + lines[number][mark:]
    for damage in (
        [*lines[:number], altered, *lines[number + 1 :]],
        [*lines[:number], *lines[number + 1 :]],
        [*lines[:number], lines[number], lines[number], *lines[number + 1 :]],
        [*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]],
        [*lines[:number], b"{}\n", *lines[number + 1 :]],
        [*lines[:number], b"not json\n", *lines[number + 1 :]],
        [*lines[:number], b"\xff\n", *lines[number + 1 :]],
        [*lines[:number], b"\n", *lines[number + 1 :]],
    ):
        path.write_bytes(b"".join(damage))
        with pytest.raises(WorldError, match="was changed") as stopped:
            SignerLog(path)
        assert not stopped.value.retryable
    path.write_bytes(whole)
    SignerLog(path)


def test_a_torn_last_line_is_cut_off_wherever_it_broke(tmp_path: Path) -> None:
    path = filled(tmp_path)
    head = path.with_suffix(".head")
    whole = path.read_bytes()
    kept = whole[: whole.rindex(b"\n", 0, -1) + 1]
    head.write_text(f"3 {sha256(kept.splitlines()[-1]).hexdigest()}\n")
    for length in range(len(kept), len(whole)):
        path.write_bytes(whole[:length])
        log = SignerLog(path)
        assert path.read_bytes() == kept
    log.register(ACCOUNT, sha256(TERMS.encode()).digest(), {8: BOB})
    assert SignerLog(path).refund_script(ACCOUNT, 8) == BOB
    head.unlink()
    path.write_bytes(b'{"torn')
    SignerLog(path).register(0, bytes(32), {0: BOB})
    assert len(path.read_text().splitlines()) == 1


def test_a_full_disk_leaves_no_half_line_and_nothing_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path)
    before = path.read_bytes()
    log = SignerLog(path)
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
    signer = CarefreeSigner(Keystore(WORDS, "regtest"), log, "regtest")
    tx = UnsignedTx((TxInput("f6" * 32, 0, 9_000, 3),), (TxOutput(PAYOUT, 8_500),), 150)
    with pytest.raises((WorldError, OSError)):
        signer.answer(request("release", tx))
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert "raw" in signer.answer(request("release", tx)), "when there is room again, it goes on"
    SignerLog(path)


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_lines_cut_off_at_the_end_stop_the_signer(kept: int, tmp_path: Path) -> None:
    path = filled(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:kept]))
    with pytest.raises(WorldError, match=f"{4 - kept} lines are missing at its end"):
        SignerLog(path)
    path.write_bytes(b"".join(lines))
    SignerLog(path)
    path.unlink()
    with pytest.raises(WorldError, match="4 lines are missing"):
        SignerLog(path)


def test_another_log_of_the_same_length_stops_the_signer(tmp_path: Path) -> None:
    path = filled(tmp_path)
    other = SignerLog(tmp_path / "other")
    for index in range(4):
        other.register(ACCOUNT, bytes(32), {index: BOB})
    path.write_bytes((tmp_path / "other").read_bytes())
    with pytest.raises(WorldError, match="not the one that its head was written for"):
        SignerLog(path)


def test_a_head_that_is_behind_or_lost_in_a_power_cut_is_no_harm(tmp_path: Path) -> None:
    path = filled(tmp_path)
    head = path.with_suffix(".head")
    lines = path.read_bytes().splitlines()
    for text in (f"2 {sha256(lines[1]).hexdigest()}\n", "", "\0" * 67):
        head.write_text(text)
        SignerLog(path)
    for text in ("4", "four " + "0" * 64, "x", "4 " + "0" * 64):
        head.write_text(text)
        with pytest.raises(WorldError, match="was changed"):
            SignerLog(path)


def test_a_head_that_cannot_be_written_hinders_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path)
    log = SignerLog(path)

    def broken(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "replace", broken)
    log.register(ACCOUNT, sha256(TERMS.encode()).digest(), {8: BOB})
    monkeypatch.undo()
    assert path.with_suffix(".head").read_text().startswith("4 ")
    assert not path.with_suffix(".head-new").exists()
    assert SignerLog(path).refund_script(ACCOUNT, 8) == BOB


def test_an_account_with_two_sets_of_terms_stops_the_signer(tmp_path: Path) -> None:
    log = SignerLog(tmp_path / "log")
    log.register(0, bytes(32), {0: BOB})
    line = json.dumps({"account": 0, "prev": log._last, "refunds": {}, "terms": "01" * 32})
    with (tmp_path / "log").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(WorldError, match="two sets of terms"):
        SignerLog(tmp_path / "log")


def test_refunds_that_older_versions_noted_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(json.dumps({"prev": "0" * 64, "refund": [3, "00" * 32, 7, BOB.hex()]}) + "\n")
    log = SignerLog(path)
    assert log.refund_script(3, 7) == BOB
    assert log.terms_hash(3) is None


def test_a_thousand_refunds_and_a_batch_take_one_line_and_one_flush_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    with running_signer(tmp_path) as house:
        house.client.register(TERMS, ACCOUNT, dict.fromkeys(range(1_000), BOB))
        assert len(flushed) == len(house.log.read_text().splitlines()) == 1
        many = tuple(TxInput(f"{n + 1:064x}", 0, 10_000, n) for n in range(350))
        house.client.sign(TERMS, ACCOUNT, "release", lone(*many))
        assert len(flushed) == len(house.log.read_text().splitlines()) == 2
        house.client.register(TERMS, ACCOUNT, dict.fromkeys(range(2_500), BOB))
        assert len(flushed) == 4, "only what is new is written, a thousand at a time"
    assert SignerLog(house.log).refund_script(ACCOUNT, 2_499) == BOB


def test_many_promises_stay_small(tmp_path: Path) -> None:
    """Registrations and outpoints of twenty thousand coins, held and read again: under 1,000 bytes for each."""
    log = SignerLog(tmp_path / "log")
    for start in range(0, 20_000, 1_000):
        log.register(0, bytes(32), {n: b"\x00\x14" + n.to_bytes(20, "big") for n in range(start, start + 1_000)})
        outpoints = {f"{n:064x}:1": n for n in range(start, start + 1_000)}
        log.show(0, bytes(32), {name: (n, n) for name, n in outpoints.items()})
        log.settle("refund", f"{start + 1:064x}", 0, bytes(32), outpoints)
    del log
    tracemalloc.start()
    again = SignerLog(tmp_path / "log")
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert again.shown(f"{19_999:064x}:1") == (0, 19_999, 19_999) and again.kind(f"{19_999:064x}:1") == "refund"
    assert held < 20_000_000 and peak < 23_000_000
