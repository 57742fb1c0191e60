"""The stand-in Esplora server tells what the node itself tells, in the API's words."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from hashlib import sha256
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from crowdfund.chain.regtest import RegtestNode
from crowdfund.wallet.merkle import verify_branch
from support.esplora import EsploraServer
from support.node import new_address

HASH = "ab" * 32


@pytest.fixture(scope="module")
def server(node: RegtestNode) -> Iterator[EsploraServer]:
    with EsploraServer(node) as running:
        yield running


def script_of(node: RegtestNode, address: str) -> bytes:
    return bytes.fromhex(node.rpc("validateaddress", address)["scriptPubKey"])


def ask(server: EsploraServer, path: str) -> tuple[int, str, bytes]:
    """Status, content type and body, asked without the backend."""
    parts = urlsplit(server.url)
    connection = HTTPConnection(parts.hostname or "", parts.port)
    connection.request("GET", parts.path + path)
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, reply.headers["Content-Type"], body


def ask_json(server: EsploraServer, path: str) -> Any:
    return json.loads(ask(server, path)[2], parse_float=Decimal)


def test_the_stand_in_tells_of_blocks_what_the_node_tells(node: RegtestNode, server: EsploraServer) -> None:
    server.hook = None
    for n in range(9):
        node.pay(new_address(node), 30_000 + n)
    busy = node.mine()[0]
    tip = node.rpc("getblockcount")
    spent: dict[tuple[str, int], tuple[str, int]] = {}
    for height in [*range(0, tip - 12, 29), *range(tip - 12, tip + 1)]:
        told = node.rpc("getblock", node.rpc("getblockhash", height), 2)
        hash_, txids = told["hash"], [tx["txid"] for tx in told["tx"]]
        assert ask(server, f"/block-height/{height}") == (200, "text/plain", hash_.encode())
        assert ask(server, f"/block/{hash_}/header")[2].decode() == node.rpc("getblockheader", hash_, False)
        assert ask(server, f"/block/{hash_}/raw")[1:] == (
            "application/octet-stream",
            bytes.fromhex(node.rpc("getblock", hash_, 0)),
        )
        assert ask_json(server, f"/block/{hash_}/txids") == txids
        shown = ask_json(server, f"/block/{hash_}")
        assert (shown["id"], shown["height"], shown["merkle_root"]) == (hash_, height, told["merkleroot"])
        assert shown["previousblockhash"] == told.get("previousblockhash") and shown["tx_count"] == told["nTx"]
        status = ask_json(server, f"/block/{hash_}/status")
        assert (status["in_best_chain"], status["height"]) == (True, height)
        assert status["next_best"] == told.get("nextblockhash")
        for tx in told["tx"] if height else []:
            proof = ask_json(server, f"/tx/{tx['txid']}/merkle-proof")
            assert verify_branch(tx["txid"], proof["merkle"], proof["pos"]) == told["merkleroot"]
            assert (proof["block_height"], txids[proof["pos"]]) == (height, tx["txid"])
            assert ask(server, f"/tx/{tx['txid']}/hex")[2].decode() == tx["hex"]
            assert ask(server, f"/tx/{tx['txid']}/raw")[2].hex() == tx["hex"]
            shown = ask_json(server, f"/tx/{tx['txid']}")
            assert shown["fee"] == int(tx.get("fee", 0) * 10**8) and shown["status"]["block_hash"] == hash_
            assert [o["value"] for o in shown["vout"]] == [int(o["value"] * 10**8) for o in tx["vout"]]
            spent |= {(i["txid"], i["vout"]): (tx["txid"], n) for n, i in enumerate(tx["vin"]) if "txid" in i}
    for (txid, vout), spender in spent.items():
        shown = ask_json(server, f"/tx/{txid}/outspend/{vout}")
        assert (shown["txid"], shown["vin"]) == spender and shown["status"]["confirmed"]
    for tx in node.rpc("getblock", busy, 2)["tx"]:
        for out, shown in zip(tx["vout"], ask_json(server, f"/tx/{tx['txid']}/outspends"), strict=True):
            unspent = node.rpc("gettxout", tx["txid"], out["n"]) is not None
            assert shown == {"spent": False} or not unspent


def test_the_stand_in_answers_as_the_api_says(node: RegtestNode, server: EsploraServer) -> None:
    server.hook = None
    address = new_address(node)
    txid = node.pay(address, 30_000)
    script_hash = sha256(script_of(node, address)).hexdigest()
    (coin,) = ask_json(server, f"/scripthash/{script_hash}/utxo")
    assert coin["value"] == 30_000 and coin["txid"] == txid and coin["status"] == {"confirmed": False}
    assert ask_json(server, f"/address/{address}/utxo") == [coin]
    assert [tx["txid"] for tx in ask_json(server, f"/scripthash/{script_hash}/txs")] == [txid]
    pool = ask_json(server, "/mempool")
    entry = node.rpc("getmempoolentry", txid)
    assert (pool["count"], pool["vsize"]) == (1, entry["vsize"])
    assert pool["total_fee"] == int(entry["fees"]["base"] * 10**8) == ask_json(server, f"/tx/{txid}")["fee"]
    assert ask_json(server, "/mempool/txids") == [txid]
    rates = {t: node.rpc("estimatesmartfee", t).get("feerate") for t in (1, 2, 25, 144, 1008)}
    shown = ask_json(server, "/fee-estimates")
    assert all(shown.get(str(t)) == (None if rate is None else rate * 100_000) for t, rate in rates.items())
    assert ask(server, f"/tx/{HASH}") == (404, "text/plain", b"Transaction not found")
    assert ask(server, f"/tx/{txid}/merkle-proof")[0] == 404
    assert ask(server, f"/block/{HASH}") == (404, "text/plain", b"Block not found")
    assert ask(server, "/block-height/99999")[0] == 404
    assert ask(server, "/block-height/x") == (400, "text/plain", b"Invalid number")
    assert ask(server, "/tx/zz") == (400, "text/plain", b"Invalid hex string")
    assert ask(server, "/nowhere") == (404, "text/plain", b'endpoint does not exist "/nowhere"')
    assert ask_json(server, f"/tx/{HASH}/outspend/0") == {"spent": False}
    node.mine()
    assert ask_json(server, f"/tx/{txid}/status")["block_height"] == node.rpc("getblockcount")


def test_the_stand_in_answers_many_at_once_while_the_chain_moves(node: RegtestNode, server: EsploraServer) -> None:
    address = str(node.rpc("decodescript", "0014" + secrets.token_hex(20))["address"])  # not the bank's
    script = sha256(script_of(node, address)).hexdigest()

    def work(_: int) -> None:
        for _ in range(8):
            sums = ask_json(server, f"/scripthash/{script}")
            held = sums["chain_stats"]["funded_txo_sum"] + sums["mempool_stats"]["funded_txo_sum"]
            assert held in range(0, 40_001, 10_000)
            assert ask(server, f"/block-height/{ask(server, '/blocks/tip/height')[2].decode()}")[0] == 200

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(work, n) for n in range(4)]
        for _ in range(4):
            node.pay(address, 10_000)
            node.mine()
        for done in asking:
            done.result(30)
    assert sum(coin["value"] for coin in ask_json(server, f"/scripthash/{script}/utxo")) == 40_000
