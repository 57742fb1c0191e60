"""After a restore: what the books do not know yet is found on the chain before anything goes on.

A backup is older than the chain. Addresses given out after it was made are unknown to it, some of them paid. So the
worker walks again through every block since then and looks at thousands of indices beyond those known; an address
found paid gets its pledge in the transaction that records the coin. Indices then go on far beyond everything seen:
none is given out twice. Until all that is done, no address is given out and nothing is decided, planned or signed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowdfund.campaigns import readdressing, touching
from crowdfund.campaigns.models import Campaign, Coin, Pledge, Restore
from crowdfund.campaigns.recording import forget_blocks
from crowdfund.campaigns.service import PLEDGE_ID_LENGTH, new_id
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.campaigns.tip import closing_block
from crowdfund.chain.follow import Changes, FoundCoin
from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.addresses import address_of, normalise, script_of
from crowdfund.wallet.descriptors import derive_address, derive_scripts

# After a restore indices go on this far beyond the last known: an address may have been shown that nobody has paid
# yet and that the signer never heard of, and it must not be shown again.
JUMP = 5_000
# So many unpaid indices in a row are looked at: more than two restores, one after the other, leave out.
GAP = 2 * JUMP + 1
# The same for accounts: campaigns may have been published after the backup.
ACCOUNT_JUMP = 100
Key = tuple[int, str, int]  # account, hash of the terms, index


@dataclass(frozen=True)
class Candidate:
    """An address of a campaign that the books do not have."""

    campaign_id: str
    index: int


def pending(session: Session) -> Restore | None:
    """The restore that has not caught up with the chain, None in ordinary times."""
    return session.scalar(select(Restore).where(Restore.caught_up_at.is_(None)).order_by(Restore.id).limit(1))


def mark_restored(session: Session, source: str, from_height: int | None, last_account: int, now: datetime) -> None:
    """Say that this database came from `source` ("backup" or "seed") and what it knew then."""
    taken = session.scalar(select(func.max(Campaign.account_index)))
    known = max(last_account, -1 if taken is None else taken)
    session.add(
        Restore(
            source=source,
            restored_at=now,
            from_height=from_height,
            first_account=known + 1 + ACCOUNT_JUMP,
            caught_up_at=None,
        )
    )
    session.flush()


def name_reserved(session: Session, network: str) -> int:
    """Give every reserved index its address: it may have been shown a moment after the backup. Returns how many."""
    rows = session.scalars(select(Pledge).where(Pledge.address.is_(None))).all()
    for pledge in rows:
        pledge.address, pledge.script = derive_address(pledge.campaign.descriptor or "", pledge.index, network)
    session.flush()
    return len(rows)


def add_registered(
    session: Session,
    network: str,
    refunds: Mapping[Key, bytes],
    now: datetime,
    changes: Mapping[Key, Sequence[tuple[int, bytes, str]]] = MappingProxyType({}),
) -> tuple[int, int]:
    """Make the pledges that only the signer's log knows, each with its refund script, and bring each to the address
    that the log says holds now. `changes`: number, script and signature of each.

    Returns (pledges made, registered ones whose campaign is not here). Raises WorldError where books and log name
    different refund scripts.
    """
    campaigns = {(c.account_index, c.terms_hash): c for c in session.scalars(select(Campaign)) if c.terms is not None}
    made = strange = 0
    for (account, terms_hash, index), script in sorted(refunds.items()):
        campaign = campaigns.get((account, terms_hash))
        if campaign is None:
            strange += 1
            continue
        pledge = session.scalar(select(Pledge).where(Pledge.campaign_id == campaign.id, Pledge.index == index))
        later = changes.get((account, terms_hash, index), ())
        if pledge is None:
            pledge = _add(session, campaign, index, script, None, network, now)
            made += 1
        elif pledge.refund_script not in (script, *(changed for _, changed, _ in later)):
            raise WorldError(
                f"The signer's log and the backup name different refund addresses for index {index} of campaign "
                f"{campaign.id}: one of them was changed. Nothing is restored.",
                retryable=False,
            )
        readdressing.bring_forward(session, pledge, later, now)
    readdressing.forget_sent(session, now)
    return made, strange


def candidates(session: Session, restore: Restore, derived: dict[str, list[bytes]]) -> dict[bytes, Candidate]:
    """Script -> address, of every index that may have been given out without the books knowing of it.

    A campaign that was past its deadline when the backup was made has given out none since. `derived` keeps the
    scripts of each campaign from one call to the next.
    """
    found: dict[bytes, Candidate] = {}
    for campaign in session.scalars(select(Campaign).where(Campaign.terms.is_not(None))):
        if _was_closed(session, campaign, restore.from_height):
            continue
        known = set(session.scalars(select(Pledge.index).where(Pledge.campaign_id == campaign.id)))
        count = _first_unknown(campaign, known) + GAP
        scripts = derived.setdefault(campaign.id, [])
        scripts += derive_scripts(campaign.descriptor or "", len(scripts), count - len(scripts))
        for index, script in enumerate(scripts):
            if index not in known:
                found[script] = Candidate(campaign.id, index)
    return found


def walk_again(session: Session, restore: Restore) -> None:
    """Forget the blocks that the backup did not know: they are read again, with more to look for."""
    known = -1 if restore.from_height is None else restore.from_height
    forget_blocks(session, known)


def take_in(session: Session, network: str, changes: Changes, wanted: Mapping[bytes, Candidate], now: datetime) -> None:
    """Make the pledges of candidates that `changes` shows paid, before their coins are recorded."""
    coins = [c for facts in (*changes.late, *changes.blocks) for c in facts.coins]
    take_coins(session, network, [*coins, *changes.mempool_coins], wanted, now)


def take_coins(
    session: Session, network: str, coins: Iterable[FoundCoin], wanted: Mapping[bytes, Candidate], now: datetime
) -> None:
    """The same for these coins. Nobody knows where they would be refunded to: that waits for a person."""
    for coin in coins:
        candidate = wanted.get(coin.script)
        if candidate is None or session.scalar(select(Pledge.id).where(Pledge.script == coin.script)) is not None:
            continue
        campaign = session.get_one(Campaign, candidate.campaign_id)
        _add(session, campaign, candidate.index, b"", coin.value_sats, network, now)


def finish(session: Session, restore_id: int, now: datetime) -> None:
    """Caught up: indices go on JUMP beyond everything known, and addresses may be given out again."""
    restore = session.get_one(Restore, restore_id)
    for campaign in session.scalars(select(Campaign).where(Campaign.terms.is_not(None))):
        known = set(session.scalars(select(Pledge.index).where(Pledge.campaign_id == campaign.id)))
        campaign.next_index = _first_unknown(campaign, known) + JUMP
    restore.caught_up_at = now
    touching.touch_all(session)


def is_recorded(session: Session, txid: str, vout: int) -> bool:
    """Whether a block is known to hold this coin."""
    found = select(Coin.id).where(Coin.txid == txid, Coin.vout == vout, Coin.height.is_not(None))
    return session.scalar(found) is not None


def without_refund(session: Session) -> list[tuple[str, int, int]]:
    """(campaign, index, satoshi) of coins that wait because nobody knows their refund address."""
    rows = session.execute(
        select(Pledge.campaign_id, Pledge.index, func.sum(Coin.value_sats))
        .join(Coin, Coin.pledge_id == Pledge.id)
        .where(func.length(Pledge.refund_script) == 0, Coin.height.is_not(None), Coin.spent_by.is_(None))
        .group_by(Pledge.campaign_id, Pledge.index)
        .order_by(Pledge.campaign_id, Pledge.index)
    )
    return [(campaign_id, index, int(sats)) for campaign_id, index, sats in rows]


def set_refund(session: Session, network: str, campaign_id: str, index_text: str, address: str) -> None:
    """Say where the coins of an address found after a restore go back to; once only. Raises UserError."""
    script = script_of(address, network)
    index = int(index_text) if index_text.isascii() and index_text.isdigit() else -1
    found = select(Pledge).where(Pledge.campaign_id == campaign_id, Pledge.index == index)
    pledge = session.scalar(found)
    if pledge is None:
        raise UserError("There is no such pledge.")
    if pledge.refund_script:
        raise UserError("This pledge has its refund address, which never changes.")
    if session.scalar(select(Pledge.id).where(Pledge.script == script)) is not None:
        raise UserError("This is an address of a pledge on this site; money would run in circles.")
    pledge.refund_address, pledge.refund_script, pledge.registered = normalise(address), script, False
    session.flush()


def _add(
    session: Session,
    campaign: Campaign,
    index: int,
    refund_script: bytes,
    value_sats: int | None,
    network: str,
    now: datetime,
) -> Pledge:
    address, script = derive_address(campaign.descriptor or "", index, network)
    terms = CampaignTerms.parse(campaign.terms or "")
    pledge = Pledge(
        id=new_id(PLEDGE_ID_LENGTH),
        campaign_id=campaign.id,
        index=index,
        address=address,
        script=script,
        amount_sats=value_sats or terms.min_pledge_sats,
        refund_address=address_of(refund_script, network) if refund_script else "",
        refund_script=refund_script,
        name="",
        message="",
        created_at=now,
        registered=True,
    )
    session.add(pledge)
    session.flush()
    return pledge


def _first_unknown(campaign: Campaign, known: Collection[int]) -> int:
    return max(campaign.next_index, max(known, default=-1) + 1)


def _was_closed(session: Session, campaign: Campaign, from_height: int | None) -> bool:
    closing = closing_block(session, CampaignTerms.parse(campaign.terms or "").deadline)
    return from_height is not None and closing is not None and closing.height <= from_height
