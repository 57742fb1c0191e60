"""A private regtest node for development, tests and the demo, with a bank that pays like a stranger.

All time on regtest is the chain's: `jump_to` moves the node's clock and mines, and what waits for a deadline
follows. May not: touch another network, listen beyond this machine, or end a node it did not start.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crowdfund import config
from crowdfund.chain import regtest_process
from crowdfund.chain.bitcoind import find_bitcoind
from crowdfund.chain.local_rpc import WARMING_UP, LocalRpc, RpcError
from crowdfund.chain.regtest_bank import FEE_RESERVE_SATS, Bank
from crowdfund.chain.regtest_process import NodeFolder
from crowdfund.errors import UserError, WorldError

__all__ = ["RegtestNode", "find_bitcoind", "last_data_dir"]

FUNDING_BLOCKS = 150  # 50 mature coins of 50 BTC: hundreds of payments without a block in between
ENOUGH_SATS = 10 * 100_000_000
LATEST_TIME = 4_294_000_000  # block times are 32 bit; a few days are left so that blocks can follow
SECONDS_TO_START = 120
PORT_TRIES = 3


def _silent(_line: str) -> None:
    """Progress that nobody wants to see."""


@dataclass
class RegtestNode:
    """A running node. Made by `start` or `attach`; may be used from many threads."""

    data_dir: Path
    pid: int
    rpc_url: str
    zmq_url: str
    _folder: NodeFolder = field(repr=False)
    _address: str = field(default="", repr=False)

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        extra_args: Sequence[str] = (),
        progress: Callable[[str], None] = _silent,
        command: Sequence[str] | None = None,
        die_with_parent: bool = False,
        remember: bool = True,
    ) -> RegtestNode:
        """Start a node in `data_dir`, or attach to the one that runs there, and wait until it answers.

        Its chain and wallet are kept from start to start. `command` (default: `find_bitcoind`) is how to run
        it; `extra_args` go to a new process only. With `die_with_parent` (Linux) it ends with the calling
        thread, else it goes on by itself. `remember` notes the folder as the last one. Raises WorldError or
        UserError.
        """
        folder = NodeFolder.under(data_dir)
        with folder.locked():
            if folder.running_pid() is None:
                command = find_bitcoind(progress) if command is None else command
                _launch(folder, command, extra_args, die_with_parent, progress)
        node = cls.attach(data_dir)
        if remember:
            _remember(data_dir, progress)
        return node

    @classmethod
    def attach(cls, data_dir: Path) -> RegtestNode:
        """The node that runs in `data_dir`. Raises WorldError with a sentence if none does."""
        folder = NodeFolder.under(data_dir)
        pid, state = folder.running_pid(), folder.read_state()
        if pid is None or state is None:
            hint = "start one with: crowdfund regtest start"
            raise WorldError(f"No regtest node runs in {data_dir}; {hint}.", retryable=False)
        node = cls(
            data_dir=data_dir.resolve(),
            pid=pid,
            rpc_url=f"http://127.0.0.1:{state.rpc_port}",
            zmq_url=f"tcp://127.0.0.1:{state.zmq_port}",
            _folder=folder,
        )
        _wait_for_rpc(folder, pid, node._rpc, _silent)
        return node

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def cookie_file(self) -> Path:
        """The file that lets any program on this machine use the node's RPC."""
        return self._folder.cookie_file

    @property
    def _rpc(self) -> LocalRpc:
        return LocalRpc(self.rpc_url, self._folder.cookie_file)

    def stop(self) -> None:
        """End the node and wait until it is gone, if it is not already. Raises WorldError if it stays."""
        with self._folder.locked():
            if self._folder.is_ours(self.pid):
                self._ask_to_stop()
            if not (regtest_process.gone(self._folder, self.pid, 30) or regtest_process.end(self._folder, self.pid)):
                raise WorldError(f"The regtest node, process {self.pid}, does not end.")
            state = self._folder.read_state()
            if state is not None and state.pid == self.pid:
                self._folder.write_state(replace(state, pid=None))

    def _ask_to_stop(self) -> None:
        try:
            self.rpc("stop")
        except WorldError:  # it does not listen; a signal reaches it too
            regtest_process.end(self._folder, self.pid)

    def rpc(self, method: str, *params: object) -> Any:
        """Call any RPC method; amounts come back as Decimal. Raises RpcError (a WorldError) or WorldError."""
        return self._rpc.call(method, params, timeout=300)

    @property
    def _bank(self) -> Bank:
        return Bank(self._rpc)

    def bank(self, method: str, *params: object) -> Any:
        """Call an RPC method on the bank's wallet, which is made or loaded when it is not there."""
        return self._bank.call(method, *params)

    def status(self) -> dict[str, Any]:
        """How to reach the node and where its chain stands (`median_time_past` in Unix seconds)."""
        chain = self.rpc("getblockchaininfo")
        return {
            "rpc_url": self.rpc_url,
            "cookie_file": str(self.cookie_file),
            "data_dir": str(self.data_dir),
            "height": int(chain["blocks"]),
            "median_time_past": int(chain["mediantime"]),
            "pid": self.pid,
            "zmq_url": self.zmq_url,
        }

    def mine(self, blocks: int = 1) -> list[str]:
        """Mine `blocks` blocks for the bank, with all that waits in the mempool; returns their hashes.

        While the node's clock is not the real one, it first moves on by the real time that passed, at least a
        second, so that the chain's time never stands still.
        """
        if blocks < 1:
            raise UserError("The number of blocks to mine must be 1 or more.")
        self._let_time_pass()
        return self._generate(blocks)

    def _generate(self, blocks: int) -> list[str]:
        self._address = self._address or str(self.bank("getnewaddress"))
        hashes: list[str] = []
        while len(hashes) < blocks:
            hashes += self.rpc("generatetoaddress", min(blocks - len(hashes), 500), self._address)
        return hashes

    def fund_bank(self, enough_sats: int = ENOUGH_SATS) -> None:
        """See that the bank can spend `enough_sats`: mine until enough of its coins are mature.

        A new chain gets its first blocks some minutes ago, so that its median time past does not run ahead.
        Raises WorldError when the chain yields no more coins.
        """
        if self._bank.spendable_sats() >= enough_sats:
            return
        if int(self.rpc("getblockcount")) == 0 and not self._is_mocked(self.node_time()):
            self._generate_first_blocks()
        for _ in range(20):
            if self._bank.spendable_sats() >= enough_sats:
                return
            self.mine(101)
        raise WorldError("This regtest chain yields no more coins; start one in a new data folder.", retryable=False)

    def _generate_first_blocks(self) -> None:
        try:
            self.rpc("setmocktime", int(time.time()) - 600)
            self._generate(FUNDING_BLOCKS - 11)
        finally:
            self.rpc("setmocktime", 0)
        self._generate(11)

    def pay(self, address: str, amount_sats: int) -> str:
        """Pay from the bank, as a stranger's wallet would; the payment is in the mempool. Returns its txid.

        Blocks are mined first only if the bank has too little. Raises UserError for what can never be paid.
        """
        self._bank.check(address, amount_sats)
        self.fund_bank(amount_sats + FEE_RESERVE_SATS)
        return self._bank.pay(address, amount_sats)

    def node_time(self) -> int:
        """The node's clock in Unix seconds, mocked or not: the time its next block would bear."""
        try:
            return int(self.rpc("getblocktemplate", {"rules": ["segwit"]})["curtime"])
        except RpcError as error:
            if "time-too-new" not in error.reason:
                raise
        return self._median_time_past() + 1  # the clock was set back to hours before the chain's last block

    def jump_to(self, unix_time: int) -> int:
        """Mine until the median time past is later than `unix_time` (seconds); returns the time reached.

        At least 11 blocks, unless the chain is past that time already: then none.
        """
        if unix_time > LATEST_TIME:
            raise UserError("That time is too far away for a block.", field="time")
        if self._median_time_past() > unix_time:
            return self._median_time_past()
        if unix_time >= self.node_time():
            self._set_clock(unix_time + 1)
        self._generate(11)
        while self._median_time_past() <= unix_time:
            self._generate(1)
        return self._median_time_past()

    def _median_time_past(self) -> int:
        return int(self.rpc("getblockchaininfo")["mediantime"])

    def _is_mocked(self, node_time: int) -> bool:
        """No RPC tells whether the clock is mocked; a clock a few seconds off is."""
        return abs(node_time - int(time.time())) > 5

    def _let_time_pass(self) -> None:
        node_time = self.node_time()
        if not self._is_mocked(node_time):
            return
        state = self._folder.read_state()
        passed = 1
        if state and state.mock_time and state.mock_set_at and node_time - state.mock_time in range(600):
            passed = max(1, int(time.time()) - state.mock_set_at - (node_time - state.mock_time))
        self._set_clock(node_time + passed)

    def _set_clock(self, unix_time: int) -> None:
        self.rpc("setmocktime", unix_time)
        state = self._folder.read_state()
        if state is not None:
            self._folder.write_state(replace(state, mock_time=unix_time, mock_set_at=int(time.time())))


def last_data_dir() -> Path | None:
    """The data folder of the node that was started last, wherever that was; None if none is noted."""
    try:
        return Path(json.loads(_last_file().read_text("utf-8"))["data_dir"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _last_file() -> Path:
    return config.cache_dir() / "regtest-last.json"


def _remember(data_dir: Path, progress: Callable[[str], None]) -> None:
    target = _last_file()
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps({"data_dir": str(data_dir.resolve())}), "utf-8")
        draft.replace(target)
    except OSError as error:  # a convenience only: the node runs
        progress(f"{target} cannot be written ({error.strerror}); name the folder with --data-dir")


def _launch(
    folder: NodeFolder,
    command: Sequence[str],
    extra_args: Sequence[str],
    die_with_parent: bool,
    progress: Callable[[str], None],
) -> None:
    """Start the process and wait for its RPC. Whatever interrupts this ends the process again."""
    for remaining in reversed(range(PORT_TRIES)):
        state = regtest_process.spawn(folder, command, extra_args, die_with_parent=die_with_parent)
        pid = state.pid or 0
        rpc = LocalRpc(f"http://127.0.0.1:{state.rpc_port}", folder.cookie_file)
        try:
            _wait_for_rpc(folder, pid, rpc, progress)
            return
        except BaseException as error:
            regtest_process.end(folder, pid)
            folder.write_state(replace(state, pid=None))
            lost_port = isinstance(error, WorldError) and "Unable to bind" in folder.last_words()
            if not (lost_port and remaining):
                raise


def _wait_for_rpc(folder: NodeFolder, pid: int, rpc: LocalRpc, progress: Callable[[str], None]) -> None:
    """Return when the node answers. Raises WorldError when it has died or stays silent."""
    give_up, told = time.monotonic() + SECONDS_TO_START, ""
    while time.monotonic() < give_up:
        if not folder.is_ours(pid):
            raise WorldError(f"The regtest node stopped: {folder.last_words()}.", retryable=False)
        try:
            rpc.call("getblockchaininfo", timeout=10)
            return
        except RpcError as error:
            if error.code != WARMING_UP:
                raise
            told = _tell_once(progress, f"the regtest node is starting: {error.reason}", told)
        except WorldError:
            told = _tell_once(progress, "the regtest node is starting", told)
        time.sleep(0.03)
    raise WorldError(f"The regtest node, process {pid}, does not answer after {SECONDS_TO_START} seconds.")


def _tell_once(progress: Callable[[str], None], line: str, told: str) -> str:
    if line != told:
        progress(line)
    return line
