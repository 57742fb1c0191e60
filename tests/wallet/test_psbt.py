"""PSBT: a real node's wallet reads, signs and finalises what we write, and we read back what it signs."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from hashlib import sha256

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfund.chain.local_rpc import LocalRpc
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import UserError
from crowdfund.wallet.bbqr import join, qr_png, split
from crowdfund.wallet.descriptors import campaign_descriptor, derive_address
from crowdfund.wallet.psbt import read_signed, write_psbt
from crowdfund.wallet.signing import sign
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx, verify_signed
from support.signing import ACCOUNT, STORE

HASH = sha256(b"terms").digest()
DESCRIPTOR = campaign_descriptor(STORE.fingerprint, ACCOUNT, STORE.account_xpub(ACCOUNT), HASH, "regtest")
PAYOUT = b"\x00\x14" + b"p" * 20
TX = UnsignedTx((TxInput("11" * 32, 7, 50_000, 5), TxInput("22" * 32, 0, 60_000, 0)), (TxOutput(PAYOUT, 109_000),), 100)
RAW = sign(TX, STORE.branch(ACCOUNT, HASH))
PLAN, DONE = write_psbt(TX, DESCRIPTOR), write_psbt(TX, DESCRIPTOR, RAW)


@dataclass
class Wallet:
    """A wallet of the node that holds the campaign's private keys, as a hardware wallet with the same seed would."""

    rpc: LocalRpc
    name: str

    def __call__(self, method: str, *params: object) -> dict[str, object]:
        answer = self.rpc.call(method, params, wallet=self.name)
        assert isinstance(answer, dict)
        return answer


@pytest.fixture(scope="module")
def wallet(node: RegtestNode, tmp_path_factory: pytest.TempPathFactory) -> Wallet:
    rpc = LocalRpc(node.rpc_url, node.cookie_file)
    name = tmp_path_factory.mktemp("wallet").name
    rpc.call("createwallet", [name, False, True, "", False, True])
    secret = STORE._account(ACCOUNT).wif(is_private=True, witness_type="legacy")
    private = DESCRIPTOR.partition("#")[0].replace(STORE.account_xpub(ACCOUNT), secret)
    checksum = rpc.call("getdescriptorinfo", [private])["checksum"]
    wanted = {"desc": f"{private}#{checksum}", "timestamp": "now", "range": [0, 20]}
    told = rpc.call("importdescriptors", [[wanted]], wallet=name)
    assert told[0]["success"], told
    return Wallet(rpc, name)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_the_node_reads_the_plan(node: RegtestNode) -> None:
    told = node.rpc("decodepsbt", b64(PLAN))
    assert told["tx"]["txid"] == TX.txid and int(told["fee"] * 10**8) == TX.fee_sats
    for spent, found in zip(TX.inputs, told["inputs"], strict=True):
        address, script = derive_address(DESCRIPTOR, spent.index, "regtest")
        assert found["witness_utxo"]["scriptPubKey"]["hex"] == script.hex()
        assert found["witness_utxo"]["scriptPubKey"]["address"] == address
        assert int(found["witness_utxo"]["amount"] * 10**8) == spent.value_sats
        (origin,) = found["bip32_derivs"]
        assert origin["master_fingerprint"] == STORE.fingerprint
        assert origin["path"].startswith(f"m/84'/1'/{ACCOUNT}'/".replace("'", origin["path"][4]))
        assert origin["path"].endswith(f"/{spent.index}") and origin["path"].count("/") == 12
    state = node.rpc("analyzepsbt", b64(PLAN))
    assert state["next"] == "signer" and int(state["fee"] * 10**8) == TX.fee_sats
    assert all(len(i["missing"]["signatures"]) == 1 for i in state["inputs"])


@pytest.mark.parametrize("finalised", [True, False])
def test_another_wallet_with_the_seed_signs_it(finalised: bool, wallet: Wallet, node: RegtestNode) -> None:
    """The node's wallet knows nothing of us: it finds its keys by the paths in the plan."""
    told = wallet("walletprocesspsbt", b64(PLAN), True, "ALL", True, finalised)
    signed = str(told["psbt"])
    for data in (signed.encode(), base64.b64decode(signed), signed.encode() + b"\n"):
        found = read_signed(data)
        assert found.txid == TX.txid
        verify_signed(found.raw, TX, DESCRIPTOR)
    whole = node.rpc("finalizepsbt", signed)
    assert whole["complete"] and bytes.fromhex(whole["hex"]) == read_signed(signed.encode()).raw


def test_the_node_takes_what_our_own_signer_made_final(node: RegtestNode) -> None:
    assert node.rpc("analyzepsbt", b64(DONE))["next"] == "extractor"
    whole = node.rpc("finalizepsbt", b64(DONE))
    assert whole["complete"] and whole["hex"] == RAW.hex()
    assert read_signed(DONE).raw == RAW


@pytest.mark.parametrize("count", [252, 253, 350])
def test_a_large_batch_is_read_back(count: int, node: RegtestNode) -> None:
    inputs = tuple(TxInput(f"{n + 1:064x}", n, 10_000, n) for n in range(count))
    tx = UnsignedTx(inputs, tuple(TxOutput(PAYOUT, 9_000, n) for n in range(count)), 100)
    raw = sign(tx, STORE.branch(ACCOUNT, HASH))
    assert read_signed(write_psbt(tx, DESCRIPTOR, raw)).raw == raw
    told = node.rpc("decodepsbt", b64(write_psbt(tx, DESCRIPTOR)))
    assert (told["tx"]["txid"], len(told["inputs"]), len(told["outputs"])) == (tx.txid, count, count)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"psbt\xff",
        b"cHNidP8=",
        b"AAAA",
        PLAN,
        PLAN[:-40],
        DONE[:-3],
        b"psbt\xff\x00",
        b"A" * 5_000_000,
        DONE[:60],
        DONE[:8] + DONE[5:],
        "é".encode(),
        DONE[: DONE.index(b"\x01\x08")],
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_signed_psbt_gets_a_sentence(data: bytes) -> None:
    with pytest.raises(UserError):
        read_signed(data)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_psbts_give_a_sentence_or_bytes_that_are_checked(data: st.DataObject) -> None:
    raw = bytearray(DONE)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(5, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(read_signed(bytes(raw[: data.draw(st.integers(5, len(raw)))])).raw, bytes)
    except UserError as error:
        assert error.sentence.endswith(".")


# -- BBQr ------------------------------------------------------------------------------------------------------


def seen(picture: bytes) -> str:
    """What a camera reads: OpenCV, which took no part in making the picture."""
    found = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert found is not None
    return str(cv2.QRCodeDetector().detectAndDecode(found)[0])


def test_a_plan_travels_through_pictures() -> None:
    many = tuple(TxInput(sha256(bytes([n])).hexdigest(), n, 10_000 + n, n) for n in range(20))
    plan = write_psbt(UnsignedTx(many, (TxOutput(PAYOUT, 190_000),), 100), DESCRIPTOR)
    parts = split(plan)
    assert len(parts) > 2 and all(part.startswith("B$ZP") for part in parts)
    read = [seen(qr_png(part)) for part in parts]
    assert read == parts
    assert join(reversed([*read, read[0]])) == ("P", plan)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3_000), st.sampled_from([8, 80, 800]))
def test_any_bytes_come_back(data: bytes, letters: int) -> None:
    assert join(split(data, part_letters=letters)) == ("P", data)


def test_the_three_encodings_of_the_specification_are_read() -> None:
    assert join(["B$HP0100FFAA"]) == ("P", b"\xff\xaa")
    assert join(["B$HT020100", "B$HT020001"]) == ("T", b"\x01\x00")
    assert join(["B$2P0100PY"]) == ("P", b"~")


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [""],
        ["B$"],
        ["x" * 20],
        ["B$HP0100zz"],
        ["B$2P01001!"],
        ["B$ZP0100PY"],
        ["B$XP0100PY"],
        ["B$HP0200FF"],
        ["B$HP0100FF", "B$HP0101FF"],
        ["B$HP0100FF", "B$HP0100FE"],
        ["B$HP0200FF", "B$HP0301FF"],
        ["B$HP0100F"],
        ["B$HP0$00FF"],
        ["B$HP0000"],
    ],
)
def test_a_series_that_is_not_whole_gets_a_sentence(parts: list[str]) -> None:
    with pytest.raises(UserError):
        join(parts)


def test_too_much_for_pictures_gets_a_sentence() -> None:
    noise = b"".join(sha256(n.to_bytes(4, "big")).digest() for n in range(30_000))
    with pytest.raises(UserError, match="carry the file"):
        split(noise)
    bomb = split(bytes(5_000_000))
    with pytest.raises(UserError, match="too much"):
        join(bomb)
