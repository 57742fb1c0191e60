"""`crowdfund audit`: verify a campaign's bundle from the command line, against a node or another server.

May not: hold any rule of its own; it reads, calls `audit.verify`, and prints. Exit code 0 if everything holds,
1 if something differs, 2 if it could not be checked.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import click

from crowdfund import config
from crowdfund.audit.form import parse_json
from crowdfund.audit.verify import Report, verify
from crowdfund.campaigns.ledger import LABELS, Bucket
from crowdfund.chain.backends import AnyBackend
from crowdfund.chain.core import CoreBackend
from crowdfund.chain.electrum import ElectrumBackend
from crowdfund.chain.esplora import EsploraBackend
from crowdfund.chain.regtest import RegtestNode, last_data_dir
from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.networks import NETWORKS

MAX_BUNDLE_BYTES = 500_000_000
HOLDS, DIFFERS, UNCHECKED = 0, 1, 2
MARKS = {True: "ok ", False: "BAD", None: "-- "}


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.option("--node", "url", metavar="URL", help="A node's RPC, http://[user:password@]host:port.")
@click.option(
    "--cookie-file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="CROWDFUND_BITCOIND_COOKIE_FILE",
    help="The node's .cookie file. Default: CROWDFUND_BITCOIND_COOKIE_FILE; for a node started by "
    "`crowdfund regtest`, its own.",
)
@click.option("--electrum", metavar="HOST:PORT", help="An Electrum server; ssl://HOST:PORT for TLS.")
@click.option("--esplora", metavar="URL", help="An Esplora server's API, https://host/api.")
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path),
    help="Certificates (PEM) to trust instead of the system's, for --electrum and --esplora over TLS.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
def audit(
    bundle: str,
    url: str | None,
    cookie_file: Path | None,
    electrum: str | None,
    esplora: str | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Verify BUNDLE, the audit bundle of a campaign: a file, or - for standard input.

    Every figure is recomputed from the terms and from the chain that your node sees, or an Electrum or Esplora
    server. Without one of them, only what needs no chain. Exit code 0: everything holds. 1: something differs.
    2: it could not be checked.
    """
    try:
        if sum(one is not None for one in (url, electrum, esplora)) > 1:
            raise UserError("Name one server alone: --node, --electrum or --esplora.")
        if ca_file and not (electrum or "").startswith("ssl://") and not (esplora or "").startswith("https://"):
            raise UserError("--ca-file is for TLS: use it with --electrum ssl://HOST:PORT or --esplora https://...")
        value = parse_json(_read(bundle))
        backend: AnyBackend | None = None
        if url is not None:
            backend = _node(url, cookie_file)
        elif electrum is not None or esplora is not None:
            backend = _server(electrum, esplora, _network(value), ca_file)
    except (UserError, WorldError) as error:
        _refuse(error.sentence, as_json)
    report = verify(value, backend)
    if backend is not None:
        backend.close()
    if as_json:
        _print_json(report)
    else:
        _print(report)
    sys.exit(_exit_code(report))


def _refuse(sentence: str, as_json: bool) -> None:
    """It could not even be begun."""
    if as_json:
        checks = [{"check": "begin", "ok": None, "sentence": sentence}]
        click.echo(json.dumps({"ok": False, "checks": checks, "buckets": None, "outcome": None}))
    click.echo(f"Error: {sentence}", err=True)
    sys.exit(UNCHECKED)


def _read(bundle: str) -> str:
    """The bundle's text. Raises UserError."""
    try:
        if bundle == "-":
            raw = sys.stdin.buffer.read(MAX_BUNDLE_BYTES + 1)
        else:
            with Path(bundle).open("rb") as file:
                raw = file.read(MAX_BUNDLE_BYTES + 1)
        if len(raw) > MAX_BUNDLE_BYTES:
            raise UserError(f"The bundle is larger than {MAX_BUNDLE_BYTES:,} bytes; no campaign needs that.")
        return raw.decode()
    except OSError as error:
        raise UserError(f"The bundle {bundle} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"The bundle {bundle} cannot be read: it is not UTF-8 text.") from error


def _node(url: str, cookie_file: Path | None) -> CoreBackend:
    """The node with its password: from the URL, else from a cookie file. Raises UserError."""
    parts = _split(url)
    if parts.username:
        return CoreBackend(url)
    cookie_file = cookie_file or _regtest_cookie(parts)
    if cookie_file is None:
        raise UserError("The node needs a password: write http://user:password@host:port, or name its --cookie-file.")
    return CoreBackend(url, cookie_file)


def _network(bundle: object) -> str:
    """The network that the bundle names; any one where it names none, as such a bundle is refused by its form."""
    named = bundle.get("network") if isinstance(bundle, dict) else None
    return named if isinstance(named, str) and named in NETWORKS else "mainnet"


def _server(electrum: str | None, esplora: str | None, network: str, ca_file: Path | None) -> AnyBackend:
    """The Electrum or the Esplora server. Raises UserError, WorldError."""
    if electrum is not None:
        return ElectrumBackend(electrum if "://" in electrum else f"tcp://{electrum}", network, ca_file)
    return EsploraBackend(esplora or "", network, ca_file)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise UserError("The node's address must look like http://host:port.")


def _regtest_cookie(parts: SplitResult) -> Path | None:
    """The cookie of our own regtest node, if that is what the URL names."""
    for data_dir in (config.default_data_dir(), last_data_dir()):
        if data_dir is None:
            continue
        try:
            node = RegtestNode.attach(data_dir)
        except WorldError:
            continue
        ours = urlsplit(node.rpc_url)
        if parts.port == ours.port and parts.hostname in (ours.hostname, "localhost"):
            return node.cookie_file
    return None


def _exit_code(report: Report) -> int:
    if report.differs:
        return DIFFERS
    return HOLDS if report.ok else UNCHECKED


def _print_json(report: Report) -> None:
    value = {
        "ok": report.ok,
        "checks": [{"check": f.check, "ok": f.ok, "sentence": f.sentence} for f in report.findings],
        "buckets": dict(report.buckets) if report.consulted else None,
        "outcome": report.outcome,
        "asked": report.asked,
    }
    click.echo(json.dumps(value))


def _print(report: Report) -> None:
    width = max(len(finding.check) for finding in report.findings)
    for finding in report.findings:
        click.echo(f"{MARKS[finding.ok]}  {finding.check:<{width}}  {finding.sentence}")
    if report.consulted:
        click.echo()
        _print_buckets(report.buckets, report.height)
    click.echo()
    if report.asked is not None:
        click.echo(report.asked)
    click.echo(_verdict(report))


def _print_buckets(buckets: Mapping[str, int], height: int | None) -> None:
    click.echo(f"Recomputed from the chain up to block {height}:")
    rows = [(str(bucket), buckets[bucket], LABELS[bucket]) for bucket in Bucket]
    rows.append(("sum", sum(buckets.values()), "Everything ever paid to the campaign"))
    for name, value_sats, label in rows:
        click.echo(f"  {name:<14} {value_sats:>20,} sat  {label}")


def _verdict(report: Report) -> str:
    if report.differs:
        return "Something differs: the bundle is not what the lines marked BAD say it should be."
    if report.ok:
        return "Everything holds: every figure in the bundle follows from the terms and the chain."
    advice = "Name a server with --node, --electrum or --esplora."
    return f"Not checked against the chain, so nothing is proved about the money. {advice}"
