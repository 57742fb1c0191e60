"""The processes, each started here and nowhere else: web, worker, signer, notify, and all of them together.

Wiring only. Each loads what it needs and no more, when it is run: no process but the signer ever holds the code that
opens a seed, and the signer holds none that reads the database.
"""

from __future__ import annotations

import logging
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from crowdfund.config import Settings
from crowdfund.errors import WorldError
from crowdfund.locks import only_one
from crowdfund.tied import tied

if TYPE_CHECKING:
    from crowdfund.db import Database
    from crowdfund.wallet.signer import Signer
    from crowdfund.worker import Worker

STOP_PATIENCE_S = 20
# A look under way is not waited for longer: what it has not written down yet, it does again another time.
LOOK_PATIENCE_S = 2

# What the threat model still names. While anything stands here, no signer runs on mainnet.
MAINNET_HOLES = ("nobody outside the project has reviewed yet how it moves money",)


def seed_file(settings: Settings) -> Path:
    """Where the signer keeps its seed."""
    return settings.data_dir / "signer" / "seed"


def refuse_mainnet(settings: Settings) -> None:
    """Raises WorldError where anything would be signed on mainnet, and this version is not fit for that."""
    if settings.network == "mainnet" and MAINNET_HOLES:
        holes = " and ".join(MAINNET_HOLES)
        raise WorldError(f"This version is not fit for mainnet yet: {holes}; so no signer runs there.", retryable=False)


def log_to_stderr() -> None:
    """Plain lines with the time, for whatever keeps the output of services."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)


def run_worker(settings: Settings, *, once: bool = False) -> None:
    """Watch and settle until told to stop, or only as far as it goes now. Raises WorldError where another worker runs,
    and, `once`, where something stands in the way."""
    from crowdfund.chain.doorbell import Doorbell
    from crowdfund.worker import run, run_once

    if settings.signer == "cold":
        refuse_mainnet(settings)
    log_to_stderr()
    stop = threading.Event()
    with only_one(settings.data_dir / "worker.lock"), _equipped_worker(settings) as worker:
        if once:
            on_stop(stop.set)
            run_once(worker, stop)
            return
        bell = Doorbell(settings.bitcoind_zmq_url)

        def end() -> None:
            stop.set()
            bell.ring()

        on_stop(end)
        run(worker, stop, bell)
        bell.close()


@contextmanager
def _equipped_worker(settings: Settings) -> Iterator[Worker]:
    """The worker with all that it needs, which is closed afterwards."""
    from crowdfund.campaigns import books, figures
    from crowdfund.chain.backends import second_backend, watched_backend
    from crowdfund.db import Database
    from crowdfund.wallet.signer_client import SignerClient
    from crowdfund.worker import Worker

    database = Database(settings.database_url)
    database.upgrade()
    books.open_ledger(database)
    figures.fill(database)
    signer = SignerClient(settings.signer_socket) if settings.signer == "socket" else None
    backend, second = watched_backend(settings), second_backend(settings)
    try:
        yield Worker(database, backend, signer, settings.network, second)
    finally:
        backend.close()
        if second is not None:
            second.close()
        database.close()


def run_notify(settings: Settings) -> None:
    """Tell people what happened, and look at the files of projects, until told to stop. It holds no key."""
    from crowdfund import languages
    from crowdfund.db import Database
    from crowdfund.notices import sender
    from crowdfund.notices.posting import PinnedPoster
    from crowdfund.notices.smtp import Mailer

    log_to_stderr()
    languages.read_all()
    database = Database(settings.database_url)
    database.upgrade()
    stop = threading.Event()
    on_stop(stop.set)
    looking = _looking_again(settings, database, stop)
    mailer = Mailer(settings.smtp_url) if settings.smtp_url else None
    poster = PinnedPoster(plain=settings.network == "regtest")
    sender.run(sender.Sender(database, settings, mailer, poster), stop)
    if looking is not None:
        looking.join(LOOK_PATIENCE_S)
    database.close()


def _looking_again(settings: Settings, database: Database, stop: threading.Event) -> threading.Thread | None:
    """The thread that looks at the files of projects, begun; None where nothing may be fetched."""
    from crowdfund.projects.fetching import fetcher_of
    from crowdfund.projects.rechecking import Looker, run

    if settings.fetching == "off":
        return None
    looker = Looker(database, settings, fetcher_of(settings))
    thread = threading.Thread(target=run, args=(looker, stop), name="proofs", daemon=True)
    thread.start()
    return thread


def run_signer(settings: Settings) -> None:
    """Answer at the socket until told to stop. The only process that opens the seed."""
    from crowdfund.wallet.signer import SignerServer

    log_to_stderr()
    with opened_signer(settings) as signer:
        server = SignerServer(signer, settings.signer_socket, peer_uids(settings.signer_peer))
        on_stop(lambda: threading.Thread(target=server.shutdown).start())
        server.serve_forever(poll_interval=0.2)
        server.server_close()


@contextmanager
def opened_signer(settings: Settings) -> Iterator[Signer]:
    """The signer with its seed and its log, which are nobody else's meanwhile. Raises WorldError, WrongPassphrase."""
    from crowdfund.wallet.keystore import Keystore
    from crowdfund.wallet.passphrase import unlock
    from crowdfund.wallet.shield import keep_memory_private
    from crowdfund.wallet.signer import Signer
    from crowdfund.wallet.signer_log import SignerLog

    if settings.signer == "cold":
        raise WorldError("CROWDFUND_SIGNER is cold: here no signer runs, and no seed belongs here.", retryable=False)
    refuse_mainnet(settings)
    keep_memory_private()
    folder = seed_file(settings).parent
    with only_one(folder / "lock"):
        keystore = Keystore.open(seed_file(settings), settings.network, lambda: unlock(settings))
        yield Signer(keystore, SignerLog(folder / "log.jsonl"), settings.network)


def peer_uids(peer: str) -> set[int]:
    """The id of the user that the signer hears beside its own: a name or a number, or nobody. Raises WorldError."""
    if not peer:
        return set()
    try:
        return {int(peer) if peer.isdigit() else pwd.getpwnam(peer).pw_uid}
    except KeyError:
        raise WorldError(f"CROWDFUND_SIGNER_PEER is {peer!r}, and there is no such user.", retryable=False) from None


def run_all(settings: Settings, host: str, port: int) -> None:
    """Signer (where one runs here), worker, notify and web together, until told to stop or until one of them ends."""
    children = Children(settings)
    stop = threading.Event()
    on_stop(stop.set)
    try:
        if settings.signer == "socket":
            children.start("signer")
        children.start("worker")
        children.start("notify")
        children.start("serve", "--host", host, "--port", str(port))
        while not stop.wait(0.5):
            if ended := children.ended():
                raise WorldError(f"The {ended} process has ended; all others are stopped.", retryable=False)
    finally:
        children.stop()


def on_stop(callback: Callable[[], None]) -> None:
    """Call back at SIGTERM and Ctrl-C."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        callback()

    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, handler)


class Children:
    """Child processes that end with us: stopped in reverse order and waited for, or by the kernel if we are killed."""

    def __init__(self, settings: Settings) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CROWDFUND_")}
        cache = {name: value for name, value in os.environ.items() if name in ("CROWDFUND_CACHE_DIR",)}
        self._environment = {**kept, **cache, **settings.to_env()}
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, *arguments: str, log_file: Path | None = None) -> None:
        """Run `crowdfund NAME ARGUMENTS` in a session of its own, so that Ctrl-C reaches us first."""
        command = tied([sys.executable, "-m", "crowdfund", name, *arguments])
        with log_file.open("ab") if log_file else nullcontext() as log:
            process = subprocess.Popen(
                command, env=self._environment, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._running.append((name, process))

    def ended(self) -> str | None:
        """The name of a child that has ended by itself."""
        return next((name for name, process in self._running if process.poll() is not None), None)

    def stop(self) -> None:
        """End all children, the last started first."""
        for _, process in reversed(self._running):
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_PATIENCE_S
        for _, process in reversed(self._running):
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


def wait_for(ready: Callable[[], bool], sentence: str, patience_s: int = 30) -> None:
    """Wait until `ready()`. Raises WorldError with `sentence` when patience ends."""
    deadline = time.monotonic() + patience_s
    while not ready():
        if time.monotonic() > deadline:
            raise WorldError(sentence, retryable=False)
        time.sleep(0.05)
