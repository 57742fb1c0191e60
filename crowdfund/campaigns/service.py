"""The use cases of creators and backers that write: drafts, publishing, pledging. One function each.

Every function takes a session (or the database, where one use case needs two transactions) and raises UserError
with one sentence where it cannot be done.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime

from sqlalchemy import and_, func, select, update
from sqlalchemy.orm import Session

from crowdfund.campaigns import figures, queries, review, stock
from crowdfund.campaigns.detail_checks import check_details
from crowdfund.campaigns.details import Details
from crowdfund.campaigns.drafts import EMPTY, Draft, check_draft, clean_text, freeze
from crowdfund.campaigns.endings import ending_block
from crowdfund.campaigns.models import Account, Block, Campaign, Coin, Pledge, Restore
from crowdfund.campaigns.refund_models import RefundChangeRow
from crowdfund.campaigns.terms import CampaignTerms, refundable_up_to_sat_vb
from crowdfund.campaigns.tip import chain_tip
from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.errors import NotFound, Problems, UserError
from crowdfund.projects import people, writing
from crowdfund.projects.roles import Action
from crowdfund.sentences import N_, Sentence
from crowdfund.wallet.addresses import normalise, script_of
from crowdfund.wallet.amounts import MAX_MONEY_SATS
from crowdfund.wallet.descriptors import campaign_descriptor, derive_address
from crowdfund.wallet.signer_client import Account as OfferedAccount

ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
CAMPAIGN_ID_LENGTH = 10
ADDRESS_TRIES = 50
PLEDGE_ID_LENGTH = 26  # 128 bits: the link is the backer's key
NAME_LIMIT = 60
MESSAGE_LIMIT = 280
OPENING_DEPTH = 6


_NO_ACCOUNT = {
    "socket": "The signer has not handed out an account yet; try again in a moment.",
    "cold": "No account is left for a new campaign; tell the operator, who brings new ones by hand.",
}

# Not taken by any campaign; an account is never taken twice, its column is unique.
# After a restore those that campaigns may have taken since the backup are left alone.
_first_account = select(func.coalesce(func.max(Restore.first_account), 0)).scalar_subquery()
_is_spare = and_(
    Account.index.not_in(select(Campaign.account_index).where(Campaign.account_index.is_not(None))),
    Account.index >= _first_account,
)
_lacks_receipt_key = _is_spare & Account.receipt_key.is_(None)
RESTORED = N_("This site was restored from a backup and looks through the chain first; please try again later.")


def new_id(length: int) -> str:
    """Random letters and digits without look-alikes."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def chain_now(session: Session, network: str) -> datetime:
    """Now: on regtest the chain's own time, as everything there is judged by it; elsewhere the clock's."""
    tip = chain_tip(session) if network == "regtest" else None
    return datetime.now(UTC) if tip is None else datetime.fromtimestamp(tip.median_time_past, UTC)


def save_draft(
    session: Session,
    settings: Settings,
    creator_id: int,
    draft: Draft,
    campaign_id: str | None = None,
    details: Details | None = None,
) -> Campaign:
    """Keep a new draft, or the changes to one of an own project; without `details` those stay as they are.

    A new one belongs to the creator's project at its address, which is made if there is none. Raises Problems,
    UserError where the creator's role does not allow it, or NotFound for another's.
    """
    draft = check_draft(draft, settings.network, chain_now(session, settings.network))
    refuse_own_address(session, script_of(draft.payout_address, settings.network), "payout_address")
    if details is not None:
        details = check_details(details, draft.goal_sats)
    if campaign_id is None:
        project = writing.find_or_make(session, creator_id, draft.project_url, draft.license)
        campaign = new_draft(session, creator_id, project.id)
    else:
        campaign = own_campaign(session, creator_id, campaign_id)
        if campaign.terms is not None:
            raise UserError("This campaign is published: its terms cannot change any more.")
    change_draft(session, creator_id, campaign, asdict(draft) | ({} if details is None else {"details": details}))
    return campaign


def new_draft(session: Session, creator_id: int, project_id: str) -> Campaign:
    """An empty draft in a project. Raises UserError, NotFound."""
    people.require(session, creator_id, project_id, Action.WRITE)
    campaign = Campaign(
        id=new_id(CAMPAIGN_ID_LENGTH),
        creator_id=creator_id,
        project_id=project_id,
        created_at=datetime.now(UTC),
        next_index=0,
        **asdict(EMPTY),
    )
    session.add(campaign)
    session.flush()
    return campaign


def change_draft(session: Session, creator_id: int, campaign: Campaign, values: Mapping[str, object]) -> None:
    """Change what differs, if the creator's role allows just that. Raises UserError."""
    texts = {name: value.canonical() if isinstance(value, Details) else value for name, value in values.items()}
    changed = {name: value for name, value in texts.items() if getattr(campaign, name) != value}
    if changed.keys() & {"payout_address"}:
        _require(session, creator_id, campaign, Action.PAYOUT, "payout_address")
    if changed.keys() - {"payout_address"}:
        _require(session, creator_id, campaign, Action.WRITE, "")
    for name, value in changed.items():
        setattr(campaign, name, value)


def _require(session: Session, creator_id: int, campaign: Campaign, action: Action, field: str) -> None:
    try:
        people.require(session, creator_id, campaign.project_id, action)
    except NotFound:
        raise
    except UserError as error:
        raise UserError(error.sentence, field or None) from error


def own_campaign(session: Session, creator_id: int, campaign_id: str, action: Action = Action.SEE_DRAFTS) -> Campaign:
    """A campaign of the creator's projects. Raises NotFound for another's, as if it were not there, and UserError where
    the creator's role does not allow `action`."""
    campaign = session.get(Campaign, campaign_id)
    if campaign is None or people.role_of(session, creator_id, campaign.project_id) is None:
        raise NotFound("There is no such campaign among yours.")
    people.require(session, creator_id, campaign.project_id, action)
    return campaign


def why_not_publish(session: Session, settings: Settings, campaign: Campaign) -> str | None:
    """What stands in the way of publishing a draft, in one sentence; None if nothing does."""
    try:
        _ready_to_publish(session, settings, campaign)
    except UserError as error:
        return error.sentence
    return None


def publish(session: Session, settings: Settings, creator_id: int, campaign_id: str) -> Campaign:
    """Freeze the terms, take the next account, derive the descriptor. Publishing twice is the same as once."""
    campaign = own_campaign(session, creator_id, campaign_id, Action.PUBLISH)
    if campaign.terms is not None:
        return campaign
    tip, account = _ready_to_publish(session, settings, campaign)
    details = writing.final_details(session, campaign)
    terms = freeze(campaign, settings, tip, account.receipt_key or "", details.sha256)
    if _is_published(session, creator_id, terms):
        raise UserError("You have published a campaign with exactly these terms already; change something in this one.")
    campaign.details = details.canonical()
    campaign.terms, campaign.terms_hash = terms.canonical(), terms.hash.hex()
    campaign.account_index = account.index
    campaign.descriptor = campaign_descriptor(
        account.fingerprint, account.index, account.xpub, terms.hash, settings.network
    )
    campaign.published_at = datetime.now(UTC)
    session.flush()
    stock.lay_out(session, campaign.id, details)
    figures.refresh(session, campaign.id)
    return campaign


def terms_preview(session: Session, settings: Settings, campaign: Campaign) -> CampaignTerms:
    """The terms as they would be if the draft were published now; the next block and account may change its last parts.

    Raises UserError if it cannot be published.
    """
    tip, account = _ready_to_publish(session, settings, campaign)
    return freeze(campaign, settings, tip, account.receipt_key or "", writing.final_details(session, campaign).sha256)


def _is_published(session: Session, creator_id: int, terms: CampaignTerms) -> bool:
    """Has the creator published these terms already? Each account has a receipt key of its own: that one is no news."""
    texts = session.scalars(
        select(Campaign.terms).where(Campaign.creator_id == creator_id, Campaign.terms.is_not(None))
    )
    others = (CampaignTerms.parse(text or "") for text in texts)
    return any(replace(other, receipt_key="") == replace(terms, receipt_key="") for other in others)


def _ready_to_publish(session: Session, settings: Settings, campaign: Campaign) -> tuple[Block, Account]:
    """The block that the terms will name, and the next free account that can sign receipts.

    Raises UserError if the draft, node or signer is not ready.
    """
    check_draft(draft_of(campaign), settings.network, chain_now(session, settings.network))
    check_details(Details.parse(campaign.details), campaign.goal_sats)
    review.refuse_unapproved(session, settings, campaign)
    _refuse_while_restoring(session)
    tip = chain_tip(session)
    if tip is None:
        raise UserError("No block was seen yet, so nothing can be published; try again when the node is running.")
    usable = select(Account).where(_is_spare, Account.receipt_key.is_not(None))
    account = session.scalar(usable.order_by(Account.index).limit(1))
    if account is None:
        raise UserError(_NO_ACCOUNT[settings.signer])
    return _opening_block(session, tip), account


def _opening_block(session: Session, tip: Block) -> Block:
    """Some blocks deep, so that no usual reorganisation takes it away: proof of the campaign's end leads through it."""
    deep = select(Block).where(Block.height <= tip.height - OPENING_DEPTH).order_by(Block.height.desc()).limit(1)
    oldest = select(Block).order_by(Block.height).limit(1)
    return session.scalar(deep) or session.scalar(oldest) or tip


def draft_of(campaign: Campaign) -> Draft:
    """The draft as it was typed."""
    return Draft(
        title=campaign.title,
        summary=campaign.summary,
        story=campaign.story,
        goal_sats=campaign.goal_sats,
        deadline_at=campaign.deadline_at,
        payout_address=campaign.payout_address,
        project_url=campaign.project_url,
        license=campaign.license,
        cap_sats=campaign.cap_sats,
    )


def open_pledge(
    database: Database,
    settings: Settings,
    campaign_id: str,
    amount_sats: int,
    refund_address: str,
    name: str = "",
    message: str = "",
    reward: int | None = None,
    when_scarce: Callable[[Session], None] | None = None,
    when_made: Callable[[Session, str], None] | None = None,
) -> str:
    """A new pledge with its own address; returns its id. `reward` is the number of the one chosen, None for none.

    `when_scarce` is called where one of a limited number is reserved, and may refuse by an exception. `when_made` is
    called in the transaction that stores the address; by an exception it keeps the pledge from ever having one.

    First transaction: the index is advanced and stored. Then the address is derived, twice. Second transaction:
    the address is stored. Only then may it be shown. A crash in between leaves an index that nobody was told.
    """
    for _ in range(ADDRESS_TRIES):
        with database.transaction() as session:
            pledge = _reserve_index(session, settings, campaign_id, amount_sats, refund_address, name, message)
            if stock.reserve(session, pledge, reward) and when_scarce:
                when_scarce(session)
            descriptor = pledge.campaign.descriptor or ""
            pledge_id, index = pledge.id, pledge.index
        address, script = derive_address(descriptor, index, settings.network)
        with database.transaction() as session:
            if not _is_paid_by_us(session, address, script):
                session.execute(update(Pledge).where(Pledge.id == pledge_id).values(address=address, script=script))
                if when_made:
                    when_made(session, pledge_id)
                return pledge_id
            stock.give_up(session, pledge_id)
    raise UserError("This pledge could not get an address; nothing is lost, please send the form again.")


def check_pledge(
    session: Session,
    settings: Settings,
    campaign_id: str,
    amount_sats: int,
    refund_address: str,
    name: str = "",
    message: str = "",
) -> None:
    """Only what `open_pledge` would have to say of the values. Raises Problems with a sentence for each field."""
    campaign = session.get(Campaign, campaign_id)
    if campaign is not None and campaign.terms is not None:
        terms = CampaignTerms.parse(campaign.terms)
        _check_pledge(session, settings.network, terms, amount_sats, refund_address, name, message)


def _is_paid_by_us(session: Session, address: str, script: bytes) -> bool:
    """Would a refund or a payout of ours go to this address? Then it is never given out: money would run in circles.

    Whoever reads the public descriptor can name an address before it is given out, even a pledge's own one.
    """
    refund = session.scalar(select(Pledge.id).where(Pledge.refund_script == script).limit(1))
    later = session.scalar(select(RefundChangeRow.id).where(RefundChangeRow.new_script == script).limit(1))
    payout = session.scalar(select(Campaign.id).where(Campaign.payout_address == address).limit(1))
    return any(found is not None for found in (refund, later, payout))


def _reserve_index(
    session: Session,
    settings: Settings,
    campaign_id: str,
    amount_sats: int,
    refund_address: str,
    name: str,
    message: str,
) -> Pledge:
    campaign = session.get(Campaign, campaign_id)
    if campaign is None or campaign.terms is None:  # nobody learns here that there is a draft
        raise NotFound("There is no such campaign.")
    _refuse_while_restoring(session)
    terms = CampaignTerms.parse(campaign.terms)
    end = ending_block(session, campaign_id, terms)
    if end is not None and end.cancellation is not None:
        raise UserError("The creator has cancelled this campaign. It takes no more pledges.")
    if end is not None or chain_now(session, settings.network) > terms.deadline:
        raise UserError("This campaign has reached its deadline and takes no more pledges.")
    if terms.cap_sats and _is_full(session, campaign_id, terms.cap_sats):
        raise UserError(
            Sentence(
                "This campaign has {cap} sat, all that it accepts, and takes no more pledges: what came now would only "
                "be sent back.",
                cap=terms.cap_sats,
            )
        )
    refund_script = _check_pledge(session, settings.network, terms, amount_sats, refund_address, name, message)
    campaign.next_index += 1
    pledge = Pledge(
        id=new_id(PLEDGE_ID_LENGTH),
        campaign=campaign,
        index=campaign.next_index - 1,
        amount_sats=amount_sats,
        refund_address=normalise(refund_address),
        refund_script=refund_script,
        name=clean_text(name),
        message=clean_text(message),
        created_at=datetime.now(UTC),
        registered=False,
        receipt_due=bool(terms.receipt_key),
    )
    session.add(pledge)
    session.flush()
    return pledge


def _is_full(session: Session, campaign_id: str, cap_sats: int) -> bool:
    """Has the campaign all that it accepts? Its coins are only looked at one by one where together they could do."""
    own = select(func.sum(Coin.value_sats)).join(Pledge, Pledge.id == Coin.pledge_id)
    held_sats = session.scalar(own.where(Pledge.campaign_id == campaign_id, Coin.height.is_not(None))) or 0
    return held_sats >= cap_sats and queries.load(session, campaign_id).cap_reached


def _check_pledge(
    session: Session,
    network: str,
    terms: CampaignTerms,
    amount_sats: int,
    refund_address: str,
    name: str,
    message: str,
) -> bytes:
    """The refund script. Raises Problems with a sentence for each field."""
    problems: dict[str, str] = {}
    script = b""
    if not terms.min_pledge_sats <= amount_sats <= MAX_MONEY_SATS:
        problems["amount"] = Sentence(
            "The smallest pledge is {least} sat: at network fees of up to {rate} sat/vB, a refund still returns at "
            "least half.",
            least=terms.min_pledge_sats,
            rate=refundable_up_to_sat_vb(terms.min_pledge_sats),
        )
    try:
        script = script_of(refund_address, network, "refund_address")
        refuse_own_address(session, script, "refund_address")
    except UserError as error:
        problems["refund_address"] = error.sentence
    if len(clean_text(name)) > NAME_LIMIT:
        problems["name"] = too_long(N_("The name has {count} characters; at most {limit} fit."), name, NAME_LIMIT)
    if len(clean_text(message)) > MESSAGE_LIMIT:
        told = N_("The message has {count} characters; at most {limit} fit.")
        problems["message"] = too_long(told, message, MESSAGE_LIMIT)
    if problems:
        raise Problems(problems)
    return script


def too_long(told: str, text: str, limit: int) -> Sentence:
    """Of how many characters the text is, and how many fit; `told` has places for both."""
    return Sentence(told, count=len(clean_text(text)), limit=limit)


def _refuse_while_restoring(session: Session) -> None:
    """Raise UserError while it is not known which addresses were given out after the backup."""
    if session.scalar(select(Restore.id).where(Restore.caught_up_at.is_(None)).limit(1)) is not None:
        raise UserError(RESTORED)


def refuse_own_address(session: Session, script: bytes, field: str) -> None:
    """Raise Problems if this script is one that we have given to a pledge."""
    if session.scalar(select(Pledge.id).where(Pledge.script == script)) is not None:
        raise Problems({field: N_("This is an address of a pledge on this site; give one of your own wallet.")})


def refuse_other_seed(session: Session, offered: list[OfferedAccount]) -> None:
    """Raise UserError if the signer offers another account than the one held under the same index."""
    for account in offered:
        held = session.get(Account, account.index)
        if held is not None and held.xpub != account.xpub:
            raise UserError(f"The signer has another seed than the one that account {account.index} came from.")


def store_accounts(session: Session, offered: list[OfferedAccount]) -> None:
    """Keep accounts that the signer handed out. An index already held must be the same account; a receipt key that it
    lacks is filled in, while no campaign has it."""
    refuse_other_seed(session, offered)
    for account in offered:
        if session.get(Account, account.index) is None:
            session.add(Account(**asdict(account)))
    keys = {account.index: account.receipt_key for account in offered}
    for held in session.scalars(select(Account).where(_lacks_receipt_key, Account.index.in_(keys))):
        held.receipt_key = keys[held.index]


def first_without_receipt_key(session: Session) -> int | None:
    """The lowest index of a free account whose receipt key is not known, None if there is none."""
    return session.scalar(select(func.min(Account.index)).where(_lacks_receipt_key))


def account_stock(session: Session) -> tuple[int, int]:
    """(the first account index that is not held yet, the number of held accounts that no campaign has)."""
    first = session.scalar(select(func.coalesce(func.max(Account.index) + 1, 0))) or 0
    first = max(first, session.scalar(select(_first_account)) or 0)
    return first, session.scalar(select(func.count()).where(_is_spare)) or 0
