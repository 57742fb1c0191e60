"""Coming back with nothing but the seed and the terms: accounts, campaigns and descriptors are made anew.

The terms come from audit bundles or from `crowdfund backup --terms-only`, both public; every descriptor must come out
of the signer's own account key exactly as it is written there. What is gone: names, messages, links of backers,
passwords and drafts. Refund scripts come from the signer's log where that survived.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowdfund.accounts.people import create_token
from crowdfund.backup import tables
from crowdfund.backup.restoring import empty_database, mark
from crowdfund.backup.signer_past import read_past, whole_lines
from crowdfund.campaigns import stock
from crowdfund.campaigns.details import Details
from crowdfund.campaigns.models import Account, Campaign, Creator
from crowdfund.campaigns.service import CAMPAIGN_ID_LENGTH, new_id
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.config import Settings
from crowdfund.errors import UserError
from crowdfund.projects.writing import find_or_make
from crowdfund.wallet.descriptors import MAX_INDEX, campaign_descriptor
from crowdfund.wallet.signer_client import Account as OfferedAccount
from crowdfund.wallet.signer_client import SignerClient

_ACCOUNT = re.compile(r"wpkh\(\[[0-9a-f]{8}/84h/[01]h/([0-9]{1,10})h\]")
COLD = (
    "The seed of this installation is on another machine (CROWDFUND_SIGNER is cold), so nothing here can say whether "
    "these terms are its own: restore from a backup, or where the seed is."
)
MAX_FILE = 256 * 1024 * 1024


@dataclass(frozen=True)
class Told:
    """What a file says of a campaign. `issued` is a lower bound; `story` and `details` may be missing."""

    id: str | None
    terms: CampaignTerms
    descriptor: str
    account: int
    issued: int
    story: str
    details: str


@dataclass(frozen=True)
class Rebuilt:
    """What was made anew; `strange` counts registered addresses of campaigns that no file tells of."""

    campaigns: int
    pledges_from_log: int
    strange: int
    log_known: bool


def restore_from_seed(settings: Settings, files: Sequence[Path], signer: SignerClient, log: Path) -> Rebuilt:
    """Make an empty database the books of these campaigns. The signer must be running, with the seed.

    Raises UserError where a file is none of ours, its descriptor is not this seed's, or the seed is not on this
    machine; then nothing was written.
    """
    if settings.signer == "cold":
        raise UserError(COLD)
    told = _distinct([one for path in files for one in _read(path, settings.network)])
    if not told:
        raise UserError("These files tell of no campaign.")
    accounts = {one.account: signer.accounts(one.account, 1)[0] for one in told}
    for one in told:
        _check_descriptor(one, accounts[one.account], settings.network)
    data = whole_lines(log)
    past = read_past(data or b"")
    with empty_database(settings) as connection:
        tables.migrate(connection, "head")
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            _fill(session, told, accounts)
            session.commit()
        made, strange = mark(connection, settings.network, "seed", None, past)
    return Rebuilt(len(told), made, strange, data is not None)


def _read(path: Path, network: str) -> list[Told]:
    """The campaigns of a bundle, or of an export of the terms."""
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(MAX_FILE))
        found = [_told(one) for one in value.get("campaigns", [value])]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path} is neither an audit bundle nor made by `crowdfund backup --terms-only`.") from None
    for one in found:
        if one.terms.network != network:
            raise UserError(f"{path} has terms of {one.terms.network}, and CROWDFUND_NETWORK is {network}.")
    return found


def _told(value: dict[str, Any]) -> Told:
    terms = CampaignTerms.parse(value["terms"])
    descriptor, issued, story = value["descriptor"], value.get("issued", 0), value.get("story", "")
    details = value.get("details", "")
    account = _ACCOUNT.match(descriptor)
    if account is None or type(issued) is not int or not 0 <= issued <= MAX_INDEX:
        raise ValueError("not as we write it")
    if type(story) is not str or type(details) is not str:
        raise ValueError("not as we write it")
    if sha256(story.encode()).hexdigest() != terms.story_sha256:
        story = ""
    if sha256(details.encode()).hexdigest() != terms.details_sha256:
        details = ""
    Details.parse(details)
    told_id = value.get("id") if isinstance(value.get("id"), str) else None
    return Told(told_id, terms, descriptor, int(account[1]), issued, story, details)


def _distinct(told: list[Told]) -> list[Told]:
    """One for each campaign: of several files the one that knows most addresses."""
    by_hash: dict[bytes, Told] = {}
    for one in sorted(told, key=lambda t: (t.issued, t.story, t.details)):
        by_hash[one.terms.hash] = one
    return sorted(by_hash.values(), key=lambda t: t.account)


def _check_descriptor(told: Told, account: OfferedAccount, network: str) -> None:
    made = campaign_descriptor(account.fingerprint, account.index, account.xpub, told.terms.hash, network)
    if made != told.descriptor:
        raise UserError(
            f"The descriptor of “{told.terms.title}” does not come out of the signer's seed: "
            "it is another seed, or these are other terms."
        )


def _fill(session: Session, told: Sequence[Told], accounts: dict[int, OfferedAccount]) -> None:
    now = datetime.now(UTC)
    for account in accounts.values():
        session.add(Account(**asdict(account)))
    session.flush()
    for one in told:
        create_token(session, one.terms.creator, now)  # makes whoever is not there; nobody knows this token
        creator = session.scalars(select(Creator).where(Creator.name == one.terms.creator)).one()
        project = find_or_make(session, creator.id, one.terms.project_url, one.terms.license)
        campaign = _campaign(one, creator.id, project.id, now)
        session.add(campaign)
        session.flush()
        stock.lay_out(session, campaign.id, Details.parse(one.details))


def _campaign(told: Told, creator_id: int, project_id: str, now: datetime) -> Campaign:
    terms = told.terms
    return Campaign(
        id=told.id or new_id(CAMPAIGN_ID_LENGTH),
        creator_id=creator_id,
        project_id=project_id,
        details=told.details,
        title=terms.title,
        summary=terms.summary,
        story=told.story,
        goal_sats=terms.goal_sats,
        deadline_at=terms.deadline,
        payout_address=terms.payout_address,
        project_url=terms.project_url,
        license=terms.license,
        created_at=now,
        terms=terms.canonical(),
        terms_hash=terms.hash.hex(),
        account_index=told.account,
        descriptor=told.descriptor,
        published_at=now,
        next_index=told.issued,
        cap_sats=terms.cap_sats,
    )
