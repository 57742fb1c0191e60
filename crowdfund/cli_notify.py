"""The command that tells people what happened, and the one that says how far telling has come."""

from __future__ import annotations

import click

from crowdfund.config import Settings


@click.group(invoke_without_command=True)
@click.pass_context
def notify(context: click.Context) -> None:
    """Tell people what happened, by mail and to webhooks. It holds no key."""
    if context.invoked_subcommand is None:
        from crowdfund.processes import run_notify

        run_notify(Settings.from_env())


@notify.command()
def status() -> None:
    """Print how many notices wait, were sent or given up, and what stands in the way."""
    from crowdfund.db import Database
    from crowdfund.notices import outbox

    settings = Settings.from_env()
    database = Database(settings.database_url)
    database.upgrade()
    with database.reading() as session:
        click.echo(f"Mail: {'on' if settings.smtp_url else 'off, CROWDFUND_SMTP_URL is not set'}.")
        for count in outbox.counts(session):
            state = count.state.replace("_", " ")
            click.echo(f"{count.channel:8} {state:9} {count.number:>8,}   oldest {count.oldest_at:%Y-%m-%d %H:%M} UTC")
        for notice in outbox.in_trouble(session):
            when = f"next at {notice.next_at:%Y-%m-%d %H:%M} UTC" if notice.state == "queued" else "given up"
            click.echo(
                f"#{notice.id} {notice.channel} {notice.happening.kind}: {notice.tries} tries, {when}. {notice.trouble}"
            )
    database.close()
