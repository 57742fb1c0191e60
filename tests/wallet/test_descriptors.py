"""Descriptors: the terms are in every address, two libraries and a real node derive the same."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import WorldError
from crowdfund.wallet import descriptors
from crowdfund.wallet.addresses import address_of, script_of
from crowdfund.wallet.descriptors import campaign_descriptor, derive_address, derive_script, terms_words
from crowdfund.wallet.keystore import Keystore

# The test vector of BIP 84: eleven times abandon, and about.
ABANDON = "abandon " * 11 + "about"
XPUB = "xpub6CatWdiZiodmUeTDp8LT5or8nmbKNcuyvz7WyksVFkKB4RHwCD3XyuvPEbvqAQY3rAPshWcMLoP2fMFMKHPJ4ZeZXYVUhLv1VMrjPC7PW6V"
ACCOUNT = Keystore(ABANDON, "regtest").account_xpub(3)
FINGERPRINT = "73c5da0a"
hashes = st.binary(min_size=32, max_size=32)
indices = st.integers(0, 2**31 - 1)


def descriptor_of(terms_hash: bytes) -> str:
    return campaign_descriptor(FINGERPRINT, 3, ACCOUNT, terms_hash, "regtest")


@given(hashes)
def test_the_words_are_the_bits_of_the_hash_in_order(terms_hash: bytes) -> None:
    bits = "".join(f"{byte:08b}" for byte in terms_hash)
    assert terms_words(terms_hash) == tuple(int(bits[i : i + 31], 2) for i in range(0, 248, 31))


@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(33)])
def test_a_hash_has_32_bytes(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        terms_words(wrong)


def test_the_vector_of_bip_84() -> None:
    receive = f"wpkh([73c5da0a/84h/0h/0h]{XPUB}/0/*)"
    change = f"wpkh([73c5da0a/84h/0h/0h]{XPUB}/1/*)"
    assert derive_address(receive, 0, "mainnet")[0] == "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"
    assert derive_address(receive, 1, "mainnet")[0] == "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g"
    assert derive_address(change, 0, "mainnet")[0] == "bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el"
    store = Keystore(ABANDON, "mainnet")
    assert (store.account_xpub(0), store.fingerprint) == (XPUB, FINGERPRINT)


@settings(max_examples=25, deadline=None)
@given(hashes, indices)
def test_both_libraries_derive_the_same(terms_hash: bytes, index: int) -> None:
    descriptor = descriptor_of(terms_hash)
    address, script = derive_address(descriptor, index, "regtest")
    assert script == derive_script(descriptor, index) == script_of(address, "regtest")
    assert address_of(script, "regtest") == address


@pytest.mark.parametrize("terms_hash", [sha256(b"x").digest(), bytes(32), b"\xff" * 32], ids=["any", "zeros", "ones"])
def test_the_real_node_derives_the_same(terms_hash: bytes, node: RegtestNode) -> None:
    descriptor = descriptor_of(terms_hash)
    assert node.rpc("getdescriptorinfo", descriptor)["descriptor"] == descriptor, "checksum and form are the node's"
    for first in (0, 1000, 2**31 - 12):
        there = node.rpc("deriveaddresses", descriptor, [first, first + 9])
        assert there == [derive_address(descriptor, first + n, "regtest")[0] for n in range(10)]


@settings(max_examples=15, deadline=None)
@given(hashes, st.integers(0, 247), indices)
def test_one_changed_bit_of_the_hash_changes_the_address(terms_hash: bytes, bit: int, index: int) -> None:
    other = (int.from_bytes(terms_hash, "big") ^ 1 << 255 - bit).to_bytes(32, "big")
    assert derive_script(descriptor_of(terms_hash), index) != derive_script(descriptor_of(other), index)


@pytest.mark.parametrize(
    ("network", "prefix", "coin"), [("mainnet", "bc1q", 0), ("testnet4", "tb1q", 1), ("signet", "tb1q", 1)]
)
def test_every_network_has_its_own_form(network: str, prefix: str, coin: int) -> None:
    store = Keystore(ABANDON, network)
    descriptor = campaign_descriptor(store.fingerprint, 5, store.account_xpub(5), sha256(b"t").digest(), network)
    assert f"[73c5da0a/84h/{coin}h/5h]{'x' if coin == 0 else 't'}pub" in descriptor
    assert derive_address(descriptor, 9, network)[0].startswith(prefix)


@pytest.mark.parametrize("library", ["_address_by_embit", "_address_by_bitcoinlib"])
def test_where_the_two_disagree_no_address_is_given_out(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = descriptor_of(bytes(32))
    other = derive_address(descriptor, 1, "regtest")[0]
    monkeypatch.setattr(descriptors, library, lambda *_: other)
    with pytest.raises(WorldError, match="no address is given out") as refused:
        derive_address(descriptor, 0, "regtest")
    assert not refused.value.retryable


@pytest.mark.parametrize("index", [-1, 2**31, 2**32])
def test_an_index_beyond_31_bits_is_none(index: int) -> None:
    with pytest.raises(ValueError, match="address index"):
        derive_address(descriptor_of(bytes(32)), index, "regtest")
