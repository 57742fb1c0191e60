"""Another refund address, asked of the real signer: only who holds the key of the one before says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from coincurve import PrivateKey
from embit.hashes import hash160
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.backup.signer_past import read_past, whole_lines
from crowdfund.errors import WorldError
from crowdfund.wallet import signed_messages as sm
from crowdfund.wallet.addresses import address_of
from crowdfund.wallet.fees import transaction_vsize
from crowdfund.wallet.outcome_proof import Cancelled
from crowdfund.wallet.refund_change import ChangeText, RefundChange, change_fields
from crowdfund.wallet.signer_log import SignerLog
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx, verify_signed
from support.signing import ACCOUNT, TIMELOCK, TIMELOCK_FEERATE, House, descriptor_of, running_signer, terms_2
from wallet.test_signed_messages import bip137, segwit

TERMS = terms_2()
HASH = sha256(TERMS.encode()).digest()
KEYS = [PrivateKey(bytes([n]) * 32) for n in (1, 2, 3, 4)]
A, B, C, MALLORY = (sm._p2wpkh(hash160(key.public_key.format())) for key in KEYS)
KEY_OF = dict(zip((A, B, C, MALLORY), KEYS, strict=True))
COIN = TxInput("a1" * 32, 0, 100_000, 0)


def refund(script: bytes) -> UnsignedTx:
    return UnsignedTx((COIN,), (TxOutput(script, 99_500, 0),), 150)


def locked(script: bytes) -> UnsignedTx:
    fee_sats = transaction_vsize(1, [script]) * TIMELOCK_FEERATE
    return UnsignedTx((COIN,), (TxOutput(script, 100_000 - fee_sats, 0),), TIMELOCK)


def text(number: int, old: bytes, new: bytes, index: int = 0, campaign: bytes = HASH) -> str:
    old_address, new_address = address_of(old, "regtest"), address_of(new, "regtest")
    return ChangeText(campaign.hex(), index, number, old_address, new_address).text()


def change(number: int, old: bytes, new: bytes, by: bytes = b"", index: int = 0) -> RefundChange:
    """From `old` to `new`, signed by `by`, or by the old one as it must be."""
    signer = by or old
    return RefundChange(index, number, new, segwit(signer, KEY_OF[signer], text(number, old, new, index)))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with running_signer(tmp_path, coins=[COIN]) as running:
        running.client.register(TERMS, ACCOUNT, {0: A, 1: B})
        yield running


def refused(house: House, asked: RefundChange, **more: object) -> str:
    before = house.log.read_bytes()
    message = {"op": "change_refund", "terms": TERMS, "account": ACCOUNT, **change_fields(asked), **more}
    sentence = house.refused(message)
    assert house.log.read_bytes() == before
    house.still_honest()
    return sentence


def signed_for(house: House, script: bytes) -> bool:
    try:
        raw = house.client.sign(TERMS, ACCOUNT, "refund", refund(script))
    except WorldError:
        return False
    verify_signed(raw, refund(script), descriptor_of(TERMS))
    return True


def test_the_newest_address_alone_is_refunded(house: House) -> None:
    house.client.change_refund(TERMS, ACCOUNT, change(1, A, B))
    house.client.change_refund(TERMS, ACCOUNT, change(2, B, C))
    assert [signed_for(house, script) for script in (A, B, MALLORY, C)] == [False, False, False, True]


def test_the_log_says_so_after_a_restart_and_to_a_restore(house: House, tmp_path: Path) -> None:
    first, second = change(1, A, B), change(2, B, A)
    for each in (first, second, second):
        house.client.change_refund(TERMS, ACCOUNT, each)
    log = SignerLog(house.log)
    assert (log.refund_script(ACCOUNT, 0), log.change_number(ACCOUNT, 0)) == (A, 2)
    assert house.log.read_text().count('"changed"') == 2, "the same again is noted once"
    past = read_past(whole_lines(house.log) or b"")
    key = (ACCOUNT, HASH.hex(), 0)
    assert past.refunds[key] == A
    assert past.changes[key] == [(1, B, first.signature), (2, A, second.signature)]


def test_an_old_change_is_never_replayed(house: House) -> None:
    there, back = change(1, A, B), change(2, B, A)
    house.client.change_refund(TERMS, ACCOUNT, there)
    house.client.change_refund(TERMS, ACCOUNT, back)
    assert "number 3" in refused(house, there)
    assert signed_for(house, A)


HOSTILE = {
    "signed by the thief": change(1, A, MALLORY, by=MALLORY),
    "signed by another backer": change(1, A, MALLORY, by=B),
    "another new address": RefundChange(0, 1, MALLORY, change(1, A, B).signature),
    "another pledge": RefundChange(1, 1, B, change(1, A, B).signature),
    "a pledge that nobody registered": change(1, A, B, index=7),
    "another number": RefundChange(0, 2, B, change(1, A, B).signature),
    "no number": change(0, A, B),
    "of another campaign": RefundChange(0, 1, MALLORY, segwit(A, KEY_OF[A], text(1, A, MALLORY, campaign=b"x" * 32))),
    "from another address": change(1, B, MALLORY),
    "to where it goes": change(1, A, A),
    "to what is no address": RefundChange(0, 1, b"\x6a\x01x", change(1, A, B).signature),
    "no signature": RefundChange(0, 1, MALLORY, ""),
    "a receipt of a pledge": RefundChange(0, 1, MALLORY, bip137(31, KEY_OF[A], "I am the owner")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_whoever_took_over_another_process_redirects_nothing(name: str, house: House) -> None:
    refused(house, HOSTILE[name])
    assert signed_for(house, A)


@pytest.mark.parametrize(
    "more",
    [{"account": ACCOUNT + 1}, {"terms": TERMS + " "}, {"index": "0"}, {"number": 1.0}, {"number": True},
     {"script": "00"}, {"signature": 5}, {"signature": "x" * 5_000}, {"signature": None}],
)  # fmt: skip
def test_odd_requests_are_refused(more: dict[str, object], house: House) -> None:
    refused(house, change(1, A, B), **more)
    assert signed_for(house, A)


def test_it_is_too_late_once_anything_was_settled(house: House) -> None:
    assert signed_for(house, A)
    for index, asked in ((0, change(1, A, B)), (1, change(1, B, C, index=1))):
        assert "come to its end" in refused(house, asked), index
    assert signed_for(house, A)


def test_it_is_too_late_once_the_end_was_proven(house: House) -> None:
    signer = house.server.signer
    signer._log.close(ACCOUNT, HASH, 200, "0c" * 32)
    assert "come to its end" in refused(house, change(1, A, B))


def test_it_is_too_late_once_it_was_cancelled(house: House) -> None:
    house.server.signer._log.cancel(ACCOUNT, HASH, Cancelled(200, "0c" * 32, "0d" * 32))
    assert "come to its end" in refused(house, change(1, A, B))


def test_what_was_taken_before_the_end_is_said_again_after_it(house: House) -> None:
    """A worker that was killed before it noted the answer asks once more."""
    house.client.change_refund(TERMS, ACCOUNT, change(1, A, B))
    assert signed_for(house, B)
    house.client.change_refund(TERMS, ACCOUNT, change(1, A, B))
    assert "come to its end" in refused(house, change(2, B, C))


def test_a_log_that_was_lost_goes_on_from_the_number_of_the_books(house: House) -> None:
    house.client.change_refund(TERMS, ACCOUNT, change(5, A, B))
    refused(house, change(7, B, C))
    house.client.change_refund(TERMS, ACCOUNT, change(6, B, C))


def test_time_locked_refunds_follow(house: House) -> None:
    house.client.timelocked_refund(TERMS, ACCOUNT, locked(A))
    house.client.change_refund(TERMS, ACCOUNT, change(1, A, B))
    with pytest.raises(WorldError, match="registered for its pledge"):
        house.client.timelocked_refund(TERMS, ACCOUNT, locked(A))
    house.client.timelocked_refund(TERMS, ACCOUNT, locked(B))
    assert json.loads(house.client.receipt(TERMS, ACCOUNT, 0, 100_000).text)["refund_address"] == address_of(
        B, "regtest"
    )
    assert signed_for(house, B) and not signed_for(house, A)


@given(st.integers(0, 2**31 - 1), st.integers(1, 2**31 - 1))
def test_a_text_is_read_back_as_it_was_written(index: int, number: int) -> None:
    made = ChangeText("ab" * 32, index, number, address_of(A, "regtest"), address_of(B, "regtest"))
    assert ChangeText.parse(made.text()) == made
    assert made.text().isascii() and "\n" not in made.text() and "  " not in made.text()
    for other in (made.text() + "\n", " " + made.text(), made.text().replace("pledge ", "pledge 0", 1), ""):
        with pytest.raises(ValueError, match="change"):
            ChangeText.parse(other)


def test_the_usual_text_is_short_enough_for_small_devices() -> None:
    taproot = "bc1p" + "q" * 58
    assert len(ChangeText("ab" * 32, 9_999, 9, "bc1q" + "q" * 38, taproot).text()) <= 240
