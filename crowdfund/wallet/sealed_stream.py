"""A stream of any length sealed under a passphrase: ChaCha20-Poly1305 in chunks, a key by Argon2id. No disk.

Little of it is ever in memory. Each chunk is authenticated with its place and with whether it is the last, and the
header with all of them (the STREAM construction: Hoang, Reyhanitabar, Rogaway and Vizár, 2015), so that bytes
changed, chunks swapped, left out or repeated, and an end cut off are found before what they say is believed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.passphrase import Passphrase
from crowdfund.wallet.seed_file import COST, MAX_COST, SALT_BYTES, TAG_BYTES, Cost, make_key

MAGIC = b"crowdfund backup\n"
VERSION = 1
CHUNK_BYTES = 64 * 1024
PREFIX_BYTES = 7
MAX_HEADER = 1024
CHECK = b"this passphrase opens this backup"
SEALED_CHECK_BYTES = len(CHECK) + TAG_BYTES


class DamagedStream(WorldError):
    """The bytes are not those that were written."""

    def __init__(self) -> None:
        super().__init__("The backup is damaged or was changed; take another copy.", retryable=False)


class _Chunks:
    """Seals and opens chunks in their order. The nonce is the prefix, the number of the chunk, and 1 for the last."""

    def __init__(self, key: bytes, prefix: bytes, header: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._prefix = prefix
        self._header = sha256(header).digest()
        self._next = 0

    def seal(self, data: bytes, last: bool = False) -> bytes:
        return self._cipher.encrypt(self._nonce(last), data, self._header)

    def open(self, sealed: bytes, last: bool = False) -> bytes:
        return self._cipher.decrypt(self._nonce(last), sealed, self._header)

    def _nonce(self, last: bool) -> bytes:
        nonce = self._prefix + self._next.to_bytes(4, "big") + bytes([last])
        self._next += 1
        return nonce


def seal_stream(data: Iterable[bytes], passphrase: Passphrase, cost: Cost = COST) -> Iterator[bytes]:
    """The sealed stream, piece by piece. `cost` is for tests: nothing else passes it."""
    salt, prefix = os.urandom(SALT_BYTES), os.urandom(PREFIX_BYTES)
    header = _header(salt, prefix, cost)
    chunks = _Chunks(make_key(passphrase, salt, cost), prefix, header)
    yield header
    yield chunks.seal(CHECK)
    waiting = bytearray()
    for piece in data:
        waiting += piece
        while len(waiting) > CHUNK_BYTES:
            yield chunks.seal(bytes(waiting[:CHUNK_BYTES]))
            del waiting[:CHUNK_BYTES]
    yield chunks.seal(bytes(waiting), last=True)


class Lock:
    """A passphrase that opens sealed streams. The key of the last one is kept: making it takes a second."""

    def __init__(self, passphrase: Passphrase) -> None:
        self._passphrase = passphrase
        self._made: tuple[bytes, bytes] = (b"", b"")

    def open(self, header: bytes, salt: bytes, prefix: bytes, cost: Cost) -> _Chunks:
        """What opens the chunks of the stream with this header."""
        if self._made[0] != header:
            self._made = (header, make_key(self._passphrase, salt, cost))
        return _Chunks(self._made[1], prefix, header)


def open_stream(file: BinaryIO, lock: Lock) -> Iterator[bytes]:
    """What was sealed, chunk by chunk, each of them authentic; the end is authentic once the iterator has ended.

    Raises DamagedStream, UserError for a wrong passphrase or for a file of another kind, WorldError for a newer one.
    """
    chunks = lock.open(*_read_header(file))
    try:
        chunks.open(file.read(SEALED_CHECK_BYTES))
    except InvalidTag:
        raise UserError("This passphrase does not open the backup, or its first bytes are damaged.") from None
    try:
        sealed = file.read(CHUNK_BYTES + TAG_BYTES)
        while after := file.read(CHUNK_BYTES + TAG_BYTES):
            yield chunks.open(sealed)
            sealed = after
        yield chunks.open(sealed, last=True)
    except (InvalidTag, OverflowError):
        raise DamagedStream from None


def _header(salt: bytes, prefix: bytes, cost: Cost) -> bytes:
    fields = {
        "version": VERSION,
        "memory_kib": cost.memory_kib,
        "passes": cost.passes,
        "lanes": cost.lanes,
        "salt": salt.hex(),
        "prefix": prefix.hex(),
    }
    line = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return MAGIC + line + b" " + sha256(line).hexdigest().encode() + b"\n"


def _read_header(file: BinaryIO) -> tuple[bytes, bytes, bytes, Cost]:
    """(header, salt, prefix, cost). A check sum tells a damaged header before memory is spent on a key."""
    if file.read(len(MAGIC)) != MAGIC:
        raise UserError("This is no backup made by `crowdfund backup`, or its first bytes are damaged.")
    line = file.readline(MAX_HEADER)
    text, _, check = line.rstrip(b"\n").rpartition(b" ")
    if sha256(text).hexdigest().encode() != check or not line.endswith(b"\n"):
        raise DamagedStream
    fields: dict[str, Any] = json.loads(text)
    if fields["version"] != VERSION:
        raise WorldError("A newer version of this program made this backup; use that one.", retryable=False)
    cost = Cost(fields["memory_kib"], fields["passes"], fields["lanes"])
    if any(not 1 <= n <= most for n, most in zip(_numbers(cost), _numbers(MAX_COST), strict=True)):
        raise DamagedStream
    salt, prefix = bytes.fromhex(fields["salt"]), bytes.fromhex(fields["prefix"])
    if (len(salt), len(prefix)) != (SALT_BYTES, PREFIX_BYTES) or _header(salt, prefix, cost) != MAGIC + line:
        raise DamagedStream
    return MAGIC + line, salt, prefix, cost


def _numbers(cost: Cost) -> tuple[int, int, int]:
    return cost.memory_kib, cost.passes, cost.lanes
