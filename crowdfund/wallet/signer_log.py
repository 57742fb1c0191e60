"""The signer's own memory: an append-only file of JSON lines, each with the hash of the line before.

Written and flushed to disk before any signature leaves: one line and one flush a request, however many coins or
refunds it is about. It outlives the database and is never edited: a line that does not fit its predecessor stops the
signer, and so do whole lines cut off at the end, which a small second file (the head: how many lines, hash of the last)
gives away. The head follows each line without a flush of its own, so after a power cut it may be some lines behind.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from crowdfund.errors import WorldError
from crowdfund.wallet.outcome_proof import Cancelled, Proven, ProvenCoin
from crowdfund.wallet.refund_change import RefundChange

START = "0" * 64
RELEASE = "release"


class SignerLog:
    """What was promised: an account's terms, refund scripts by (account, index), an outpoint's kind and value.

    Kept small: some 200 bytes of memory for a refund script or an outpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._head = path.with_suffix(".head")
        self._terms: dict[int, bytes] = {}
        self._refunds: dict[tuple[int, int], bytes] = {}
        self._kinds: dict[bytes, str] = {}
        self._shown: dict[bytes, tuple[int, int, int]] = {}
        self._txids: set[bytes] = set()
        self._proven: dict[int, Proven] = {}
        self._released: set[int] = set()
        self._settled: set[int] = set()
        self._changes: dict[tuple[int, int], int] = {}
        self._count, self._last = 0, START
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._load()

    def terms_hash(self, account: int) -> bytes | None:
        """The terms that an account serves, None while it serves none."""
        return self._terms.get(account)

    def refund_script(self, account: int, index: int) -> bytes | None:
        """The refund script of a pledge, None if there is none."""
        return self._refunds.get((account, index))

    def change_number(self, account: int, index: int) -> int:
        """Of the last change of a pledge's refund script; 0 where there was none."""
        return self._changes.get((account, index), 0)

    def settled(self, account: int) -> bool:
        """Was any settlement ever signed for the account?"""
        return account in self._settled

    def kind(self, outpoint: str) -> str | None:
        """ "release" or "refund", None where the outpoint was signed for neither."""
        return self._kinds.get(_key(outpoint))

    def shown(self, outpoint: str) -> tuple[int, int, int] | None:
        """(account, index, satoshi) of a coin whose transaction was shown."""
        return self._shown.get(_key(outpoint))

    def show(self, account: int, terms_hash: bytes, coins: Mapping[str, tuple[int, int]]) -> None:
        """Note coins of ours, with index and value, where they are new."""
        new = {name: list(coin) for name, coin in coins.items() if self.shown(name) is None}
        if new:
            self._append({"account": account, "terms": terms_hash.hex(), "shown": new})

    def proven(self, account: int) -> Proven | None:
        """What was proven of the account's campaign, None while its end is not."""
        return self._proven.get(account)

    def close(self, account: int, terms_hash: bytes, height: int, block_hash: str) -> None:
        """Note the proven closing block, the first one for good."""
        if account not in self._proven:
            self._append({"account": account, "terms": terms_hash.hex(), "closing": [height, block_hash]})

    def cancel(self, account: int, terms_hash: bytes, cancelled: Cancelled) -> None:
        """Note the cancellation that ends the account, the first one for good. It takes the place of a closing block
        that was noted before; that nothing was released until then has been asked before."""
        proven = self.proven(account)
        if proven is None or not proven.cancelled_by:
            entry = [cancelled.height, cancelled.hash, cancelled.txid]
            self._append({"account": account, "terms": terms_hash.hex(), "cancelled": entry})

    def released(self, account: int) -> bool:
        """Was a release ever signed for the account?"""
        return account in self._released

    def prove(self, account: int, terms_hash: bytes, coins: Iterable[ProvenCoin]) -> None:
        """Note coins that count, where they are new. The campaign's end has been noted before."""
        known = self._proven[account].coins
        new = {coin.outpoint: [coin.height, coin.value_sats] for coin in coins if coin.outpoint not in known}
        if new:
            self._append({"account": account, "terms": terms_hash.hex(), "proven": new})

    def register(self, account: int, terms_hash: bytes, refunds: Mapping[int, bytes]) -> None:
        """Note new refund scripts, all in one line. What the policy has to say was said before."""
        if refunds:
            scripts = {str(index): script.hex() for index, script in refunds.items()}
            self._append({"account": account, "terms": terms_hash.hex(), "refunds": scripts})

    def change(self, account: int, terms_hash: bytes, change: RefundChange) -> None:
        """Note another refund script of a pledge, with the signature of the one before. It was checked before."""
        entry = [change.index, change.number, change.script.hex(), change.signature]
        self._append({"account": account, "terms": terms_hash.hex(), "changed": entry})

    def settle(self, kind: str, txid: str, account: int, terms_hash: bytes, outpoints: Mapping[str, int]) -> None:
        """Note that `txid` settles these outpoints, with their values, where that is new."""
        known = bytes.fromhex(txid) in self._txids
        if not known or any(self.kind(outpoint) != kind for outpoint in outpoints):
            entry = [kind, txid, account, dict(outpoints)]
            self._append({"account": account, "terms": terms_hash.hex(), "settle": entry})

    def timelocked(self, txid: str, account: int, terms_hash: bytes, outpoint: str, value_sats: int) -> None:
        """Note a time-locked refund, where that is new; it leaves the outpoint's kind open."""
        if bytes.fromhex(txid) not in self._txids:
            entry = [txid, outpoint, value_sats]
            self._append({"account": account, "terms": terms_hash.hex(), "timelocked": entry})

    def _append(self, entry: dict[str, object]) -> None:
        line = json.dumps({"prev": self._last, **entry}, sort_keys=True, separators=(",", ":"))
        self._write(line.encode() + b"\n")
        self._take(line)
        self._write_head()

    def _write(self, data: bytes) -> None:
        """On disk as a whole, or not at all: a full disk must not leave half a line for the next one to follow."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            try:
                if os.write(descriptor, data) != len(data):
                    raise OSError("the disk is full")
                os.fsync(descriptor)
            except OSError as error:
                os.ftruncate(descriptor, size)
                raise WorldError(f"The signer's log {self._path} cannot be written: {error}.") from error
        finally:
            os.close(descriptor)

    def _write_head(self) -> None:
        """At one stroke. A head that is behind is no harm, so a full disk here stops nothing."""
        draft = self._head.with_suffix(".head-new")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(descriptor, f"{self._count} {self._last}\n".encode())
            finally:
                os.close(descriptor)
            draft.replace(self._head)
        except OSError:
            draft.unlink(missing_ok=True)

    def _take(self, line: str) -> None:
        entry = json.loads(line)
        if entry["prev"] != self._last:
            raise self._changed("a line does not follow")
        if "account" in entry:
            terms_hash = bytes.fromhex(entry["terms"])
            if self._terms.setdefault(entry["account"], terms_hash) != terms_hash:
                raise self._changed("an account serves two sets of terms")
        self._take_promise(entry)
        self._count, self._last = self._count + 1, sha256(line.encode()).hexdigest()

    def _take_promise(self, entry: dict[str, Any]) -> None:
        """One of: refunds, a change of one, a settlement, a time-locked refund, coins shown, an end; refunds as older
        versions wrote them, one a line."""
        if "refunds" in entry:
            self._keep(entry["account"], entry["refunds"].items())
        elif "changed" in entry:
            index, number, script, _ = entry["changed"]
            self._keep(entry["account"], [(index, script)])
            self._changes[(entry["account"], int(index))] = int(number)
        elif "shown" in entry:
            shown = {_key(name): (entry["account"], *coin) for name, coin in entry["shown"].items()}
            self._shown.update(shown)
        elif "closing" in entry:
            self._proven[entry["account"]] = Proven(*entry["closing"])
        elif "cancelled" in entry:
            self._proven[entry["account"]] = Proven(*entry["cancelled"])
        elif "proven" in entry:
            for name, (height, value_sats) in entry["proven"].items():
                txid, _, vout = name.partition(":")
                self._proven[entry["account"]].add(ProvenCoin(height, txid, int(vout), value_sats))
        elif "settle" in entry:
            kind, txid, account, outpoints = entry["settle"]
            self._settled.add(account)
            if kind == RELEASE:
                self._released.add(account)
            self._kinds.update(dict.fromkeys(map(_key, outpoints), sys.intern(kind)))
            self._txids.add(bytes.fromhex(txid))
        elif "timelocked" in entry:
            txid, _, _ = entry["timelocked"]
            self._txids.add(bytes.fromhex(txid))
        else:
            account, _, index, script = entry["refund"]
            self._keep(account, [(index, script)])

    def _keep(self, account: int, refunds: Iterable[tuple[str | int, str]]) -> None:
        self._refunds.update({(account, int(index)): bytes.fromhex(script) for index, script in refunds})

    def _load(self) -> None:
        """Read all lines. A torn last line (power cut while writing) was never acted on and is cut off."""
        count, last = self._read_head()
        if self._path.exists():
            with self._path.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        os.truncate(self._path, file.tell() - len(line))
                        break
                    self._load_line(line)
                    if self._count == count and self._last != last:
                        raise self._changed("it is not the one that its head was written for")
        if self._count < count:
            raise self._changed(f"{count - self._count} lines are missing at its end")

    def _load_line(self, line: bytes) -> None:
        try:
            self._take(line[:-1].decode())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._changed("a damaged line") from error

    def _read_head(self) -> tuple[int, str]:
        """How many lines there must be at least, and the hash of the last of these. None where no head was written:
        by a version without one, or before a power cut that took an unflushed file away."""
        text = self._head.read_text() if self._head.exists() else ""
        count, _, last = text.rstrip("\n").partition(" ")
        if not text.strip("\0"):
            return 0, START
        if not (count.isascii() and count.isdigit() and len(last) == len(START)):
            raise self._changed("its head is damaged")
        return int(count), last

    def _changed(self, how: str) -> WorldError:
        return WorldError(f"The signer's log {self._path} was changed: {how}.", retryable=False)


def _key(outpoint: str) -> bytes:
    """36 bytes for an outpoint: half of what its text takes."""
    txid, _, vout = outpoint.partition(":")
    return bytes.fromhex(txid) + int(vout).to_bytes(4, "big")
