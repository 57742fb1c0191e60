"""A thousand people look at one campaign, and a block pays it a thousand times: python -m bench.viewers [--viewers N]

One server process, started as `crowdfund serve` is, on a database with one campaign. A second process holds a live
stream for each viewer, as their pages would. Then a block with a thousand payments is recorded by the function that the
worker records with; each viewer is told of it, waits as it was told to, and fetches the page, which must show the new
total. Meanwhile this process asks for a page that nobody has kept, again and again. The last line is one JSON object:

viewers_served       viewers that were told, and got a page with the new total
viewer_lag_s         from the commit until the last of them had it, seconds
viewer_median_s      the same for the viewer in the middle
told_s               from the commit until the last of them was told, seconds
connect_s            how long all of them took to come, seconds
page_quiet_ms        an ordinary page that is rendered for each visitor, before: median, milliseconds
page_during_ms       the same from the commit until the last viewer had its page: median
page_worst_ms        the slowest of these
server_cpu_s         processor time of the server from the commit until the last viewer had its page, seconds
rss_before_mb        memory of the server process before anybody came, megabytes
rss_viewers_mb       with all viewers there
rss_after_mb         after it
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sqlalchemy import insert, update

from crowdfund.campaigns import recording
from crowdfund.campaigns.models import Campaign, Pledge
from crowdfund.chain.follow import FoundCoin
from crowdfund.processes import Children, wait_for
from crowdfund.web.filters import number
from crowdfund.web.server import allow_open_files
from support.paper import REFUND, Paper

AMOUNT_SATS = 50_123
AT_ONCE = 100
QUIET_PAGES = 15
PATIENCE_S = 120


@dataclass(frozen=True)
class Scene:
    """What the viewers' process must know: where they look, what they know, and what they are to see."""

    port: int
    campaign_id: str
    since: int
    total: bytes
    viewers: int


@dataclass(frozen=True)
class Seen:
    """When a viewer was told, and when it had the page, by the clock that all processes read."""

    told_at: float
    had_at: float


@dataclass(frozen=True)
class Figures:
    """See the top of this file."""

    viewers_served: int
    viewer_lag_s: float
    viewer_median_s: float
    told_s: float
    connect_s: float
    page_quiet_ms: float
    page_during_ms: float
    page_worst_ms: float
    server_cpu_s: float
    rss_before_mb: float
    rss_viewers_mb: float
    rss_after_mb: float


def measure(viewers: int = 1_000, payments: int = 1_000) -> tuple[int, float]:
    """(viewers that were told and have the page with the new total, seconds until the last of them had it)."""
    figures = figures_of(viewers, payments)
    return figures.viewers_served, figures.viewer_lag_s


def figures_of(viewers: int, payments: int) -> Figures:
    """All figures of one run. Raises WorldError where the server does not come up."""
    allow_open_files()
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=memory if memory.is_dir() else None) as folder,
        Paper(Path(folder)) as paper,
    ):
        _watched(paper)
        campaign_id = paper.campaign(goal_sats=10**9)
        pledges = _pledge(paper, campaign_id, payments)
        with _served(paper) as (port, process):
            return _play(paper, port, process, campaign_id, pledges, viewers)


def _watched(paper: Paper) -> None:
    """The chain is watched, as far as the pages know."""
    with paper.database.transaction() as session:
        recording.set_view(session, "live", "", 2, datetime.now(UTC))


def _play(paper: Paper, port: int, server: int, campaign_id: str, pledges: list[bytes], viewers: int) -> Figures:
    page = f"http://127.0.0.1:{port}/campaigns/{campaign_id}"
    ordinary = f"http://127.0.0.1:{port}/about"
    with urllib.request.urlopen(page) as answer:
        since = int(answer.read().partition(b'data-changes="')[2].partition(b'"')[0])
    quiet = [_page_ms(ordinary) for _ in range(QUIET_PAGES)]
    before_mb = _resident_mb(server)
    total = str(number(AMOUNT_SATS * len(pledges))).encode()
    with _viewers(Scene(port, campaign_id, since, total, viewers)) as line:
        connect_s = line.recv()
        viewers_mb = _resident_mb(server)
        coins = [FoundCoin(sha256(s).hexdigest(), 0, AMOUNT_SATS, s, False, ()) for s in pledges]
        paper.mine(coins)
        committed_at, used_s = time.time(), _cpu_s(server)
        with _asking(ordinary) as during:
            seen: list[Seen] = line.recv() if line.poll(PATIENCE_S) else []
            used_s = _cpu_s(server) - used_s
    had = sorted(each.had_at - committed_at for each in seen)
    return Figures(
        viewers_served=len(seen),
        viewer_lag_s=round(had[-1], 3) if had else 0.0,
        viewer_median_s=round(statistics.median(had), 3) if had else 0.0,
        told_s=round(max((each.told_at for each in seen), default=committed_at) - committed_at, 3),
        connect_s=round(connect_s, 2),
        page_quiet_ms=round(statistics.median(quiet), 1),
        page_during_ms=round(statistics.median(during), 1),
        page_worst_ms=round(max(during), 1),
        server_cpu_s=round(used_s, 2),
        rss_before_mb=before_mb,
        rss_viewers_mb=viewers_mb,
        rss_after_mb=_resident_mb(server),
    )


def _pledge(paper: Paper, campaign_id: str, count: int) -> list[bytes]:
    """Pledges straight into the books; their scripts."""
    names = [sha256(f"{n}".encode()) for n in range(count)]
    scripts = [b"\0\x14" + name.digest()[:20] for name in names]
    rows: list[dict[str, Any]] = [
        {
            "id": name.hexdigest(), "campaign_id": campaign_id, "index": n, "address": name.hexdigest(),
            "script": script, "amount_sats": AMOUNT_SATS, "refund_address": REFUND, "refund_script": script,
            "name": f"Backer {n}", "message": "", "created_at": datetime.now(UTC), "registered": True,
        }
        for n, (name, script) in enumerate(zip(names, scripts, strict=True))
    ]  # fmt: skip
    with paper.database.transaction() as session:
        session.execute(insert(Pledge), rows)
        session.execute(update(Campaign).where(Campaign.id == campaign_id).values(next_index=count))
    return scripts


@contextmanager
def _served(paper: Paper) -> Iterator[tuple[int, int]]:
    """(its port, the id of the process that serves)."""
    port = _free_port()
    children = Children(replace(paper.settings, test_bench=False))  # as on a real site
    try:
        children.start("serve", "--port", str(port), log_file=paper.settings.data_dir / "serve.log")
        wait_for(lambda: _answers(port), "The server did not come up.")
        yield port, _server_process(port)
    finally:
        children.stop()


@contextmanager
def _viewers(scene: Scene) -> Iterator[Connection]:
    """The viewers' process, which says when all are there, and then what they have seen."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_look_on, args=(scene, theirs), daemon=True)
    process.start()
    try:
        yield ours
    finally:
        process.terminate()
        process.join()


@contextmanager
def _asking(address: str) -> Iterator[list[float]]:
    """Ask for the page again and again; how long each took, milliseconds."""
    taken: list[float] = [_page_ms(address)]
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.02):
            taken.append(_page_ms(address))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield taken
    finally:
        stop.set()
        thread.join()


def _page_ms(address: str) -> float:
    began = time.perf_counter()
    with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
        answer.read()
    return (time.perf_counter() - began) * 1000


def _look_on(scene: Scene, line: Connection) -> None:
    """Runs in the viewers' process."""
    allow_open_files()
    asyncio.run(_look_on_together(scene, line))


async def _look_on_together(scene: Scene, line: Connection) -> None:
    began = time.perf_counter()
    gate = asyncio.Semaphore(AT_ONCE)
    streams = [await each for each in asyncio.as_completed([_open(scene, gate) for _ in range(scene.viewers)])]
    line.send(time.perf_counter() - began)
    seen = await asyncio.gather(*(_watch(scene, stream) for stream in streams if stream is not None))
    line.send([each for each in seen if each is not None])


async def _open(scene: Scene, gate: asyncio.Semaphore) -> asyncio.StreamReader | None:
    """A live stream; None where it is refused."""
    async with gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
        _kept.append(writer)
        writer.write(f"GET /live/campaign/{scene.campaign_id}?since={scene.since} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        status = await reader.readline()
        return reader if b" 200 " in status else None


async def _watch(scene: Scene, stream: asyncio.StreamReader) -> Seen | None:
    """Wait until told, and as long as told, and fetch the page; None if the total is not in it."""
    wait_ms, event = 0, b""
    while line := await stream.readline():
        name, _, value = line.strip().partition(b": ")
        if name == b"event":
            event = value
        elif name == b"data" and event == b"spread":
            wait_ms = int(value)
        elif name == b"data" and event == b"changed":
            break
    else:
        return None
    told_at = time.time()
    await asyncio.sleep(wait_ms / 1000)
    page = await _fetch(scene)
    return Seen(told_at, time.time()) if scene.total in page else None


async def _fetch(scene: Scene) -> bytes:
    """The page, over a connection that stays open, as browsers have it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
    writer.write(f"GET /campaigns/{scene.campaign_id} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    page = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
    writer.close()
    return page


_kept: list[asyncio.StreamWriter] = []  # a writer that is forgotten closes its connection


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
            return True
    except OSError:
        return False


def _server_process(port: int) -> int:
    """Of all processes that hold the listening socket the one with the most memory: gunicorn's parent serves nobody."""
    mark = f"--port\0{port}\0".encode()
    found = [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if mark in _content(path)]
    return max(map(int, found), key=_resident_mb)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _resident_mb(process: int) -> float:
    """Memory that the process holds now, megabytes; 0 where the system does not tell."""
    text = _content(Path(f"/proc/{process}/status")).decode()
    return round(int(text.partition("VmRSS:")[2].split()[0]) / 1e3, 1) if "VmRSS:" in text else 0.0


def _cpu_s(process: int) -> float:
    """Processor time that the process has used; 0 where the system does not tell."""
    fields = _content(Path(f"/proc/{process}/stat")).rpartition(b") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Measure, print a table, and the JSON object as the last line."""
    parser = argparse.ArgumentParser(description="How a thousand viewers of one campaign are served.")
    parser.add_argument("--viewers", type=int, default=1_000, help="open pages (1,000)")
    parser.add_argument("--payments", type=int, default=1_000, help="payments in the block (1,000)")
    chosen = parser.parse_args()
    results = asdict(figures_of(chosen.viewers, chosen.payments))
    print(f"{chosen.viewers:,} viewers of one campaign, and a block with {chosen.payments:,} payments to it")
    for key, value in results.items():
        print(f"  {key:24}{value:>12,.3f}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
