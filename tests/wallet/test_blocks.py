"""The block parser against the node's own reading of real blocks, and against damaged bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfund.chain.regtest import RegtestNode
from crowdfund.wallet.blocks import ParsedTx, double_sha256, merkle_root, parse_block, parse_tx, without_witness
from support.node import new_address
from support.simchain import make_tx

KINDS = ["legacy", "p2sh-segwit", "bech32", "bech32m"]


@pytest.fixture(scope="module")
def block_hash(node: RegtestNode) -> str:
    """A block with inputs and outputs of all kinds, 300 outputs in one transaction, and a script without address."""
    for kind in KINDS:
        node.pay(new_address(node, kind), 1_000_000)
    node.mine()
    coins = [c for c in node.bank("listunspent") if c["amount"] * 100 == 1]
    assert len(coins) == 4
    spent = [{"txid": c["txid"], "vout": c["vout"]} for c in coins]
    raw = node.bank("createrawtransaction", spent, [{new_address(node): "0.03"}, {"data": "00" * 60}])
    node.rpc("sendrawtransaction", node.bank("signrawtransactionwithwallet", raw)["hex"], 0)
    node.bank("sendmany", "", {new_address(node, KINDS[n % 4]): "0.0001" for n in range(300)})
    return node.mine()[0]


def matches(ours: ParsedTx, told: dict[str, object]) -> None:
    """Our reading of a transaction is the node's (`getblock` with verbosity 2)."""
    inputs, outputs = told["vin"], told["vout"]
    assert isinstance(inputs, list) and isinstance(outputs, list)
    assert ours.txid == told["txid"]
    assert ours.coinbase == ("coinbase" in inputs[0])
    assert list(ours.spends) == [(i["txid"], i["vout"]) for i in inputs if "txid" in i]
    assert list(ours.outputs) == [(o["value"] * 100_000_000, bytes.fromhex(o["scriptPubKey"]["hex"])) for o in outputs]


def test_real_blocks_are_read_as_the_node_reads_them(node: RegtestNode, block_hash: str) -> None:
    tip = node.rpc("getblockcount")
    for wanted in [block_hash, *(node.rpc("getblockhash", h) for h in (0, 1, 120, tip - 1))]:
        told = node.rpc("getblock", wanted, 2)
        raw = bytes.fromhex(node.rpc("getblock", wanted, 0))
        found, previous, transactions = parse_block(raw)
        assert (found, previous) == (wanted, told.get("previousblockhash", "00" * 32))
        assert len(transactions) == len(told["tx"])
        for ours, theirs in zip(transactions, told["tx"], strict=True):
            matches(ours, theirs)
            assert parse_tx(bytes.fromhex(theirs["hex"])) == ours
        assert merkle_root([tx.txid for tx in transactions]) == told["merkleroot"]


def test_without_witness_the_txid_is_the_same(node: RegtestNode, block_hash: str) -> None:
    for told in node.rpc("getblock", block_hash, 2)["tx"][1:]:
        bare = node.rpc("decoderawtransaction", told["hex"])
        assert parse_tx(bytes.fromhex(told["hex"])).txid == bare["txid"]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9])
def test_the_merkle_root_of_any_number_of_transactions(count: int, node: RegtestNode) -> None:
    for _ in range(count - 1):
        node.pay(new_address(node), 20_000)
    told = node.rpc("getblock", node.mine()[0], 1)
    assert len(told["tx"]) == count and merkle_root(told["tx"]) == told["merkleroot"]


def test_every_truncation_is_noticed(node: RegtestNode, block_hash: str) -> None:
    raw = bytes.fromhex(node.rpc("getblock", block_hash, 0))
    for length in [*range(400), *range(400, len(raw), 7)]:
        with pytest.raises(ValueError, match=r"short|early|left over"):
            parse_block(raw[:length])
    with pytest.raises(ValueError, match="left over"):
        parse_block(raw + b"\0")
    tx = bytes.fromhex(node.rpc("getblock", block_hash, 2)["tx"][1]["hex"])
    for length in range(len(tx)):
        with pytest.raises(ValueError, match=r"early|left over"):
            parse_tx(tx[:length])
    with pytest.raises(ValueError, match="left over"):
        parse_tx(tx + b"\0")


@pytest.fixture(scope="module", autouse=True)
def _sample(node: RegtestNode, block_hash: str) -> None:
    global SAMPLE
    raw = bytes.fromhex(node.rpc("getblock", block_hash, 0))
    SAMPLE = raw[:2_500], bytes.fromhex(node.rpc("getblock", block_hash, 2)["tx"][1]["hex"])


SAMPLE = b"", b""


@settings(max_examples=400, deadline=2_000)
@given(st.data())
def test_altered_bytes_raise_valueerror_and_nothing_else(data: st.DataObject) -> None:
    for raw, parse in ((SAMPLE[0], parse_block), (SAMPLE[1], parse_tx)):
        altered = bytearray(raw)
        for _ in range(data.draw(st.integers(1, 5))):
            where = data.draw(st.integers(0, min(len(raw), 400) - 1))
            altered[where] = data.draw(st.sampled_from([0, 1, 0xFC, 0xFD, 0xFE, 0xFF]) | st.integers(0, 255))
        quiet(parse, bytes(altered[: data.draw(st.integers(0, len(raw)))]))
        quiet(parse, bytes(altered))


@settings(max_examples=300)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x02\0\0\0\0\x01", b"\x01\0\0\0\xff" + b"\xff" * 8]))
def test_any_bytes_raise_valueerror_and_nothing_else(raw: bytes, start: bytes) -> None:
    quiet(parse_tx, start + raw)
    quiet(parse_block, bytes(80) + start + raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x02\0\0\0\xff" + b"\xff" * 8 + bytes(100),  # inputs without end
        b"\x02\0\0\0\x01" + bytes(36) + b"\xff" + b"\xff" * 8 + bytes(100),  # a script without end
        b"\x02\0\0\0\x01" + bytes(36) + b"\0" + bytes(4) + b"\xfe\xff\xff\xff\xff" + bytes(50),  # outputs
        b"\x02\0\0\0\0\x01\x01" + bytes(36) + b"\0" + bytes(4) + b"\0" + b"\xff" * 9 + bytes(50),  # witness items
    ],
)
def test_lengths_that_the_bytes_cannot_hold_are_refused_at_once(raw: bytes) -> None:
    with pytest.raises(ValueError, match="early"):
        parse_tx(raw)
    with pytest.raises(ValueError, match="early"):
        parse_block(bytes(80) + b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + raw)


def quiet(parse: object, raw: bytes) -> None:
    """Parse, and accept a ValueError only."""
    assert callable(parse)
    try:
        parse(raw)
    except ValueError as error:
        assert str(error)


def test_a_transaction_without_its_witness_is_what_its_txid_says() -> None:
    for salt in (1, 2):  # with a witness, and without
        tx = make_tx([("11" * 32, 1), ("22" * 32, 0)], [(5_000, b"\x51"), (7, b"")], salt)
        bare = without_witness(tx.raw)
        assert double_sha256(bare)[::-1].hex() == tx.txid == parse_tx(bare).txid
        assert (bare == tx.raw) == (salt == 2) and without_witness(bare) == bare
    with pytest.raises(ValueError):
        without_witness(tx.raw[:-1])
