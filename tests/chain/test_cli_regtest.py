"""`crowdfund regtest` as people and programs use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from crowdfund.chain.regtest import RegtestNode
from crowdfund.cli_regtest import regtest
from support.node import new_address, processes_of, script, wait_until_gone, wrapper_script

MAINNET_ADDRESS = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"


@pytest.fixture
def wrapper(tmp_path: Path) -> Path:
    return wrapper_script(tmp_path / "bin" / "bitcoind")


def test_the_command_line(wrapper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWDFUND_BITCOIND", str(wrapper))
    monkeypatch.setenv("CROWDFUND_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CROWDFUND_DATA_DIR", str(tmp_path / "empty"))
    elsewhere = tmp_path / "elsewhere"
    program = "from crowdfund.cli_regtest import regtest; regtest()"
    command = [sys.executable, "-c", program, "start", "--data-dir", str(elsewhere)]
    started = subprocess.run(command, capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stderr
    assert f"data folder   {elsewhere}" in started.stdout

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(regtest, words)
        assert result.exit_code == code, result.output
        return result.output

    try:
        found = json.loads(run("status", "--json"))  # not in the default folder: the one started last
        assert found["data_dir"] == str(elsewhere)
        assert "No regtest node runs" in run("status", "--data-dir", str(tmp_path / "empty"), code=1)
        node = RegtestNode.attach(elsewhere)
        txid = run("pay", new_address(node), "40000").strip()
        assert txid in node.rpc("getrawmempool")
        assert f"height {found['height'] + 2}" in run("mine", "2")
        assert "2040-01-01 00:00:01 UTC" in run("jump", "2040-01-01T00:00:00Z")
        assert "is not a time" in run("jump", "2040-01-01T00:00:00", code=1)
        assert "is not an address" in run("pay", MAINNET_ADDRESS, "40000", code=1)
        assert "chain time    2040-01-01" in run("status")
    finally:
        assert f"The regtest node in {elsewhere} has stopped." in run("stop")
    assert "where one was started last" in run("status", code=1)
    assert processes_of(elsewhere) == []


def test_a_start_that_is_ended_halfway_leaves_no_process(tmp_path: Path, wrapper: Path) -> None:
    slow = script(tmp_path / "bin" / "slow", f'case "$*" in *datadir*) sleep 30;; esac\nexec "{wrapper}" "$@"')
    program = "from crowdfund.cli_regtest import regtest; regtest()"
    environment = os.environ | {"CROWDFUND_BITCOIND": str(slow), "CROWDFUND_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", program, "start", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as starting:
        assert starting.stderr is not None
        assert starting.stderr.readline() == "the regtest node is starting\n"
        assert processes_of(tmp_path)
        starting.terminate()
        assert starting.wait(30) == 128 + signal.SIGTERM
    wait_until_gone(tmp_path)
