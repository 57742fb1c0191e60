"""Receipts: what a backer was promised, signed by the account's receipt key as a BIP 137 message. Pure.

`bitcoin-cli verifymessage ADDRESS SIGNATURE TEXT` checks one without any code of ours: ADDRESS is the P2PKH address of
the receipt key, which the terms of version 2 name and which every address of the campaign thus commits to.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from hashlib import sha256

from coincurve import PrivateKey
from embit.base import EmbitError
from embit.ec import PublicKey
from embit.hashes import hash160
from embit.util import secp256k1

from crowdfund.wallet.addresses import address_of

VERSION = 1
KIND = "pledge receipt"
MAGIC = b"\x18Bitcoin Signed Message:\n"
COMPRESSED_P2PKH = 31  # BIP 137: 31 to 34 are signatures of a compressed key's P2PKH address
SIGNATURE_BYTES = 65


@dataclass(frozen=True)
class Receipt:
    """One pledge's promise. `campaign` is the hash of the terms, 64 hex digits; `timelock_height` 0 where terms have
    none."""

    network: str
    campaign: str
    index: int
    address: str
    amount_sats: int
    refund_address: str
    timelock_height: int = 0

    def text(self) -> str:
        """The canonical JSON that is signed."""
        fields: dict[str, object] = {
            "version": VERSION,
            "kind": KIND,
            "network": self.network,
            "campaign": self.campaign,
            "index": self.index,
            "address": self.address,
            "amount_sats": self.amount_sats,
            "refund_address": self.refund_address,
        }
        if self.timelock_height:
            fields["timelock_height"] = self.timelock_height
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def parse(cls, text: str) -> Receipt:
        """Read a receipt's text back. Raises ValueError where it is not exactly that of some receipt."""
        try:
            fields = json.loads(text)
            found = cls(**{name: value for name, value in fields.items() if name not in ("version", "kind")})
            same = found.text() == text
        except (TypeError, AttributeError, RecursionError) as error:
            raise ValueError("not a receipt") from error
        if not same:
            raise ValueError("not a receipt in canonical form")
        return found


def message_digest(text: str) -> bytes:
    """What a signed message covers: the double SHA-256 of the magic words and the text, each with its length."""
    data = text.encode()
    return sha256(sha256(MAGIC + _varint(len(data)) + data).digest()).digest()


def sign_text(text: str, key: PrivateKey) -> str:
    """The BIP 137 signature of `text` in base64, for the P2PKH address of the compressed key."""
    made = key.sign_recoverable(message_digest(text), hasher=None)  # r, s, then which of the possible keys it was
    return base64.b64encode(bytes([COMPRESSED_P2PKH + made[64]]) + made[:64]).decode()


def verify_receipt(text: str, signature: str, receipt_key: str) -> bool:
    """Whether `signature` (base64) is that of `receipt_key` (66 hex digits) under `text`. Never raises."""
    try:
        raw = base64.b64decode(signature, validate=True)
        if len(raw) != SIGNATURE_BYTES or not COMPRESSED_P2PKH <= raw[0] <= COMPRESSED_P2PKH + 3:
            return False
        made = secp256k1.ecdsa_recoverable_signature_parse_compact(raw[1:], raw[0] - COMPRESSED_P2PKH)
        found = PublicKey(secp256k1.ecdsa_recover(made, message_digest(text)))
        return bool(found.sec().hex() == receipt_key)
    except (ValueError, EmbitError, binascii.Error):
        return False


def receipt_address(receipt_key: str, network_name: str) -> str:
    """The P2PKH address of the receipt key, which `verifymessage` asks for. Raises ValueError."""
    return address_of(b"\x76\xa9\x14" + hash160(bytes.fromhex(receipt_key)) + b"\x88\xac", network_name)


def _varint(n: int) -> bytes:
    return (
        bytes([n])
        if n < 0xFD
        else b"\xfd" + n.to_bytes(2, "little")
        if n <= 0xFFFF
        else b"\xfe" + n.to_bytes(4, "little")
    )
