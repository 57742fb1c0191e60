"""What was drawn last, kept for the next who ask for the same: so many pieces for each process, the oldest go."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock


class Kept:
    """Bytes by what they show. Threads may share it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> bytes | None:
        """What was kept under this key, if it is still there."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key]

    def keep(self, key: Hashable, data: bytes) -> None:
        """Keep it, and let go of what nobody has asked for the longest."""
        with self._lock:
            self._held[key] = data
            self._held.move_to_end(key)
            while len(self._held) > self._most:
                self._held.popitem(last=False)
