"""`crowdfund cold`: an installation whose seed was never on the server. Files or QR codes go to and fro.

On the machine with the seed: `accounts`, `sign`. On the server: `import-accounts`, `export`, `import`. May not: load
what opens a seed before a command of the first kind runs, or take a secret as an argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crowdfund.config import Settings
from crowdfund.errors import UserError, WorldError

if TYPE_CHECKING:
    from crowdfund.campaigns.attempts import Job
    from crowdfund.campaigns.cold import Shown
    from crowdfund.db import Database
    from crowdfund.wallet.manifest import CampaignToSign, ToSign
    from crowdfund.wallet.signer_client import Account, SignerClient

MANIFEST = "manifest.json"

_file = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
_folder = click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
_files = click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group()
def cold() -> None:
    """Sign on a machine without a network; the server never has the seed (CROWDFUND_SIGNER=cold)."""


@cold.command("accounts")
@click.option("--count", default=20, show_default=True, type=click.IntRange(1, 100), help="For so many campaigns.")
@click.option("--first", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1), help="Index of the first.")
@_file
def accounts(count: int, first: int, file: Path) -> None:
    """On the machine with the seed: write the public keys of COUNT accounts to FILE, which must not exist."""
    from crowdfund.wallet.account_file import accounts_text
    from crowdfund.wallet.whole_file import write_new

    settings = Settings.from_env()
    with _signer_here(settings) as signer:
        text = accounts_text(settings.network, signer.accounts(first, count))
    write_new(file, text.encode(), "a file")
    click.echo(f"Accounts {first} to {first + count - 1} are in {file}. It holds no secret; the server takes it with")
    click.echo("  crowdfund cold import-accounts FILE")


@cold.command("import-accounts")
@_file
def import_accounts(file: Path) -> None:
    """On the server: take in the accounts in FILE, so that campaigns can be published."""
    from crowdfund.campaigns import service
    from crowdfund.wallet.account_file import read_accounts

    settings = Settings.from_env()
    offered = read_accounts(_text(file), settings.network)
    _check_keys(offered, settings.network)
    with _database(settings) as database:
        with database.transaction() as session:
            service.store_accounts(session, offered)
        with database.reading() as session:
            _, spare = service.account_stock(session)
    click.echo(f"{len(offered)} accounts are taken in; {spare} wait for a campaign.")


@cold.command("export")
@_folder
@click.option("--qr", is_flag=True, help="Write each PSBT as a series of QR codes, too (BBQr).")
def export(folder: Path, qr: bool) -> None:
    """On the server: write all that waits for a signature to DIR, as PSBTs and a manifest."""
    from crowdfund.campaigns.cold import manifest, unsigned_jobs
    from crowdfund.wallet.whole_file import replace

    settings = Settings.from_env()
    with _database(settings) as database:
        with database.reading() as session:
            jobs = unsigned_jobs(session)
        shown = _shown(settings, database, jobs)
        with database.reading() as session:
            whole = manifest(session, settings.network, shown)
    _make(folder)
    for job in jobs:
        _write_psbt(folder, job, qr)
    replace(folder / MANIFEST, whole.to_json().encode())  # last: what it names is there
    refunds = sum(len(campaign.refunds) for campaign in whole.campaigns)
    click.echo(f"{len(jobs)} to sign, and {refunds} refund addresses to keep, are in {folder}.")
    click.echo("Take it to the machine with the seed: crowdfund cold sign DIR")


@cold.command("sign")
@_folder
def sign(folder: Path) -> None:
    """On the machine with the seed: show what waits in DIR, ask, sign. The signer's rules and log are those of ever."""
    from crowdfund.wallet.manifest import Manifest

    settings = Settings.from_env()
    whole = Manifest.parse(_text(folder / MANIFEST))
    if whole.network != settings.network:
        raise UserError(f"This was exported for {whole.network}, and CROWDFUND_NETWORK is {settings.network}.")
    with _signer_here(settings) as signer:
        results = [_sign_campaign(signer, campaign, folder, settings.network) for campaign in whole.campaigns]
    signed, refused = (sum(column) for column in zip((0, 0), *results, strict=True))
    click.echo(f"{signed} signed. The server takes them with: crowdfund cold import DIR/*.signed.psbt")
    if refused:
        raise WorldError(f"{refused} refused by the signer's rules; read above why.", retryable=False)


@cold.command("import")
@_files
def import_(files: tuple[Path, ...]) -> None:
    """On the server: take in signed PSBTs or transactions. The worker sends them. Twice is the same as once."""
    from crowdfund.campaigns.cold import store_brought

    refused = 0
    with _database(Settings.from_env()) as database:
        for file in files:
            try:
                data = _signed_data(file)
                with database.transaction() as session:
                    txid, is_new = store_brought(session, data)
                click.echo(f"{txid} {'is signed; the worker sends it.' if is_new else 'was brought before.'}")
            except (UserError, WorldError) as error:
                refused += 1
                click.echo(f"{file.name}: {error.sentence}", err=True)
    if refused:
        raise UserError(f"{refused} of {len(files)} files are refused; nothing of them is stored.")


def _sign_campaign(signer: SignerClient, campaign: CampaignToSign, folder: Path, network: str) -> tuple[int, int]:
    """(signed, refused). The refund addresses first, as the signer online hears of them first, too."""
    from crowdfund.wallet.manifest import campaign_title

    try:
        title = campaign_title(campaign)
        _refuse_other_addresses(signer, campaign, network)
        signer.register(campaign.terms, campaign.account_index, campaign.refunds)
        if campaign.proof is not None:
            signer.prove(campaign.terms, campaign.account_index, campaign.proof)
        signer.show(campaign.terms, campaign.account_index, campaign.shown)
    except (UserError, WorldError) as error:
        click.echo(f"Nothing is signed for account {campaign.account_index}: {error.sentence}", err=True)
        return 0, max(1, len(campaign.waiting))
    click.echo(f"“{title}”: {len(campaign.refunds)} refund addresses are kept.")
    outcomes = [_sign_one(signer, campaign, one, folder, network) for one in campaign.waiting]
    return outcomes.count(True), outcomes.count(False)


def _refuse_other_addresses(signer: SignerClient, campaign: CampaignToSign, network: str) -> None:
    """The campaign's addresses must follow from this seed and these terms, or its signatures would be worth nothing."""
    from crowdfund.wallet.descriptors import campaign_descriptor

    (own,) = signer.accounts(campaign.account_index, 1)
    terms_hash = sha256(campaign.terms.encode(errors="replace")).digest()
    if campaign.descriptor != campaign_descriptor(own.fingerprint, own.index, own.xpub, terms_hash, network):
        raise UserError("its addresses are not those of this seed and these terms.")


def _sign_one(signer: SignerClient, campaign: CampaignToSign, one: ToSign, folder: Path, network: str) -> bool | None:
    """True if it was signed, False if the signer refused, None if the person did."""
    from crowdfund.wallet.manifest import in_words
    from crowdfund.wallet.psbt import signed_psbt
    from crowdfund.wallet.transactions import verify_signed
    from crowdfund.wallet.whole_file import replace

    try:
        click.echo("\n".join(["", *in_words(campaign, one, network)]))
        if not click.confirm("Sign this?", default=False):
            click.echo("It is not signed.")
            return None
        raw = signer.sign(campaign.terms, campaign.account_index, one.kind, one.tx)
        verify_signed(raw, one.tx, campaign.descriptor)
    except (UserError, WorldError) as error:
        click.echo(f"It is not signed. {error.sentence}", err=True)
        return False
    replace(folder / f"{one.tx.txid}.signed.psbt", signed_psbt(raw, one.tx, campaign.descriptor))
    replace(folder / f"{one.tx.txid}.signed.hex", raw.hex().encode() + b"\n")
    return True


@contextmanager
def _signer_here(settings: Settings) -> Iterator[SignerClient]:
    """The signer in this process: the same seed, rules and log as `crowdfund signer`, and never beside one."""
    from crowdfund.locks import only_one
    from crowdfund.processes import refuse_mainnet, seed_file
    from crowdfund.wallet.keystore import Keystore
    from crowdfund.wallet.passphrase import unlock
    from crowdfund.wallet.shield import keep_memory_private
    from crowdfund.wallet.signer import Signer
    from crowdfund.wallet.signer_here import SignerHere
    from crowdfund.wallet.signer_log import SignerLog

    refuse_mainnet(settings)
    keep_memory_private()
    seed = seed_file(settings)
    if not seed.exists():
        raise UserError(f"No seed in {seed}: this command is for the machine that has it.")
    with only_one(seed.parent / "lock"):
        keystore = Keystore.open(seed, settings.network, lambda: unlock(settings))
        yield SignerHere(Signer(keystore, SignerLog(seed.parent / "log.jsonl"), settings.network))


def _check_keys(offered: Sequence[Account], network: str) -> None:
    """A file may be damaged on its way, or hold a private key by mistake: that never gets into the database."""
    from crowdfund.audit.xpub import check_account_xpub
    from crowdfund.wallet.networks import NETWORKS

    for account in offered:
        try:
            check_account_xpub(account.xpub, NETWORKS[network].coin_type, account.index)
        except ValueError as error:
            raise UserError(
                f"The key of account {account.index} is not this account's public key; nothing is taken in."
            ) from error


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    from crowdfund.db import Database

    database = Database(settings.database_url)
    try:
        database.upgrade()
        yield database
    finally:
        database.close()


def _shown(settings: Settings, database: Database, jobs: Sequence[Job]) -> dict[str, Shown]:
    """What the machine with the seed wants to see of each campaign of which something waits. One that cannot be shown
    now, as its server lacks a part, is named and keeps nobody else waiting."""
    from crowdfund.chain.backends import watched_backend
    from crowdfund.proving import outcome_proof, shown_coins

    found: dict[str, Shown] = {}
    backend = watched_backend(settings)
    for campaign_id in {job.campaign_id for job in jobs}:
        own = [job for job in jobs if job.campaign_id == campaign_id]
        with_coins = any(job.kind == "release" for job in own)
        try:
            proof = outcome_proof(database, backend, campaign_id, with_coins=with_coins)
            inputs = [i for job in own for i in job.tx.inputs]
            found[campaign_id] = (proof, tuple(shown_coins(database, backend, inputs)))
        except WorldError as error:
            click.echo(f"Campaign {campaign_id} cannot be shown now: {error.sentence}", err=True)
    backend.close()
    return found


def _write_psbt(folder: Path, job: Job, qr: bool) -> None:
    from crowdfund.wallet import bbqr
    from crowdfund.wallet.psbt import to_psbt
    from crowdfund.wallet.qr_png import qr_png
    from crowdfund.wallet.whole_file import replace

    psbt = to_psbt(job.tx, job.descriptor)
    replace(folder / f"{job.txid}.psbt", psbt)
    parts = bbqr.encode(psbt, bbqr.PSBT) if qr else []
    for number, part in enumerate(parts, 1):
        replace(folder / f"{job.txid}.{number:04}-of-{len(parts):04}.png", qr_png(part))


def _signed_data(file: Path) -> bytes:
    """The bytes of a file; where it holds the text of BBQr codes, one a line, the file in those."""
    from crowdfund.wallet import bbqr

    data = _bytes(file)
    if not data.startswith(bbqr.MAGIC.encode()):
        return data
    kind, inner = bbqr.decode(data.decode("latin-1").split())
    return inner.hex().encode() if kind == bbqr.TRANSACTION else inner


def _bytes(file: Path) -> bytes:
    from crowdfund.wallet.psbt import MAX_BYTES

    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from error


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} cannot be read: it is no text.") from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}.") from error
