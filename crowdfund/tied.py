"""Child processes that end with their parent, also when the parent is killed (Linux; elsewhere they go on)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

# Runs before the program, in its process: asks Linux to end it with its parent, and notices one already gone.
_PRELUDE = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 15)\n"
    "if os.getppid() == int(sys.argv[1]): os.execv(sys.argv[2], sys.argv[2:])\n"
)


def tied(command: Sequence[str]) -> list[str]:
    """`command`, so run that it gets SIGTERM when the thread that starts it ends."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _PRELUDE, str(os.getpid()), *command]
