"""An Esplora HTTP API as a backend: blocks, the mempool and the coins of a script, from a server that is not believed.

Every header and every transaction is hashed here; every coin is proved by its transaction and a Merkle branch to a
header that carries the work which its network asks for. Whether the headers of `headers` carry theirs is checked by
who follows them. What such a server can still do is keep quiet about a coin, or call one unspent that is not. May
talk to the one server it was given and to nobody else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from crowdfund.chain.bounded_http import BoundedHttp, Reply
from crowdfund.chain.port import NodeStatus, Origin, Outpoint, SendResult, Sent, Spender, UnspentCoin, WrongAnswer
from crowdfund.chain.strict_json import hash_in, hash_list, read_json, truth, whole
from crowdfund.errors import WorldError
from crowdfund.wallet.blocks import HEADER_SIZE, ParsedTx, double_sha256, parse_tx
from crowdfund.wallet.cancellation import spending
from crowdfund.wallet.headers import Header, check_chain, read_header
from crowdfund.wallet.merkle import could_be_node, is_hash, verify_branch

TIMEOUT_S = 20
TEXT_LIMIT = 65_536
BLOCK_LIMIT = 4_100_000
JSON_LIMIT = 8_000_000
LIST_LIMIT = 64_000_000
HEADERS_KEPT = 10_000
TRIES = 3
MOST_SAT_VB = 100_000
LATEST_HEIGHT = 2**31
FULL_PAGE = 50  # unconfirmed transactions of a script, of which the API gives no more
OK, NOT_FOUND = 200, 404
# {"code":-25,"message":"..."} after these words, or the number and the message themselves, by the server's age.
NODE_SAID = re.compile(r'RPC error:?\s*(?:\{"code":\s*)?(-\d{1,5})\b')
MISSING_INPUTS, REJECTED, ALREADY_IN_CHAIN = -25, -26, -27


class EsploraBackend:
    """One server. One connection a thread; may be used from many threads."""

    believed = False

    def __init__(self, url: str, network: str, ca_file: Path | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """`url` up to where the API's paths begin: "https://host/signet/api". With `ca_file` (PEM) only the
        authorities in it are trusted. Raises UserError, WorldError for a bad URL or file."""
        self._http = BoundedHttp(url, "Esplora server", ca_file, timeout_s)
        self._network = network
        self._header = lru_cache(HEADERS_KEPT)(self._fetch_header)
        self._height = lru_cache(16)(self._find_height)

    @property
    def name(self) -> str:
        """See the port."""
        return self._http.name

    def status(self) -> NodeStatus:
        """See the port. A server does not say whether its node is synced; its tip is taken as it is."""
        genesis_hash = self._block_hash(0)
        self._header(genesis_hash)
        tip_hash, height = self._tip()
        return NodeStatus(genesis_hash, height, height, tip_hash, synced=True)

    def block_hash(self, height: int) -> str | None:
        """See the port."""
        path = f"/block-height/{height}"
        reply = self._http.get(path, TEXT_LIMIT)
        return None if reply.status == NOT_FOUND else self._read_hash(path, reply)

    def headers(self, first_height: int, count: int) -> list[bytes]:
        """See the port. They are read backwards, each by the hash that the next one names, so they hang together."""
        tip_hash, tip_height = self._tip()
        last = min(first_height + count - 1, tip_height)
        if last < first_height:
            return []
        found, at = [], tip_hash if last == tip_height else self._block_hash(last)
        for _ in range(last - first_height + 1):
            raw, header = self._header(at)
            found.append(raw)
            at = header.prev_hash
        return found[::-1]

    def block(self, block_hash: str) -> bytes:
        """See the port. Its header is that of `block_hash`; who calls checks that the rest belongs to it."""
        path = f"/block/{block_hash}/raw"
        raw = self._expect(path, self._http.get(path, BLOCK_LIMIT))
        if len(raw) <= HEADER_SIZE or double_sha256(raw[:HEADER_SIZE])[::-1].hex() != block_hash:
            raise self._wrong(f"sent another block than {block_hash}")
        return raw

    def mempool_txids(self) -> list[str]:
        """See the port."""
        path = "/mempool/txids"
        body = self._expect(path, self._http.get(path, LIST_LIMIT))
        with self._understood():
            return hash_list(body)

    def mempool_transactions(self, txids: Sequence[str]) -> dict[str, bytes]:
        """See the port. One question each."""
        found = ((txid, self._raw_tx(txid)) for txid in txids)
        return {txid: raw for txid, raw in found if raw is not None}

    def unspent(self, scripts: Sequence[bytes]) -> tuple[str, list[UnspentCoin]]:
        """See the port. That the coins exist is proved here; that there are no others is the server's word.

        One to four questions a script, three a coin. Raises WrongAnswer also where the chain grew meanwhile.
        """
        tip_hash, _ = self._tip()
        coins = [coin for script in dict.fromkeys(scripts) for coin in self._coins_of(script)]
        if self._tip()[0] != tip_hash:
            raise self._wrong("has a new block since we began to ask")
        return tip_hash, coins

    def spenders(self, outpoints: Sequence[Outpoint]) -> Mapping[Outpoint, Spender]:
        """See the port. That they spend, and where, is proved. One whose block nothing can prove counts as unconfirmed:
        whoever mines one must not make us wait for ever."""
        found = ((outpoint, self._spender(outpoint)) for outpoint in dict.fromkeys(outpoints))
        return {outpoint: spender for outpoint, spender in found if spender is not None}

    def origin(self, tx: ParsedTx, block_hash: str, script: bytes) -> Origin | None:
        """See the port. Each transaction comes whole and is checked against its txid."""
        makers = [raw for txid in dict.fromkeys(txid for txid, _ in tx.spends) if (raw := self._raw_tx(txid))]
        if len(makers) != len({txid for txid, _ in tx.spends}):
            raise WrongAnswer(f"The {self.name} does not know transactions that a block's transaction spends.")
        raw = spending(tx, makers, script)
        return None if raw is None else Origin(raw)

    def broadcast(self, raw: bytes) -> SendResult:
        """See the port. The node's own words come through; a time-out is raised and means nothing about payment."""
        reply = self._http.post("/tx", raw.hex().encode(), TEXT_LIMIT)
        words = _words(reply)
        if reply.status == OK:
            with self._understood():
                if words == parse_tx(raw).txid:
                    return SendResult(Sent.ACCEPTED)
            raise self._wrong("answered a transaction with something else than its txid")
        said = NODE_SAID.search(words)
        code = int(said[1]) if said else 0
        if code == ALREADY_IN_CHAIN or (said and "already" in words):
            return SendResult(Sent.KNOWN)
        if code == MISSING_INPUTS:
            return SendResult(Sent.INPUTS_GONE, words)
        if code == REJECTED:
            return SendResult(Sent.REFUSED, words)
        raise WorldError(f"The {self.name} did not take a transaction (status {reply.status}): {words}.")

    def feerate_sat_vb(self, target_blocks: int) -> int | None:
        """See the port. The estimate for this target, or for the next slower one that the server has."""
        with self._understood():
            rates = {int(target): rate for target, rate in self._json("/fee-estimates").items()}
            slower = [target for target in rates if target >= target_blocks]
            if not slower:
                return None
            rate = rates[min(slower)]
            if isinstance(rate, bool) or not isinstance(rate, int | Decimal) or not 0 < rate <= MOST_SAT_VB:
                raise self._wrong("gave a feerate that is none")
            return math.ceil(rate)

    def close(self) -> None:
        """See the port."""
        self._http.close()

    def _tip(self) -> tuple[str, int]:
        """(hash, height) of the tip. Its header is checked; its height is the server's word."""
        path = "/blocks/tip/hash"
        tip_hash = self._read_hash(path, self._http.get(path, TEXT_LIMIT))
        self._header(tip_hash)
        return tip_hash, self._height(tip_hash)

    def _find_height(self, tip_hash: str) -> int:
        """Where the tip is; another block may come between two questions, or an answer may be seconds old."""
        before_tip = self._header(tip_hash)[1].prev_hash
        for _ in range(TRIES):
            height = self._text("/blocks/tip/height")
            if not height.isdecimal() or len(height) > 9:
                raise self._wrong("gave a height that is none")
            for near in range(int(height), max(-1, int(height) - TRIES), -1):
                found = self.block_hash(near)
                if found in (tip_hash, before_tip):
                    return near if found == tip_hash else near + 1
        raise self._wrong("named a tip that is not in its chain")

    def _block_hash(self, height: int) -> str:
        found = self.block_hash(height)
        if found is None:
            raise self._wrong(f"does not know its block {height}")
        return found

    def _fetch_header(self, block_hash: str) -> tuple[bytes, Header]:
        """The header, which must hash to its name."""
        with self._understood():
            raw = bytes.fromhex(self._text(f"/block/{block_hash}/header"))
            header = read_header(raw)
        if header.hash != block_hash:
            raise self._wrong(f"sent another header than that of {block_hash}")
        return raw, header

    def _raw_tx(self, txid: str) -> bytes | None:
        """The transaction's bytes, which must hash to its txid; None if the server does not know it."""
        path = f"/tx/{txid}/raw"
        reply = self._http.get(path, BLOCK_LIMIT)
        if reply.status == NOT_FOUND:
            return None
        raw = self._expect(path, reply)
        if self._parsed(raw).txid != txid:
            raise self._wrong(f"sent another transaction than {txid}")
        return raw

    def _parsed(self, raw: bytes) -> ParsedTx:
        with self._understood():
            return parse_tx(raw)

    def _coins_of(self, script: bytes) -> list[UnspentCoin]:
        """The script's confirmed coins, as many and as much as the server's own sums say."""
        of_script = f"/scripthash/{sha256(script).hexdigest()}"
        with self._understood():
            stats = self._json(of_script)["chain_stats"]
            count = whole(stats["funded_txo_count"]) - whole(stats["spent_txo_count"])
            total_sats = whole(stats["funded_txo_sum"]) - whole(stats["spent_txo_sum"])
            values = self._listed(of_script) if count else {}
            if len(values) < count:  # the list leaves out what an unconfirmed transaction spends
                values |= self._being_spent(of_script, script)
        if len(values) != count or sum(values.values()) != total_sats:
            raise self._wrong("contradicts itself about the coins of a script")
        return [self._proved(outpoint, script, value) for outpoint, value in values.items()]

    def _listed(self, of_script: str) -> dict[Outpoint, int]:
        listed = [c for c in self._json(f"{of_script}/utxo") if truth(c["status"]["confirmed"])]
        values = {(hash_in(c["txid"]), whole(c["vout"])): whole(c["value"]) for c in listed}
        if len(values) != len(listed):
            raise self._wrong("lists a coin twice")
        return values

    def _being_spent(self, of_script: str, script: bytes) -> dict[Outpoint, int]:
        """Confirmed coins of this script that unconfirmed transactions spend."""
        spending = self._json(f"{of_script}/txs/mempool")
        if len(spending) >= FULL_PAGE:
            raise self._wrong("shows only a part of a script's unconfirmed transactions; wait for a block")
        spent = [i for tx in spending for i in tx["vin"] if bytes.fromhex(i["prevout"]["scriptpubkey"]) == script]
        values = {(hash_in(i["txid"]), whole(i["vout"])): whole(i["prevout"]["value"]) for i in spent}
        return {o: v for o, v in values.items() if truth(self._json(f"/tx/{o[0]}/status")["confirmed"])}

    def _proved(self, outpoint: Outpoint, script: bytes, value_sats: int) -> UnspentCoin:
        """The coin, with its value and script from its transaction, and that from a block of the server's chain."""
        txid, vout = outpoint
        raw = self._raw_tx(txid)
        if raw is None:
            raise self._wrong(f"lists a coin of {txid} and does not know that transaction")
        tx = self._parsed(raw)
        if vout >= len(tx.outputs) or tx.outputs[vout] != (value_sats, script):
            raise self._wrong(f"lists a coin that {txid} does not have")
        return UnspentCoin(txid, vout, value_sats, script, tx.coinbase, self._proved_height(txid, raw))

    def _proved_height(self, txid: str, raw: bytes) -> int:
        """Height of the block that this transaction is in, which the block's header shows."""
        with self._understood():
            proof = self._json(f"/tx/{txid}/merkle-proof")
            height, position = whole(proof["block_height"], LATEST_HEIGHT), whole(proof["pos"])
            root = verify_branch(txid, proof["merkle"], position)
        header = self._header(self._block_hash(height))[1]
        with self._understood():
            check_chain([header], height, self._network)
        if root != header.merkle_root or could_be_node(raw, txid):
            raise self._wrong(f"has no proof that {txid} is in block {height}")
        return height

    def _spender(self, outpoint: Outpoint) -> Spender | None:
        txid, vout = outpoint
        path = f"/tx/{txid}/outspend/{vout}"
        reply = self._http.get(path, TEXT_LIMIT)
        if reply.status == NOT_FOUND:
            return None
        with self._understood():
            told = read_json(self._expect(path, reply))
            if not truth(told["spent"]):
                return None
            by, confirmed = hash_in(told["txid"]), truth(told["status"]["confirmed"])
        raw = self._raw_tx(by)
        if raw is None:  # replaced since
            return None
        if outpoint not in self._parsed(raw).spends:
            raise self._wrong(f"says that {by} spends a coin that it does not spend")
        return Spender(by, self._proved_height(by, raw) if confirmed and not could_be_node(raw, by) else None)

    def _read_hash(self, path: str, reply: Reply) -> str:
        text = self._expect(path, reply).strip().decode("ascii", "replace")
        if not is_hash(text):
            raise self._wrong(f"sent something else than a block's hash for {path}")
        return text

    def _text(self, path: str) -> str:
        return self._expect(path, self._http.get(path, TEXT_LIMIT)).strip().decode("ascii", "replace")

    def _json(self, path: str) -> Any:
        with self._understood():
            return read_json(self._expect(path, self._http.get(path, JSON_LIMIT)))

    def _expect(self, path: str, reply: Reply) -> bytes:
        if reply.status != OK:
            raise self._wrong(f"answered {path} with status {reply.status}: {_words(reply)}")
        return reply.body

    def _wrong(self, did: str) -> WrongAnswer:
        self._http.close()  # it may have been the answer to an earlier question, and so would all that follow
        return WrongAnswer(f"The {self.name} {did}.")

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """What is read within comes from the server: another shape is its fault."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            raise self._wrong("sent something else than what it was asked for") from error


def _words(reply: Reply) -> str:
    """The beginning of a text that came from a stranger, on one line."""
    text = " ".join(reply.body[:1_000].decode("utf-8", "replace").split())
    return "".join(c for c in text if c.isprintable())[:300].rstrip(".")
