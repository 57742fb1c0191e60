"""The Electrum backend: an ElectrumX, Fulcrum or electrs server that knows the history of each script.

May talk to the one server it was given, which learns every script it is asked about. Hashes of headers and
transactions are reckoned here; what cannot be reckoned from an answer is left to who calls. Amounts are read as
Decimal, never as float.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crowdfund.chain.electrum_client import Call, Connection, Refused, Server
from crowdfund.chain.electrum_watch import HISTORY, Watch, not_refused, read_history, results, scripthash_of
from crowdfund.chain.port import (
    HistoryItem,
    NodeStatus,
    Origin,
    Outpoint,
    SendResult,
    Sent,
    Spender,
    UnspentCoin,
    WrongAnswer,
)
from crowdfund.errors import UserError
from crowdfund.wallet.blocks import HEADER_SIZE, MERKLE_ROOT, ParsedTx, double_sha256, parse_tx
from crowdfund.wallet.cancellation import spending
from crowdfund.wallet.merkle import check_branch, could_be_node, verify_branch
from crowdfund.wallet.networks import NETWORKS

TIMEOUT_S = 20.0
CLIENT = "crowdfund"
PROTOCOL = "1.4"
HEADERS_AT_ONCE = 2016
TIP_TRIES = 10
TIP_PAUSE_S = 0.05
NEWEST = 200  # of a script's transactions, where the one is sought that spends a coin
USUAL_FLOOR = Decimal("0.00001")  # BTC/kvB, which is 1 sat/vB

TIP: Call = ("blockchain.headers.subscribe", [])
HEADER = "blockchain.block.header"
HEADERS = "blockchain.block.headers"
TRANSACTION = "blockchain.transaction.get"

_UNKNOWN = re.compile("no such|not found|missing", re.IGNORECASE)
# What the server's node said of a broadcast; other errors are the server's own and say nothing about payment.
_VERDICT = re.compile("rejected by network rules|sendrawtransaction", re.IGNORECASE)
_KNOWN = re.compile("already|outputs in utxo set|same-nonwitness-data-in-mempool", re.IGNORECASE)
_INPUTS_GONE = re.compile("missingorspent|missing.?inputs", re.IGNORECASE)


def _silent(_done: int, _total: int) -> None:
    """Progress that nobody wants to see."""


class ElectrumBackend:
    """One server over one connection, made at the first question and after each trouble. Threads take turns.

    `url` is `ssl://host:port` or `tcp://host:port`; raises UserError for any other. With TLS the certificate is
    always checked, against `ca_file` where one is given. `progress` hears (done, all) while many scripts are
    subscribed to.
    """

    def __init__(self, url: str, network: str, ca_file: Path | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._server = _read_url(url, ca_file, timeout_s)
        self._network = NETWORKS[network]
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._watch = Watch()
        self._height = 0  # of the last tip, to ask for it and its header in one go
        self.progress: Callable[[int, int], None] = _silent

    @property
    def name(self) -> str:
        """See the port."""
        return self._server.name

    def status(self) -> NodeStatus:
        """See the port. The header is read by its height, too: the one that is announced may be from before a
        reorganisation that the server has read meanwhile."""
        with self._question() as ask:
            for _ in range(TIP_TRIES):
                told, header = ask.ask([TIP, (HEADER, [self._height])])
                asked, self._height = self._height, _tip_height(told)
                if asked == self._height and not isinstance(header, Refused):
                    tip = _hash(_read_header(header))
                    return NodeStatus(self._network.genesis, asked, asked, tip, synced=True)
                if asked == self._height:
                    time.sleep(TIP_PAUSE_S)
        raise WrongAnswer(f"The {self.name} is between two branches of its chain.")

    def block_hash(self, height: int) -> str | None:
        """See the port."""
        with self._question() as ask:
            (answer,) = ask.ask([(HEADER, [height])])
            if isinstance(answer, Refused):
                if height > _tip_height(*results(ask, [TIP])):
                    return None
                raise answer
            return _hash(_read_header(answer))

    def headers(self, first_height: int, count: int) -> list[bytes]:
        """See the port."""
        found: list[bytes] = []
        while len(found) < count:
            part = self._headers_from(first_height + len(found), min(count - len(found), HEADERS_AT_ONCE))
            if not part:
                break
            found += part
        return found

    def watch(self, scripts: Collection[bytes]) -> None:
        """See the port. About a thousand a second; what fails is made good by the next call."""
        with self._lock:
            self._watch.add(scripts)
            with self._question() as ask:
                self._watch.subscribe(ask, self.progress)

    def histories(self) -> Mapping[bytes, tuple[HistoryItem, ...]]:
        """See the port."""
        with self._question() as ask:
            self._watch.subscribe(ask, self.progress)
            self._watch.refresh(ask)
            return self._watch.histories()

    def transactions(self, txids: Sequence[str]) -> dict[str, bytes]:
        """See the port."""
        return {txid: raw for txid, (raw, _) in self._transactions(txids).items()}

    def proofs(self, items: Sequence[HistoryItem]) -> list[tuple[list[str], int]]:
        """See the port. Raises Refused where one of them is not in that block (any more)."""
        with self._question() as ask:
            calls: list[Call] = [("blockchain.transaction.get_merkle", [i.txid, i.height]) for i in items]
            return [_read_branch(answer) for answer in results(ask, calls)]

    def unspent(self, scripts: Sequence[bytes]) -> tuple[str, list[UnspentCoin]]:
        """See the port. Reckoned from the confirmed part of each history, every coin proven by its block's header;
        the server's own list of unspent outputs lacks those that an unconfirmed transaction spends."""
        before = self.status()
        histories = self._histories_of(list(dict.fromkeys(scripts)))
        heights = {i.txid: i.height for items in histories for i in items if 0 < i.height <= before.height}
        known = self._transactions(list(heights))
        if len(known) != len(heights):
            raise WrongAnswer(f"The {self.name} does not know transactions that it told of.")
        coins = _unspent(set(scripts), heights, {txid: tx for txid, (_, tx) in known.items()})
        proven = {coin.txid for coin in coins}
        self._prove([HistoryItem(t, h) for t, h in heights.items() if t in proven], {t: known[t][0] for t in proven})
        after = self.status()
        if (after.height, after.tip_hash) != (before.height, before.tip_hash):
            raise WrongAnswer("The chain moved while the coins were counted; count again.")
        return before.tip_hash, coins

    def spenders(self, outpoints: Sequence[Outpoint]) -> dict[Outpoint, Spender]:
        """See the port. Sought among the newest 200 transactions of each script; that they spend, and where, is proved.
        One whose block nothing can prove counts as unconfirmed: whoever mines one must not make us wait for ever."""
        makers = self._transactions(list({txid for txid, _ in outpoints}))
        scripts = {
            (txid, vout): makers[txid][1].outputs[vout][1]
            for txid, vout in outpoints
            if txid in makers and vout < len(makers[txid][1].outputs)
        }
        wanted = list(dict.fromkeys(scripts.values()))
        newest = [_newest(items) for items in self._histories_of(wanted)]
        heights = {i.txid: i.height for items in newest for i in items}
        known = self._transactions(list(heights))
        found = {}
        for txid, (raw, tx) in known.items():
            height = heights[txid] if heights[txid] > 0 and not could_be_node(raw, txid) else None
            found.update({spent: Spender(txid, height) for spent in tx.spends if spent in scripts})
        placed = {HistoryItem(s.txid, s.height) for s in found.values() if s.height is not None}
        if placed:
            self._prove(list(placed), {item.txid: known[item.txid][0] for item in placed})
        return found

    def origin(self, tx: ParsedTx, block_hash: str, script: bytes) -> Origin | None:
        """See the port. Each transaction comes whole and is checked against its txid."""
        makers = list(self.transactions(list(dict.fromkeys(txid for txid, _ in tx.spends))).values())
        if len(makers) != len({txid for txid, _ in tx.spends}):
            raise WrongAnswer(f"The {self.name} does not know transactions that a block's transaction spends.")
        raw = spending(tx, makers, script)
        return None if raw is None else Origin(raw)

    def broadcast(self, raw: bytes) -> SendResult:
        """See the port. Trouble with the server is raised, and means nothing about payment."""
        with self._question() as ask:
            (answer,) = ask.ask([("blockchain.transaction.broadcast", [raw.hex()])])
            if isinstance(answer, Refused):
                return _verdict(answer, raw)
            if answer != parse_tx(raw).txid:
                raise ValueError("another transaction was broadcast")
            return SendResult(Sent.ACCEPTED)

    def feerate_sat_vb(self, target_blocks: int) -> int | None:
        """See the port."""
        with self._question() as ask:
            told = results(ask, [("blockchain.estimatefee", [target_blocks]), ("blockchain.relayfee", [])])
            rate, floor = (_read_number(number) for number in told)
            if floor < 0:
                raise ValueError("a feerate is not negative")
            if rate < 0 and floor <= USUAL_FLOOR:
                return None
            return math.ceil(max(rate, floor) * 100_000_000 / 1000)

    def close(self) -> None:
        """See the port. The scripts stay watched: the next question that needs them subscribes anew."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
                self._watch.forget()

    @contextmanager
    def _question(self) -> Iterator[Connection]:
        """A connection that is fit to be asked. What goes wrong within ends it, but for a plain refusal.

        What is read within comes from the server: a result of another shape is a wrong answer.
        """
        with self._lock:
            try:
                yield self._connected()
            except Refused:
                raise
            except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
                self.close()
                raise WrongAnswer(f"The answer of the {self.name} is not what was asked for.") from error
            except BaseException:
                self.close()
                raise

    def _connected(self) -> Connection:
        if self._connection is not None and not self._connection.drain():
            self.close()
        if self._connection is None:
            fresh = Connection(self._server)
            try:
                self._greet(fresh)
            except BaseException:
                fresh.close()
                raise
            self._connection = fresh
        return self._connection

    def _greet(self, connection: Connection) -> None:
        """Agree on the protocol, and see that it is the right chain before anything of it is read."""
        results(connection, [("server.version", [CLIENT, PROTOCOL])])
        features, first = results(connection, [("server.features", []), (HEADER, [0])])
        genesis = _hash(_read_header(first))
        if features.get("hash_function", "sha256") != "sha256" or features["genesis_hash"] != genesis:
            raise ValueError("the server contradicts itself")
        if genesis != self._network.genesis:
            title = self._network.title
            raise WrongAnswer(
                f"The {self.name} is not on {title}: its first block is another. Nothing is read from it."
            )

    def _headers_from(self, first: int, count: int) -> list[bytes]:
        with self._question() as ask:
            (answer,) = ask.ask([(HEADERS, [first, count])])
            if isinstance(answer, Refused):
                if first > _tip_height(*results(ask, [TIP])):
                    return []
                raise answer
            raw = bytes.fromhex(answer["hex"])
            if len(raw) % HEADER_SIZE or len(raw) > count * HEADER_SIZE:
                raise ValueError("headers have 80 bytes each")
            return [raw[at : at + HEADER_SIZE] for at in range(0, len(raw), HEADER_SIZE)]

    def _transactions(self, txids: Sequence[str]) -> dict[str, tuple[bytes, ParsedTx]]:
        """Those that the server knows, each checked against its txid."""
        found = {}
        with self._question() as ask:
            for txid, answer in zip(txids, ask.ask([(TRANSACTION, [txid]) for txid in txids]), strict=True):
                if isinstance(answer, Refused):
                    if _UNKNOWN.search(answer.message):
                        continue
                    raise answer
                raw = bytes.fromhex(answer)
                tx = parse_tx(raw)
                if tx.txid != txid:
                    raise ValueError("another transaction than the one asked for")
                found[txid] = raw, tx
        return found

    def _histories_of(self, scripts: Sequence[bytes]) -> list[list[HistoryItem]]:
        with self._question() as ask:
            return [read_history(a) for a in results(ask, [(HISTORY, [scripthash_of(s)]) for s in scripts])]

    def _prove(self, items: Sequence[HistoryItem], raws: Mapping[str, bytes]) -> None:
        """Raises WrongAnswer unless each is in the block that it is said to be in."""
        heights = sorted({i.height for i in items})
        branches = self.proofs(items)
        with self._question() as ask:
            told = results(ask, [(HEADER, [height]) for height in heights])
            roots = {h: _read_header(a)[MERKLE_ROOT][::-1].hex() for h, a in zip(heights, told, strict=True)}
            for item, (branch, position) in zip(items, branches, strict=True):
                if could_be_node(raws[item.txid], item.txid):
                    raise ValueError("a transaction of 64 bytes proves nothing")
                if verify_branch(item.txid, branch, position) != roots[item.height]:
                    raise ValueError("a branch that leads elsewhere")


def _read_url(url: str, ca_file: Path | None, timeout_s: float) -> Server:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # brackets that do not close, a port that is none
        host = port = None
    if not host or not port or parts.scheme not in ("tcp", "ssl"):
        raise UserError(f"{url!r} is not the address of an Electrum server; it must look like ssl://host:port.")
    return Server(host, port, parts.scheme == "ssl", ca_file, timeout_s)


def _tip_height(tip: Any) -> int:
    _read_header(not_refused(tip)["hex"])
    if type(tip["height"]) is not int or not 0 <= tip["height"] < 1 << 31:
        raise ValueError("a height is a whole number")
    return int(tip["height"])


def _read_header(answer: Any) -> bytes:
    raw = bytes.fromhex(not_refused(answer))
    if len(raw) != HEADER_SIZE:
        raise ValueError("a header has 80 bytes")
    return raw


def _hash(header: bytes) -> str:
    return double_sha256(header)[::-1].hex()


def _read_branch(answer: Any) -> tuple[list[str], int]:
    branch, position = list(answer["merkle"]), answer["pos"]
    if type(position) is not int:
        raise TypeError("a position is a whole number")
    check_branch(branch, position)
    return branch, position


def _read_number(answer: Any) -> Decimal:
    if type(answer) not in (int, Decimal):
        raise TypeError("a feerate is a number")
    return Decimal(answer)


def _verdict(refusal: Refused, raw: bytes) -> SendResult:
    """What a refused broadcast means. Raises it again where it is not the node that spoke."""
    if not _VERDICT.search(refusal.message):
        raise refusal
    reason = refusal.message.replace(f"[{raw.hex()}]", "").rpartition("network rules.")[2].strip()
    if _KNOWN.search(reason):
        return SendResult(Sent.KNOWN)
    return SendResult(Sent.INPUTS_GONE if _INPUTS_GONE.search(reason) else Sent.REFUSED, reason)


def _newest(items: Sequence[HistoryItem]) -> list[HistoryItem]:
    """Unconfirmed ones are the newest; a server names them last, but that is not for it to choose."""
    return sorted(items, key=lambda i: i.height if i.height > 0 else math.inf)[-NEWEST:]


def _unspent(scripts: set[bytes], heights: Mapping[str, int], known: Mapping[str, ParsedTx]) -> list[UnspentCoin]:
    """The outputs of these transactions that pay one of the scripts and that none of them spends."""
    spent = {outpoint for tx in known.values() for outpoint in tx.spends}
    return [
        UnspentCoin(txid, vout, value, script, tx.coinbase, heights[txid])
        for txid, tx in known.items()
        for vout, (value, script) in enumerate(tx.outputs)
        if script in scripts and (txid, vout) not in spent
    ]
