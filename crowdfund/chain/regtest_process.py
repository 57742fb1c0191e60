"""The process of the private regtest node: its folder, its state file, its start and its end.

The state file says which process on which ports serves a folder. It is a hint: whoever reads it checks that
the process is really that node. May not: know anything of blocks or wallets, or end a process that it cannot
recognise.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from crowdfund.errors import WorldError
from crowdfund.tied import tied

FLAGS = (
    "-regtest",
    "-server",
    "-rest=1",
    "-txindex=1",
    "-blockfilterindex=1",
    "-listen=0",
    "-listenonion=0",
    "-dnsseed=0",
    "-discover=0",
    "-natpmp=0",
    "-fallbackfee=0.00002",
    "-dbcache=16",
    "-printtoconsole=0",
    "-rpcallowip=127.0.0.1",
    "-rpcworkqueue=512",
    "-mempoolexpiry=876000",  # hours: a jump of months must not drop what waits in the mempool
    "-maxtipage=3153600000",  # seconds: an old chain is not a reason to call itself unsynchronised
)


@dataclass(frozen=True)
class NodeState:
    """What the state file holds. `pid` is None when the node was stopped; the next start keeps the ports.

    `mock_time` (Unix seconds) is the node's clock as we set it last, `mock_set_at` the real time then.
    """

    pid: int | None
    rpc_port: int
    zmq_port: int
    mock_time: int | None = None
    mock_set_at: int | None = None


@dataclass(frozen=True)
class NodeFolder:
    """`<data dir>/regtest-node`: the node's own data folder and our two small files beside its own."""

    path: Path

    @classmethod
    def under(cls, data_dir: Path) -> NodeFolder:
        return cls(data_dir.resolve() / "regtest-node")

    @property
    def cookie_file(self) -> Path:
        return self.path / "regtest" / ".cookie"

    @property
    def _state_file(self) -> Path:
        return self.path / "node-state.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder while a node is started or stopped in it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self.path / "node-start.lock").open("w")
        except OSError as error:
            raise WorldError(f"The folder {self.path} cannot be written ({error.strerror}).") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def read_state(self) -> NodeState | None:
        """The state as last written; None if there is none that can be understood."""
        try:
            found = json.loads(self._state_file.read_text("utf-8"))
            return NodeState(**found)
        except (OSError, ValueError, TypeError):
            return None

    def write_state(self, state: NodeState) -> None:
        """Replace the state file in one step."""
        handle, name = tempfile.mkstemp(prefix="node-state.", dir=self.path)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(state), file)
        Path(name).replace(self._state_file)

    def running_pid(self) -> int | None:
        """The process that the state file names, if it is alive and really the node of this folder."""
        state = self.read_state()
        if state is None or state.pid is None or not self.is_ours(state.pid):
            return None
        return state.pid

    def is_ours(self, pid: int) -> bool:
        """True while `pid` is a live process started with this folder as its data folder."""
        reap(pid)
        return f"-datadir={self.path}" in _arguments(pid)

    def last_tip_time(self) -> int | None:
        """Time of the last tip that the node wrote into its log, in Unix seconds."""
        found = re.findall(r"UpdateTip: .* date='([^']+)'", _tail(self.path / "regtest" / "debug.log", 1 << 20))
        if not found:
            return None
        return int(datetime.strptime(found[-1], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())

    def last_words(self) -> str:
        """What a node that died complained of: its error output, else the last line of its log."""
        complaint = _last_line(_tail(self.path / "node-errors.log", 1 << 16))
        return complaint or _last_line(_tail(self.path / "regtest" / "debug.log", 1 << 16)) or "it gave no reason"


def spawn(folder: NodeFolder, command: Sequence[str], extra_args: Sequence[str], *, die_with_parent: bool) -> NodeState:
    """Start the process and write the state. The caller waits for its RPC and ends it if that never comes."""
    before = folder.read_state()
    rpc_port = _free_port(before.rpc_port if before else 0)
    zmq_port = _free_port(before.zmq_port if before else 0, rpc_port)
    state = NodeState(None, rpc_port, zmq_port)
    # Knots stops working a year or two after its release, by the chain's clock; Core does not know the word and says
    # so in its log, where as an argument it would stop the start.
    (folder.path / "bitcoin.conf").write_text("softwareexpiry=0\n", "utf-8")
    # Knots stops working a year or two after its release, by the chain's clock; Core does not know the word and says
    # so in its log, where as an argument it would stop the start.
    (folder.path / "bitcoin.conf").write_text("softwareexpiry=0\n", "utf-8")
    arguments = [
        *command,
        f"-datadir={folder.path}",
        *FLAGS,
        f"-rpcbind=127.0.0.1:{rpc_port}",
        f"-rpcport={rpc_port}",
        f"-zmqpubsequence=tcp://127.0.0.1:{zmq_port}",
    ]
    tip_time, now = folder.last_tip_time(), int(time.time())
    if tip_time is not None and tip_time > now:
        arguments.append(f"-mocktime={tip_time + 1}")
        state = replace(state, mock_time=tip_time + 1, mock_set_at=now)
    pid = _run_detached([*arguments, *extra_args], folder.path / "node-errors.log", die_with_parent)
    try:
        state = replace(state, pid=pid)
        folder.write_state(state)
    except BaseException:
        end(folder, pid)
        raise
    return state


def end(folder: NodeFolder, pid: int, *, patience: float = 15) -> bool:
    """SIGTERM to the node, by its pid alone, and SIGKILL after `patience` seconds; True when it is gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not folder.is_ours(pid):
            return True
        os.kill(pid, number)
        if gone(folder, pid, patience):
            return True
    return False


def gone(folder: NodeFolder, pid: int, patience: float) -> bool:
    """Wait up to `patience` seconds for the process to end; True when it did."""
    give_up = time.monotonic() + patience
    while folder.is_ours(pid):
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


def reap(pid: int) -> None:
    """Collect a child that has ended, so that it does not stay as a zombie; ignores who is no child."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _run_detached(arguments: list[str], errors: Path, die_with_parent: bool) -> int:
    """Start in a session of its own, so that a key pressed in this terminal does not reach the node."""
    if die_with_parent:
        arguments = tied(arguments)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, str(errors), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    try:
        return os.posix_spawn(arguments[0], arguments, os.environ, file_actions=actions, setsid=True)
    except OSError as error:
        raise WorldError(f"{arguments[0]} cannot be started ({error.strerror}).", retryable=False) from error


def _free_port(wanted: int, *taken: int) -> int:
    """`wanted` if nothing listens there, else a port the system picks."""
    for port in (wanted, 0, 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found = int(probe.getsockname()[1])
            if found not in taken:
                return found
    raise WorldError("No free port on 127.0.0.1.")


def _arguments(pid: int) -> list[str]:
    """The argument list of a live process; empty for one that is dead, a zombie, or of no program."""
    if not Path("/proc/self").exists():
        listed = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return listed.stdout.split()
    try:
        for _ in range(100):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if words or Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2][1] in "ZX":
                break
            time.sleep(0.002)  # a process that changes its program has no arguments for a moment
    except OSError:
        return []
    return words.decode("utf-8", "replace").split("\0")


def _tail(path: Path, size: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"^\S+Z ", "", lines[-1]).removeprefix("Error: ").rstrip(".") if lines else ""
