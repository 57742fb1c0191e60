"""The Electrum backend against a real ElectrumX on a real node, with and without TLS."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from crowdfund.chain.electrum import ElectrumBackend
from crowdfund.chain.electrum_client import Refused
from crowdfund.chain.port import HistoryItem, ScriptBackend, Sent, Unreachable, WrongAnswer
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.blocks import MERKLE_ROOT, parse_tx
from crowdfund.wallet.merkle import verify_branch
from support.electrumx import ElectrumX, find_python
from support.node import new_address

SOME = b"\x00\x14" + b"\x07" * 20


@pytest.fixture(scope="module")
def server(node: RegtestNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ElectrumX]:
    with ElectrumX.start(node, tmp_path_factory.mktemp("electrumx"), tls=True) as running:
        yield running


@pytest.fixture
def backend(server: ElectrumX) -> Iterator[ElectrumBackend]:
    server.wait_until_even()
    made = ElectrumBackend(server.url, "regtest")
    yield made
    made.close()


@pytest.fixture(params=["tcp", "tls"])
def either(request: pytest.FixtureRequest, server: ElectrumX) -> Iterator[ElectrumBackend]:
    server.wait_until_even()
    tls = request.param == "tls"
    made = ElectrumBackend(server.tls_url if tls else server.url, "regtest", server.ca_file if tls else None)
    yield made
    made.close()


def until(true: Callable[[], bool], what: str, seconds: float = 15) -> None:
    """Wait for what the server will tell; its news are not at once."""
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up, what
        time.sleep(0.02)


def script_of(node: RegtestNode, address: str) -> bytes:
    return bytes.fromhex(node.rpc("validateaddress", address)["scriptPubKey"])


def new_script(node: RegtestNode) -> tuple[str, bytes]:
    address = new_address(node)
    return address, script_of(node, address)


def mine(node: RegtestNode, server: ElectrumX, *txids: str) -> str:
    """A block with these transactions alone, read by the server."""
    found = str(node.rpc("generateblock", new_address(node), list(txids))["hash"])
    server.wait_until_even()
    return found


def heights(backend: ElectrumBackend, script: bytes) -> dict[str, int]:
    return {item.txid: item.height for item in backend.histories()[script]}


def raw_tx(node: RegtestNode, txid: str) -> bytes:
    return bytes.fromhex(node.rpc("getrawtransaction", txid))


def vout_of(node: RegtestNode, txid: str, script: bytes) -> int:
    return next(n for n, (_, s) in enumerate(parse_tx(raw_tx(node, txid)).outputs) if s == script)


def test_it_is_what_the_port_asks_for(backend: ElectrumBackend) -> None:
    fulfilled: ScriptBackend = backend
    assert fulfilled.name.startswith("Electrum server at 127.0.0.1:")


def test_status_hashes_and_headers_are_the_nodes(node: RegtestNode, either: ElectrumBackend) -> None:
    told, status = node.rpc("getblockchaininfo"), either.status()
    tip = int(told["blocks"])
    assert (status.height, status.headers, status.tip_hash) == (tip, tip, told["bestblockhash"])
    assert status.genesis_hash == node.rpc("getblockhash", 0) and status.synced
    assert either.block_hash(7) == node.rpc("getblockhash", 7) and either.block_hash(tip) == told["bestblockhash"]
    assert either.block_hash(tip + 1) is None
    headers = either.headers(0, 10_000)
    assert len(headers) == tip + 1 and {len(h) for h in headers} == {80}
    assert headers[-1].hex() == node.rpc("getblockheader", told["bestblockhash"], False)
    assert either.headers(3, 2) == headers[3:5] and either.headers(3, 0) == []
    assert either.headers(tip + 1, 5) == either.headers(tip + 50, 5) == []
    assert either.headers(tip, 5) == headers[-1:]


def test_more_headers_than_one_answer_holds(
    node: RegtestNode, backend: ElectrumBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = backend.headers(0, 100)
    monkeypatch.setattr("crowdfund.chain.electrum.HEADERS_AT_ONCE", 30)
    assert backend.headers(0, 100) == every and len(every) == 100


def test_a_certificate_that_is_not_trusted_is_refused(server: ElectrumX, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"is not trusted .* name a CA file"):
        ElectrumBackend(server.tls_url, "regtest").status()
    by_another_name = server.tls_url.replace("127.0.0.1", "127.0.0.2")
    with pytest.raises(WorldError):
        ElectrumBackend(by_another_name, "regtest", server.ca_file).status()
    with pytest.raises(Unreachable, match=r"CA file .* cannot be read"):
        ElectrumBackend(server.tls_url, "regtest", tmp_path / "none").status()
    (tmp_path / "empty").touch()
    with pytest.raises(Unreachable, match=r"CA file .* cannot be read"):
        ElectrumBackend(server.tls_url, "regtest", tmp_path / "empty").status()


def test_the_wrong_network_the_wrong_door_and_nobody(server: ElectrumX) -> None:
    with pytest.raises(WrongAnswer, match="not on signet"):
        ElectrumBackend(server.url, "signet").status()
    with pytest.raises(Unreachable):
        ElectrumBackend(server.url.replace("tcp", "ssl"), "regtest", timeout_s=0.5).status()
    with pytest.raises(Unreachable, match="cannot be reached"):
        ElectrumBackend("tcp://127.0.0.1:1", "regtest").status()


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:50001", "http://host:1", "tcp://host", "tcp://:50001", "tcp://host:0", "ssl://[::1", "tcp://h:x"],
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(UserError, match="must look like"):
        ElectrumBackend(url, "regtest")


def test_an_address_with_brackets_keeps_them() -> None:
    assert ElectrumBackend("ssl://[::1]:50002", "regtest").name == "Electrum server at [::1]:50002"


def test_a_payment_from_the_mempool_to_a_block(node: RegtestNode, server: ElectrumX, either: ElectrumBackend) -> None:
    address, script = new_script(node)
    either.watch([script])
    assert either.histories() == {script: ()}
    txid = node.pay(address, 50_000)
    until(lambda: heights(either, script) == {txid: 0}, "the payment is seen")
    either.watch([script, SOME])
    assert either.histories()[SOME] == ()
    tip = either.status().height
    mine(node, server, txid)
    until(lambda: heights(either, script) == {txid: tip + 1}, "the payment is confirmed")
    late = ElectrumBackend(server.url, "regtest")
    late.watch([script])
    assert late.histories() == {script: (HistoryItem(txid, tip + 1),)}, "what was before the subscription counts"
    late.close()


def test_a_payment_whose_fee_is_raised_is_another(
    node: RegtestNode, server: ElectrumX, backend: ElectrumBackend
) -> None:
    address, script = new_script(node)
    backend.watch([script])
    first = node.pay(address, 60_000)
    until(lambda: heights(backend, script) == {first: 0}, "the payment is seen")
    second = str(node.bank("bumpfee", first)["txid"])
    until(lambda: heights(backend, script) == {second: 0}, "the replacement is seen")
    mine(node, server, second)
    until(lambda: heights(backend, script)[second] > 0, "the replacement is confirmed")


def test_a_reorganisation_takes_a_confirmation_and_gives_it_back(
    node: RegtestNode, server: ElectrumX, backend: ElectrumBackend
) -> None:
    address, script = new_script(node)
    backend.watch([script])
    txid = node.pay(address, 70_000)
    old = mine(node, server, txid)
    height = backend.status().height
    until(lambda: heights(backend, script) == {txid: height}, "confirmed")
    node.rpc("invalidateblock", old)
    node.rpc("generateblock", new_address(node), [])
    mine(node, server)
    until(lambda: heights(backend, script) == {txid: 0}, "back in the mempool")
    status = backend.status()
    assert (status.height, status.tip_hash) == (height + 1, node.rpc("getbestblockhash"))
    assert backend.block_hash(height) == node.rpc("getblockhash", height) != old
    with pytest.raises(Refused, match="not in block"):
        backend.proofs([HistoryItem(txid, height)])
    mine(node, server, txid)
    until(lambda: heights(backend, script) == {txid: height + 2}, "confirmed elsewhere")


def test_a_branch_is_read_once_it_is_higher(node: RegtestNode, server: ElectrumX, backend: ElectrumBackend) -> None:
    before = backend.status()
    node.rpc("invalidateblock", before.tip_hash)
    unread = str(node.rpc("generateblock", new_address(node), [])["hash"])
    assert unread != before.tip_hash and backend.status() == before
    mine(node, server)
    after = backend.status()
    assert after.height == before.height + 1 and after.tip_hash == node.rpc("getbestblockhash")
    assert backend.block_hash(before.height) == unread


def test_a_server_that_was_away_tells_what_came_meanwhile(
    node: RegtestNode, server: ElectrumX, backend: ElectrumBackend
) -> None:
    (one, first), (two, second) = new_script(node), new_script(node)
    backend.watch([first])
    paid = node.pay(one, 80_000)
    until(lambda: heights(backend, first) == {paid: 0}, "seen")
    server.stop()
    for ask in (backend.histories, backend.status, lambda: backend.watch([second])):
        with pytest.raises(Unreachable) as away:
            ask()
        assert away.value.retryable
    node.rpc("generateblock", new_address(node), [paid])
    late = node.pay(two, 81_000)
    server.restart()
    until(lambda: heights(backend, second) == {late: 0}, "subscribed although the server was away when asked")
    assert heights(backend, first) == {paid: backend.status().height}
    again = node.pay(one, 82_000)
    until(lambda: heights(backend, first).get(again) == 0, "subscribed anew")
    backend.close()
    mine(node, server, late, again)
    until(lambda: heights(backend, first)[again] > 0, "a closed connection is opened again")


def test_transactions_and_their_proofs(node: RegtestNode, server: ElectrumX, either: ElectrumBackend) -> None:
    paid = [node.pay(new_address(node), 10_000 + n) for n in range(5)]
    found = either.transactions([paid[0], "00" * 32, paid[1]])
    assert found == {txid: raw_tx(node, txid) for txid in paid[:2]}, "unconfirmed ones, but no unknown ones"
    mine(node, server, *paid)
    height = either.status().height
    block = node.rpc("getblock", node.rpc("getbestblockhash"))
    items = [HistoryItem(txid, height) for txid in block["tx"]]
    root = either.headers(height, 1)[0][MERKLE_ROOT][::-1].hex()
    for item, (branch, position) in zip(items, either.proofs(items), strict=True):
        assert verify_branch(item.txid, branch, position) == root == block["merkleroot"]
        assert block["tx"][position] == item.txid
    assert either.transactions([]) == {} and either.proofs([]) == []


def test_unspent_coins_are_those_of_the_nodes_own_scan(
    node: RegtestNode, server: ElectrumX, backend: ElectrumBackend
) -> None:
    kept, going, gone, waiting = (new_script(node) for _ in range(4))
    paid = [node.pay(a, 100_000 + n) for n, (a, _) in enumerate((kept, going, gone))] + [node.pay(kept[0], 5_000)]
    mine(node, server, *paid)
    coinbase_script = script_of(node, reward := new_address(node))
    node.rpc("generateblock", reward, [])
    spend(node, paid[2], gone[1], confirmed=True)
    server.wait_until_even()
    spend(node, paid[1], going[1], confirmed=False)
    node.pay(waiting[0], 9_000)
    backend.watch([waiting[1], going[1]])
    until(
        lambda: len(heights(backend, waiting[1])) == 1 and len(heights(backend, going[1])) == 2, "the mempool is read"
    )
    scripts = [kept[1], going[1], gone[1], waiting[1], coinbase_script, SOME]
    tip, coins = backend.unspent(scripts)
    scan = node.rpc("scantxoutset", "start", [f"raw({s.hex()})" for s in scripts])
    assert tip == scan["bestblock"]
    assert {(c.txid, c.vout, c.value_sats, c.script, c.coinbase, c.height) for c in coins} == {
        (
            u["txid"],
            u["vout"],
            int(u["amount"] * 100_000_000),
            bytes.fromhex(u["scriptPubKey"]),
            u["coinbase"],
            u["height"],
        )
        for u in scan["unspents"]
    }
    assert len(coins) == 4 and [c.coinbase for c in coins].count(True) == 1
    assert paid[1] in {c.txid for c in coins}, "an unconfirmed spend takes nothing away yet"
    assert backend.unspent([]) == (tip, [])


def spend(node: RegtestNode, txid: str, script: bytes, *, confirmed: bool) -> str:
    """Spend the output of `txid` that pays `script`, to the bank itself."""
    chosen = [{"txid": txid, "vout": vout_of(node, txid, script)}]
    options = {"inputs": chosen, "add_inputs": False, "subtract_fee_from_outputs": [0]}
    value = next(v for v, s in parse_tx(raw_tx(node, txid)).outputs if s == script)
    amount = f"0.{value:08d}"
    spender = str(node.bank("send", [{new_address(node): amount}], None, "unset", None, options)["txid"])
    if confirmed:
        node.rpc("generateblock", new_address(node), [spender])
    return spender


def test_who_spends_a_coin(node: RegtestNode, server: ElectrumX, backend: ElectrumBackend) -> None:
    address, script = new_script(node)
    paid, other = node.pay(address, 90_000), node.pay(address, 91_000)
    mine(node, server, paid, other)
    coin, kept = (paid, vout_of(node, paid, script)), (other, vout_of(node, other, script))
    asked = [coin, kept, ("00" * 32, 0), (paid, 99)]
    assert backend.spenders(asked) == {} == backend.spenders([])
    spender = spend(node, paid, script, confirmed=False)
    until(lambda: coin in backend.spenders(asked), "the spender is seen")
    found = backend.spenders(asked)
    assert list(found) == [coin] and (found[coin].txid, found[coin].height) == (spender, None)
    mine(node, server, spender)
    assert backend.spenders([coin])[coin].height == backend.status().height


def test_what_becomes_of_a_broadcast(node: RegtestNode, server: ElectrumX, backend: ElectrumBackend) -> None:
    coin = next(c for c in node.bank("listunspent") if c["amount"] > 1)
    spent = [{"txid": coin["txid"], "vout": coin["vout"]}]

    def signed(less_sats: int) -> bytes:
        amount = f"{coin['amount'] - Decimal(less_sats) / 100_000_000:.8f}"
        raw = node.bank("createrawtransaction", spent, [{new_address(node): amount}])
        return bytes.fromhex(node.bank("signrawtransactionwithwallet", raw)["hex"])

    refused = backend.broadcast(signed(0))
    assert refused.sent is Sent.REFUSED and refused.reason.startswith("min relay fee not met")
    good = signed(10_000)
    assert backend.broadcast(good).sent is Sent.ACCEPTED
    assert backend.broadcast(good).sent in (Sent.ACCEPTED, Sent.KNOWN), "told twice is as good as once"
    rival = backend.broadcast(signed(10_000))
    assert rival.sent is Sent.REFUSED and "insufficient fee" in rival.reason
    mine(node, server, parse_tx(good).txid)
    assert backend.broadcast(good).sent is Sent.KNOWN
    assert backend.broadcast(signed(20_000)).sent is Sent.INPUTS_GONE
    for garbage in (b"\x00\x01", b"", os.urandom(80)):
        answer = backend.broadcast(garbage)
        assert answer.sent is Sent.REFUSED and "decode failed" in answer.reason and len(answer.reason) < 200


def test_the_estimate_is_the_nodes(node: RegtestNode, backend: ElectrumBackend) -> None:
    rate = node.rpc("estimatesmartfee", 6).get("feerate")
    assert backend.feerate_sat_vb(6) == (None if rate is None else math.ceil(rate * 100_000))


def test_two_thousand_scripts(node: RegtestNode, server: ElectrumX, either: ElectrumBackend) -> None:
    scripts = [b"\x00\x14" + os.urandom(20) for _ in range(1_999)]
    address, script = new_script(node)
    heard: list[tuple[int, int]] = []
    either.progress = lambda done, total: heard.append((done, total))
    either.watch([*scripts, script])
    assert heard[-1] == (2_000, 2_000) and 1_000 <= heard[0][0] < 2_000
    either.watch(scripts)
    assert len(heard) == 2, "those already watched cost nothing"
    assert len(either.histories()) == 2_000
    txid = node.pay(address, 20_000)
    until(lambda: heights(either, script) == {txid: 0}, "one among many")


def test_another_python_is_looked_for_where_this_one_will_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(WorldError, match=r"3\.11 and 3\.12 only: install one"):
        find_python((3, 14))
