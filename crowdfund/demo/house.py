"""Node, signer, worker, notify and web, started together in one data folder and stopped together."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from crowdfund.accounts.people import create_token, sign_up
from crowdfund.chain.regtest import RegtestNode
from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.demo.client import ApiClient
from crowdfund.demo.examples import CREATOR, PASSWORD, fill
from crowdfund.errors import UserError, WorldError
from crowdfund.locks import only_one
from crowdfund.processes import Children, on_stop, seed_file, wait_for
from crowdfund.wallet.keystore import create_seed

DEFAULT_PORT = 8000


@dataclass(frozen=True)
class House:
    """A running installation on a private chain."""

    node: RegtestNode
    settings: Settings
    client: ApiClient
    children: Children


def run_demo(data_dir: Path, port: int | None) -> None:
    """Start everything, fill in the examples once, print the address, and stay until Ctrl-C."""
    stop = threading.Event()
    on_stop(stop.set)
    with open_house(data_dir, port, click.echo) as house:
        if not house.client.get("/campaigns")["campaigns"]:
            click.echo("Writing example campaigns on the chain: two open, one paid out, one refunded …")
            fill(house.client, house.node)
        click.echo(f"\n  Open {house.settings.base_url}\n")
        click.echo(f"  Log in as {CREATOR} with the password {PASSWORD}, or sign up yourself.")
        click.echo("  The test bench at the foot of each page pays, mines and jumps. Ctrl-C stops everything.\n")
        while not stop.wait(0.5):
            if ended := house.children.ended():
                raise WorldError(f"The {ended} process has ended; see {data_dir / 'log'}.", retryable=False)
        click.echo("\nStopping …")


@contextmanager
def open_house(data_dir: Path, port: int | None, say: Callable[[str], None]) -> Iterator[House]:
    """The running installation; everything it started ends with the block. Raises WorldError or UserError."""
    data_dir = data_dir.absolute()
    (data_dir / "log").mkdir(parents=True, exist_ok=True)
    port = _port(port)
    # Before the node: a second demo would attach to the first one's node and stop it when it fails.
    with only_one(data_dir / "demo.lock"), _node(data_dir, say) as node:
        node.fund_bank()
        settings = _settings(data_dir, node, port)
        if not seed_file(settings).exists():
            create_seed(seed_file(settings))
        token = _token(settings)
        children = Children(settings)
        try:
            say("Starting signer, worker, notify and web …")
            for name, arguments in (
                ("signer", ()),
                ("worker", ()),
                ("notify", ()),
                ("serve", ("--port", str(port))),
            ):
                children.start(name, *arguments, log_file=data_dir / "log" / f"{name}.log")
            client = ApiClient(settings.base_url, token)
            wait_for(
                lambda: _is_well(settings.base_url) or children.ended() is not None,
                f"The site did not come up; see the files in {data_dir / 'log'}.",
            )
            if ended := children.ended():
                raise WorldError(f"The {ended} process has ended; see {data_dir / 'log'}.", retryable=False)
            yield House(node, settings, client, children)
        finally:
            children.stop()


def _node(data_dir: Path, say: Callable[[str], None]) -> RegtestNode:
    say("Starting the private node …")
    return RegtestNode.start(data_dir, progress=say, die_with_parent=True)


def _settings(data_dir: Path, node: RegtestNode, port: int) -> Settings:
    return Settings.from_env(
        {
            "CROWDFUND_NETWORK": "regtest",
            "CROWDFUND_DATA_DIR": str(data_dir),
            "CROWDFUND_BITCOIND_URL": node.rpc_url,
            "CROWDFUND_BITCOIND_COOKIE_FILE": str(node.cookie_file),
            "CROWDFUND_BITCOIND_ZMQ_URL": node.zmq_url,
            "CROWDFUND_BASE_URL": f"http://127.0.0.1:{port}",
        }
    )


def _token(settings: Settings) -> str:
    """A token of the demo's creator, who is made at the first start."""
    database = Database(settings.database_url)
    database.upgrade()
    try:
        with database.transaction() as session:
            sign_up(session, CREATOR, PASSWORD, datetime.now(UTC))
    except UserError:
        click.echo("Going on where the demo was left.")
    with database.transaction() as session:
        token = create_token(session, CREATOR, datetime.now(UTC))
    database.close()
    return token


def _port(wanted: int | None) -> int:
    """The port asked for, or 8000, or a free one where nobody asked."""
    for port in (wanted,) if wanted else (DEFAULT_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UserError(f"Port {wanted} is in use; choose another one with --port.")


def _is_well(base_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base_url}/healthz", timeout=5) as answer:
            return int(answer.status) == 200
    except OSError:
        return False
