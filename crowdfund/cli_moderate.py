"""`crowdfund moderate`: the operator hides what somebody wrote, or shows it again, with a public reason."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from crowdfund.campaigns import moderation, posts
from crowdfund.campaigns.models import Campaign
from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.errors import NotFound

_campaign = click.argument("campaign_id", metavar="CAMPAIGN")
_kind = click.argument("kind", type=click.Choice(["update", "post", "pledge"]))
_number = click.argument("number", type=click.IntRange(0, 2**31 - 1))
_reason = click.option("--reason", required=True, help="Why: it stands in the public log.")


@click.group()
def moderate() -> None:
    """Hide what somebody wrote, or show it again. Nothing is deleted; a public log says what was done and why."""


@moderate.command()
@_campaign
@_kind
@_number
@_reason
def hide(campaign_id: str, kind: str, number: int, reason: str) -> None:
    """Hide an update or a post (a question, answer or comment) by the number in its address, or a pledge's name and
    message by the number in the audit."""
    _change(campaign_id, kind, number, reason, shown=False)
    click.echo("Hidden.")


@moderate.command()
@_campaign
@_kind
@_number
@_reason
def show(campaign_id: str, kind: str, number: int, reason: str) -> None:
    """Show it again; or let everyone read a question that waits for its creator."""
    _change(campaign_id, kind, number, reason, shown=True)
    click.echo("Shown.")


@moderate.command("list")
@click.argument("campaign_id", metavar="[CAMPAIGN]", required=False)
def list_(campaign_id: str | None) -> None:
    """Print the public log, of one campaign or of the whole site, the newest first."""
    with _database().reading() as session:
        for line in moderation.log(session, campaign_id):
            done = "hidden" if line.action == "hide" else "shown again"
            what = " ".join(part for part in (line.what, line.where) if part)
            click.echo(f"{line.at:%Y-%m-%d %H:%M} {line.campaign_id} {what}: {done} by the {line.role}: {line.reason}")


def _change(campaign_id: str, kind: str, number: int, reason: str, shown: bool) -> None:
    now = datetime.now(UTC)
    with _database().transaction() as session:
        campaign = session.get(Campaign, campaign_id)
        if campaign is None or campaign.terms is None:
            raise NotFound("There is no such campaign.")
        target = moderation.find(session, campaign_id, kind, number)
        if shown and kind == "post" and posts.waiting(session, campaign_id, number):
            posts.approve(session, campaign, number, moderation.OPERATOR, now)
        elif shown:
            moderation.show(session, campaign, target, moderation.OPERATOR, reason, now)
        else:
            moderation.hide(session, campaign, target, moderation.OPERATOR, reason, now)


def _database() -> Database:
    database = Database(Settings.from_env().database_url)
    database.upgrade()
    return database
