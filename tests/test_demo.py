"""The demo as its users start, stop, kill and start it again; and the story, which must not end well on a lie."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from crowdfund.campaigns.ledger import Bucket
from crowdfund.chain.regtest import RegtestNode
from crowdfund.demo import story
from crowdfund.demo.client import ApiClient
from crowdfund.demo.house import open_house
from crowdfund.demo.story import Ending, differences
from support.node import wrapper_script

PATIENCE_S = 90


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a demo that knows where its node's program is and keeps its notes in a folder of its own."""
    folder = tmp_path_factory.mktemp("notes")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CROWDFUND_")}
    program = wrapper_script(folder / "bin" / "bitcoind")
    return {**kept, "CROWDFUND_BITCOIND": str(program), "CROWDFUND_CACHE_DIR": str(folder / "cache")}


class Demo:
    """`crowdfund demo` in a process of its own."""

    def __init__(self, folder: Path, env: dict[str, str], port: int) -> None:
        self.folder, self.port, self.url = folder, port, f"http://127.0.0.1:{port}"
        self.said = folder.with_suffix(".said")
        command = [sys.executable, "-m", "crowdfund", "demo", "--data-dir", str(folder), "--port", str(port)]
        with self.said.open("w") as output:
            self.process = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT)

    def wait_for_address(self) -> None:
        """Wait until it has printed where to look."""
        wait_until(lambda: f"Open {self.url}" in self.said.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.said.read_text()

    def end(self, number: signal.Signals) -> int:
        """Send the signal to it alone and wait; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def get(self, path: str) -> str:
        """A page."""
        with urllib.request.urlopen(self.url + path, timeout=20) as answer:
            return str(answer.read().decode())


@contextmanager
def demo(folder: Path, env: dict[str, str], port: int) -> Iterator[Demo]:
    """A demo that prints its address; whatever the test does to it, it is gone at the end."""
    running = Demo(folder, env, port)
    try:
        running.wait_for_address()
        yield running
    finally:
        if running.process.poll() is None:
            running.end(signal.SIGTERM)


def processes_of(folder: Path) -> list[str]:
    """All live processes that work in this folder, by command line or environment: node, signer, worker, web."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes()
            text = command + b"\0" + (path / "environ").read_bytes() + b"\0"
        except OSError:
            continue
        if any(f"{mark}{folder}".encode() in text for mark in ("-datadir=", "CROWDFUND_DATA_DIR=", "--data-dir\0")):
            found.append(command.replace(b"\0", b" ").decode())
    return found


def wait_until(ready: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    give_up = time.monotonic() + patience_s
    while not ready():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_demo_serves_stops_and_goes_on_where_it_was(tmp_path: Path, env: dict[str, str]) -> None:
    folder = tmp_path / "demo"
    with demo(folder, env, free_port()) as first:
        assert "Log in as alice" in first.said.read_text()
        titles = [c["title"] for c in ApiClient(first.url).get("/campaigns")["campaigns"]]
        assert len(titles) == 4 and all(title in first.get("/campaigns") for title in titles)
        states = [c["state"] for c in ApiClient(first.url).get("/campaigns")["campaigns"]]
        assert sorted(states) == ["open", "open", "refunded", "released"]
        campaigns_are_complete(first)
        names = " ".join(processes_of(folder))
        assert all(part in names for part in ("bitcoind", "signer", "worker", "notify", "serve")), names
        before = ApiClient(first.url).get("/campaigns")["campaigns"][0]
        assert first.end(signal.SIGINT) == 0
        assert "Stopping" in first.said.read_text() and "Traceback" not in first.said.read_text()
        assert not processes_of(folder)
    started = time.monotonic()
    with demo(folder, env, first.port) as again:  # the same port: it was let go
        took_s = time.monotonic() - started
        assert "Going on where the demo was left" in again.said.read_text()
        assert "Writing example campaigns" not in again.said.read_text()
        assert took_s < 30
        after = ApiClient(again.url).get("/campaigns")["campaigns"][0]
        unmoved = ("id", "terms", "descriptor", "counted_sats", "seen_sats", "buckets", "pledge_count")
        assert {name: after[name] for name in unmoved} == {name: before[name] for name in unmoved}
        a_second_one_is_refused(again, env, tmp_path / "other")
        leave_no_orphans(again)


def campaigns_are_complete(running: Demo) -> None:
    """Each campaign has pictures that are served, news, answers, and a project with people; the sums are as told."""
    client = ApiClient(running.url)
    percents = {}
    for each in client.get("/campaigns")["campaigns"]:
        path = f"/campaigns/{each['id']}"
        campaign, said = client.get(path), client.get(f"{path}/talk")
        percents[campaign["state"], each["counted_sats"] * 100 // each["goal_sats"]] = campaign["title"]
        for picture in campaign["pictures"]:
            with urllib.request.urlopen(picture["url"], timeout=20) as answer:
                assert answer.headers["Content-Type"] == "image/webp" and len(answer.read()) > 10_000
        assert campaign["pictures"] and all(len(picture["alt"]) > 20 for picture in campaign["pictures"])
        assert client.get(f"{path}/updates")["updates"] and any(q["answers"] for q in said["questions"])
        assert said["comments"] and campaign["risks"] and campaign["about"]
        project = running.get(campaign["project"]["url"])
        assert all(
            words in project
            for words in ("git.example.org", "owner", "editor" if "Drift" not in project else "treasurer")
        )
    assert [state for state, _ in sorted(percents)] == ["open", "open", "refunded", "released"]
    assert [percent for _, percent in sorted(percents)] == [52, 90, 5, 109]
    hardware = next(c for c in client.get("/campaigns")["campaigns"] if "any village" in c["title"])
    wanted = client.get(f"/campaigns/{hardware['id']}")
    assert [need["accepted"] for need in wanted["needs"]] == [2, 15, 0]
    assert [reward["left"] for reward in wanted["rewards"]] == [7, 2]
    delivered = client.get(
        f"/campaigns/{next(c['id'] for c in client.get('/campaigns')['campaigns'] if c['outcome'] == 'funded')}"
    )
    assert [piece["state_now"] for piece in delivered["deliverables"]] == ["there", "planned", "there"]


def leave_no_orphans(running: Demo) -> None:
    """Killed without a word, it takes node, signer, worker and web with it."""
    assert running.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not processes_of(running.folder), 15)


def a_second_one_is_refused(first: Demo, env: dict[str, str], other: Path) -> None:
    """In the same folder, or on the same port; and leaves this one alone."""
    for data_dir, port, part in (
        (first.folder, free_port(), "already"),
        (other, first.port, f"Port {first.port} is in use; choose another one with --port."),
    ):
        said = refusal(data_dir, env, port)
        assert part in said and "Traceback" not in said, said
    node = RegtestNode.attach(first.folder)
    node.mine()
    client = ApiClient(first.url)
    client.wait("/campaigns", lambda c: c["campaigns"][0]["as_of"]["height"] == node.status()["height"], "a block")
    assert '"status":"ok"' in first.get("/healthz")


def refusal(folder: Path, env: dict[str, str], port: int) -> str:
    """What a demo says that cannot start."""
    command = [sys.executable, "-m", "crowdfund", "demo", "--data-dir", str(folder), "--port", str(port)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    return done.stdout + done.stderr


def test_the_story_accounts_for_every_satoshi(env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "crowdfund", "demo", "--story", "--port", str(free_port())]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("Every satoshi is accounted for.\n")
    assert "is funded as of block" in done.stdout and "is failed as of block" in done.stdout
    assert done.stdout.count("all holds") == 2 and "WRONG" not in done.stdout


GOOD = Ending(
    title="A drill",
    outcome="funded",
    counted_sats=1_000_000,
    received_sats=1_055_700,
    pledges_received_sats=1_055_700,
    buckets={**dict.fromkeys(Bucket, 0), "dust": 700, "paid_out": 999_000, "refunded": 54_800, "miner_fee": 1_200},
    node_paid_sats=1_055_700,
    node_late_sats=55_000,
    node_payout_sats=999_000,
    node_refunds_sats=54_800,
    node_fees_sats=1_200,
)
FIGURES = [field.name for field in fields(Ending) if field.name.endswith("_sats")]


def test_the_storys_judge_is_content_with_right_sums() -> None:
    assert differences(GOOD) == []
    assert len(FIGURES) == 8 and set(GOOD.buckets) == set(Bucket)


@pytest.mark.parametrize("change", [1, -1])
@pytest.mark.parametrize("name", FIGURES)
def test_the_storys_judge_misses_no_satoshi_in_any_figure(name: str, change: int) -> None:
    wrong = replace(GOOD, **{name: getattr(GOOD, name) + change})
    assert differences(wrong), name


@pytest.mark.parametrize("change", [1, -1])
@pytest.mark.parametrize("bucket", list(Bucket))
def test_the_storys_judge_misses_no_satoshi_in_any_bucket(bucket: Bucket, change: int) -> None:
    assert differences(replace(GOOD, buckets={**GOOD.buckets, bucket: GOOD.buckets[bucket] + change}))


@pytest.mark.parametrize("taken", ["dust", "paid_out", "refunded", "miner_fee"])
@pytest.mark.parametrize("given", list(Bucket))
def test_the_storys_judge_sees_a_satoshi_in_the_wrong_bucket(taken: str, given: Bucket) -> None:
    moved = {**GOOD.buckets, taken: GOOD.buckets[Bucket(taken)] - 1}
    moved[given] = moved[given] + 1
    assert bool(differences(replace(GOOD, buckets=moved))) == (taken != given)


class Liar(ApiClient):
    """Says one satoshi more than the site does, once a campaign has ended."""

    def get(self, path: str) -> Any:
        """GET, and lie."""
        answer = super().get(path)
        if path.startswith("/campaigns/") and not path.endswith("/audit") and answer["state"] == "refunded":
            answer["buckets"]["refunded"] += 1
        return answer


@pytest.mark.long
def test_the_story_does_not_end_well_on_a_lie(
    tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("CROWDFUND_BITCOIND", "CROWDFUND_CACHE_DIR"):
        monkeypatch.setenv(name, env[name])
    with open_house(tmp_path, free_port(), print) as house:
        liar = Liar(house.settings.base_url, house.client._token)
        assert story.play(replace(house, client=liar)) == 1
    said = capsys.readouterr().out
    assert said.endswith("Not every satoshi is accounted for.\n")
    assert "refunded is what reached the refund addresses" in said
