"""Debian packages unpacked into a cache folder, without being installed and without root.

apt and dpkg do the work, in a state of their own that is thrown away afterwards: signatures are checked
against the Debian keyring, versions come from the named suites and pins, every dependency comes along. The
host's own package state is read for the mirror and the network settings only; nothing of it is written.
May not: run what it unpacked, name a mirror, trust a repository that the keyring did not sign.
"""

from __future__ import annotations

import fcntl
import fnmatch
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from crowdfund.errors import UserError, WorldError

Progress = Callable[[str], None]

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TOOLS = ("apt-get", "apt-config", "dpkg-deb")

# Settings of the host that are lists of things to fetch, or that would let an unsigned repository through.
_NOT_COPIED = re.compile(r"Acquire::(IndexTargets|CompressionTypes|Changelogs|Snapshots|Languages|GzipIndexes|Allow)")


@dataclass(frozen=True)
class Pin:
    """One stanza of apt's preferences: which packages (a glob), from which suite, with which priority."""

    packages: str
    suite: str
    priority: int


@dataclass(frozen=True)
class _Order:
    """What `unpack` was asked for."""

    packages: Sequence[str]
    suites: Sequence[str]
    pins: Sequence[Pin]
    leave_out: Sequence[str]
    keyring: Path


def unpack(
    packages: Sequence[str],
    *,
    suites: Sequence[str],
    pins: Sequence[Pin] = (),
    folder: Path,
    progress: Progress,
    leave_out: Sequence[str] = (),
    keyring: Path = KEYRING,
) -> Path:
    """Unpack `packages` and all they depend on into `folder`, and return it; at once if it is already there.

    The folder appears by one rename when everything is in it. Processes that ask for it at the same time wait
    for the first one. `leave_out` (globs) names dependencies that are fetched but not unpacked. Raises
    WorldError where a tool, the keyring, the mirror or the disk fails; UserError where no mirror is known.
    """
    if folder.is_dir():
        return folder
    check_tools(keyring)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder, progress):
            if not folder.is_dir():
                _fill(folder, _Order(packages, suites, pins, leave_out, keyring), progress)
    except OSError as error:
        raise WorldError(f"The folder {folder.parent} cannot be written ({error.strerror}).") from error
    return folder


def check_tools(keyring: Path = KEYRING) -> None:
    """Raise WorldError with one sentence if apt, dpkg or the keyring is missing here."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        sentence = f"Debian packages cannot be unpacked here: {missing[0]} is missing (it belongs to apt and dpkg)."
        raise WorldError(sentence, retryable=False)
    if not keyring.is_file():
        sentence = f"{keyring} is missing; install the package debian-archive-keyring."
        raise WorldError(sentence, retryable=False)


def mirror() -> str:
    """The mirror to use: `CROWDFUND_DEBIAN_MIRROR`, else the one this host's apt uses. Raises UserError."""
    chosen = os.environ.get("CROWDFUND_DEBIAN_MIRROR")
    if chosen:
        if urlsplit(chosen).scheme == "" or len(chosen.split()) != 1:
            raise UserError(f"CROWDFUND_DEBIAN_MIRROR is {chosen!r}; it must be the address of a Debian mirror.")
        return chosen
    fields = "$(REPO_URI)|$(ORIGIN)|$(LABEL)"
    known = _run("apt-get", "indextargets", "--format", fields, "Created-By: Packages")
    found = pick_mirror(known.stdout.splitlines())
    if found is None:
        # apt knows origins only after its first update; the addresses of the sources are always there
        planned = _run("apt-get", "update", "--print-uris", "-o", "Debug::NoLocking=true")
        found = pick_mirror(re.findall(r"^'(\S+/)dists/\S+/InRelease'", planned.stdout, re.MULTILINE))
    if found is None:
        raise UserError("This host's apt knows no Debian mirror; set CROWDFUND_DEBIAN_MIRROR to one's address.")
    return found


def pick_mirror(lines: Sequence[str]) -> str | None:
    """The first Debian mirror among lines `URI|origin|label`; origin and label may be missing.

    Where they are missing the address has to say it: one part of its path is then `debian`.
    """
    for line in lines:
        uri, origin, label = [*line.split("|"), "", ""][:3]
        unknown = origin in ("", "$(ORIGIN)")
        if (origin, label) == ("Debian", "Debian") or (unknown and "debian" in urlsplit(uri).path.split("/")):
            return uri
    return None


def release_codename() -> str:
    """The code name of the Debian that runs here, such as "bookworm". Raises WorldError on another system."""
    text = Path("/etc/os-release").read_text("utf-8") if Path("/etc/os-release").is_file() else ""
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if fields.get("ID") != "debian" or not fields.get("VERSION_CODENAME"):
        raise WorldError("This is not a Debian system, so its own packages cannot be unpacked.", retryable=False)
    return fields["VERSION_CODENAME"].strip('"')


@contextmanager
def _alone(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock beside `folder`; the system frees it if this process dies."""
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that fills {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fill(folder: Path, order: _Order, progress: Progress) -> None:
    """Do all the work beside `folder`; whoever holds the lock also clears what a killed run left there."""
    for left_over in folder.parent.glob(f"{folder.name}.part-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=folder.parent))
    try:
        _fetch(work / "apt", order, progress)
        _finish(work, folder, order.leave_out, progress)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fetch(apt: Path, order: _Order, progress: Progress) -> None:
    """Let apt fill `cache/archives` of its private state."""
    config = _private_state(apt, mirror(), order)
    progress(f"reading the package lists of {' and '.join(order.suites)}")
    _apt(config, "update", "-qq", "--error-on=any")
    install = ("install", "-y", "--no-install-recommends")
    listing = _apt(config, *install, "-qq", "--print-uris", *order.packages).stdout
    sizes = {m[1]: int(m[2]) for m in re.finditer(r"^'[^']+' (\S+\.deb) (\d+) ", listing, re.MULTILINE)}
    if not sizes:
        raise WorldError(f"The Debian mirror offers nothing for {', '.join(order.packages)}.", retryable=False)
    _download(config, [*install, "--download-only", *order.packages], apt / "cache" / "archives", sizes, progress)


def _download(config: Path, arguments: list[str], archives: Path, sizes: Mapping[str, int], progress: Progress) -> None:
    """Run apt's download and say how far it is, about once a second."""
    log = archives.parent / "download.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["apt-get", "-qq", *arguments],
            env=_environment(config),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
        try:
            while process.poll() is None:
                progress(_how_far(archives, sizes))
                _wait(process, 1.0)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0:
        raise WorldError(_complaint("download the packages", log.read_text("utf-8", "replace")))
    progress(_how_far(archives, sizes))


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)


def _how_far(archives: Path, sizes: Mapping[str, int]) -> str:
    total = sum(sizes.values())
    done = [size for name, size in sizes.items() if (archives / name).is_file()]
    partial = sum(_size(path) for path in (archives / "partial").glob("*.deb"))
    have = min(sum(done) + partial, total)
    return f"downloading {len(done)} of {len(sizes)} packages, {have / 1e6:.1f} of {total / 1e6:.1f} MB"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # apt has just moved it to its final name
        return 0


def _finish(work: Path, folder: Path, leave_out: Sequence[str], progress: Progress) -> None:
    """Unpack what was fetched into `work/root`, make it durable, and give it its final name."""
    archives = sorted((work / "apt" / "cache" / "archives").glob("*.deb"))
    progress(f"unpacking {len(archives)} packages")
    root = work / "root"
    root.mkdir()
    for archive in archives:
        if not any(fnmatch.fnmatch(archive.name.split("_")[0], glob) for glob in leave_out):
            _run("dpkg-deb", "--extract", str(archive), str(root))
    root.chmod(0o755)
    os.sync()  # a power cut after the rename must not leave empty files under the final name
    root.rename(folder)


def _private_state(apt: Path, address: str, order: _Order) -> Path:
    """Write an apt state that knows one repository and no installed package; returns its configuration."""
    for name in ("state", "lists/partial", "cache/archives/partial", "none", "sources"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    source = {
        "Types": "deb",
        "URIs": address,
        "Suites": " ".join(order.suites),
        "Components": "main",
        "Targets": "Packages",
        "Signed-By": str(order.keyring),
    }
    (apt / "sources" / "debian.sources").write_text("".join(f"{k}: {v}\n" for k, v in source.items()), "utf-8")
    stanzas = [f"Package: {p.packages}\nPin: release n={p.suite}\nPin-Priority: {p.priority}\n" for p in order.pins]
    (apt / "preferences").write_text("\n".join(stanzas), "utf-8")
    config = apt / "apt.conf"
    config.write_text("\n".join([*_host_network_settings(), *_own_settings(apt)]) + "\n", "utf-8")
    return config


def _own_settings(apt: Path) -> list[str]:
    """All that apt would read from or write to the host, led elsewhere; the host's hooks are dropped too."""
    places = {
        "Dir::State": apt / "state",
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        "Dir::Log": apt / "none",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": apt / "none",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": apt / "sources",
        "Dir::Etc::preferences": apt / "preferences",
        "Dir::Etc::preferencesparts": apt / "none",
        "Dir::Etc::trusted": "/dev/null",
        "Dir::Etc::trustedparts": apt / "none",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "APT::Sandbox::User": "root",  # else, as root, apt becomes a user who cannot write here
    }
    return [f'{name} "{value}";' for name, value in places.items()]


def _host_network_settings() -> list[str]:
    """The host's proxies, certificates and clock rules: how packages can be fetched from here."""
    dump = _run("apt-config", "dump").stdout.splitlines()
    return [line for line in dump if re.match(r"Acquire::[\w-]", line) and not _NOT_COPIED.match(line)]


def _environment(config: Path | None) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k != "APT_CONFIG"}
    return kept | {"LC_ALL": "C"} | ({"APT_CONFIG": str(config)} if config else {})


def _apt(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _run("apt-get", *arguments, config=config)


def _run(*command: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run one tool to its end. Raises WorldError with its own last complaint."""
    done = subprocess.run(
        command,
        env=_environment(config),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise WorldError(_complaint(f"run {command[0]} {command[1]}", done.stderr))
    return done


def _complaint(deed: str, output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("E:").strip() for line in lines if line.startswith("E:")]
    last = (errors or lines or ["it gave no reason"])[0]
    return f"Could not {deed}: {last.rstrip('.')}."
