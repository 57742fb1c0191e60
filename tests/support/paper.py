"""An installation whose chain is on paper only: a real database, blocks and coins as a test says them. No node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from crowdfund.accounts import people
from crowdfund.campaigns import queries, recording, service
from crowdfund.campaigns.drafts import Draft
from crowdfund.campaigns.models import Pledge
from crowdfund.campaigns.queries import Snapshot, Summary
from crowdfund.chain.follow import BlockFacts, Changes, FoundCoin, FoundSpend, Rival
from crowdfund.chain.port import BlockRef, Outpoint
from crowdfund.config import Settings
from crowdfund.wallet.signer_client import Account
from support import fresh, ledger
from support.signing import STORE, offered_accounts

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
BLOCK_TIME = timedelta(minutes=10)
PAYOUT = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
REFUND = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry"
ACCOUNTS = 8


class Paper:
    """Use as a context manager. Every block's median time past is ten minutes after the one before."""

    def __init__(self, folder: Path, confirmations: int = 1, database_url: str = "") -> None:
        self.settings = Settings.from_env(
            {
                "CROWDFUND_DATA_DIR": str(folder),
                "CROWDFUND_CONFIRMATIONS": str(confirmations),
                "CROWDFUND_DATABASE_URL": database_url,
            }
        )
        self.database = fresh.database(self.settings.database_url)
        self.tip = 99
        self._creators = 0
        with self.database.transaction() as session:
            recording.set_view(session, "live", "", 2, START)
            service.store_accounts(session, _offered())
        self.mine()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.database.close()

    def ref(self, height: int, branch: str = "") -> BlockRef:
        """The block at `height` of a branch."""
        mtp = int((START + (height - 100) * BLOCK_TIME).timestamp())
        name, before = (sha256(f"{branch}{h}".encode()).hexdigest() for h in (height, height - 1))
        return BlockRef(height, name, before, mtp, mtp)

    def mine(
        self,
        coins: Sequence[FoundCoin] = (),
        spends: Sequence[FoundSpend] = (),
        blocks: int = 1,
        branch: str = "",
        rivals: Sequence[Rival] = (),
    ) -> None:
        """Blocks, the first of them with these coins, spends and rivals."""
        for number in range(blocks):
            self.tip += 1
            held = BlockFacts(self.ref(self.tip, branch), (), ())
            if not number:
                held = replace(held, coins=tuple(coins), spends=tuple(spends), rivals=tuple(rivals))
            self.write(Changes(None, (held,), (), self.tip, complete=False))

    def fork(self, depth: int) -> None:
        """The last `depth` blocks are gone."""
        self.tip -= depth
        self.write(Changes(self.tip, (), (), self.tip, complete=False))

    def mempool(
        self, coins: Sequence[FoundCoin], txids: Iterable[str] | None = None, rivals: Sequence[Rival] = ()
    ) -> None:
        """The mempool as it is now, and what took the place of payments that have left it."""
        held = {c.txid for c in coins} if txids is None else set(txids)
        left = frozenset(recording.RecordedWatch(self.database).unconfirmed() - held)
        self.write(Changes(None, (), tuple(coins), self.tip, True, left, tuple(rivals)))

    def write(self, changes: Changes) -> None:
        """Record `changes`."""
        with self.database.transaction() as session:
            recording.record(session, changes, datetime.now(UTC))

    def draft(self, **changes: Any) -> Draft:
        """A good draft, whose deadline falls on block 160's median time past."""
        values: dict[str, Any] = {
            "title": "A seed drill", "summary": "Drawings.", "story": "By hand.", "goal_sats": 1_000_000,
            "deadline_at": START + 60 * BLOCK_TIME, "payout_address": PAYOUT, "project_url": "https://example.org",
            "license": "MIT",
        }  # fmt: skip
        return Draft(**{**values, **changes})

    def creator(self) -> int:
        """A new creator's id."""
        self._creators += 1
        with self.database.transaction() as session:
            return people.sign_up(session, f"alice {self._creators}", "correct horse battery", START).id

    def campaign(self, **changes: Any) -> str:
        """A published campaign's id."""
        creator_id = self.creator()
        with self.database.transaction() as session:
            campaign = service.save_draft(session, self.settings, creator_id, self.draft(**changes))
            return service.publish(session, self.settings, creator_id, campaign.id).id

    def pledge(self, campaign_id: str, amount_sats: int = 100_000, refund_address: str = REFUND) -> Pledge:
        """A pledge with its address."""
        found = service.open_pledge(self.database, self.settings, campaign_id, amount_sats, refund_address)
        with self.database.reading() as session:
            return queries.load_by_pledge(session, found)[1]

    def snapshot(self, campaign_id: str) -> Snapshot:
        """The campaign now."""
        with self.database.reading() as session:
            return queries.load(session, campaign_id)

    def summary(self, campaign_id: str) -> Summary:
        """Its figures now; they must account for every satoshi."""
        summary = queries.summarise(self.snapshot(campaign_id))
        assert sum(summary.buckets.values()) == summary.received_sats
        ledger.holds(self.database)
        return summary


@cache
def _offered() -> list[Account]:
    return offered_accounts(STORE, range(ACCOUNTS))


def txid(name: str) -> str:
    """The id of a transaction that `name` names."""
    return sha256(name.encode()).hexdigest()


def coin(
    pledge: Pledge,
    value_sats: int,
    name: str = "a",
    vout: int = 0,
    coinbase: bool = False,
    inputs: Sequence[Outpoint] = (),
) -> FoundCoin:
    """An output that pays the pledge, in a transaction that `name` names and that spends `inputs`."""
    return FoundCoin(txid(name), vout, value_sats, bytes(pledge.script or b""), coinbase, tuple(inputs))
