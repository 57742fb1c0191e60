"""Regtest nodes for tests: the binary found once, and small helpers around a node of one's own."""

from __future__ import annotations

import functools
import time
from pathlib import Path

from crowdfund.chain.bitcoind import find_bitcoind
from crowdfund.chain.regtest import RegtestNode


@functools.cache
def shared_binary() -> tuple[str, ...]:
    """How to run bitcoind here, found once a process (downloaded once a machine)."""
    return tuple(find_bitcoind(print))


def new_node(data_dir: Path, *extra_args: str, funded: bool = True) -> RegtestNode:
    """A fresh node in `data_dir` that ends with the test process; with a bank that can pay, if `funded`."""
    node = RegtestNode.start(
        data_dir, command=shared_binary(), extra_args=extra_args, die_with_parent=True, remember=False
    )
    if funded:
        node.fund_bank()
    return node


def new_address(node: RegtestNode, kind: str = "bech32") -> str:
    """A new address of the bank, of the kind asked for (bech32, bech32m, p2sh-segwit, legacy)."""
    return str(node.bank("getnewaddress", "", kind))


def processes_of(data_dir: Path) -> list[int]:
    """Ids of the live nodes of this data folder, whoever started them."""
    mark = f"-datadir={data_dir}/regtest-node".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if mark in words:
            found.append(int(path.parent.name))
    return found


def wait_until_gone(data_dir: Path) -> None:
    """Wait until no node of this data folder is alive; fails after ten seconds."""
    give_up = time.monotonic() + 10
    while processes_of(data_dir):
        assert time.monotonic() < give_up, "the node goes on"
        time.sleep(0.02)


def script(path: Path, text: str) -> Path:
    """Write a shell script that can be run."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def wrapper_script(path: Path) -> Path:
    """Write the bitcoind of this machine as one script, as somebody might name it in a setting."""
    return script(path, 'exec "' + '" "'.join(shared_binary()) + '" "$@"')
