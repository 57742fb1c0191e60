"""Scans many blocks in several processes, for gaps of many blocks. With a single block, scan it where you are.

Each child asks the node over a connection of its own. It knows the watched scripts, and the coins that were known
when it was asked. What was found since then is checked here, against a few bytes of every output that its block
spends; if they match, it scans that block again.
May not: write anything, or outlive its parent (Linux; elsewhere children go on until the pool is closed).
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import cycle, islice
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from crowdfund.chain.scan import fingerprints, outpoint_key, scan_spends
from crowdfund.errors import WorldError
from crowdfund.wallet.blocks import HEADER_SIZE, ParsedTx

BATCH = 1  # blocks that a child is asked for at once; the answer to one fits into a pipe, so no child waits
AHEAD = 4  # batches asked of each child
BALLAST = 20_000  # objects of 400 bytes
PR_SET_PDEATHSIG = 1


class BlockSource(Protocol):
    """What a child needs of a backend."""

    def block(self, block_hash: str) -> bytes:
        """A whole block, serialised as on the wire."""

    def close(self) -> None:
        """Close what this thread holds open."""


class Scanned(NamedTuple):
    """A block's header (80 bytes) and its transactions that concern us, in block order."""

    header: bytes
    hits: list[ParsedTx]


class BlockPool:
    """A context manager around `processes` children, to be used by the thread that makes it.

    `connect` makes a backend and must be picklable, for example functools.partial(CoreBackend, url, cookie_file);
    each child calls it once. `scripts` and `outpoints` are as in `scan.scan_block`.
    """

    def __init__(
        self,
        connect: Callable[[], BlockSource],
        scripts: AbstractSet[bytes],
        outpoints: AbstractSet[bytes],
        processes: int = 2,
    ) -> None:
        self._scripts = scripts
        self._found: list[bytes] = []  # coins found in blocks already handed out, in order
        context = multiprocessing.get_context("spawn")
        start = (os.getpid(), connect, frozenset(scripts), frozenset(outpoints))
        self._children = [
            _Child(ProcessPoolExecutor(1, context, initializer=_begin, initargs=start)) for _ in range(processes)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the children once they have finished the block they are at."""
        for child in self._children:
            child.executor.shutdown(cancel_futures=True)

    def scan(self, hashes: Iterable[str]) -> Iterator[Scanned]:
        """The blocks of these hashes, which must follow each other in the chain, scanned and in order.

        Hits are complete: also spends of outputs found in this pool's earlier blocks. Raises what the backend
        raises, WorldError if a child dies, and ValueError if the bytes are not a block.
        """
        waiting: deque[_Asked] = deque()
        rest = iter(hashes)
        for child in cycle(self._children):
            batch = list(islice(rest, BATCH))
            if not batch:
                break
            waiting.append(self._ask(child, batch))
            if len(waiting) == AHEAD * len(self._children):
                yield from self._finish(waiting.popleft())
        while waiting:
            yield from self._finish(waiting.popleft())

    def _ask(self, child: _Child, hashes: list[str]) -> _Asked:
        """Have a child scan some blocks, and tell it the coins found since it was asked last."""
        news, child.told = self._found[child.told :], len(self._found)
        try:
            answers = child.executor.submit(_scan, hashes, news)
        except BrokenProcessPool as error:
            raise _died() from error
        return _Asked(child, hashes, child.told, answers)

    def _finish(self, asked: _Asked) -> Iterator[Scanned]:
        """The answers; where a child knew too little, its second one."""
        for block_hash, answer in zip(asked.hashes, asked.result(), strict=False):
            checked = _succeeded(answer)
            late = fingerprints(b"".join(self._found[asked.known :]))
            if late and not frozenset(array("I", late)).isdisjoint(array("I", checked.spent)):
                checked = _succeeded(self._ask(asked.child, [block_hash]).result()[0])
            self._found += _coins(checked.hits, self._scripts)
            yield Scanned(checked.header, checked.hits)


@dataclass
class _Child:
    """A process and how many of the pool's found coins it knows."""

    executor: ProcessPoolExecutor
    told: int = 0


class _Answer(NamedTuple):
    header: bytes
    hits: list[ParsedTx]
    spent: bytes


class _Failure(NamedTuple):
    """An exception on its way to the parent: pickle cannot make every kind of them anew."""

    kind: type[Exception]
    arguments: tuple[object, ...]
    state: dict[str, object]

    def error(self) -> Exception:
        """The same exception."""
        made = self.kind.__new__(self.kind, *self.arguments)
        made.args = self.arguments
        made.__dict__.update(self.state)
        return made


@dataclass(frozen=True)
class _Asked:
    """Blocks that a child works on; `known` is how many of the found coins it has been told."""

    child: _Child
    hashes: list[str]
    known: int
    answers: Future[list[_Answer | _Failure]]

    def result(self) -> list[_Answer | _Failure]:
        """Wait for the answers; after a failure none follows."""
        try:
            return self.answers.result()
        except BrokenProcessPool as error:
            raise _died() from error


def _succeeded(answer: _Answer | _Failure) -> _Answer:
    if isinstance(answer, _Failure):
        raise answer.error()
    return answer


def _coins(hits: Iterable[ParsedTx], scripts: AbstractSet[bytes]) -> list[bytes]:
    """The outputs of ours, as keys."""
    return [
        outpoint_key(tx.txid, vout) for tx in hits for vout, (_, script) in enumerate(tx.outputs) if script in scripts
    ]


def _died() -> WorldError:
    return WorldError("A process that scans blocks has died; the scan can go on from the last block.")


# What follows runs in the children.


@dataclass
class _Work:
    """All that a child keeps: its connection and what it looks for. The ballast holds on to the memory in which it
    lies, so that the thousands of small objects of each block need not ask the system for theirs."""

    source: BlockSource
    scripts: frozenset[bytes]
    outpoints: set[bytes]
    ballast: list[bytes]


_work: _Work


def _begin(
    parent: int, connect: Callable[[], BlockSource], scripts: frozenset[bytes], outpoints: frozenset[bytes]
) -> None:
    """Tie this process to its parent and make ready."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and closes the pool
    global _work
    _work = _Work(connect(), scripts, set(outpoints), [bytes(400) for _ in range(BALLAST)][::500])
    gc.freeze()  # the sets need not be looked through again and again


def _scan(hashes: Sequence[str], news: Sequence[bytes]) -> list[_Answer | _Failure]:
    """Scan some blocks. The coins in `news`, and those found here, are known from now on."""
    _work.outpoints.update(news)
    answers: list[_Answer | _Failure] = []
    for block_hash in hashes:
        try:
            raw = _work.source.block(block_hash)
            hits, spent = scan_spends(raw, _work.scripts, _work.outpoints)
        except (WorldError, ValueError) as error:
            return [*answers, _Failure(type(error), error.args, dict(error.__dict__))]
        _work.outpoints.update(_coins(hits, _work.scripts))
        answers.append(_Answer(raw[:HEADER_SIZE], hits, spent))
    return answers
