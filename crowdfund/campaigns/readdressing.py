"""Another refund address for a pledge: what its backer brings, and how the signer's answer gets into the books.

The link of a pledge is not enough, as the web process knows every link: the address registered until now has to sign,
and the signer asks for that itself. Here it is only checked early, to say so at once. From the moment a change may have
reached the signer until its answer is noted nothing is decided, so no plan ever holds an address that the signer has no
more. Each function is one reading or one writing step of its caller; what must never be, triggers refuse.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, or_, select, update
from sqlalchemy.orm import Session

from crowdfund.campaigns import halts
from crowdfund.campaigns.attempts import account_of
from crowdfund.campaigns.models import Campaign, DecisionRow, Pledge
from crowdfund.campaigns.recording import tell_pages
from crowdfund.campaigns.refund_models import OPEN, ChangeState, RefundChangeRow
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.config import Settings
from crowdfund.errors import NotFound, Problems, UserError, WorldError
from crowdfund.sentences import N_
from crowdfund.wallet.addresses import address_of, normalise, script_of
from crowdfund.wallet.refund_change import ChangeText, RefundChange
from crowdfund.wallet.signed_messages import LONGEST, check_signed, kind_refusal

AT_ONCE = 50
MOST_OF_ONE_PLEDGE = 50
COLD = N_(
    "The keys of this site are on a machine without a network, which could not answer here: a refund address cannot be "
    "changed."
)
TOO_LATE = N_("The campaign is decided, and its settlement holds the address that was registered then: it is too late.")
UNDER_WAY = N_("A change of this refund address is on its way already; wait until the key keeper has answered.")
FORGOTTEN = N_("This site came back from a backup meanwhile. Bring the change again.")
OWN = N_("This is an address of a pledge on this site; give one of your own wallet.")


@dataclass(frozen=True)
class OpenChange:
    """A change that the signer has not answered. `sent`: it may have heard of it already."""

    id: int
    pledge_id: str
    campaign_id: str
    terms: str
    account_index: int
    change: RefundChange
    sent: bool


def refusal(session: Session, settings: Settings, pledge: Pledge) -> str:
    """Why the refund address of this pledge cannot be changed, whatever somebody signs; empty if it can."""
    if settings.signer == "cold":
        return COLD
    if session.get(DecisionRow, pledge.campaign_id) is not None:
        return TOO_LATE
    if not pledge.refund_script or pledge.address is None:
        return N_("Nobody knows the refund address of this pledge, so there is none that could sign.")
    if len(history(session, pledge.id)) >= MOST_OF_ONE_PLEDGE:
        return N_("So many changes were brought for this pledge already; the address stays as it is.")
    return kind_refusal(pledge.refund_script)


def text_to_sign(session: Session, settings: Settings, pledge_id: str, new_address: str) -> ChangeText:
    """The text that the address of now has to sign. Raises NotFound, UserError where nothing can be changed, Problems
    where this address will not do."""
    pledge = _pledge(session, pledge_id)
    why = refusal(session, settings, pledge)
    if why:
        raise UserError(why)
    _new_script(session, settings, pledge, new_address)
    return ChangeText(
        campaign=pledge.campaign.terms_hash or "",
        index=pledge.index,
        number=pledge.refund_number + 1,
        old_address=pledge.refund_address,
        new_address=normalise(new_address),
    )


def bring(
    session: Session, settings: Settings, pledge_id: str, new_address: str, signature: str, now: datetime
) -> RefundChangeRow:
    """Keep a signed change for the worker to take to the signer. The same again is the same one.

    Raises NotFound, UserError, Problems with a sentence for each field.
    """
    text = text_to_sign(session, settings, pledge_id, new_address)
    pledge = _pledge(session, pledge_id)
    script, signature = script_of(new_address, settings.network, "address"), "".join(signature.split())
    waiting = session.scalar(
        select(RefundChangeRow).where(RefundChangeRow.pledge_id == pledge_id, RefundChangeRow.state.in_(OPEN))
    )
    if waiting is not None:
        if waiting.new_script == script:
            return waiting
        raise UserError(UNDER_WAY)
    if not signature.isascii() or not 0 < len(signature) <= LONGEST:
        raise Problems({"signature": N_("Paste the signature here, as your wallet shows it.")})
    try:
        check_signed(pledge.refund_script, text.text(), signature)
    except UserError as error:
        raise Problems({"signature": error.sentence}) from error
    row = RefundChangeRow(
        pledge_id=pledge.id, number=text.number, old_address=pledge.refund_address, old_script=pledge.refund_script,
        new_address=text.new_address, new_script=script, signature=signature, brought_at=now,
    )  # fmt: skip
    session.add(row)
    session.flush()
    tell_pages(session)
    return row


def history(session: Session, pledge_id: str) -> Sequence[RefundChangeRow]:
    """All that was brought for a pledge, the oldest first."""
    rows = select(RefundChangeRow).where(RefundChangeRow.pledge_id == pledge_id)
    return session.scalars(rows.order_by(RefundChangeRow.id)).all()


def text_of(session: Session, row: RefundChangeRow) -> str:
    """What was signed."""
    pledge = session.get_one(Pledge, row.pledge_id)
    campaign = pledge.campaign.terms_hash or ""
    return ChangeText(campaign, pledge.index, row.number, row.old_address, row.new_address).text()


def taken(session: Session, campaign_id: str) -> Mapping[int, Sequence[RefundChangeRow]]:
    """Index -> the changes of that pledge which hold, in their order; pledges without any are not there."""
    rows = session.execute(
        select(Pledge.index, RefundChangeRow)
        .join(Pledge, Pledge.id == RefundChangeRow.pledge_id)
        .where(Pledge.campaign_id == campaign_id, RefundChangeRow.state == ChangeState.TAKEN)
        .order_by(Pledge.index, RefundChangeRow.number)
    )
    found: dict[int, list[RefundChangeRow]] = defaultdict(list)
    for index, row in rows:
        found[index].append(row)
    return dict(found)


def scripts_of(pledge: Pledge, changes: Sequence[RefundChangeRow]) -> list[tuple[int, bytes]]:
    """(number of the change, refund script) of all that held for a pledge, the first one with the number 0."""
    first = changes[0].old_script if changes else pledge.refund_script
    return [(0, first), *((row.number, row.new_script) for row in changes)]


def open_changes(session: Session) -> list[OpenChange]:
    """What the signer has to be asked, what it may have heard of already first. A pledge that it does not know yet
    waits for that, and so does what a halt concerns: neither keeps anybody else waiting."""
    rows = session.execute(
        select(RefundChangeRow, Pledge, Campaign)
        .join(Pledge, Pledge.id == RefundChangeRow.pledge_id)
        .join(Campaign, Campaign.id == Pledge.campaign_id)
        .where(RefundChangeRow.state.in_(OPEN), Pledge.registered)
        .where(or_(RefundChangeRow.state == ChangeState.SENT, ~halts.stops_campaign()))
        .order_by(RefundChangeRow.state, RefundChangeRow.id)  # "sent" comes before "waiting"
        .limit(AT_ONCE)
    )
    return [_open(row, pledge, campaign) for row, pledge, campaign in rows]


def mark_sent(session: Session, change_id: int, now: datetime) -> bool:
    """From now on the signer may have it. False where it is not to be sent: nothing is while a halt concerns the
    campaign, and an address that was given out here since is refused."""
    row = session.get_one(RefundChangeRow, change_id)
    pledge = session.get_one(Pledge, row.pledge_id)
    if row.state != ChangeState.WAITING or halts.stopping(session, pledge.campaign_id) is not None:
        return False
    if session.scalar(select(Pledge.id).where(Pledge.script == row.new_script)) is not None:
        _answer(row, OWN, now)
        tell_pages(session)
        return False
    row.state = ChangeState.SENT
    return True


def note_answer(session: Session, change_id: int, refused: str, now: datetime) -> None:
    """What the signer said of a change that was sent: refused with this sentence, or, where that is empty, taken; then
    a trigger moves the pledge in the same statement. An answer that was noted before stays."""
    row = session.get_one(RefundChangeRow, change_id)
    if row.state == ChangeState.SENT:
        _answer(row, refused, now)
        tell_pages(session)


def refuse_unanswered(session: Session, campaign_id: str) -> None:
    """Raise WorldError while the signer may have another address for one of the campaign's pledges than the books."""
    open_one = _of_campaign(campaign_id).where(RefundChangeRow.state == ChangeState.SENT)
    if session.scalar(open_one.limit(1)) is not None:
        raise WorldError(
            "A change of a refund address was sent to the signer and is not answered yet: the campaign is decided when "
            "it is."
        )


def close_waiting(session: Session, campaign_id: str, now: datetime) -> None:
    """The campaign is being decided: what never went to the signer comes too late."""
    waiting = _of_campaign(campaign_id).where(RefundChangeRow.state == ChangeState.WAITING)
    session.execute(
        update(RefundChangeRow)
        .where(RefundChangeRow.id.in_(waiting))
        .values(state=ChangeState.REFUSED.value, answer=TOO_LATE, answered_at=now)
        .execution_options(synchronize_session=False)
    )


def bring_forward(session: Session, pledge: Pledge, changes: Sequence[tuple[int, bytes, str]], now: datetime) -> None:
    """After a restore: changes, as (number, script, signature), that the signer's log knows and the books may not."""
    network = CampaignTerms.parse(pledge.campaign.terms or "").network
    for number, script, signature in changes:
        if number > pledge.refund_number:
            row = _open_row(session, pledge, number, script, now) or RefundChangeRow(
                pledge_id=pledge.id, number=number, old_address=pledge.refund_address, old_script=pledge.refund_script,
                new_address=address_of(script, network), new_script=script, signature=signature, brought_at=now,
                state=ChangeState.WAITING,
            )  # fmt: skip
            session.add(row)
            session.flush()
            if row.state == ChangeState.WAITING:
                row.state = ChangeState.SENT
                session.flush()
            _answer(row, "", now)
            session.flush()
            session.refresh(pledge)


def forget_sent(session: Session, now: datetime) -> None:
    """After a restore: what was sent and is not in the signer's log was never taken."""
    session.execute(
        update(RefundChangeRow)
        .where(RefundChangeRow.state == ChangeState.SENT)
        .values(state=ChangeState.REFUSED.value, answer=FORGOTTEN, answered_at=now)
    )


def _open_row(session: Session, pledge: Pledge, number: int, script: bytes, now: datetime) -> RefundChangeRow | None:
    """The row of this very change, if it was on its way; another one that was is refused."""
    row = session.scalar(
        select(RefundChangeRow).where(RefundChangeRow.pledge_id == pledge.id, RefundChangeRow.state.in_(OPEN))
    )
    if row is None or (row.number, row.new_script) == (number, script):
        return row
    _answer(row, FORGOTTEN, now)
    session.flush()
    return None


def _of_campaign(campaign_id: str) -> Select[int]:
    return (
        select(RefundChangeRow.id)
        .join(Pledge, Pledge.id == RefundChangeRow.pledge_id)
        .where(Pledge.campaign_id == campaign_id)
    )


def _answer(row: RefundChangeRow, refused: str, now: datetime) -> None:
    row.state = ChangeState.REFUSED if refused else ChangeState.TAKEN
    row.answer, row.answered_at = refused, now


def _open(row: RefundChangeRow, pledge: Pledge, campaign: Campaign) -> OpenChange:
    return OpenChange(
        id=row.id,
        pledge_id=pledge.id,
        campaign_id=campaign.id,
        terms=campaign.terms or "",
        account_index=account_of(campaign),
        change=RefundChange(pledge.index, row.number, row.new_script, row.signature),
        sent=row.state == ChangeState.SENT,
    )


def _pledge(session: Session, pledge_id: str) -> Pledge:
    pledge = session.get(Pledge, pledge_id)
    if pledge is None or pledge.address is None:
        raise NotFound("There is no such pledge.")
    return pledge


def _new_script(session: Session, settings: Settings, pledge: Pledge, new_address: str) -> bytes:
    """The same checks as for a first address. Raises Problems."""
    try:
        script = script_of(new_address, settings.network, "address")
    except UserError as error:
        raise Problems({"address": error.sentence}) from error
    if session.scalar(select(Pledge.id).where(Pledge.script == script)) is not None:
        raise Problems({"address": OWN})
    if script == pledge.refund_script:
        raise Problems({"address": N_("This is the address that refunds go to already.")})
    return script
