"""Running the checks: reads the ledger, the facts and what the chain was seen to hold, and has them compared.

May not: change the ledger or a fact. What it finds becomes a halt, in a transaction of its own.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowdfund.campaigns import books, checks, halts, thefts
from crowdfund.campaigns.checks import Breach, HeldCoin, Link, LyingCoin
from crowdfund.campaigns.ledger import place_of
from crowdfund.campaigns.ledger_models import Balance, Halt, Transfer
from crowdfund.campaigns.models import Campaign, Coin, Pledge
from crowdfund.chain.port import ChainBackend, NodeStatus, UnspentCoin
from crowdfund.db import Database
from crowdfund.errors import WorldError
from crowdfund.wallet.descriptors import derive_script

log = logging.getLogger("crowdfund.checks")

COMPARE_EVERY_S = 24 * 3600
COMPARE_AGAIN_S = 3600  # after one that could not be made


class Checker:
    """The worker's own checks. What it remembers is how far it has come: a restart checks everything anew."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._link = Link()
        self._tip_hash = ""
        self._compared_at = time.monotonic()
        self._uncompared: list[WorldError] = []  # told until the next try

    def look(self, backend: ChainBackend, status: NodeStatus) -> list[WorldError]:
        """Whatever must hold, once for each new tip: that nobody else spends our coins, the chain of hashes as far as
        it has grown, and every campaign that it touches. Once a day, also that the chain holds what the ledger says.

        A breach is put on record. Returns what stands in the way of the daily comparison, which is made again an hour
        later. Raises WorldError while a halt concerns all campaigns.
        """
        with self._database.reading() as session:
            stolen = thefts_seen(session)
        self.halt(stolen[:1])
        if status.tip_hash != self._tip_hash:
            self._check_new()
            self._tip_hash = status.tip_hash
        if time.monotonic() - self._compared_at >= COMPARE_EVERY_S:
            self._uncompared = self._try_to_compare(backend, status)
        for halt in self.lasting():
            if halt.campaign_id is None:
                raise WorldError(halts.sentence(halt))
        return self._uncompared

    def _check_new(self) -> None:
        with self._database.reading() as session:
            link, found = check_hashes(session, self._link)
            for campaign_id in moved_since(session, self._link.id):
                found += check_campaign(session, campaign_id)
        self.halt(found)
        if not found:
            self._link = link

    def _try_to_compare(self, backend: ChainBackend, status: NodeStatus) -> list[WorldError]:
        try:
            self._compare(backend, status)
        except WorldError as error:
            self._compared_at = time.monotonic() - COMPARE_EVERY_S + COMPARE_AGAIN_S
            return [error]
        return []

    def _compare(self, backend: ChainBackend, status: NodeStatus) -> None:
        with self._database.reading() as session:
            scripts = issued_scripts(session)
        tip_hash, unspent = backend.unspent(scripts) if scripts else (status.tip_hash, [])
        if tip_hash != status.tip_hash:
            return  # a block has come meanwhile: compared at the next one
        with self._database.reading() as session:
            found = check_unspent(session, scripts, unspent)
        self.halt(found)
        self._compared_at = time.monotonic()

    def before_deciding(self, campaign_id: str) -> None:
        """The campaign's own checks, whenever it was touched, and its addresses. A breach halts it."""
        with self._database.reading() as session:
            found = check_campaign(session, campaign_id) + check_scripts(session, campaign_id)
        self.halt(found)

    def halt(self, found: Collection[Breach]) -> None:
        """Put breaches on record; without one nothing is written."""
        if any(breach.halts for breach in found):
            with self._database.transaction() as session:
                if halts.begin(session, found, datetime.now(UTC)):
                    log.error("Settlement is halted: %s", next(b.sentence for b in found if b.halts))

    def lasting(self) -> list[Halt]:
        """The halts that last, what concerns all campaigns first."""
        with self._database.reading() as session:
            return halts.open_halts(session)

    def refuse_halted(self, campaign_id: str) -> None:
        """Raises WorldError while this campaign must not be settled."""
        with self._database.reading() as session:
            halt = halts.stopping(session, campaign_id)
        if halt is not None:
            raise WorldError(halts.sentence(halt))


def catch_up(database: Database) -> None:
    """Post what a ledger that was changed by hand has refused, once it is as it was."""
    with database.transaction() as session:
        books.post_whole(session, published(session))


def check_hashes(session: Session, since: Link) -> tuple[Link, list[Breach]]:
    """The chain of hashes from `since` on; returns how far it holds."""
    return checks.follow_hashes(_sealed_rows(session, since), since)


def moved_since(session: Session, transfer_id: int) -> list[str]:
    """Campaigns with transfers after this one."""
    moved = select(Transfer.campaign_id).where(Transfer.id > transfer_id).distinct()
    return list(session.scalars(moved.order_by(Transfer.campaign_id)))


def check_books(session: Session) -> list[Breach]:
    """Everything that needs no chain, of all campaigns."""
    _, found = check_hashes(session, Link())
    for campaign_id in published(session):
        found += check_campaign(session, campaign_id)
    return found or thefts_seen(session)  # no balance shows the theft of a coin of no satoshi at all


def thefts_seen(session: Session) -> list[Breach]:
    """A breach for each coin that somebody else has spent, and that nobody has acknowledged."""
    return [
        Breach(None, f"{one} was spent by a transaction that is not ours.") for one in thefts.foreign_spends(session)
    ]


def check_campaign(session: Session, campaign_id: str) -> list[Breach]:
    """Balances, the place of every coin, what came in, and theft."""
    balances = books.balances(session, campaign_id)
    coins = books.coins_of_campaign(session, campaign_id)
    posted = books.transfers_of(session, [coin.id for coin in coins])
    held = (
        HeldCoin(f"{p.coin.txid}:{p.coin.vout}", p.accounts, place_of(posted.get(p.coin.id, [])))
        for p in books.places(session, coins)
    )
    received_sats = sum(coin.value_sats for coin in coins if coin.height is not None)
    return [
        *checks.balance_breaches(campaign_id, balances, _sums(session, campaign_id)),
        *checks.place_breaches(campaign_id, held),
        *checks.received_breaches(campaign_id, balances, received_sats),
        *checks.theft_breaches(balances, thefts.acknowledged_sats(session, campaign_id)),
    ]


def check_scripts(session: Session, campaign_id: str) -> list[Breach]:
    """Every address that was given out must follow from the campaign's descriptor: a stranger's coins are not ours."""
    descriptor = session.scalar(select(Campaign.descriptor).where(Campaign.id == campaign_id)) or ""
    rows = session.execute(
        select(Pledge.index, Pledge.script)
        .where(Pledge.campaign_id == campaign_id, Pledge.script.is_not(None))
        .order_by(Pledge.index)
    )
    wrong = [index for index, script in rows if derive_script(descriptor, index) != script]
    return [Breach(campaign_id, f"The address of pledge {index} is not the campaign's own.") for index in wrong]


def check_unspent(session: Session, scripts: Collection[bytes], unspent: Iterable[UnspentCoin]) -> list[Breach]:
    """What lies at these addresses, against the chain's unspent outputs as of the recorded tip."""
    owners = {p.script: p.campaign_id for p in session.execute(select(Pledge.script, Pledge.campaign_id)) if p.script}
    there: dict[str, list[LyingCoin]] = defaultdict(list)
    for coin in unspent:
        there[owners[coin.script]].append(LyingCoin(coin.txid, coin.vout, coin.value_sats, coin.height))
    found = []
    for campaign_id in sorted({owners[script] for script in scripts}):
        balances = books.balances(session, campaign_id)
        found += checks.unspent_breaches(campaign_id, balances, _lying(session, campaign_id), there[campaign_id])
    return found


def issued_scripts(session: Session) -> list[bytes]:
    """The locking scripts of every address that was ever given out."""
    return [script for script in session.scalars(select(Pledge.script)) if script is not None]


def _lying(session: Session, campaign_id: str) -> list[LyingCoin]:
    rows = session.execute(
        select(Coin.txid, Coin.vout, Coin.value_sats, Coin.height)
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .where(Pledge.campaign_id == campaign_id, Coin.height.is_not(None), Coin.spent_by.is_(None))
    )
    return [LyingCoin(row.txid, row.vout, row.value_sats, row.height or 0) for row in rows]


def published(session: Session) -> list[str]:
    """Every campaign that money can belong to, and any that the ledger knows besides, in order."""
    known = set(session.scalars(select(Campaign.id).where(Campaign.terms.is_not(None))))
    return sorted(known | set(session.scalars(select(Balance.campaign_id).distinct())))


def _sums(session: Session, campaign_id: str) -> dict[str, int]:
    """Account -> satoshi, added up from all transfers."""
    found: dict[str, int] = defaultdict(int)
    for account, sign in ((Transfer.from_account, -1), (Transfer.to_account, 1)):
        rows = session.execute(
            select(account.label("account"), func.sum(Transfer.amount_sats).label("sats"))
            .where(Transfer.campaign_id == campaign_id)
            .group_by(account)
        )
        for row in rows:
            found[row.account] += sign * int(row.sats)
    return found


def _sealed_rows(session: Session, since: Link) -> Iterator[tuple[Mapping[str, object], str]]:
    columns = [getattr(Transfer, name) for name in books.SEALED]
    rows = session.execute(
        select(*columns, Transfer.hash).where(Transfer.id > since.id).order_by(Transfer.id),
        execution_options={"yield_per": books.AT_ONCE},
    )
    for *values, own_hash in rows:
        yield dict(zip(books.SEALED, values, strict=True)), own_hash
