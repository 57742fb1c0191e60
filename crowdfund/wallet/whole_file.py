"""Files that are on disk as a whole or not at all, readable by their owner only. Knows nothing of what is in them."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from crowdfund.errors import UserError, WorldError

_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def write_new(path: Path, data: bytes, what: str) -> None:
    """Write `data` to `path`, mode 0600. Raises UserError if anything is there already, WorldError if the disk fails.

    `what` names the thing in sentences ("a seed").
    """
    stream_new(path, [data], what)


def stream_new(path: Path, pieces: Iterable[bytes], what: str) -> None:
    """The same for what is too large for memory. Where making a piece fails, nothing is left of the file."""
    with _draft(path, pieces) as draft:
        try:
            _claim(draft, path)
        except FileExistsError:
            raise UserError(f"There is {what} in {path} already; it is never overwritten.") from None


def replace(path: Path, data: bytes) -> None:
    """Put `data` in the place of the file at `path`, at one stroke. Raises WorldError if the disk fails.

    Where `path` is a symbolic link, what it points at is replaced, so that nothing old stays behind.
    """
    target = path.resolve()
    with _draft(target, [data]) as draft:
        draft.replace(target)


def _claim(draft: Path, path: Path) -> None:
    """Give `draft` its name where nothing has it. Memory sticks often know no links: there an empty file claims it."""
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            draft.replace(path)
        except OSError:
            path.unlink()
            raise


@contextmanager
def _draft(path: Path, pieces: Iterable[bytes]) -> Iterator[Path]:
    """A file beside `path` with `pieces` in it, on disk; gone afterwards, and the folder on disk too."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        draft = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            yield draft
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise WorldError(f"{path} cannot be written: {error.strerror}.", retryable=False) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
