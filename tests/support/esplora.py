"""A stand-in Esplora server over a regtest node, for tests: no real one can be run here.

Written from the published description of the API: the same paths, content types, status codes and plain-text errors.
It reads the node and hands it broadcasts; it touches nothing else.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from crowdfund.chain.local_rpc import RpcError
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import WorldError
from support.esplora_index import Index, sats

Answer = tuple[int, str, bytes]
TARGETS = (*range(1, 26), 144, 504, 1008)
MEMPOOL_PAGE, CHAIN_PAGE = 50, 25
BIN_VSIZE = 50_000
NO_BLOCK, NO_TX = "Block not found", "Transaction not found"


class Refused(Exception):
    """An answer that is an error: status and words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


class EsploraServer:
    """`with EsploraServer(node) as server:` listens at `server.url` on a free port of this machine.

    `hook`, where a test sets it, gets each (path, answer) and gives the answer to send: a server that lies.
    """

    def __init__(self, node: RegtestNode) -> None:
        self.index = Index(node)
        self.asked: list[str] = []
        self.hook: Callable[[str, Answer], Answer] | None = None
        self._node = node

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/regtest/api"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, verb: str, path: str, body: bytes) -> Answer:
        """The answer to one question: status, content type, body."""
        self.asked.append(f"{verb} {path}")
        told = self.truth(verb, path, body)
        return self.hook(path, told) if self.hook else told

    def truth(self, verb: str, path: str, body: bytes = b"") -> Answer:
        """The answer before any `hook`."""
        try:
            return self._broadcast(body) if (verb, path) == ("POST", "/tx") else self._look_up(verb, path)
        except Refused as refused:
            return refused.status, "text/plain", refused.words.encode()
        except WorldError as error:  # the node is away
            return 503, "text/plain", str(error).encode()

    def _look_up(self, verb: str, path: str) -> Answer:
        for pattern, method in ROUTES if verb == "GET" else ():
            match = re.fullmatch(pattern, path)
            if match:
                with self.index.now() as index:
                    return method(index, *match.groups())
        raise Refused(404, f'endpoint does not exist "{path}"')

    def _broadcast(self, body: bytes) -> Answer:
        try:
            return _text(self._node.rpc("sendrawtransaction", body.decode("utf-8")))
        except RpcError as error:
            told = json.dumps({"code": error.code, "message": error.reason}, separators=(",", ":"))
            raise Refused(400, f"sendrawtransaction RPC error: {told}") from error
        except UnicodeDecodeError as error:
            raise Refused(400, "invalid utf-8 sequence") from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True


def _handler(esplora: EsploraServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._send("GET", b"")

        def do_POST(self) -> None:
            self._send("POST", self.rfile.read(int(self.headers["Content-Length"])))

        def _send(self, verb: str, body: bytes) -> None:
            if not self.path.startswith("/regtest/api/"):
                status, kind, raw = 404, "text/plain", b"no such place"
            else:
                status, kind, raw = esplora.answer(verb, self.path.removeprefix("/regtest/api"), body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler


def _text(words: object) -> Answer:
    return 200, "text/plain", str(words).encode()


def _json(value: object) -> Answer:
    return 200, "application/json", json.dumps(value, separators=(",", ":"), default=_number).encode()


def _number(value: object) -> object:
    """Difficulties and feerates, which Decimal holds here, are written as plain numbers."""
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    raise TypeError


def _hash(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise Refused(400, "Invalid hex string")
    return text.lower()


def _numeral(text: str) -> int:
    if not re.fullmatch(r"\+?[0-9]{1,19}", text):
        raise Refused(400, "Invalid number")
    return int(text)


def _script_hash(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise Refused(400, "Invalid scripthash")
    return text.lower()


def _script_of(index: Index, kind: str, text: str) -> str:
    if kind == "scripthash":
        return _script_hash(text)
    told = index.node.rpc("validateaddress", text)
    if not told["isvalid"]:
        raise Refused(400, "Invalid address")
    return sha256(bytes.fromhex(told["scriptPubKey"])).hexdigest()


def _best(index: Index, text: str) -> Any:
    """The block of the best chain that has this hash."""
    height = index.heights.get(_hash(text))
    if height is None:
        raise Refused(404, NO_BLOCK)
    return index.blocks[height]


def _any_block(index: Index, text: str, detail: int) -> Any:
    """A block of the best chain or of another one, as the node tells of it."""
    try:
        return index.node.rpc("getblock", _hash(text), detail)
    except RpcError as error:
        raise Refused(404, NO_BLOCK) from error


def _known(index: Index, text: str) -> Any:
    tx = index.known(_hash(text))
    if tx is None:
        raise Refused(404, NO_TX)
    return tx


def _at_height(index: Index, text: str) -> Answer:
    height = _numeral(text)
    if height >= len(index.blocks):
        raise Refused(404, NO_BLOCK)
    return _text(index.blocks[height]["hash"])


def _block(index: Index, text: str) -> Answer:
    block = _best(index, text)
    return _json(
        {
            "id": block["hash"],
            "height": block["height"],
            "version": block["version"],
            "timestamp": block["time"],
            "tx_count": block["nTx"],
            "size": block["size"],
            "weight": block["weight"],
            "merkle_root": block["merkleroot"],
            "previousblockhash": block.get("previousblockhash"),
            "mediantime": block["mediantime"],
            "nonce": block["nonce"],
            "bits": int(block["bits"], 16),
            "difficulty": block["difficulty"],
        }
    )


def _block_status(index: Index, text: str) -> Answer:
    height = index.heights.get(_hash(text))
    if height is None:
        return _json({"in_best_chain": False, "height": None, "next_best": None})
    next_best = index.blocks[height + 1]["hash"] if height + 1 < len(index.blocks) else None
    return _json({"in_best_chain": True, "height": height, "next_best": next_best})


def _header(index: Index, text: str) -> Answer:
    return _text(index.node.rpc("getblockheader", _best(index, text)["hash"], False))


def _raw_block(index: Index, text: str) -> Answer:
    return 200, "application/octet-stream", bytes.fromhex(_any_block(index, text, 0))


def _raw_tx(index: Index, text: str) -> Answer:
    return 200, "application/octet-stream", bytes.fromhex(_known(index, text)["hex"])


def _proof(index: Index, text: str) -> Answer:
    proof = index.merkle_proof(_hash(text))
    if proof is None:
        raise Refused(404, "Transaction not found or is unconfirmed")
    return _json(proof)


def _outspends(index: Index, text: str) -> Answer:
    tx = _known(index, text)
    return _json([index.outspend((tx["txid"], out["n"])) for out in tx["vout"]])


def _stats(index: Index, kind: str, text: str) -> Answer:
    return _json({kind: text, **index.stats(_script_of(index, kind, text))})


def _txs(index: Index, kind: str, text: str, part: str) -> Answer:
    unconfirmed, confirmed = index.history(_script_of(index, kind, text))
    shown = [] if part == "/chain" else unconfirmed[:MEMPOOL_PAGE]
    shown += [] if part == "/mempool" else confirmed[:CHAIN_PAGE]
    return _json([index.tx(txid) for txid in shown])


def _mempool(index: Index) -> Answer:
    entries = index.node.rpc("getrawmempool", True).values()
    rated = sorted(((sats(e["fees"]["base"]) / Decimal(e["vsize"]), e["vsize"]) for e in entries), reverse=True)
    histogram: list[tuple[Decimal, int]] = []
    waiting, last = 0, Decimal(0)
    for rate, vsize in rated:
        if waiting > BIN_VSIZE and rate != last:
            histogram.append((last, waiting))
            waiting = 0
        last, waiting = rate, waiting + vsize
    histogram += [(last, waiting)] if waiting else []
    return _json(
        {
            "count": len(rated),
            "vsize": sum(vsize for _, vsize in rated),
            "total_fee": sum(sats(e["fees"]["base"]) for e in entries),
            "fee_histogram": histogram,
        }
    )


def _fee_estimates(index: Index) -> Answer:
    rates = {t: index.node.rpc("estimatesmartfee", t).get("feerate") for t in TARGETS}
    return _json({str(t): rate * 100_000 for t, rate in rates.items() if rate is not None})


ROUTES: tuple[tuple[str, Callable[..., Answer]], ...] = (
    ("/blocks/tip/hash", lambda i: _text(i.blocks[-1]["hash"])),
    ("/blocks/tip/height", lambda i: _text(len(i.blocks) - 1)),
    ("/block-height/([^/]+)", _at_height),
    ("/block/([^/]+)", _block),
    ("/block/([^/]+)/status", _block_status),
    ("/block/([^/]+)/header", _header),
    ("/block/([^/]+)/raw", _raw_block),
    ("/block/([^/]+)/txids", lambda i, h: _json(_any_block(i, h, 1)["tx"])),
    ("/tx/([^/]+)", lambda i, t: _json(i.tx(_known(i, t)["txid"]))),
    ("/tx/([^/]+)/raw", _raw_tx),
    ("/tx/([^/]+)/hex", lambda i, t: _text(_known(i, t)["hex"])),
    ("/tx/([^/]+)/status", lambda i, t: _json(i.status(_hash(t)))),
    ("/tx/([^/]+)/merkle-proof", _proof),
    ("/tx/([^/]+)/outspend/([^/]+)", lambda i, t, n: _json(i.outspend((_hash(t), _numeral(n))))),
    ("/tx/([^/]+)/outspends", _outspends),
    ("/(address|scripthash)/([^/]+)", _stats),
    ("/(address|scripthash)/([^/]+)/txs(|/chain|/mempool)", _txs),
    ("/(address|scripthash)/([^/]+)/utxo", lambda i, k, h: _json(i.utxo(_script_of(i, k, h)))),
    ("/mempool", _mempool),
    ("/mempool/txids", lambda i: _json(i.mempool)),
    ("/fee-estimates", _fee_estimates),
)
