"""Looks again, day by day, at the files by which projects have shown that they stand behind their pages here.

Runs in the process that tells people what happened: that one speaks to machines that strangers name anyway, and holds
nothing secret. In a thread of its own, one project after the other, so that a slow host keeps nobody else waiting long.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.projects import looking
from crowdfund.projects.urls import LOCAL, STRICT, Fetch

log = logging.getLogger("crowdfund.proofs")

POLL_S = 2.0
BETWEEN_S = 1.0
"""Between two looks, so that many at once do not look like a flood."""
AFTER_A_FAULT_S = 3600.0


@dataclass
class Looker:
    """What looking again needs. `fetch` is one for the process."""

    database: Database
    settings: Settings
    fetch: Fetch
    _again_at: dict[str, float] = field(default_factory=dict)

    def step(self, stop: threading.Event, now: datetime | None = None) -> int:
        """Look at all projects that are due, or until `stop`; how many looks were made."""
        with self.database.reading() as session:
            found = looking.due(session, now or datetime.now(UTC))
        made = 0
        for project_id in found:
            if stop.is_set():
                break
            if self._again_at.get(project_id, 0.0) > time.monotonic():
                continue
            made += self._look(project_id, now or datetime.now(UTC))
            if made and project_id != found[-1]:
                stop.wait(BETWEEN_S)
        return made

    def _look(self, project_id: str, now: datetime) -> bool:
        """One look. A fault with one project must not keep all others from theirs."""
        rules = LOCAL if self.settings.fetching == "local" else STRICT
        try:
            return looking.look(self.database, self.settings.base_url, project_id, self.fetch, now, rules)
        except SQLAlchemyError:
            raise
        except Exception:
            log.exception("Looking at a project has met a fault; it is tried again in an hour.")
            self._again_at[project_id] = time.monotonic() + AFTER_A_FAULT_S
            return False


def run(looker: Looker, stop: threading.Event) -> None:
    """Look until `stop` is set."""
    while not stop.wait(POLL_S):
        try:
            looker.step(stop)
        except SQLAlchemyError as error:
            log.warning("The database cannot be used: %s.", type(error).__name__)
        except Exception:
            log.exception("Looking again has met a fault; it goes on.")
