"""The signer's memory: it is dumped nowhere, no other program reads it, and the code in it is the signer's alone."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from crowdfund.config import Settings
from crowdfund.processes import seed_file
from crowdfund.wallet.keystore import create_seed
from crowdfund.wallet.shield import PR_SET_DUMPABLE, keep_memory_private

ROOT = Path(__file__).parent.parent.parent

LOOK = """
import ctypes, resource, sys
from crowdfund.config import Settings
from crowdfund.processes import run_signer
from crowdfund.wallet.signer import SignerServer

def look(self, poll_interval):
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
    print(*(name for name in sys.modules if name.startswith("crowdfund.") and name.count(".") == 1))

SignerServer.serve_forever = look
run_signer(Settings.from_env())
"""


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "CROWDFUND_DATA_DIR": str(folder), "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}


def test_a_signer_that_serves_is_undumpable_and_knows_no_database(tmp_path: Path) -> None:
    env = environment(tmp_path)
    create_seed(seed_file(Settings.from_env({"CROWDFUND_DATA_DIR": str(tmp_path)})))
    seen = subprocess.run([sys.executable, "-c", LOOK], env=env, capture_output=True, text=True, check=True)
    memory, modules = seen.stdout.splitlines()
    assert memory == "0 (0, 0)"
    assert "crowdfund.wallet" in modules.split()
    assert not {"crowdfund.db", "crowdfund.campaigns", "crowdfund.chain", "crowdfund.worker"} & {*modules.split()}


def test_a_running_signer_that_crashes_leaves_no_core(tmp_path: Path) -> None:
    create_seed(tmp_path / "signer" / "seed")
    process = subprocess.Popen([sys.executable, "-m", "crowdfund", "signer"], env=environment(tmp_path), cwd=tmp_path)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "signer.sock").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
        assert next(line.split()[4:6] for line in limits if line.startswith("Max core")) == ["0", "0"]
        process.send_signal(signal.SIGSEGV)
        status = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert status is not None and status.si_code == os.CLD_KILLED, "killed, and not dumped"
    finally:
        process.kill()
        process.wait()
    assert not list(tmp_path.glob("core*"))


def test_other_programs_of_the_same_user_see_nothing() -> None:
    """`environ` stands for the memory: it is read by the same rule, and readable as a rule."""
    assert looked_at(lambda: None), "an ordinary process can be looked into"
    assert not looked_at(keep_memory_private)


def looked_at(prepare: Callable[[], object]) -> bool:
    """Whether a child that has done `prepare` can be looked into by another one of the same, ordinary user."""
    ready, done = os.pipe()

    def hide() -> None:
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        prepare()
        os.write(done, b"x")
        time.sleep(60)

    hidden = ordinary(hide)
    try:
        os.read(ready, 1)
        looking = ordinary(lambda: Path(f"/proc/{hidden}/environ").read_bytes())
        return os.waitstatus_to_exitcode(os.waitpid(looking, 0)[1]) == 0
    finally:
        os.kill(hidden, signal.SIGKILL)
        os.waitpid(hidden, 0)
        os.close(ready)
        os.close(done)


def ordinary(act: Callable[[], object]) -> int:
    """Run `act` in a child that is not root; its exit code says whether it went well."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        act()
        code = 0
    except PermissionError:
        pass
    finally:
        os._exit(code)
