"""A Chromium for the browser tests: the one asked for, one installed, or Debian's, unpacked into the cache.

Debian's comes without being installed, as `crowdfund.chain.debian` unpacks it; a small script beside it says
where its libraries and fonts are.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

from crowdfund import config
from crowdfund.chain import debian
from crowdfund.errors import UserError, WorldError

PACKAGE = "chromium-headless-shell"
INSTALLED = ("chromium-headless-shell", "chromium", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# The host's loader fits the host's libc only, which is of the same release; the rest drive graphics cards.
LEFT_OUT = ("libc6", "libc-bin", "libllvm*", "libz3-*", "libgl1-mesa-dri")

FONTS_CONF = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig><dir>{fonts}</dir><dir>/usr/share/fonts</dir><cachedir>{cache}</cachedir></fontconfig>
"""


def chromium_path(progress: Callable[[str], None] = print) -> Path:
    """A Chromium that playwright can launch with `executable_path`.

    Order: `CROWDFUND_CHROMIUM`, one on the PATH, Debian's in the cache, Debian's downloaded into the cache.
    Raises UserError for a wrong setting; WorldError with one sentence where none can be had.
    """
    asked = os.environ.get("CROWDFUND_CHROMIUM")
    if asked:
        if not (Path(asked).is_file() and os.access(asked, os.X_OK)):
            raise UserError(f"CROWDFUND_CHROMIUM is {asked!r}, which is not a program.")
        return Path(asked).absolute()
    for name in INSTALLED:
        found = shutil.which(name)
        if found:
            return Path(found)
    return _from_debian(config.cache_dir(), progress)


def _from_debian(cache: Path, progress: Callable[[str], None]) -> Path:
    packages = (PACKAGE, "fonts-dejavu-core")
    try:
        release = debian.release_codename()
        folder = cache / f"{PACKAGE}-{release}-{platform.machine()}"
        debian.unpack(packages, suites=[release], folder=folder, progress=progress, leave_out=LEFT_OUT)
    except WorldError as error:
        hint = "Install Chromium, or set CROWDFUND_CHROMIUM to one."
        raise WorldError(f"No Chromium here. {error.sentence} {hint}", retryable=error.retryable) from error
    return _wrapper(folder)


def _wrapper(folder: Path) -> Path:
    """Write the script that starts the unpacked browser; the same text each time, replaced in one step."""
    found = (path for part in ("lib", "usr/lib") for path in folder.glob(f"{part}/**/*.so*"))
    libraries = sorted({str(path.parent) for path in found if path.is_file()})
    fonts = folder.with_name(f"{folder.name}-fonts.conf")
    cache = folder.with_name(f"{folder.name}-fonts")
    _write(fonts, FONTS_CONF.format(fonts=folder / "usr" / "share" / "fonts", cache=cache), 0o644)
    program = folder / "usr" / "lib" / "chromium" / PACKAGE
    if not program.is_file():
        program = folder / "usr" / "bin" / PACKAGE
    script = folder.with_name(f"{folder.name}.sh")
    lines = [
        "#!/bin/sh",
        f'export LD_LIBRARY_PATH="{":".join(libraries)}"',
        f'export FONTCONFIG_FILE="{fonts}"',
        f'exec "{program}" "$@"',
    ]
    _write(script, "\n".join(lines) + "\n", 0o755)
    return script


def _write(path: Path, text: str, mode: int) -> None:
    if path.is_file() and path.read_text("utf-8") == text:
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text, "utf-8")
    draft.chmod(mode)
    draft.replace(path)
