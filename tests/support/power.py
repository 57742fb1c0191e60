"""Power cuts for SQLite: a file system that keeps apart what was written and what has reached the disk.

SQLite writes into files as ever, and each write since the last sync of its file is remembered. A cut leaves what was
synced, and of the rest whatever chance wants: nothing, some of the writes in any combination, some only in part (whole
sectors of 512 bytes). A new file is there for sure once it was synced. What SQLite asks of a disk is the statement of
its makers: https://sqlite.org/atomiccommit.html, "hardware assumptions".
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512


@dataclass
class DiskFile:
    """What is safe of a file, and what has been written to it since: (offset, bytes), or (size, None) for a cut."""

    safe: bytes | None = None
    waiting: list[tuple[int, bytes | None]] = field(default_factory=list)

    def copy(self) -> DiskFile:
        """The same at this moment."""
        return DiskFile(self.safe, list(self.waiting))

    def sync(self) -> None:
        """Everything written is safe now."""
        content = bytearray(self.safe or b"")
        for offset, data in self.waiting:
            _apply(content, offset, data)
        self.safe, self.waiting = bytes(content), []

    def survivor(self, chance: random.Random) -> bytes | None:
        """What is found after a cut; None is no file at all."""
        if self.safe is None and chance.randrange(2):
            return None
        content, likely = bytearray(self.safe or b""), chance.choice((0.0, 0.2, 0.5, 0.9, 1.0))
        for offset, data in self.waiting:
            if chance.random() < likely:
                _apply(content, offset, data)
            elif data is not None and chance.randrange(2):
                _apply_torn(content, offset, data, chance)
        return bytes(content)


Disk = dict[str, DiskFile]  # file name -> what is known of it


class PowerVfs(apsw.VFS):
    """The file system, registered under `name`. `tick` is called before each write and each sync."""

    def __init__(self, name: str, tick: Callable[[], None]) -> None:
        self.disk: Disk = {}
        self.tick = tick
        self._own_name = name
        super().__init__(name, "")

    def copied(self) -> Disk:
        """The disk at this moment."""
        return {name: held.copy() for name, held in self.disk.items()}

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        """Open a file; the database and its log are watched, the index beside them is nothing that lasts."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        found = Path(path)
        held = self.disk.get(found.name)
        if held is None:
            held = self.disk[found.name] = DiskFile(found.read_bytes() if found.is_file() else None)
        return _WatchedFile(name, flags, held, self.tick)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        """A file that is deleted is gone."""
        self.disk.pop(Path(filename).name, None)
        super().xDelete(filename, syncdir)


class _WatchedFile(apsw.VFSFile):
    def __init__(
        self, name: str | apsw.URIFilename | None, flags: list[int], held: DiskFile, tick: Callable[[], None]
    ) -> None:
        self._held = held
        self._tick = tick
        super().__init__("", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:
        """Write, and remember what."""
        self._tick()
        super().xWrite(data, offset)
        self._held.waiting.append((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        """Shorten, and remember how far."""
        self._tick()
        super().xTruncate(newsize)
        self._held.waiting.append((newsize, None))

    def xSync(self, flags: int) -> None:
        """From now on safe. The real disk is not asked: it is not the one that is put to the test."""
        self._tick()
        self._held.sync()


def left_after_a_cut(disk: Disk, folder: Path, chance: random.Random) -> None:
    """Write into `folder` what a cut leaves of a disk."""
    folder.mkdir(parents=True)
    for name, held in disk.items():
        content = held.survivor(chance)
        if content is not None:
            (folder / name).write_bytes(content)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    if len(content) < offset + len(data):
        content.extend(bytes(offset + len(data) - len(content)))
    content[offset : offset + len(data)] = data


def _apply_torn(content: bytearray, offset: int, data: bytes, chance: random.Random) -> None:
    """Some of the sectors that the write touches."""
    start = 0
    while start < len(data):
        end = min(len(data), start + SECTOR - (offset + start) % SECTOR)
        if chance.randrange(2):
            _apply(content, offset + start, data[start:end])
        start = end
