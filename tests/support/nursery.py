"""The other end of `python -m support.crashing`: starting worker and signer lives that may be told to die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from support import crashing

TESTS = Path(crashing.__file__).parent.parent
KILLED = -9
IN_TROUBLE = crashing.IN_TROUBLE


class Nursery:
    """One process that forks lives, one request at a time. Use as a context manager; all lives end with it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.crashing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)

    def worker(
        self,
        env: Mapping[str, str],
        steps: Path,
        kill_at: int | None = None,
        every_statement: bool = False,
        muted: bool = False,
    ) -> int:
        """A worker's whole life; returns its exit code (KILLED, IN_TROUBLE, 0 when nothing is left to do)."""
        request = {"op": "worker", "env": dict(env), "steps": str(steps), "kill_at": kill_at}
        return int(self._ask({**request, "every_statement": every_statement, "muted": muted})["exit"])

    def signer(self, env: Mapping[str, str], steps: Path, kill_at: int | None = None) -> int:
        """A signer that listens; returns its process id."""
        return int(self._ask({"op": "signer", "env": dict(env), "steps": str(steps), "kill_at": kill_at})["pid"])

    def end(self, pid: int) -> None:
        """End a signer, if it is not dead already, and bury it."""
        self._ask({"op": "end", "pid": pid})

    def _ask(self, request: dict[str, object]) -> dict[str, Any]:
        sending, receiving = self._process.stdin, self._process.stdout
        assert sending is not None and receiving is not None
        sending.write(json.dumps(request) + "\n")
        sending.flush()
        answer = receiving.readline()
        assert answer, "the nursery died"
        return dict(json.loads(answer))
