"""Drafts: what a creator types, checked as a whole before it is kept, and frozen into terms when published."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import urlsplit

from crowdfund.campaigns import terms as t
from crowdfund.campaigns.models import Block, Campaign
from crowdfund.config import Settings
from crowdfund.errors import Problems, UserError
from crowdfund.plain_text import clean_text as clean_text
from crowdfund.plain_text import one_line
from crowdfund.projects.licenses import check_license
from crowdfund.wallet.addresses import normalise, script_of
from crowdfund.wallet.cancellation import RULE

URL_LIMIT = 300
# Letters and signs by Unicode's word for them, but nobody sees them.
BLANKS = "\u115f\u1160\u2800\u3164\uffa0"


@dataclass(frozen=True)
class Draft:
    """A campaign before it is published. `goal_sats` and `cap_sats` (0 is no cap) in satoshi, `deadline_at` aware."""

    title: str
    summary: str
    story: str
    goal_sats: int
    deadline_at: datetime
    payout_address: str
    project_url: str
    license: str
    cap_sats: int = 0


NO_GOAL_SATS = 1
NO_DEADLINE = datetime(1970, 1, 1, tzinfo=UTC)
EMPTY = Draft("", "", "", NO_GOAL_SATS, NO_DEADLINE, "", "", "")
"""A draft of which nothing is written yet: no check lets its goal and its deadline pass."""


def check_draft(draft: Draft, network: str, now: datetime) -> Draft:
    """The draft tidied up. Raises Problems with a sentence for each field that cannot stand."""
    problems: dict[str, str] = {}

    def tried(check: Callable[[], str | None]) -> str:
        try:
            return check() or ""
        except UserError as error:
            problems[error.field or ""] = error.sentence
            return ""

    title = tried(lambda: clean_line("title", draft.title, t.TITLE_LIMIT))
    summary = tried(lambda: clean_line("summary", draft.summary, t.SUMMARY_LIMIT))
    story = tried(lambda: clean_story(draft.story))
    url = tried(lambda: check_project_url(draft.project_url))
    license_ = tried(lambda: check_license(draft.license, "license"))
    address = tried(lambda: check_payout(draft.payout_address, network))
    tried(lambda: t.check_goal(draft.goal_sats))
    tried(lambda: t.check_cap(draft.cap_sats, draft.goal_sats))
    tried(lambda: t.check_deadline(draft.deadline_at, now))
    if problems:
        raise Problems(problems)
    return Draft(title, summary, story, draft.goal_sats, draft.deadline_at, address, url, license_, draft.cap_sats)


def freeze(
    campaign: Campaign, settings: Settings, tip: Block, receipt_key: str, details_sha256: str
) -> t.CampaignTerms:
    """The terms of a checked draft. `tip` is a block that exists already: nothing can have been paid before it."""
    opened_at = datetime.fromtimestamp(tip.median_time_past, UTC)
    return t.CampaignTerms(
        network=settings.network,
        creator=campaign.creator.name,
        title=campaign.title,
        summary=campaign.summary,
        story_sha256=sha256(campaign.story.encode()).hexdigest(),
        project_url=campaign.project_url,
        license=campaign.license,
        goal_sats=campaign.goal_sats,
        deadline_at=t.format_time(campaign.deadline_at),
        payout_address=campaign.payout_address,
        payout_script=script_of(campaign.payout_address, settings.network).hex(),
        min_pledge_sats=t.MIN_PLEDGE_SATS,
        min_coin_sats=t.MIN_COIN_SATS,
        confirmations=settings.confirmations,
        opened_height=tip.height,
        opened_hash=tip.hash,
        cap_sats=campaign.cap_sats,
        receipt_key=receipt_key,
        timelock_height=t.timelock_height(tip.height, opened_at, campaign.deadline_at, settings.timelock_blocks),
        timelock_feerate_sat_vb=t.TIMELOCK_FEERATE_SAT_VB,
        details_sha256=details_sha256,
        cancellable=RULE,
    )


def clean_story(text: str) -> str:
    """The story tidied up. Raises UserError if it is empty or too long."""
    story = clean_text(text)
    if not story:
        raise UserError("Tell the story: what will be made, by whom, and what becomes open.", "story")
    if len(story) > t.STORY_LIMIT:
        raise UserError(f"The story has {len(story)} characters; at most {t.STORY_LIMIT} fit.", "story")
    return story


def clean_line(field: str, text: str, limit: int) -> str:
    """The text of a field tidied up to one line. Raises UserError if nothing of it can be seen, or it is too long."""
    line = one_line(text)
    if not any(unicodedata.category(sign)[0] in "LNPS" and sign not in BLANKS for sign in line):
        raise UserError(f"Please write a {field}.", field)
    if len(line) > limit:
        raise UserError(f"The {field} has {len(line)} characters; at most {limit} fit.", field)
    return line


def check_project_url(text: str) -> str:
    """The address of the project. Raises UserError."""
    url = text.strip()
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and url.isascii() and url.isprintable()
    except ValueError:
        usable = False
    if not usable or " " in url or len(url) > URL_LIMIT:
        raise UserError("Please link the project's site or repository, beginning with https://.", "project_url")
    return url


def check_payout(text: str, network: str) -> str:
    """The payout address in its usual spelling. Raises UserError."""
    script_of(text, network, "payout_address")
    return normalise(text)
