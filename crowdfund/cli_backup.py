"""`crowdfund backup`, `restore` and `unclaimed`: one moment of everything, and back. Reads the settings, asks, calls,
prints.

What seals and opens is loaded when a command runs, because the web process loads this module too.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crowdfund.config import Settings
from crowdfund.errors import UserError

if TYPE_CHECKING:
    from crowdfund.wallet.passphrase import Passphrase

_path = click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
_passphrase = click.option(
    "--passphrase-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file of yours alone that holds the passphrase; without it you are asked, or the credential "
    "crowdfund-backup-passphrase is used.",
)
_log = click.option(
    "--signer-log",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Default: signer/log.jsonl in the data folder.",
)
CREDENTIAL = "crowdfund-backup-passphrase"


@click.command()
@_path
@_passphrase
@_log
@click.option("--with-seed", is_flag=True, help="Put the encrypted seed in, too.")
@click.option("--terms-only", is_flag=True, help="Write only what is public: the terms, not encrypted.")
def backup(
    path: Path, passphrase_file: Path | None, signer_log: Path | None, with_seed: bool, terms_only: bool
) -> None:
    """Write an encrypted backup of everything to PATH, which must not exist. Nothing needs to be stopped."""
    from crowdfund.backup.making import Sources, make_backup, write_terms
    from crowdfund.db import Database

    settings = Settings.from_env()
    database = Database(settings.database_url)
    try:
        database.upgrade()
        if terms_only:
            count = write_terms(database, path)
            click.echo(f"The terms of {count} campaigns are in {path}. With the seed they find every coin again.")
            return
        seed, log = _signers_files(settings, signer_log)
        passphrase = _given(passphrase_file, new=True)
        made = make_backup(database, settings, Sources(log, seed if with_seed else None), path, passphrase)
    finally:
        database.close()
    click.echo(f"{made.rows} rows, up to block {made.height}, are in {path}, encrypted.")
    if made.log_bytes is None:
        click.echo(f"Without the signer's log: there is none in {log}.")
    if not made.with_seed:
        click.echo("Without the seed: crowdfund keys backup PATH makes a copy of it for another place.")


@click.command()
@click.argument("path", required=False, type=click.Path(dir_okay=False, path_type=Path))
@_passphrase
@_log
@click.option("--from-seed", is_flag=True, help="Without a backup: from the running signer and the terms.")
@click.option(
    "--terms",
    "terms",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --from-seed: an audit bundle, or what `crowdfund backup --terms-only` wrote. May be repeated.",
)
def restore(
    path: Path | None, passphrase_file: Path | None, signer_log: Path | None, from_seed: bool, terms: tuple[Path, ...]
) -> None:
    """Bring everything back from the backup in PATH, into an empty database. Nothing is overwritten.

    Afterwards the worker looks through the chain before any address is given out and anything is settled.
    """
    from crowdfund.locks import only_one

    if from_seed == (path is not None) or from_seed != bool(terms):
        raise UserError("Name a backup, or --from-seed and one or more --terms.")
    settings = Settings.from_env()
    with only_one(settings.data_dir / "worker.lock"):
        if path is None:
            _restore_from_seed(settings, terms, signer_log)
        else:
            _restore_backup(settings, path, passphrase_file, signer_log)
    click.echo("Now start the worker: it looks through the chain before any address is given out again.")


@click.command()
@click.option("--set", "pledge", nargs=3, metavar="CAMPAIGN INDEX ADDRESS", help="Say where the coins go back to.")
@click.option("--confirm", metavar="CODE", help="The code that --set printed the first time.")
def unclaimed(pledge: tuple[str, str, str] | None, confirm: str | None) -> None:
    """List coins found after a restore whose refund address nobody knows, or set one from a backer's receipt.

    A refund address is set in two steps, so that two people can look, and once only.
    """
    from crowdfund.campaigns import recovery
    from crowdfund.db import Database

    settings = Settings.from_env()
    database = Database(settings.database_url)
    database.upgrade()
    if pledge is None:
        with database.reading() as session:
            for waiting in recovery.without_refund(session):
                click.echo("{} {} {} sat".format(*waiting))
        return
    campaign_id, index, address = pledge
    code = sha256(" ".join(pledge).encode()).hexdigest()[:8]
    if confirm != code:
        click.echo(f"Coins of {campaign_id}, index {index}, would go back to {address}, for good.")
        click.echo(f"Compare with the receipt, then run the same again with --confirm {code}.")
        return
    with database.transaction() as session:
        recovery.set_refund(session, settings.network, campaign_id, index, address)
    click.echo(f"Coins of {campaign_id}, index {index}, go back to {address}. The worker tells the signer.")


def _restore_backup(settings: Settings, path: Path, passphrase_file: Path | None, signer_log: Path | None) -> None:
    from crowdfund.backup.restoring import restore_backup

    seed, log = _signers_files(settings, signer_log)
    done = restore_backup(settings, path, _given(passphrase_file, new=False), log, seed)
    click.echo(f"{done.rows} rows of {done.made_at}, up to block {done.height}, are back.")
    if done.seed_placed:
        click.echo(f"The encrypted seed is in {seed}; its passphrase is the one that it had.")
    _tell_of_log(done.log_known, done.pledges_from_log, done.strange, log)


def _restore_from_seed(settings: Settings, terms: tuple[Path, ...], signer_log: Path | None) -> None:
    from crowdfund.backup.from_seed import restore_from_seed
    from crowdfund.wallet.signer_client import SignerClient

    _, log = _signers_files(settings, signer_log)
    done = restore_from_seed(settings, terms, SignerClient(settings.signer_socket), log)
    click.echo(f"{done.campaigns} campaigns are back, with new passwords to be set for their creators.")
    _tell_of_log(done.log_known, done.pledges_from_log, done.strange, log)


def _tell_of_log(known: bool, made: int, strange: int, log: Path) -> None:
    if known:
        click.echo(f"{made} more pledges are known from the signer's log.")
    else:
        click.echo(f"There is no signer's log in {log}: coins at addresses that nothing tells of wait for `unclaimed`.")
    if strange:
        click.echo(
            f"{strange} registered addresses belong to campaigns that are not here: get their audit bundles, and "
            "restore with --from-seed into another installation."
        )


def _signers_files(settings: Settings, log: Path | None) -> tuple[Path, Path]:
    from crowdfund.processes import seed_file

    seed = seed_file(settings)
    return seed, log or seed.parent / "log.jsonl"


def _given(path: Path | None, new: bool) -> Passphrase:
    """The passphrase of the backup: from the file, from the systemd credential, or from the terminal."""
    from crowdfund.wallet.passphrase import ask, ask_new, from_file_or_credential

    found = from_file_or_credential(path, CREDENTIAL)
    if found is None:
        return ask_new("the backup") if new else ask("Passphrase of the backup")
    if new:
        found.check_strength()
    return found
