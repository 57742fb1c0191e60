"""The command line: one command a job. Reads the settings, calls, prints; decides nothing.

Commands, and the modules of their groups, are loaded when they are called for: no process loads what it has no use for
(the web process never the signer, the signer no database), and each starts quickly.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from crowdfund import __version__
from crowdfund.config import Settings, default_data_dir
from crowdfund.errors import UserError, WorldError

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

# Command -> the module that has it under the same name.
ELSEWHERE = {
    **{name: name for name in ("audit", "backup", "check", "cold", "keys", "moderate", "notify", "regtest", "review")},
    **dict.fromkeys(("restore", "unclaimed"), "backup"),
}


class Cli(click.Group):
    """Ends with a sentence, not with a traceback, where a person or the world is at fault."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, also of commands that are not loaded."""
        return sorted({*self.commands, *ELSEWHERE})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command, loaded now if it is in a module of its own."""
        if name not in ELSEWHERE:
            return super().get_command(ctx, name)
        return cast(click.Command, getattr(import_module(f"crowdfund.cli_{ELSEWHERE[name]}"), name))

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (UserError, WorldError) as error:
            raise click.ClickException(error.sentence) from error
        except _database_error() as error:
            raise click.ClickException(f"The database cannot be used: {error.orig}.") from error


def _database_error() -> type[DBAPIError]:
    """Loaded when something fails and not before, as many commands have no database."""
    from sqlalchemy.exc import DBAPIError

    return DBAPIError


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """All-or-nothing crowdfunding in bitcoin for open projects."""
    os.umask(os.umask(0o077) | 0o007)  # secret links and refund addresses are nobody else's on this machine


_host = click.option("--host", default="127.0.0.1", show_default=True)
_port = click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))


@main.command()
@_host
@_port
@click.option("--threads", default=64, show_default=True, type=click.IntRange(8, 1000))
def serve(host: str, port: int, threads: int) -> None:
    """Run the web process. It holds no key."""
    from crowdfund.web.server import serve as serve_web

    serve_web(Settings.from_env(), host, port, threads)


@main.command()
@click.option("--once", is_flag=True, help="Go as far as it goes now, and end: 0 if nothing stands in the way.")
def worker(once: bool) -> None:
    """Run the worker: watch the chain, decide, settle. It holds no key.

    With --once it catches up with the chain, settles what is due and ends, for whoever wants that now, or for cron.
    Where a worker runs already it is refused: that one does the same by itself.
    """
    from crowdfund.processes import run_worker

    run_worker(Settings.from_env(), once=once)


@main.command()
def signer() -> None:
    """Run the signer behind its Unix socket. The only process that opens the seed."""
    from crowdfund.processes import run_signer

    run_signer(Settings.from_env())


@main.command()
@_host
@_port
def run(host: str, port: int) -> None:
    """Run signer, worker, notify and web together."""
    from crowdfund.processes import run_all

    run_all(Settings.from_env(), host, port)


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Default: 8000, or a free one.")
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Everything is written below it.")
@click.option("--story", is_flag=True, help="Play both endings by itself and account for every satoshi.")
def demo(port: int | None, data_dir: Path | None, story: bool) -> None:
    """Run everything on a private chain, with example campaigns."""
    from crowdfund.demo import run_demo, run_story

    if story:
        raise SystemExit(run_story(data_dir, port))
    run_demo(data_dir or default_data_dir(), port)


@main.group()
def token() -> None:
    """Bearer tokens for the API."""


@token.command("create")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, help="read, write, publish or notices; may be repeated.  [default: all]"
)
@click.option("--label", default="", help="By which its owner knows it on the account page.")
@click.option("--days", type=click.IntRange(1, 3_650), help="After so many days it ends.  [default: never]")
def token_create(name: str, scopes: tuple[str, ...], label: str, days: int | None) -> None:
    """Print a new token of the creator NAME, who is made if there is none."""
    from crowdfund.accounts.people import create_token
    from crowdfund.accounts.tokens import EVERYTHING
    from crowdfund.db import Database

    database, now = Database(Settings.from_env().database_url), datetime.now(UTC)
    database.upgrade()
    ends = None if days is None else now + timedelta(days=days)
    with database.transaction() as session:
        click.echo(create_token(session, name, now, scopes or EVERYTHING, label, ends))


@token.command("list")
@click.argument("name")
def token_list(name: str) -> None:
    """Print what there is of the tokens of NAME: number, beginning, scopes, last use, end, label."""
    from crowdfund.accounts import people, tokens
    from crowdfund.db import Database

    with Database(Settings.from_env().database_url).reading() as session:
        creator = people.find(session, name)
        for row in tokens.of_creator(session, creator.id) if creator else []:
            used, ends = (f"{at:%Y-%m-%d}" if at else "never" for at in (row.last_used_at, row.expires_at))
            click.echo(f"{row.id}  {row.prefix}…  {row.scopes}  used {used}  ends {ends}  {row.name}")


@token.command("revoke")
@click.argument("name")
@click.argument("number", type=int)
def token_revoke(name: str, number: int) -> None:
    """Take the token NUMBER of the creator NAME back, as `token list` shows it."""
    from crowdfund.accounts import people, tokens
    from crowdfund.db import Database

    with Database(Settings.from_env().database_url).transaction() as session:
        creator = people.find(session, name)
        if creator is None:
            raise UserError("There is no such creator.")
        tokens.revoke(session, creator.id, number)
    click.echo("It is taken back. Nothing is answered to it any more.")


@main.group()
def db() -> None:
    """The database."""


@db.command("upgrade")
def db_upgrade() -> None:
    """Bring the tables to the newest version. Every start does it too."""
    from crowdfund.db import Database

    settings = Settings.from_env()
    Database(settings.database_url).upgrade()
    click.echo("The database is up to date.")


@db.command("grants")
@click.option("--role", required=True, help="The role that the process logs in as; make it yourself.")
@click.option("--process", default="web", show_default=True, type=click.Choice(["web", "notify"]))
def db_grants(role: str, process: str) -> None:
    """Print what to run on PostgreSQL, so that the web process, or notify, can touch no money's records."""
    from crowdfund.postgresql import grants

    for statement in grants(role, process):
        click.echo(statement)
