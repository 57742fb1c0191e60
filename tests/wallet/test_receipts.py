"""Receipts: what the signer puts in them, and that a real node verifies them without our code."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import WorldError
from crowdfund.wallet.addresses import address_of
from crowdfund.wallet.descriptors import derive_address
from crowdfund.wallet.receipts import Receipt, receipt_address, sign_text, verify_receipt
from support.signing import (
    ACCOUNT,
    STORE,
    TIMELOCK,
    House,
    descriptor_of,
    receipt_key,
    running_signer,
    terms,
    terms_2,
)

BOB = b"\x00\x14" + b"b" * 20
KEY = receipt_key()
TERMS = terms_2()
RECEIPT = Receipt("regtest", "ab" * 32, 7, "bcrt1qx", 50_000, "bcrt1qy", 5_000)
SIGNED = sign_text(RECEIPT.text(), STORE.receipt_key(ACCOUNT))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with running_signer(tmp_path) as running:
        running.client.register(TERMS, ACCOUNT, {3: BOB})
        yield running


def test_a_receipt_says_what_the_signer_itself_knows(house: House, node: RegtestNode) -> None:
    made = house.client.receipt(TERMS, ACCOUNT, 3, 123_456)
    assert json.loads(made.text) == {
        "version": 1,
        "kind": "pledge receipt",
        "network": "regtest",
        "campaign": sha256(TERMS.encode()).hexdigest(),
        "index": 3,
        "address": derive_address(descriptor_of(TERMS), 3, "regtest")[0],
        "amount_sats": 123_456,
        "refund_address": address_of(BOB, "regtest"),
        "timelock_height": TIMELOCK,
    }
    assert verify_receipt(made.text, made.signature, house.client.accounts(ACCOUNT, 1)[0].receipt_key)
    address = receipt_address(KEY, "regtest")
    assert node.rpc("verifymessage", address, made.signature, made.text) is True
    assert node.rpc("verifymessage", address, made.signature, made.text + " ") is False
    assert house.client.receipt(TERMS, ACCOUNT, 3, 123_456) == made, "the same request, the same bytes"


def test_terms_without_a_time_lock_promise_none(tmp_path: Path) -> None:
    with running_signer(tmp_path) as house:
        house.client.register(terms(), ACCOUNT, {3: BOB})
        made = house.client.receipt(terms(), ACCOUNT, 3, 1)
        assert "timelock_height" not in made.text
        assert verify_receipt(made.text, made.signature, KEY)


def test_what_was_not_registered_gets_no_receipt(house: House) -> None:
    with pytest.raises(WorldError, match="no refund address is registered"):
        house.client.receipt(TERMS, ACCOUNT, 4, 1_000)
    for message in (
        {"index": 3, "amount_sats": -1},
        {"index": 3, "amount_sats": "1"},
        {"index": -1, "amount_sats": 1},
        {"index": 3},
    ):
        house.refused({"op": "receipt", "terms": TERMS, "account": ACCOUNT, **message})
    for text in (terms(), terms_2(title="Other"), terms_2(receipt_key=receipt_key(9))):
        with pytest.raises(WorldError, match=r"other terms|receipt key"):
            house.client.receipt(text, ACCOUNT, 3, 1_000)


def test_the_key_is_hardened_and_the_accounts_own() -> None:
    key = STORE._account(ACCOUNT).child_private(0, hardened=True)
    assert key.public_hex == KEY
    assert len({receipt_key(n) for n in range(4)}) == 4


def test_a_receipt_is_read_back_in_one_form_only() -> None:
    text = RECEIPT.text()
    assert Receipt.parse(text) == RECEIPT
    assert Receipt.parse(replace(RECEIPT, timelock_height=0).text()).timelock_height == 0
    whole = json.loads(text)
    for wrong in (
        text + " ",
        text.replace(":", ": "),
        "[]",
        "5",
        "null",
        "x",
        "[" * 100_000,
        json.dumps({**whole, "more": 1}, sort_keys=True, separators=(",", ":")),
        text.replace('"version":1', '"version":2'),
        text.replace("pledge receipt", "other receipt"),
    ):
        with pytest.raises(ValueError):
            Receipt.parse(wrong)


@pytest.mark.parametrize(
    "signature",
    ["", "x", "é", SIGNED[:-4], SIGNED + "AAAA", SIGNED + "\n", base64.b64encode(bytes(65)).decode()]
    + [base64.b64encode(bytes([n]) + base64.b64decode(SIGNED)[1:]).decode() for n in (0, 27, 28, 30, 35, 39, 255)],
)
def test_a_signature_in_another_form_is_none(signature: str) -> None:
    assert verify_receipt(RECEIPT.text(), SIGNED, KEY)
    assert not verify_receipt(RECEIPT.text(), signature, KEY)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 64), st.integers(1, 255))
def test_a_changed_byte_of_the_signature_is_noticed(position: int, change: int) -> None:
    raw = bytearray(base64.b64decode(SIGNED))
    raw[position] ^= change
    assert not verify_receipt(RECEIPT.text(), base64.b64encode(raw).decode(), KEY)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=400))
def test_any_text_is_signed_and_no_other_passes(text: str) -> None:
    signature = sign_text(text, STORE.receipt_key(1))
    assert verify_receipt(text, signature, receipt_key(1))
    assert not verify_receipt(text + "x", signature, receipt_key(1))
    assert not verify_receipt(text, signature, KEY)


@pytest.mark.parametrize("length", [0, 252, 253, 65_535, 65_536])
def test_the_node_agrees_at_every_length(length: int, node: RegtestNode) -> None:
    text = "a" * length
    signature = sign_text(text, STORE.receipt_key(ACCOUNT))
    assert node.rpc("verifymessage", receipt_address(KEY, "regtest"), signature, text) is True
    assert verify_receipt(text, signature, KEY)


@pytest.mark.parametrize("key", ["", "zz", "00" * 33, KEY.upper(), KEY[:-2]])
def test_a_key_in_another_form_verifies_nothing(key: str) -> None:
    assert not verify_receipt(RECEIPT.text(), SIGNED, key)
