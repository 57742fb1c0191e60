"""The worker's hand for changes of refund addresses: takes what backers have signed to the signer, which alone says
whether it holds, and notes the answer. Holds no key.

First it is noted that a change is sent, then it is sent, then the answer is noted: killed in between, the next round
sends it again, which does no harm. While one is sent and not answered, its campaign is not decided.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from crowdfund.campaigns import readdressing
from crowdfund.campaigns.readdressing import OpenChange
from crowdfund.db import Database
from crowdfund.errors import WorldError
from crowdfund.wallet.signer_client import SignerClient

log = logging.getLogger("crowdfund.worker")


@dataclass
class Changer:
    """`signer` is None where signatures come by hand: then no changes are taken at all."""

    database: Database
    signer: SignerClient | None

    def keep(self) -> bool:
        """Some of those that wait; True if there may be more. Raises WorldError where the signer is away."""
        if self.signer is None:
            return False
        with self.database.reading() as session:
            waiting = readdressing.open_changes(session)
        moved = False
        for one in waiting:
            if self._is_sent(one):
                self._ask(self.signer, one)
                moved = True
        return moved and len(waiting) == readdressing.AT_ONCE

    def _is_sent(self, one: OpenChange) -> bool:
        if one.sent:
            return True
        with self.database.transaction() as session:
            return readdressing.mark_sent(session, one.id, datetime.now(UTC))

    def _ask(self, signer: SignerClient, one: OpenChange) -> None:
        refused = ""
        try:
            signer.change_refund(one.terms, one.account_index, one.change)
        except WorldError as error:
            if error.retryable:
                raise
            refused = error.sentence
            log.warning("A change of a refund address of campaign %s is refused. %s", one.campaign_id, refused)
        with self.database.transaction() as session:
            readdressing.note_answer(session, one.id, refused, datetime.now(UTC))
