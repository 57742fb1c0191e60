"""Debian packages unpacked without being installed: really fetched, really refused."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crowdfund.chain import debian
from crowdfund.errors import UserError, WorldError

SMALL = "fonts-dejavu-core"  # and the one other font it needs
SUITE = "trixie"
PROGRAM = """
import sys
from pathlib import Path
from crowdfund.chain import debian
tell = lambda line: print(line, flush=True)
debian.unpack([{package!r}], suites=[{suite!r}], folder=Path(sys.argv[1]), progress=tell)
"""
# Anybody's ed25519 key that never signed a Debian release.
FOREIGN_KEY = """-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawMlZxYJKwYBBAHaRw8BAQdA0mP9YLkjKkvALgUHOk2Z9T7wnT5GN6CBVV0m
DiHB0n60G05vYm9keSA8bm9ib2R5QGV4YW1wbGUub3JnPoiQBBMWCAA4FiEEXeq5
4UZQBPCCsq0Hle4O02QychUFAmsDJWcCGwMFCwkIBwIGFQoJCAsCBBYCAwECHgEC
F4AACgkQle4O02QychWoLQD+PDpJt+m9iFnSpo+n1+VKWf/sUCbwJhQa+rXh/YaP
hvMA/1qoagxQDjHOCrX3RkH4dwcmBEP5kYBE8XELhGFfSgoO
=BPWY
-----END PGP PUBLIC KEY BLOCK-----
"""


def silent(_line: str) -> None:
    """Progress that nobody reads."""


def run_unpack(folder: Path) -> subprocess.Popen[str]:
    text = PROGRAM.format(package=SMALL, suite=SUITE)
    return subprocess.Popen([sys.executable, "-c", text, str(folder)], stdout=subprocess.PIPE, text=True)


def host_state() -> list[tuple[str, int]]:
    """Every file of the host's own apt and dpkg state, with the time of its last change."""
    places = (Path("/var/lib/apt"), Path("/var/cache/apt"), Path("/var/lib/dpkg"))
    return [(str(path), path.stat().st_mtime_ns) for place in places for path in sorted(place.rglob("*"))]


def test_a_package_is_unpacked_and_the_host_stays_as_it_was(tmp_path: Path) -> None:
    before, lines = host_state(), list[str]()
    folder = debian.unpack(
        [SMALL],
        suites=[SUITE],
        folder=tmp_path / "cache" / "fonts",
        progress=lines.append,
        leave_out=["libc6"],
    )
    font = folder / "usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
    assert font.read_bytes()[:4] == b"\0\1\0\0"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["fonts", "fonts.lock"]
    assert lines[0] == "reading the package lists of trixie"
    assert any(re.match(r"downloading (\d+) of \1 packages, (\d\.\d) of \2 MB", line) for line in lines)
    assert lines[-1].startswith("unpacking")
    assert host_state() == before

    lines.clear()
    assert debian.unpack([SMALL], suites=[SUITE], folder=folder, progress=lines.append) == folder
    assert lines == []


def test_a_killed_run_leaves_nothing_finished_and_two_runs_share_one_work(tmp_path: Path) -> None:
    folder = tmp_path / "fonts"
    killed = run_unpack(folder)
    assert killed.stdout is not None
    assert killed.stdout.readline().startswith("reading")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not folder.exists()
    assert list(tmp_path.glob("fonts.part-*"))

    first, second = run_unpack(folder), run_unpack(folder)
    told = [first.communicate()[0], second.communicate()[0]]
    assert (first.returncode, second.returncode) == (0, 0)
    assert sum("unpacking" in text for text in told) == 1
    assert sum("waiting for another process" in text for text in told) <= 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fonts", "fonts.lock"]
    assert len(list(folder.rglob("*.ttf"))) > 5


def test_an_interrupted_run_cleans_up_after_itself(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("reading"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        debian.unpack([SMALL], suites=[SUITE], folder=tmp_path / "fonts", progress=interrupt)
    assert [p.name for p in tmp_path.iterdir()] == ["fonts.lock"]


def test_a_keyring_that_did_not_sign_is_refused(tmp_path: Path) -> None:
    keyring = tmp_path / "foreign.asc"
    keyring.write_text(FOREIGN_KEY)
    with pytest.raises(WorldError, match=r"not signed|NO_PUBKEY|verif"):
        debian.unpack([SMALL], suites=[SUITE], folder=tmp_path / "fonts", progress=silent, keyring=keyring)
    assert not (tmp_path / "fonts").exists()


def test_an_unsigned_repository_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = tmp_path / "mirror" / "dists" / "trixie"
    release.mkdir(parents=True)
    (release / "Release").write_text("Origin: Debian\nCodename: trixie\nSuite: stable\nSHA256:\n")
    monkeypatch.setenv("CROWDFUND_DEBIAN_MIRROR", f"file:{tmp_path}/mirror")
    with pytest.raises(WorldError, match="not signed"):
        debian.unpack([SMALL], suites=[SUITE], folder=tmp_path / "fonts", progress=silent)
    assert not (tmp_path / "fonts").exists()


def test_a_mirror_that_has_nothing_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWDFUND_DEBIAN_MIRROR", f"file:{tmp_path}/nothing")
    with pytest.raises(WorldError, match=r"^Could not run apt-get update: .*\.$"):
        debian.unpack([SMALL], suites=[SUITE], folder=tmp_path / "fonts", progress=silent)


def test_missing_parts_are_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorldError, match=r"keyring\.gpg is missing; install the package debian-archive-keyring"):
        debian.unpack([SMALL], suites=[SUITE], folder=tmp_path / "f", progress=silent, keyring=tmp_path / "keyring.gpg")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorldError, match="apt-get is missing"):
        debian.unpack([SMALL], suites=[SUITE], folder=tmp_path / "f", progress=silent)


def test_a_cache_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorldError, match="cannot be written"):
        debian.unpack([SMALL], suites=[SUITE], folder=tmp_path / "file" / "fonts", progress=silent)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (
            ["http://a.test/debian-security/|Debian|Debian-Security", "http://a.test/x/|Debian|Debian"],
            "http://a.test/x/",
        ),
        (["https://other.test/apt/|Other|Other", "http://a.test/debian/"], "http://a.test/debian/"),
        (["http://a.test/debian-security/", "http://a.test/debian"], "http://a.test/debian"),
        (["http://a.test/debian/|Other|Other"], None),
        (["http://a.test/ubuntu/|Ubuntu|Ubuntu"], None),
        ([], None),
    ],
)
def test_the_mirror_is_the_first_that_is_debians(lines: list[str], found: str | None) -> None:
    assert debian.pick_mirror(lines) == found


def test_the_mirror_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWDFUND_DEBIAN_MIRROR", "http://mirror.test/debian")
    assert debian.mirror() == "http://mirror.test/debian"
    monkeypatch.setenv("CROWDFUND_DEBIAN_MIRROR", "mirror.test")
    with pytest.raises(UserError, match=r"CROWDFUND_DEBIAN_MIRROR is 'mirror\.test'"):
        debian.mirror()
    monkeypatch.delenv("CROWDFUND_DEBIAN_MIRROR")
    assert "debian" in debian.mirror()
