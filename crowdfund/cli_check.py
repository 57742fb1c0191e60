"""`crowdfund check`: hold the ledger against itself, the facts and the chain; and the way out of a halt.

May not: hold any rule of its own; it reads, has things compared, and prints. Exit code 0 if all holds, 1 if something
does not (settlement is halted then), 2 if it could not be checked.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from crowdfund.campaigns import books, checking, figures, halts, recovery, thefts, touching
from crowdfund.campaigns.checks import Breach
from crowdfund.campaigns.tip import chain_tip
from crowdfund.chain.backends import AnyBackend, watched_backend
from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.errors import UserError, WorldError

HOLDS, BROKEN, UNCHECKED = 0, 1, 2
PATIENCE_S = 20


@click.command()
@click.option("--resume", metavar="WHY", help="If all holds, end what halts settlement, for this reason.")
@click.option(
    "--acknowledge",
    metavar="TXID:VOUT",
    multiple=True,
    help="With --resume: a coin of ours that a strange transaction has spent, and that settling goes on without.",
)
@click.option("--no-chain", is_flag=True, help="Leave out what must be asked of the chain (minutes on mainnet).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
def check(resume: str | None, acknowledge: tuple[str, ...], no_chain: bool, as_json: bool) -> None:
    """Check the ledger: its chain of hashes, its sums, every coin's place, and the chain's unspent outputs.

    Whatever does not hold halts settlement: of the campaign concerned, or of all. Once the cause is mended,
    --resume "why" posts what could not be posted meanwhile, checks everything once more, and lets settlement go on
    only if all holds.

    A coin that somebody else has spent stays spent. Once you have found out how, name each such coin with
    --acknowledge, beside --resume "why": that is kept for ever, the public is told, and all others are settled.
    """
    if resume is not None and (no_chain or not resume.strip()):
        raise UserError("To resume, say why, and let the chain be asked as well.")
    if acknowledge and resume is None:
        raise UserError('To acknowledge what was spent, say why with --resume "why".')
    settings = Settings.from_env()
    database = Database(settings.database_url)
    database.upgrade()
    books.open_ledger(database)
    figures.fill(database)
    if resume is not None:
        checking.catch_up(database)
        if acknowledge:
            with database.transaction() as session:
                thefts.acknowledge(session, acknowledge, resume.strip(), datetime.now(UTC))
    try:
        found, trouble = _check(database, None if no_chain else watched_backend(settings)), ""
    except WorldError as error:
        found, trouble = [], error.sentence
    checking.Checker(database).halt(found)
    ended = 0
    if resume is not None and not trouble and not any(breach.halts for breach in found):
        with database.transaction() as session:
            ended = halts.end_all(session, resume.strip(), datetime.now(UTC))
    with database.reading() as session:
        lasting = [halts.sentence(halt) for halt in halts.open_halts(session)]
    database.close()
    _print(found, trouble, lasting, ended, acknowledge, as_json)
    sys.exit(UNCHECKED if trouble else BROKEN if found or lasting else HOLDS)


def _check(database: Database, backend: AnyBackend | None) -> list[Breach]:
    """Every breach. Raises WorldError where the chain cannot be asked, or was not looked through after a restore."""
    with database.reading() as session:
        if recovery.pending(session) is not None:
            raise WorldError("This site was restored, and the worker has not looked through the chain yet; check then.")
        found = checking.check_books(session)
        wrong = figures.differing(session)
    if wrong:  # no money hangs on them, and the worker mends what is touched
        found += [
            Breach(each, f"Lists show other figures of {each} than follow from its coins.", False) for each in wrong
        ]
        with database.transaction() as session:
            touching.touch(session, wrong)
    if backend is not None:
        found += _check_chain(database, backend)
        backend.close()
    return found


def _check_chain(database: Database, backend: AnyBackend) -> list[Breach]:
    """Books and chain at the same tip: where a block comes in between, both are looked at again."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        with database.reading() as session:
            scripts = checking.issued_scripts(session)
        if not scripts:
            return []
        tip_hash, unspent = backend.unspent(scripts)
        with database.reading() as session:
            tip = chain_tip(session)
            if tip is not None and tip.hash == tip_hash:
                return checking.check_unspent(session, scripts, unspent)
        if time.monotonic() >= give_up:
            raise WorldError("The worker has not recorded the chain's last block; is it running? Check again then.")
        time.sleep(0.2)


def _print(
    found: list[Breach], trouble: str, lasting: list[str], ended: int, acknowledged: Sequence[str], as_json: bool
) -> None:
    if as_json:
        breaches = [{"campaign": b.campaign_id, "sentence": b.sentence, "halts": b.halts} for b in found]
        ok = not (found or trouble or lasting)
        value = {"ok": ok, "breaches": breaches, "unchecked": trouble or None, "halted": lasting, "ended": ended}
        click.echo(json.dumps({**value, "acknowledged": list(acknowledged)}))
        return
    for outpoint in acknowledged:
        click.echo(f"Acknowledged for ever: {outpoint}")
    for breach in found:
        click.echo(f"BAD {breach.sentence}")
    for sentence in lasting:
        click.echo(f"HALTED {sentence}")
    if trouble:
        click.echo(f"Not checked: {trouble}")
    elif not found:
        click.echo("All holds." + (f" {ended} halts are ended; settlement goes on." if ended else ""))
