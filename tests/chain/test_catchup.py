"""Scanning in several processes finds what one finds, tells of failures, and leaves no process behind."""

from __future__ import annotations

import functools
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from crowdfund.chain.catchup import BlockPool
from crowdfund.chain.core import CoreBackend
from crowdfund.chain.regtest import RegtestNode
from crowdfund.chain.scan import outpoint_key, scan_block
from crowdfund.errors import WorldError
from crowdfund.wallet.blocks import ParsedTx, parse_tx
from support.block_folder import Folder, Refusal
from support.node import new_address

OWN = [b"\0\x14" + bytes([n]) * 20 for n in range(50)]
STRANGER = b"\0\x14" + b"x" * 20
OLD_COIN = b"o" * 36


def tx(spent: Sequence[bytes], scripts: Sequence[bytes]) -> bytes:
    """A transaction as P2WPKH coins are spent with."""
    inputs = b"".join(key + b"\0" + b"\xfd\xff\xff\xff" for key in spent)
    outputs = b"".join(struct.pack("<Q", 7) + bytes([len(script)]) + script for script in scripts)
    stack = b"\2\x47" + b"\x30" * 71 + b"\x21" + b"\2" * 33
    return (
        b"\2\0\0\0\0\1" + bytes([len(spent)]) + inputs + bytes([len(scripts)]) + outputs + stack * len(spent) + bytes(4)
    )


def write_chain(folder: Path, length: int) -> list[bytes]:
    """Blocks 0, 1, … in which coins of ours are spent one, two and many blocks after they were made."""
    blocks: list[bytes] = []
    coins: list[bytes] = []
    for height in range(length):
        own = OWN[height % len(OWN)]
        txs = [tx([bytes([height, n]) * 18], [STRANGER] * (n % 3 + 1)) for n in range(30)]
        txs.insert(height % 30, tx([bytes([height]) * 36], [STRANGER, own, own, own]))
        made = parse_tx(txs[height % 30]).txid
        for distance, vout in ((1, 1), (2, 2), (11, 3)):
            if height >= distance and (height + distance) % 3:
                spender = tx([b"z" * 36, coins[4 * (height - distance) + vout]], [STRANGER])
                txs.insert(height % 7, spender)
        if height == 5:
            txs.append(tx([OLD_COIN], [STRANGER]))
        coins += [outpoint_key(made, vout) for vout in range(4)]
        blocks.append(struct.pack("<I", height) * 20 + bytes([len(txs)]) + b"".join(txs))
        (folder / f"{height}.block").write_bytes(blocks[-1])
    return blocks


def one_by_one(blocks: Sequence[bytes], scripts: set[bytes], coins: set[bytes]) -> list[tuple[bytes, list[ParsedTx]]]:
    """What a single process finds that learns of each coin at once."""
    known, found = set(coins), []
    for raw in blocks:
        hits = scan_block(raw, scripts, known)
        known |= {outpoint_key(t.txid, n) for t in hits for n, (_, s) in enumerate(t.outputs) if s in scripts}
        found.append((raw[:80], hits))
    return found


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_many_processes_find_what_one_finds(processes: int, tmp_path: Path) -> None:
    expected = one_by_one(write_chain(tmp_path, 60), set(OWN), {OLD_COIN})
    assert sum(len(hits) for _, hits in expected) > 150
    with BlockPool(functools.partial(Folder, tmp_path), set(OWN), {OLD_COIN}, processes) as pool:
        assert list(pool.scan(map(str, range(60)))) == expected
    assert len(list(tmp_path.glob("*.pid"))) == processes
    assert not alive(tmp_path)


def test_few_blocks_and_none(tmp_path: Path) -> None:
    expected = one_by_one(write_chain(tmp_path, 3), set(OWN), set())
    with BlockPool(functools.partial(Folder, tmp_path), dict.fromkeys(OWN).keys(), frozenset()) as pool:
        assert list(pool.scan([])) == []
        assert list(pool.scan(["0", "1", "2"])) == expected
        assert list(pool.scan(["2"])) == expected[2:]


def test_a_backends_error_arrives_as_it_was_and_the_scan_can_go_on(tmp_path: Path) -> None:
    expected = one_by_one(write_chain(tmp_path, 20), set(OWN), set())
    (tmp_path / "9.refused").touch()
    with BlockPool(functools.partial(Folder, tmp_path), set(OWN), set()) as pool:
        got: list[tuple[bytes, list[ParsedTx]]] = []
        with pytest.raises(Refusal, match="later") as raised:
            take(pool, range(20), got)
        assert (raised.value.code, raised.value.retryable) == (7, True)
        assert raised.value.sentence == "The node said: later (7)."
        assert got == expected[:9]
        (tmp_path / "9.refused").unlink()
        assert list(pool.scan(map(str, range(9, 20)))) == expected[9:]


def take(pool: BlockPool, heights: range, into: list[tuple[bytes, list[ParsedTx]]]) -> None:
    """Put what is scanned into a list one by one, so that what came before an error is kept."""
    for scanned in pool.scan(map(str, heights)):
        into.append(scanned)


def test_bytes_that_are_no_block_are_refused(tmp_path: Path) -> None:
    raw = write_chain(tmp_path, 2)[1]
    (tmp_path / "1.block").write_bytes(raw[:-1])
    with (
        BlockPool(functools.partial(Folder, tmp_path), set(OWN), set()) as pool,
        pytest.raises(ValueError, match="early"),
    ):
        list(pool.scan(["0", "1"]))


def test_the_death_of_a_child_is_a_sentence(tmp_path: Path) -> None:
    write_chain(tmp_path, 20)
    (tmp_path / "7.death").touch()
    with (
        BlockPool(functools.partial(Folder, tmp_path), set(OWN), set()) as pool,
        pytest.raises(WorldError, match="has died"),
    ):
        list(pool.scan(map(str, range(20))))
    assert not alive(tmp_path)


PARENT = """
import functools, sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from support.block_folder import Folder
from crowdfund.chain.catchup import BlockPool
with BlockPool(functools.partial(Folder, Path(sys.argv[1])), {b'script'}, set()) as pool:
    list(pool.scan(["0", "1"] * 4))
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_children_end_with_their_parent(how: signal.Signals, tmp_path: Path) -> None:
    write_chain(tmp_path, 2)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), *sys.path], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "ready\n"
        assert len(alive(tmp_path)) == 2
        parent.send_signal(how)
        parent.wait(10)
    give_up = time.monotonic() + 10
    while alive(tmp_path):
        assert time.monotonic() < give_up, "a child goes on"
        time.sleep(0.02)


def alive(folder: Path) -> list[int]:
    """The processes that opened a source on the folder and run."""
    found = []
    for note in folder.glob("*.pid"):
        try:
            if "\nState:\tZ" not in (Path("/proc") / note.stem / "status").read_text():
                found.append(int(note.stem))
        except OSError:
            continue
    return found


def test_blocks_of_a_real_node(node: RegtestNode) -> None:
    for _ in range(12):
        for _ in range(3):
            node.pay(new_address(node), 50_000)
        node.bank("sendmany", "", {new_address(node): "0.0001" for _ in range(9)})
        node.mine()
    backend = CoreBackend(node.rpc_url, node.cookie_file)
    height = node.rpc("getblockcount")
    hashes = [node.rpc("getblockhash", h) for h in range(1, height + 1)]
    blocks = [backend.block(block_hash) for block_hash in hashes]
    backend.close()
    scripts = {script for coin in node.bank("listunspent") for script in [bytes.fromhex(coin["scriptPubKey"])]}
    expected = one_by_one(blocks, scripts, set())
    with BlockPool(functools.partial(CoreBackend, node.rpc_url, node.cookie_file), scripts, set()) as pool:
        assert list(pool.scan(hashes)) == expected
