"""The manifest: read back as it was written, said in plain words, and never believed where it does not fit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.errors import UserError
from crowdfund.wallet.addresses import address_of
from crowdfund.wallet.cancellation import CancellationProof
from crowdfund.wallet.manifest import CampaignToSign, Manifest, ToSign, in_words
from crowdfund.wallet.outcome_proof import OutcomeProof
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx

PAYOUT, BOB, MALLORY = (b"\x00\x14" + letter * 20 for letter in (b"p", b"b", b"m"))
TERMS = json.dumps({"title": "A seed drill", "payout_address": address_of(PAYOUT, "regtest")})

scripts = st.binary(min_size=20, max_size=20).map(lambda program: b"\x00\x14" + program)
sats = st.integers(1, 21 * 10**14)
inputs = st.builds(
    TxInput, st.binary(min_size=32, max_size=32).map(bytes.hex), st.integers(0, 9), sats, st.integers(0, 2**31 - 1)
)
outputs = st.builds(TxOutput, scripts, sats, st.none() | st.integers(0, 2**31 - 1))
transactions = st.builds(
    UnsignedTx, st.lists(inputs, max_size=3).map(tuple), st.lists(outputs, max_size=3).map(tuple), st.integers(0, 10**6)
)
campaigns = st.builds(
    CampaignToSign,
    st.text(),
    st.integers(0, 2**31 - 1),
    st.text(),
    st.dictionaries(st.integers(0, 2**31 - 1), scripts, max_size=3),
    st.lists(st.builds(ToSign, st.sampled_from(["release", "refund"]), transactions), max_size=2).map(tuple),
    st.none()
    | st.builds(
        OutcomeProof,
        st.binary(max_size=9),
        st.just(()),
        st.none()
        | st.builds(
            CancellationProof,
            st.binary(max_size=9),
            st.binary(max_size=9),
            st.integers(0, 2**31 - 1),
            st.lists(st.text(max_size=3), max_size=2).map(tuple),
            st.integers(0, 9),
        ),
    ),
)


@given(st.builds(Manifest, st.text(), st.lists(campaigns, max_size=3).map(tuple)))
def test_what_is_written_is_read(manifest: Manifest) -> None:
    assert Manifest.parse(manifest.to_json()) == manifest


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(["network", "campaigns", "terms", "account", "refunds", "transactions", "inputs"]), json_values)
def test_what_was_changed_is_read_or_gets_a_sentence(where: str, put: Any) -> None:
    read: dict[str, Any] = json.loads(Manifest("regtest", (campaign(release(PAYOUT)),)).to_json())
    of_campaign = read["campaigns"][0]
    for part in (read, of_campaign, of_campaign["transactions"][0]):
        if where in part:
            part[where] = put
    try:
        Manifest.parse(json.dumps(read))
    except UserError as error:
        assert error.sentence.endswith(".")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1}', "[" * 10_000])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        Manifest.parse(text)


def release(script: bytes) -> ToSign:
    """A payout to `script`."""
    return ToSign("release", UnsignedTx((TxInput("ab" * 32, 0, 250_000, 0),), (TxOutput(script, 249_890),), 7))


def campaign(*waiting: ToSign, terms: str = TERMS) -> CampaignToSign:
    """A campaign with one backer."""
    return CampaignToSign(terms, 0, "wpkh(…)", {0: BOB}, waiting)


def test_a_changed_transaction_is_not_the_one_that_is_named() -> None:
    text = Manifest("regtest", (campaign(release(PAYOUT)),)).to_json()
    with pytest.raises(UserError, match="was changed"):
        Manifest.parse(text.replace(PAYOUT.hex(), MALLORY.hex()))


def test_plain_words_say_who_is_paid() -> None:
    assert in_words(campaign(), release(PAYOUT), "regtest") == [
        "Payout to the creator, campaign “A seed drill”",
        f"  transaction {release(PAYOUT).tx.txid}",
        "  spends 1 coin of 250,000 sat together",
        f"  pays 249,890 sat to {address_of(PAYOUT, 'regtest')}, the payout address in the terms",
        "  fee 110 sat (1 sat/vB)",
    ]
    assert in_words(campaign(), release(MALLORY), "regtest")[3].endswith("an address that is NOT in the terms")
    with pytest.raises(UserError, match="no address"):
        in_words(campaign(), release(b"\x6a"), "regtest")


def refund(count: int) -> ToSign:
    """A refund to bob and to `count` less one other pledges."""
    made = [TxOutput(BOB, 1_000 + index, index) for index in range(count)]
    return ToSign("refund", UnsignedTx((TxInput("ab" * 32, 0, 10**6, 0), TxInput("cd" * 32, 0, 5, 1)), tuple(made), 7))


def test_plain_words_of_refunds() -> None:
    words = in_words(campaign(), refund(22), "regtest")
    assert words[0] == "Refund to backers, campaign “A seed drill”"
    assert words[2] == "  spends 2 coins of 1,000,005 sat together"
    assert words[3].endswith("the refund address of pledge 0")
    assert words[4].endswith("an address that is NOT in the terms")
    assert len(words) == 3 + 20 + 1 + 1
    assert words[-2] == "  … and 2 more"


def test_a_title_cannot_write_over_what_was_said() -> None:
    terms = json.dumps({"title": "A\x1b[2J\rnice\u202e one", "payout_address": "x"})
    assert in_words(campaign(terms=terms), release(PAYOUT), "regtest")[0].endswith("“A?[2J?nice? one”")
    for bad in ("", "[]", "{}", '{"title": 1}'):
        with pytest.raises(UserError):
            in_words(campaign(terms=bad), release(PAYOUT), "regtest")
