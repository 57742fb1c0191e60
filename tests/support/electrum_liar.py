"""An Electrum server that lies as a test tells it to, and answers honestly else."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from crowdfund.chain.electrum import ElectrumBackend
from crowdfund.wallet.blocks import double_sha256

# The first block's header on regtest.
GENESIS = (
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3"
    "888a51323a9fb8aa4b1e5e4adae5494dffff7f2002000000"
)

Lie = Callable[[int, list[Any]], bytes | Iterable[bytes] | None]
"""(number, parameters) of a call -> bytes to send, piece by piece where they are several; None closes."""


def answer(number: int, result: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode() + b"\n"


def refusal(message: str) -> Lie:
    return lambda number, _: json.dumps({"id": number, "error": {"code": 1, "message": message}}).encode() + b"\n"


def always(result: object) -> Lie:
    return lambda number, _: answer(number, result)


HONEST: dict[str, Lie] = {
    "server.version": always(["liar 1", "1.4"]),
    "server.features": always({"genesis_hash": double_sha256(bytes.fromhex(GENESIS))[::-1].hex()}),
    "blockchain.block.header": always(GENESIS),
    "blockchain.headers.subscribe": always({"height": 0, "hex": GENESIS}),
    "blockchain.scripthash.subscribe": always(None),
    "blockchain.scripthash.get_history": always([]),
    "blockchain.relayfee": always(0.00001),
}


@contextmanager
def liar(several: Mapping[str, Lie] | None = None, *, timeout_s: float = 5, **lies: Lie) -> Iterator[ElectrumBackend]:
    """A backend on a server that answers honestly where no lie is given; `__` in a name stands for a point."""
    replies = HONEST | {name.replace("__", "."): lie for name, lie in {**(several or {}), **lies}.items()}

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            try:
                for line in self.rfile:
                    call = json.loads(line)
                    said = replies[call["method"]](call["id"], call["params"])
                    if said is None:
                        return
                    for piece in [said] if isinstance(said, bytes) else said:
                        self.wfile.write(piece)
            except (BrokenPipeError, ConnectionResetError):
                return

    class Quiet(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Quiet(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        backend = ElectrumBackend(f"tcp://127.0.0.1:{running.server_address[1]}", "regtest", timeout_s=timeout_s)
        try:
            yield backend
        finally:
            backend.close()
            running.shutdown()
