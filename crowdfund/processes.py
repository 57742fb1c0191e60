"""The four processes, each started here and nowhere else: web, worker, signer, and all of them together.

Wiring only. Each loads what it needs and no more: the web process never loads the signer.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from crowdfund.chain.core import CoreBackend
from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.errors import WorldError
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.worker import Worker, only_one, run

STOP_PATIENCE_S = 20


def seed_file(settings: Settings) -> Path:
    """Where the signer keeps its seed."""
    return settings.data_dir / "signer" / "seed"


def backend_of(settings: Settings) -> CoreBackend:
    """The configured node."""
    return CoreBackend(settings.bitcoind_url, settings.bitcoind_cookie_file, settings.bitcoind_password)


def run_worker(settings: Settings) -> None:
    """Watch and settle until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    stop = threading.Event()
    on_stop(lambda: stop.set())
    with only_one(settings.data_dir / "worker.lock"):
        database = Database(settings.database_url)
        database.upgrade()
        run(Worker(database, backend_of(settings), SignerClient(settings.signer_socket), settings.network), stop)
        database.close()


def on_stop(callback: Callable[[], None]) -> None:
    """Call back at SIGTERM and Ctrl-C."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        callback()

    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, handler)


class Children:
    """Child processes that end with us: stopped in reverse order, and waited for."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment}
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, arguments: Sequence[str], log_file: Path | None = None) -> None:
        """Run `crowdfund ARGUMENTS` as a child in its own process group, so that Ctrl-C reaches us first."""
        command = [sys.executable, "-m", "crowdfund", *arguments]
        if log_file is None:
            process = subprocess.Popen(command, env=self._environment, start_new_session=True)
        else:
            log_file.parent.mkdir(parents=True, exist_ok=True)
            with log_file.open("ab") as log:
                process = subprocess.Popen(
                    command, env=self._environment, start_new_session=True, stdout=log, stderr=log
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
