"""The worker's hand for what backers keep themselves: has receipts and time-locked refunds signed, checks and stores
them. Holds no key. Each is stored by itself, so that being killed in between loses nothing: the next round goes on.
Nothing is asked for while a halt concerns the campaign.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime

from crowdfund.campaigns import promises
from crowdfund.campaigns.checking import Checker
from crowdfund.db import Database
from crowdfund.errors import WorldError
from crowdfund.proving import Prover
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.wallet.transactions import verify_signed

log = logging.getLogger("crowdfund.worker")


@dataclass
class Promises:
    """What is kept between rounds is a hint only: the tip at which no coin waited any more, and the coins
    that the signer refused: they must not keep those after them waiting."""

    database: Database
    signer: SignerClient | None
    prover: Prover
    checker: Checker
    _done_at: str = ""
    _refused: set[int] = field(default_factory=set)

    def keep(self, tip_hash: str) -> bool:
        """Some more of what is owed; True if there may be more yet. Raises WorldError where the signer is away,
        refuses, or gives something else, and where a halt has just begun.

        Where signatures come by hand, no receipts are given while a campaign runs.
        """
        if self.signer is None:
            return False
        more = self._receipts(self.signer)
        if self._done_at != tip_hash and not self._refunds(self.signer):
            self._done_at = tip_hash
        return more or self._done_at != tip_hash

    def _receipts(self, signer: SignerClient) -> bool:
        """True if there may be more of them."""
        with self.database.reading() as session:
            owed = promises.owed_receipts(session)
        refused = None
        for one in owed:
            try:
                self.checker.refuse_halted(one.campaign_id)
                made = signer.receipt(one.terms, one.account_index, one.expected.index, one.expected.amount_sats)
                with self.database.transaction() as session:
                    promises.store_receipt(session, one, made.text, made.signature, datetime.now(UTC))
            except WorldError as error:
                if error.retryable:
                    raise
                refused = error  # one pledge's trouble is not the others'
        if refused is not None:
            raise refused
        return len(owed) == promises.AT_ONCE

    def _refunds(self, signer: SignerClient) -> int:
        """How many were signed and stored."""
        with self.database.reading() as session:
            owed = promises.owed_refunds(session, self._refused)
            if not owed and self._refused:  # everybody else has theirs: ask for these again
                self._refused.clear()
                owed = promises.owed_refunds(session)
        refused = None
        for one in owed:
            try:
                self.checker.refuse_halted(one.campaign_id)
                self.prover.show_coins(signer, one.terms, one.account_index, one.tx)
                raw = signer.timelocked_refund(one.terms, one.account_index, one.tx)
                verify_signed(raw, one.tx, one.descriptor)
            except WorldError as error:
                if error.retryable:
                    raise
                self.prover.forget(one.account_index)
                refused = error
                self._refused.add(one.coin_id)
                continue
            with self.database.transaction() as session:
                promises.store_refund(session, one, raw, datetime.now(UTC))
        if refused is not None:
            raise refused
        return len(owed)
