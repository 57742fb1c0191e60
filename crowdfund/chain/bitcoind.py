"""Finding a bitcoind that runs here: the one asked for, the one installed, or Debian's, from the cache.

May not: start a node, install anything, or use root's rights.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from crowdfund import config
from crowdfund.chain import debian
from crowdfund.errors import UserError, WorldError

OLDEST = 25  # the first release with every RPC that the regtest node is driven by
PACKAGE = "bitcoin-knots"
# Debian carries the node in sid only; its libraries, libc too, come from the stable release.
SUITES = ("trixie", "sid")
PINS = (debian.Pin("*", "sid", 50), debian.Pin(f"{PACKAGE}*", "sid", 600))


def _silent(_line: str) -> None:
    """Progress that nobody wants to see."""


def find_bitcoind(progress: Callable[[str], None] = _silent) -> list[str]:
    """The command (first words of an argument list) that runs a bitcoind here.

    Order: `CROWDFUND_BITCOIND`, `bitcoind` on the PATH, Debian's in the cache, Debian's downloaded into it.
    Raises UserError for a wrong setting; WorldError with one sentence where none can be had.
    """
    asked = os.environ.get("CROWDFUND_BITCOIND")
    if asked:
        return _asked_for(asked)
    installed = shutil.which("bitcoind")
    if installed:
        trouble = _trouble([installed])
        if trouble is None:
            return [installed]
        progress(f"{installed} is not used: {trouble}")
    return _from_debian(config.cache_dir(), progress)


def _asked_for(path: str) -> list[str]:
    trouble = "there is no such program"
    if os.access(path, os.X_OK) and Path(path).is_file():
        trouble = _trouble([path]) or ""
    if trouble:
        raise UserError(f"CROWDFUND_BITCOIND is {path!r}: {trouble}. Name a bitcoind, version {OLDEST} or later.")
    return [str(Path(path).absolute())]


def _from_debian(cache: Path, progress: Callable[[str], None]) -> list[str]:
    folder = cache / f"{PACKAGE}-{platform.machine()}"
    if folder.is_dir():
        command = _command(folder)
        if command is not None and _trouble(command) is None:
            return command
        progress(f"{folder} is damaged and is fetched again")
        shutil.rmtree(folder, ignore_errors=True)
    try:
        debian.unpack([PACKAGE], suites=SUITES, pins=PINS, folder=folder, progress=progress)
    except WorldError as error:
        hint = f"Install Bitcoin Core or Knots {OLDEST} or later, or set CROWDFUND_BITCOIND to a bitcoind."
        raise WorldError(f"No bitcoind here. {error.sentence} {hint}", retryable=error.retryable) from error
    command = _command(folder)
    trouble = "it has no bitcoind or no loader" if command is None else _trouble(command)
    if command is None or trouble is not None:
        raise WorldError(f"Debian's {PACKAGE} in {folder} does not run: {trouble}.", retryable=False)
    return command


def _command(folder: Path) -> list[str] | None:
    """Run it through its own loader with its own libraries, so that the host's libc does not matter."""
    loaders = sorted(folder.glob("usr/lib*/ld-linux*.so.*")) + sorted(folder.glob("usr/lib/*/ld-linux*.so.*"))
    program = folder / "usr" / "bin" / "bitcoind"
    libraries = sorted({str(path.parent) for path in folder.glob("usr/lib/*-linux-gnu*/*.so.*")})
    if not loaders or not program.is_file():
        return None
    return [str(loaders[0]), "--library-path", ":".join(libraries), str(program)]


def _trouble(command: Sequence[str]) -> str | None:
    """Why this command is not a bitcoind to be used, or None."""
    try:
        done = subprocess.run(
            [*command, "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, UnicodeDecodeError, subprocess.TimeoutExpired) as error:
        return f"it does not run ({error})"
    found = re.match(r"Bitcoin .*version v?(\d+)\.", done.stdout)
    if done.returncode != 0 or found is None:
        return "it is not a bitcoind"
    return None if int(found[1]) >= OLDEST else f"its version {found[1]} is too old"
