"""Addresses against a slow model of BIP 173, BIP 350 and base58check, and against the real node."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import UserError
from crowdfund.wallet.addresses import address_of, normalise, script_of

BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32M = 0x2BC830A3
KINDS = ["legacy", "p2sh-segwit", "bech32", "bech32m"]


def polymod(values: list[int]) -> int:
    """BIP 173, as printed there."""
    generator = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for i in range(5):
            checksum ^= generator[i] if (top >> i) & 1 else 0
    return checksum


def segwit(prefix: str, version: int, program: bytes, constant: int | None = None, pad: int = 0) -> str:
    """A witness address, right or (with the other `constant`, or other `pad` bits) wrong on purpose."""
    bits = "".join(f"{b:08b}" for b in program)
    missing = -len(bits) % 5
    bits += f"{pad:0{missing}b}" if missing else ""
    data = [version] + [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)]
    constant = constant or (BECH32M if version else 1)
    head = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    checksum = polymod([*head, *data, 0, 0, 0, 0, 0, 0]) ^ constant
    return prefix + "1" + "".join(BECH32[d] for d in data + [(checksum >> 5 * (5 - i)) & 31 for i in range(6)])


def base58(payload: bytes) -> str:
    """base58check."""
    data = payload + sha256(sha256(payload).digest()).digest()[:4]
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = BASE58[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def accepted(text: str, network: str = "regtest") -> bytes | None:
    """The script, or None where a sentence was given instead."""
    try:
        return script_of(text, network)
    except UserError as error:
        assert error.sentence.endswith(".")
        return None


HASH = bytes(range(20))
LONG = bytes(range(32))
GOOD = {
    segwit("bcrt", 0, HASH): b"\x00\x14" + HASH,
    segwit("bcrt", 0, LONG): b"\x00\x20" + LONG,
    segwit("bcrt", 1, LONG): b"\x51\x20" + LONG,
    base58(b"\x6f" + HASH): b"\x76\xa9\x14" + HASH + b"\x88\xac",
    base58(b"\xc4" + HASH): b"\xa9\x14" + HASH + b"\x87",
}


@pytest.mark.parametrize(("address", "script"), GOOD.items())
def test_the_five_kinds_are_accepted_and_printed_back(address: str, script: bytes) -> None:
    assert script_of(f"  {address}\n", "regtest") == script
    assert address_of(script, "regtest") == address


@pytest.mark.parametrize("address", [a for a in GOOD if a.startswith("bcrt1")])
def test_upper_case_is_accepted_and_mixed_case_is_not(address: str) -> None:
    assert script_of(address.upper(), "regtest") == GOOD[address]
    assert normalise(address.upper()) == address
    for position in (0, 5, len(address) - 1):
        mixed = address.upper()[:position] + address[position:] if position else address[:-1] + address[-1].upper()
        if mixed not in (address, address.upper()):
            assert accepted(mixed) is None
    with pytest.raises(UserError, match="mixes capital and small"):
        script_of(address[:6] + address[6:].upper(), "regtest")


@pytest.mark.parametrize("address", GOOD)
def test_every_single_wrong_letter_is_noticed(address: str) -> None:
    alphabet = BECH32 + "1bio" if address.startswith("bcrt1") else BASE58
    for position, right in enumerate(address):
        for wrong in alphabet:
            if wrong != right:
                assert accepted(address[:position] + wrong + address[position + 1 :]) is None
        assert accepted(address[:position] + address[position + 1 :]) is None, "a letter is missing"


@pytest.mark.parametrize(
    "address",
    [
        segwit("bcrt", 1, LONG, constant=1),  # bech32 for version 1
        segwit("bcrt", 0, HASH, constant=BECH32M),  # bech32m for version 0
        segwit("bcrt", 0, LONG[:16]),
        segwit("bcrt", 0, LONG[:31]),
        segwit("bcrt", 0, LONG + b"x"),
        segwit("bcrt", 0, LONG, pad=1),
        segwit("bcrt", 1, HASH),
        segwit("bcrt", 1, bytes.fromhex("4e73")),
        segwit("bcrt", 1, LONG + b"12345678"),
        segwit("bcrt", 1, LONG + b"123456789"),
        segwit("bcrt", 1, b"x"),
        *(segwit("bcrt", version, LONG) for version in range(2, 17)),
        segwit("bcrt", 17, LONG),
        segwit("bcrt", 31, LONG),
        segwit("bcrt", 0, b""),
        base58(b"\x6f" + HASH[:19]),
        base58(b"\x6f" + HASH + b"x"),
        base58(b"\x6f"),
        base58(b""),
        base58(b"\xef" + LONG + b"\x01"),  # a private key
        base58(b"\x07" + HASH),
        "",
        " ",
        "bcrt1",
        "1",
        "bcrt1" + "q" * 100_000,
        "1" * 50_000 + "z" * 50_000,
        "\ud800",
        "bcrt1\ud800",
        "bitcoin:" + segwit("bcrt", 0, HASH),
        segwit("bcrt", 0, HASH) + " " + segwit("bcrt", 0, HASH),
        "tpubD6NzVbkrYhZ4XYa9MoLt4BiMZ4gkt2faZ4BcmKu2a9te4LDpQmvEz2L2yDERivHxFPnxXXhqDRkUNnQCpZggCyEZLBktV7VaSmwayqMJy1s",
    ],
)
def test_what_would_lose_money_is_refused(address: str) -> None:
    assert accepted(address) is None


@pytest.mark.parametrize("network", ["mainnet", "signet", "testnet4", "regtest"])
def test_addresses_of_other_networks_are_named_and_refused(network: str) -> None:
    prefix = {"mainnet": "bc", "signet": "tb", "testnet4": "tb", "regtest": "bcrt"}[network]
    for other, title in (("bc", "mainnet"), ("tb", "test network"), ("bcrt", "regtest")):
        if other == prefix:
            assert script_of(segwit(other, 1, LONG), network) == b"\x51\x20" + LONG
        else:
            with pytest.raises(UserError, match=title):
                script_of(segwit(other, 1, LONG), network)
    for version, ours in ((0x00, True), (0x05, True), (0x6F, False), (0xC4, False)):
        if ours == (network == "mainnet"):
            assert script_of(base58(bytes([version]) + HASH), network)
        else:
            with pytest.raises(UserError, match="This is an address of"):
                script_of(base58(bytes([version]) + HASH), network)
    with pytest.raises(UserError) as refused:
        script_of(segwit("ltc", 0, HASH), network, "payout_address")
    assert refused.value.field == "payout_address"


@given(st.binary(min_size=20, max_size=20), st.binary(min_size=32, max_size=32))
def test_script_and_address_are_two_forms_of_one_thing(short: bytes, long: bytes) -> None:
    scripts = [
        b"\x76\xa9\x14" + short + b"\x88\xac",
        b"\xa9\x14" + short + b"\x87",
        b"\x00\x14" + short,
        b"\x00\x20" + long,
        b"\x51\x20" + long,
    ]
    for network in ("mainnet", "signet", "testnet4", "regtest"):
        assert [script_of(address_of(s, network), network) for s in scripts] == scripts


@given(st.text(max_size=80) | st.text(BECH32 + "1BCRTbcrt", max_size=80))
def test_any_text_is_an_address_or_a_sentence(text: str) -> None:
    accepted(text)


@pytest.mark.parametrize("script", [b"", b"\x6a\x01x", b"\x51\x02Ns", b"\x52\x20" + LONG, b"\x21" + LONG + b"\x02\xac"])
def test_scripts_without_a_usual_address_have_none(script: bytes) -> None:
    with pytest.raises(ValueError, match="address"):
        address_of(script, "regtest")


def test_the_real_node_agrees(node: RegtestNode) -> None:
    """The node calls future witness versions valid; we refuse those, and nothing else that it accepts."""
    draw = random.Random(21)
    corpus = [str(node.bank("getnewaddress", "", kind)) for kind in KINDS for _ in range(10)]
    corpus += [segwit("bcrt", v, draw.randbytes(n)) for v in range(17) for n in (2, 20, 32, 40)]
    corpus += [segwit("bcrt", v, LONG, constant=1 if v else BECH32M) for v in (0, 1, 2)]
    corpus += [segwit(p, 0, HASH) for p in ("bc", "tb", "ltc")] + [segwit("bcrt", 0, LONG, pad=1)]
    corpus += [base58(bytes([v]) + HASH) for v in (0, 5, 0x6F, 0xC4, 0x30)]
    corpus += [a.upper() for a in corpus[:40]] + [a.swapcase() for a in corpus[:40]]
    for address in corpus[:40]:
        spot = draw.randrange(len(address))
        corpus.append(address[:spot] + draw.choice(BECH32 + BASE58) + address[spot + 1 :])
    for address in corpus:
        told = node.rpc("validateaddress", address)
        script = bytes.fromhex(told["scriptPubKey"]) if told["isvalid"] else None
        future = script is not None and (script[0] > 0x51 or (script[0] == 0x51 and len(script) != 34))
        future = future and script is not None and script[0] <= 0x60
        assert accepted(address) == (None if future else script), address
