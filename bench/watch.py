"""How fast the watcher reads blocks here, as ratios: python -m bench.watch [--blocks N] [--rounds N]

Everything is measured in one run on the same blocks of a private node, which are made first and thrown away in the
end. What is compared runs in turn, round by round; a ratio is that of the two medians. The limit is what it takes
to fetch the same blocks one after another over one REST connection, and to do nothing with them. The watcher knows
100,000 scripts and 2,000 coins, and each block has some 20 transactions that concern it. The last line is one JSON
object:

rest_ratio_1p          limit / time to fetch and scan typical blocks in one process (1 = no slower than fetching)
rest_ratio_2p          the same with a BlockPool of two processes
rest_ratio_1p_varied   } on blocks with all kinds of inputs and outputs, some of them with dozens
rest_ratio_2p_varied   }
rest_ratio_1p_heavy    } on blocks of 3.8 MB, nearly all of it witness
rest_ratio_2p_heavy    }
scan_ms                time to scan a typical block that is in memory, milliseconds
vs_parse_block         how many times faster that is than blocks.parse_block, which reads every transaction
vs_getblock2           how many times faster it is to fetch and scan a block than `getblock` with verbosity 2 and json
vs_bitcoinlib          how many times faster it is to scan a block than bitcoinlib's Block.parse with transactions
pool_start_s           time until both processes of a BlockPool have answered for the first time, seconds
million_load_s         time to build the set of one million scripts in a fresh process, seconds
million_rss_mb         what that process's memory grows by, megabytes
million_block_s        time to scan one typical block with it, seconds
seen_ms_zmq            from handing a transaction to the node until a real browser shows the open pledge page with it,
                       milliseconds; the node wakes the worker
seen_ms_poll           the same without the node's wake-up call
idle_tick_ms_10k       one round of the worker in which nothing happens, milliseconds, with 10,000 paid pledges
idle_tick_ms_100k      the same with 100,000
idle_growth            the ratio of these two (1 = it does not grow)
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import http.client
import importlib
import json
import logging
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench import ticks
from bench.blocks import Maker, watched_scripts
from crowdfund.chain.bitcoind import find_bitcoind
from crowdfund.chain.catchup import BlockPool
from crowdfund.chain.core import CoreBackend
from crowdfund.chain.regtest import RegtestNode
from crowdfund.chain.scan import scan_block
from crowdfund.wallet.blocks import parse_block

SCRIPTS = 100_000
COINS = 2_000
MILLION = 1_000_000
NODE_ARGUMENTS = ("-txindex=0", "-blockfilterindex=0", "-dbcache=300")


@dataclass(frozen=True)
class Bench:
    """A node with full blocks, and what is watched."""

    node: RegtestNode
    backend: CoreBackend
    scripts: frozenset[bytes]
    coins: frozenset[bytes]
    hashes: dict[str, list[str]]
    rounds: int


def say(line: str) -> None:
    """Progress, apart from the results."""
    print(line, file=sys.stderr, flush=True)


def seconds(task: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def medians(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each task; they run in turn, once each round, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, task in tasks.items():
            taken = seconds(task)
            if number:
                times[name].append(taken)
    return {name: statistics.median(taken) for name, taken in times.items()}


def rest_ratios(bench: Bench) -> dict[str, float]:
    """Limit against one and two processes, for each kind of block."""
    results = {}
    connect = functools.partial(CoreBackend, bench.node.rpc_url, bench.node.cookie_file)
    with BlockPool(connect, bench.scripts, bench.coins, 2) as pool:
        first = bench.hashes["typical"][:2]
        results["pool_start_s"] = seconds(lambda: list(pool.scan(first)))
        for kind, hashes in bench.hashes.items():
            say(f"fetching and scanning {len(hashes)} {kind} blocks, {bench.rounds} rounds")
            taken = medians(
                {
                    "limit": functools.partial(fetch, bench, hashes),
                    "1p": functools.partial(fetch_and_scan, bench, hashes),
                    "2p": functools.partial(scan_in_pool, pool, hashes),
                },
                bench.rounds,
            )
            say("  ms a block: " + ", ".join(f"{n} {t / len(hashes) * 1000:.2f}" for n, t in taken.items()))
            tail = "" if kind == "typical" else f"_{kind}"
            results[f"rest_ratio_1p{tail}"] = taken["limit"] / taken["1p"]
            results[f"rest_ratio_2p{tail}"] = taken["limit"] / taken["2p"]
    return results


def fetch(bench: Bench, hashes: Sequence[str]) -> None:
    """Only transfer."""
    for block_hash in hashes:
        bench.backend.block(block_hash)


def fetch_and_scan(bench: Bench, hashes: Sequence[str]) -> None:
    """What the watcher does with each block."""
    for block_hash in hashes:
        scan_block(bench.backend.block(block_hash), bench.scripts, bench.coins)


def scan_in_pool(pool: BlockPool, hashes: Sequence[str]) -> None:
    """What the watcher does with a long gap."""
    for _ in pool.scan(hashes):
        pass


def against_others(bench: Bench) -> dict[str, float]:
    """One typical block, read by us and by others."""
    block_hash = bench.hashes["typical"][0]
    raw = bench.backend.block(block_hash)
    say("reading one block in other ways")
    taken = medians(
        {
            "scan": lambda: scan_block(raw, bench.scripts, bench.coins),
            "parse_block": lambda: parse_block(raw),
            "fetch and scan": lambda: fetch_and_scan(bench, [block_hash]),
            "getblock 2": lambda: getblock_verbose(bench.node, block_hash),
        },
        bench.rounds,
    )
    logging.disable(logging.ERROR)  # it complains of each random signature
    with contextlib.redirect_stdout(sys.stderr):  # its import prints
        importlib.import_module("crowdfund.wallet.bcl")
        block_class = importlib.import_module("bitcoinlib.blocks").Block
        say("reading it with bitcoinlib, once")
        bitcoinlib = seconds(lambda: block_class.parse(raw, parse_transactions=True))
    return {
        "scan_ms": taken["scan"] * 1000,
        "vs_parse_block": taken["parse_block"] / taken["scan"],
        "vs_getblock2": taken["getblock 2"] / taken["fetch and scan"],
        "vs_bitcoinlib": bitcoinlib / taken["scan"],
    }


def getblock_verbose(node: RegtestNode, block_hash: str) -> object:
    """The block with all transactions, as the node writes them in JSON."""
    parts = urlsplit(node.rpc_url)
    token = base64.b64encode(node.cookie_file.read_bytes().strip()).decode()
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=300)
    with contextlib.closing(connection):
        body = json.dumps({"id": 0, "method": "getblock", "params": [block_hash, 2]})
        connection.request("POST", "/", body, {"Authorization": f"Basic {token}"})
        return json.loads(connection.getresponse().read())["result"]


def a_million(bench: Bench) -> dict[str, float]:
    """One million scripts, in a process that has nothing else."""
    say("watching a million scripts")
    raw = bench.backend.block(bench.hashes["typical"][0])
    packed = b"".join(watched_scripts(MILLION - SCRIPTS, seed=3)) + b"".join(bench.scripts)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(watch_a_million, packed, raw, bench.rounds).result()


def watch_a_million(packed: bytes, raw: bytes, rounds: int) -> dict[str, float]:
    """Runs in the fresh process. `packed` has 22 bytes for each script."""
    before = resident_mb()
    start = time.perf_counter()
    scripts = frozenset(packed[n : n + 22] for n in range(0, len(packed), 22))
    loaded = time.perf_counter() - start
    grown = resident_mb() - before
    block = medians({"block": lambda: scan_block(raw, scripts, frozenset())}, rounds)["block"]
    return {"million_load_s": loaded, "million_rss_mb": grown, "million_block_s": block}


def resident_mb() -> float:
    """Memory of this process, its highest so far where the system does not tell the present."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def make_blocks(node: RegtestNode, typical: int) -> dict[str, list[str]]:
    """Hashes of the blocks to measure with, by kind."""
    maker = Maker(node, watched_scripts(SCRIPTS))
    say(f"making {typical} typical blocks")
    blocks = {"typical": maker.typical(typical)}
    few = max(2, typical // 6)
    say(f"making {few} varied and {few} heavy blocks")
    return blocks | {"varied": maker.varied(few), "heavy": maker.heavy(few)}


def measure(typical: int, rounds: int) -> dict[str, float]:
    """All results, by key."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=memory if memory.is_dir() else None) as folder:
        node = RegtestNode.start(
            Path(folder), command=find_bitcoind(say), extra_args=NODE_ARGUMENTS, die_with_parent=True, remember=False
        )
        with node:
            scripts = watched_scripts(SCRIPTS)
            coins = frozenset(script + script[:14] for script in watched_scripts(COINS, seed=4))
            backend = CoreBackend(node.rpc_url, node.cookie_file)
            bench = Bench(node, backend, frozenset(scripts), coins, make_blocks(node, typical), rounds)
            results = rest_ratios(bench) | against_others(bench) | a_million(bench)
            backend.close()
        return results | ticks.measure(Path(folder) / "ticks", say)


def main() -> None:
    """Measure, print a table, and the JSON object as the last line."""
    parser = argparse.ArgumentParser(description="How fast the watcher reads blocks on this machine.")
    parser.add_argument("--blocks", type=int, default=60, help="typical blocks to make (60)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement (5)")
    chosen = parser.parse_args()
    results = {key: round(value, 4) for key, value in measure(chosen.blocks, chosen.rounds).items()}
    print(f"Watching the chain: {chosen.blocks} typical blocks, {SCRIPTS:,} scripts, medians of {chosen.rounds} rounds")
    for key, value in results.items():
        print(f"  {key:24}{value:>12,.3f}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
