"""A whole installation for one test: real node, real database, real signer behind its socket, and a worker.

The worker is stepped by hand (`sync`), so that a test says when the chain is looked at. The cast: alice creates,
bob and carol pledge, mallory is refused.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crowdfund.accounts import people
from crowdfund.campaigns import queries, service
from crowdfund.campaigns.drafts import Draft
from crowdfund.campaigns.models import Campaign, Pledge
from crowdfund.campaigns.queries import Snapshot, Summary
from crowdfund.chain.backends import second_backend, watched_backend
from crowdfund.chain.core import CoreBackend
from crowdfund.chain.regtest import RegtestNode
from crowdfund.config import Settings
from crowdfund.wallet.keystore import Keystore
from crowdfund.wallet.signer import Signer, SignerServer
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.wallet.signer_log import SignerLog
from crowdfund.worker import Worker
from support import fresh, ledger
from support.node import new_address

DAY = timedelta(days=1)
PASSWORD = "correct horse battery"


class World:
    """Everything a trip through the house needs. Use as a context manager."""

    def __init__(self, node: RegtestNode, folder: Path, **settings: str) -> None:
        self.node = node
        self.folder = folder
        self.settings = Settings.from_env(
            {
                "CROWDFUND_DATA_DIR": str(folder),
                "CROWDFUND_BITCOIND_URL": node.rpc_url,
                "CROWDFUND_BITCOIND_COOKIE_FILE": str(node.cookie_file),
                "CROWDFUND_SECRET_KEY": "a key for tests only, thirty-two letters",
                **{f"CROWDFUND_{name}": value for name, value in settings.items()},
            }
        )
        if self.settings.signer == "socket":
            self._start_signer(folder)
        self.database = fresh.database(self.settings.database_url)
        self.backend = watched_backend(self.settings)
        self.second = second_backend(self.settings)
        self.core = CoreBackend(self.settings.bitcoind_url, self.settings.bitcoind_cookie_file)
        self.worker = self.new_worker()
        self._creators = 0

    def __enter__(self) -> Self:
        self.sync()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.settings.signer == "socket":
            self.signer_server.shutdown()
            self.signer_server.server_close()
        self.database.close()
        self.backend.close()
        self.core.close()
        if self.second is not None:
            self.second.close()

    def restart_signer(self) -> None:
        """The signer again, with what it finds on disk."""
        self.signer_server.shutdown()
        self.signer_server.server_close()
        self._start_signer(self.folder)

    def _start_signer(self, folder: Path) -> None:
        seed = folder / "signer" / "seed"
        if not seed.exists():
            fresh.seed(seed)
        signer = Signer(Keystore.open(seed, "regtest"), SignerLog(folder / "signer" / "log.jsonl"), "regtest")
        self.signer_server = SignerServer(signer, self.settings.signer_socket)
        self.serve_signer()

    def serve_signer(self) -> None:
        """Let the signer answer."""
        threading.Thread(target=self.signer_server.serve_forever, args=(0.05,), daemon=True).start()

    def new_worker(self) -> Worker:
        """A worker without memory, as after a restart."""
        signer = SignerClient(self.settings.signer_socket) if self.settings.signer == "socket" else None
        return Worker(self.database, self.backend, signer, "regtest", self.second, second_every_s=0)

    def equip(self, **tools: Any) -> None:
        """The same worker goes on with another `signer` or `backend`, and so do its hands."""
        worker = self.worker
        for holder in (worker, worker._payer, worker._promises, worker._registrar, worker._changer, worker._prover):
            for name in tools.keys() & vars(holder).keys():
                setattr(holder, name, tools[name])

    def sync(self) -> None:
        """Rounds until nothing changes."""
        while self.worker.round():
            pass

    def chain_now(self) -> datetime:
        """The chain's time."""
        return datetime.fromtimestamp(self.node.status()["median_time_past"], UTC)

    def draft(self, **changes: Any) -> Draft:
        """A good draft, with `changes`."""
        values: dict[str, Any] = {
            "title": "A seed drill any village can build",
            "summary": "Drawings, parts list and videos for a hand-pulled seed drill.",
            "story": "Most small farms still sow **by hand**.",
            "goal_sats": 1_000_000,
            "deadline_at": self.chain_now() + 3 * DAY,
            "payout_address": new_address(self.node),
            "project_url": "https://example.org/seed-drill",
            "license": "CERN-OHL-S-2.0",
        }
        return Draft(**{**values, **changes})

    def creator(self, name: str = "") -> int:
        """A new creator's id."""
        self._creators += 1
        with self.database.transaction() as session:
            return people.sign_up(session, name or f"alice {self._creators}", PASSWORD, datetime.now(UTC)).id

    def campaign(self, creator_id: int | None = None, **changes: Any) -> str:
        """A published campaign's id."""
        creator_id = creator_id or self.creator()
        with self.database.transaction() as session:
            campaign: Campaign = service.save_draft(session, self.settings, creator_id, self.draft(**changes))
            service.publish(session, self.settings, creator_id, campaign.id)
            return campaign.id

    def pledge(self, campaign_id: str, amount_sats: int, refund_address: str = "", name: str = "bob") -> Pledge:
        """A pledge with its address, not yet paid."""
        refund_address = refund_address or new_address(self.node)
        pledge_id = service.open_pledge(self.database, self.settings, campaign_id, amount_sats, refund_address, name)
        with self.database.reading() as session:
            return queries.load_by_pledge(session, pledge_id)[1]

    def paid(self, campaign_id: str, amount_sats: int, confirmed: bool = True) -> Pledge:
        """A pledge paid in full, and confirmed unless told otherwise."""
        pledge = self.pledge(campaign_id, amount_sats)
        self.node.pay(str(pledge.address), amount_sats)
        if confirmed:
            self.node.mine()
        self.sync()
        return pledge

    def snapshot(self, campaign_id: str) -> Snapshot:
        """The campaign now."""
        with self.database.reading() as session:
            return queries.load(session, campaign_id)

    def summary(self, campaign_id: str) -> Summary:
        """The campaign's figures now; they must account for every satoshi."""
        summary = queries.summarise(self.snapshot(campaign_id))
        assert sum(summary.buckets.values()) == summary.received_sats
        ledger.holds(self.database)
        return summary

    def pledge_state(self, pledge: Pledge) -> str:
        """The pledge's state now."""
        with self.database.reading() as session:
            return queries.pledge_summary(*queries.load_by_pledge(session, pledge.id)).state

    def close(self, campaign_id: str) -> None:
        """Jump past the deadline and let the worker decide and send."""
        terms = self.snapshot(campaign_id).terms
        assert terms is not None
        self.node.jump_to(int(terms.deadline.timestamp()) + 1)
        self.sync()
