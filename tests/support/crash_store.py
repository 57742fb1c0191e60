"""Where the records of crash cases are: a file in each case's folder, or a database each on a PostgreSQL server."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import make_url, text

from crowdfund.db import Database
from support.postgres import Server

FILE = "crowdfund.sqlite"


class Files:
    """SQLite: the records lie in the folder, and were copied with it."""

    def url(self, folder: Path, source: Path | None = None) -> str:
        """The address of the records of a folder, which are those of `source` at first."""
        return f"sqlite:///{folder / FILE}"

    def after_death(self, folder: Path, query: str) -> list[tuple[Any, ...]]:
        """What a query finds where a worker has just died. Asked of a copy: opening the file here would mend what its
        heir must mend."""
        grave = folder / "grave"
        grave.mkdir(exist_ok=True)
        for path in folder.glob(f"{FILE}*"):
            shutil.copy(path, grave)
        found = rows(self.url(grave), query)
        shutil.rmtree(grave)
        return found


class Databases:
    """PostgreSQL: a database for each folder."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._names: dict[Path, str] = {}
        self._numbers = count(1)

    def url(self, folder: Path, source: Path | None = None) -> str:
        """See `Files`. Waits a moment for whoever is still connected to the source."""
        if folder not in self._names:
            name = self._names[folder] = f"case_{next(self._numbers)}"
            template = "template0" if source is None else self._names[source]
            self._server.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
        return self._server.url(self._names[folder])

    def after_death(self, folder: Path, query: str) -> list[tuple[Any, ...]]:
        """See `Files`. Who holds the writers' lock knows that the dead one's transaction is over."""
        return _ask(self.url(folder), query, lambda database: database.transaction())


Store = Files | Databases


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """What a query finds."""
    return _ask(url, query, lambda database: database.reading())


def sound(url: str) -> bool:
    """Is the file whole? A server that recovers has seen to that itself."""
    if make_url(url).get_backend_name() == "postgresql":
        return True
    return rows(url, "PRAGMA integrity_check") == [("ok",)] and rows(url, "PRAGMA foreign_key_check") == []


def _ask(url: str, query: str, enter: Callable[[Database], Any]) -> list[tuple[Any, ...]]:
    database = Database(url)
    try:
        with enter(database) as session:
            return [tuple(row) for row in session.execute(text(query))]
    finally:
        database.close()
