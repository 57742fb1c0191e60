"""Is this text signed by whoever holds the key of a locking script? BIP 137 and BIP 322 "simple". Pure.

What is compared is always the script itself: neither the header of a BIP 137 signature nor an address that somebody
claims says whose it is. Kinds of scripts that no single key stands for cannot sign here; each refusal is a sentence.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256

from coincurve import PublicKey, PublicKeyXOnly
from embit.hashes import hash160

from crowdfund.errors import UserError
from crowdfund.sentences import N_, Sentence, joined
from crowdfund.wallet.receipts import message_digest

SIMPLE = "smp"
OTHER_FORMS = ("ful", "pof")
LONGEST = 1_000  # letters; a signature of one key has about 150
BIP137_BYTES = 65
UNCOMPRESSED, COMPRESSED, NESTED, NATIVE, BEYOND = 27, 31, 35, 39, 43  # the first header of each kind, by BIP 137
SIGHASH_ALL = b"\x01"
TAG_MESSAGE, TAG_SIGHASH = b"BIP0322-signed-message", b"TapSighash"
NO_INPUT = bytes(32) + b"\xff" * 4
OP_RETURN_OUTPUT = bytes(8) + b"\x01\x6a"

WRONG = N_(
    "This signature is not that of the address over exactly this text. Sign the text as it stands, every letter of it, "
    "with the wallet that the address belongs to."
)
UNREADABLE = N_("This is not a signature as wallets write them; copy all of it, and nothing else.")
NOT_SIMPLE = N_(
    "This is a signature in the “full” form or a proof of funds. Let the wallet make the simple form of BIP 322, or a "
    "signed message (BIP 137)."
)
NO_SINGLE_KEY = N_(
    "An address of this kind (P2WSH) has no single key that could sign a text here, so it cannot be done for it."
)
PERHAPS_SEVERAL = N_(
    "If the address belongs to a wallet of several signers, or to a script, it cannot be done for it; an address that "
    "begins with 3 (2 on test networks) can sign only where it is “nested segwit” of a single key."
)


def kind_refusal(script: bytes) -> str:
    """Why nobody can sign for a script of this kind, as a sentence; empty where somebody may be able to."""
    if _is_p2pkh(script) or _is_p2sh(script) or _is_p2wpkh(script) or _is_p2tr(script):
        return ""
    return NO_SINGLE_KEY


def check_signed(script: bytes, text: str, signature: str) -> None:
    """Return if `signature` is that of `script`'s one key over `text`. Raises UserError that says what is wrong."""
    refusal = kind_refusal(script)
    if refusal:
        raise UserError(refusal)
    raw = _decoded(signature)
    if len(raw) == BIP137_BYTES and not _is_p2tr(script):
        good = script in _scripts_of(raw, text)
    else:
        good = _simple_is_good(script, text, raw)
    if not good:
        raise UserError(joined(Sentence(WRONG), Sentence(PERHAPS_SEVERAL)) if _is_p2sh(script) else WRONG)


def _decoded(signature: str) -> bytes:
    """One spelling only is read: base64 can hide bits in its last letter."""
    text = "".join(signature.split())
    if text[:3] in OTHER_FORMS:
        raise UserError(NOT_SIMPLE)
    text = text.removeprefix(SIMPLE)
    try:
        raw = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(UNREADABLE) from error
    if not raw or len(text) > LONGEST or b64encode(raw).decode() != text:
        raise UserError(UNREADABLE)
    if raw[0] == 0 and len(raw) > BIP137_BYTES:  # a whole transaction, as BIP 322 wrote the full form before prefixes
        raise UserError(NOT_SIMPLE)
    return raw


def _scripts_of(raw: bytes, text: str) -> tuple[bytes, ...]:
    """What a BIP 137 signature can stand for: the scripts of the one key that made it.

    Many wallets sign for segwit addresses under the header of a compressed P2PKH key, so that header may stand for any
    kind; one that names a kind stands for that one alone.
    """
    header = raw[0]
    if not UNCOMPRESSED <= header < BEYOND:
        return ()
    try:
        made = raw[1:] + bytes([(header - UNCOMPRESSED) % 4])
        key = PublicKey.from_signature_and_message(made, message_digest(text), hasher=None)
    except Exception:  # what coincurve raises where no key can have made it
        return ()
    if header < COMPRESSED:
        return (_p2pkh(hash160(key.format(compressed=False))),)
    digest = hash160(key.format())
    if header < NESTED:
        return _p2pkh(digest), _nested(digest), _p2wpkh(digest)
    return (_nested(digest),) if header < NATIVE else (_p2wpkh(digest),)


def _simple_is_good(script: bytes, text: str, raw: bytes) -> bool:
    """BIP 322: `raw` is the witness of a transaction that spends one which commits to script and text."""
    items = _witness(raw)
    if _is_p2tr(script):
        return len(items) == 1 and _key_path_is_good(script, text, items[0])
    if _is_p2pkh(script) or len(items) != 2:
        return False
    made, key = items
    if len(key) != 33 or script not in (_p2wpkh(hash160(key)), _nested(hash160(key))) or made[-1:] != SIGHASH_ALL:
        return False
    try:
        return PublicKey(key).verify(made[:-1], _segwit_digest(script, text, hash160(key)), hasher=None)
    except ValueError:
        return False


def _key_path_is_good(script: bytes, text: str, made: bytes) -> bool:
    """Sixty-four bytes sign by default everything; one more byte may say the same aloud."""
    if len(made) == 65 and made[64:] == SIGHASH_ALL:
        hash_type = SIGHASH_ALL
    elif len(made) == 64:
        hash_type = b"\0"
    else:
        return False
    try:
        return PublicKeyXOnly(script[2:]).verify(made[:64], _taproot_digest(script, text, hash_type))
    except ValueError:
        return False


def _witness(raw: bytes) -> Sequence[bytes]:
    """Its items; none where it is not put together as one, to the last byte. Counts and lengths here have one byte."""
    items, at = [], 1
    for _ in range(raw[0]):
        size = raw[at] if at < len(raw) else 0xFF
        if size >= 0xFD or at + 1 + size > len(raw):
            return ()
        items.append(raw[at + 1 : at + 1 + size])
        at += 1 + size
    return items if at == len(raw) else ()


def _outpoint(script: bytes, text: str) -> bytes:
    """Of the transaction that nobody can send, whose only output has the script and whose input has the text."""
    message = _tagged(TAG_MESSAGE, text.encode())
    spend = b"\x01" + NO_INPUT + b"\x22\x00\x20" + message + bytes(4)
    pay = b"\x01" + bytes(8) + bytes([len(script)]) + script
    return _twice(bytes(4) + spend + pay + bytes(4)) + bytes(4)


def _segwit_digest(script: bytes, text: str, key_hash: bytes) -> bytes:
    """BIP 143, for the one input of the second transaction."""
    outpoint, sequence = _outpoint(script, text), bytes(4)
    code = b"\x19" + _p2pkh(key_hash)
    parts = (bytes(4), _twice(outpoint), _twice(sequence), outpoint, code, bytes(8), sequence, _twice(OP_RETURN_OUTPUT))
    return _twice(b"".join(parts) + bytes(4) + SIGHASH_ALL + bytes(3))


def _taproot_digest(script: bytes, text: str, hash_type: bytes) -> bytes:
    """BIP 341, for the same input, by the key path."""
    amounts, scripts, sequences = bytes(8), bytes([len(script)]) + script, bytes(4)
    hashed = (_outpoint(script, text), amounts, scripts, sequences, OP_RETURN_OUTPUT)
    common = hash_type + bytes(4) + bytes(4) + b"".join(sha256(part).digest() for part in hashed)
    return _tagged(TAG_SIGHASH, b"\0" + common + b"\0" + bytes(4))


def _tagged(tag: bytes, data: bytes) -> bytes:
    prefix = sha256(tag).digest()
    return sha256(prefix + prefix + data).digest()


def _twice(data: bytes) -> bytes:
    return sha256(sha256(data).digest()).digest()


def _p2pkh(key_hash: bytes) -> bytes:
    return b"\x76\xa9\x14" + key_hash + b"\x88\xac"


def _p2wpkh(key_hash: bytes) -> bytes:
    return b"\x00\x14" + key_hash


def _nested(key_hash: bytes) -> bytes:
    return b"\xa9\x14" + hash160(_p2wpkh(key_hash)) + b"\x87"


def _is_p2pkh(script: bytes) -> bool:
    return len(script) == 25 and script[:3] == b"\x76\xa9\x14" and script[23:] == b"\x88\xac"


def _is_p2sh(script: bytes) -> bool:
    return len(script) == 23 and script[:2] == b"\xa9\x14" and script[22:] == b"\x87"


def _is_p2wpkh(script: bytes) -> bool:
    return len(script) == 22 and script[:2] == b"\x00\x14"


def _is_p2tr(script: bytes) -> bool:
    return len(script) == 34 and script[:2] == b"\x51\x20"
