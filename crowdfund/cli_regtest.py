"""`crowdfund regtest`: the private node from the command line - start, stop, look, mine, pay, move time.

May not: hold any logic of its own; it parses, calls `chain.regtest`, and prints.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click

from crowdfund import config
from crowdfund.chain.regtest import RegtestNode, last_data_dir
from crowdfund.errors import UserError, WorldError

_data_dir = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that holds the node. Default: CROWDFUND_DATA_DIR or your data folder; "
    "if no node runs there, a running one is looked for where one was started last.",
)


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn an expected failure into one sentence and exit code 1."""
    try:
        yield
    except (UserError, WorldError) as error:
        raise click.ClickException(error.sentence) from error


def _node(data_dir: Path | None) -> RegtestNode:
    """The running node: in the folder asked for, else in the default one, else the one started last."""
    if data_dir is not None:
        return RegtestNode.attach(data_dir)
    try:
        return RegtestNode.attach(config.default_data_dir())
    except WorldError:
        last = last_data_dir()
        if last is None:
            raise
    try:
        return RegtestNode.attach(last)
    except WorldError as error:
        places = f"{config.default_data_dir()}, nor in {last}, where one was started last"
        sentence = f"No regtest node runs in {places}; start one with: crowdfund regtest start."
        raise WorldError(sentence, retryable=False) from error


def _utc(unix_time: int) -> str:
    return datetime.fromtimestamp(unix_time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _show(node: RegtestNode) -> None:
    found = node.status()
    click.echo(f"regtest node  process {found['pid']}, RPC {found['rpc_url']}")
    click.echo(f"cookie file   {found['cookie_file']}")
    click.echo(f"data folder   {found['data_dir']}")
    click.echo(f"height        {found['height']}")
    click.echo(f"chain time    {_utc(found['median_time_past'])} (median time past)")


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)  # an exception, so that a half-started node is ended on the way out


@click.group()
def regtest() -> None:
    """A private Bitcoin node in regtest mode: real blocks, real transactions, worthless coins."""


@regtest.command()
@_data_dir
@click.option("--fund/--no-fund", default=True, help="Mine the bank's first coins on a new chain (default: yes).")
def start(data_dir: Path | None, fund: bool) -> None:
    """Start the node, or say where it runs already. It goes on until `crowdfund regtest stop`."""
    signal.signal(signal.SIGTERM, _leave)
    with _sentences():
        node = RegtestNode.start(data_dir or config.default_data_dir(), progress=_progress())
        if fund:
            node.fund_bank()
        _show(node)


def _progress() -> Callable[[str], None]:
    return lambda line: click.echo(line, err=True)


@regtest.command()
@_data_dir
def stop(data_dir: Path | None) -> None:
    """Stop the node; its chain and its wallets are kept."""
    with _sentences():
        node = _node(data_dir)
        node.stop()
        click.echo(f"The regtest node in {node.data_dir} has stopped.")


@regtest.command()
@_data_dir
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
def status(data_dir: Path | None, as_json: bool) -> None:
    """Say how to reach the running node; exit code 1 if none runs."""
    with _sentences():
        node = _node(data_dir)
        if as_json:
            click.echo(json.dumps(node.status()))
        else:
            _show(node)


@regtest.command()
@click.argument("blocks", type=click.IntRange(1, 10_000), default=1)
@_data_dir
def mine(blocks: int, data_dir: Path | None) -> None:
    """Mine BLOCKS blocks (default 1) with everything that waits in the mempool."""
    with _sentences():
        node = _node(data_dir)
        last = node.mine(blocks)[-1]
        found = node.status()
        click.echo(f"height {found['height']}, block {last}, chain time {_utc(found['median_time_past'])}")


@regtest.command()
@click.argument("address")
@click.argument("amount_sats", type=click.IntRange(1, 21_000_000 * 100_000_000))
@_data_dir
def pay(address: str, amount_sats: int, data_dir: Path | None) -> None:
    """Pay AMOUNT_SATS satoshi to ADDRESS from the node's own bank; prints the txid."""
    with _sentences():
        click.echo(_node(data_dir).pay(address, amount_sats))


@regtest.command()
@click.argument("time")
@_data_dir
def jump(time: str, data_dir: Path | None) -> None:
    """Mine until the chain's median time past is later than TIME (2030-01-31T12:00:00Z, or Unix seconds)."""
    with _sentences():
        node = _node(data_dir)
        reached = node.jump_to(_unix_time(time))
        click.echo(f"height {node.status()['height']}, chain time {_utc(reached)}")


def _unix_time(text: str) -> int:
    """Unix seconds of an RFC 3339 time or of a plain number. Raises UserError."""
    if re.fullmatch(r"[0-9]{1,12}", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UserError(f"{text!r} is not a time; write it like 2030-01-31T12:00:00Z, or in Unix seconds.")
    return int(moment.timestamp())
