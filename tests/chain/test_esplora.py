"""The Esplora backend against a stand-in server over a real node."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from crowdfund.chain.esplora import EsploraBackend
from crowdfund.chain.port import BlockBackend, Sent, Spender, Unreachable, WrongAnswer
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import WorldError
from crowdfund.wallet.blocks import double_sha256
from support.esplora import EsploraServer
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


def foreign_address(node: RegtestNode, form: str = "0014{}") -> str:
    """An address that is nobody's, so that the bank never spends what is paid to it. `form`: its script, with {} for
    20 bytes (p2wpkh, p2pkh, p2sh)."""
    script = form.format(secrets.token_hex(20))
    return str(node.rpc("decodescript", script)["address"])


def block(node: RegtestNode, *txids: str) -> str:
    """A block with these transactions alone."""
    return str(node.rpc("generateblock", new_address(node), list(txids))["hash"])


def output_of(node: RegtestNode, txid: str, script: bytes) -> int:
    outputs = node.rpc("getrawtransaction", txid, 1)["vout"]
    return next(int(o["n"]) for o in outputs if o["scriptPubKey"]["hex"] == script.hex())


def test_it_is_a_block_backend_that_is_not_believed(backend: EsploraBackend) -> None:
    fulfils: BlockBackend = backend
    assert fulfils.name.startswith("Esplora server at 127.0.0.1:") and not fulfils.believed


def test_status_is_the_nodes(node: RegtestNode, backend: EsploraBackend) -> None:
    for _ in range(2):
        status = backend.status()
        assert (status.height, status.tip_hash) == (node.rpc("getblockcount"), node.rpc("getbestblockhash"))
        assert status.genesis_hash == node.rpc("getblockhash", 0) and status.synced and status.headers == status.height
        node.mine()


def test_hashes_headers_and_blocks(node: RegtestNode, backend: EsploraBackend, server: EsploraServer) -> None:
    tip = backend.status().height
    hashes = [str(node.rpc("getblockhash", h)) for h in range(tip + 1)]
    assert [backend.block_hash(h) for h in (0, 7, tip)] == [hashes[0], hashes[7], hashes[tip]]
    assert backend.block_hash(tip + 1) is None
    headers = backend.headers(0, 10**6)
    assert [double_sha256(h)[::-1].hex() for h in headers] == hashes
    assert headers[-1].hex() == node.rpc("getblockheader", hashes[-1], False)
    server.asked.clear()
    assert backend.headers(tip - 20, 5) == headers[tip - 20 : tip - 15] and len(server.asked) == 2, "they are kept"
    assert backend.headers(tip, 5) == headers[-1:]
    assert backend.headers(tip + 1, 5) == backend.headers(5, 0) == []
    assert backend.block(hashes[7]).hex() == node.rpc("getblock", hashes[7], 0)
    with pytest.raises(WrongAnswer, match="404"):
        backend.block(HASH)


def test_the_mempool_and_what_has_left_it(node: RegtestNode, backend: EsploraBackend) -> None:
    txid = node.pay(new_address(node), 50_000)
    assert sorted(backend.mempool_txids()) == sorted(node.rpc("getrawmempool"))
    found = backend.mempool_transactions([txid, HASH])
    assert list(found) == [txid] and found[txid].hex() == node.rpc("getrawtransaction", txid)
    replaced = txid
    txid = node.bank("bumpfee", txid)["txid"]
    assert list(backend.mempool_transactions([replaced, txid])) == [txid]
    node.mine()
    assert backend.mempool_txids() == []


def test_unspent_coins_of_scripts(node: RegtestNode, backend: EsploraBackend) -> None:
    addresses = [foreign_address(node, form) for form in ("0014{}", "76a914{}88ac", "a914{}87", "5120{}" + "11" * 12)]
    scripts = [script_of(node, a) for a in addresses]
    assert backend.unspent(scripts) == (node.rpc("getbestblockhash"), [])
    txids = [node.pay(a, 40_000 + n) for n, a in enumerate(addresses)] + [node.pay(addresses[0], 70_000)]
    assert backend.unspent(scripts)[1] == [], "none is confirmed"
    node.mine()
    height = node.rpc("getblockcount")
    tip, coins = backend.unspent([*scripts, scripts[0]])
    assert tip == node.rpc("getbestblockhash")
    told = {(c.txid, c.vout, c.value_sats, c.script, c.coinbase, c.height) for c in coins}
    paid = zip(txids, [*scripts, scripts[0]], [40_000, 40_001, 40_002, 40_003, 70_000], strict=True)
    assert told == {(t, output_of(node, t, s), v, s, False, height) for t, s, v in paid} and len(coins) == 5
    core = node.rpc("scantxoutset", "start", [f"raw({s.hex()})" for s in scripts])["unspents"]
    assert {(u["txid"], u["vout"]) for u in core} == {(c.txid, c.vout) for c in coins}


def test_a_coin_that_an_unconfirmed_transaction_spends_is_unspent_until_a_block_says_otherwise(
    node: RegtestNode, backend: EsploraBackend
) -> None:
    address = new_address(node)
    script = script_of(node, address)
    first = node.pay(address, 80_000)
    outpoint = (first, output_of(node, first, script))
    node.bank("lockunspent", False, [{"txid": first, "vout": outpoint[1]}])
    second = node.pay(address, 90_000)
    node.mine()
    before = backend.unspent([script])[1]
    raw = node.bank("createrawtransaction", [{"txid": first, "vout": outpoint[1]}], [{address: "0.00079000"}])
    spending = node.rpc("sendrawtransaction", node.bank("signrawtransactionwithwallet", raw)["hex"])
    assert set(backend.unspent([script])[1]) == set(before) and len(before) == 2
    assert backend.spenders([outpoint, (second, 0), (HASH, 3), outpoint]) == {outpoint: Spender(spending, None)}
    node.mine()
    assert backend.spenders([outpoint]) == {outpoint: Spender(spending, node.rpc("getblockcount"))}
    coins = {c.txid: c.value_sats for c in backend.unspent([script])[1]}
    assert coins == {second: 90_000, spending: 79_000}


def test_coinbase_coins_are_told_as_such(node: RegtestNode, backend: EsploraBackend) -> None:
    address = new_address(node)
    mined = node.rpc("generatetoaddress", 2, address)
    coins = backend.unspent([script_of(node, address)])[1]
    firsts = {node.rpc("getblock", h)["tx"][0] for h in mined}
    assert {c.txid for c in coins} == firsts and all(c.coinbase for c in coins)


def test_a_raised_fee_and_a_reorganisation(node: RegtestNode, backend: EsploraBackend) -> None:
    address = new_address(node)
    script = script_of(node, address)
    first = node.pay(address, 60_000)
    spent = node.rpc("getrawtransaction", first, 1)["vin"][0]
    outpoint = (str(spent["txid"]), int(spent["vout"]))
    assert backend.spenders([outpoint])[outpoint] == Spender(first, None)
    second = str(node.bank("bumpfee", first)["txid"])
    assert backend.spenders([outpoint])[outpoint] == Spender(second, None)
    held = block(node, second)
    height = backend.status().height
    assert backend.spenders([outpoint])[outpoint] == Spender(second, height)
    assert [c.txid for c in backend.unspent([script])[1]] == [second]
    assert backend.headers(height, 2)[0] == backend.block(held)[:80]
    node.rpc("invalidateblock", held)
    try:
        assert (backend.status().height, backend.unspent([script])[1]) == (height - 1, [])
        assert backend.spenders([outpoint])[outpoint] == Spender(second, None) and second in backend.mempool_txids()
        other = [block(node), block(node)]
        assert backend.status().tip_hash == other[1] and backend.unspent([script])[1] == []
        assert [double_sha256(h)[::-1].hex() for h in backend.headers(height, 9)] == other
    finally:
        node.rpc("reconsiderblock", held)
        node.mine()
    assert [c.txid for c in backend.unspent([script])[1]] == [second]


def test_the_feerate_is_the_nodes(node: RegtestNode, backend: EsploraBackend) -> None:
    rate = node.rpc("estimatesmartfee", 30).get("feerate") or node.rpc("estimatesmartfee", 144).get("feerate")
    assert backend.feerate_sat_vb(30) == (None if rate is None else math.ceil(rate * 100_000))
    assert backend.feerate_sat_vb(5_000) is None


def test_what_becomes_of_a_broadcast(node: RegtestNode, backend: EsploraBackend) -> None:
    coin = next(c for c in node.bank("listunspent") if c["amount"] > 1)
    spent = [{"txid": coin["txid"], "vout": coin["vout"]}]

    def signed(fee_sats: int) -> bytes:
        amount = f"{coin['amount'] - Decimal(fee_sats) / 100_000_000:.8f}"
        raw = node.bank("createrawtransaction", spent, [{new_address(node): amount}])
        return bytes.fromhex(node.bank("signrawtransactionwithwallet", raw)["hex"])

    refused = backend.broadcast(signed(0))
    assert refused.sent is Sent.REFUSED and "fee" in refused.reason
    good = signed(10_000)
    assert backend.broadcast(good).sent is Sent.ACCEPTED
    assert backend.broadcast(good).sent in (Sent.ACCEPTED, Sent.KNOWN), "told twice is as good as once"
    node.mine()
    assert backend.broadcast(good).sent is Sent.KNOWN
    assert backend.broadcast(signed(20_000)).sent is Sent.INPUTS_GONE
    with pytest.raises(WorldError, match="decode"):
        backend.broadcast(b"\x00\x01")


def test_the_node_behind_the_server_is_away(node: RegtestNode) -> None:
    server = EsploraServer(replace(node, rpc_url="http://127.0.0.1:1"))
    with server:
        backend = EsploraBackend(server.url, "regtest")
        with pytest.raises(Unreachable, match="503"):
            backend.status()
        with pytest.raises(Unreachable, match="503"):
            backend.broadcast(b"\x00")
        backend.close()
