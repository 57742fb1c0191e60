"""The read side: a campaign with everything that belongs to it, and what follows from that.

A `Snapshot` is facts from one moment of the database; the functions below it derive, each figure in one place.
Pages, the API, settlement and the audit bundle all stand on these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, selectinload

from crowdfund.campaigns import books
from crowdfund.campaigns.ledger import OUTSIDE, Bucket, coin_bucket
from crowdfund.campaigns.lifecycle import (
    BatchState,
    CampaignState,
    CoinFacts,
    Kind,
    Outcome,
    RivalFate,
    Standing,
    batch_state,
    campaign_state,
    standing,
)
from crowdfund.campaigns.models import BatchInput, BatchRow, Block, Campaign, Coin, DecisionRow, Pledge
from crowdfund.campaigns.pledges import PledgeCoin, PledgeFacts, pledge_facts
from crowdfund.campaigns.terms import MIN_COIN_SATS, CampaignTerms
from crowdfund.campaigns.tip import chain_tip, closing_block
from crowdfund.errors import NotFound


@dataclass(frozen=True)
class Snapshot:
    """One campaign at one moment. `terms` is None for a draft; `closing` and `decision` until they exist.

    `balances` are the ledger's, account -> satoshi.
    """

    campaign: Campaign
    terms: CampaignTerms | None
    pledges: Sequence[Pledge]
    batches: Sequence[BatchRow]
    decision: DecisionRow | None
    closing: Block | None
    tip: Block | None
    balances: Mapping[str, int]

    @property
    def coins(self) -> list[Coin]:
        """Every coin ever seen, in the order of first sight."""
        return sorted((c for p in self.pledges for c in p.coins), key=lambda c: c.id)

    @property
    def outcome(self) -> Outcome | None:
        """The decided outcome."""
        return None if self.decision is None else Outcome(self.decision.outcome)

    @property
    def closing_height(self) -> int | None:
        """Of the decision where there is one, else of the closing block as the chain stands."""
        if self.decision is not None:
            return self.decision.closing_height
        return None if self.closing is None else self.closing.height

    @property
    def min_coin_sats(self) -> int:
        """Below this a coin is dust."""
        return MIN_COIN_SATS if self.terms is None else self.terms.min_coin_sats

    @property
    def confirmations(self) -> int:
        """Depth at which things are decided and final."""
        return 1 if self.terms is None else self.terms.confirmations

    @property
    def tip_height(self) -> int:
        """Height of the last recorded block, 0 before the first."""
        return 0 if self.tip is None else self.tip.height

    @cached_property
    def attempts(self) -> dict[str, BatchRow]:
        """txid of each attempt -> its batch."""
        return {attempt.txid: batch for batch in self.batches for attempt in batch.attempts}

    def standing(self, coin: Coin) -> Standing:
        """What the coin is worth to the goal."""
        return standing(facts_of(coin), self.closing_height, self.min_coin_sats, self.tip_height)

    def bucket(self, coin: Coin) -> Bucket | None:
        """The bucket of a coin; None while unconfirmed, and where a settlement of ours has spent it."""
        if coin.spent_by is not None:
            return None if coin.spent_by in self.attempts else Bucket.FOREIGN_SPEND
        return coin_bucket(self.standing(coin), self.outcome, coin.batch_input is not None)

    def shown_bucket(self, coin: Coin) -> str:
        """The bucket as pages and bundle name it: for a settled coin, where its settlement went."""
        batch = self.attempts.get(coin.spent_by or "")
        if batch is not None:
            return Bucket.PAID_OUT if batch.kind == Kind.RELEASE else Bucket.REFUNDED
        return self.bucket(coin) or self.standing(coin)

    def batch_state(self, batch: BatchRow) -> BatchState:
        """How far a batch has come."""
        attempt = batch.attempts[-1]
        coins = [i.coin for i in batch.inputs]
        spent = [c.spent_height for c in coins if c.spent_by in {a.txid for a in batch.attempts}]
        return batch_state(
            signed=attempt.raw is not None,
            sent=attempt.sent_at is not None,
            inputs_confirmed=all(c.height is not None for c in coins),
            spent_height=spent[0] if spent else None,
            tip_height=self.tip_height,
            confirmations=self.confirmations,
        )


@dataclass(frozen=True)
class Summary:
    """The figures of a campaign; amounts in satoshi. `buckets` sum to `received_sats`."""

    state: CampaignState
    counted_sats: int
    seen_sats: int
    received_sats: int
    pledge_count: int
    buckets: dict[Bucket, int]


def facts_of(coin: Coin) -> CoinFacts:
    """A coin's row as the pure functions want it."""
    rival = None
    if coin.rival is not None:
        rival = RivalFate.SEEN if coin.rival.height is None else RivalFate.CONFIRMED
    return CoinFacts(coin.value_sats, coin.height, coin.coinbase, coin.in_mempool, rival)


def summarise(snapshot: Snapshot) -> Summary:
    """Every figure that a page shows of a campaign."""
    coins = snapshot.coins
    standings = {coin.id: snapshot.standing(coin) for coin in coins}
    # Refunds of late coins come and go for ever; the campaign is settled when the coins that counted are.
    # Those that a reorganisation took away, or into a later block, are still owed by the plan of the decision.
    main = [b for b in snapshot.batches if _is_main(snapshot, b, standings)]
    counting = (Standing.COUNTED, Standing.MATURING, Standing.SEEN)
    return Summary(
        state=campaign_state(
            snapshot.terms is not None,
            snapshot.closing_height,
            snapshot.outcome,
            (bool(main) or Standing.COUNTED not in standings.values())
            and all(snapshot.batch_state(b) is BatchState.FINAL for b in main),
        ),
        counted_sats=_counted_sats(snapshot, standings),
        seen_sats=sum(c.value_sats for c in coins if standings[c.id] is Standing.SEEN),
        received_sats=-snapshot.balances.get(OUTSIDE, 0),
        pledge_count=len({c.pledge_id for c in coins if standings[c.id] in counting}),
        buckets={bucket: snapshot.balances.get(bucket, 0) for bucket in Bucket},
    )


def pledge_summary(snapshot: Snapshot, pledge: Pledge) -> PledgeFacts:
    """State and sums of one pledge."""
    return pledge_facts(
        pledge.amount_sats,
        [PledgeCoin(facts_of(coin), _fate(snapshot, coin)) for coin in pledge.coins],
        snapshot.closing_height,
        snapshot.decision is not None,
        snapshot.min_coin_sats,
        snapshot.tip_height,
    )


def load(session: Session, campaign_id: str, with_pledge: str = "") -> Snapshot:
    """The campaign's snapshot: the pledges that were ever paid, and `with_pledge` in any case. Raises NotFound."""
    campaign = session.scalar(
        select(Campaign).where(Campaign.id == campaign_id).options(selectinload(Campaign.creator))
    )
    if campaign is None:
        raise NotFound("There is no such campaign.")
    terms = None if campaign.terms is None else CampaignTerms.parse(campaign.terms)
    return Snapshot(
        campaign=campaign,
        terms=terms,
        pledges=_pledges(session, campaign_id, with_pledge),
        batches=_batches(session, campaign_id),
        decision=session.get(DecisionRow, campaign_id),
        closing=None if terms is None else closing_block(session, terms.deadline),
        tip=chain_tip(session),
        balances=books.balances(session, campaign_id),
    )


def load_by_pledge(session: Session, pledge_id: str) -> tuple[Snapshot, Pledge]:
    """A pledge and its campaign's snapshot. Raises NotFound; a pledge without address was never shown."""
    campaign_id = session.scalar(select(Pledge.campaign_id).where(Pledge.id == pledge_id, Pledge.address.is_not(None)))
    if campaign_id is None:
        raise NotFound("There is no such pledge.")
    snapshot = load(session, campaign_id, pledge_id)
    return snapshot, next(p for p in snapshot.pledges if p.id == pledge_id)


def published(session: Session) -> list[Snapshot]:
    """Every published campaign, newest first."""
    ids = session.scalars(select(Campaign.id).where(Campaign.terms.is_not(None)).order_by(Campaign.published_at.desc()))
    return [load(session, campaign_id) for campaign_id in ids.all()]


def of_creator(session: Session, creator_id: int) -> list[Snapshot]:
    """A creator's campaigns and drafts, newest first."""
    ids = session.scalars(
        select(Campaign.id).where(Campaign.creator_id == creator_id).order_by(Campaign.created_at.desc())
    )
    return [load(session, campaign_id) for campaign_id in ids.all()]


def _pledges(session: Session, campaign_id: str, with_pledge: str) -> Sequence[Pledge]:
    """Unpaid pledges cost nothing to make, so their number must cost no page anything."""
    return session.scalars(
        select(Pledge)
        .where(Pledge.campaign_id == campaign_id, Pledge.address.is_not(None))
        .where(or_(Pledge.coins.any(), Pledge.id == with_pledge))
        .order_by(Pledge.index)
        .options(selectinload(Pledge.coins).options(selectinload(Coin.batch_input), selectinload(Coin.rival)))
    ).all()


def _batches(session: Session, campaign_id: str) -> Sequence[BatchRow]:
    return session.scalars(
        select(BatchRow)
        .where(BatchRow.campaign_id == campaign_id)
        .order_by(BatchRow.id)
        .options(
            selectinload(BatchRow.inputs).selectinload(BatchInput.coin),
            selectinload(BatchRow.outputs),
            selectinload(BatchRow.attempts),
        )
    ).all()


def _is_main(snapshot: Snapshot, batch: BatchRow, standings: Mapping[int, Standing]) -> bool:
    """Does the batch pay coins that counted? A payout does, and so does the refund planned with the decision, whatever
    a reorganisation makes of its coins."""
    if batch.kind == Kind.RELEASE:
        return True
    first = snapshot.outcome is Outcome.FAILED and batch.id == min(b.id for b in snapshot.batches)
    return first or any(standings[i.coin_id] is not Standing.LATE for i in batch.inputs)


def _counted_sats(snapshot: Snapshot, standings: Mapping[int, Standing]) -> int:
    """What the ledger has as counted. Money that was decided on (or stolen) has moved on: then it is the sum of the
    coins that count, wherever they went."""
    if snapshot.decision is None and not snapshot.balances.get(Bucket.FOREIGN_SPEND):
        return snapshot.balances.get(Bucket.COUNTED, 0)
    return sum(c.value_sats for c in snapshot.coins if standings[c.id] is Standing.COUNTED)


def _fate(snapshot: Snapshot, coin: Coin) -> str | None:
    batch = snapshot.attempts.get(coin.spent_by or "")
    if batch is not None:
        return batch.kind
    return "planned" if coin.batch_input is not None else None
