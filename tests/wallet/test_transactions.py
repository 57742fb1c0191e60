"""Settlement transactions: our bytes are the node's, and a wrong signature of any kind is noticed."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from embit.descriptor import Descriptor
from embit.script import Script
from embit.transaction import Transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import WorldError
from crowdfund.wallet.bcl import HDKey
from crowdfund.wallet.bcl import Transaction as BitcoinlibTransaction
from crowdfund.wallet.descriptors import campaign_descriptor, derive_key, derive_script
from crowdfund.wallet.keystore import Keystore
from crowdfund.wallet.signing import sign
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx, verify_signed

HASH = bytes(range(32))
STORE = Keystore("abandon " * 11 + "about", "regtest")
DESCRIPTOR = campaign_descriptor(STORE.fingerprint, 0, STORE.account_xpub(0), HASH, "regtest")
P2WPKH, P2TR = b"\x00\x14" + b"b" * 20, b"\x51\x20" + b"c" * 32
TX = UnsignedTx(
    (TxInput("11" * 32, 7, 50_000, 5), TxInput("22" * 32, 0, 60_000, 5), TxInput("33" * 32, 70_000, 9_000, 6)),
    (TxOutput(P2WPKH, 70_000, 5), TxOutput(P2TR, 40_000, 6)),
    500_000,
)


BRANCH = STORE.branch(0, HASH)
RAW = sign(TX, BRANCH)


def signed(tx: UnsignedTx) -> bytes:
    """Signed as the signer signs."""
    return sign(tx, BRANCH)


def by_bitcoinlib(tx: UnsignedTx) -> bytes:
    """Signed by bitcoinlib: keys, digests, signatures and all."""
    branch = STORE.campaign_key(0, HASH)
    made = BitcoinlibTransaction(
        version=2, locktime=tx.locktime, network="regtest", witness_type="segwit", replace_by_fee=True
    )
    for i in tx.inputs:
        made.add_input(
            i.txid, i.vout, keys=[branch.child_private(i.index)], script_type="sig_pubkey",
            witness_type="segwit", value=i.value_sats, sequence=0xFFFFFFFD,
        )  # fmt: skip
    for o in tx.outputs:
        made.add_output(o.value_sats, lock_script=o.script)
    made.sign()
    return bytes(made.raw())


def with_witnesses(tx: UnsignedTx, stacks: Sequence[Sequence[bytes]]) -> bytes:
    """The transaction with these witness stacks (BIP 144)."""
    bare = tx.serialize()
    parts = [bare[:4], b"\x00\x01", bare[4:-4]]
    for stack in stacks:
        parts.append(bytes([len(stack)]) + b"".join(bytes([len(item)]) + item for item in stack))
    return b"".join([*parts, bare[-4:]])


def by_node(node: RegtestNode, tx: UnsignedTx, sighash: str = "ALL", indices: Sequence[int] = ()) -> list[list[bytes]]:
    """Witness stacks that the real node makes with the keys of `indices` (default: the right ones)."""
    branch = STORE.campaign_key(0, HASH)
    used = list(indices) or [i.index for i in tx.inputs]
    keys: list[HDKey] = [branch.child_private(index) for index in used]
    spent = [
        {
            "txid": i.txid,
            "vout": i.vout,
            "scriptPubKey": derive_script(DESCRIPTOR, index).hex(),
            "amount": f"{i.value_sats / 10**8:.8f}",
        }
        for i, index in zip(tx.inputs, used, strict=True)
    ]
    secrets = [str(key.wif_key()) for key in keys]
    answer = node.rpc("signrawtransactionwithkey", tx.serialize().hex(), secrets, spent, sighash)
    told = node.rpc("decoderawtransaction", answer["hex"])
    return [[bytes.fromhex(item) for item in i["txinwitness"]] for i in told["vin"]]


def refused(raw: bytes, expected: UnsignedTx, word: str) -> None:
    with pytest.raises(WorldError, match=word) as error:
        verify_signed(raw, expected, DESCRIPTOR)
    assert not error.value.retryable


def test_the_node_reads_what_we_write(node: RegtestNode) -> None:
    for raw in (TX.serialize(), signed(TX)):
        told = node.rpc("decoderawtransaction", raw.hex())
        assert told["txid"] == TX.txid and told["locktime"] == 500_000 and told["version"] == 2
        assert [(i["txid"], i["vout"], i["sequence"]) for i in told["vin"]] == [
            (i.txid, i.vout, 0xFFFFFFFD) for i in TX.inputs
        ]
        assert [(int(o["value"] * 10**8), o["scriptPubKey"]["hex"]) for o in told["vout"]] == [
            (o.value_sats, o.script.hex()) for o in TX.outputs
        ]
    assert TX.fee_sats == 9_000


@pytest.mark.parametrize("count", [1, 252, 253, 300])
def test_counts_beyond_one_byte_are_written_right(count: int, node: RegtestNode) -> None:
    inputs = tuple(TxInput(f"{n + 1:064x}", n, 1_000, n) for n in range(count))
    tx = UnsignedTx(inputs, tuple(TxOutput(P2WPKH, 900, n) for n in range(count)), 0)
    told = node.rpc("decoderawtransaction", tx.serialize().hex())
    assert (told["txid"], len(told["vin"]), len(told["vout"])) == (tx.txid, count, count)


def test_what_the_signer_signs_is_verified_and_the_same_each_time() -> None:
    raw = signed(TX)
    verify_signed(raw, TX, DESCRIPTOR)
    assert raw == signed(TX)


def test_what_the_node_signs_is_verified_too(node: RegtestNode) -> None:
    verify_signed(with_witnesses(TX, by_node(node, TX)), TX, DESCRIPTOR)


@pytest.mark.parametrize("sighash", ["NONE", "SINGLE", "ALL|ANYONECANPAY", "NONE|ANYONECANPAY", "SINGLE|ANYONECANPAY"])
def test_a_signature_that_leaves_something_open_is_refused(sighash: str, node: RegtestNode) -> None:
    tx = replace(TX, inputs=TX.inputs[:2])
    refused(with_witnesses(tx, by_node(node, tx, sighash)), tx, "not valid")


def test_another_transaction_is_refused() -> None:
    others = [
        replace(TX, outputs=(replace(TX.outputs[0], value_sats=70_001), TX.outputs[1])),
        replace(TX, outputs=(replace(TX.outputs[0], script=P2TR), TX.outputs[1])),
        replace(TX, outputs=TX.outputs[::-1]),
        replace(TX, outputs=TX.outputs[:1]),
        replace(TX, outputs=(*TX.outputs, TxOutput(P2WPKH, 546))),
        replace(TX, locktime=500_001),
        replace(TX, inputs=TX.inputs[:2]),
        replace(TX, inputs=TX.inputs[::-1]),
        replace(TX, inputs=(*TX.inputs, TxInput("44" * 32, 0, 1_000, 9))),
        replace(TX, inputs=(replace(TX.inputs[0], vout=8), *TX.inputs[1:])),
    ]
    for other in others:
        refused(signed(other), TX, "another transaction")
    raw = signed(TX)
    refused(struct.pack("<i", 1) + raw[4:], TX, "another transaction")
    sequence = raw.index(struct.pack("<I", 0xFFFFFFFD))
    refused(raw[:sequence] + b"\xff" + raw[sequence + 1 :], TX, "another transaction")


def test_wrong_keys_and_wrong_signatures_are_refused(node: RegtestNode) -> None:
    good = by_node(node, TX)
    wrong_key = by_node(node, TX, indices=[5, 5, 7])
    stacks = [
        [*good[:2], wrong_key[2]],
        [*good[:2], [wrong_key[2][0], good[2][1]]],
        [*good[:2], [good[2][0], wrong_key[2][1]]],
        [good[1], good[0], good[2]],
        [*good[:2], []],
        [*good[:2], [good[2][0]]],
        [*good[:2], [b"", good[2][1]]],
        [*good[:2], [good[2][0], b""]],
        [*good[:2], [*good[2], b""]],
        [*good[:2], [good[2][0][:-1] + b"\x02", good[2][1]]],
        [*good[:2], [good[2][0][:-1], good[2][1]]],
        [*good[:2], [good[2][0][:8] + bytes([good[2][0][8] ^ 1]) + good[2][0][9:], good[2][1]]],
    ]
    for stack in stacks:
        refused(with_witnesses(TX, stack), TX, "not valid|cannot be read")
    refused(TX.serialize(), TX, "not valid|cannot be read")


def test_a_right_signature_by_a_stranger_is_refused(node: RegtestNode) -> None:
    """Signed over the very digest that counts, with a key that the address does not belong to."""
    good = by_node(node, TX)
    script = Script(b"\x76\xa9\x14" + derive_script(DESCRIPTOR, 6)[2:] + b"\x88\xac")
    key: Any = importlib.import_module("embit.ec").PrivateKey(b"stranger" * 4)
    digest = Transaction.parse(TX.serialize()).sighash_segwit(2, script, TX.inputs[2].value_sats)
    forged = [key.sign(digest).serialize() + b"\x01", key.get_public_key().serialize()]
    refused(with_witnesses(TX, [*good[:2], forged]), TX, "not valid")


def test_bytes_that_say_the_same_in_another_form_are_refused() -> None:
    raw = signed(TX)
    assert raw[4:7] == b"\x00\x01\x03"
    refused(raw[:6] + b"\xfd\x03\x00" + raw[7:], TX, "another transaction|cannot be read")
    refused(raw + b"\x00", TX, "another transaction|cannot be read")


def test_a_signature_over_another_value_is_refused() -> None:
    lied = replace(TX, inputs=(replace(TX.inputs[0], value_sats=50_001), *TX.inputs[1:]))
    assert lied.txid == TX.txid, "values are no part of the txid"
    refused(signed(lied), TX, "not valid")


def test_a_script_sig_is_refused() -> None:
    raw = signed(TX)
    at = raw.index(struct.pack("<I", 0xFFFFFFFD)) - 1
    refused(raw[:at] + b"\x01\x51" + raw[at + 1 :], TX, "another transaction|not valid")


def test_another_campaigns_descriptor_is_noticed() -> None:
    other = campaign_descriptor(STORE.fingerprint, 0, STORE.account_xpub(0), bytes(32), "regtest")
    with pytest.raises(WorldError, match="not valid"):
        verify_signed(signed(TX), TX, other)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_bytes_are_refused_with_a_sentence(data: st.DataObject) -> None:
    raw = bytearray(RAW)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(raw)))
    if bytes(raw[:cut]) != RAW:
        with pytest.raises(WorldError):
            verify_signed(bytes(raw[:cut]), TX, DESCRIPTOR)
    with pytest.raises(WorldError):
        verify_signed(RAW[: min(cut, len(RAW) - 1)], TX, DESCRIPTOR)
    with pytest.raises(WorldError):
        verify_signed(RAW + bytes(raw[:1]), TX, DESCRIPTOR)


inputs = st.builds(
    TxInput,
    st.binary(min_size=32, max_size=32).filter(any).map(bytes.hex),
    st.integers(0, 2**32 - 1),
    st.integers(1, 21 * 10**14),
    st.integers(0, 2**31 - 1),
)
outputs = st.builds(
    TxOutput, st.sampled_from([P2WPKH, P2TR, b"\x76\xa9\x14" + b"d" * 20 + b"\x88\xac"]), st.integers(1, 10**14)
)
transactions = st.builds(
    UnsignedTx,
    st.lists(inputs, min_size=1, max_size=4, unique_by=lambda i: (i.txid, i.vout)).map(tuple),
    st.lists(outputs, min_size=1, max_size=4).map(tuple),
    st.integers(0, 2**32 - 1),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(transactions)
def test_bitcoinlib_signs_the_very_same_bytes(tx: UnsignedTx) -> None:
    assert sign(tx, BRANCH) == by_bitcoinlib(tx)
    verify_signed(sign(tx, BRANCH), tx, DESCRIPTOR)


def test_bitcoinlib_signs_the_same_large_batch(node: RegtestNode) -> None:
    """Enough signatures that some have an r and some have an s of every length."""
    spent = tuple(TxInput(f"{n + 1:064x}", n, 100_000 + n, n * 5) for n in range(120))
    tx = UnsignedTx(spent, (TxOutput(P2WPKH, 11_000_000),), 144)
    raw = sign(tx, BRANCH)
    assert raw == by_bitcoinlib(tx)
    verify_signed(raw, tx, DESCRIPTOR)
    told = node.rpc("decoderawtransaction", raw.hex())
    assert {len(i["txinwitness"][0]) // 2 for i in told["vin"]} >= {71, 72}


@settings(max_examples=15, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**31 - 1))
def test_fast_children_are_those_of_both_libraries(terms_hash: bytes, index: int) -> None:
    descriptor = campaign_descriptor(STORE.fingerprint, 0, STORE.account_xpub(0), terms_hash, "regtest")
    private = STORE.branch(0, terms_hash).child(index)
    slow = STORE.campaign_key(0, terms_hash).child_private(index)
    assert private.secret == slow.private_byte and private.public_key.format() == slow.public_byte
    by_embit = Descriptor.from_string(descriptor).derive(index)
    assert derive_key(descriptor, index).sec() == by_embit.key.sec() == slow.public_byte
    assert derive_script(descriptor, index) == by_embit.script_pubkey().data


@pytest.mark.parametrize("form", ["wpkh({}/1/2/*)", "wpkh({}/1/*/2)", "pkh({}/1/*)", "wpkh({}/1)"])
def test_only_a_campaigns_descriptor_derives(form: str) -> None:
    descriptor = form.format(STORE.account_xpub(0))
    if form == "wpkh({}/1/2/*)":
        assert derive_key(descriptor, 3).sec()
    else:
        with pytest.raises(ValueError, match="descriptor of a campaign"):
            derive_key(descriptor, 3)
