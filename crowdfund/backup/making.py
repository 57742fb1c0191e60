"""Making a backup while everything runs: one moment of the database, then the signer's log, then the sealed seed.

The database is read in one transaction that sees one moment. The log is read after it, so it knows every refund
script that the rows call registered. Nothing here is ever in memory as a whole, and no plain byte reaches a disk.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowdfund.backup import form, tables
from crowdfund.backup.signer_past import head_of, whole_lines
from crowdfund.campaigns.models import Campaign
from crowdfund.campaigns.tip import chain_tip
from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.passphrase import Passphrase
from crowdfund.wallet.sealed_stream import seal_stream
from crowdfund.wallet.seed_file import COST, MAX_BYTES, Cost, SealedSeed
from crowdfund.wallet.whole_file import stream_new, write_new

LOG, HEAD, SEED = "signer/log.jsonl", "signer/log.head", "signer/seed"
PIECE_BYTES = 48 * 1024
SECRET_SETTINGS = ("SECRET_KEY", "BITCOIND_PASSWORD", "SIGNER_PASSPHRASE_FILE")


@dataclass(frozen=True)
class Sources:
    """Where the signer's files are; None for what shall not be in the backup."""

    log: Path | None
    seed: Path | None


@dataclass(frozen=True)
class Made:
    """What a backup holds. `log_bytes` is None where there was no log."""

    rows: int
    height: int | None
    log_bytes: int | None
    with_seed: bool


def make_backup(
    database: Database, settings: Settings, sources: Sources, path: Path, passphrase: Passphrase, cost: Cost = COST
) -> Made:
    """Write the backup to `path`, which must not exist. Raises UserError, or WorldError where the disk fails.

    `cost` is for tests: nothing else passes it.
    """
    if path.exists():
        raise UserError(f"There is a file in {path} already; it is never overwritten.")
    seed = None if sources.seed is None else _sealed_seed(sources.seed)
    sizes: list[int] = []
    with database.reading() as session:
        beginning = _beginning(session, settings)
        lines = form.write(beginning, _parts(session, sources.log, seed, sizes))
        stream_new(path, seal_stream(lines, passphrase, cost), "a file")
    height = None if beginning.tip is None else beginning.tip[0]
    return Made(sum(beginning.rows.values()), height, sizes[0] if sizes else None, seed is not None)


def write_terms(database: Database, path: Path) -> int:
    """Write what is public of every published campaign to `path`, enough to find its coins again with the seed.

    Returns the number of campaigns. Raises UserError where there is a file already.
    """
    with database.reading() as session:
        rows = session.scalars(select(Campaign).where(Campaign.terms.is_not(None)).order_by(Campaign.published_at))
        found = [_public(campaign) for campaign in rows]
    text = json.dumps({"campaigns": found}, indent=1, sort_keys=True, ensure_ascii=False)
    write_new(path, text.encode() + b"\n", "a file")
    return len(found)


def _public(campaign: Campaign) -> dict[str, object]:
    return {
        "id": campaign.id,
        "terms": campaign.terms,
        "story": campaign.story,
        "details": campaign.details,
        "descriptor": campaign.descriptor,
        "issued": campaign.next_index,
    }


def _beginning(session: Session, settings: Settings) -> form.Beginning:
    tip = chain_tip(session)
    published = session.execute(
        select(Campaign.id, Campaign.descriptor, Campaign.next_index).where(Campaign.terms.is_not(None))
    )
    return form.Beginning(
        network=settings.network,
        revision=tables.revision_of(session),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        tip=None if tip is None else (tip.height, tip.hash),
        issued={campaign_id: (descriptor or "", index) for campaign_id, descriptor, index in published},
        rows=tables.row_counts(session),
        settings=_without_secrets(settings),
    )


def _without_secrets(settings: Settings) -> dict[str, str]:
    """What names the installation; nothing that opens a door, nor a URL with a password in it."""
    hidden = {f"CROWDFUND_{name}" for name in SECRET_SETTINGS}
    return {name: v for name, v in settings.to_env().items() if name not in hidden and "@" not in v}


def _parts(
    session: Session, log: Path | None, seed: bytes | None, sizes: list[int]
) -> Iterator[tuple[form.Part, Iterable[object]]]:
    yield from tables.exported(session)
    head = None if log is None else _head(log)  # first: it must not be ahead of the log
    data = None if log is None else whole_lines(log)
    if head and data is not None:
        yield form.Part("file", HEAD, {}), _pieces(head)
    if data is not None:
        sizes.append(len(data))
        yield form.Part("file", LOG, {}), _pieces(data)
    if seed is not None:
        yield form.Part("file", SEED, {}), _pieces(seed)


def _head(log: Path) -> bytes:
    """The head of the log, empty where there is none."""
    try:
        return head_of(log).read_bytes() if head_of(log).exists() else b""
    except OSError as error:
        raise WorldError(f"{head_of(log)} cannot be read: {error.strerror}.", retryable=False) from error


def _pieces(data: bytes) -> Iterator[list[str]]:
    for start in range(0, len(data), PIECE_BYTES):
        yield [base64.b64encode(data[start : start + PIECE_BYTES]).decode()]


def _sealed_seed(path: Path) -> bytes:
    """The bytes of an encrypted seed. Plain words never enter a backup."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise WorldError(f"The seed in {path} cannot be read: {error.strerror}.", retryable=False) from error
    if not data.lstrip().startswith(b"{"):
        raise UserError("The seed is stored as plain words, which never enter a backup: run `crowdfund keys encrypt`.")
    return SealedSeed.from_bytes(data).to_bytes()
