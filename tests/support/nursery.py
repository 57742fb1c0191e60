"""A nursery: one process with everything imported and nothing open, which forks worker and signer lives on request.

So a life costs milliseconds and ends as the lives of processes end. A life in which nobody dies may be lived by the
nursery itself: what it puts into SQL then, no child has to. `python -m support.nursery` reads requests from
its standard input, a line of JSON each, and answers each with a line; `Nursery` is the other end. When that end goes
away, all that still lives here is ended.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy.orm import configure_mappers

from crowdfund.config import Settings
from crowdfund.errors import WorldError
from support import fresh
from support.crashing import Steps, crowd_life, press_life, robot_life, signer_life, worker_life

TESTS = Path(__file__).parent.parent
PATIENCE_S = 120
KILLED = -9
IN_TROUBLE, REFUSED = 3, 4


class Nursery:
    """The nursery as tests see it; one request at a time. Use as a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)

    def worker(
        self,
        env: Mapping[str, str],
        steps: Path,
        kill_at: int | None = None,
        every_statement: bool = False,
        muted: bool = False,
        here: bool = False,
    ) -> int:
        """A worker's whole life; returns its exit code. `here`: in the nursery's own process, which must survive it.

        That is KILLED, IN_TROUBLE, REFUSED (there is another worker), or 0 when nothing is left to do.
        """
        flags = {"every_statement": every_statement, "muted": muted, "here": here}
        answer = self._ask({"op": "worker", "env": dict(env), "steps": str(steps), "kill_at": kill_at, **flags})
        return int(answer["exit"]) if here else self.wait(answer["pid"])

    def stopping_worker(self, env: Mapping[str, str], steps: Path, stop_at: str) -> int:
        """A worker that gets SIGSTOP at the first step with these words; returns its process id at once."""
        request = {"op": "worker", "env": dict(env), "steps": str(steps), "kill_at": stop_at, "signal": signal.SIGSTOP}
        return int(self._ask(request)["pid"])

    def signer(self, env: Mapping[str, str], steps: Path, kill_at: int | None = None) -> int:
        """A signer that listens; returns its process id."""
        return int(self._ask({"op": "signer", "env": dict(env), "steps": str(steps), "kill_at": kill_at})["pid"])

    def crowd(self, env: Mapping[str, str], count: int, rounds: int) -> list[str]:
        """So many workers without lock, started at once; returns what they ran into."""
        return list(self._ask({"op": "crowd", "env": dict(env), "count": count, "rounds": rounds})["met"])

    def robot(self, env: Mapping[str, str], locked: bool) -> int:
        """A worker that goes on and on; returns its process id."""
        return int(self._ask({"op": "robot", "env": dict(env), "locked": locked})["pid"])

    def press(self, env: Mapping[str, str], count: int, locked: bool) -> list[str]:
        """So many operators who press `worker --once` at once; returns what each ended with, "" for well."""
        return list(self._ask({"op": "press", "env": dict(env), "count": count, "locked": locked})["met"])

    def end(self, pid: int) -> None:
        """End a life, if it has not ended by itself, and bury it."""
        self._ask({"op": "end", "pid": pid})

    def wait(self, pid: int) -> int:
        """The exit code of a worker that ends by itself, or is killed."""
        return int(self._ask({"op": "wait", "pid": pid})["exit"])

    def _ask(self, request: dict[str, object]) -> dict[str, Any]:
        sending, receiving = self._process.stdin, self._process.stdout
        assert sending is not None and receiving is not None
        sending.write(json.dumps(request) + "\n")
        sending.flush()
        answer = receiving.readline()
        assert answer, "the nursery died"
        return dict(json.loads(answer))


def main() -> None:
    """Serve requests until the other end goes away; then end what still lives."""
    fresh.save_time()
    configure_mappers()
    gc.freeze()  # what is here already is shared by all children, as far as nobody counts it anew
    living: set[int] = set()
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line), living)), flush=True)
    for pid in living:
        _bury(pid, kill=True)


def _answer(request: dict[str, Any], living: set[int]) -> dict[str, object]:
    if request["op"] in ("end", "wait"):
        living.remove(request["pid"])
        return {"exit": _bury(request["pid"], kill=request["op"] == "end")}
    settings = Settings.from_env(request["env"])
    if request["op"] == "crowd":
        return {"met": _crowd(settings, request["count"], lambda: crowd_life(settings, request["rounds"]))}
    if request["op"] == "press":
        return {"met": _crowd(settings, request["count"], lambda: [press_life(settings, request["locked"])])}
    if request["op"] == "robot":
        living.add(pid := _fork(settings.data_dir, partial(_robot, settings, request["locked"])))
        return {"pid": pid}
    steps_file = Path(request["steps"])
    if request.get("here"):
        return {"exit": _live_here(_worker(request, settings, steps_file))}
    start = _start_signer if request["op"] == "signer" else _start_worker
    pid = start(request, settings, steps_file)
    living.add(pid)
    return {"pid": pid}


def _start_worker(request: dict[str, Any], settings: Settings, steps_file: Path) -> int:
    return _fork(settings.data_dir, _worker(request, settings, steps_file))


def _live_here(life: Callable[[], int]) -> int:
    """Afterwards nothing may be open or running, as children are forked off."""
    status = life()
    signal.alarm(0)
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()
    return status


def _worker(request: dict[str, Any], settings: Settings, steps_file: Path) -> Callable[[], int]:
    def life() -> int:
        signal.alarm(PATIENCE_S)
        steps = Steps(steps_file, request["kill_at"], request.get("signal", signal.SIGKILL))
        try:
            trouble = worker_life(settings, steps, request.get("every_statement", False), request.get("muted", False))
        except WorldError as error:
            print(error.sentence, file=sys.stderr)
            return REFUSED
        print(trouble, file=sys.stderr, end="\n" if trouble else "")
        return IN_TROUBLE if trouble else 0

    return life


def _start_signer(request: dict[str, Any], settings: Settings, steps_file: Path) -> int:
    """Returns when it listens, or is dead."""
    receiving, sending = os.pipe()

    def life() -> int:
        signer_life(settings, Steps(steps_file, request["kill_at"]), lambda: os.close(sending))
        return 0

    pid = _fork(settings.data_dir, life)
    os.close(sending)
    os.read(receiving, 1)
    os.close(receiving)
    return pid


def _robot(settings: Settings, locked: bool) -> int:
    robot_life(settings, locked)
    return 0


def _crowd(settings: Settings, count: int, work: Callable[[], list[str]]) -> list[str]:
    """All of them wait for one pipe to be closed: that is the start."""
    receiving, sending = os.pipe()

    def life(number: int) -> int:
        os.close(sending)
        signal.alarm(PATIENCE_S)
        os.read(receiving, 1)
        (settings.data_dir / f"met-{number}").write_text(json.dumps(work()))
        return 0

    pids = [_fork(settings.data_dir, partial(life, number)) for number in range(count)]
    os.close(receiving)
    os.close(sending)
    codes = [_bury(pid, kill=False) for pid in pids]
    met = [json.loads((settings.data_dir / f"met-{n}").read_text()) for n, code in enumerate(codes) if code == 0]
    return [f"exit code {code}" for code in codes if code] + [error for one in met for error in one]


def _fork(folder: Path, life: Callable[[], int]) -> int:
    """Run `life` in a child, whose exit status is its result; what it says goes to `folder/life.log`."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.dup2(os.open(folder / "life.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
        status = life()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _bury(pid: int, kill: bool) -> int:
    if kill:
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
