"""What is inside a backup: lines of JSON, part after part, each part with its count and its SHA-256. No disk.

First a line that says of which installation and moment it is, then the parts (tables in the order of their foreign
keys, then files), then a line with what each part must come to. Encryption is around it (sealed_stream.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

from crowdfund.errors import WorldError
from crowdfund.wallet.sealed_stream import DamagedStream

FORMAT = 1
MAX_LINE = 16 * 1024 * 1024


@dataclass(frozen=True)
class Beginning:
    """The installation and the moment. `tip` is (height, hash) of the last recorded block; `issued` gives for each
    published campaign its descriptor and the next index; `rows` how many each table has."""

    network: str
    revision: str
    made_at: str
    tip: tuple[int, str] | None
    issued: dict[str, tuple[str, int]]
    rows: dict[str, int]
    settings: dict[str, str]
    format: int = FORMAT


@dataclass
class Part:
    """A part while it is written or read: its kind ("table" or "file"), name and columns (name -> kind of value)."""

    kind: str
    name: str
    columns: dict[str, str]
    count: int = 0
    _hash: Any = field(default_factory=sha256)

    def take(self, line: bytes) -> None:
        """Count a line in."""
        self.count += 1
        self._hash.update(line)

    def sums(self) -> list[object]:
        """What the last line must say of it."""
        return [self.kind, self.name, self.count, self._hash.hexdigest()]


def write(beginning: Beginning, parts: Iterable[tuple[Part, Iterable[object]]]) -> Iterator[bytes]:
    """The lines, as bytes."""
    yield _line({"begin": asdict(beginning)})
    sums = []
    for part, rows in parts:
        yield _line({"part": [part.kind, part.name, part.columns]})
        for row in rows:
            line = _line(row)
            part.take(line)
            yield line
        sums.append(part.sums())
    yield _line({"end": sums})


def read(pieces: Iterable[bytes]) -> tuple[Beginning, Iterator[tuple[Part, list[Any]]]]:
    """The beginning, and then every (part, row); a part without rows is given with an empty row once.

    Raises DamagedStream where something does not fit, at the latest when the iterator ends; WorldError for a newer
    form.
    """
    lines = _lines(pieces)
    try:
        told = json.loads(next(lines))["begin"]
        if told["format"] != FORMAT:
            raise WorldError("A newer version of this program made this backup; use that one.", retryable=False)
        tip = None if told["tip"] is None else (int(told["tip"][0]), str(told["tip"][1]))
        issued = {name: (str(d), int(n)) for name, (d, n) in told["issued"].items()}
        beginning = Beginning(**{**told, "tip": tip, "issued": issued})
    except (StopIteration, ValueError, KeyError, TypeError, AttributeError):
        raise DamagedStream from None
    return beginning, _rows(lines, beginning)


def _rows(lines: Iterator[bytes], beginning: Beginning) -> Iterator[tuple[Part, list[Any]]]:
    part: Part | None = None
    sums: list[list[object]] = []
    end: object = None
    try:
        for line in lines:
            value = json.loads(line)
            if end is not None:
                raise DamagedStream
            if isinstance(value, list):
                if part is None:
                    raise DamagedStream
                part.take(line)
                yield part, value
                continue
            if part is not None:
                sums.append(part.sums())
            if "end" in value:
                end, part = value["end"], None
                continue
            part = Part(*value["part"])
            yield part, []
    except (ValueError, KeyError, TypeError):
        raise DamagedStream from None
    counted = {str(name): count for kind, name, count, _ in sums if kind == "table"}
    if end != sums or counted != beginning.rows:
        raise DamagedStream


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line + b"\n"
        if len(rest) > MAX_LINE:
            raise DamagedStream
    if rest:
        raise DamagedStream
