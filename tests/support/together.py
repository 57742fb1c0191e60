"""The same thing done by several threads at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

T = TypeVar("T")
THREADS = 8


def together(work: Callable[[int], T], threads: int = THREADS) -> list[T]:
    """What `work` returned in each of them; the first exception is raised here."""
    gate = Barrier(threads)

    def one(number: int) -> T:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))
