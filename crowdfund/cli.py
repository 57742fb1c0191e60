"""The command line: one command a job. Reads the settings, calls, prints; decides nothing."""

from __future__ import annotations

import importlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from crowdfund import __version__
from crowdfund.cli_regtest import regtest
from crowdfund.config import Settings
from crowdfund.errors import UserError, WorldError


class Cli(click.Group):
    """Ends with a sentence, not with a traceback, where a person or the world is at fault."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (UserError, WorldError) as error:
            raise click.ClickException(error.sentence) from error


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """All-or-nothing crowdfunding in bitcoin for open projects."""


main.add_command(regtest)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
@click.option("--threads", default=64, show_default=True, help="Half of them may hold live streams.")
def serve(host: str, port: int, threads: int) -> None:
    """Run the web process. It holds no key."""
    from crowdfund.web.server import serve as serve_web

    serve_web(Settings.from_env(), host, port, threads)


@main.command()
def worker() -> None:
    """Run the worker: watch the chain, decide, settle. It holds no key."""
    from crowdfund.processes import run_worker

    run_worker(Settings.from_env())
