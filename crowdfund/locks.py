"""Locks that keep a second process of a kind away."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crowdfund.errors import WorldError


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold a lock file; the kernel lets go of it when the process dies. Raises WorldError if another holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise WorldError(
            f"Another process holds {path}: one such process runs here already.", retryable=False
        ) from error
    finally:
        os.close(descriptor)
