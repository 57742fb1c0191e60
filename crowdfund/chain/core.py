"""The first backend: Bitcoin Core or Knots over RPC, with blocks and headers over REST where the node offers it.

May talk to the one node it was given and to nobody else. Amounts are read as Decimal, never as float.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import random
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from crowdfund.chain.bounded_http import Line
from crowdfund.chain.port import (
    BlockRef,
    NodeStatus,
    Origin,
    Outpoint,
    SendResult,
    Sent,
    Spender,
    Unreachable,
    UnspentCoin,
    WrongAnswer,
)
from crowdfund.errors import WorldError
from crowdfund.wallet.amounts import btc_to_sats
from crowdfund.wallet.blocks import HEADER_SIZE, ParsedTx, parse_tx

TIMEOUT_S = 30
SCAN_TIMEOUT_S = 900
SCAN_TURN_S = 20
USUAL_FLOOR = Decimal("0.00001")  # BTC/kvB, which is 1 sat/vB
BATCH = 500
REST_HEADERS = 2_000
REST_PAUSE_S = 60
THIS_MACHINE = ("127.0.0.1", "::1", "localhost")
IN_WARMUP = -28
NO_BLOCK_DATA = -1
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
    """One node. One connection a thread; the cookie is read anew at each connection, as it changes at each start.

    `believed`: take the transactions of its blocks as they are; by default where it runs on this machine.
    """

    def __init__(
        self,
        url: str,
        cookie_file: Path | None = None,
        password: str | None = None,
        timeout_s: float = TIMEOUT_S,
        believed: bool | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._timeout_s = timeout_s
        self.again = partial(CoreBackend, url, cookie_file, password)  # another connection, also in another process
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 8332
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self._cookie_file = cookie_file
        self._password = password
        if parts.username:
            self._password = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        self._local = threading.local()
        self._asked = 0
        self._rest_from = 0.0  # when REST may be tried (again)
        self.believed = self._host in THIS_MACHINE if believed is None else believed

    @property
    def name(self) -> str:
        """See the port."""
        return f"node at {self._host}:{self._port}"

    def status(self) -> NodeStatus:
        """See the port. A node that is still loading raises a retryable WorldError."""
        with self._understood():
            genesis, info = self.call_many([("getblockhash", [0]), ("getblockchaininfo", [])])
            return NodeStatus(
                genesis_hash=str(genesis),
                height=int(info["blocks"]),
                headers=int(info["headers"]),
                tip_hash=str(info["bestblockhash"]),
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

    def headers(self, first_height: int, count: int) -> list[bytes]:
        """See the port."""
        found: list[bytes] = []
        while len(found) < count and (start := self.block_hash(first_height + len(found))) is not None:
            raw = self._rest(f"/rest/headers/{start}.bin?count={min(count - len(found), REST_HEADERS)}")
            if raw is None:
                return self._headers_by_rpc(first_height, count)
            if not raw or len(raw) % HEADER_SIZE:
                raise WrongAnswer(f"The {self.name} sent headers of a strange length.")
            found += [raw[i : i + HEADER_SIZE] for i in range(0, len(raw), HEADER_SIZE)]
        return found

    def block_refs(self, hashes: Sequence[str]) -> list[BlockRef]:
        """The blocks that these hashes name, in the same order, as the node tells of them."""
        answers = self.call_many([("getblockheader", [h]) for h in hashes])
        with self._understood():
            return [
                BlockRef(a["height"], a["hash"], a.get("previousblockhash", ""), a["time"], a["mediantime"])
                for a in answers
            ]

    def block_hashes(self, heights: Sequence[int]) -> list[str]:
        """Hashes of the best chain's blocks at these heights. Raises RpcError above the tip."""
        return [str(h) for h in self.call_many([("getblockhash", [h]) for h in heights])]

    def block(self, block_hash: str) -> bytes:
        """See the port."""
        raw = self._rest(f"/rest/block/{block_hash}.bin")
        if raw is not None:
            return raw
        try:
            with self._understood():
                return bytes.fromhex(self.call("getblock", block_hash, 0))
        except RpcError as error:
            if "pruned" not in error.message:
                raise
            raise WorldError(
                f"The {self.name} has deleted block {block_hash} (it is pruned) before it was read here. "
                "Watch through a node that has it, or let this one fetch it again with getblockfrompeer."
            ) from error

    def mempool_txids(self) -> list[str]:
        """See the port."""
        with self._understood():
            return [str(txid) for txid in self.call("getrawmempool")]

    def mempool_transactions(self, txids: Sequence[str]) -> dict[str, bytes]:
        """See the port."""
        found = {}
        for txid, answer in zip(txids, self._batch([("getrawtransaction", [t]) for t in txids]), strict=True):
            if answer["error"] is None:
                with self._understood():
                    found[txid] = bytes.fromhex(answer["result"])
            elif answer["error"]["code"] != NOT_FOUND:
                raise _rpc_error(answer)
        # A node that indexes transactions finds those of blocks, too, even of blocks that a reorganisation undid.
        held = self._batch([("getmempoolentry", [txid]) for txid in found])
        return {txid: raw for (txid, raw), answer in zip(found.items(), held, strict=True) if answer["error"] is None}

    def unspent(self, scripts: Sequence[bytes]) -> tuple[str, list[UnspentCoin]]:
        """See the port. The node reads its whole set of unspent outputs: quick on regtest, minutes on mainnet."""
        patient = self.again(timeout_s=SCAN_TIMEOUT_S)
        try:
            with self._understood():
                found = _scan(patient, [f"raw({script.hex()})" for script in scripts])
                return str(found["bestblock"]), [_unspent(output) for output in found["unspents"]]
        finally:
            patient.close()

    def spenders(self, outpoints: Sequence[Outpoint]) -> dict[Outpoint, Spender]:
        """See the port. A node knows the unconfirmed ones only; that they spend is checked. One that it does not have,
        be it replaced since, is left out."""
        if not outpoints:
            return {}
        with self._understood():
            answer = self.call("gettxspendingprevout", [{"txid": txid, "vout": vout} for txid, vout in outpoints])
            told = {(str(a["txid"]), int(a["vout"])): a.get("spendingtxid") for a in answer}
            found = {o: str(told[o]) for o in outpoints if told.get(o) is not None}
            held = self.mempool_transactions(sorted(set(found.values())))
            spent = {txid: tx.spends if (tx := parse_tx(raw)).txid == txid else () for txid, raw in held.items()}
        if any(txid in held and outpoint not in spent[txid] for outpoint, txid in found.items()):
            raise WrongAnswer(f"The {self.name} told of a spending transaction that does not spend.")
        return {outpoint: Spender(txid, None) for outpoint, txid in found.items() if txid in held}

    def origin(self, tx: ParsedTx, block_hash: str, script: bytes) -> Origin | None:
        """See the port. The node keeps what the transactions of its blocks spend, whether it indexes them or not; the
        transaction that made the output it may have pruned. What shows "none" would then be the node's word alone, and
        is never asked for again: it says it twice."""
        with self._understood():
            told, again = self.call_many([("getrawtransaction", [tx.txid, 2, block_hash])] * 2)
            if told["vin"] != again["vin"]:
                raise ValueError("two answers to one question")
            for spent in told["vin"]:
                before = spent.get("prevout")
                if before is not None and bytes.fromhex(before["scriptPubKey"]["hex"]) == script:
                    return Origin(self._maker(str(spent["txid"]), int(before["height"])))
        return None

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
        with self._understood():
            rate = self.call("estimatesmartfee", target_blocks).get("feerate")
            pool = self.call("getmempoolinfo")
            floor = max(Decimal(pool["mempoolminfee"]), Decimal(pool["minrelaytxfee"]))
            if rate is None and floor <= USUAL_FLOOR:
                return None
            return math.ceil(max(Decimal(rate or 0), floor) * 100_000_000 / 1000)

    def close(self) -> None:
        """Close this thread's connection."""
        held: tuple[Line, dict[str, str]] | None = getattr(self._local, "line", None)
        if held is not None:
            held[0].close()
            self._local.line = None

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

    def _maker(self, txid: str, height: int) -> bytes | None:
        """The transaction in the block at this height, None where the node has pruned it."""
        try:
            raw = bytes.fromhex(self.call("getrawtransaction", txid, False, self.call("getblockhash", height)))
        except RpcError as error:
            if error.code != NO_BLOCK_DATA:
                raise
            return None
        if parse_tx(raw).txid != txid:
            raise ValueError("another transaction than the one asked for")
        return raw

    def _headers_by_rpc(self, first_height: int, count: int) -> list[bytes]:
        """As `headers`, two questions for each of them, many at once."""
        hashes = []
        for answer in self._batch([("getblockhash", [h]) for h in range(first_height, first_height + count)]):
            if answer["error"] is not None and answer["error"]["code"] == BAD_PARAMETER:
                break  # the tip was the one before
            if answer["error"] is not None:
                raise _rpc_error(answer)
            hashes.append(answer["result"])
        with self._understood():
            return [bytes.fromhex(h) for h in self.call_many([("getblockheader", [h, False]) for h in hashes])]

    def _rest(self, path: str) -> bytes | None:
        """The node's answer over REST, None where it has none: REST is off, the block is pruned, the node starts.

        RPC is asked then, which says why. REST is tried again a while later.
        """
        if time.monotonic() < self._rest_from:
            return None
        status, body = self._request("GET", path, None)
        if status == 200:
            return body
        self._rest_from = time.monotonic() + REST_PAUSE_S
        return None

    def _batch(self, calls: Sequence[tuple[str, list[object]]]) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        for start in range(0, len(calls), BATCH):
            part = calls[start : start + BATCH]
            # No number is used twice: an answer that comes late must not pass for the one to a later question.
            first, self._asked = self._asked, self._asked + len(part)
            body = json.dumps([{"id": i, "method": m, "params": p} for i, (m, p) in enumerate(part, first)])
            status, raw = self._request("POST", "/", body.encode())
            if status == 401:
                self.close()  # the next connection reads the cookie anew
            try:
                answers += _read_answers(status, raw, range(first, first + len(part)))
            except WrongAnswer:
                self.close()  # it may belong to an earlier question, and so would all that follow
                raise
        return answers

    def _request(self, verb: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Send once, and once more on a fresh connection if the old one had been closed meanwhile."""
        for fresh in (False, True):
            line, headers = self._line(fresh)
            line.clock.ends_at = time.monotonic() + self._timeout_s
            try:
                with closing(line.send(verb, path, body, headers)) as response:
                    return response.status, response.read()
            except (http.client.HTTPException, OSError) as error:
                self.close()
                if fresh or isinstance(error, TimeoutError):
                    raise Unreachable(f"The {self.name} does not answer.") from error
        raise AssertionError("unreachable")

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """What is read within comes from the node: a result of another shape is its fault and can be asked for again.
        It may have been the answer to an earlier question, so the connection ends with it."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            self.close()
            raise WrongAnswer("The node's answer is not what was asked for.") from error

    def _line(self, fresh: bool) -> tuple[Line, dict[str, str]]:
        """This thread's connection, unless something lies in it that nobody asked for: it would be taken for the next
        answer, and every answer for one to another question."""
        held: tuple[Line, dict[str, str]] | None = getattr(self._local, "line", None)
        if held is None or fresh or held[0].is_stale():
            self.close()
            token = base64.b64encode(self._credentials().encode()).decode()
            headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
            held = self._local.line = (Line(self._host, self._port, self._context), headers)
        return held

    def _credentials(self) -> str:
        if self._password is not None:
            return self._password
        try:
            return self._cookie_file.read_text().strip() if self._cookie_file else ""
        except OSError as error:
            raise Unreachable(
                f"The node's cookie file {self._cookie_file} cannot be read: is the node running?"
            ) from error


def _read_answers(status: int, raw: bytes, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """The answers in the order of the calls, each with a `result` and an `error` that is None or has a code."""
    if status == 401:
        raise WorldError("The node refuses our password or cookie.", retryable=True)
    try:
        answers = json.loads(raw, parse_float=Decimal, parse_constant=Decimal)
        if isinstance(answers, dict):  # a node in warm-up answers a batch with one error
            answers = [{**answers, "id": i} for i in numbers]
        by_id = {answer["id"]: answer for answer in answers}
        ordered = [by_id[i] for i in numbers]
        for answer in ordered:
            if answer["error"] is None:
                answer["result"]
            else:
                _rpc_error(answer)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WrongAnswer(f"The node answered with status {status}, and not as a node does.") from error
    if len(answers) != len(numbers):
        raise WrongAnswer("The node gave another number of answers than it was asked for.")
    return ordered


def _scan(node: CoreBackend, descriptors: list[str]) -> Any:
    """A node scans for one asker at a time; whoever comes second waits a while."""
    give_up = time.monotonic() + SCAN_TURN_S
    while True:
        try:
            return node.call("scantxoutset", "start", descriptors)
        except RpcError as error:
            if error.code != BAD_PARAMETER or "in progress" not in error.message or time.monotonic() > give_up:
                raise
            time.sleep(random.uniform(0.05, 0.3))


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
