"""From a snapshot to what a template shows. Text and selection only; every figure comes from `campaigns.queries`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import url_for
from flask_babel import gettext as _
from markupsafe import Markup

from crowdfund.campaigns.cancelling import HeldCancellation
from crowdfund.campaigns.ledger import LABELS, Bucket
from crowdfund.campaigns.lifecycle import (
    UNCONFIRMED,
    BatchState,
    CampaignState,
    Kind,
    Outcome,
    Standing,
    campaign_state,
)
from crowdfund.campaigns.models import BatchRow, Coin, Pledge
from crowdfund.campaigns.overview import OwnShare, own_share
from crowdfund.campaigns.pledges import PledgeState
from crowdfund.campaigns.queries import Snapshot, Summary, pledge_summary, settlement_preview, summarise
from crowdfund.campaigns.settlement import SettlementPreview, refund_estimate_sats
from crowdfund.campaigns.terms import BLOCK_SPACING, refundable_up_to_sat_vb
from crowdfund.projects.licenses import license_title
from crowdfund.sentences import N_
from crowdfund.wallet.fees import MIN_FEERATE_SAT_VB
from crowdfund.wallet.payment_uri import payment_uri, qr_svg, qr_text
from crowdfund.web import words
from crowdfund.web.markdown import story_html
from crowdfund.web.picture_views import PictureView
from crowdfund.web.site import AsOf
from crowdfund.web.way import Step, steps

EXAMPLE_SATS = 100_000
EXAMPLE_SCRIPT = b"\x00\x14" + bytes(20)
BACKERS_SHOWN = 200
ALWAYS_SHOWN = (Bucket.COUNTED, Bucket.LATE, Bucket.DUST)


@dataclass(frozen=True)
class BucketView:
    """One line of "where every satoshi is"."""

    name: str
    label: str
    sats: int
    note: str = ""


@dataclass(frozen=True)
class BatchView:
    """One transaction of a settlement."""

    txid: str
    state: str
    fee_sats: int
    input_count: int
    attempt_count: int


@dataclass(frozen=True)
class SettlementView:
    """All transactions of one kind."""

    kind: str
    state: str
    sentence: str
    batches: list[BatchView]


@dataclass(frozen=True)
class BackerView:
    """What a backer chose to show."""

    name: str
    message: str
    sats: int
    confirmed: bool
    own: bool = False
    hidden: bool = False


@dataclass(frozen=True)
class CampaignView:
    """A campaign as pages and API show it."""

    id: str
    url: str
    title: str
    summary: str
    story_html: Markup
    goal_sats: int
    deadline_at: datetime
    project_url: str
    license: str
    license_name: str
    creator_name: str
    cap_sats: int
    cap_sentence: Markup
    full: bool
    state: CampaignState
    state_label: str
    state_sentence: str
    counted_sats: int
    seen_sats: int
    maturing_sats: int
    total_received_sats: int
    pledge_count: int
    percent: int
    stripes: list[tuple[int, bool]]
    buckets: list[BucketView]
    terms_hash: str | None
    descriptor: str | None
    payout_address: str
    min_pledge_sats: int
    min_pledge_rate: int
    timelock_height: int
    timelock_at: datetime | None
    time_left: str
    refund_example: tuple[int, int] | None
    accepts_pledges: bool
    outcome: Outcome | None
    closing_height: int | None
    paused: str | None
    settlements: list[SettlementView]
    backers: list[BackerView]
    own: OwnShare
    pictures: Sequence[PictureView]
    cancelled: HeldCancellation | None


@dataclass(frozen=True)
class PledgedCampaign:
    """A campaign as the page of a pledge to it speaks of it: what follows from the terms and the chain alone, without
    the other pledges."""

    id: str
    title: str
    goal_sats: int
    deadline_at: datetime
    terms_hash: str | None
    payout_address: str
    state: str
    full: bool
    accepts_pledges: bool
    outcome: Outcome | None
    closing_height: int | None
    cancelled: HeldCancellation | None


@dataclass(frozen=True)
class CoinView:
    """A coin on a pledge's page or in the audit's table."""

    index: int
    address: str
    txid: str
    vout: int
    value_sats: int
    state: str
    height: int | None
    block_hash: str | None
    bucket: str
    spent_txid: str | None
    note: str = ""


@dataclass(frozen=True)
class PledgeView:
    """A pledge as its owner sees it."""

    id: str
    url: str
    campaign: PledgedCampaign
    amount_sats: int
    due_sats: int
    address: str
    uri: str
    qr_svg: Markup
    refund_address: str
    name: str
    message: str
    state: PledgeState
    headline: str
    sentence: Markup
    received_sats: int
    seen_sats: int
    counted_sats: int
    maturing_sats: int
    over_cap_sats: int
    coins: list[CoinView]
    steps: list[Step]
    accepts_payment: bool
    settled_txid: str | None
    settled_kind: str | None
    refund_example_sats: int | None


def campaign_view(
    snapshot: Snapshot, network: str, as_of: AsOf | None, pictures: Sequence[PictureView] = ()
) -> CampaignView:
    """The page's view of a campaign or draft, with the pictures that the page shows."""
    campaign, terms, summary = snapshot.campaign, snapshot.terms, summarise(snapshot)
    now = chain_time(network, as_of)
    deadline = campaign.deadline_at if terms is None else terms.deadline
    min_pledge_sats = 0 if terms is None else terms.min_pledge_sats
    feerate_sat_vb = as_of.feerate_sat_vb if as_of else MIN_FEERATE_SAT_VB
    example_sats = max(EXAMPLE_SATS, min_pledge_sats)
    full = summary.state is CampaignState.OPEN and snapshot.cap_reached
    return CampaignView(
        id=campaign.id,
        url=url_for("public.campaign", campaign_id=campaign.id),
        title=campaign.title,
        summary=campaign.summary,
        story_html=story_html(campaign.story),
        goal_sats=campaign.goal_sats,
        deadline_at=deadline,
        project_url=campaign.project_url,
        license=campaign.license,
        license_name=license_title(campaign.license),
        creator_name=campaign.creator.name,
        cap_sats=snapshot.cap_sats,
        cap_sentence=words.cap_sentence(snapshot.cap_sats),
        full=full,
        state=summary.state,
        state_label=words.state_label(summary.state, snapshot.cancellation is not None),
        state_sentence=_state_sentence(snapshot, summary, full),
        counted_sats=summary.counted_sats,
        seen_sats=summary.seen_sats,
        maturing_sats=summary.buckets[Bucket.MATURING],
        total_received_sats=summary.received_sats,
        pledge_count=summary.pledge_count,
        percent=summary.percent_of(campaign.goal_sats),
        stripes=_stripes(snapshot),
        buckets=[BucketView(b, _(LABELS[b]), sats) for b, sats in summary.buckets.items() if sats or b in ALWAYS_SHOWN],
        terms_hash=campaign.terms_hash,
        descriptor=campaign.descriptor,
        payout_address=campaign.payout_address,
        min_pledge_sats=min_pledge_sats,
        min_pledge_rate=refundable_up_to_sat_vb(min_pledge_sats),
        timelock_height=terms.timelock_height if terms else 0,
        timelock_at=expected_at(terms.timelock_height, now, as_of) if terms and as_of else None,
        time_left=words.time_left(deadline, now),
        refund_example=(example_sats, refund_estimate_sats(example_sats, EXAMPLE_SCRIPT, feerate_sat_vb)),
        accepts_pledges=summary.state is CampaignState.OPEN and now <= deadline and not full,
        outcome=snapshot.outcome,
        closing_height=snapshot.closing_height,
        paused=(as_of.pause or None) if as_of and summary.state is CampaignState.CLOSING else None,
        settlements=settlement_views(snapshot),
        backers=_backers(snapshot),
        own=own_share(snapshot),
        pictures=pictures,
        cancelled=snapshot.cancellation,
    )


def _state_sentence(snapshot: Snapshot, summary: Summary, full: bool) -> str:
    if snapshot.cancellation is not None:
        return words.cancelled_sentence(summary.state, snapshot.cancellation.height, snapshot.confirmations)
    reached = summary.counted_sats >= snapshot.campaign.goal_sats
    return words.campaign_sentence(summary.state, reached, snapshot.closing_height, snapshot.confirmations, full)


def pledge_view(snapshot: Snapshot, pledge: Pledge, network: str, as_of: AsOf | None, base_url: str) -> PledgeView:
    """The page's view of a pledge."""
    campaign = _pledged_campaign(snapshot, network, as_of)
    facts = pledge_summary(snapshot, pledge)
    paid_sats = facts.counted_sats + facts.maturing_sats + facts.seen_sats
    due_sats = pledge.amount_sats - paid_sats if 0 < paid_sats < pledge.amount_sats else pledge.amount_sats
    address = pledge.address or ""
    feerate_sat_vb = as_of.feerate_sat_vb if as_of else MIN_FEERATE_SAT_VB
    closed = campaign.state != CampaignState.OPEN or chain_time(network, as_of) > campaign.deadline_at
    ended, full = campaign.closing_height is not None, campaign.full and not closed
    settled = next((c for c in pledge.coins if snapshot.fate(c) in (Kind.RELEASE, Kind.REFUND)), None)
    return PledgeView(
        id=pledge.id,
        url=base_url + url_for("pledges.show", pledge_id=pledge.id),
        campaign=campaign,
        amount_sats=pledge.amount_sats,
        due_sats=due_sats,
        address=address,
        uri=payment_uri(address, due_sats),
        qr_svg=Markup(qr_svg(qr_text(address, due_sats))),
        refund_address=pledge.refund_address,
        name=pledge.name,
        message=pledge.message,
        state=facts.state,
        headline=words.pledge_headline(facts.state, closed, full),
        sentence=words.pledge_sentence(
            facts, pledge.amount_sats, snapshot.outcome, closed, ended, full, campaign.cancelled is not None
        ),
        received_sats=facts.received_sats,
        seen_sats=facts.seen_sats,
        counted_sats=facts.counted_sats,
        maturing_sats=facts.maturing_sats,
        over_cap_sats=facts.over_cap_sats,
        coins=[coin_view(snapshot, pledge, coin) for coin in pledge.coins],
        steps=steps(
            pledge.refund_address,
            facts,
            campaign.deadline_at,
            closed,
            ended,
            full,
            campaign.cancelled is not None,
            snapshot.outcome,
        ),
        accepts_payment=campaign.accepts_pledges and paid_sats < pledge.amount_sats,
        settled_txid=None if settled is None else settled.spent_by,
        settled_kind=None if settled is None else snapshot.fate(settled),
        refund_example_sats=refund_estimate_sats(
            facts.received_sats or pledge.amount_sats, pledge.refund_script, feerate_sat_vb
        ),
    )


def _pledged_campaign(snapshot: Snapshot, network: str, as_of: AsOf | None) -> PledgedCampaign:
    campaign, terms = snapshot.campaign, snapshot.terms
    deadline_at = campaign.deadline_at if terms is None else terms.deadline
    # Whether it is settled is not asked here: that would take all of its coins.
    state = campaign_state(terms is not None, snapshot.closing_height, snapshot.outcome, settled=False)
    is_open = state is CampaignState.OPEN
    full = is_open and snapshot.cap_reached
    return PledgedCampaign(
        id=campaign.id,
        title=campaign.title,
        goal_sats=campaign.goal_sats,
        deadline_at=deadline_at,
        terms_hash=campaign.terms_hash,
        payout_address=campaign.payout_address,
        state=state.value if is_open else "ended",
        full=full,
        accepts_pledges=is_open and chain_time(network, as_of) <= deadline_at and not full,
        outcome=snapshot.outcome,
        closing_height=snapshot.closing_height,
        cancelled=snapshot.cancellation,
    )


COIN_NOTES = {
    Standing.DUST: N_("Too small to count."),
    Standing.LATE: N_("Came after the deadline."),
    Standing.OVER_CAP: N_("Came when the campaign had all that it accepts."),
    Standing.MATURING: N_("Freshly mined: counts 100 blocks later."),
    Standing.REPLACED: N_("Another transaction took its place."),
    Standing.DOUBLE_SPENT: N_("A block holds another transaction that spends the same money."),
    Standing.EVICTED: N_("The network has dropped it. It may come back."),
}
FOREIGN_NOTE = N_("A transaction that is not ours has spent it.")


def coin_view(snapshot: Snapshot, pledge: Pledge, coin: Coin) -> CoinView:
    """A coin with its bucket."""
    standing, bucket = snapshot.standing(coin), snapshot.shown_bucket(coin)
    note = FOREIGN_NOTE if bucket == Bucket.FOREIGN_SPEND else COIN_NOTES.get(standing, "")
    return CoinView(
        index=pledge.index,
        address=pledge.address or "",
        txid=coin.txid,
        vout=coin.vout,
        value_sats=coin.value_sats,
        state=standing.value if standing in UNCONFIRMED else "confirmed",
        height=coin.height,
        block_hash=coin.block_hash,
        bucket=bucket,
        spent_txid=coin.spent_by,
        note=_(note) if note else "",
    )


def settlement_views(snapshot: Snapshot) -> list[SettlementView]:
    """Settlements by kind, the release first."""
    found = []
    for kind in (Kind.RELEASE, Kind.REFUND):
        batches = [b for b in snapshot.standing_batches if b.kind == kind]
        states = [snapshot.batch_state(b) for b in batches]
        if batches:
            final = sum(s is BatchState.FINAL for s in states)
            least = min(states, key=list(BatchState).index)
            found.append(
                SettlementView(
                    kind=kind,
                    state=least,
                    sentence=words.settlement_sentence(kind, final, len(batches), states.count(BatchState.NEEDS_HUMAN)),
                    batches=[_batch_view(snapshot, b, s) for b, s in zip(batches, states, strict=True)],
                )
            )
    return found


def preview_view(snapshot: Snapshot, as_of: AsOf | None) -> SettlementPreview | None:
    """What the end would come to at the feerate of today; it is reckoned coin by coin, so for one campaign's page."""
    return settlement_preview(snapshot, as_of.feerate_sat_vb if as_of else MIN_FEERATE_SAT_VB)


def chain_time(network: str, as_of: AsOf | None) -> datetime:
    """On regtest all time is the chain's."""
    return as_of.median_time_past if network == "regtest" and as_of else datetime.now(UTC)


def expected_at(height: int, now: datetime, as_of: AsOf) -> datetime:
    """When a block is expected, at ten minutes each."""
    return now + max(0, height - as_of.height) * BLOCK_SPACING


def _batch_view(snapshot: Snapshot, batch: BatchRow, state: BatchState) -> BatchView:
    shown = snapshot.shown_attempt(batch)
    return BatchView(shown.txid, state, shown.fee_sats, len(batch.inputs), len(batch.attempts))


def _stripes(snapshot: Snapshot) -> list[tuple[int, bool]]:
    """One stripe a pledge for what counts, then one for what does not count yet; what comes too late has none."""
    confirmed, coming = [], []
    for pledge in snapshot.pledges:
        counted_sats, coming_sats = _shown_sats(snapshot, pledge)
        if counted_sats:
            confirmed.append((counted_sats, True))
        if coming_sats:
            coming.append((coming_sats, False))
    return confirmed + coming


def _shown_sats(snapshot: Snapshot, pledge: Pledge) -> tuple[int, int]:
    """What of a pledge counts, and what may still count: seen, or freshly mined. After the closing block nothing does,
    and once the cap is reached nothing that is in no block yet."""
    counted_sats = coming_sats = 0
    for coin in pledge.coins:
        standing = snapshot.standing(coin)
        if standing is Standing.COUNTED:
            counted_sats += coin.value_sats
        elif snapshot.closing_height is None and (
            standing is Standing.MATURING or (standing is Standing.SEEN and not snapshot.cap_reached)
        ):
            coming_sats += coin.value_sats
    return counted_sats, coming_sats


def _backers(snapshot: Snapshot) -> list[BackerView]:
    """The newest first; only those whose money was seen."""
    found: list[BackerView] = []
    for pledge in reversed(snapshot.pledges):
        counted_sats, coming_sats = _shown_sats(snapshot, pledge)
        if counted_sats + coming_sats:
            found.append(_backer(snapshot, pledge, counted_sats + coming_sats, bool(counted_sats)))
        if len(found) == BACKERS_SHOWN:
            break
    return found


def _backer(snapshot: Snapshot, pledge: Pledge, sats: int, confirmed: bool) -> BackerView:
    hidden, own = pledge.id in snapshot.hidden_pledges, pledge.id in snapshot.own_pledges
    name, message = (_("name hidden"), "") if hidden else (pledge.name or _("anonymous"), pledge.message)
    return BackerView(name, message, sats, confirmed, own, hidden)
