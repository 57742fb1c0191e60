"""Signed texts: vectors of BIP 322, a second library's opinion, and that nothing altered is ever taken."""

from __future__ import annotations

import base64
from collections.abc import Callable

import bip322
import pytest
from coincurve import PrivateKey, PublicKeyXOnly
from embit.hashes import hash160
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfund.errors import UserError
from crowdfund.wallet import signed_messages as sm
from crowdfund.wallet.addresses import address_of, script_of
from crowdfund.wallet.receipts import message_digest
from crowdfund.wallet.signed_messages import check_signed, kind_refusal

KEY = PrivateKey(b"\x07" * 32)
PUBLIC = KEY.public_key.format()
HASH = hash160(PUBLIC)
P2PKH, P2WPKH, NESTED = sm._p2pkh(HASH), sm._p2wpkh(HASH), sm._nested(HASH)
P2PKH_LONG = sm._p2pkh(hash160(KEY.public_key.format(compressed=False)))
P2TR = b"\x51\x20" + PublicKeyXOnly.from_secret(KEY.secret).format()
TEXT = f"Refund address change 1 of pledge 0 of campaign {'ab' * 32}: from a to b"
VECTORS = [
    ("bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l", "", "AkcwRAIgM2gBAQqvZX15ZiysmKmQpDrG83avLIT492QBzLnQIxYCIBaTpOaD2"
     "0qRlEylyxFSeEA2ba9YOixpX8z46TSDtS40ASECx/EgAxlkQpQ9hYjgGu6EBCPMVPwVIVJqO4XCsMvViHI="),
    ("bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l", "Hello World", "AkcwRAIgZRfIY3p7/DoVTty6YZbWS71bc5Vct9p9Fia83eRmw2"
     "QCICK/ENGfwLtptFluMGs2KsqoNSk89pO7F29zJLUx9a/sASECx/EgAxlkQpQ9hYjgGu6EBCPMVPwVIVJqO4XCsMvViHI="),
    ("bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l", "Hello World", "AkgwRQIhAOzyynlqt93lOKJr+wmmxIens//zPzl9tqIOua93wO"
     "6MAiBi5n5EyAcPScOjf1lAqIUIQtr3zKNeavYabHyR8eGhowEhAsfxIAMZZEKUPYWI4BruhAQjzFT8FSFSajuFwrDL1Yhy"),
    ("bc1ppv609nr0vr25u07u95waq5lucwfm6tde4nydujnu8npg4q75mr5sxq8lt3", "Hello World", "AUHd69PrJQEv+oKTfZ8l+WROBHuy9H"
     "KrbFCJu7U1iK2iiEy1vMU5EfMtjc+VSHM7aU0SDbak5IUZRVno2P5mjSafAQ=="),
]  # fmt: skip


def in_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def bip137(header: int, key: PrivateKey = KEY, text: str = TEXT) -> str:
    """A signed message whose header is of the kind that begins at `header`."""
    made = key.sign_recoverable(message_digest(text), hasher=None)
    return in_base64(bytes([header + made[64]]) + made[:64])


def stack(*items: bytes) -> str:
    """A witness."""
    return in_base64(bytes([len(items)]) + b"".join(bytes([len(item)]) + item for item in items))


def segwit(script: bytes, key: PrivateKey = KEY, text: str = TEXT) -> str:
    public = key.public_key.format()
    return stack(key.sign(sm._segwit_digest(script, text, hash160(public)), hasher=None) + b"\x01", public)


def taproot(script: bytes = P2TR, key: PrivateKey = KEY, text: str = TEXT) -> str:
    return stack(key.sign_schnorr(sm._taproot_digest(script, text, b"\0"), b"\x01" * 32))


def refused(script: bytes, text: str, signature: str) -> str:
    with pytest.raises(UserError) as caught:
        check_signed(script, text, signature)
    assert caught.value.sentence[0].isupper() and caught.value.sentence.endswith(".")
    return caught.value.sentence


@pytest.mark.parametrize("vector", VECTORS)
def test_vectors_with_and_without_the_prefix(vector: tuple[str, str, str]) -> None:
    address, text, signature = vector
    script = script_of(address, "mainnet")
    check_signed(script, text, signature)
    check_signed(script, text, f" smp{signature[:40]}\n{signature[40:]} ")
    assert "not that of the address" in refused(script, text + ".", signature)
    for form in ("ful", "pof"):
        assert "full" in refused(script, text, form + signature)


@pytest.mark.parametrize("script", [P2WPKH, P2TR, NESTED], ids=["segwit", "taproot", "nested"])
def test_another_library_says_the_same(script: bytes) -> None:
    made = taproot() if script == P2TR else segwit(script)
    address = address_of(script, "mainnet")
    check_signed(script, TEXT, made)
    assert bip322.verify_simple_encoded(address, TEXT, made) is None
    with pytest.raises(bip322.VerificationError):
        bip322.verify_simple_encoded(address, TEXT + "x", made)
    refused(script, TEXT + "x", made)


GOOD = {27: (P2PKH_LONG,), 31: (P2PKH, NESTED, P2WPKH), 35: (NESTED,), 39: (P2WPKH,)}


@pytest.mark.parametrize("header", GOOD)
def test_the_header_never_says_whose_a_signature_is(header: int) -> None:
    """It may name a kind, and then stands for this one alone; the script is compared in any case."""
    for script in (P2PKH_LONG, P2PKH, NESTED, P2WPKH):
        if script in GOOD[header]:
            check_signed(script, TEXT, bip137(header))
        else:
            refused(script, TEXT, bip137(header))
        refused(script, TEXT, bip137(header, PrivateKey(b"\x08" * 32)))
    refused(P2TR, TEXT, bip137(header))


@pytest.mark.parametrize("header", [0, 1, 26, 43, 44, 255])
def test_other_headers_are_none(header: int) -> None:
    raw = base64.b64decode(bip137(31))
    refused(P2PKH, TEXT, in_base64(bytes([header]) + raw[1:]))


def test_kinds_without_a_single_key() -> None:
    wsh = b"\x00\x20" + bytes(32)
    assert "P2WSH" in kind_refusal(wsh) and "P2WSH" in refused(wsh, TEXT, segwit(P2WPKH))
    assert [kind_refusal(script) for script in (P2PKH, P2WPKH, NESTED, P2TR)] == [""] * 4
    several = b"\xa9\x14" + b"m" * 20 + b"\x87"
    assert "several signers" in refused(several, TEXT, segwit(NESTED))


MADE: dict[str, tuple[bytes, Callable[[], str]]] = {
    "legacy": (P2PKH, lambda: bip137(31)),
    "uncompressed": (P2PKH_LONG, lambda: bip137(27)),
    "segwit by BIP 137": (P2WPKH, lambda: bip137(39)),
    "segwit": (P2WPKH, lambda: segwit(P2WPKH)),
    "nested": (NESTED, lambda: segwit(NESTED)),
    "taproot": (P2TR, taproot),
}


@pytest.mark.parametrize("name", MADE)
def test_no_altered_byte_is_taken(name: str) -> None:
    """Of the signature, each one; only a header that names the same key in another way says the same."""
    script, make = MADE[name]
    raw = base64.b64decode(make())
    check_signed(script, TEXT, in_base64(raw))
    for at in range(len(raw)):
        for flip in (1, 0x80):
            other = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
            refused(script, TEXT, in_base64(other))
    for wrong in (raw[:-1], raw + b"\0", b"", raw * 2):
        refused(script, TEXT, in_base64(wrong))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_altered_text_address_or_letter_is_taken(data: st.DataObject) -> None:
    script, make = MADE[data.draw(st.sampled_from(sorted(MADE)))]
    signature = make()
    at = data.draw(st.integers(0, len(TEXT) - 1))
    letter = data.draw(st.characters(codec="ascii").filter(lambda c: c != TEXT[at]))
    refused(script, TEXT[:at] + letter + TEXT[at + 1 :], signature)
    place = data.draw(st.integers(3, len(script) - 3))
    refused(script[:place] + bytes([script[place] ^ 1]) + script[place + 1 :], TEXT, signature)
    spot = data.draw(st.integers(1, len(signature) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda c: c != signature[spot] and not c.isspace()))
    if not (signature[spot] == "=" and other == "="):
        refused(script, TEXT, signature[:spot] + other + signature[spot + 1 :])


@given(st.one_of(st.text(max_size=300), st.binary(max_size=200).map(in_base64)))
@settings(max_examples=150, deadline=None)
def test_whatever_is_pasted_is_refused_with_a_sentence(pasted: str) -> None:
    for script in (P2PKH, P2WPKH, NESTED, P2TR):
        refused(script, TEXT, pasted)
        refused(script, TEXT, "smp" + pasted)


def test_other_sighash_flags_are_not_taken() -> None:
    key_hash = hash160(PUBLIC)
    digest = sm._segwit_digest(P2WPKH, TEXT, key_hash)
    made = KEY.sign(digest, hasher=None)
    for flag in (b"", b"\0", b"\x02", b"\x81"):
        refused(P2WPKH, TEXT, stack(made + flag, PUBLIC))
    refused(P2WPKH, TEXT, stack(made + b"\x01", KEY.public_key.format(compressed=False)))
    bare = KEY.sign_schnorr(sm._taproot_digest(P2TR, TEXT, b"\0"), b"\x01" * 32)
    for flag in (b"\0", b"\x01", b"\x83"):
        refused(P2TR, TEXT, stack(bare + flag))
    refused(P2TR, TEXT, stack(bare, b"\x50annex"))
