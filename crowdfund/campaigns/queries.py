"""The read side: a campaign with everything that belongs to it, and what follows from that.

A `Snapshot` is facts from one moment of the database; the functions below it derive, each figure in one place.
Pages, the API, settlement and the audit bundle all stand on these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import Select, and_, select
from sqlalchemy.orm import Session, aliased, selectinload

from crowdfund.campaigns import books, cancelling, moderation, own_money, readdressing, thefts
from crowdfund.campaigns.cancelling import HeldCancellation
from crowdfund.campaigns.endings import EndingBlock, ending_block
from crowdfund.campaigns.ladder import Refusal, refusal_kind
from crowdfund.campaigns.ledger import OUTSIDE, Bucket, coin_bucket
from crowdfund.campaigns.lifecycle import (
    REPLACED_BATCH,
    BatchState,
    CampaignState,
    CoinFacts,
    Kind,
    Outcome,
    RivalFate,
    Standing,
    batch_state,
    campaign_state,
    counted_sats,
    depth,
    over_cap,
    standing,
)
from crowdfund.campaigns.models import (
    Attempt,
    BatchInput,
    BatchRow,
    Block,
    Campaign,
    Coin,
    DecisionRow,
    Pledge,
    TimelockedRefund,
)
from crowdfund.campaigns.pledges import PledgeCoin, PledgeFacts, pledge_facts
from crowdfund.campaigns.refund_models import RefundChangeRow
from crowdfund.campaigns.settlement import SettlementPreview, SpendableCoin, preview
from crowdfund.campaigns.terms import MIN_COIN_SATS, CampaignTerms
from crowdfund.campaigns.tip import chain_tip
from crowdfund.errors import NotFound
from crowdfund.projects.models import ProjectMember

_OF_COINS = (selectinload(Coin.batch_inputs), selectinload(Coin.rival))


@dataclass(frozen=True)
class Snapshot:
    """One campaign at one moment. `terms` is None for a draft; `closing` and `decision` until they exist. Where a
    `cancellation` ended the campaign, or is about to, `closing` is its block.

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
    taken_back: Mapping[str, TimelockedRefund] = field(default_factory=dict)
    """txid -> a time-locked refund that a block holds."""
    stolen: frozenset[int] = frozenset()
    """Ids of coins that a strange transaction has spent, as a person has acknowledged."""
    own_pledges: frozenset[str] = frozenset()
    """Ids of the pledges that the creator declared to be their own money."""
    hidden_pledges: frozenset[str] = frozenset()
    """Ids of the pledges whose name and message are hidden."""
    cancellation: HeldCancellation | None = None
    refund_changes: Mapping[int, Sequence[RefundChangeRow]] = field(default_factory=dict)
    """Index of a pledge -> the changes of its refund address that hold, in their order."""
    others: Sequence[CoinFacts] = ()
    """Of a pledge's own snapshot: the campaign's other coins, where a cap makes them matter."""

    @cached_property
    def coins(self) -> list[Coin]:
        """Every coin ever seen, in the order of first sight."""
        return sorted((c for p in self.pledges for c in p.coins), key=lambda c: c.id)

    @property
    def outcome(self) -> Outcome | None:
        """The decided outcome."""
        return None if self.decision is None else Outcome(self.decision.outcome)

    @cached_property
    def closing_height(self) -> int | None:
        """Of the decision where there is one, else of the closing block as the chain stands."""
        if self.decision is not None:
            return self.decision.closing_height
        return None if self.closing is None else self.closing.height

    @cached_property
    def min_coin_sats(self) -> int:
        """Below this a coin is dust."""
        return MIN_COIN_SATS if self.terms is None else self.terms.min_coin_sats

    @property
    def confirmations(self) -> int:
        """Depth at which things are decided and final."""
        return 1 if self.terms is None else self.terms.confirmations

    @cached_property
    def tip_height(self) -> int:
        """Height of the last recorded block, 0 before the first."""
        return 0 if self.tip is None else self.tip.height

    @cached_property
    def attempts(self) -> dict[str, BatchRow]:
        """txid of each attempt -> its batch."""
        return {attempt.txid: batch for batch in self.batches for attempt in batch.attempts}

    @cached_property
    def cap_sats(self) -> int:
        """Once coins of this much count, later ones do not; 0 is no cap."""
        return self.campaign.cap_sats if self.terms is None else self.terms.cap_sats

    @cached_property
    def over_cap(self) -> frozenset[tuple[str, int]]:
        """The outpoints of the coins that came after the cap was reached."""
        if self.cap_sats == 0:
            return frozenset()
        facts = [*map(facts_of, self.coins), *self.others]
        return over_cap(facts, self.closing_height, self.min_coin_sats, self.tip_height, self.cap_sats)

    @cached_property
    def cap_reached(self) -> bool:
        """Whether nothing more can count, as far as the blocks say today."""
        if self.cap_sats == 0:
            return False
        facts = [*map(facts_of, self.coins), *self.others]
        held_sats = counted_sats(facts, self.closing_height, self.min_coin_sats, self.tip_height, self.cap_sats)
        return held_sats >= self.cap_sats

    def standing(self, coin: Coin) -> Standing:
        """What the coin is worth to the goal; worked out once, as a page asks several times."""
        known = self._standings.get(coin.id)
        if known is None:
            known = self._standings[coin.id] = self._standing(coin)
        return known

    @cached_property
    def _standings(self) -> dict[int, Standing]:
        return {}

    def _standing(self, coin: Coin) -> Standing:
        if (coin.txid, coin.vout) in self.over_cap:
            return Standing.OVER_CAP
        return standing(facts_of(coin), self.closing_height, self.min_coin_sats, self.tip_height)

    def bucket(self, coin: Coin) -> Bucket | None:
        """The bucket of a coin; None while unconfirmed, and where a settlement of ours has spent it."""
        if coin.spent_by is not None:
            ours = coin.spent_by in self.attempts or coin.spent_by in self.taken_back
            return None if ours else Bucket.FOREIGN_SPEND
        return coin_bucket(self.standing(coin), self.outcome, bool(coin.batch_inputs))

    def fate(self, coin: Coin) -> str | None:
        """How far a coin has come on the way out: "planned", "release" or "refund" (in a block), or None; "foreign"
        where a transaction that is not ours has spent it, "taken" once a person has acknowledged that."""
        batch = self.attempts.get(coin.spent_by or "")
        if batch is not None:
            return batch.kind
        if coin.spent_by in self.taken_back:
            return Kind.REFUND
        if coin.id in self.stolen:
            return "taken"
        if coin.spent_by is not None:
            return "foreign"
        return "planned" if coin.batch_inputs and not self.lost_for_good(coin) else None

    def lost_for_good(self, coin: Coin) -> bool:
        """Is the coin's payment in no block, and something else, as deep as the terms ask, has spent its money? Then
        no plan that waits for it will ever be carried out."""
        if coin.height is not None or coin.rival is None or coin.rival.height is None:
            return False
        return depth(coin.rival.height, self.tip_height) >= self.confirmations

    def shown_bucket(self, coin: Coin) -> str:
        """The bucket as pages and bundle name it: for a settled coin, where its settlement went."""
        gone_to = {Kind.RELEASE.value: Bucket.PAID_OUT, Kind.REFUND.value: Bucket.REFUNDED}.get(self.fate(coin) or "")
        return gone_to or self.bucket(coin) or self.standing(coin)

    @cached_property
    def _split(self) -> set[int | None]:
        return {batch.parent_id for batch in self.batches}

    @property
    def standing_batches(self) -> list[BatchRow]:
        """The batches that do the work: of a batch and its parts, those that are in a block or may still get there."""
        return [b for b in self.batches if self.batch_state(b) not in REPLACED_BATCH]

    def mined(self, batch: BatchRow, coins: Sequence[Coin] | None = None) -> tuple[Attempt, int] | None:
        """The attempt that a block holds, and the height of that block. `coins`: those of its coins that are at hand,
        where not all were loaded; one transaction spends them all."""
        attempts = {attempt.txid: attempt for attempt in batch.attempts}
        for coin in _coins_of(batch) if coins is None else coins:
            if coin.spent_by in attempts and coin.spent_height is not None:
                return attempts[coin.spent_by], coin.spent_height
        return None

    def shown_attempt(self, batch: BatchRow, coins: Sequence[Coin] | None = None) -> Attempt:
        """The attempt that stands for the batch: the one in a block, else the newest. `coins` as for `mined`."""
        mined = self.mined(batch, coins)
        return batch.attempts[-1] if mined is None else mined[0]

    def batch_state(self, batch: BatchRow, coins: Sequence[Coin] | None = None) -> BatchState:
        """How far a batch has come. `coins` as for `mined`."""
        coins = _coins_of(batch) if coins is None else coins
        mined, newest = self.mined(batch, coins), batch.attempts[-1]
        return batch_state(
            signed=newest.raw is not None,
            sent=any(attempt.sent_at is not None for attempt in batch.attempts),
            inputs_confirmed=all(c.height is not None for c in coins),
            spent_height=None if mined is None else mined[1],
            tip_height=self.tip_height,
            confirmations=self.confirmations,
            superseded=any(c.spent_by in self.attempts or c.spent_by in self.taken_back for c in coins)
            or all(c.id in self.stolen for c in coins),
            partitioned=batch.id in self._split,
            unwanted=newest.refusal is not None and refusal_kind(newest.refusal) is Refusal.CONTENT,
        )


def _coins_of(batch: BatchRow) -> list[Coin]:
    return [i.coin for i in batch.inputs]


@dataclass(frozen=True)
class Summary:
    """The figures of a campaign; amounts in satoshi. `buckets` sum to `received_sats`."""

    state: CampaignState
    counted_sats: int
    seen_sats: int
    received_sats: int
    pledge_count: int
    buckets: dict[Bucket, int]

    def percent_of(self, goal_sats: int) -> int:
        """How much of the goal is confirmed, in whole percent, rounded down."""
        return self.counted_sats * 100 // goal_sats


def facts_of(coin: Coin) -> CoinFacts:
    """A coin's row as the pure functions want it."""
    rival = None
    if coin.rival is not None:
        rival = RivalFate.SEEN if coin.rival.height is None else RivalFate.CONFIRMED
    return CoinFacts(coin.value_sats, coin.height, coin.coinbase, coin.in_mempool, rival, (coin.txid, coin.vout))


def summarise(snapshot: Snapshot) -> Summary:
    """Every figure that a page shows of a campaign."""
    coins = snapshot.coins
    standings = {coin.id: snapshot.standing(coin) for coin in coins}
    # Refunds of what did not count come and go for ever; the campaign is settled when the coins that counted are.
    # Those that a reorganisation took away, or into a later block, are still owed by the plan of the decision.
    main = [b for b in snapshot.standing_batches if _is_main(snapshot, b, standings)]
    gone = {c.id for c in coins if c.spent_by in snapshot.taken_back} | snapshot.stolen
    owed = [c for c in coins if standings[c.id] is Standing.COUNTED and c.id not in gone]
    counting = (Standing.COUNTED, Standing.MATURING, Standing.SEEN)
    return Summary(
        state=campaign_state(
            snapshot.terms is not None,
            snapshot.closing_height,
            snapshot.outcome,
            (bool(main) or not owed)
            and all(snapshot.batch_state(b) is BatchState.FINAL for b in main)
            and not any(_has_stray(snapshot, b) and _is_main(snapshot, b, standings) for b in snapshot.batches),
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
        [PledgeCoin(facts_of(c), snapshot.fate(c), (c.txid, c.vout) in snapshot.over_cap) for c in pledge.coins],
        snapshot.closing_height,
        snapshot.decision is not None,
        snapshot.min_coin_sats,
        snapshot.tip_height,
    )


def load(session: Session, campaign_id: str) -> Snapshot:
    """The campaign's snapshot, with the pledges that were ever paid. Raises NotFound."""
    return snapshot_of(
        session,
        campaign_id,
        _pledges(session, campaign_id),
        _batches(session, campaign_id),
        taken_back(session, campaign_id),
    )


def snapshot_of(
    session: Session,
    campaign_id: str,
    pledges: Sequence[Pledge],
    batches: Sequence[BatchRow],
    taken_back: Mapping[str, TimelockedRefund],
    others: Sequence[CoinFacts] = (),
) -> Snapshot:
    """These pledges and batches of a campaign, with all that is known of it besides. Raises NotFound."""
    campaign = session.scalar(
        select(Campaign).where(Campaign.id == campaign_id).options(selectinload(Campaign.creator))
    )
    if campaign is None:
        raise NotFound("There is no such campaign.")
    terms = None if campaign.terms is None else CampaignTerms.parse(campaign.terms)
    end = None if terms is None else ending_block(session, campaign_id, terms)
    decision = session.get(DecisionRow, campaign_id)
    return Snapshot(
        campaign=campaign,
        terms=terms,
        pledges=pledges,
        batches=batches,
        decision=decision,
        closing=None if end is None else end.block,
        tip=chain_tip(session),
        balances=books.balances(session, campaign_id),
        taken_back=taken_back,
        stolen=thefts.acknowledged_coins(session, campaign_id),
        own_pledges=own_money.of_campaign(session, campaign_id),
        hidden_pledges=moderation.hidden_pledges(session, campaign_id),
        cancellation=None if terms is None else _cancellation(session, terms, decision, end),
        refund_changes=readdressing.taken(session, campaign_id),
        others=others,
    )


def load_by_pledge(session: Session, pledge_id: str) -> tuple[Snapshot, Pledge]:
    """A pledge and its own snapshot, which has no pledge but this one and no batch but those that spend its coins: for
    `pledge_summary`, not for `summarise`. Raises NotFound; a pledge without address was never shown."""
    found = select(Pledge).where(Pledge.id == pledge_id, Pledge.address.is_not(None))
    pledge = session.scalar(found.options(selectinload(Pledge.coins).options(*_OF_COINS)))
    if pledge is None:
        raise NotFound("There is no such pledge.")
    own = TimelockedRefund.coin_id.in_([coin.id for coin in pledge.coins])
    return snapshot_of(
        session,
        pledge.campaign_id,
        [pledge],
        _batches_of(session, pledge_id),
        _by_txid(session.scalars(_taken_back().where(own))),
        _others(session, pledge),
    ), pledge


def unsplit_batches(session: Session, campaign_id: str, kind: str) -> list[int]:
    """Ids of a campaign's batches of this kind that no smaller ones replace, in the order of planning."""
    part = aliased(BatchRow)
    found = select(BatchRow.id).where(BatchRow.campaign_id == campaign_id, BatchRow.kind == kind)
    unsplit = found.where(~select(part.id).where(part.parent_id == BatchRow.id).exists())
    return list(session.scalars(unsplit.order_by(BatchRow.id)))


def _batches_of(session: Session, pledge_id: str) -> Sequence[BatchRow]:
    """Without their inputs, which may be thousands."""
    spends = select(BatchInput.batch_id).join(Coin, Coin.id == BatchInput.coin_id).where(Coin.pledge_id == pledge_id)
    own = select(BatchRow).where(BatchRow.id.in_(spends)).order_by(BatchRow.id)
    return session.scalars(own.options(selectinload(BatchRow.attempts))).all()


def _others(session: Session, pledge: Pledge) -> Sequence[CoinFacts]:
    """The coins of other pledges that may come before this one's, where there is a cap. What is in no block uses
    nothing up."""
    text = session.scalar(select(Campaign.terms).where(Campaign.id == pledge.campaign_id))
    if text is None or CampaignTerms.parse(text).cap_sats == 0:
        return ()
    columns = (Coin.value_sats, Coin.height, Coin.coinbase, Coin.txid, Coin.vout)
    rows = session.execute(
        select(*columns)
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .where(Pledge.campaign_id == pledge.campaign_id, Coin.height.is_not(None), Pledge.id != pledge.id)
        .where(Pledge.address.is_not(None))
    )
    return [CoinFacts(sats, height, coinbase, outpoint=(txid, n)) for sats, height, coinbase, txid, n in rows]


def published(session: Session) -> list[Snapshot]:
    """Every published campaign, newest first."""
    ids = session.scalars(select(Campaign.id).where(Campaign.terms.is_not(None)).order_by(Campaign.published_at.desc()))
    return [load(session, campaign_id) for campaign_id in ids.all()]


def of_creator(session: Session, creator_id: int) -> list[Snapshot]:
    """The campaigns and drafts of a creator's projects, newest first."""
    ids = session.scalars(
        select(Campaign.id)
        .join(ProjectMember, ProjectMember.project_id == Campaign.project_id)
        .where(ProjectMember.creator_id == creator_id, ProjectMember.left_at.is_(None))
        .order_by(Campaign.created_at.desc())
    )
    return [load(session, campaign_id) for campaign_id in ids.all()]


def _cancellation(
    session: Session, terms: CampaignTerms, decision: DecisionRow | None, end: EndingBlock | None
) -> HeldCancellation | None:
    """What was decided stays decided, whatever became of the block since."""
    row = decision.cancellation if decision is not None else None if end is None else end.cancellation
    return None if row is None else cancelling.held(session, row, terms)


def _pledges(session: Session, campaign_id: str) -> Sequence[Pledge]:
    """Unpaid pledges cost nothing to make, so their number must cost no page anything."""
    return session.scalars(
        select(Pledge)
        .where(Pledge.campaign_id == campaign_id, Pledge.address.is_not(None), Pledge.coins.any())
        .order_by(Pledge.index)
        .options(selectinload(Pledge.coins).options(*_OF_COINS))
    ).all()


def _batches(session: Session, campaign_id: str) -> Sequence[BatchRow]:
    return session.scalars(
        select(BatchRow)
        .where(BatchRow.campaign_id == campaign_id)
        .order_by(BatchRow.id)
        .options(
            selectinload(BatchRow.inputs).selectinload(BatchInput.coin),
            selectinload(BatchRow.attempts).selectinload(Attempt.outputs),
        )
    ).all()


def taken_back(session: Session, campaign_id: str) -> dict[str, TimelockedRefund]:
    """The time-locked refunds of a campaign that blocks hold, by their txids."""
    own = _taken_back().join(Pledge, Pledge.id == Coin.pledge_id).where(Pledge.campaign_id == campaign_id)
    return _by_txid(session.scalars(own))


def _taken_back() -> Select[TimelockedRefund]:
    spends = and_(Coin.id == TimelockedRefund.coin_id, Coin.spent_by == TimelockedRefund.txid)
    return select(TimelockedRefund).join(Coin, spends).order_by(TimelockedRefund.txid)


def _by_txid(rows: Iterable[TimelockedRefund]) -> dict[str, TimelockedRefund]:
    return {row.txid: row for row in rows}


def _is_main(snapshot: Snapshot, batch: BatchRow, standings: Mapping[int, Standing]) -> bool:
    """Does the batch pay coins that counted? A payout does, and so does the refund planned with the decision, whatever
    a reorganisation makes of its coins."""
    if batch.kind == Kind.RELEASE:
        return True
    first = snapshot.outcome is Outcome.FAILED and _root(snapshot, batch) == min(b.id for b in snapshot.batches)
    return first or any(standings[i.coin_id] not in (Standing.LATE, Standing.OVER_CAP) for i in batch.inputs)


def _has_stray(snapshot: Snapshot, batch: BatchRow) -> bool:
    """Was the batch split without a coin that is unspent in a block after all? That one is still to be paid."""
    parts = [b for b in snapshot.batches if b.parent_id == batch.id]
    held = {i.coin_id for part in parts for i in part.inputs}
    coins = [i.coin for i in batch.inputs if i.coin_id not in held]
    return bool(parts) and any(c.height is not None and c.spent_by is None for c in coins)


def _root(snapshot: Snapshot, batch: BatchRow) -> int:
    """Id of the batch that it was split from in the end."""
    parents = {b.id: b.parent_id for b in snapshot.batches}
    found = batch.id
    while (parent := parents[found]) is not None:
        found = parent
    return found


def _counted_sats(snapshot: Snapshot, standings: Mapping[int, Standing]) -> int:
    """What the ledger has as counted. Money that was decided on (or stolen) has moved on: then it is the sum of the
    coins that count, wherever they went."""
    if snapshot.decision is None and not snapshot.balances.get(Bucket.FOREIGN_SPEND):
        return snapshot.balances.get(Bucket.COUNTED, 0)
    return sum(c.value_sats for c in snapshot.coins if standings[c.id] is Standing.COUNTED)


def settlement_preview(snapshot: Snapshot, feerate_sat_vb: int) -> SettlementPreview | None:
    """What the end of the campaign would come to at today's feerate: the payout once the goal is reached, refunds
    before that. None for a draft, and once the outcome is decided."""
    if snapshot.terms is None or snapshot.outcome is not None:
        return None
    counted = [
        SpendableCoin(coin.txid, coin.vout, coin.value_sats, pledge.index, pledge.refund_script)
        for pledge in snapshot.pledges
        for coin in pledge.coins
        if snapshot.standing(coin) is Standing.COUNTED
    ]
    reached = snapshot.cancellation is None and sum(coin.value_sats for coin in counted) >= snapshot.terms.goal_sats
    payout_script = bytes.fromhex(snapshot.terms.payout_script)
    return preview(Kind.RELEASE if reached else Kind.REFUND, counted, payout_script, feerate_sat_vb)
