"""The first backend: Bitcoin Core or Knots over RPC, with whole blocks over REST where the node offers it.

May talk to the one node it was given and to nobody else. Amounts are read as Decimal, never as float.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from crowdfund.chain.port import BlockRef, NodeStatus, SendResult, Sent, UnspentCoin
from crowdfund.errors import WorldError
from crowdfund.wallet.amounts import btc_to_sats

TIMEOUT_S = 30
SCAN_TIMEOUT_S = 900
USUAL_FLOOR = Decimal("0.00001")  # BTC/kvB, which is 1 sat/vB
BATCH = 500
IN_WARMUP = -28
NOT_FOUND = -5
BAD_PARAMETER = -8
MISSING_INPUTS = -25
REJECTED = -26
ALREADY_IN_CHAIN = -27


class RpcError(WorldError):
    """The node answered with an error. `code` is Core's RPC error code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"The node said: {message} ({code}).", retryable=code == IN_WARMUP)
        self.code = code
        self.message = message


class CoreBackend:
    """One node. One connection a thread; the cookie is read anew at each connection, as it changes at each start."""

    def __init__(
        self, url: str, cookie_file: Path | None = None, password: str | None = None, timeout_s: int = TIMEOUT_S
    ) -> None:
        parts = urlsplit(url)
        self._url = url
        self._timeout_s = timeout_s
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 8332
        self._cookie_file = cookie_file
        self._password = password
        if parts.username:
            self._password = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        self._local = threading.local()
        self._rest = True

    def status(self) -> NodeStatus:
        """See the port. A node that is still loading raises a retryable WorldError."""
        with _understood():
            info = self.call("getblockchaininfo")
            return NodeStatus(
                genesis_hash=str(self.call("getblockhash", 0)),
                height=int(info["blocks"]),
                headers=int(info["headers"]),
                tip_hash=str(info["bestblockhash"]),
                median_time_past=int(info["mediantime"]),
                synced=info["blocks"] >= info["headers"]
                and (not info["initialblockdownload"] or info["chain"] == "regtest"),
            )

    def block_hash(self, height: int) -> str | None:
        """See the port."""
        try:
            return str(self.call("getblockhash", height))
        except RpcError as error:
            if error.code == BAD_PARAMETER:
                return None
            raise

    def block_refs(self, hashes: Sequence[str]) -> list[BlockRef]:
        """See the port."""
        answers = self.call_many([("getblockheader", [h]) for h in hashes])
        with _understood():
            return [
                BlockRef(a["height"], a["hash"], a.get("previousblockhash", ""), a["time"], a["mediantime"])
                for a in answers
            ]

    def block_hashes(self, heights: Sequence[int]) -> list[str]:
        """Hashes of the best chain's blocks at these heights. Raises RpcError above the tip."""
        return [str(h) for h in self.call_many([("getblockhash", [h]) for h in heights])]

    def block(self, block_hash: str) -> bytes:
        """See the port."""
        if self._rest:
            status, body = self._request("GET", f"/rest/block/{block_hash}.bin", None)
            if status == 200:
                return body
            self._rest = False  # REST is off or the node pruned: RPC says which
        with _understood():
            return bytes.fromhex(self.call("getblock", block_hash, 0))

    def mempool_txids(self) -> list[str]:
        """See the port."""
        with _understood():
            return [str(txid) for txid in self.call("getrawmempool")]

    def mempool_transactions(self, txids: Sequence[str]) -> dict[str, bytes]:
        """See the port."""
        found = {}
        for txid, answer in zip(txids, self._batch([("getrawtransaction", [t]) for t in txids]), strict=True):
            if answer["error"] is None:
                with _understood():
                    found[txid] = bytes.fromhex(answer["result"])
            elif answer["error"]["code"] != NOT_FOUND:
                raise _rpc_error(answer)
        return found

    def unspent(self, scripts: Sequence[bytes]) -> tuple[str, list[UnspentCoin]]:
        """See the port. The node reads its whole set of unspent outputs: quick on regtest, minutes on mainnet."""
        patient = CoreBackend(self._url, self._cookie_file, self._password, timeout_s=SCAN_TIMEOUT_S)
        try:
            with _understood():
                found = patient.call("scantxoutset", "start", [f"raw({script.hex()})" for script in scripts])
                return str(found["bestblock"]), [_unspent(output) for output in found["unspents"]]
        finally:
            patient.close()

    def broadcast(self, raw: bytes) -> SendResult:
        """See the port. "Already known" is success; a time-out is raised and means nothing about payment."""
        try:
            self.call("sendrawtransaction", raw.hex())
        except RpcError as error:
            if error.code == ALREADY_IN_CHAIN or "already" in error.message:
                return SendResult(Sent.KNOWN)
            if error.code == MISSING_INPUTS:
                return SendResult(Sent.INPUTS_GONE, error.message)
            if error.code == REJECTED:
                return SendResult(Sent.REFUSED, error.message)
            raise
        return SendResult(Sent.ACCEPTED)

    def feerate_sat_vb(self, target_blocks: int) -> int | None:
        """See the port."""
        with _understood():
            rate = self.call("estimatesmartfee", target_blocks).get("feerate")
            pool = self.call("getmempoolinfo")
            floor = max(Decimal(pool["mempoolminfee"]), Decimal(pool["minrelaytxfee"]))
            if rate is None and floor <= USUAL_FLOOR:
                return None
            return math.ceil(max(Decimal(rate or 0), floor) * 100_000_000 / 1000)

    def close(self) -> None:
        """Close this thread's connection."""
        held = getattr(self._local, "connection", None)
        if held is not None:
            held[0].close()
            self._local.connection = None

    def call(self, method: str, *params: object) -> Any:
        """One RPC call. Raises RpcError for the node's own refusals, WorldError where it cannot be reached."""
        return self.call_many([(method, list(params))])[0]

    def call_many(self, calls: Sequence[tuple[str, list[object]]]) -> list[Any]:
        """Many calls in few requests; the first error is raised."""
        answers = self._batch(calls)
        for answer in answers:
            if answer["error"] is not None:
                raise _rpc_error(answer)
        return [answer["result"] for answer in answers]

    def _batch(self, calls: Sequence[tuple[str, list[object]]]) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        for start in range(0, len(calls), BATCH):
            part = calls[start : start + BATCH]
            body = json.dumps([{"id": i, "method": m, "params": p} for i, (m, p) in enumerate(part)])
            status, raw = self._request("POST", "/", body.encode())
            if status == 401:
                self.close()  # the next connection reads the cookie anew
            answers += _read_answers(status, raw, len(part))
        return answers

    def _request(self, verb: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Send once, and once more on a fresh connection if the old one had been closed meanwhile."""
        for fresh in (False, True):
            connection, headers = self._connection(fresh)
            try:
                connection.request(verb, path, body, headers)
                response = connection.getresponse()
                return response.status, response.read()
            except (http.client.HTTPException, OSError) as error:
                self._local.connection = None
                connection.close()
                if fresh:
                    raise WorldError(f"The node at {self._host}:{self._port} does not answer.") from error
        raise AssertionError("unreachable")

    def _connection(self, fresh: bool) -> tuple[http.client.HTTPConnection, dict[str, str]]:
        held = getattr(self._local, "connection", None)
        if held is None or fresh:
            token = base64.b64encode(self._credentials().encode()).decode()
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
            held = (connection, {"Authorization": f"Basic {token}", "Content-Type": "application/json"})
            self._local.connection = held
        return held[0], held[1]

    def _credentials(self) -> str:
        if self._password is not None:
            return self._password
        try:
            return self._cookie_file.read_text().strip() if self._cookie_file else ""
        except OSError as error:
            raise WorldError(
                f"The node's cookie file {self._cookie_file} cannot be read: is the node running?"
            ) from error


def _read_answers(status: int, raw: bytes, count: int) -> list[dict[str, Any]]:
    """The answers in the order of the calls, each with a `result` and an `error` that is None or has a code."""
    if status == 401:
        raise WorldError("The node refuses our password or cookie.", retryable=True)
    try:
        answers = json.loads(raw, parse_float=Decimal, parse_constant=Decimal)
        if isinstance(answers, dict):  # a node in warm-up answers a batch with one error
            answers = [{**answers, "id": i} for i in range(count)]
        by_id = {answer["id"]: answer for answer in answers}
        ordered = [by_id[i] for i in range(count)]
        for answer in ordered:
            if answer["error"] is None:
                answer["result"]
            else:
                _rpc_error(answer)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WorldError(f"The node answered with status {status}, and not as a node does.") from error
    if len(answers) != count:
        raise WorldError("The node gave another number of answers than it was asked for.")
    return ordered


def _unspent(output: dict[str, Any]) -> UnspentCoin:
    return UnspentCoin(
        txid=str(output["txid"]),
        vout=int(output["vout"]),
        value_sats=btc_to_sats(output["amount"]),
        script=bytes.fromhex(output["scriptPubKey"]),
        coinbase=bool(output["coinbase"]),
        height=int(output["height"]),
    )


def _rpc_error(answer: dict[str, Any]) -> RpcError:
    return RpcError(int(answer["error"]["code"]), str(answer["error"]["message"]))


@contextmanager
def _understood() -> Iterator[None]:
    """What is read within comes from the node: a result of another shape is its fault and can be asked for again."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise WorldError("The node's answer is not what was asked for.") from error
