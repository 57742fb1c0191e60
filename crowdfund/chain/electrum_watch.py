"""The scripts that an Electrum server watches for us, and their histories.

The protocol only ever says that a script's status is now another; the status is a hash over the whole history. So
nothing is counted from notices: a script whose status differs from that of the history held is asked again, until
both agree. A lost or late notice therefore costs time and never truth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from crowdfund.chain.electrum_client import SCRIPT_NOTICE, Call, Connection, Refused
from crowdfund.chain.port import HistoryItem, WrongAnswer
from crowdfund.wallet.merkle import is_hash

TRIES = 6
PAUSE_S = 0.02
PROGRESS_EVERY = 1_000
HISTORY = "blockchain.scripthash.get_history"


@dataclass
class _Watched:
    """A script. `told` is the status that the server told last, `known` that of the history held; None is the
    status of an empty history."""

    script: bytes
    scripthash: str
    told: str | None = None
    known: str | None = None
    history: tuple[HistoryItem, ...] = ()


class Watch:
    """All watched scripts. Outlives connections: after `forget` the next question subscribes to them anew."""

    def __init__(self) -> None:
        self._scripts: dict[str, _Watched] = {}
        self._pending: dict[str, _Watched] = {}

    def add(self, scripts: Collection[bytes]) -> None:
        """Want these, too."""
        for script in scripts:
            scripthash = scripthash_of(script)
            if scripthash not in self._scripts:
                self._scripts[scripthash] = self._pending[scripthash] = _Watched(script, scripthash)

    def forget(self) -> None:
        """The connection is gone, and every subscription with it."""
        self._pending = dict(self._scripts)

    def subscribe(self, connection: Connection, progress: Callable[[int, int], None]) -> None:
        """Subscribe to those that are not yet. Raises what the connection raises, and Refused."""
        wanted = list(self._pending.values())
        told_of = 0

        def tell(done: int, total: int) -> None:
            nonlocal told_of
            if total >= PROGRESS_EVERY and (done == total or done - told_of >= PROGRESS_EVERY):
                told_of = done
                progress(done, total)

        statuses = connection.ask([(SCRIPT_NOTICE, [w.scripthash]) for w in wanted], tell)
        for one, status in zip(wanted, statuses, strict=True):
            one.told = read_status(status)
        self._pending = {}

    def refresh(self, connection: Connection) -> None:
        """Ask for the history of each script whose status says that ours is old.

        A history that does not fit is asked for again, with the status; after a few tries it is kept as it is and
        asked for again at the next call. Notices win over answers of the same round, since either may be the older.
        """
        for attempt in range(TRIES):
            self._hear(connection)
            stale = [one for one in self._scripts.values() if one.told != one.known]
            if not stale:
                return
            if attempt:
                time.sleep(PAUSE_S * attempt)
                _ask_status(connection, stale)
            answers = results(connection, [(HISTORY, [one.scripthash]) for one in stale])
            for one, answer in zip(stale, answers, strict=True):
                items = read_history(answer)
                one.known, one.history = status_of(items), _each_once(items)

    def histories(self) -> dict[bytes, tuple[HistoryItem, ...]]:
        """Script -> the history held."""
        return {one.script: one.history for one in self._scripts.values()}

    def _hear(self, connection: Connection) -> None:
        told = dict(connection.notices)
        connection.notices.clear()
        for scripthash, status in told.items():
            if scripthash not in self._scripts:  # damaged on its way: whose news it was nobody knows now
                raise WrongAnswer("The Electrum server sent news of a script that nobody watches.")
            self._scripts[scripthash].told = status


def scripthash_of(script: bytes) -> str:
    """The name of an output script in the Electrum protocol."""
    return sha256(script).digest()[::-1].hex()


def results(connection: Connection, calls: Sequence[Call]) -> list[Any]:
    """Answers where the server may not say no. Raises Refused."""
    return [not_refused(answer) for answer in connection.ask(calls)]


def not_refused(answer: Any) -> Any:
    """The answer. Raises Refused where it is one."""
    if isinstance(answer, Refused):
        raise answer
    return answer


def read_status(answer: Any) -> str | None:
    """Raises ValueError unless it is the status of a script; raises the server's Refused."""
    if not_refused(answer) is None:
        return None
    if not is_hash(answer):
        raise ValueError("a status is a hash")
    return str(answer)


def read_history(answer: Any) -> list[HistoryItem]:
    """Raises ValueError, KeyError or TypeError unless it is a history."""
    if not isinstance(answer, list):
        raise TypeError("a history is a list")
    items = [HistoryItem(item["tx_hash"], item["height"]) for item in answer]
    if not all(is_hash(i.txid) and type(i.height) is int and -1 <= i.height < 1 << 31 for i in items):
        raise ValueError("a history consists of txids and heights")
    return items


def status_of(items: Sequence[HistoryItem]) -> str | None:
    """The status that the protocol gives a history, in the order in which the server told it."""
    text = "".join(f"{item.txid}:{item.height}:" for item in items)
    return sha256(text.encode()).hexdigest() if text else None


def _ask_status(connection: Connection, stale: Sequence[_Watched]) -> None:
    answers = results(connection, [(SCRIPT_NOTICE, [one.scripthash]) for one in stale])
    for one, answer in zip(stale, answers, strict=True):
        one.told = read_status(answer)


def _each_once(items: Sequence[HistoryItem]) -> tuple[HistoryItem, ...]:
    """A server that has just read a block may name its transactions twice, still unconfirmed too; the block wins."""
    seen: dict[str, HistoryItem] = {}
    for item in items:
        if item.txid not in seen or seen[item.txid].height <= 0:
            seen[item.txid] = item
    return tuple(seen.values())
