"""The Core backend: against a real node, and against servers that answer badly."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from crowdfund.chain.core import CoreBackend, RpcError
from crowdfund.chain.port import Origin, Sent, Spender, Unreachable, WrongAnswer
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import WorldError
from crowdfund.wallet.blocks import ParsedTx, parse_tx
from support.node import new_address, new_node

Answer = tuple[int, bytes]
BURN = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"  # whose keys nobody here has


@contextmanager
def server(reply: Callable[[Any, str], Answer]) -> Iterator[tuple[CoreBackend, list[str]]]:
    """A backend on a server whose `reply` gets the calls and the Authorization header; and the headers it saw."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(self.headers["Authorization"])
            self.answer(*reply(json.loads(body), self.headers["Authorization"]))

        def do_GET(self) -> None:
            self.answer(*reply(self.path, ""))

        def answer(self, status: int, raw: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

    with Quiet(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        backend = CoreBackend(f"http://127.0.0.1:{running.server_port}", password="user:word")
        try:
            yield backend, seen
        finally:
            backend.close()
            running.shutdown()


def results(calls: Any, result: object = None, error: object = None) -> bytes:
    """The same result for each call, as a node writes it."""
    return json.dumps([{"id": c["id"], "result": result, "error": error} for c in calls]).encode()


@pytest.fixture
def backend(node: RegtestNode) -> Iterator[CoreBackend]:
    made = CoreBackend(node.rpc_url, node.cookie_file)
    yield made
    made.close()


def test_status_is_the_nodes(node: RegtestNode, backend: CoreBackend) -> None:
    told, status = node.rpc("getblockchaininfo"), backend.status()
    assert (status.height, status.tip_hash) == (told["blocks"], told["bestblockhash"])
    assert status.headers == told["headers"]
    assert status.genesis_hash == node.rpc("getblockhash", 0) and status.synced


def test_hashes_headers_and_blocks(node: RegtestNode, backend: CoreBackend) -> None:
    tip = backend.status().height
    assert backend.block_hash(tip + 1) is None
    hashes = backend.block_hashes(range(tip + 1))
    assert hashes == [node.rpc("getblockhash", h) for h in (0, 1)] + hashes[2:] and len(set(hashes)) == tip + 1
    refs = backend.block_refs(hashes)
    assert [r.height for r in refs] == list(range(tip + 1)) and refs[0].prev_hash == ""
    assert all(b.prev_hash == a.hash for a, b in pairwise(refs))
    told = node.rpc("getblockheader", hashes[-1])
    assert (refs[-1].time, refs[-1].median_time_past) == (told["time"], told["mediantime"])
    assert backend.block(hashes[7]) == bytes.fromhex(node.rpc("getblock", hashes[7], 0))
    assert backend.call_many([]) == [] and backend.block_refs([]) == []
    with pytest.raises(RpcError):
        backend.block_hashes([tip + 1])
    with pytest.raises(RpcError):
        backend.block("00" * 32)


def test_more_calls_than_fit_one_request_keep_their_order(backend: CoreBackend) -> None:
    heights = [n % 3 for n in range(1_201)]
    first = backend.block_hashes([0, 1, 2])
    assert backend.block_hashes(heights) == [first[h] for h in heights]


def test_without_rest_the_blocks_come_over_rpc(tmp_path: Path) -> None:
    with new_node(tmp_path, "-rest=0", funded=False) as node:
        backend = CoreBackend(node.rpc_url, node.cookie_file)
        genesis = backend.status().genesis_hash
        assert backend.block(genesis) == backend.block(genesis) == bytes.fromhex(node.rpc("getblock", genesis, 0))
        node.rpc("generatetoaddress", 3, BURN)
        by_rpc = [bytes.fromhex(node.rpc("getblockheader", node.rpc("getblockhash", h), False)) for h in range(4)]
        assert backend.headers(0, 9) == by_rpc and backend.headers(2, 1) == by_rpc[2:3] and backend.headers(4, 1) == []
        backend.close()


def test_the_mempool_and_what_has_left_it(node: RegtestNode, backend: CoreBackend) -> None:
    txid = node.pay(new_address(node), 50_000)
    assert txid in backend.mempool_txids()
    found = backend.mempool_transactions([txid, "00" * 32])
    assert list(found) == [txid] and found[txid].hex() == node.rpc("getrawtransaction", txid)
    node.mine()
    assert txid not in backend.mempool_txids()


def test_headers_over_rest_and_over_rpc_are_the_same(node: RegtestNode, backend: CoreBackend) -> None:
    tip = backend.status().height
    told = [bytes.fromhex(node.rpc("getblockheader", node.rpc("getblockhash", h), False)) for h in range(tip + 1)]
    assert backend.headers(0, tip + 1) == backend.headers(0, tip + 500) == told
    assert backend.headers(7, 3) == told[7:10] and backend.headers(tip, 5) == told[tip:]
    assert backend.headers(tip + 1, 5) == backend.headers(3, 0) == []
    without = CoreBackend(node.rpc_url, node.cookie_file)
    without._rest_from = float("inf")
    assert without.headers(tip - 5, 20) == told[-6:] and without.headers(7, 3) == told[7:10]
    without.close()


@pytest.mark.parametrize("length", [0, 1, 79, 81, 159])
def test_headers_of_a_strange_length_are_refused(length: int) -> None:
    def reply(calls: Any, _: str) -> Answer:
        return 200, results(calls, "00" * 32) if isinstance(calls, list) else bytes(length)

    with server(reply) as (backend, _), pytest.raises(WrongAnswer, match="strange length"):
        backend.headers(1, 5)


def test_who_spends_a_coin_is_known_while_it_is_unconfirmed(node: RegtestNode, backend: CoreBackend) -> None:
    txid = node.pay(new_address(node), 50_000)
    spent = [(i["txid"], i["vout"]) for i in node.rpc("getrawtransaction", txid, True)["vin"]]
    nobody = ("ab" * 32, 1)
    assert backend.spenders([*spent, nobody]) == dict.fromkeys(spent, Spender(txid, None))
    assert backend.spenders([]) == {}
    node.mine()
    assert backend.spenders(spent) == {}


def test_a_spending_transaction_that_does_not_spend_is_refused(
    node: RegtestNode, backend: CoreBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    txid, other = node.pay(new_address(node), 50_000), node.pay(new_address(node), 50_000)
    spent = node.rpc("getrawtransaction", txid, True)["vin"][0]
    asked, call = (str(spent["txid"]), int(spent["vout"])), backend.call
    instead = [other, other[:-1] + "0123456789abcdef"[other[-1] == "0"], txid]

    def lying(method: str, *params: object) -> object:
        answer = call(method, *params)
        return [a | {"spendingtxid": instead[0]} for a in answer] if method == "gettxspendingprevout" else answer

    monkeypatch.setattr(backend, "call", lying)
    with pytest.raises(WrongAnswer, match="does not spend") as refused:
        backend.spenders([asked])
    assert refused.value.retryable
    del instead[0]
    assert backend.spenders([asked]) == {}, "it is nowhere"
    del instead[0]
    assert backend.spenders([asked]) == {asked: Spender(txid, None)}


def spent_output(node: RegtestNode, backend: CoreBackend) -> tuple[ParsedTx, str, bytes]:
    """A transaction, the block that it is in, and the script of an output that it spends."""
    txid = node.pay(new_address(node), 50_000)
    (block,) = node.mine(1)
    told = node.rpc("getrawtransaction", txid, 2, block)
    return parse_tx(bytes.fromhex(told["hex"])), block, bytes.fromhex(told["vin"][0]["prevout"]["scriptPubKey"]["hex"])


def test_where_a_spent_output_comes_from(node: RegtestNode, backend: CoreBackend) -> None:
    tx, block, script = spent_output(node, backend)
    maker = node.rpc("getrawtransaction", tx.spends[0][0])
    assert backend.origin(tx, block, script) == Origin(bytes.fromhex(maker))
    assert backend.origin(tx, block, b"\x51") is None


def test_that_a_script_is_not_spent_is_said_twice(
    node: RegtestNode, backend: CoreBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A campaign that is cancelled would go on where one damaged answer hid it."""
    tx, block, script = spent_output(node, backend)
    honest = backend.call_many

    def damaged(calls: Sequence[tuple[str, list[object]]]) -> list[Any]:
        answers = honest(calls)
        for spent in answers[0]["vin"]:
            spent["prevout"]["scriptPubKey"]["hex"] = "51"
        return answers

    monkeypatch.setattr(backend, "call_many", damaged)
    with pytest.raises(WrongAnswer):
        backend.origin(tx, block, script)


@pytest.mark.parametrize(("code", "pruned"), [(-1, True), (-5, False), (-8, False)])
def test_only_what_is_pruned_is_missing(
    node: RegtestNode, backend: CoreBackend, monkeypatch: pytest.MonkeyPatch, code: int, pruned: bool
) -> None:
    tx, block, script = spent_output(node, backend)
    honest = backend.call

    def refused(method: str, *params: object) -> Any:
        if method == "getrawtransaction":
            raise RpcError(code, "Block not available")
        return honest(method, *params)

    monkeypatch.setattr(backend, "call", refused)
    if pruned:
        assert backend.origin(tx, block, script) == Origin(None)
    else:
        with pytest.raises(RpcError):
            backend.origin(tx, block, script)


def test_who_is_away_is_unreachable_and_who_talks_nonsense_is_not(tmp_path: Path) -> None:
    away = CoreBackend("http://127.0.0.1:1", password="user:word")
    assert away.name == "node at 127.0.0.1:1"
    with pytest.raises(Unreachable):
        away.status()
    with pytest.raises(Unreachable, match="cookie"):
        CoreBackend("http://127.0.0.1:1", tmp_path / "none").status()
    with server(lambda *_: (200, b"nonsense")) as (backend, _), pytest.raises(WrongAnswer):
        backend.status()


@pytest.mark.parametrize(
    ("host", "believed"), [("127.0.0.1", True), ("localhost", True), ("[::1]", True), ("node.example", False)]
)
def test_a_node_on_this_machine_is_believed(host: str, believed: bool) -> None:
    assert CoreBackend(f"http://{host}:8332").believed is believed
    for told in (True, False):
        assert CoreBackend(f"http://{host}:8332", believed=told).believed is told


def test_what_becomes_of_a_broadcast(node: RegtestNode, backend: CoreBackend) -> None:
    coin = next(c for c in node.bank("listunspent") if c["amount"] > 1)
    spent = [{"txid": coin["txid"], "vout": coin["vout"]}]

    def signed(amount: str, to: str) -> bytes:
        raw = node.bank("createrawtransaction", spent, [{to: amount}])
        return bytes.fromhex(node.bank("signrawtransactionwithwallet", raw)["hex"])

    def less(sats: int) -> str:
        return f"{coin['amount'] - Decimal(sats) / 100_000_000:.8f}"

    refused = backend.broadcast(signed(less(0), new_address(node)))
    assert refused.sent is Sent.REFUSED and "fee" in refused.reason
    good = signed(less(10_000), new_address(node))
    assert backend.broadcast(good).sent is Sent.ACCEPTED
    assert backend.broadcast(good).sent in (Sent.ACCEPTED, Sent.KNOWN), "told twice is as good as once"
    node.mine()
    assert backend.broadcast(good).sent is Sent.KNOWN
    assert backend.broadcast(signed(less(20_000), new_address(node))).sent is Sent.INPUTS_GONE
    with pytest.raises(RpcError, match="decode"):
        backend.broadcast(b"\x00\x01")


@pytest.mark.parametrize(
    ("code", "message", "sent"),
    [
        (-27, "Transaction outputs in utxo set", Sent.KNOWN),
        (-27, "Transaction already in block chain", Sent.KNOWN),
        (-26, "txn-already-in-mempool", Sent.KNOWN),
        (-26, "min relay fee not met", Sent.REFUSED),
        (-25, "bad-txns-inputs-missingorspent", Sent.INPUTS_GONE),
    ],
)
def test_refusals_of_every_node_version_are_told_apart(code: int, message: str, sent: Sent) -> None:
    def reply(calls: Any, _: str) -> Answer:
        return 500, results(calls, None, {"code": code, "message": message})

    with server(reply) as (backend, _):
        assert backend.broadcast(b"\x00").sent is sent


def test_a_node_that_is_away_and_comes_back_with_another_cookie(tmp_path: Path) -> None:
    node = new_node(tmp_path, funded=False)
    backend = CoreBackend(node.rpc_url, node.cookie_file)
    assert backend.status().height == 0
    node.stop()
    for _ in range(2):
        with pytest.raises(WorldError) as away:
            backend.status()
        assert away.value.retryable
    with new_node(tmp_path, funded=False):
        assert backend.status().height == 0
    backend.close()


def test_an_answer_that_is_never_whole_leaves_no_socket_open() -> None:
    """Also while the failure is still being told of, and where the server has said that it will close."""

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    client.recv(65_536)
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n[")
                    client.recv(1)  # nothing more is said until the other end has had enough

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        backend = CoreBackend(f"http://127.0.0.1:{listener.getsockname()[1]}", password="user:word", timeout_s=0.2)
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(Unreachable) as broken:
            backend.status()
        backend.close()
        assert broken.value.__cause__ is not None
        for _ in range(200):  # the other end may not have closed yet
            if (left := len(list(Path("/proc/self/fd").iterdir()))) <= before:
                break
            time.sleep(0.01)
        assert left <= before
        listener.shutdown(socket.SHUT_RDWR)


def test_after_a_refused_cookie_the_next_connection_reads_it_anew(tmp_path: Path) -> None:
    """A node killed hard leaves its old cookie behind, and listens again before the new one is written."""
    cookie = tmp_path / ".cookie"
    cookie.write_text("old:one")
    with server(lambda calls, header: (200, results(calls, 7)) if header.endswith("bmV3Om9uZQ==") else (401, b"")) as (
        made,
        seen,
    ):
        backend = CoreBackend(f"http://127.0.0.1:{made._port}", cookie)
        with pytest.raises(WorldError, match="password or cookie") as refused:
            backend.call("getblockcount")
        assert refused.value.retryable
        cookie.write_text("new:one")
        assert backend.call("getblockcount") == 7
        assert len(seen) == 2
        backend.close()


def test_credentials_in_the_url_are_used() -> None:
    with server(lambda calls, _: (200, results(calls, 1))) as (made, seen):
        backend = CoreBackend(f"http://us%3Aer:pa%40ss@127.0.0.1:{made._port}")
        assert backend.call("x") == 1
        assert seen == ["Basic dXM6ZXI6cGFAc3M="]
        backend.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"5",
        b'"text"',
        b"[5, 5]",
        b"[null]",
        b"<html>502 Bad Gateway</html>",
        b"\xff\xfe",
        b"[" * 200_000,
        b"[]",
        b'[{"id": 0}]',
        b'[{"id": 0, "result": null, "error": 5}]',
        b'[{"id": 0, "result": null, "error": {}}]',
        b'[{"id": 0, "result": null, "error": "no"}]',
        b'[{"id": 9, "result": 1, "error": null}]',
        b'[{"id": [], "result": 1, "error": null}]',
        b'[{"result": 1, "error": null}]',
        b'[{"id": 0, "result": 1, "error": null}, {"id": 0, "result": 2, "error": null}]',
        b'{"error": {"code": -28, "message": "Loading block index"}, "id": null, "result": null}',
        b'{"error": "no"}',
        b"{}",
    ],
    ids=lambda raw: repr(raw[:40]),
)
@pytest.mark.parametrize("status", [200, 500])
def test_garbage_is_a_trouble_and_never_a_crash(raw: bytes, status: int) -> None:
    with server(lambda *_: (status, raw)) as (backend, _):
        for ask in (
            backend.status,
            lambda: backend.feerate_sat_vb(6),
            lambda: backend.block_hash(1),
            lambda: backend.block_refs(["00"]),
            backend.mempool_txids,
            lambda: backend.broadcast(b""),
            lambda: backend.mempool_transactions(["00"]),
        ):
            with pytest.raises(WorldError) as garbage:
                ask()
            assert garbage.value.retryable


@pytest.mark.parametrize("result", [None, 5, "text", [], {}, {"blocks": "1"}, {"feerate": "x"}, [5], {"feerate": []}])
def test_results_of_a_wrong_shape_are_a_trouble_and_never_a_crash(result: object) -> None:
    with server(lambda calls, _: (200, results(calls, result)) if isinstance(calls, list) else (404, b"")) as (
        backend,
        _,
    ):
        for ask in (backend.status, lambda: backend.block_refs(["00"]), lambda: backend.block("00")):
            with pytest.raises(WorldError):
                ask()
        for quiet in (
            lambda: backend.feerate_sat_vb(6),
            backend.mempool_txids,
            lambda: backend.mempool_transactions(["00"]),
        ):
            try:
                quiet()
            except WorldError as error:
                assert error.sentence.endswith(".")


@pytest.mark.parametrize(
    ("rate", "sats"),
    [("0.00001", 1), ("0.00001001", 2), ("0.00002", 2), ("1e-05", 1), ("0", 1), ("1", 100_000), ("-1", 1)],
)
def test_the_feerate_is_rounded_up_exactly(rate: str, sats: int) -> None:
    def reply(calls: Any, _: str) -> Answer:
        told = floor if calls[0]["method"] == "getmempoolinfo" else json.dumps({"feerate": 0}).replace("0", rate)
        return 200, b'[{"id": %d, "result": %s, "error": null}]' % (calls[0]["id"], told.encode())

    floor = '{"mempoolminfee": 0.00000100, "minrelaytxfee": 0.00000100}'
    with server(reply) as (backend, _):
        assert backend.feerate_sat_vb(6) == sats


@pytest.mark.parametrize(
    ("pool", "relay", "sats"),
    [("0.00001", "0.00001", None), ("0.00000100", "0.00001", None), ("0.00002001", "0.00001", 3), ("0", "0.0001", 10)],
)
def test_without_an_estimate_the_floor_of_a_full_mempool_counts(pool: str, relay: str, sats: int | None) -> None:
    def reply(calls: Any, _: str) -> Answer:
        floor = f'{{"mempoolminfee": {pool}, "minrelaytxfee": {relay}}}'
        told = floor if calls[0]["method"] == "getmempoolinfo" else '{"errors": ["Insufficient data"]}'
        return 200, b'[{"id": %d, "result": %s, "error": null}]' % (calls[0]["id"], told.encode())

    with server(reply) as (backend, _):
        assert backend.feerate_sat_vb(6) == sats


@pytest.mark.parametrize("rate", [b"NaN", b"Infinity", b"-Infinity", b'"x"', b"[]"])
def test_a_feerate_that_is_no_number_is_a_trouble(rate: bytes) -> None:
    raw = b'[{"id": 0, "result": {"feerate": %s}, "error": null}]' % rate
    with server(lambda *_: (200, raw)) as (backend, _), pytest.raises(WorldError):
        backend.feerate_sat_vb(6)


def test_answers_out_of_order_are_put_in_order() -> None:
    def reply(calls: Any, _: str) -> Answer:
        answers = [{"id": c["id"], "result": c["params"][0], "error": None} for c in calls]
        return 200, json.dumps(answers[::-1]).encode()

    with server(reply) as (backend, _):
        assert backend.call_many([("x", [n]) for n in range(20)]) == list(range(20))


def test_a_node_that_loads_says_so_and_is_asked_again() -> None:
    def reply(calls: Any, _: str) -> Answer:
        return 500, results(calls, None, {"code": -28, "message": "Loading wallet"})

    with server(reply) as (backend, _), pytest.raises(WorldError) as loading:
        backend.status()
    assert loading.value.retryable and "Loading wallet" in loading.value.sentence


@pytest.mark.parametrize(
    ("blocks", "headers", "downloading", "chain", "synced"),
    [
        (5, 5, False, "main", True),
        (5, 6, False, "main", False),
        (5, 5, True, "main", False),
        (5, 5, True, "regtest", True),
        (5, 6, True, "regtest", False),
    ],
)
def test_synced_means_every_header_has_its_block(
    blocks: int, headers: int, downloading: bool, chain: str, synced: bool
) -> None:
    info = {"blocks": blocks, "headers": headers, "initialblockdownload": downloading, "chain": chain}
    told = {"getblockhash": "00", "getblockchaininfo": info | {"bestblockhash": "00"}}

    def reply(calls: Any, _: str) -> Answer:
        answers = [{"id": c["id"], "result": told.get(c["method"]), "error": None} for c in calls]
        return 200, json.dumps(answers).encode()

    with server(reply) as (backend, _):
        assert backend.status().synced is synced


def test_a_connection_that_breaks_once_is_opened_again(node: RegtestNode) -> None:
    backend = CoreBackend(node.rpc_url, node.cookie_file)
    height = backend.status().height
    backend._local.line[0]._connection.sock._sock.close()
    assert backend.status().height == height
    backend.close()


def test_a_missing_cookie_is_a_retryable_trouble(tmp_path: Path, node: RegtestNode) -> None:
    with pytest.raises(WorldError, match="is the node running") as missing:
        CoreBackend(node.rpc_url, tmp_path / "none").status()
    assert missing.value.retryable


def test_a_node_that_drips_is_not_waited_for() -> None:
    """Each byte comes in time, and the answer never does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            with listening.accept()[0] as talking, suppress(OSError):
                for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b" " * 1_000:
                    talking.sendall(bytes([byte]))
                    time.sleep(0.01)

        thread = threading.Thread(target=drip)
        thread.start()
        backend = CoreBackend(f"http://127.0.0.1:{listening.getsockname()[1]}", password="u:p", timeout_s=1)
        began = time.monotonic()
        with pytest.raises(Unreachable):
            backend.status()
        assert time.monotonic() - began < 5
        backend.close()
        thread.join()


def test_no_number_of_a_call_is_used_twice() -> None:
    seen: list[int] = []

    def reply(calls: Any, _: str) -> Answer:
        seen.extend(call["id"] for call in calls)
        return 200, results(calls, "00")

    with server(reply) as (backend, _):
        backend.call_many([("a", []), ("b", [])])
        backend.call("c")
    assert seen == [0, 1, 2]


def test_one_scan_at_a_time_is_waited_for() -> None:
    asked: list[int] = []

    def reply(calls: Any, _: str) -> Answer:
        asked.append(len(asked))
        if len(asked) < 3:
            return 500, results(calls, None, {"code": -8, "message": 'Scan already in progress, use action "abort"'})
        return 200, results(calls, {"bestblock": "00", "unspents": []})

    with server(reply) as (backend, _):
        assert backend.unspent([b"\x51"]) == ("00", []) and len(asked) == 3
