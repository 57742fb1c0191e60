"""Asking the signer: one line of JSON to its Unix socket, one line back. Holds no key and cannot make one."""

from __future__ import annotations

import json
import socket
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crowdfund.errors import WorldError
from crowdfund.wallet.cancellation import CancellationProof
from crowdfund.wallet.outcome_proof import COINS_AT_ONCE, CoinProof, OutcomeProof, ShownCoin, digest
from crowdfund.wallet.policy import MAX_REGISTRATIONS
from crowdfund.wallet.refund_change import RefundChange, change_fields
from crowdfund.wallet.transactions import UnsignedTx

TIMEOUT_S = 300
MAX_LINE = 8 * 1024 * 1024  # the headers of a year, or a whole block as one transaction, in base64


@dataclass(frozen=True)
class Account:
    """A hardened account that the signer offers: its index, its xpub, the master key's fingerprint, and the public key
    (66 hex digits) that signs its receipts."""

    index: int
    xpub: str
    fingerprint: str
    receipt_key: str


@dataclass(frozen=True)
class SignedReceipt:
    """The canonical text of a receipt (see receipts.py) and its BIP 137 signature in base64."""

    text: str
    signature: str


class PartRefused(WorldError):
    """The signer refuses a transaction for one of the pledges or coins in it; it may sign for the others."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, retryable=False)


class SignerClient:
    """The signer as its clients see it."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def accounts(self, first: int, count: int) -> list[Account]:
        """Account xpubs `first` to `first + count - 1`."""
        answer = self._ask({"op": "accounts", "first": first, "count": count})
        try:
            return [Account(a["index"], a["xpub"], a["fingerprint"], a["receipt_key"]) for a in answer["accounts"]]
        except (KeyError, TypeError) as error:
            raise _unreadable() from error

    def register(self, terms: str, account_index: int, refunds: Mapping[int, bytes]) -> None:
        """Tell the signer where each address index is refunded to. The first word counts; another is refused.

        Without any, the signer is asked all the same whether it takes registrations for these terms.
        """
        pairs = [(str(index), script.hex()) for index, script in refunds.items()]
        for start in range(0, max(1, len(pairs)), MAX_REGISTRATIONS):
            some = dict(pairs[start : start + MAX_REGISTRATIONS])
            self._ask({"op": "register", "terms": terms, "account": account_index, "refunds": some})

    def change_refund(self, terms: str, account_index: int, change: RefundChange) -> None:
        """Have a refund address changed; asking the same again does no harm. Raises WorldError as `sign` does."""
        asked = {"op": "change_refund", "terms": terms, "account": account_index}
        if self._ask({**asked, **change_fields(change)}).get("changed") != change.number:
            raise _unreadable()

    def prove(self, terms: str, account_index: int, proof: OutcomeProof) -> list[str]:
        """Show how the campaign ended: the closing block, then the coins that count, some at a time; or the
        cancellation. Returns why some coins are not taken for proven.

        Showing it again does no harm. Raises WorldError as `sign` does.
        """
        asked = {"terms": terms, "account": account_index}
        if proof.cancellation is not None:
            shown = {"headers": b64encode(proof.headers).decode(), **_cancellation_fields(proof.cancellation)}
            self._ask({"op": "prove_cancelled", **asked, **shown})
            return []
        answer = self._ask({"op": "prove_closing", **asked, "headers": b64encode(proof.headers).decode()})
        if answer.get("proven") == digest([coin.outpoint for coin in proof.coins]):
            return []  # a signer that was started anew remembers the coins
        refused: list[str] = []
        for part in _parts([_coin_fields(coin) for coin in proof.coins]):
            refused += map(str, self._ask({"op": "prove_coins", **asked, "coins": part}).get("refused", ()))
        return refused

    def show(self, terms: str, account_index: int, coins: Sequence[ShownCoin]) -> None:
        """Show the transactions that made these coins: the signer signs for no others. Raises WorldError as `sign`."""
        fields: list[list[object]] = [[b64encode(coin.raw).decode(), coin.vout, coin.index] for coin in coins]
        for part in _parts(fields):
            self._ask({"op": "show_coins", "terms": terms, "account": account_index, "coins": part})

    def sign(self, terms: str, account_index: int, kind: str, tx: UnsignedTx) -> bytes:
        """Have `tx` signed as a settlement of `kind` ("release" or "refund") under these canonical terms.

        Raises WorldError: retryable where the signer is away, not retryable where it refuses; PartRefused where it
        refuses one pledge or coin among others.
        """
        return self._signed({"op": "sign", "terms": terms, "account": account_index, "kind": kind, **tx_fields(tx)})

    def timelocked_refund(self, terms: str, account_index: int, tx: UnsignedTx) -> bytes:
        """Have `tx` signed: one coin back to its registered script, from the terms' `timelock_height` on.

        Raises WorldError as `sign` does.
        """
        return self._signed({"op": "timelocked_refund", "terms": terms, "account": account_index, **tx_fields(tx)})

    def receipt(self, terms: str, account_index: int, index: int, amount_sats: int) -> SignedReceipt:
        """A signed receipt of the pledge at `index`, whose refund address the signer must have been told.

        Raises WorldError as `sign` does.
        """
        answer = self._ask(
            {"op": "receipt", "terms": terms, "account": account_index, "index": index, "amount_sats": amount_sats}
        )
        try:
            return SignedReceipt(answer["text"], answer["signature"])
        except KeyError as error:
            raise _unreadable() from error

    def _signed(self, message: dict[str, object]) -> bytes:
        answer = self._ask(message)
        try:
            return bytes.fromhex(answer["raw"])
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable() from error

    def _ask(self, message: dict[str, object]) -> dict[str, Any]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(TIMEOUT_S)
                connection.connect(str(self._path))
                connection.sendall(json.dumps(message).encode() + b"\n")
                connection.shutdown(socket.SHUT_WR)
                with connection.makefile("rb") as stream:
                    answer = json.loads(stream.readline(MAX_LINE))
        except (OSError, ValueError) as error:
            raise WorldError("The signer does not answer; what is due will be signed when it is back.") from error
        if not isinstance(answer, dict):
            raise _unreadable()
        return unless_refused(answer)


def unless_refused(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer. Raises WorldError or PartRefused where it is a refusal."""
    if "error" not in answer:
        return answer
    sentence = f"The signer refuses: {answer['error']}"
    raise PartRefused(sentence) if answer.get("part") is True else WorldError(sentence, retryable=False)


def tx_fields(tx: UnsignedTx) -> dict[str, object]:
    """The transaction as requests spell it; policy.read_tx reads it back."""
    return {
        "locktime": tx.locktime,
        "inputs": [[i.txid, i.vout, i.value_sats, i.index] for i in tx.inputs],
        "outputs": [[o.script.hex(), o.value_sats, o.index] for o in tx.outputs],
    }


def _coin_fields(coin: CoinProof) -> list[object]:
    raw = b64encode(coin.raw).decode()
    return [raw, coin.vout, coin.index, coin.height, list(coin.branch), coin.position]


def _cancellation_fields(proof: CancellationProof) -> dict[str, object]:
    """The proof as requests spell it; policy.read_cancellation reads it back."""
    raw, spent = b64encode(proof.raw).decode(), b64encode(proof.spent).decode()
    return {
        "raw": raw,
        "spent": spent,
        "height": proof.height,
        "branch": list(proof.branch),
        "position": proof.position,
    }


def _parts(coins: list[list[object]]) -> Iterator[list[list[object]]]:
    """As many at once as the signer reads in one line."""
    part: list[list[object]] = []
    size = 0
    for coin in coins:
        length = len(json.dumps(coin))
        if part and (len(part) == COINS_AT_ONCE or size + length > MAX_LINE // 2):
            yield part
            part, size = [], 0
        part.append(coin)
        size += length
    if part:
        yield part


def _unreadable() -> WorldError:
    return WorldError("The signer's answer cannot be read; is another program at its socket?")
