"""A running signer for tests, terms for it, and requests as its client sends them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from crowdfund.errors import UserError
from crowdfund.wallet.addresses import address_of
from crowdfund.wallet.descriptors import campaign_descriptor
from crowdfund.wallet.keystore import Keystore
from crowdfund.wallet.policy import TermsFacts, outpoint, read_tx
from crowdfund.wallet.signer import Signer, SignerServer
from crowdfund.wallet.signer_client import Account, SignerClient
from crowdfund.wallet.signer_log import SignerLog, _key
from crowdfund.wallet.transactions import TxInput, UnsignedTx

WORDS = "abandon " * 11 + "about"
STORE = Keystore(WORDS, "regtest")
PAYOUT = b"\x00\x14" + b"p" * 20
ACCOUNT = 4
OPENED, TIMELOCK, TIMELOCK_FEERATE = 100, 5_000, 20


def canonical(value: object) -> str:
    """Canonical JSON, as terms are written."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def terms(**changes: object) -> str:
    """Terms of version 1, with what the signer looks at and a title."""
    return canonical(
        {
            "version": 1,
            "network": "regtest",
            "title": "A seed drill",
            "payout_address": address_of(PAYOUT, "regtest"),
            "payout_script": PAYOUT.hex(),
            "opened_height": OPENED,
            "opened_hash": "0f" * 32,
            "deadline_at": "2026-12-01T18:00:00Z",
            "confirmations": 1,
            "goal_sats": 50_000,
            "min_coin_sats": 1_000,
            **changes,
        }
    )


def terms_2(account: int = ACCOUNT, **changes: object) -> str:
    """Terms of version 2."""
    added = {
        "version": 2,
        "cap_sats": 0,
        "receipt_key": receipt_key(account),
        "timelock_height": TIMELOCK,
        "timelock_feerate_sat_vb": TIMELOCK_FEERATE,
    }
    return terms(**{**added, **changes})


def terms_3(account: int = ACCOUNT, **changes: object) -> str:
    """Terms of version 3."""
    return terms_2(account, **{"version": 3, "details_sha256": "ab" * 32, "cancellable": "cxl1", **changes})


def receipt_key(account: int = ACCOUNT, store: Keystore = STORE) -> str:
    """The public receipt key of an account."""
    return store.receipt_key(account).public_key.format().hex()


def offered_accounts(store: Keystore, indices: Iterable[int]) -> list[Account]:
    """Accounts as the signer offers them."""
    return [Account(n, store.account_xpub(n), store.fingerprint, receipt_key(n, store)) for n in indices]


def descriptor_of(text: str, account: int = ACCOUNT) -> str:
    """The descriptor of the campaign with these terms."""
    digest = sha256(text.encode()).digest()
    return campaign_descriptor(STORE.fingerprint, account, STORE.account_xpub(account), digest, "regtest")


def signing_request(kind: str, tx: UnsignedTx, text: str, /, **changes: object) -> dict[str, Any]:
    """A signing request as the client sends it, with `changes`."""
    return {
        "op": "sign",
        "terms": text,
        "account": ACCOUNT,
        "kind": kind,
        "locktime": tx.locktime,
        "inputs": [[i.txid, i.vout, i.value_sats, i.index] for i in tx.inputs],
        "outputs": [[o.script.hex(), o.value_sats, o.index] for o in tx.outputs],
        **changes,
    }


class CarefreeSigner(Signer):
    """A signer that believes in every ending and in every coin that it is told of: for tests of its other rules."""

    def answer(self, message: dict[str, Any]) -> dict[str, object]:
        """What is said of coins is as good as shown, as long as nothing else was said before."""
        with suppress(TypeError, ValueError, KeyError, UserError, AttributeError):
            for i in read_tx(message).inputs:
                self._log._shown.setdefault(_key(outpoint(i)), (message["account"], i.index, i.value_sats))
        return super().answer(message)

    def _check_outcome(self, kind: object, tx: UnsignedTx, terms: TermsFacts, account: int) -> None:
        """Nothing is asked."""


@dataclass
class House:
    """A running signer, and how its clients reach it."""

    server: SignerServer
    path: Path
    log: Path

    @property
    def client(self) -> SignerClient:
        """A new client."""
        return SignerClient(self.path)

    def ask(self, line: bytes) -> dict[str, Any]:
        """One raw line, the answer to it."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.path))
            connection.sendall(line)
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as stream:
                answer = json.loads(stream.readline())
        assert isinstance(answer, dict)
        return answer

    def refused(self, message: object) -> str:
        """The sentence that refuses this message."""
        answer = self.ask(json.dumps(message).encode() + b"\n")
        assert set(answer) - {"part"} == {"error"}, answer
        sentence = answer["error"]
        assert isinstance(sentence, str) and sentence.endswith(".")
        return sentence

    def still_honest(self) -> None:
        """The next honest client is served."""
        assert self.client.accounts(0, 1)[0].index == 0


@contextmanager
def running_signer(
    folder: Path, peers: Iterable[int] = (), kind: type[Signer] = CarefreeSigner, coins: Iterable[TxInput] = ()
) -> Iterator[House]:
    """A signer that listens in `folder`, and that was shown `coins` of ACCOUNT."""
    log = folder / "log.jsonl"
    held = SignerLog(log)
    held._shown.update({_key(outpoint(i)): (ACCOUNT, i.index, i.value_sats) for i in coins})
    server = SignerServer(kind(STORE, held, "regtest"), folder / "s", set(peers))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield House(server, folder / "s", log)
    finally:
        server.shutdown()
        server.server_close()
