"""Workers and signers that die at a chosen step: the production classes, given side effects that are counted.

A step is a moment before or after something that outlives the process: a commit, a question to the signer, a
broadcast, a line in the signer's log. Each has a label, is noted in a file, and at the chosen one the process gets
SIGKILL (or SIGSTOP) from its own hand. May not: change what the production code does.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from sqlalchemy import event, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from crowdfund import processes
from crowdfund.campaigns.models import Attempt, ChainView
from crowdfund.chain.core import CoreBackend
from crowdfund.chain.port import SendResult, Sent
from crowdfund.cli import main
from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.errors import UserError, WorldError
from crowdfund.locks import only_one
from crowdfund.wallet.keystore import Keystore
from crowdfund.wallet.outcome_proof import Cancelled
from crowdfund.wallet.signer import Signer, SignerServer
from crowdfund.wallet.signer_client import Account, SignerClient
from crowdfund.wallet.signer_log import SignerLog
from crowdfund.wallet.transactions import UnsignedTx
from crowdfund.worker import Worker, run

MANY_ROUNDS = 50
# A row for each coin that the payer's wallet chose to spend: however many in a row, one step, so that lives compare.
BY_THE_PAYER = "INSERT INTO payment_inputs"
WRITE = re.compile(r'(INSERT INTO|UPDATE|DELETE FROM) (\w+)(?: SET "?(\w+))?')


class Steps:
    """Counts the steps of one life, notes their labels, and sends itself a signal at the chosen one.

    `kill_at` is the number of a step, from 1, or words of a label: then the first step that has them is meant.
    """

    def __init__(self, path: Path, kill_at: int | str | None = None, number: int = signal.SIGKILL) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._kill_at = kill_at
        self._number = number
        self._count = 0

    def __call__(self, label: str) -> None:
        """Note the step; it may be the last."""
        self._count += 1
        os.write(self._file, label.encode() + b"\n")
        words = self._kill_at if isinstance(self._kill_at, str) else None
        if self._count == self._kill_at or (words is not None and words in label):
            self._kill_at = None
            os.kill(os.getpid(), self._number)


@contextmanager
def counted_commits(database: Database, steps: Steps, every_statement: bool) -> Iterator[None]:
    """Steps before and after each commit of this process, and before each writing statement if asked for."""
    last = [""]

    def statement(_c: object, _cursor: object, text: str, _p: object, _context: object, _many: bool) -> None:
        found = WRITE.match(text)
        if found:
            previous, last[0] = last[0], " ".join(part for part in found.groups() if part)
            if every_statement and not previous == last[0] == BY_THE_PAYER:
                steps(f"{_worker_function()}: in the transaction, before {last[0]}")

    def before(_connection: object) -> None:
        steps(f"{_worker_function()}: before the commit of {last[0]}")

    def after(session: Session) -> None:
        if session.in_nested_transaction():  # a savepoint is no commit
            return
        steps(f"{_worker_function()}: after the commit of {last[0]}")

    event.listen(database.engine, "before_cursor_execute", statement)
    event.listen(database.engine, "commit", before)
    event.listen(Session, "after_commit", after)
    try:
        yield
    finally:
        event.remove(Session, "after_commit", after)


def _worker_function() -> str:
    """The name of the worker's function that we were called from."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename.endswith("crowdfund/worker.py"):
            return frame.f_code.co_name
    return "start"


class CountedSigner(SignerClient):
    """The signer's client, with a step before each question and after each answer."""

    def __init__(self, socket_path: Path, steps: Steps) -> None:
        super().__init__(socket_path)
        self._steps = steps

    def accounts(self, first: int, count: int) -> list[Account]:
        """See the parent."""
        self._steps("signer: before asking for accounts")
        answer = super().accounts(first, count)
        self._steps("signer: accounts are here, not stored")
        return answer

    def register(self, terms: str, account_index: int, refunds: Mapping[int, bytes]) -> None:
        """See the parent."""
        self._steps("signer: before registering")
        super().register(terms, account_index, refunds)
        self._steps("signer: registered, not noted")

    def sign(self, terms: str, account_index: int, kind: str, tx: UnsignedTx) -> bytes:
        """See the parent."""
        self._steps(f"signer: before asking to sign the {kind}")
        raw = super().sign(terms, account_index, kind, tx)
        self._steps(f"signer: the {kind} is signed, not stored")
        return raw


class CountedBackend(CoreBackend):
    """The node, with a step before each broadcast and after it, and a note of what went out and what was stored then.

    A `muted` one takes every transaction and sends none: for finding out what would be sent.
    """

    def __init__(self, settings: Settings, steps: Steps, notes: Path, muted: bool) -> None:
        super().__init__(settings.bitcoind_url, settings.bitcoind_cookie_file, settings.bitcoind_password)
        self._steps = steps
        self._notes = notes
        self._muted = muted
        self._database_url = settings.database_url

    def broadcast(self, raw: bytes) -> SendResult:
        """See the port."""
        self._steps("broadcast: before")
        with self._notes.open("a") as notes:
            notes.write(f"{raw.hex()} {'stored' if self._is_stored(raw) else 'NOT STORED'}\n")
        result = SendResult(Sent.ACCEPTED) if self._muted else super().broadcast(raw)
        self._steps("broadcast: the node has it, its answer is not seen")
        return result

    def _is_stored(self, raw: bytes) -> bool:
        """Would these bytes, and that they may be anywhere, be known after a power cut now?"""
        database = Database(self._database_url)
        with database.reading() as session:
            found = session.scalars(select(Attempt.sent_at).where(Attempt.raw == raw)).all()
        database.close()
        return len(found) == 1 and found[0] is not None


class CountedLog(SignerLog):
    """The signer's log, with a step before and after each line that is new."""

    def __init__(self, path: Path, steps: Steps) -> None:
        super().__init__(path)
        self._steps = steps

    def register(self, account: int, terms_hash: bytes, refunds: Mapping[int, bytes]) -> None:
        """See the parent."""
        self._steps(f"log: before {len(refunds)} refund addresses")
        super().register(account, terms_hash, refunds)
        self._steps(f"log: {len(refunds)} refund addresses are written")

    def cancel(self, account: int, terms_hash: bytes, cancelled: Cancelled) -> None:
        """See the parent."""
        self._steps("log: before the cancellation")
        super().cancel(account, terms_hash, cancelled)
        self._steps("log: the cancellation is written")

    def settle(self, kind: str, txid: str, account: int, terms_hash: bytes, outpoints: Mapping[str, int]) -> None:
        """See the parent."""
        self._steps(f"log: before the {kind}")
        super().settle(kind, txid, account, terms_hash, outpoints)
        self._steps(f"log: the {kind} is written, nothing signed")


class CountedAnswers(Signer):
    """The signer, with a step between an answer's making and its leaving."""

    def __init__(self, keystore: Keystore, log: SignerLog, network_name: str, steps: Steps) -> None:
        super().__init__(keystore, log, network_name)
        self._steps = steps

    def answer(self, message: dict[str, Any]) -> dict[str, object]:
        """See the parent."""
        answer = super().answer(message)
        self._steps(f"answer: {message['op']} is done, not answered")
        return answer


def worker_life(settings: Settings, steps: Steps, every_statement: bool = False, muted: bool = False) -> str:
    """A worker from its start until nothing changes. Returns what stood in its way, "" if nothing did."""
    with ExitStack() as stack:
        stack.enter_context(only_one(settings.data_dir / "worker.lock"))
        database = stack.enter_context(closing(Database(settings.database_url)))
        stack.enter_context(counted_commits(database, steps, every_statement))
        backend = CountedBackend(settings, steps, settings.data_dir / "broadcasts", muted)
        stack.callback(backend.close)
        worker = Worker(database, backend, CountedSigner(settings.signer_socket, steps), settings.network)
        if all(worker.round() for _ in range(MANY_ROUNDS)):
            return "the worker does not come to rest"
        with database.reading() as session:
            view = session.get_one(ChainView, 1)
            return view.trouble


def crowd_life(settings: Settings, rounds: int) -> list[str]:
    """A worker that never asked for the lock, for some rounds. Returns what it ran into."""
    database = Database(settings.database_url)
    backend = CoreBackend(settings.bitcoind_url, settings.bitcoind_cookie_file, settings.bitcoind_password)
    worker = Worker(database, backend, SignerClient(settings.signer_socket), settings.network)
    met = []
    for _ in range(rounds):
        try:
            worker.round()
        except DBAPIError as error:
            met.append(f"{type(error).__name__}: {error.orig}")
        except (UserError, WorldError) as error:
            met.append(error.sentence)
    return met


def robot_life(settings: Settings, locked: bool) -> None:
    """A worker that goes on until it is killed; it holds the lock, or never asked for it."""
    with only_one(settings.data_dir / "worker.lock") if locked else nullcontext():
        database = Database(settings.database_url)
        backend = CoreBackend(settings.bitcoind_url, settings.bitcoind_cookie_file, settings.bitcoind_password)
        run(Worker(database, backend, SignerClient(settings.signer_socket), settings.network), threading.Event())


def press_life(settings: Settings, locked: bool) -> str:
    """`crowdfund worker --once`, as an operator presses it. Returns "" for exit code 0, else what it said last."""
    if not locked:
        setattr(processes, "only_one", lambda _path: nullcontext())  # noqa: B010 - as if there were no lock
    result = CliRunner().invoke(main, ["worker", "--once"], env=settings.to_env())
    if result.exit_code == 0:
        return ""
    return result.output.rpartition("Error: ")[2].strip() or f"{result.exit_code} {result.exception!r}"


def signer_life(settings: Settings, steps: Steps, ready: Callable[[], None]) -> None:
    """A signer until it is killed."""
    log = CountedLog(settings.data_dir / "signer" / "log.jsonl", steps)
    keystore = Keystore.open(settings.data_dir / "signer" / "seed", settings.network)
    server = SignerServer(CountedAnswers(keystore, log, settings.network, steps), settings.signer_socket)
    ready()
    server.serve_forever(0.05)
