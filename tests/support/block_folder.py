"""A block source on files, for processes that tests start; here, since those import it by its name."""

from __future__ import annotations

import os
from pathlib import Path

from crowdfund.errors import WorldError


class Refusal(WorldError):
    """An error that cannot be made from its arguments alone, as some backends raise."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"The node said: {message} ({code}).", retryable=code == 7)
        self.code = code


class Folder:
    """A block source on files: NAME.block; a file NAME.refused makes it fail, NAME.death kill its process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        (path / f"{os.getpid()}.pid").touch()

    def block(self, block_hash: str) -> bytes:
        if (self._path / f"{block_hash}.refused").exists():
            raise Refusal(7, "later")
        if (self._path / f"{block_hash}.death").exists():
            os._exit(3)
        return (self._path / f"{block_hash}.block").read_bytes()

    def close(self) -> None:
        """Nothing is open."""
