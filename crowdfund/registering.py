"""The worker's hand for refund addresses: tells the signer of new ones, before anyone could change them here. The first
word counts, so this goes on during a halt, too. Holds no key.

A pledge that the signer refuses keeps no other one waiting, and is told of as long as it is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from crowdfund.campaigns import settling
from crowdfund.campaigns.settling import Registration
from crowdfund.db import Database
from crowdfund.errors import WorldError
from crowdfund.wallet.signer_client import SignerClient

log = logging.getLogger("crowdfund.worker")


@dataclass
class Registrar:
    """`signer` is None where signatures come by hand: then addresses travel with each export. What is kept between
    rounds are hints only: whom the signer has refused at this tip, and why; they are asked for again at the next."""

    database: Database
    signer: SignerClient | None
    _tip_hash: str = ""
    _refused: dict[str, WorldError] = field(default_factory=dict)

    def keep(self, tip_hash: str) -> None:
        """Everybody who waits. Raises WorldError where the signer is away, or refuses some of them."""
        if self.signer is None:
            return
        if tip_hash != self._tip_hash:
            self._refused.clear()
            self._tip_hash = tip_hash
        left_out: list[tuple[str, int, WorldError]] = []
        for group in self._waiting():
            self._register(self.signer, group.only(set(group.pledge_ids) - self._refused.keys()))
            names = zip(group.pledge_ids, group.refunds, strict=True)
            left_out += [(group.campaign_id, i, self._refused[p]) for p, i in names if p in self._refused]
        if left_out:
            raise _standing_trouble(left_out)

    def _waiting(self) -> Iterator[Registration]:
        """All, some at a time: those who were refused must not stand in the way of those after them."""
        after, full = ("", -1), True
        while full:
            with self.database.reading() as session:
                page = settling.unregistered(session, after)
            yield from page
            full = sum(len(group.refunds) for group in page) == settling.REGISTERED_AT_ONCE
            after = (page[-1].campaign_id, max(page[-1].refunds)) if page else after

    def _register(self, signer: SignerClient, group: Registration) -> None:
        """All of a campaign at once; where that is refused, without those that are the reason."""
        refusal = self._try(signer, group) if group.refunds else None
        if refusal is None:
            return
        of_all = self._try(signer, group.only(()))  # refused without any pledge: then it is none of these
        if of_all is None:
            self._narrow_down(signer, group, refusal)
        else:
            self._note(group, of_all)

    def _narrow_down(self, signer: SignerClient, group: Registration, refusal: WorldError) -> None:
        """Half and half again, until those are alone whom the signer refuses."""
        middle = len(group.pledge_ids) // 2
        if not middle:
            self._note(group, refusal)
            return
        for half in (group.only(group.pledge_ids[:middle]), group.only(group.pledge_ids[middle:])):
            refused = self._try(signer, half)
            if refused is not None:
                self._narrow_down(signer, half, refused)

    def _try(self, signer: SignerClient, group: Registration) -> WorldError | None:
        """The signer's refusal, None where it has taken them; then that is noted. Raises WorldError if it is away."""
        try:
            signer.register(group.terms, group.account_index, group.refunds)
        except WorldError as error:
            if error.retryable:
                raise
            return error
        if group.pledge_ids:
            with self.database.transaction() as session:
                settling.mark_registered(session, group.pledge_ids)
        return None

    def _note(self, group: Registration, why: WorldError) -> None:
        for pledge_id, index in zip(group.pledge_ids, group.refunds, strict=True):
            self._refused[pledge_id] = why
            log.warning("Pledge %s of campaign %s is not registered. %s", index, group.campaign_id, why.sentence)


def _standing_trouble(left_out: list[tuple[str, int, WorldError]]) -> WorldError:
    """Names the first by its index: its id is the backer's secret."""
    campaign_id, index, why = left_out[0]
    more = f" The same is so with {len(left_out) - 1} more; the log names each." if len(left_out) > 1 else ""
    return WorldError(
        f"The refund address of pledge {index} of campaign {campaign_id} is not registered. {why.sentence}{more} "
        "All others are registered.",
        retryable=False,
    )
