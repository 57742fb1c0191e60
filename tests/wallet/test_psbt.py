"""PSBTs: a real node reads and signs ours, what comes back is put together, and nothing else is taken for it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from embit.psbt import PSBT
from embit.transaction import Transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.descriptors import campaign_descriptor, derive_address, derive_script, terms_words
from crowdfund.wallet.keystore import Keystore
from crowdfund.wallet.psbt import MAX_BYTES, read_signed, signed_psbt, to_psbt, txid_of
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx, verify_signed
from crowdfund.wallet.words import words_of
from support.foreign import ForeignSigner
from support.node import new_node

ACCOUNT = 5
TERMS_HASH = hashlib.sha256(b"terms").digest()
KEYS = Keystore(words_of(hashlib.sha256(b"a seed of these tests").digest()), "regtest")
DESCRIPTOR = campaign_descriptor(KEYS.fingerprint, ACCOUNT, KEYS.account_xpub(ACCOUNT), TERMS_HASH, "regtest")
INDEXES = (0, 3, 4)
PAYOUT = derive_script(DESCRIPTOR, 900)


@dataclass(frozen=True)
class Case:
    """A transaction on coins that exist, its PSBT, and what a foreign signer made of it."""

    node: RegtestNode
    tx: UnsignedTx
    psbt: bytes
    finalised: bytes
    partial: bytes
    raw: bytes


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """Three coins paid to the descriptor, spent together, signed by the node's wallet."""
    with new_node(tmp_path_factory.mktemp("node")) as node:
        tx = spend(node)
        foreign = ForeignSigner(node, KEYS, ACCOUNT, TERMS_HASH)
        psbt = to_psbt(tx, DESCRIPTOR)
        finalised, partial = foreign.sign(psbt), foreign.sign(psbt, finish=False)
        raw = bytes.fromhex(node.rpc("finalizepsbt", base64.b64encode(partial).decode())["hex"])
        yield Case(node, tx, psbt, finalised, partial, raw)


def spend(node: RegtestNode) -> UnsignedTx:
    """Pay three addresses of the descriptor; the transaction that spends what they got."""
    inputs = []
    for index in INDEXES:
        address, script = derive_address(DESCRIPTOR, index, "regtest")
        txid = node.pay(address, 50_000 + index)
        paid = node.rpc("decoderawtransaction", node.rpc("getrawtransaction", txid))
        vout = next(o["n"] for o in paid["vout"] if o["scriptPubKey"]["hex"] == script.hex())
        inputs.append(TxInput(txid, vout, 50_000 + index, index))
    (tip,) = node.mine()
    total = sum(i.value_sats for i in inputs)
    return UnsignedTx(tuple(inputs), (TxOutput(PAYOUT, total - 1_000),), node.rpc("getblock", tip)["height"])


def test_the_node_reads_it_and_knows_what_is_missing(case: Case) -> None:
    text = base64.b64encode(case.psbt).decode()
    read = case.node.rpc("decodepsbt", text)
    assert (read["tx"]["txid"], read["psbt_version"], read["fee"] * 10**8) == (case.tx.txid, 0, 1_000)
    words = "/".join(str(word) for word in terms_words(TERMS_HASH))
    for one, spent in zip(read["inputs"], case.tx.inputs, strict=True):
        (origin,) = one["bip32_derivs"]
        assert origin["master_fingerprint"] == KEYS.fingerprint
        assert origin["path"].replace("'", "h") == f"m/84h/1h/{ACCOUNT}h/{words}/{spent.index}"
        assert one["witness_utxo"]["scriptPubKey"]["hex"] == derive_script(DESCRIPTOR, spent.index).hex()
        assert one["sighash"] == "ALL"
    found: dict[str, Any] = case.node.rpc("analyzepsbt", text)
    assert found["next"] == "signer"
    assert all(one["has_utxo"] and not one["is_final"] for one in found["inputs"])
    assert all(len(one["missing"]["signatures"]) == 1 for one in found["inputs"])


def test_what_a_foreign_signer_made_is_ours_in_every_form(case: Case) -> None:
    forms = {
        "finalised": case.finalised,
        "partial": case.partial,
        "base64": base64.encodebytes(case.finalised),
        "hex of a PSBT": case.partial.hex().encode(),
        "hex": b" " + case.raw.hex().encode() + b"\n",
    }
    for name, form in forms.items():
        raw = read_signed(form)
        assert (txid_of(raw), raw) == (case.tx.txid, case.raw), name
        verify_signed(raw, case.tx, DESCRIPTOR)
    assert case.node.rpc("testmempoolaccept", [case.raw.hex()])[0]["allowed"]


def test_our_own_finalised_psbt_is_one_for_the_node(case: Case) -> None:
    made = signed_psbt(case.raw, case.tx, DESCRIPTOR)
    assert read_signed(made) == case.raw
    assert case.node.rpc("finalizepsbt", base64.b64encode(made).decode()) == {"hex": case.raw.hex(), "complete": True}


def test_what_is_not_signed_by_all_is_refused(case: Case) -> None:
    with pytest.raises(UserError, match="input 1 of 3 is not signed"):
        read_signed(case.psbt)
    half = PSBT.parse(case.partial)
    half.inputs[1].partial_sigs.clear()
    with pytest.raises(UserError, match="input 2 of 3 is not signed"):
        read_signed(half.serialize())
    bare = case.tx.serialize().hex().encode()
    with pytest.raises(UserError, match=r"not signed|neither"):
        read_signed(bare)
    wrapped = Transaction.parse(case.raw)
    wrapped.vin[0].witness.items = []
    with pytest.raises(UserError, match="not signed"):
        read_signed(wrapped.serialize().hex().encode())


def test_signatures_in_each_others_place_are_not_valid(case: Case) -> None:
    mixed = PSBT.parse(case.partial)
    first, second = mixed.inputs[0], mixed.inputs[1]
    first.partial_sigs, second.partial_sigs = second.partial_sigs, first.partial_sigs
    with pytest.raises(WorldError, match="not valid"):
        verify_signed(read_signed(mixed.serialize()), case.tx, DESCRIPTOR)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"psbt",
        b"psbt\xff",
        b"psbt\xff\x00",
        b"psbt\xff\x01\x00",
        b"psbt\xff\x01\x00\xfe\xff\xff\xff\xff",
        b"psbt\xff\x01\xfb\x04\x02\x00\x00\x00\x00",
        b"not base64!",
        b"00",
        b"cHNidP8=",
        b"\xff\xfe",
        b"0" * 100,
    ],
)
def test_other_bytes_get_one_sentence(data: bytes) -> None:
    with pytest.raises(UserError) as caught:
        read_signed(data)
    assert caught.value.sentence.endswith(".") and "\n" not in caught.value.sentence


def test_what_is_too_long_is_not_looked_at() -> None:
    with pytest.raises(UserError, match="bytes"):
        read_signed(b"0" * (MAX_BYTES + 1))


def some_psbt() -> bytes:
    """A PSBT with signatures that are none, for what needs no node."""
    tx = UnsignedTx((TxInput("ab" * 32, 1, 1_000, 0), TxInput("cd" * 32, 0, 1_000, 1)), (TxOutput(PAYOUT, 900),), 7)
    psbt = PSBT.parse(to_psbt(tx, DESCRIPTOR))
    for scope in psbt.inputs:
        (key,) = scope.bip32_derivations
        scope.partial_sigs[key] = b"\x30" + bytes(70) + b"\x01"
    return psbt.serialize()


SOME = some_psbt()


@settings(max_examples=300)
@given(st.integers(0, len(SOME) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_damaged_bytes_give_a_transaction_or_a_sentence(place: int, put: bytes, cut: int) -> None:
    """Whatever is read can be asked for its txid; what it is worth, verify_signed decides."""
    try:
        assert len(txid_of(read_signed(SOME[:place] + put + SOME[place + cut :]))) == 64
    except UserError as error:
        assert error.sentence.endswith(".")
