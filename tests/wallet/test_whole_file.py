"""Whole files: whatever fails or dies while one is written, there is the whole of it or nothing."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.whole_file import replace, write_new

OLD, NEW = b"the old one\n", b"the new one, which is longer\n"
STEPS = ("open", "fsync", "link", "unlink", "replace", "rename", "close")


def test_a_new_file_is_its_owners_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_new(tmp_path / "seed", NEW, "a seed")
    finally:
        os.umask(before)
    assert (tmp_path / "seed").read_bytes() == NEW
    assert (tmp_path / "seed").stat().st_mode & 0o777 == 0o600
    replace(tmp_path / "seed", OLD)
    assert (tmp_path / "seed").read_bytes() == OLD
    assert (tmp_path / "seed").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["seed"], "no draft is left behind"


def test_behind_a_link_the_file_itself_is_replaced(tmp_path: Path) -> None:
    write_new(tmp_path / "seed", OLD, "a seed")
    (tmp_path / "link").symlink_to("seed")
    replace(tmp_path / "link", NEW)
    assert (tmp_path / "seed").read_bytes() == NEW and (tmp_path / "link").is_symlink()


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, "no hard links here")


@pytest.mark.parametrize("links", [True, False])
def test_nothing_is_ever_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    write_new(tmp_path / "seed", OLD, "a seed")
    with pytest.raises(UserError, match=r"There is a seed in .* never overwritten"):
        write_new(tmp_path / "seed", NEW, "a seed")
    assert (tmp_path / "seed").read_bytes() == OLD
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError):
        write_new(tmp_path / "link", NEW, "a seed")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "seed"]


def test_a_memory_stick_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    write_new(tmp_path / "seed", NEW, "a file")
    assert (tmp_path / "seed").read_bytes() == NEW
    monkeypatch.setattr(Path, "replace", no_links)
    with pytest.raises(WorldError):
        write_new(tmp_path / "other", NEW, "a file")
    assert [p.name for p in tmp_path.iterdir()] == ["seed"], "the claim is taken back"


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_failing_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(WorldError, match="cannot be written: No space left") as refused:
        write_new(tmp_path / "seed", NEW, "a seed")
    assert not refused.value.retryable and not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_new(tmp_path / "seed", OLD, "a seed")

    class Full:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def write(self, _: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(descriptor: int, _: str) -> Full:
        os.close(descriptor)
        return Full()

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(WorldError, match="No space left"):
        replace(tmp_path / "seed", NEW)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("seed", OLD)]


def test_a_folder_that_is_not_there_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="No such file or directory"):
        write_new(tmp_path / "stick" / "seed", NEW, "a file")


def killed_at(number: int, act: Callable[[], None]) -> bool:
    """Run `act` in a child that is killed before its system call `number`; False if it ended before."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    seen = 0

    def watch(event: str, _: object) -> None:
        nonlocal seen
        if event in {f"os.{step}" for step in STEPS} | {"open", "os.remove"}:
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    synced = os.fsync

    def fsync(descriptor: Any) -> None:
        watch("os.fsync", descriptor)
        synced(descriptor)
        watch("os.fsync", descriptor)

    pytest.MonkeyPatch().setattr(os, "fsync", fsync)
    sys.addaudithook(watch)
    try:
        act()
    finally:
        os._exit(0)


@pytest.mark.parametrize("links", [True, False])
def test_killed_at_any_step_it_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    found = set()
    for number in range(1, 50):
        folder = tmp_path / str(number)
        folder.mkdir()
        died = killed_at(number, partial(write_new, folder / "seed", NEW, "a seed"))
        found.add((folder / "seed").read_bytes() if (folder / "seed").exists() else None)
        if not died:
            break
    assert number > 5, "it was killed at several steps"
    assert found == {None, NEW} if links else found == {None, b"", NEW}, "without links an empty claim may stay"


def test_killed_at_any_step_the_old_or_the_new_one_is_there(tmp_path: Path) -> None:
    found = set()
    for number in range(1, 50):
        path = tmp_path / str(number) / "seed"
        path.parent.mkdir()
        path.write_bytes(OLD)
        died = killed_at(number, partial(replace, path, NEW))
        found.add(path.read_bytes())
        if not died:
            break
    assert number > 5 and found == {OLD, NEW}
