"""The Esplora backend against a server that lies: the stand-in over a real node, with one answer changed."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import pytest

from crowdfund.chain import esplora
from crowdfund.chain.esplora import EsploraBackend
from crowdfund.chain.port import Sent, Spender, Unreachable, WrongAnswer
from crowdfund.chain.regtest import RegtestNode
from crowdfund.chain.strict_json import hash_list
from crowdfund.errors import WorldError
from support.esplora import Answer, EsploraServer
from support.node import new_address

HASH = "ab" * 32


@pytest.fixture(scope="module")
def server(node: RegtestNode) -> Iterator[EsploraServer]:
    with EsploraServer(node) as running:
        yield running


@pytest.fixture
def backend(server: EsploraServer) -> Iterator[EsploraBackend]:
    made = EsploraBackend(server.url, "regtest", timeout_s=10)
    server.hook = None
    yield made
    server.hook = None
    made.close()


def script_of(node: RegtestNode, address: str) -> bytes:
    return bytes.fromhex(node.rpc("validateaddress", address)["scriptPubKey"])


def lying(server: EsploraServer, ending: str, change: Callable[[Any], object]) -> None:
    """From now on the JSON answers to paths with this ending are changed first."""

    def hook(path: str, answer: Answer) -> Answer:
        if not path.endswith(ending) or answer[0] != 200:
            return answer
        return 200, answer[1], json.dumps(change(json.loads(answer[2]))).encode()

    server.hook = hook


def saying(server: EsploraServer, ending: str, status: int, body: bytes) -> None:
    """From now on paths with this ending get this answer."""
    server.hook = lambda path, answer: (status, "text/plain", body) if path.endswith(ending) else answer


@pytest.fixture(scope="module")
def coin(node: RegtestNode) -> tuple[bytes, str]:
    """(script, txid) of a confirmed coin of 55,000 sat in a block with others."""
    address = str(node.rpc("decodescript", "0014" + secrets.token_hex(20))["address"])  # not the bank's
    txid = node.pay(address, 55_000)
    for _ in range(4):
        node.pay(new_address(node), 20_000)
    node.mine()
    return script_of(node, address), txid


@pytest.mark.parametrize(
    "value", [55_001, 0, -55_000, 55_000.0, True, "55000", None, 10**17, 10**30, [], {}], ids=lambda v: repr(v)
)
def test_a_value_that_is_not_the_coins_is_refused(
    server: EsploraServer, backend: EsploraBackend, coin: tuple[bytes, str], value: object
) -> None:
    assert backend.unspent([coin[0]])[1][0].value_sats == 55_000
    lying(server, "/utxo", lambda utxos: [u | {"value": value} for u in utxos])
    with pytest.raises(WrongAnswer):
        backend.unspent([coin[0]])


LIES: list[tuple[str, Callable[[Any], object]]] = [
    ("/utxo", lambda u: []),
    ("/utxo", lambda u: u + u),
    ("/utxo", lambda u: u[0]),
    ("/utxo", lambda u: [u[0] | {"vout": 7}]),
    ("/utxo", lambda u: [u[0] | {"vout": -1}]),
    ("/utxo", lambda u: [u[0] | {"txid": HASH}]),
    ("/utxo", lambda u: [u[0] | {"txid": "../../x"}]),
    ("/utxo", lambda u: [u[0] | {"status": {"confirmed": False}}]),
    ("/utxo", lambda u: [u[0] | {"status": {"confirmed": 1}}]),
    ("/merkle-proof", lambda p: p | {"pos": p["pos"] ^ 1}),
    ("/merkle-proof", lambda p: p | {"pos": -1}),
    ("/merkle-proof", lambda p: p | {"pos": 2**40}),
    ("/merkle-proof", lambda p: p | {"merkle": p["merkle"][1:]}),
    ("/merkle-proof", lambda p: p | {"merkle": [HASH, *p["merkle"][1:]]}),
    ("/merkle-proof", lambda p: p | {"merkle": [HASH] * 33}),
    ("/merkle-proof", lambda p: p | {"merkle": ["zz"]}),
    ("/merkle-proof", lambda p: p | {"merkle": 5}),
    ("/merkle-proof", lambda p: p | {"block_height": p["block_height"] - 1}),
    ("/merkle-proof", lambda p: p | {"block_height": 10**9}),
    ("/merkle-proof", lambda p: p | {"block_height": 1.5}),
    ("", lambda s: s | {"chain_stats": s["chain_stats"] | {"funded_txo_count": 2}} if "chain_stats" in s else s),
    ("", lambda s: s | {"chain_stats": s["chain_stats"] | {"funded_txo_count": 0}} if "chain_stats" in s else s),
    ("", lambda s: s | {"chain_stats": s["chain_stats"] | {"funded_txo_sum": 54_999}} if "chain_stats" in s else s),
]


@pytest.mark.parametrize("lie", range(len(LIES)))
def test_coins_without_a_proof_are_refused(
    server: EsploraServer, backend: EsploraBackend, coin: tuple[bytes, str], lie: int
) -> None:
    ending, change = LIES[lie]
    lying(server, ending or f"/scripthash/{sha256(coin[0]).hexdigest()}", change)
    with pytest.raises(WrongAnswer) as wrong:
        backend.unspent([coin[0]])
    assert wrong.value.retryable and wrong.value.sentence.endswith(".")


def test_a_lie_that_fits_the_other_lies_is_refused(
    node: RegtestNode, server: EsploraServer, backend: EsploraBackend, coin: tuple[bytes, str]
) -> None:
    def richer(path: str, answer: Answer) -> Answer:
        return answer[0], answer[1], answer[2].replace(b"55000", b"99000")

    server.hook = richer
    with pytest.raises(WrongAnswer, match="a coin that"):
        backend.unspent([coin[0]])
    mine, other = sha256(coin[0]).hexdigest(), b"\x00\x14" + b"\x07" * 20
    server.hook = lambda path, answer: server.truth("GET", path.replace(sha256(other).hexdigest(), mine))
    with pytest.raises(WrongAnswer, match="a coin that"):
        backend.unspent([other])


def test_a_block_that_comes_while_the_coins_are_read_is_noticed(
    node: RegtestNode, server: EsploraServer, backend: EsploraBackend, coin: tuple[bytes, str]
) -> None:
    def hook(path: str, answer: Answer) -> Answer:
        if path.endswith("/utxo"):
            server.hook = None
            node.mine()
        return answer

    server.hook = hook
    with pytest.raises(WrongAnswer, match="new block"):
        backend.unspent([coin[0]])
    assert len(backend.unspent([coin[0]])[1]) == 1


def test_another_transaction_header_or_block_is_refused(
    node: RegtestNode, server: EsploraServer, coin: tuple[bytes, str]
) -> None:
    backend = EsploraBackend(server.url, "regtest")
    tip = node.rpc("getbestblockhash")
    other = node.rpc("getblockhash", 5)
    raw = bytes.fromhex(node.rpc("getrawtransaction", coin[1]))
    blockish = bytes.fromhex(node.rpc("getblock", tip, 0))
    header = node.rpc("getblockheader", tip, False)
    of_tx: list[Callable[[], object]] = [
        lambda: backend.unspent([coin[0]]),
        lambda: backend.mempool_transactions([coin[1]]),
    ]
    for body in (raw[:-1], raw + b"\x00", raw[:-1] + b"\x01", b"", b"<html>", raw.hex().encode()):
        saying(server, f"/tx/{coin[1]}/raw", 200, body)
        for question in of_tx:
            with pytest.raises(WrongAnswer):
                question()
    of_header: list[Callable[[], object]] = [backend.status, lambda: backend.headers(1, 3)]
    for text in (node.rpc("getblockheader", other, False), header[:-2], header + "00", header[:-1] + "x", "", "<html>"):
        saying(server, "/header", 200, str(text).encode())
        for question in of_header:
            with pytest.raises(WrongAnswer):
                question()
    for body in (blockish[:80], blockish[:79], b"", b"\x00" + blockish, b"<html>", header.encode()):
        saying(server, "/raw", 200, body)
        with pytest.raises(WrongAnswer, match="another block"):
            backend.block(tip)
    server.hook = None
    assert backend.status().tip_hash == tip
    backend.close()


@pytest.mark.parametrize("network", ["mainnet", "signet", "testnet4"])
def test_a_coin_needs_a_header_with_the_work_of_its_network(
    server: EsploraServer, coin: tuple[bytes, str], network: str
) -> None:
    """A wrong chain's status is told all the same: who asks says whose first block it is."""
    server.hook = None
    backend = EsploraBackend(server.url, network)
    assert backend.status().genesis_hash == backend.block_hash(0)
    with pytest.raises(WrongAnswer):
        backend.unspent([coin[0]])
    backend.close()


def test_more_unconfirmed_transactions_than_a_page_are_not_guessed_at(
    node: RegtestNode, server: EsploraServer, backend: EsploraBackend
) -> None:
    address = new_address(node)
    txid = node.pay(address, 80_000)
    node.mine()
    vout = next(c["vout"] for c in node.bank("listunspent", 1, 99, [address]))
    raw = node.bank("createrawtransaction", [{"txid": txid, "vout": vout}], [{new_address(node): "0.00079000"}])
    node.rpc("sendrawtransaction", node.bank("signrawtransactionwithwallet", raw)["hex"])
    script = script_of(node, address)
    assert [c.txid for c in backend.unspent([script])[1]] == [txid]
    lies: list[Callable[[Any], object]] = [lambda txs: txs * 50, lambda _: [], lambda _: [{}], lambda _: {"vin": 5}]
    for lie in lies:
        lying(server, "/txs/mempool", lie)
        with pytest.raises(WrongAnswer):
            backend.unspent([script])
    server.hook = None
    node.mine()
    assert backend.unspent([script])[1] == []


@pytest.mark.parametrize("height", [b"", b"-1", b"1.0", b"9" * 30, b"one", b"<html>", b"0", b"100000"])
def test_a_tip_that_is_nowhere_in_the_chain_is_refused(server: EsploraServer, height: bytes) -> None:
    backend = EsploraBackend(server.url, "regtest")
    saying(server, "/tip/height", 200, height)
    with pytest.raises(WrongAnswer):
        backend.status()
    server.hook = None
    backend.close()


def test_a_height_that_is_one_block_old_does_no_harm(node: RegtestNode, server: EsploraServer) -> None:
    backend = EsploraBackend(server.url, "regtest")
    height = node.rpc("getblockcount")
    for told in (height - 1, height + 2):
        saying(server, "/tip/height", 200, str(told).encode())
        assert backend.status().height == height
        backend.close()
        backend = EsploraBackend(server.url, "regtest")
    server.hook = None


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s | {"txid": HASH},
        lambda s: s | {"txid": None},
        lambda s: s | {"spent": "yes"},
        lambda s: s | {"status": None},
        lambda s: s | {"status": {"block_height": 1}},
        lambda s: [s],
    ],
)
def test_spenders_that_are_none_are_refused(
    node: RegtestNode, server: EsploraServer, backend: EsploraBackend, coin: tuple[bytes, str], change: Any
) -> None:
    spent = node.rpc("getrawtransaction", coin[1], 1)["vin"][0]
    outpoint = (str(spent["txid"]), int(spent["vout"]))
    assert backend.spenders([outpoint])[outpoint].txid == coin[1]
    lying(server, f"/outspend/{outpoint[1]}", change)
    if change({"txid": 1, "status": 1, "spent": 1}) == {"txid": HASH, "status": 1, "spent": 1}:
        assert backend.spenders([outpoint]) == {}, "the server knows no such transaction"
        lying(server, f"/outspend/{outpoint[1]}", lambda s: s | {"txid": spent["txid"]})
    with pytest.raises(WrongAnswer):
        backend.spenders([outpoint])


@pytest.mark.parametrize("change", [lambda p: p | {"block_height": p["block_height"] - 1}, lambda p: p | {"pos": 0}])
def test_a_spender_is_in_the_block_that_it_is_said_to_be_in(
    node: RegtestNode, server: EsploraServer, backend: EsploraBackend, coin: tuple[bytes, str], change: Any
) -> None:
    spent = node.rpc("getrawtransaction", coin[1], 1)["vin"][0]
    outpoint = (str(spent["txid"]), int(spent["vout"]))
    assert backend.spenders([outpoint])[outpoint].height is not None
    lying(server, "/merkle-proof", change)
    with pytest.raises(WrongAnswer):
        backend.spenders([outpoint])


def test_a_spender_whose_block_nothing_can_prove_counts_as_unconfirmed(
    node: RegtestNode, backend: EsploraBackend, coin: tuple[bytes, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction of 64 bytes, which a miner can put into a block at any time: nobody waits for its proof."""
    spent = node.rpc("getrawtransaction", coin[1], 1)["vin"][0]
    outpoint = (str(spent["txid"]), int(spent["vout"]))
    monkeypatch.setattr(esplora, "could_be_node", lambda raw, txid: txid == coin[1])
    assert backend.spenders([outpoint]) == {outpoint: Spender(coin[1], None)}


@pytest.mark.parametrize(
    ("status", "words", "sent"),
    [
        (400, 'sendrawtransaction RPC error: {"code":-27,"message":"Transaction outputs in utxo set"}', Sent.KNOWN),
        (400, 'sendrawtransaction RPC error: {"code":-26,"message":"txn-already-in-mempool"}', Sent.KNOWN),
        (400, 'sendrawtransaction RPC error: {"code":-26,"message":"min relay fee not met"}', Sent.REFUSED),
        (400, 'sendrawtransaction RPC error: {"code":-25,"message":"Missing inputs"}', Sent.INPUTS_GONE),
        (400, "sendrawtransaction RPC error -27: Transaction already in block chain", Sent.KNOWN),
        (400, "sendrawtransaction RPC error -25: bad-txns-inputs-missingorspent", Sent.INPUTS_GONE),
        (400, "sendrawtransaction RPC error -26: dust", Sent.REFUSED),
        (400, 'sendrawtransaction RPC error: {"code":-22,"message":"TX decode failed"}', WorldError),
        (400, "you have already had too much; go away", WorldError),
        (400, "<html>-26</html>", WorldError),
        (404, "endpoint does not exist", WorldError),
        (413, "Request body too large", WorldError),
        (200, "ok", WrongAnswer),
        (200, HASH, WrongAnswer),
        (200, "<html>Welcome to the hotel</html>", WrongAnswer),
        (429, "Too many requests", Unreachable),
        (502, 'RPC error: {"code":-26}', Unreachable),
        (302, "", WrongAnswer),
    ],
)
def test_refusals_of_every_kind_are_told_apart(
    server: EsploraServer, backend: EsploraBackend, status: int, words: str, sent: Any
) -> None:
    saying(server, "/tx", status, words.encode())
    if isinstance(sent, Sent):
        assert backend.broadcast(b"\x00").sent is sent
    else:
        with pytest.raises(sent):
            backend.broadcast(b"\x00")


@pytest.mark.parametrize(
    ("told", "target", "sats"),
    [
        (b'{"1": 87.882, "3": 12.0, "6": 1.0001}', 1, 88),
        (b'{"1": 87.882, "3": 12.0, "6": 1.0001}', 2, 12),
        (b'{"6": 1.0001, "3": 12.0}', 3, 12),
        (b'{"6": 1.0001, "10": 1}', 6, 2),
        (b'{"10": 1, "6": 5}', 7, 1),
        (b'{"3": 12.0}', 4, None),
        (b'{"144": 0.1}', 6, 1),
        (b"{}", 6, None),
    ],
)
def test_the_feerate_is_that_of_the_target_or_the_next_slower(
    server: EsploraServer, backend: EsploraBackend, told: bytes, target: int, sats: int | None
) -> None:
    saying(server, "/fee-estimates", 200, told)
    assert backend.feerate_sat_vb(target) == sats


RATES = [
    b"NaN",
    b"-Infinity",
    b"1e999999999",
    b"1e-99999999999999999999",
    b"0",
    b"-1",
    b"true",
    b'"5"',
    b"null",
    b"[1]",
]


@pytest.mark.parametrize("told", [*(b'{"6": %s}' % rate for rate in RATES), b"[]", b"5", b'{"x": 5}', b"", b"<html>"])
def test_a_feerate_that_is_none_is_refused(server: EsploraServer, backend: EsploraBackend, told: bytes) -> None:
    saying(server, "/fee-estimates", 200, told)
    with pytest.raises(WrongAnswer):
        backend.feerate_sat_vb(6)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[5]", b'["x"]', b'["%s"' % HASH.encode(), b'["%s",]' % HASH.encode(), b"[" * 200_000, b"\xff[]"],
)
def test_a_list_of_hashes_is_nothing_else(server: EsploraServer, backend: EsploraBackend, body: bytes) -> None:
    saying(server, "/mempool/txids", 200, body)
    with pytest.raises(WrongAnswer):
        backend.mempool_txids()


def test_lists_of_hashes_are_read_however_they_are_written() -> None:
    hashes = [f"{n:064x}" for n in range(1_000)]
    for count in (0, 1, 2, 1_000):
        for separators in ((",", ":"), (", ", ": ")):
            assert hash_list(json.dumps(hashes[:count], separators=separators).encode()) == hashes[:count]
        assert hash_list(json.dumps(hashes[:count], indent=2).encode()) == hashes[:count]
    with pytest.raises(ValueError, match="hash"):
        hash_list(b'["%s"]"%s"]' % (HASH.encode(), HASH.encode()))
