"""A program on a terminal of its own, and somebody who reads and types there."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 90


class Terminal:
    """`crowdfund ARGUMENTS` behind a pseudo-terminal, its output perhaps in a file. Use as a context manager."""

    def __init__(self, env: Mapping[str, str], *arguments: str, output: Path | None = None) -> None:
        self.seen = ""
        self._read_to = 0
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            if output is not None:
                os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT, 0o600), 1)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # the tests may run in the background, where it is ignored
            command = [sys.executable, "-m", "crowdfund", *arguments]
            os.execve(command[0], command, dict(env))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._terminal)

    def expect(self, pattern: str) -> re.Match[str]:
        """Wait until this shows up after what was read before."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := re.compile(pattern).search(self.seen, self._read_to)):
            assert self._read(deadline), f"{pattern!r} never came; there is:\n{self.seen[self._read_to :]}"
        self._read_to = found.end()
        return found

    def type(self, line: str) -> None:
        """Type a line and press Enter."""
        os.write(self._terminal, line.encode() + b"\n")

    def answer(self, prompt: str, line: str) -> None:
        """Wait for a prompt, then type a line."""
        self.expect(prompt)
        self.type(line)

    def press(self, keys: bytes) -> None:
        """Single keys, such as Ctrl-C."""
        os.write(self._terminal, keys)

    def end(self) -> int:
        """Wait until the program ends; returns its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read(deadline):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def _read(self, deadline: float) -> bool:
        """Take in what there is; False at the end."""
        assert select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))[0], self.seen
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # Linux says EIO when the program is gone
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """This environment without its own settings, with a data folder and these settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CROWDFUND_") or k == "CROWDFUND_CACHE_DIR"}
    kept.pop("CREDENTIALS_DIRECTORY", None)
    own = {f"CROWDFUND_{name}": value for name, value in settings.items()}
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return {**kept, "TERM": "xterm", "PYTHONPATH": path, "CROWDFUND_DATA_DIR": str(folder), **own}
