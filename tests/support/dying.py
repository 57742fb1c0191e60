"""A piece of work in a process of its own that gets SIGKILL at its n-th statement or file operation."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from sqlalchemy import Engine, event

# What a program does to files, as Python's audit events name it.
ON_DISK = ("open", "os.rename", "os.link", "os.remove", "os.truncate", "tempfile.mkstemp")


def dies_at(step: int, work: Callable[[], object]) -> bool:
    """Do `work` in a child that is killed just before its `step`-th step, from 1. False if it lived to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _arm(step)
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the work failed by itself"
    return False


def _arm(step: int) -> None:
    left = [step]

    def passed(*_: object, **__: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audited(name: str, _arguments: tuple[object, ...]) -> None:
        if name in ON_DISK:
            passed()

    event.listen(Engine, "before_cursor_execute", passed)
    event.listen(Engine, "commit", passed)
    sys.addaudithook(audited)
