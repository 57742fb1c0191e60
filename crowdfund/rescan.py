"""What the worker does first on an installation that was restored: finds on the chain what the books do not know.

Thin: what to look for and what to write is in `campaigns.recovery` and `campaigns.adopting`. Nothing is remembered
that a restart would miss: killed, it begins the walk again.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from crowdfund.campaigns import adopting, recording, recovery
from crowdfund.campaigns.models import Restore
from crowdfund.campaigns.recovery import Candidate
from crowdfund.chain.backends import AnyBackend
from crowdfund.chain.follow import Changes, Follower
from crowdfund.chain.port import NodeStatus
from crowdfund.db import Database
from crowdfund.errors import WorldError

log = logging.getLogger("crowdfund.worker")


class Rescan:
    """One restore that has not caught up, or nothing to do at all."""

    def __init__(self, database: Database, network: str, watch: recording.RecordedWatch) -> None:
        self._database = database
        self._network = network
        self._watch = watch
        self._wanted: dict[bytes, Candidate] = {}
        self._derived: dict[str, list[bytes]] = {}
        self._counted = False
        with database.reading() as session:
            self._restore: Restore | None = recovery.pending(session)
        if self._restore is not None:
            self._widen(self._restore)

    @property
    def active(self) -> bool:
        """Whether addresses, decisions and settlements have to wait."""
        return self._restore is not None

    def take_in(self, session: Session, changes: Changes) -> None:
        """Before `changes` are recorded, in the same transaction: pledges for what was found paid."""
        if self._restore is not None:
            recovery.take_in(session, self._network, changes, self._wanted, datetime.now(UTC))

    def advance(self, backend: AnyBackend, follower: Follower, status: NodeStatus) -> bool:
        """After a walk to the tip. True once all is known; False if another walk is needed. Raises WorldError."""
        if self._restore is None:
            return True
        if self._widen(self._restore):
            return False
        if not self._counted:
            self._counted = not self._found_unspent(backend, follower, status)
            if not self._counted:
                return False
        adopting.adopt_settlements(self._database, backend, status)
        with self._database.transaction() as session:
            recovery.finish(session, self._restore.id, datetime.now(UTC))
            waiting = recovery.without_refund(session)
        log.info("the chain is looked through; %s addresses wait for a refund address", len(waiting))
        self._restore, self._wanted, self._derived = None, {}, {}
        return True

    def _widen(self, restore: Restore) -> bool:
        """Look for more where more was found; then all blocks since the backup must be read again. False if not."""
        with self._database.reading() as session:
            wanted = recovery.candidates(session, restore, self._derived)
        if wanted.keys() <= self._wanted.keys():
            return False
        self._wanted, self._counted = wanted, False
        self._watch.scripts.update(wanted)
        with self._database.transaction() as session:
            recovery.walk_again(session, restore)
        return True

    def _found_unspent(self, backend: AnyBackend, follower: Follower, status: NodeStatus) -> bool:
        """The backend's own set of unspent outputs must hold nothing more: a payment may be older than the backup."""
        scripts = sorted(self._wanted)
        tip_hash, unspent = backend.unspent(scripts) if scripts else (status.tip_hash, [])
        with self._database.reading() as session:
            missing = [coin for coin in unspent if not recovery.is_recorded(session, coin.txid, coin.vout)]
        facts = follower.early(missing) if missing else ()
        if tip_hash != status.tip_hash or backend.block_hash(status.height) != tip_hash:
            raise WorldError("The chain has moved while its coins were counted; they are counted again.")
        if facts:
            now = datetime.now(UTC)
            with self._database.transaction() as session:
                coins = [coin for each in facts for coin in each.coins]
                recovery.take_coins(session, self._network, coins, self._wanted, now)
                recording.record_late(session, facts, now)
        return bool(facts)
