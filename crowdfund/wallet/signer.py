"""The signer: the only process that opens the seed. It has no network, and it does not believe its clients.

It reads one line of JSON from a Unix socket, whose peer must be our own user, and signs only what follows from
the terms that the addresses commit to. The keys are derived through the hash of the terms in the request, so
terms that differ by one letter sign nothing. A release pays the terms' payout script and nothing else; a refund
pays each pledge at the script registered for it first; an outpoint is signed for one transaction, for ever.
What was signed is in its own log (signer_log.py) before the signature leaves.
"""

from __future__ import annotations

import json
import os
import re
import socket
import socketserver
import struct
import threading
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.addresses import address_of, script_of
from crowdfund.wallet.amounts import MAX_MONEY_SATS
from crowdfund.wallet.bcl import Transaction
from crowdfund.wallet.descriptors import MAX_INDEX
from crowdfund.wallet.fees import MAX_FEERATE_SAT_VB, transaction_vsize
from crowdfund.wallet.keystore import Keystore
from crowdfund.wallet.networks import NETWORKS
from crowdfund.wallet.signer_client import MAX_LINE
from crowdfund.wallet.signer_log import SignerLog
from crowdfund.wallet.transactions import SEQUENCE, VERSION, TxInput, TxOutput, UnsignedTx

MAX_UINT32 = 2**32 - 1
LOCKTIME_THRESHOLD = 500_000_000  # from here on a lock time is a time and no height
IDLE_TIMEOUT_S = 30
MAX_ACCOUNTS_AT_ONCE = 100

_TXID = re.compile(r"(?!0{64})[0-9a-f]{64}", re.ASCII)


class Signer:
    """Answers requests; one at a time, whatever the number of clients."""

    def __init__(self, keystore: Keystore, log: SignerLog, network_name: str) -> None:
        self._keystore = keystore
        self._log = log
        self._network_name = network_name
        self._lock = threading.Lock()

    def answer(self, message: dict[str, Any]) -> dict[str, object]:
        """One request, one answer. Raises UserError where the request is refused."""
        with self._lock:
            match message.get("op"):
                case "accounts":
                    return self._accounts(_whole(message["first"], MAX_INDEX), _whole(message["count"], MAX_INDEX))
                case "register":
                    return self._register(message)
                case "sign":
                    return self._sign(message)
        raise UserError("this is not a request that the signer knows.")

    def _accounts(self, first: int, count: int) -> dict[str, object]:
        if not 0 < count <= MAX_ACCOUNTS_AT_ONCE:
            raise UserError(f"between 1 and {MAX_ACCOUNTS_AT_ONCE} accounts at once.")
        fingerprint = self._keystore.fingerprint
        return {
            "accounts": [
                {
                    "index": index,
                    "xpub": self._keystore.account_xpub(index),
                    "fingerprint": fingerprint,
                    "receipt_key": self._keystore.receipt_pubkey(index),
                }
                for index in range(first, first + count)
            ]
        }

    def _register(self, message: dict[str, Any]) -> dict[str, object]:
        terms_hash, _ = self._terms(message)
        account = _whole(message["account"], MAX_INDEX)
        refunds = {_whole(int(index), MAX_INDEX): bytes.fromhex(s).hex() for index, s in message["refunds"].items()}
        for script in refunds.values():
            address_of(bytes.fromhex(script), self._network_name)  # a ValueError where nobody could be paid
        for index, script in refunds.items():
            self._log.register(account, terms_hash, index, script)
        return {"registered": len(refunds)}

    def _sign(self, message: dict[str, Any]) -> dict[str, object]:
        terms_hash, terms = self._terms(message)
        account, kind = _whole(message["account"], MAX_INDEX), message["kind"]
        tx = UnsignedTx(
            tuple(_input(*fields) for fields in message["inputs"]),
            tuple(_output(*fields) for fields in message["outputs"]),
            _whole(message["locktime"], LOCKTIME_THRESHOLD - 1),
        )
        _check_amounts(tx)
        if kind == "release":
            _check_release(tx, script_of(terms["payout_address"], self._network_name))
        elif kind == "refund":
            self._check_refund(tx, account, terms_hash)
        else:
            raise UserError("a settlement is a release or a refund.")
        self._log.settle(kind, tx.txid, account, {f"{i.txid}:{i.vout}": i.value_sats for i in tx.inputs})
        return {"raw": self._signed(tx, account, terms_hash).hex()}

    def _terms(self, message: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        text = message["terms"].encode()
        terms = json.loads(text)
        if terms.get("network") != self._network_name:
            raise UserError(f"these terms are for {terms.get('network')}, this signer serves {self._network_name}.")
        return sha256(text).digest(), terms

    def _check_refund(self, tx: UnsignedTx, account: int, terms_hash: bytes) -> None:
        """Exactly one output for each pledge spent, to its registered script, for no more than it paid."""
        paid: Counter[int] = Counter()
        for i in tx.inputs:
            paid[i.index] += i.value_sats
        if sorted(paid) != sorted(o.index for o in tx.outputs if o.index is not None) or None in {
            o.index for o in tx.outputs
        }:
            raise UserError("a refund has one output for each pledge that it spends.")
        for o in tx.outputs:
            if o.index is None or o.script.hex() != self._log.registered(account, terms_hash, o.index):
                raise UserError("a refund goes to the address registered for its pledge and nowhere else.")
            if o.value_sats > paid[o.index]:
                raise UserError("a refund is never more than what its pledge paid.")

    def _signed(self, tx: UnsignedTx, account: int, terms_hash: bytes) -> bytes:
        """bitcoinlib signs (RFC 6979: the same request gives the same bytes)."""
        key = self._keystore.campaign_key(account, terms_hash)
        network = NETWORKS[self._network_name].bitcoinlib_name
        made = Transaction(
            version=VERSION, locktime=tx.locktime, network=network, witness_type="segwit", replace_by_fee=True
        )
        for i in tx.inputs:
            made.add_input(
                i.txid, i.vout, keys=[key.child_private(i.index)], script_type="sig_pubkey",
                witness_type="segwit", value=i.value_sats, sequence=SEQUENCE,
            )  # fmt: skip
        for o in tx.outputs:
            made.add_output(o.value_sats, lock_script=o.script)
        made.sign()
        return bytes(made.raw())


def _whole(value: object, highest: int) -> int:
    """A whole number from 0 to `highest`; nothing else that JSON or int() would take for one."""
    if type(value) is not int or not 0 <= value <= highest:
        raise UserError("a number in the request is none, or out of its range.")
    return value


def _input(txid: object, vout: object, value_sats: object, index: object) -> TxInput:
    """One spelling only for each outpoint: the log knows it by its text."""
    if not isinstance(txid, str) or not _TXID.fullmatch(txid):
        raise UserError("a txid has 64 hex digits in small letters.")
    return TxInput(txid, _whole(vout, MAX_UINT32), _whole(value_sats, MAX_MONEY_SATS), _whole(index, MAX_INDEX))


def _output(script: str, value_sats: object, index: object) -> TxOutput:
    return TxOutput(
        bytes.fromhex(script), _whole(value_sats, MAX_MONEY_SATS), None if index is None else _whole(index, MAX_INDEX)
    )


def _check_amounts(tx: UnsignedTx) -> None:
    if not tx.inputs or not tx.outputs or any(o.value_sats <= 0 for o in tx.outputs):
        raise UserError("a settlement has inputs, and outputs of more than zero.")
    if len({(i.txid, i.vout) for i in tx.inputs}) != len(tx.inputs):
        raise UserError("an outpoint stands twice among the inputs.")
    cap_sats = transaction_vsize(len(tx.inputs), [o.script for o in tx.outputs]) * MAX_FEERATE_SAT_VB
    if not 0 < tx.fee_sats <= cap_sats:
        raise UserError(f"a fee of {tx.fee_sats} sat is not between 1 and {cap_sats}.")


def _check_release(tx: UnsignedTx, payout_script: bytes) -> None:
    if len(tx.outputs) != 1 or tx.outputs[0].script != payout_script:
        raise UserError("a release has one output, to the payout address in the terms.")


class _Handler(socketserver.StreamRequestHandler):
    """One connection, one request. A bad request gets a sentence; only the caller's own user is heard."""

    timeout = IDLE_TIMEOUT_S
    server: SignerServer

    def handle(self) -> None:
        if _peer_uid(self.request) not in self.server.allowed_uids:
            return
        try:
            answer = self.server.signer.answer(json.loads(self.rfile.readline(MAX_LINE)))
        except (UserError, WorldError) as error:
            answer = {"error": error.sentence}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            answer = {"error": "the request cannot be read."}
        except OSError:
            return
        self.wfile.write(json.dumps(answer).encode() + b"\n")


class SignerServer(socketserver.ThreadingUnixStreamServer):
    """The socket: mode 0600, removed and made anew at each start."""

    daemon_threads = True
    request_queue_size = 128  # a client beyond the queue is turned away at once by a Unix socket

    def __init__(self, signer: Signer, path: Path) -> None:
        self.signer = signer
        self.allowed_uids = {os.getuid()}
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            super().__init__(str(path), _Handler)
        except OSError as error:
            raise WorldError(
                f"The signer cannot listen at {path} ({error}); a socket's path has at most 107 letters.",
                retryable=False,
            ) from error
        finally:
            os.umask(before)


def _peer_uid(connection: socket.socket) -> int:
    """The user id of the process at the other end, from the kernel (SO_PEERCRED, Linux)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[1])
