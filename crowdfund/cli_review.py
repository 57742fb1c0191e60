"""`crowdfund review`: the operator reads drafts before they are published, where CROWDFUND_REVIEW is on."""

from __future__ import annotations

import click

from crowdfund.config import Settings
from crowdfund.db import Database


@click.group()
def review() -> None:
    """Read campaigns before they are published (CROWDFUND_REVIEW=on)."""


@review.command("list")
def review_list() -> None:
    """Print the drafts that wait, the oldest first, with what would freeze."""
    from crowdfund.campaigns import review as reviews

    database = _database()
    with database.reading() as session:
        found = reviews.waiting(session)
        for request in found:
            draft = request.campaign
            click.echo(f"{draft.id}  {request.asked_at:%Y-%m-%d %H:%M} UTC  by {request.creator.name}")
            click.echo(f"  {draft.title}: {draft.summary}")
            click.echo(f"  goal {draft.goal_sats} sat, licence {draft.license}, {draft.project_url}")
            click.echo("".join(f"  | {line}\n" for line in draft.story.splitlines()), nl=False)
    if not found:
        click.echo("No draft waits for review.")


@review.command()
@click.argument("campaign")
def approve(campaign: str) -> None:
    """Let the draft CAMPAIGN be published as it is. Its project does that itself."""
    _decide(campaign, True, "")
    click.echo("Approved, as it is: if anybody changes a word, it comes back for review.")


@review.command("return")
@click.argument("campaign")
@click.option("--reason", required=True, help="What is to be mended; the project reads it.")
def send_back(campaign: str, reason: str) -> None:
    """Send the draft CAMPAIGN back with a reason."""
    _decide(campaign, False, reason)
    click.echo("Sent back; the project sees the reason.")


def _decide(campaign: str, approved: bool, reason: str) -> None:
    from crowdfund.campaigns import review as reviews

    with _database().transaction() as session:
        reviews.decide(session, campaign, approved, reason)


def _database() -> Database:
    database = Database(Settings.from_env().database_url)
    database.upgrade()
    return database
