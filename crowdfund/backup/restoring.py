"""Coming back from a backup: everything is checked before anything is written, and nothing is overwritten.

The rows, what the signer's log adds to them, and the note that the chain must be looked through first are written in
one transaction: killed before its end, it leaves an empty database, and the same command starts anew. Files are put
in place before it; finding the same bytes there again is no obstacle.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from crowdfund.backup import form, tables
from crowdfund.backup.form import Beginning, Part
from crowdfund.backup.making import HEAD, LOG, SEED
from crowdfund.backup.signer_past import SignerPast, head_of, newest, read_past, refuse_missing_lines, whole_lines
from crowdfund.campaigns import recovery
from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.passphrase import Passphrase
from crowdfund.wallet.sealed_stream import DamagedStream, Lock, open_stream
from crowdfund.wallet.whole_file import write_new


@dataclass(frozen=True)
class Checked:
    """A backup read once from end to end, and found whole."""

    beginning: Beginning
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Restored:
    """What came back. `pledges_from_log`: made from the signer's log; `strange`: registered addresses of campaigns
    that the backup does not have."""

    rows: int
    made_at: str
    height: int | None
    pledges_from_log: int
    strange: int
    log_known: bool
    seed_placed: bool


def restore_backup(settings: Settings, path: Path, passphrase: Passphrase, log: Path, seed: Path) -> Restored:
    """Bring everything back into an empty database. `log`, `seed`: where the signer's files are or shall be.

    Raises UserError or WorldError with one sentence; then nothing was written to the database.
    """
    lock = Lock(passphrase)
    checked = check(path, lock)
    if checked.beginning.network != settings.network:
        raise UserError(
            f"This backup was made on {checked.beginning.network}, and CROWDFUND_NETWORK is {settings.network}."
        )
    kept = newest(whole_lines(log), checked.files.get(LOG))
    past = read_past(kept or b"")
    refuse_missing_lines(log, kept or b"")
    with empty_database(settings) as connection:
        tables.migrate(connection, checked.beginning.revision)
        _place(log, checked.files.get(LOG), "a log", overgrown=True)
        if not head_of(log).exists():
            _place(head_of(log), checked.files.get(HEAD), "a head of the log")
        seed_placed = _place(seed, checked.files.get(SEED), "a seed")
        _fill(connection, path, lock)
        tables.migrate(connection, "head")
        made, strange = mark(connection, settings.network, "backup", checked.beginning, past)
    begun = checked.beginning
    return Restored(
        rows=sum(begun.rows.values()),
        made_at=begun.made_at,
        height=None if begun.tip is None else begun.tip[0],
        pledges_from_log=made,
        strange=strange,
        log_known=kept is not None,
        seed_placed=seed_placed,
    )


def check(path: Path, lock: Lock) -> Checked:
    """Read a backup from end to end. Raises UserError for a wrong passphrase or no backup, WorldError for damage."""
    files: dict[str, bytearray] = {}
    with _opened(path, lock) as (beginning, rows):
        for part, row in rows:
            if part.kind == "file":
                files.setdefault(part.name, bytearray()).extend(_bytes(row))
    return Checked(beginning, {name: bytes(data) for name, data in files.items()})


@contextmanager
def empty_database(settings: Settings) -> Iterator[Connection]:
    """A transaction on a database without tables. Raises UserError where there are some."""
    database = Database(settings.database_url)
    try:
        with database.engine.begin() as connection:
            if not tables.is_empty(connection):
                raise UserError(
                    "The database has tables already; a restore goes into an empty one and overwrites nothing. Move "
                    "the old one away, with all its files, and keep it."
                )
            yield connection
    finally:
        database.close()


def mark(
    connection: Connection, network: str, source: str, beginning: Beginning | None, past: SignerPast
) -> tuple[int, int]:
    """Add what the signer's log knows, and say that the chain must be looked through; see `recovery`."""
    now = datetime.now(UTC)
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        height = None if beginning is None or beginning.tip is None else beginning.tip[0]
        recovery.name_reserved(session, network)
        made, strange = recovery.add_registered(session, network, past.refunds, now, past.changes)
        recovery.mark_restored(session, source, height, past.last_account, now)
        session.commit()
    return made, strange


def _fill(connection: Connection, path: Path, lock: Lock) -> None:
    importer = tables.Importer(connection)
    begun: Part | None = None
    with tables.without_triggers(connection), _opened(path, lock) as (_, rows):
        for part, row in rows:
            if part.kind != "table":
                continue
            if part is not begun:
                importer.begin(part)
                begun = part
            if row:
                importer.take(row)
        importer.flush()


@contextmanager
def _opened(path: Path, lock: Lock) -> Iterator[tuple[Beginning, Iterator[tuple[Part, list[Any]]]]]:
    try:
        with path.open("rb") as file:
            yield form.read(open_stream(file, lock))
    except OSError as error:
        raise WorldError(f"{path} cannot be read: {error.strerror}.", retryable=False) from error


def _bytes(row: list[Any]) -> bytes:
    try:
        return b"".join(base64.b64decode(piece, validate=True) for piece in row)
    except (ValueError, TypeError):
        raise DamagedStream from None


def _place(path: Path, data: bytes | None, what: str, overgrown: bool = False) -> bool:
    """Write a file that is not there; False where it is, and may be. `overgrown`: it may have grown since."""
    if data is None:
        return False
    if path.exists():
        here = path.read_bytes()
        if here == data or (overgrown and here.startswith(data)):
            return False
        raise UserError(f"There is {what} in {path} already, and not the one in the backup; it is never overwritten.")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_new(path, data, what)
    return True
