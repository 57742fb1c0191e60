"""How soon a payment is seen, and what watching costs while nothing happens: a part of `bench.watch`, which says what
each figure means. Medians of real payments through real processes, and of real rounds.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright
from sqlalchemy import insert, update

from crowdfund.accounts import people
from crowdfund.campaigns import service
from crowdfund.campaigns.drafts import Draft
from crowdfund.campaigns.models import Block, Campaign, Coin, Pledge
from crowdfund.chain.backends import watched_backend
from crowdfund.chain.regtest import RegtestNode
from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.processes import Children, seed_file, wait_for
from crowdfund.wallet.keystore import create_seed
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.worker import Worker
from support.browser import FLAGS, chromium_path
from support.node import new_address, new_node

PAYMENTS = 31
TICKS = 60
PATIENCE_MS = 10_000
# The page notes the moment by the clock that this program reads, too.
NOTE = """() => new Promise((resolve) => {
  const shown = () => document.body.innerText.includes("on its way");
  const look = () => shown() && resolve(performance.timeOrigin + performance.now());
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
  look();
})"""


@dataclass(frozen=True)
class Installation:
    """A node, and everything that one data folder needs to be a site."""

    node: RegtestNode
    settings: Settings
    database: Database


def measure(folder: Path, say: Callable[[str], None]) -> dict[str, float]:
    """All figures of this file. Raises WorldError where node or browser are missing."""
    results: dict[str, float] = {}
    for key, wake in (("seen_ms_zmq", True), ("seen_ms_poll", False)):
        say(f"{PAYMENTS} payments, {'with' if wake else 'without'} the node's wake-up call")
        with _installation(folder / key, wake) as found:
            results[key] = _seen_ms(found)
    for key, pledges in (("idle_tick_ms_10k", 10_000), ("idle_tick_ms_100k", 100_000)):
        say(f"{TICKS} rounds of a worker with {pledges:,} paid pledges")
        with _installation(folder / key, wake=False) as found:
            results[key] = _idle_tick_ms(found, pledges)
    results["idle_growth"] = round(results["idle_tick_ms_100k"] / results["idle_tick_ms_10k"], 2)
    return results


@contextmanager
def _installation(folder: Path, wake: bool) -> Iterator[Installation]:
    with new_node(folder / "node") as node:
        settings = Settings.from_env(
            {
                "CROWDFUND_DATA_DIR": str(folder / "data"),
                "CROWDFUND_BITCOIND_URL": node.rpc_url,
                "CROWDFUND_BITCOIND_COOKIE_FILE": str(node.cookie_file),
                "CROWDFUND_BITCOIND_ZMQ_URL": node.zmq_url if wake else "",
                "CROWDFUND_BASE_URL": f"http://127.0.0.1:{_free_port()}",
                "CROWDFUND_SECRET_KEY": "a key for measuring only, 32 letters",
            }
        )
        create_seed(seed_file(settings))
        database = Database(settings.database_url)
        database.upgrade()
        try:
            yield Installation(node, settings, database)
        finally:
            database.close()


def _seen_ms(found: Installation) -> float:
    with _running(found), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(FLAGS))
        page = browser.new_page()
        campaign_id = _campaign(found)
        taken = [_one_payment(found, campaign_id, page) for _ in range(PAYMENTS)]
        browser.close()
    return round(statistics.median(taken), 1)


def _one_payment(found: Installation, campaign_id: str, page: Page) -> float:
    """Milliseconds from the node's acceptance to the page."""
    sats = 50_000
    pledge_id = service.open_pledge(found.database, found.settings, campaign_id, sats, new_address(found.node), "", "")
    with found.database.reading() as session:
        address = session.get_one(Pledge, pledge_id).address
    page.goto(f"{found.settings.base_url}/p/{pledge_id}")
    raw = found.node.bank("createrawtransaction", [], [{str(address): f"{sats / 10**8:.8f}"}])
    funded = found.node.bank("fundrawtransaction", raw)["hex"]
    signed = found.node.bank("signrawtransactionwithwallet", funded)["hex"]
    time.sleep(0.7 + (hash(pledge_id) % 400) / 1000)  # the page is quiet, and polling is met at any moment
    page.evaluate(f"window.seenAt = ({NOTE})(); 0")
    began = time.time()
    found.node.rpc("sendrawtransaction", signed)
    return float(page.evaluate("window.seenAt")) - began * 1000


@contextmanager
def _running(found: Installation) -> Iterator[None]:
    """Signer, worker and web as processes of their own, as in an installation."""
    logs = found.settings.data_dir / "log"
    logs.mkdir(parents=True)
    port = found.settings.base_url.rpartition(":")[2]
    children = Children(found.settings)
    try:
        for name, arguments in (("signer", ()), ("worker", ()), ("serve", ("--port", port))):
            children.start(name, *arguments, log_file=logs / f"{name}.log")
        wait_for(lambda: _is_ready(found), f"The site did not come up; see {logs}.")
        yield
    finally:
        children.stop()


def _is_ready(found: Installation) -> bool:
    with found.database.reading() as session:
        return service.account_stock(session)[1] > 0


def _campaign(found: Installation) -> str:
    """A published campaign's id."""
    draft = Draft(
        title="A seed drill", summary="Drawings.", story="By hand.", goal_sats=10**9, deadline_at=_soon(found),
        payout_address=new_address(found.node), project_url="https://example.org", license="MIT",
    )  # fmt: skip
    with found.database.transaction() as session:
        creator_id = people.sign_up(session, "alice", "correct horse battery", datetime.now(UTC)).id
        campaign = service.save_draft(session, found.settings, creator_id, draft)
        return service.publish(session, found.settings, creator_id, campaign.id).id


def _soon(found: Installation) -> datetime:
    return datetime.fromtimestamp(found.node.status()["median_time_past"], UTC) + timedelta(days=9)


def _idle_tick_ms(found: Installation, pledges: int) -> float:
    backend = watched_backend(found.settings)
    worker = Worker(found.database, backend, SignerClient(found.settings.signer_socket), found.settings.network)
    children = Children(found.settings)
    children.start("signer")
    try:
        wait_for(found.settings.signer_socket.exists, "The signer did not come up.")
        while worker.round():
            pass
        _fill(found, _campaign(found), pledges)
        while worker.round():
            pass
        return _median_round_ms(worker)
    finally:
        children.stop()
        backend.close()


def _median_round_ms(worker: Worker) -> float:
    taken = []
    for _ in range(TICKS):
        began = time.perf_counter()
        if worker.round():
            raise RuntimeError("something happened in a round that was to be idle")
        taken.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(taken), 2)


def _fill(found: Installation, campaign_id: str, count: int) -> None:
    """Paid and confirmed pledges, straight into the books."""
    now = datetime.now(UTC)
    with found.database.transaction() as session:
        tip = session.query(Block).order_by(Block.height.desc()).first()
        if tip is None:
            raise RuntimeError("no block was read")
        names = [sha256(f"{n}".encode()) for n in range(count)]
        pledges: list[dict[str, Any]] = [
            {
                "id": name.hexdigest(), "campaign_id": campaign_id, "index": n, "address": name.hexdigest(),
                "script": b"\0\x14" + name.digest()[:20], "amount_sats": 50_000, "refund_address": "", "name": "",
                "refund_script": b"", "message": "", "created_at": now, "registered": True,
            }
            for n, name in enumerate(names)
        ]  # fmt: skip
        coins: list[dict[str, Any]] = [
            {
                "pledge_id": name.hexdigest(), "txid": name.hexdigest(), "vout": 0, "value_sats": 50_000,
                "coinbase": False, "first_seen_at": now, "in_mempool": False, "height": tip.height,
                "block_hash": tip.hash,
            }
            for name in names
        ]  # fmt: skip
        session.execute(insert(Pledge), pledges)
        session.execute(insert(Coin), coins)
        session.execute(update(Campaign).where(Campaign.id == campaign_id).values(next_index=count))


def _free_port() -> int:

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
