"""The parts of an installation that lives in one process and dies as often as one likes.

Database, worker and signer are the real ones; their side effects are counted, and at a chosen one everything ends as
if the power had gone: what was written is there, what was only thought is lost. May not: change what they do.
"""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from crowdfund.db import Database
from crowdfund.errors import WorldError
from crowdfund.wallet.keystore import Keystore
from crowdfund.wallet.signer import Signer
from crowdfund.wallet.signer_client import SignerClient, unless_refused
from crowdfund.wallet.signer_log import SignerLog

WORDS = "abandon " * 11 + "about"


class Killed(BaseException):
    """The process is gone. No code of the product may catch this."""


class Steps:
    """Counts side effects; the one that finds `left` at 0 is the last of this life. `met` says how often each kind was
    met, `died` where lives ended."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.met: Counter[str] = Counter()
        self.died: Counter[str] = Counter()
        self.between: Callable[[], None] | None = None

    def __call__(self, label: str, quiet: bool = True) -> None:
        """A moment before or after a side effect. `quiet`: no transaction is open, somebody else may act now."""
        self.met[label] += 1
        if quiet and self.between is not None:
            act, self.between = self.between, None
            act()
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            self.died[label] += 1
            raise Killed(label)


class CountedDatabase(Database):
    """With a step before and after each commit. Power cuts are not tried here, so SQLite need not wait for a disk."""

    def __init__(self, url: str, steps: Steps) -> None:
        super().__init__(url)
        self.steps = steps
        event.listen(self.engine, "connect", _do_not_wait)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """See the parent."""
        with super().transaction() as session:
            yield session
            self.steps("before a commit", quiet=False)
        self.steps("after a commit")


def _do_not_wait(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


class KnownKeystore(Keystore):
    """Every key is derived once, however often a signer starts anew."""

    def __init__(self, words: str, network_name: str) -> None:
        super().__init__(words, network_name)
        for name in ("account_xpub", "branch", "receipt_key"):
            setattr(self, name, lru_cache(maxsize=None)(getattr(self, name)))


@lru_cache(maxsize=1)
def keystore() -> KnownKeystore:
    """The only seed here."""
    return KnownKeystore(WORDS, "regtest")


class Disk:
    """`os` as the signer's log sees it: a disk that can be full, and a power cut in the midst of a line."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.full = False

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, descriptor: int, data: bytes) -> int:
        """Half of it, where something comes in between."""
        self.steps("log: before a line", quiet=False)
        half = data[: len(data) // 2]
        if self.full:
            os.write(descriptor, half)
            raise OSError(errno.ENOSPC, "No space left on device")
        try:
            self.steps("log: half a line", quiet=False)
        except Killed:
            os.write(descriptor, half)
            raise
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Nothing to wait for; but the line is there."""
        self.steps("log: after a line", quiet=False)


class Vault:
    """A signer that may be away, and dies alone or with the worker. `seen` is called with every signature that it ever
    gave, whether anybody received it or not."""

    def __init__(self, folder: Path, steps: Steps, disk: Disk, seen: Callable[[bytes], None]) -> None:
        self.path = folder / "log.jsonl"
        self.steps = steps
        self.disk = disk
        self.seen = seen
        self.away = False
        self.dies_alone = False
        self.restart()

    def restart(self) -> None:
        """A signer that knows what its log says and nothing else."""
        self.signer = Signer(keystore(), SignerLog(self.path), "regtest")

    def answer(self, message: Mapping[str, object]) -> dict[str, Any]:
        """As its socket answers. Raises WorldError where nobody is there, Killed where everything ends."""
        if self.away:
            raise WorldError("The signer does not answer.")
        try:
            answer = self.signer.reply(json.dumps(message).encode())
            if "raw" in answer:
                self.seen(bytes.fromhex(str(answer["raw"])))
            self.steps("answer: made, not sent", quiet=False)
        except Killed:
            self.restart()
            if self.dies_alone:
                raise WorldError("The signer does not answer.") from None
            raise
        whole: dict[str, Any] = json.loads(json.dumps(answer))
        return whole


class NearClient(SignerClient):
    """The client, without a socket in between."""

    def __init__(self, vault: Vault) -> None:
        super().__init__(vault.path)
        self._vault = vault

    def _ask(self, message: dict[str, object]) -> dict[str, Any]:
        self._vault.steps(f"before asking to {message['op']}")
        answer = self._vault.answer(message)
        self._vault.steps(f"after asking to {message['op']}")
        return unless_refused(answer)


class Clock(datetime):
    """`datetime` whose now is the chain's."""

    seconds = staticmethod(lambda: 0)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        """The time of the last block."""
        return datetime.fromtimestamp(cls.seconds(), tz or UTC)


class InTurn:
    """Ids that are the same in every telling."""

    def __init__(self) -> None:
        self.given = 0

    def __call__(self, length: int) -> str:
        """The next one, of this length."""
        self.given += 1
        return f"{self.given:0{length}d}"
