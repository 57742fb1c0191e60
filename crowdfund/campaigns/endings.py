"""Where a campaign ends, as the recorded chain stands: at its closing block, or at the cancellation in its place."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from crowdfund.campaigns.lifecycle import ending
from crowdfund.campaigns.models import Block, Cancellation, DecisionRow
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.campaigns.tip import closing_block


@dataclass(frozen=True)
class EndingBlock:
    """The block that ends a campaign, and the cancellation in it, if that is why."""

    block: Block
    cancellation: Cancellation | None = None

    @property
    def height(self) -> int:
        """Of the block."""
        return self.block.height


def ending_block(session: Session, campaign_id: str, terms: CampaignTerms) -> EndingBlock | None:
    """The end, None while no recorded block is one. A cancellation in a block that was lost is none."""
    closing = closing_block(session, terms.deadline)
    held = in_chain(session, campaign_id) if terms.cancellable else []
    end = ending(terms.opened_height, None if closing is None else closing.height, [one.height for one in held])
    if end is not None and end.cancelled:
        first = next(one for one in held if one.height == end.height)
        return EndingBlock(session.get_one(Block, end.height), first)
    return None if closing is None else EndingBlock(closing)


def in_chain(session: Session, campaign_id: str) -> list[Cancellation]:
    """The cancellations that recorded blocks hold, in the order of the chain."""
    rows = session.scalars(
        select(Cancellation)
        .join(Block, and_(Block.height == Cancellation.height, Block.hash == Cancellation.block_hash))
        .where(Cancellation.campaign_id == campaign_id)
        .order_by(Cancellation.height, Cancellation.position)
    )
    return list(rows)


def maybe_cancelled(session: Session) -> list[str]:
    """Undecided campaigns of which a cancellation was ever seen in a block, lost or not."""
    decided = select(DecisionRow.campaign_id)
    seen = select(Cancellation.campaign_id).where(Cancellation.campaign_id.not_in(decided))
    return list(session.scalars(seen.distinct().order_by(Cancellation.campaign_id)))
