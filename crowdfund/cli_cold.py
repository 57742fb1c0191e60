"""`crowdfund cold`: settling with the seed on another machine, by files and pictures. Reads, calls, prints.

Two commands run where the seed is and need no network (accounts, sign); three run on the server and open no seed
(import-accounts, export, import). What opens a seed is loaded when a command runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crowdfund.config import Settings
from crowdfund.errors import UserError, WorldError

if TYPE_CHECKING:
    from crowdfund.db import Database
    from crowdfund.wallet.cold_files import ColdPlan, Manifest
    from crowdfund.wallet.psbt import SignedPsbt
    from crowdfund.wallet.signer import Signer

MAX_FILE_BYTES = 64 * 1024 * 1024

_folder = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def cold() -> None:
    """Settle with the seed on another machine (CROWDFUND_SIGNER=cold)."""


@cold.command("accounts")
@click.option("--first", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1))
@click.option("--count", default=20, show_default=True, type=click.IntRange(1, 100))
def accounts(first: int, count: int) -> None:
    """Print accounts for the server, as a file. Run it where the seed is."""
    from crowdfund.processes import opened_signer
    from crowdfund.wallet.cold_files import accounts_text
    from crowdfund.wallet.signer_client import Account

    settings = Settings.from_env()
    with opened_signer(settings) as signer:
        offered = signer.accounts(first, count)
    click.echo(accounts_text([Account(**account) for account in offered], settings.network), nl=False)


@cold.command("import-accounts")
@click.argument("file", type=_file)
def import_accounts(file: Path) -> None:
    """Take the accounts in FILE in stock. Run it on the server."""
    from crowdfund.audit.xpub import check_account_xpub
    from crowdfund.campaigns import service
    from crowdfund.wallet.cold_files import read_accounts
    from crowdfund.wallet.networks import NETWORKS

    settings = Settings.from_env()
    offered = read_accounts(_text(file), settings.network)
    for account in offered:
        try:
            check_account_xpub(account.xpub, NETWORKS[settings.network].coin_type, account.index)
        except ValueError as error:
            raise UserError(f"Account {account.index}: {error}") from error
    with _database(settings).transaction() as session:
        service.store_accounts(session, offered)
    click.echo(f"{len(offered)} accounts are in stock.")


@cold.command("export")
@_folder
@click.option("--qr", is_flag=True, help="Pictures of QR codes (BBQr) beside each PSBT.")
def export(folder: Path, qr: bool) -> None:
    """Write what waits for a signature to FOLDER, which must not exist. Run it on the server."""
    from crowdfund.wallet.cold_files import MANIFEST
    from crowdfund.wallet.psbt import write_psbt

    settings = Settings.from_env()
    manifest, descriptors = _waiting(settings)
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise UserError(f"{folder} exists; name a new folder.") from None
    (folder / MANIFEST).write_text(manifest.to_text())
    for plan in manifest.plans:
        data = write_psbt(plan.tx, descriptors[plan.tx.txid])
        (folder / f"{plan.tx.txid}.psbt").write_bytes(data)
        if qr:
            _write_pictures(folder / plan.tx.txid, data)
    click.echo(f"{len(manifest.plans)} plans of {len(manifest.campaigns)} campaigns are in {folder}.")
    click.echo(f"Sign them with `crowdfund cold sign {folder.name}` where the seed is, or with a wallet that has it.")


@cold.command("sign")
@_folder
def sign(folder: Path) -> None:
    """Judge and sign the plans in FOLDER, by the same rules as the signer. Run it where the seed is."""
    from crowdfund.processes import opened_signer
    from crowdfund.wallet.cold_files import MANIFEST, Manifest, registrations

    settings = Settings.from_env()
    manifest = Manifest.parse(_text(folder / MANIFEST), settings.network)
    with opened_signer(settings) as signer:
        requests = [request for campaign in manifest.campaigns for request in registrations(campaign)]
        refusals = [_refusal(signer, request) for request in requests]
        refusals += [_sign_one(signer, plan, folder, settings.network) for plan in manifest.plans]
    refusals = [sentence for sentence in refusals if sentence]
    for sentence in refusals:
        click.echo(f"Refused: {sentence}", err=True)
    if refusals:
        raise SystemExit(1)


@cold.command("import")
@click.argument("files", nargs=-1, required=True, type=_file)
def import_(files: tuple[Path, ...]) -> None:
    """Take signatures in: PSBT files, or text files with scanned BBQr codes. Run it on the server."""
    from crowdfund.campaigns import settling
    from crowdfund.wallet.transactions import verify_signed

    database = _database(Settings.from_env())
    with database.reading() as session:
        jobs = {job.txid: job for job in settling.open_jobs(session)}
    for file in files:
        found = _signed(file)
        job = jobs.get(found.txid)
        if job is None:
            raise UserError(f"{file} signs {found.txid}, which is none of the plans that wait.")
        if job.tx.txid != job.txid:
            raise WorldError(f"The stored plan of {job.txid} was changed. Settlement is halted.", retryable=False)
        verify_signed(found.raw, job.tx, job.descriptor)
        if job.raw is None:
            with database.transaction() as session:
                settling.store_signed(session, job.txid, found.raw)
        click.echo(f"{job.kind} {job.txid} is signed and stored.")


def _database(settings: Settings) -> Database:
    from crowdfund.db import Database

    database = Database(settings.database_url)
    database.upgrade()
    return database


def _waiting(settings: Settings) -> tuple[Manifest, dict[str, str]]:
    """What waits for a signature, with every refund address given so far; and the descriptors, by txid."""
    from sqlalchemy import select

    from crowdfund.campaigns import settling
    from crowdfund.campaigns.models import Campaign, Pledge
    from crowdfund.wallet.cold_files import ColdCampaign, ColdPlan, Manifest

    with _database(settings).reading() as session:
        jobs = [job for job in settling.open_jobs(session) if job.raw is None]
        campaigns = []
        for campaign in session.scalars(select(Campaign).where(Campaign.terms.is_not(None)).order_by(Campaign.id)):
            pledges = session.scalars(
                select(Pledge).where(Pledge.campaign_id == campaign.id, Pledge.address.is_not(None))
            )
            refunds = {pledge.index: pledge.refund_script.hex() for pledge in pledges}
            campaigns.append(ColdCampaign(campaign.terms or "", campaign.account_index or 0, refunds))
    plans = tuple(ColdPlan(job.terms, job.account_index, str(job.kind), job.tx) for job in jobs)
    return Manifest(settings.network, tuple(campaigns), plans), {job.txid: job.descriptor for job in jobs}


def _refusal(signer: Signer, request: dict[str, object]) -> str:
    return str(signer.reply(json.dumps(request).encode()).get("error", ""))


def _sign_one(signer: Signer, plan: ColdPlan, folder: Path, network: str) -> str:
    """Sign a plan and write it beside its PSBT; returns why it is refused, "" where it is not."""
    from crowdfund.wallet.cold_files import signing_request
    from crowdfund.wallet.psbt import write_psbt
    from crowdfund.wallet.transactions import verify_signed

    answer = signer.reply(json.dumps(signing_request(plan)).encode())
    if "error" in answer:
        return f"{plan.tx.txid}: {answer['error']}"
    raw, descriptor = bytes.fromhex(str(answer["raw"])), signer.descriptor(plan.account, plan.terms)
    verify_signed(raw, plan.tx, descriptor)
    (folder / f"{plan.tx.txid}.signed.psbt").write_bytes(write_psbt(plan.tx, descriptor, raw))
    click.echo(f"Signed {plan.kind} {plan.tx.txid}, fee {plan.tx.fee_sats} sat:")
    for output in plan.tx.outputs:
        click.echo(f"  {output.value_sats:>14} sat to {_address(output.script, network)}")
    return ""


def _address(script: bytes, network: str) -> str:
    from crowdfund.wallet.addresses import address_of

    return address_of(script, network)


def _signed(file: Path) -> SignedPsbt:
    """The signed PSBT in a file, whose lines may be the texts of QR codes."""
    from crowdfund.wallet.bbqr import PSBT, join
    from crowdfund.wallet.psbt import read_signed

    data = file.read_bytes()
    if data.startswith(b"B$"):
        kind, data = join(data.decode("ascii", "replace").split())
        if kind != PSBT:
            raise UserError(f"The QR codes in {file} hold no PSBT.")
    return read_signed(data)


def _write_pictures(folder: Path, data: bytes) -> None:
    from crowdfund.wallet.bbqr import qr_png, split

    folder.mkdir()
    for number, part in enumerate(split(data), 1):
        (folder / f"{number:04}.png").write_bytes(qr_png(part))


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_FILE_BYTES).decode()
    except (OSError, UnicodeError) as error:
        raise UserError(f"{file} cannot be read.") from error
