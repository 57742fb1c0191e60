"""The worker's hand for cancellations: sends what creators brought signed, at each new tip, until a block ends their
campaign. Holds no key; what it sends was signed by the creator, and decides nothing before a block holds it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime

from crowdfund.campaigns import cancel_desk
from crowdfund.chain.backends import AnyBackend
from crowdfund.chain.port import Sent
from crowdfund.db import Database
from crowdfund.errors import WorldError

log = logging.getLogger("crowdfund.worker")


@dataclass
class CancellationSender:
    """What it keeps between rounds are hints only."""

    database: Database
    backend: AnyBackend
    _sent_at: dict[int, str] = field(default_factory=dict)

    def keep(self, tip_hash: str) -> None:
        """Send what was not sent at this tip yet. Raises WorldError where the server cannot be asked."""
        with self.database.reading() as session:
            waiting = cancel_desk.to_send(session)
        for send_id, raw in waiting:
            if self._sent_at.get(send_id) != tip_hash:
                self._send(send_id, raw)
                self._sent_at[send_id] = tip_hash

    def _send(self, send_id: int, raw: bytes) -> None:
        try:
            result = self.backend.broadcast(raw)
        except WorldError as error:
            log.info("a cancellation is not sent: %s", error.sentence)
            raise
        taken = result.sent in (Sent.ACCEPTED, Sent.KNOWN)
        with self.database.transaction() as session:
            cancel_desk.note_sent(session, send_id, "" if taken else result.reason or result.sent, datetime.now(UTC))
