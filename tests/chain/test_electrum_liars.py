"""The Electrum backend against servers that are slow, damaged or lie."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

import pytest

from crowdfund.chain import electrum_client
from crowdfund.chain.electrum_client import Refused
from crowdfund.chain.port import HistoryItem, Sent, Spender, Unreachable, WrongAnswer
from crowdfund.wallet.blocks import MERKLE_ROOT, parse_tx
from support.electrum_liar import GENESIS, Lie, always, answer, liar, refusal

SOME = b"\x00\x14" + b"\x07" * 20
# A transaction: one input, and one output of 10,000 sat that pays SOME.
RAW = b"\2\0\0\0\1" + b"\x11" * 36 + b"\0\xff\xff\xff\xff\1\x10\x27\0\0\0\0\0\0\x16" + SOME + b"\0\0\0\0"
TXID = parse_tx(RAW).txid
# One of 64 bytes, as long as two hashes.
SMALL = RAW[:46] + b"\1\x10\x27\0\0\0\0\0\0\4" + SOME[:4] + b"\0\0\0\0"


def drip(number: int, _: list[Any]) -> Iterator[bytes]:
    for byte in answer(number, GENESIS):
        time.sleep(0.05)
        yield bytes([byte])


def flood(number: int, _: list[Any]) -> Iterator[bytes]:
    while True:
        yield b'{"method": "blockchain.headers.subscribe", "params": [{}]}\n' * 100


@pytest.mark.parametrize("lie", [drip, flood, lambda *_: b""], ids=["drip", "flood", "silence"])
def test_a_server_gets_no_more_time_for_sending_little_by_little(lie: Lie) -> None:
    with liar(timeout_s=0.4, blockchain__block__header=lie) as backend:
        start = time.monotonic()
        with pytest.raises(Unreachable, match="does not answer"):
            backend.status()
        assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"",
        b"null",
        b"5",
        b'"text"',
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"id": ' + b"9" * 5_000 + b', "result": 1}',
        b'{"id": 1e3, "result": 1}',
        b'{"id": true, "result": 1}',
        b'{"id": [], "result": 1}',
        b'{"id": null, "error": {"code": -32700, "message": "invalid JSON"}}',
        b'{"id": 77, "result": 1}',
        b'{"result": 1}',
        b'{"id": %d}',
        b'{"id": %d, "error": 5}',
        b'{"id": %d, "error": {}}',
        b'{"id": %d, "result": NaN}',
        b'{"id": %d, "result": null}',
        b'{"id": %d, "result": 0.5}',
        b'{"id": %d, "result": "00"}',
        b'{"id": %d, "result": "zz"}',
        b'{"id": %d, "result": {"hex": "00"}}',
        b'{"method": "blockchain.scripthash.subscribe"}',
        b'{"method": "blockchain.scripthash.subscribe", "params": ["00"]}',
        b'{"method": "blockchain.scripthash.subscribe", "params": [5, null]}',
        b'{"method": "blockchain.scripthash.subscribe", "params": ["00", 5]}',
    ],
    ids=lambda line: repr(line[:60]),
)
def test_a_damaged_answer_is_a_wrong_answer_and_the_next_connection_is_new(line: bytes) -> None:
    damaged = [True]

    def header(number: int, _: list[Any]) -> bytes:
        if damaged:
            return line.replace(b"%d", str(number).encode()) + b"\n"
        return answer(number, GENESIS)

    with liar(blockchain__block__header=header) as backend:
        with pytest.raises(WrongAnswer) as wrong:
            backend.status()
        assert wrong.value.retryable and wrong.value.sentence.endswith(".")
        assert backend._connection is None
        damaged.clear()
        assert backend.status().height == 0


def test_an_answer_given_twice_is_a_wrong_answer() -> None:
    with (
        liar(blockchain__block__header=lambda n, _: answer(n, GENESIS) * 2) as backend,
        pytest.raises(WrongAnswer, match="answers nothing it was asked"),
    ):
        backend.status()


def test_an_answer_given_again_later_is_noticed_then() -> None:
    late = threading.Event()

    def twice(number: int, _: list[Any]) -> Iterator[bytes]:
        yield answer(number, 0.00002)
        late.wait(5)
        yield answer(number, 0.00002)

    with liar(blockchain__estimatefee=always(-1), blockchain__relayfee=twice) as backend:
        assert backend.feerate_sat_vb(6) == 2
        late.set()
        with pytest.raises(WrongAnswer, match="answers nothing it was asked"):
            backend.feerate_sat_vb(6)


def test_half_a_line_and_then_nothing() -> None:
    half = [True]

    def header(number: int, _: list[Any]) -> Iterator[bytes]:
        yield answer(number, GENESIS)[:50] if half else answer(number, GENESIS)
        if half:
            raise ConnectionResetError

    with liar(blockchain__block__header=header) as backend:
        with pytest.raises(Unreachable):
            backend.status()
        half.clear()
        assert backend.status().height == 0


def test_a_line_without_end_is_not_read_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(electrum_client, "LINE_BYTES", 1_000_000)
    with (
        liar(blockchain__block__header=lambda *_: (b"1" * 10_000 for _ in count())) as backend,
        pytest.raises(WrongAnswer, match="a line that has no end"),
    ):
        backend.status()


def test_a_server_that_contradicts_itself_about_its_chain() -> None:
    for features in ({"genesis_hash": "00" * 32}, {}, None, {"genesis_hash": 5}):
        with liar(server__features=always(features)) as backend, pytest.raises(WrongAnswer):
            backend.status()
    with liar(server__version=refusal("unsupported protocol version: 1.4")) as backend:
        for _ in range(2):
            with pytest.raises(WrongAnswer, match=r"refused: unsupported protocol version: 1\.4\."):
                backend.status()


def test_a_refusal_leaves_the_connection_and_says_why() -> None:
    with liar(
        blockchain__block__header=lambda n, p: (refusal("no\n\nway.") if p[0] else always(GENESIS))(n, p)
    ) as backend:
        assert backend.status().height == 0
        held = backend._connection
        assert backend.block_hash(5) is None, "above the tip"
        assert backend._connection is held is not None
    with (
        liar(blockchain__block__headers=refusal("excessive resource usage")) as backend,
        pytest.raises(Refused, match="refused: excessive resource usage"),
    ):
        backend.headers(0, 5)


@pytest.mark.parametrize(
    "told", ["00", 5, None, {"hex": "00" * 79}, {"hex": "00" * 800}, {"hex": 5}, {"hex": "zz"}, {"count": 2}]
)
def test_headers_of_another_shape(told: object) -> None:
    with liar(blockchain__block__headers=always(told)) as backend, pytest.raises(WrongAnswer):
        backend.headers(0, 5)


@pytest.mark.parametrize("height", [-1, 0.0, 0.5, True, "0", None, [], 1 << 31])
def test_a_tip_at_no_height(height: object) -> None:
    with (
        liar(blockchain__headers__subscribe=always({"height": height, "hex": GENESIS})) as backend,
        pytest.raises(WrongAnswer),
    ):
        backend.status()


def test_another_transaction_than_the_one_asked_for() -> None:
    raw = RAW.hex()
    for told in (raw[:-2], raw + "00", raw[:8] + "ff" + raw[10:], "zz", "", 5, None, {"hex": raw}):
        with liar(blockchain__transaction__get=always(told)) as backend, pytest.raises(WrongAnswer):
            backend.transactions([TXID])
    with liar(blockchain__transaction__get=always(raw)) as backend:
        assert backend.transactions([TXID]) == {TXID: RAW}
        with pytest.raises(WrongAnswer):
            backend.transactions(["00" * 32])


def test_a_server_that_is_busy_has_not_lost_a_transaction() -> None:
    for message, missing in (
        ("daemon error: DaemonError({'code': -5, 'message': 'No such mempool or blockchain transaction.'})", True),
        ("missing transaction", True),
        ("excessive resource usage", False),
        ("server busy - request timed out", False),
    ):
        with liar(blockchain__transaction__get=refusal(message)) as backend:
            if missing:
                assert backend.transactions(["00" * 32]) == {}
            else:
                with pytest.raises(Refused):
                    backend.transactions(["00" * 32])


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {"merkle": [], "pos": 1},
        {"merkle": [], "pos": -1},
        {"merkle": [], "pos": 0.0},
        {"merkle": [], "pos": True},
        {"merkle": ["00"], "pos": 0},
        {"merkle": ["zz" * 32], "pos": 0},
        {"merkle": [5], "pos": 0},
        {"merkle": 5, "pos": 0},
        {"merkle": ["00" * 32] * 33, "pos": 0},
    ],
)
def test_a_branch_of_another_shape(told: object) -> None:
    with liar(blockchain__transaction__get_merkle=always(told)) as backend, pytest.raises(WrongAnswer):
        backend.proofs([HistoryItem("00" * 32, 1)])


def test_coins_that_are_not_in_the_block_they_are_said_to_be_in() -> None:
    lies: dict[str, Lie] = {
        "blockchain__headers__subscribe": always({"height": 9, "hex": GENESIS}),
        "blockchain__scripthash__get_history": always([{"tx_hash": TXID, "height": 9}]),
        "blockchain__transaction__get": always(RAW.hex()),
        "blockchain__transaction__get_merkle": always({"merkle": ["11" * 32], "pos": 1}),
    }
    with liar(lies) as backend, pytest.raises(WrongAnswer):
        backend.unspent([SOME])
    lies["blockchain__transaction__get"] = refusal("missing transaction")
    with liar(lies) as backend, pytest.raises(WrongAnswer, match="does not know transactions that it told of"):
        backend.unspent([SOME])


@pytest.mark.parametrize(
    ("like", "honest", "height"),
    [(RAW, True, 9), (RAW, False, None), (SMALL, True, None)],
    ids=["a payment", "elsewhere", "64 bytes"],
)
def test_a_spending_transaction_is_in_the_block_that_it_is_said_to_be_in(
    like: bytes, honest: bool, height: int | None
) -> None:
    coin = (TXID, 0)
    raw = like[:5] + bytes.fromhex(TXID)[::-1] + bytes(4) + like[41:]
    txid = parse_tx(raw).txid
    header = bytearray(80)
    header[MERKLE_ROOT] = bytes.fromhex(txid if honest else TXID)[::-1]
    with liar(
        blockchain__block__header=lambda n, p: answer(n, header.hex() if p[0] else GENESIS),
        blockchain__scripthash__get_history=always([{"tx_hash": txid, "height": 9}]),
        blockchain__transaction__get=lambda n, p: answer(n, (RAW if p[0] == TXID else raw).hex()),
        blockchain__transaction__get_merkle=always({"merkle": [], "pos": 0}),
    ) as backend:
        if honest:
            assert backend.spenders([coin]) == {coin: Spender(txid, height)}
        else:
            with pytest.raises(WrongAnswer):
                backend.spenders([coin])


@pytest.mark.parametrize(("raw", "proven"), [(RAW, True), (SMALL, False)], ids=["a payment", "64 bytes"])
def test_a_transaction_that_could_be_two_hashes_proves_nothing(raw: bytes, proven: bool) -> None:
    txid = parse_tx(raw).txid
    header = bytearray(80)
    header[MERKLE_ROOT] = bytes.fromhex(txid)[::-1]
    with liar(
        blockchain__headers__subscribe=always({"height": 9, "hex": GENESIS}),
        blockchain__block__header=lambda n, p: answer(n, header.hex() if p[0] else GENESIS),
        blockchain__scripthash__get_history=always([{"tx_hash": txid, "height": 9}]),
        blockchain__transaction__get=always(raw.hex()),
        blockchain__transaction__get_merkle=always({"merkle": [], "pos": 0}),
    ) as backend:
        if proven:
            assert [(c.txid, c.vout, c.value_sats, c.height) for c in backend.unspent([SOME])[1]] == [
                (txid, 0, 10_000, 9)
            ]
        else:
            with pytest.raises(WrongAnswer):
                backend.unspent([SOME[:4]])


def test_coins_counted_while_the_chain_moves() -> None:
    tips = count()

    def tip(number: int, _: list[Any]) -> bytes:
        return answer(number, {"height": min(next(tips), 1), "hex": GENESIS})

    with liar(blockchain__headers__subscribe=tip) as backend, pytest.raises(WrongAnswer, match="The chain moved"):
        backend.unspent([SOME])


def test_a_server_between_two_branches_is_given_a_moment() -> None:
    """It tells of a block whose header it has just taken back."""
    missing = count()

    def header(number: int, params: list[Any]) -> bytes | Iterable[bytes] | None:
        lie = refusal("height 9 out of range") if params[0] == 9 and next(missing) < enough else always(GENESIS)
        return lie(number, params)

    for enough in (3, 1_000):
        with liar(
            blockchain__headers__subscribe=always({"height": 9, "hex": GENESIS}), blockchain__block__header=header
        ) as backend:
            if enough == 3:
                assert backend.status().height == 9
            else:
                with pytest.raises(WrongAnswer, match="between two branches"):
                    backend.status()
                assert backend._connection is not None, "no reason to subscribe anew"


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ("Transaction already in block chain", Sent.KNOWN),
        ("Transaction outputs already in utxo set", Sent.KNOWN),
        ("txn-already-in-mempool", Sent.KNOWN),
        ("txn-already-known", Sent.KNOWN),
        ("txn-same-nonwitness-data-in-mempool", Sent.KNOWN),
        ("bad-txns-inputs-missingorspent", Sent.INPUTS_GONE),
        ("Missing inputs", Sent.INPUTS_GONE),
        ("min relay fee not met, 0 < 188", Sent.REFUSED),
        ("txn-mempool-conflict", Sent.REFUSED),
    ],
)
def test_refusals_of_every_node_version_are_told_apart(message: str, sent: Sent) -> None:
    raw = b"\x01" * 30
    told = f"the transaction was rejected by network rules.\n\n{message}\n[{raw.hex()}]"
    for lie in (refusal(told), refusal(f"sendrawtransaction RPC error: {message}")):
        with liar(blockchain__transaction__broadcast=lie) as backend:
            assert backend.broadcast(raw).sent is sent


def test_trouble_with_the_server_means_nothing_about_payment() -> None:
    for message in ("excessive resource usage", "server busy - request timed out", "already sent"):
        with liar(blockchain__transaction__broadcast=refusal(message)) as backend, pytest.raises(Refused):
            backend.broadcast(RAW)
    for told in ("00" * 32, None, 5, "please upgrade"):
        with liar(blockchain__transaction__broadcast=always(told)) as backend, pytest.raises(WrongAnswer):
            backend.broadcast(RAW)
    with liar(blockchain__transaction__broadcast=lambda *_: None) as backend, pytest.raises(Unreachable):
        backend.broadcast(RAW)


@pytest.mark.parametrize(
    ("rate", "floor", "sats"),
    [
        ("-1", "0.00001", None),
        ("-1", "0.00002001", 3),
        ("0.00001", "0.00001", 1),
        ("0.00001001", "0.00001", 2),
        ("1e-05", "0", 1),
        ("0.0001", "0.00001", 10),
        ("0.00001", "0.0001", 10),
        ("1", "0.00001", 100_000),
        ("0", "0.00001", 1),
    ],
)
def test_the_feerate_is_rounded_up_exactly_and_not_below_the_floor(rate: str, floor: str, sats: int | None) -> None:
    def number(text: str) -> Lie:
        return lambda n, _: b'{"id": %d, "result": %s}\n' % (n, text.encode())

    with liar(blockchain__estimatefee=number(rate), blockchain__relayfee=number(floor)) as backend:
        assert backend.feerate_sat_vb(6) == sats


@pytest.mark.parametrize("told", ["x", None, [], {}, True, float("nan"), float("inf")])
def test_a_feerate_that_is_no_number(told: object) -> None:
    for name in ("blockchain__estimatefee", "blockchain__relayfee"):
        lies = {"blockchain__estimatefee": always(-1), name: always(told)}
        with liar(lies) as backend, pytest.raises(WrongAnswer):
            backend.feerate_sat_vb(6)


def test_a_connection_that_the_server_closed_in_the_meantime_is_no_trouble() -> None:
    greeted: list[int] = []

    def header(number: int, _: list[Any]) -> Iterator[bytes]:
        greeted.append(number)
        yield answer(number, GENESIS)
        if len(greeted) == 2:
            raise ConnectionResetError

    with liar(blockchain__block__header=header) as backend:
        assert backend.status().height == 0
        time.sleep(0.1)
        assert backend.status().height == 0
        assert len(greeted) == 4, "each connection reads the first header"
