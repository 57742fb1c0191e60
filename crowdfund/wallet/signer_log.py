"""The signer's own memory: an append-only file of JSON lines, each with the hash of the line before.

Written and flushed to disk before any signature leaves. It outlives the database and is never edited: a line
that does not fit its predecessor stops the signer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from crowdfund.errors import UserError, WorldError

START = "0" * 64


class SignerLog:
    """What was promised: refund scripts by (account, terms hash, index), and for each outpoint one kind and value."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._refunds: dict[tuple[int, str, int], str] = {}
        self._settled: dict[str, tuple[str, int]] = {}
        self._signed: set[str] = set()
        self._last = START
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._load()

    def registered(self, account: int, terms_hash: bytes, index: int) -> str | None:
        """The refund script (hex) of a pledge, None if there is none."""
        return self._refunds.get((account, terms_hash.hex(), index))

    def register(self, account: int, terms_hash: bytes, index: int, script: str) -> None:
        """Keep the first script of a pledge. Raises UserError if another one is held already."""
        held = self.registered(account, terms_hash, index)
        if held is None:
            self._append({"refund": [account, terms_hash.hex(), index, script]})
        elif held != script:
            raise UserError("another refund address is registered for this pledge, and the first one counts.")

    def settle(self, kind: str, txid: str, account: int, outpoints: Mapping[str, int]) -> None:
        """Note that these outpoints (with their values) are settled by `txid`. Raises UserError if one is otherwise:
        as another kind or with another value. Several transactions of one kind spend the outpoint itself, so that only
        one of them is ever confirmed.

        The value belongs to it: a signature covers only its own input's, so signatures got with different stories
        about the values could be put together to one transaction whose fee was never checked.
        """
        for outpoint, value_sats in outpoints.items():
            held = self._settled.get(outpoint)
            if held is not None and held != (kind, value_sats):
                raise UserError(
                    f"{outpoint} was signed for a {held[0]} of {held[1]} sat and is signed for nothing else."
                )
        if txid not in self._signed:
            self._append({"settle": [kind, txid, account, dict(outpoints)]})

    def _append(self, entry: dict[str, object]) -> None:
        line = json.dumps({"prev": self._last, **entry}, sort_keys=True, separators=(",", ":"))
        self._write(line.encode() + b"\n")
        self._take(line)

    def _write(self, data: bytes) -> None:
        """On disk as a whole, or not at all: a full disk must not leave half a line for the next one to follow."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            try:
                if os.write(descriptor, data) != len(data):
                    raise OSError("the disk is full")
                os.fsync(descriptor)
            except OSError as error:
                os.ftruncate(descriptor, size)
                raise WorldError(f"The signer's log {self._path} cannot be written: {error}.") from error
        finally:
            os.close(descriptor)

    def _take(self, line: str) -> None:
        entry = json.loads(line)
        if entry["prev"] != self._last:
            raise WorldError(f"The signer's log {self._path} was changed: a line does not follow.", retryable=False)
        if "refund" in entry:
            account, terms_hash, index, script = entry["refund"]
            self._refunds[(account, terms_hash, index)] = script
        else:
            kind, txid, _, outpoints = entry["settle"]
            self._settled.update({outpoint: (kind, value) for outpoint, value in outpoints.items()})
            self._signed.add(txid)
        self._last = sha256(line.encode()).hexdigest()

    def _load(self) -> None:
        """Read all lines. A torn last line (power cut while writing) was never acted on and is cut off."""
        if not self._path.exists():
            return
        whole, _, torn = self._path.read_bytes().rpartition(b"\n")
        if torn:
            os.truncate(self._path, len(whole) + 1 if whole else 0)
        try:
            for line in whole.decode().split("\n") if whole else []:
                self._take(line)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WorldError(f"The signer's log {self._path} was changed: a damaged line.", retryable=False) from error
