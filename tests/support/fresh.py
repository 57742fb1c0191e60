"""What nearly every test would otherwise pay for anew: the tables of an empty installation, statements put into SQL,
templates and routes put into Python, points of the curve, and costly passwords.

The tables are made once a process, by the migrations; a test begins with a copy of that file. What the migrations do
is looked at by tests/test_migration.py and tests/test_db.py, which take no copy.
"""

from __future__ import annotations

import atexit
import importlib
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from sqlalchemy import URL, Dialect, Engine, event, make_url
from werkzeug.routing import Rule

from crowdfund import postgresql, sqlite
from crowdfund.accounts import passwords
from crowdfund.db import Database
from crowdfund.wallet.bcl import HDKey
from crowdfund.wallet.keystore import store_plain
from crowdfund.wallet.words import new_entropy

PRODUCTION_HASHER = passwords._hasher
CHEAP_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def save_time() -> None:
    """From now on in this process: cheap passwords, as a fifth of a second for each creator is for those who guess
    them; and a statement is put into SQL once, not once for each of the many databases that a process opens here, as a
    template or a route into Python for all its sites; and a key is worked out once."""
    passwords._hasher = CHEAP_HASHER
    keys = importlib.import_module(HDKey.__module__)
    setattr(keys, "ec_point", cache(keys.ec_point))  # noqa: B010 - what the module's own functions call
    setattr(Rule, "_compile_builder", _kept(Rule._compile_builder))  # noqa: B010 - a method
    Flask.jinja_options = {**Flask.jinja_options, "bytecode_cache": Compiled()}
    for kind in (sqlite, postgresql):
        setattr(kind, "open_engine", _sharing(kind.open_engine))  # noqa: B010 - each of them opens its own


class Compiled(BytecodeCache):
    """Templates as Python, by name and contents."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Any] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """What is kept, if this one is."""
        bucket.code = self._kept.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it."""
        self._kept[(bucket.key, bucket.checksum)] = bucket.code


Builder = Callable[..., tuple[str, str]]


def _kept(really_compile: Callable[[Rule, bool], Builder]) -> Callable[[Rule, bool], Builder]:
    """What builds the address of a route is a function of the route as written."""
    compiled: dict[tuple[object, ...], Builder] = {}

    def compile_builder(rule: Rule, append_unknown: bool = True) -> Builder:
        key = (rule.rule, *rule._trace, append_unknown, repr(rule.defaults))
        if key not in compiled:
            compiled[key] = really_compile(rule, append_unknown)
        return compiled[key]

    return compile_builder


def _sharing(really_open: Callable[[URL], Engine]) -> Callable[[URL], Engine]:
    """What is compiled is kept by dialect: all engines of a kind have that of the first one that has connected."""
    dialects: list[Dialect] = []
    compiled: dict[Any, Any] = {}

    def open_engine(url: URL) -> Engine:
        engine = really_open(url)
        engine.update_execution_options(compiled_cache=compiled)
        if dialects:
            engine.dialect = dialects[0]
        else:
            event.listen(engine, "connect", lambda *_: dialects.append(engine.dialect))
        return engine

    return open_engine


def seed(path: Path) -> None:
    """A seed of regtest at `path`: one for all installations of a process, which never meet."""
    store_plain(path, _entropy())


@cache
def _entropy() -> bytes:
    return new_entropy()


def database(url: str) -> Database:
    """Opened, with all tables. An SQLite file that is not there yet is there now."""
    parsed = make_url(url)
    path = Path(parsed.database or "")
    copied = parsed.get_backend_name() == "sqlite" and not path.exists()
    if copied:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_empty(), path)
    found = Database(url)
    if not copied:
        found.upgrade()
    return found


@cache
def _empty() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="crowdfund-empty-"))
    atexit.register(_remove, folder, os.getpid())
    made = Database(f"sqlite:///{folder / 'empty.sqlite'}")
    made.upgrade()
    made.close()
    return folder / "empty.sqlite"


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a process that was forked off later leaves by the same door
        shutil.rmtree(folder, ignore_errors=True)
