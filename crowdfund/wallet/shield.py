"""Keeps the memory of this process from other programs and from the disk: no core dumps, no debugger, no /proc/mem.

For processes that open the seed. Does not help against root, and not against what was swapped out before.
"""

from __future__ import annotations

import ctypes
import resource
import sys

from crowdfund.errors import WorldError

PR_SET_DUMPABLE = 4


def keep_memory_private() -> None:
    """Raises WorldError where the system does not do it. PR_SET_DUMPABLE exists on Linux only."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise WorldError("The system does not keep this process's memory from others.", retryable=False)
