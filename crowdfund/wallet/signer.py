"""The signer: the only process that opens the seed. It has no network, and it does not believe its clients.

It reads one line of JSON from a Unix socket, whose peer must be our own user or the one that the settings name, and
signs only what policy.py lets through: what follows from the terms that the addresses commit to, and from what was
promised before. The keys are derived through the hash of the terms in the request, so terms that differ by one letter
sign nothing. What was signed is in its own log (signer_log.py) before the signature leaves.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import struct
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from crowdfund.errors import UserError, WorldError
from crowdfund.wallet import policy
from crowdfund.wallet.addresses import address_of
from crowdfund.wallet.amounts import MAX_MONEY_SATS
from crowdfund.wallet.descriptors import campaign_descriptor, derive_address
from crowdfund.wallet.keystore import Keystore
from crowdfund.wallet.outcome_proof import (
    COINS_AT_ONCE,
    Closing,
    CoinProof,
    ProvenCoin,
    digest,
    own_coin,
    prove_cancelled,
    prove_closing,
    prove_coin,
)
from crowdfund.wallet.policy import MAX_INDEX, PartRefusal, TermsFacts, outpoint, whole
from crowdfund.wallet.receipts import Receipt, sign_text
from crowdfund.wallet.refund_change import check_change, read_change
from crowdfund.wallet.signer_client import MAX_LINE
from crowdfund.wallet.signer_log import SignerLog
from crowdfund.wallet.signing import script_at, sign
from crowdfund.wallet.transactions import UnsignedTx

PATIENCE_S = 30  # for a whole request
MAX_ACCOUNTS_AT_ONCE = 100
KEPT_KEYS = 256
KEPT_CLOSINGS = 16


class Signer:
    """Answers requests; one at a time, whatever the number of clients."""

    def __init__(self, keystore: Keystore, log: SignerLog, network_name: str) -> None:
        self._keystore = keystore
        self._log = log
        self._network_name = network_name
        self._lock = threading.Lock()
        # Deriving down to these takes some 30 ms: they are kept, beside a seed that is kept anyway.
        self._branch = lru_cache(KEPT_KEYS)(keystore.branch)
        self._account_xpub = lru_cache(KEPT_KEYS)(keystore.account_xpub)
        self._receipt_key = lru_cache(KEPT_KEYS)(keystore.receipt_key)
        self._closings: dict[int, Closing] = {}  # with the Merkle roots that coins are held against

    def answer(self, message: dict[str, Any]) -> dict[str, object]:
        """One request, one answer. Raises UserError where the request is refused."""
        operations: dict[object, Callable[[dict[str, Any]], dict[str, object]]] = {
            "accounts": self._accounts,
            "register": self._register,
            "change_refund": self._change_refund,
            "sign": self._sign,
            "timelocked_refund": self._timelocked_refund,
            "receipt": self._receipt,
            "prove_closing": self._prove_closing,
            "prove_coins": self._prove_coins,
            "prove_cancelled": self._prove_cancelled,
            "show_coins": self._show_coins,
        }
        wanted = message.get("op")
        if not isinstance(wanted, str) or wanted not in operations:
            raise UserError("this is not a request that the signer knows.")
        with self._lock:
            return operations[wanted](message)

    def reply(self, line: bytes) -> dict[str, object]:
        """The answer to a line of JSON, whatever it holds: {"error": sentence} where it is refused, with "part" where
        that is for one pledge or coin among others."""
        try:
            return self.answer(json.loads(line))
        except PartRefusal as error:
            return {"error": error.sentence, "part": True}
        except (UserError, WorldError) as error:
            return {"error": error.sentence}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {"error": "the request cannot be read."}

    def descriptor(self, account: int, terms: str) -> str:
        """The descriptor of the campaign with these terms, from our own keys. Raises UserError, ValueError."""
        return self._descriptor(account, policy.read_terms(terms, self._network_name).hash)

    def accounts(self, first: int, count: int) -> list[dict[str, Any]]:
        """What is public of accounts `first` to `first + count - 1`. Raises UserError."""
        if not 0 < count <= MAX_ACCOUNTS_AT_ONCE or first + count - 1 > MAX_INDEX:
            raise UserError(f"between 1 and {MAX_ACCOUNTS_AT_ONCE} accounts at once, the last below 2**31.")
        return [
            {
                "index": index,
                "xpub": self._account_xpub(index),
                "fingerprint": self._keystore.fingerprint,
                "receipt_key": self._public_receipt_key(index),
            }
            for index in range(first, first + count)
        ]

    def _accounts(self, message: dict[str, Any]) -> dict[str, object]:
        return {"accounts": self.accounts(whole(message["first"], MAX_INDEX), whole(message["count"], MAX_INDEX))}

    def _register(self, message: dict[str, Any]) -> dict[str, object]:
        account, terms = self._account_and_terms(message)
        refunds = policy.read_refunds(message["refunds"], self._network_name)
        self._log.register(account, terms.hash, policy.new_refunds(refunds, account, self._log))
        return {"registered": len(refunds)}

    def _change_refund(self, message: dict[str, Any]) -> dict[str, object]:
        """Only who holds the key of the address registered now says so; whoever asks here need not be believed."""
        account, terms = self._account_and_terms(message)
        change = read_change(message)
        if check_change(change, terms, account, self._log):
            self._log.change(account, terms.hash, change)
        return {"changed": change.number}

    def _sign(self, message: dict[str, Any]) -> dict[str, object]:
        account, terms = self._account_and_terms(message)
        kind, tx = message["kind"], policy.read_tx(message)
        policy.check_settlement(kind, tx, terms, account, self._log)
        self._check_outcome(kind, tx, terms, account)
        self._log.settle(kind, tx.txid, account, terms.hash, {outpoint(i): i.value_sats for i in tx.inputs})
        return {"raw": sign(tx, self._branch(account, terms.hash)).hex()}

    def _check_outcome(self, kind: object, tx: UnsignedTx, terms: TermsFacts, account: int) -> None:
        policy.check_outcome(kind, tx, terms, self._log.proven(account))

    def _prove_closing(self, message: dict[str, Any]) -> dict[str, object]:
        account, terms = self._account_and_terms(message)
        if self._network_name != "regtest" and time.time() < terms.ending.deadline:
            raise UserError("the deadline is not past by this machine's clock.")
        self._refuse_cancelled(account)
        try:
            closing = prove_closing(b64decode(message["headers"], validate=True), policy.opening_of(terms))
        except ValueError as error:
            raise UserError(f"the end is not proven: {error}.") from error
        self._log.close(account, terms.hash, closing.height, closing.hash)
        self._closings[account] = closing
        while len(self._closings) > KEPT_CLOSINGS:
            self._closings.pop(next(iter(self._closings)))
        proven = self._log.proven(account)
        return {"closing_height": closing.height, "proven": digest(proven.coins) if proven else ""}

    def _prove_cancelled(self, message: dict[str, Any]) -> dict[str, object]:
        """It ends the account for good: from then on everything is given back and nothing released."""
        account, terms = self._account_and_terms(message)
        policy.check_cancellable(terms, account, self._log)
        headers, proof = b64decode(message["headers"], validate=True), policy.read_cancellation(message)
        try:
            cancelled = prove_cancelled(headers, policy.opening_of(terms), proof, terms.payout_script, terms.hash)
        except ValueError as error:
            raise UserError(f"the cancellation is not proven: {error}.") from error
        self._log.cancel(account, terms.hash, cancelled)
        self._closings.pop(account, None)
        return {"cancelled_height": cancelled.height}

    def _refuse_cancelled(self, account: int) -> None:
        proven = self._log.proven(account)
        if proven is not None and proven.cancelled_by:
            raise UserError("this campaign was cancelled before; it has no other end.")

    def _prove_coins(self, message: dict[str, Any]) -> dict[str, object]:
        account, terms = self._account_and_terms(message)
        closing, coins = self._closings.get(account), message["coins"]
        if closing is None:
            raise UserError("the end of this campaign has to be proven first, once in each life of the signer.")
        if not isinstance(coins, list) or len(coins) > COINS_AT_ONCE:
            raise UserError(f"at most {COINS_AT_ONCE} coins are proven at once.")
        found, refused = [], []
        for each in coins:
            try:
                found.append(self._proven_coin(policy.read_coin_proof(each), closing, account, terms))
            except ValueError as error:
                refused.append(str(error))
        self._log.prove(account, terms.hash, found)
        return {"proven": len(found), "refused": refused}

    def _show_coins(self, message: dict[str, Any]) -> dict[str, object]:
        """Only what is shown here is ever signed for: a coin at an address of ours, with the value that it has."""
        account, terms = self._account_and_terms(message)
        coins, found = message["coins"], {}
        if not isinstance(coins, list) or len(coins) > COINS_AT_ONCE:
            raise UserError(f"at most {COINS_AT_ONCE} coins are shown at once.")
        try:
            for each in coins:
                shown = policy.read_shown_coin(each)
                name, value_sats = own_coin(shown, script_at(self._branch(account, terms.hash), shown.index))
                found[name] = (shown.index, value_sats)
        except ValueError as error:
            raise PartRefusal(f"a coin is none of this campaign's: {error}.") from error
        self._log.show(account, terms.hash, found)
        return {"shown": len(found)}

    def _proven_coin(self, proof: CoinProof, closing: Closing, account: int, terms: TermsFacts) -> ProvenCoin:
        """The address is derived here, from the hash of the terms: a coin of another campaign proves nothing."""
        script = script_at(self._branch(account, terms.hash), proof.index)
        return prove_coin(proof, closing, script, terms.ending.min_coin_sats)

    def _timelocked_refund(self, message: dict[str, Any]) -> dict[str, object]:
        account, terms = self._account_and_terms(message)
        tx = policy.read_tx(message)
        policy.check_timelocked(tx, terms, account, self._log)
        self._log.timelocked(tx.txid, account, terms.hash, outpoint(tx.inputs[0]), tx.inputs[0].value_sats)
        return {"raw": sign(tx, self._branch(account, terms.hash)).hex()}

    def _receipt(self, message: dict[str, Any]) -> dict[str, object]:
        """All but the amount is ours: our own address, and the refund address that was registered with us."""
        account, terms = self._account_and_terms(message)
        index, amount_sats = whole(message["index"], MAX_INDEX), whole(message["amount_sats"], MAX_MONEY_SATS)
        script = self._log.refund_script(account, index)
        if script is None:
            raise UserError("no refund address is registered for this pledge, so it gets no receipt.")
        text = Receipt(
            network=self._network_name,
            campaign=terms.hash.hex(),
            index=index,
            address=derive_address(self._descriptor(account, terms.hash), index, self._network_name)[0],
            amount_sats=amount_sats,
            refund_address=address_of(script, self._network_name),
            timelock_height=terms.timelock_height,
        ).text()
        return {"text": text, "signature": sign_text(text, self._receipt_key(account))}

    def _account_and_terms(self, message: dict[str, Any]) -> tuple[int, TermsFacts]:
        account = whole(message["account"], MAX_INDEX)
        terms = policy.read_terms(message["terms"], self._network_name)
        own = self._public_receipt_key(account) if terms.version >= 2 else ""
        policy.check_account(terms, own, account, self._log)
        return account, terms

    def _public_receipt_key(self, account: int) -> str:
        return self._receipt_key(account).public_key.format().hex()

    def _descriptor(self, account: int, terms_hash: bytes) -> str:
        xpub, fingerprint = self._account_xpub(account), self._keystore.fingerprint
        return campaign_descriptor(fingerprint, account, xpub, terms_hash, self._network_name)


class _Handler(socketserver.StreamRequestHandler):
    """One connection, one request. A bad request gets a sentence; only the users that are allowed are heard."""

    server: SignerServer

    def handle(self) -> None:
        if _peer_uid(self.request) not in self.server.allowed_uids:
            return
        # A client that is slow or has gone is its own trouble.
        with suppress(OSError):
            self.wfile.write(json.dumps(self.server.signer.reply(_read_line(self.request))).encode() + b"\n")


class SignerServer(socketserver.ThreadingUnixStreamServer):
    """The socket, removed and made anew at each start: mode 0600, or 0660 where other users are heard too.

    `peers` are the ids of those users; who reaches the socket is for its folder and its group to say.
    """

    daemon_threads = True
    request_queue_size = 256  # a client beyond the queue is turned away at once by a Unix socket

    def __init__(self, signer: Signer, path: Path, peers: Collection[int] = ()) -> None:
        self.signer = signer
        self.allowed_uids = {os.getuid(), *peers}
        path.unlink(missing_ok=True)
        before = os.umask(0o117 if peers else 0o177)
        try:
            super().__init__(str(path), _Handler)
        except OSError as error:
            raise WorldError(
                f"The signer cannot listen at {path} ({error}); a socket's path has at most 107 letters.",
                retryable=False,
            ) from error
        finally:
            os.umask(before)


def _read_line(connection: socket.socket) -> bytes:
    """All up to the end of the line, within a time and a size: neither drops nor floods of bytes hold us up for long.

    Raises OSError when time is up.
    """
    deadline, parts, size = time.monotonic() + PATIENCE_S, [b""], 0
    while size < MAX_LINE:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        part = connection.recv(min(65_536, MAX_LINE - size))
        parts.append(part)
        size += len(part)
        if not part or b"\n" in part:
            break
    return b"".join(parts).partition(b"\n")[0]


def _peer_uid(connection: socket.socket) -> int:
    """The user id of the process at the other end, from the kernel (SO_PEERCRED, Linux)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[1])
