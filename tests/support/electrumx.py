"""A real Electrum server for tests: ElectrumX in an environment of its own, on a regtest node.

It is installed once a machine from requirements/electrumx.txt, every file checked against its hash. Servers listen
on 127.0.0.1 only and end with the test process.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crowdfund import config
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import WorldError
from crowdfund.tied import tied

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
PYTHONS = ((3, 11), (3, 12))
# The server holds answers back for a second so that packets tell watchers less; here nobody watches.
START = (
    "from electrumx.server.transport import PaddedRSTransport as t; t.WAIT_FOR_BUFFER_GROWTH_SECONDS = 0.01; "
    "from electrumx.cli.electrumx_server import main; main()"
)
SECONDS_TO_START = 60
PORT_TRIES = 3
MANY = "1000000000"

Progress = Callable[[str], None]


@functools.cache
def electrumx_python() -> Path:
    """The Python that has ElectrumX, found once a process (made once a machine)."""
    return install(config.cache_dir(), print)


def install(cache: Path, progress: Progress) -> Path:
    """The Python of ElectrumX's environment under `cache`; made if it is not there. Raises WorldError."""
    lock = REQUIREMENTS / "electrumx.txt"
    folder = cache / f"electrumx-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    python = folder / "bin" / "python"
    if not python.exists():
        with _alone(folder, progress):
            if not python.exists():
                _fill(folder, lock, progress)
    return python


@contextmanager
def _alone(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock beside `folder`; the system frees it if this process dies."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that installs ElectrumX")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fill(folder: Path, lock: Path, progress: Progress) -> None:
    """Install beside `folder` and give it its name at the end; clears what a killed run or a lost Python left."""
    for left_over in folder.parent.glob(f"{folder.name}.part-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    python = find_python(sys.version_info[:2])
    progress("installing ElectrumX, the Electrum server of the tests (once, some seconds)")
    work = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=folder.parent))
    try:
        _run(python, "-m", "venv", str(work))
        pip = (str(work / "bin" / "python"), "-I", "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
        wheels = ("--require-hashes", "--only-binary=:all:")
        _run(*pip, *wheels, "-r", str(REQUIREMENTS / "build.txt"))
        _run(*pip, *wheels, "--no-binary=e-x", "--no-build-isolation", "-r", str(lock))
        work.chmod(0o755)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def find_python(version: tuple[int, ...]) -> str:
    """A Python that ElectrumX's database runs on: this one (of `version`), else one on the PATH."""
    if version in PYTHONS:
        return sys.executable
    for major, minor in reversed(PYTHONS):
        found = shutil.which(f"python{major}.{minor}")
        if (
            found
            and subprocess.run([found, "-c", "import ensurepip"], capture_output=True, check=False).returncode == 0
        ):
            return found
    raise WorldError(
        "ElectrumX's database has wheels for Python 3.11 and 3.12 only: install one of them beside this Python, "
        "so that python3.12 or python3.11 is on the PATH.",
        retryable=False,
    )


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no reason given")
        raise WorldError(f"ElectrumX cannot be installed: {reason.removeprefix('ERROR: ').rstrip('.')}.")


@dataclass
class ElectrumX:
    """A running server. Made by `start`; `restart` keeps its ports and its index."""

    node: RegtestNode
    folder: Path
    tcp_port: int
    tls_port: int | None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    def start(cls, node: RegtestNode, folder: Path, *, tls: bool = False) -> ElectrumX:
        """A server that has read the whole chain of `node` and keeps all it writes in `folder`. With `tls` it
        listens with TLS too, with the certificate `ca_file`. Raises WorldError with the end of its log."""
        (folder / "index").mkdir(parents=True, exist_ok=True)
        if tls:
            make_certificate(folder)
        for remaining in reversed(range(PORT_TRIES)):
            made = cls(node, folder, *_free_ports(tls))
            try:
                made._launch()
                return made
            except WorldError as error:
                if not ("address already in use" in error.sentence and remaining):
                    raise
        raise AssertionError("unreachable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Without TLS."""
        return f"tcp://127.0.0.1:{self.tcp_port}"

    @property
    def tls_url(self) -> str:
        """With TLS."""
        return f"ssl://127.0.0.1:{self.tls_port}"

    @property
    def ca_file(self) -> Path:
        """The certificate that it shows."""
        return self.folder / "certificate.pem"

    def wait_for(self, height: int) -> None:
        """Wait until it has read the block at `height`, and no higher one. Raises WorldError after a while."""
        self._wait(lambda: self._height() == height, f"reach height {height}")

    def wait_until_even(self) -> None:
        """Wait until its best block is the node's. It reads another branch only once that is higher than the tip it
        knows: after `invalidateblock`, mine one block more than were undone before waiting."""
        self._wait(self._is_even, "reach the node's tip")

    def stop(self) -> None:
        """End it and wait until it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Stop it, if it runs, and start it again on the same ports and index."""
        self.stop()
        self._launch()

    def ask(self, method: str, *params: object) -> Any:
        """One question over a connection of its own. Raises WorldError for an error, OSError where none listens."""
        with socket.create_connection(("127.0.0.1", self.tcp_port), timeout=10) as link, link.makefile("rwb") as lines:
            for call in (("server.version", ["tests", "1.4"]), (method, list(params))):
                lines.write(json.dumps({"id": 1, "method": call[0], "params": call[1]}).encode() + b"\n")
                lines.flush()
                answer = json.loads(lines.readline() or b'{"error": {"message": "it hung up"}}')
                if answer.get("error"):
                    raise WorldError(f"ElectrumX said: {answer['error']['message']}.")
        return answer["result"]

    def _launch(self) -> None:
        command = [str(electrumx_python()), "-I", "-c", START]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                tied(command), env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self.wait_until_even()
        except BaseException:
            self.stop()
            raise

    @property
    def _log(self) -> Path:
        return self.folder / "electrumx.log"

    def _environment(self) -> dict[str, str]:
        """Its settings. The node's cookie is in the address, and is another one after each start of the node."""
        services = [f"tcp://127.0.0.1:{self.tcp_port}"]
        if self.tls_port is not None:
            services.append(f"ssl://127.0.0.1:{self.tls_port}")
        cookie = self.node.cookie_file.read_text().strip()
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "ALLOW_ROOT": "1",
            "BANDWIDTH_UNIT_COST": MANY,
            "CACHE_MB": "50",
            "COIN": "Bitcoin",
            "COST_HARD_LIMIT": "0",
            "COST_SOFT_LIMIT": "0",
            "DAEMON_POLL_INTERVAL_BLOCKS": "100",
            "DAEMON_POLL_INTERVAL_MEMPOOL": "100",
            "DAEMON_URL": self.node.rpc_url.replace("://", f"://{cookie}@") + "/",
            "DB_DIRECTORY": str(self.folder / "index"),
            "DB_ENGINE": "leveldb",
            "MAX_RECV": MANY,
            "MAX_SEND": MANY,
            "NET": "regtest",
            "PEER_DISCOVERY": "off",
            "REQUEST_SLEEP": "0",
            "SERVICES": ",".join(services),
            "SSL_CERTFILE": str(self.ca_file),
            "SSL_KEYFILE": str(self.folder / "key.pem"),
        }

    def _height(self) -> int:
        return int(self.ask("blockchain.headers.subscribe")["height"])

    def _is_even(self) -> bool:
        header = bytes.fromhex(self.ask("blockchain.headers.subscribe")["hex"])
        tip = hashlib.sha256(hashlib.sha256(header).digest()).digest()[::-1].hex()
        return tip == str(self.node.rpc("getbestblockhash"))

    def _wait(self, reached: Callable[[], bool], what: str) -> None:
        give_up = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < give_up:
            if self._process is None or self._process.poll() is not None:
                raise WorldError(f"ElectrumX stopped: {self._last_words()}", retryable=False)
            try:
                if reached():
                    return
            except (OSError, WorldError):  # it does not listen yet, or does not have that block yet
                pass
            time.sleep(0.05)
        raise WorldError(f"ElectrumX does not {what}: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self._log.read_text("utf-8", "replace").splitlines() if self._log.exists() else []
        return "\n".join(["the end of its log is", *lines[-15:]])


def make_certificate(folder: Path) -> None:
    """A key and a certificate for 127.0.0.1 that signs itself, good for a month. Raises WorldError."""
    if (folder / "certificate.pem").exists():
        return
    if shutil.which("openssl") is None:
        raise WorldError("The tests of TLS need the command openssl; install the package openssl.", retryable=False)
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    done = subprocess.run([*command.split(), *names, *files], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise WorldError(f"openssl cannot make a certificate: {done.stderr.strip()}.", retryable=False)


def _free_ports(tls: bool) -> tuple[int, int | None]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1]), int(other.getsockname()[1]) if tls else None
