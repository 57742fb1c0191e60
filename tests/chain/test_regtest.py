"""The private regtest node, on the real program: start, stop, start again, pay, mine, move time."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import UserError, WorldError
from support.node import new_address, new_node, processes_of, shared_binary, wait_until_gone

MAINNET_ADDRESS = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
MONTH = 30 * 86_400


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegtestNode]:
    with new_node(tmp_path_factory.mktemp("node")) as running:
        yield running


def start(data_dir: Path) -> RegtestNode:
    return new_node(data_dir, funded=False)


def state_of(data_dir: Path) -> Path:
    return data_dir / "regtest-node" / "node-state.json"


# --- one running node ---------------------------------------------------------------------------------------


def test_status_tells_how_to_reach_the_node(node: RegtestNode) -> None:
    status = node.status()
    assert set(status) == {
        "rpc_url", "cookie_file", "data_dir", "height", "median_time_past", "pid", "zmq_url"
    }  # fmt: skip
    assert status["rpc_url"].startswith("http://127.0.0.1:")
    assert Path(status["cookie_file"]).read_text().startswith("__cookie__:")
    assert (Path(status["cookie_file"]).stat().st_mode & 0o077) == 0
    assert status["pid"] == node.pid
    assert status["height"] >= 150
    assert processes_of(node.data_dir) == [node.pid]


def test_a_new_chain_does_not_run_ahead_of_the_clock(tmp_path: Path) -> None:
    with new_node(tmp_path) as fresh:
        assert abs(fresh.status()["median_time_past"] - time.time()) < 10
        assert abs(fresh.node_time() - time.time()) < 10


def test_the_node_has_its_indexes_and_no_peers(node: RegtestNode) -> None:
    indexes = node.rpc("getindexinfo")
    assert indexes["txindex"]["synced"] and indexes["basic block filter index"]["synced"]
    network = node.rpc("getnetworkinfo")
    assert (network["connections"], network["localaddresses"]) == (0, [])
    assert node.rpc("getzmqnotifications")[0]["address"] == node.zmq_url


def test_a_payment_is_in_the_mempool_and_a_block_confirms_it(node: RegtestNode) -> None:
    address, height = new_address(node), node.rpc("getblockcount")
    txid = node.pay(address, 123_456_789)
    assert node.rpc("getblockcount") == height
    paid = node.rpc("getrawtransaction", txid, True)["vout"]
    assert [out["value"] for out in paid if out["scriptPubKey"]["address"] == address] == [Decimal("1.23456789")]
    assert txid in node.rpc("getrawmempool")
    (block,) = node.mine()
    assert txid in node.rpc("getblock", block)["tx"]


def test_hundreds_of_payments_need_no_block(node: RegtestNode) -> None:
    # Paid to the bank itself, so that its wallet holds many small coins with long unconfirmed histories.
    address, height = new_address(node), node.rpc("getblockcount")
    txids = {node.pay(address, 10_000 + i) for i in range(200)} | {node.pay(address, 60_000) for _ in range(20)}
    assert txids <= set(node.rpc("getrawmempool"))
    assert node.rpc("getblockcount") == height


def test_a_bank_without_a_usable_coin_asks_for_a_block(tmp_path: Path) -> None:
    with start(tmp_path) as node:
        node.rpc("generatetoaddress", 1, new_address(node))
        node.rpc("generatetodescriptor", 100, "raw(51)")
        with pytest.raises(WorldError, match="mine a block, then pay again"):
            for _ in range(30):
                node.pay(new_address(node), 10_000)
        assert len(node.rpc("getrawmempool")) == 25
        node.mine()
        assert node.pay(new_address(node), 10_000) in node.rpc("getrawmempool")


@pytest.mark.parametrize("address", ["", "bcrt1qqqq", MAINNET_ADDRESS, "bank"])
def test_a_wrong_address_is_refused(node: RegtestNode, address: str) -> None:
    with pytest.raises(UserError, match="is not an address on regtest") as refused:
        node.pay(address, 1000)
    assert refused.value.field == "address"


@pytest.mark.parametrize("amount", [-1, 0, 1, 200])
def test_too_small_an_amount_is_refused(node: RegtestNode, amount: int) -> None:
    with pytest.raises(UserError) as refused:
        node.pay(new_address(node), amount)
    assert refused.value.field == "amount_sats"


def test_a_bank_that_somebody_unloaded_comes_back(node: RegtestNode) -> None:
    node.rpc("unloadwallet", "bank")
    assert node.pay(new_address(node), 50_000) in node.rpc("getrawmempool")


def test_a_refusal_of_the_node_is_a_sentence(node: RegtestNode) -> None:
    with pytest.raises(WorldError, match=r"^The node refused getblockhash: Block height out of range\.$"):
        node.rpc("getblockhash", 10**6)


def test_fewer_than_one_block_is_refused(node: RegtestNode) -> None:
    with pytest.raises(UserError, match="1 or more"):
        node.mine(0)


# --- time ---------------------------------------------------------------------------------------------------


def test_a_jump_passes_the_time_and_the_chain_goes_on_from_there(tmp_path: Path) -> None:
    with new_node(tmp_path) as node:
        waiting, height = node.pay(new_address(node), 70_000), node.rpc("getblockcount")
        deadline = int(time.time()) + MONTH
        assert node.jump_to(deadline) == node.status()["median_time_past"] > deadline
        assert node.rpc("getblockcount") == height + 11
        assert node.rpc("getrawtransaction", waiting, True)["confirmations"] >= 11

        height = node.rpc("getblockcount")
        assert node.jump_to(deadline) > deadline
        assert node.rpc("getblockcount") == height

        before = node.node_time()
        node.mine()
        assert before < node.node_time() < before + 60
        assert node.pay(new_address(node), 70_000) in node.rpc("getrawmempool")


def test_a_jump_to_a_time_no_block_can_bear_is_refused(node: RegtestNode) -> None:
    with pytest.raises(UserError, match="too far away"):
        node.jump_to(2**32)


def test_the_mocked_clock_goes_on_at_the_pace_of_the_real_one(tmp_path: Path) -> None:
    with start(tmp_path) as node:
        node.jump_to(int(time.time()) + MONTH)
        begin, real = node.node_time(), time.time()
        time.sleep(2.2)
        node.mine()
        assert abs((node.node_time() - begin) - (time.time() - real)) <= 1.5


def test_a_node_starts_again_after_a_jump(tmp_path: Path) -> None:
    with start(tmp_path) as node:
        node.jump_to(int(time.time()) + MONTH)
        tip = node.rpc("getbestblockhash")
    with start(tmp_path) as again:
        assert again.rpc("getbestblockhash") == tip
        assert again.node_time() > time.time() + MONTH - 60
        again.mine(3)
        assert again.status()["median_time_past"] >= int(time.time()) + MONTH - 60


def test_a_node_starts_again_after_a_stranger_moved_its_clock(tmp_path: Path) -> None:
    with start(tmp_path) as node:
        node.rpc("setmocktime", int(time.time()) + 3 * MONTH)
        node.rpc("generatetoaddress", 12, new_address(node))
        os.kill(node.pid, signal.SIGKILL)
        wait_until_gone(tmp_path)
    with start(tmp_path) as again:
        assert again.node_time() > time.time() + 3 * MONTH - 60
        again.mine()


def test_a_clock_that_was_set_back_is_mended_by_mining(tmp_path: Path) -> None:
    with start(tmp_path) as node:
        reached = node.jump_to(int(time.time()) + MONTH)
        node.rpc("setmocktime", 0)
        node.mine(3)
        assert node.status()["median_time_past"] >= reached


# --- start, stop, start again -------------------------------------------------------------------------------


def test_a_node_started_again_keeps_its_chain_its_bank_and_its_ports(tmp_path: Path) -> None:
    node = new_node(tmp_path)
    address = new_address(node)
    before = node.status()
    node.stop()
    node.stop()
    assert processes_of(tmp_path) == []
    with pytest.raises(WorldError, match=f"No regtest node runs in {tmp_path}; start one with"):
        RegtestNode.attach(tmp_path)
    with start(tmp_path) as again:
        assert "bank" in again.rpc("listwallets")
        assert again.status() | {"pid": 0} == before | {"pid": 0}
        assert again.bank("getaddressinfo", address)["ismine"]


def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    with start(tmp_path) as node:
        before = node.rpc_url
    with socket.create_server(("127.0.0.1", int(before.rsplit(":", 1)[1]))), start(tmp_path) as again:
        assert again.rpc_url != before
        assert again.status()["height"] == 0


def test_two_starts_at_once_give_one_node(tmp_path: Path) -> None:
    found: list[RegtestNode] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(RegtestNode.start(tmp_path, command=shared_binary(), remember=False))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({node.pid for node in found}) == 1
    assert processes_of(tmp_path) == [found[0].pid]
    found[0].stop()


def test_a_state_file_of_a_dead_node_is_recognised(tmp_path: Path) -> None:
    node = start(tmp_path)
    os.kill(node.pid, signal.SIGKILL)
    wait_until_gone(tmp_path)
    with pytest.raises(WorldError, match="No regtest node runs"):
        RegtestNode.attach(tmp_path)
    with start(tmp_path) as again:
        assert again.pid != node.pid


def test_a_foreign_process_is_neither_attached_to_nor_ended(tmp_path: Path) -> None:
    node = start(tmp_path)
    node.stop()
    with subprocess.Popen(["sleep", "60"]) as foreign:
        state = json.loads(state_of(tmp_path).read_text())
        state_of(tmp_path).write_text(json.dumps(state | {"pid": foreign.pid}))
        with pytest.raises(WorldError, match="No regtest node runs"):
            RegtestNode.attach(tmp_path)
        node.pid = foreign.pid
        node.stop()
        assert foreign.poll() is None
        foreign.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "other": 2}'])
def test_a_broken_state_file_means_no_node(tmp_path: Path, text: str) -> None:
    state_of(tmp_path).parent.mkdir()
    state_of(tmp_path).write_text(text)
    with pytest.raises(WorldError, match="No regtest node runs"):
        RegtestNode.attach(tmp_path)


def test_an_interrupted_start_leaves_no_process(tmp_path: Path) -> None:
    def interrupt(_line: str) -> None:
        assert processes_of(tmp_path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RegtestNode.start(tmp_path, command=shared_binary(), progress=interrupt, remember=False)
    assert processes_of(tmp_path) == []
    start(tmp_path).stop()


def test_a_node_that_refuses_to_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match=r"^The regtest node stopped: Error parsing command line .*-nonsense"):
        new_node(tmp_path, "-nonsense=1", funded=False)
    assert processes_of(tmp_path) == []


def test_a_second_node_without_a_state_file_says_what_holds_the_folder(tmp_path: Path) -> None:
    with start(tmp_path) as node:
        kept = state_of(tmp_path).read_text()
        state_of(tmp_path).unlink()
        with pytest.raises(WorldError, match="stopped: Cannot obtain a lock"):
            start(tmp_path)
        assert node.rpc("getblockcount") == 0
        state_of(tmp_path).write_text(kept)


def test_a_tied_node_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from crowdfund.chain.regtest import RegtestNode\n"
        "RegtestNode.start(Path(sys.argv[1]), command=sys.argv[2:], die_with_parent=True, remember=False)\n"
        "os._exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path), *shared_binary()], check=False)
    assert done.returncode == 7
    wait_until_gone(tmp_path)
