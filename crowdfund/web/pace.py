"""How often one address may have something drawn: counted in this process, since that is what the work costs.

What guards accounts and stock is counted in the database, for all processes together (`accounts.limits`); reading a
page writes nothing there.
"""

from __future__ import annotations

import time
from collections import Counter
from threading import Lock

from crowdfund.errors import TooMany


class Pace:
    """At most `most` in each window of `seconds`, for each of up to `room` addresses; more of them are not counted."""

    def __init__(self, most: int, seconds: int, room: int = 10_000) -> None:
        self._most, self._seconds, self._room = most, seconds, room
        self._window, self._counts = 0, Counter[str]()
        self._lock = Lock()

    def take(self, who: str, factor: int = 1) -> None:
        """Count one. `factor` multiplies what is allowed; 0 is no limit. Raises TooMany."""
        now = time.monotonic()
        with self._lock:
            window = int(now / self._seconds)
            if window != self._window:
                self._window, self._counts = window, Counter()
            if factor and self._counts[who] >= self._most * factor:
                raise TooMany(self._seconds - int(now % self._seconds))
            if who in self._counts or len(self._counts) < self._room:
                self._counts[who] += 1
