"""The signer is shown a cancellation: what a chain shows ends the account for good, what is only claimed does not.

Each attack goes through the real socket, as the worker's user would send it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from crowdfund.chain.inclusion import headers_from, inclusions
from crowdfund.errors import WorldError
from crowdfund.wallet.cancellation import CancellationProof, mark
from crowdfund.wallet.outcome_proof import CoinProof, OutcomeProof, ShownCoin
from crowdfund.wallet.signer import Signer
from crowdfund.wallet.signer_log import SignerLog
from crowdfund.wallet.signing import script_at
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx, verify_signed
from support.model import Tx
from support.signing import ACCOUNT, PAYOUT, STORE, House, descriptor_of, running_signer, terms_3
from support.simchain import SimChain

OPENED, CONFIRMATIONS, REASON = 12, 3, b"r" * 32
BOB, MALLORY = b"\x00\x14" + b"b" * 20, b"\x00\x14" + b"m" * 20


@dataclass
class Told:
    """A campaign paid in full, and a cancellation in block 16, three deep; the deadline comes much later."""

    chain: SimChain
    text: str
    spent: Tx
    cancelling: Tx
    coin: Tx
    height: int

    @property
    def hash(self) -> bytes:
        return sha256(self.text.encode()).digest()

    def headers(self, last: int | None = None) -> bytes:
        return headers_from(self.chain, 0, self.chain.tip.height if last is None else last)

    def proof(self, tx: Tx | None = None, height: int | None = None, spent: Tx | None = None) -> CancellationProof:
        found, spent = tx or self.cancelling, spent or self.spent
        (held,) = inclusions(self.chain, [(found.txid, height or self.height)])
        return CancellationProof(held.raw, spent.raw, held.height, held.branch, held.position)

    def coin_proof(self) -> CoinProof:
        height = self.height - 1
        (held,) = inclusions(self.chain, [(self.coin.txid, height)])
        return CoinProof(held.raw, 0, 0, height, held.branch, held.position)

    def request(self, proof: CancellationProof, **changes: object) -> dict[str, Any]:
        return {
            "op": "prove_cancelled",
            "terms": self.text,
            "account": ACCOUNT,
            "headers": b64encode(self.headers()).decode(),
            "raw": b64encode(proof.raw).decode(),
            "spent": b64encode(proof.spent).decode(),
            "height": proof.height,
            "branch": list(proof.branch),
            "position": proof.position,
            **changes,
        }


def told(**changes: Any) -> Told:
    chain = SimChain(OPENED + 1)
    deadline = datetime.fromtimestamp(chain.tip.time + 6_000, UTC)
    text = terms_3(
        opened_height=OPENED, opened_hash=chain.best[OPENED], confirmations=CONFIRMATIONS,
        deadline_at=deadline.strftime("%Y-%m-%dT%H:%M:%SZ"), **changes,
    )  # fmt: skip
    terms_hash = sha256(text.encode()).digest()
    spent = chain.tx([chain.fresh_coin()], [(7_000, MALLORY), (9_000, PAYOUT)])
    chain.mine([spent], 60)
    coin = chain.tx([chain.fresh_coin()], [(100_000, script_at(STORE.branch(ACCOUNT, terms_hash), 0))])
    chain.mine([], 60)
    chain.mine([coin], 60)
    cancelling = chain.tx([(spent.txid, 1)], [(8_000, PAYOUT), (0, mark(terms_hash, REASON))])
    height = chain.mine([chain.tx([chain.fresh_coin()], [(5_000, MALLORY)]), cancelling], 60).height
    chain.mine([], 60)
    chain.mine([], 60)
    return Told(chain, text, spent, cancelling, coin, height)


def settlement(told: Told, script: bytes, index: int | None) -> UnsignedTx:
    spent = TxInput(told.coin.txid, 0, 100_000, 0)
    return UnsignedTx((spent,), (TxOutput(script, 99_000, index),), OPENED + 1)


def refund(told: Told, house: House) -> None:
    tx = settlement(told, BOB, 0)
    verify_signed(house.client.sign(told.text, ACCOUNT, "refund", tx), tx, descriptor_of(told.text))


def release(told: Told, house: House) -> None:
    tx = settlement(told, PAYOUT, None)
    verify_signed(house.client.sign(told.text, ACCOUNT, "release", tx), tx, descriptor_of(told.text))


def shown(told: Told, house: House) -> House:
    house.client.register(told.text, ACCOUNT, {0: BOB})
    house.client.show(told.text, ACCOUNT, [ShownCoin(told.coin.raw, 0, 0)])
    return house


def close(told: Told) -> None:
    """Go on until the closing block is deep enough."""
    for _ in range(20):
        told.chain.mine([], 2_000)


@pytest.fixture
def story() -> Told:
    return told()


@pytest.fixture
def house(tmp_path: Path, story: Told) -> Iterator[House]:
    with running_signer(tmp_path, kind=Signer) as running:
        yield shown(story, running)


def test_a_cancelled_campaign_is_refunded_before_its_deadline_and_never_released(story: Told, house: House) -> None:
    with pytest.raises(WorldError, match="come to its end"):
        refund(story, house)
    proof = OutcomeProof(story.headers(), (), story.proof())
    assert house.client.prove(story.text, ACCOUNT, proof) == []
    length = len(house.log.read_bytes().splitlines())
    assert house.client.prove(story.text, ACCOUNT, proof) == [], "again does no harm"
    assert len(house.log.read_bytes().splitlines()) == length
    last = json.loads(house.log.read_bytes().splitlines()[-1])
    assert last["cancelled"] == [story.height, story.chain.best[story.height], story.cancelling.txid]
    with pytest.raises(WorldError, match="was cancelled"):
        release(story, house)
    refund(story, house)


def test_no_other_end_is_proven_afterwards_whatever_comes(story: Told, house: House, tmp_path: Path) -> None:
    house.client.prove(story.text, ACCOUNT, OutcomeProof(story.headers(), (), story.proof()))
    close(story)
    with pytest.raises(WorldError, match="cancelled before"):
        house.client.prove(story.text, ACCOUNT, OutcomeProof(story.headers(), (story.coin_proof(),)))
    assert "proven first" in house.refused({"op": "prove_coins", "terms": story.text, "account": ACCOUNT, "coins": []})
    log = SignerLog(house.log)  # as after a restart
    held = log.proven(ACCOUNT)
    assert held is not None and held.cancelled_by == story.cancelling.txid
    with pytest.raises(WorldError, match="was cancelled"):
        release(story, house)
    refund(story, house)


def test_a_cancellation_takes_the_place_of_a_closing_block_that_was_shown_before(story: Told, house: House) -> None:
    """A worker that was away shows what it knows first; nothing was released yet, so the earlier end counts."""
    close(story)
    house.client.prove(story.text, ACCOUNT, OutcomeProof(story.headers(), (story.coin_proof(),)))
    with pytest.raises(WorldError, match="not given back"):
        refund(story, house)
    house.client.prove(story.text, ACCOUNT, OutcomeProof(story.headers(), (), story.proof()))
    with pytest.raises(WorldError, match="was cancelled"):
        release(story, house)
    refund(story, house)


def test_once_a_release_was_signed_no_cancellation_is_taken(story: Told, house: House) -> None:
    close(story)
    house.client.prove(story.text, ACCOUNT, OutcomeProof(story.headers(), (story.coin_proof(),)))
    release(story, house)
    before = house.log.read_bytes()
    assert "release of this campaign was signed" in house.refused(story.request(story.proof()))
    assert house.log.read_bytes() == before
    assert SignerLog(house.log).released(ACCOUNT), "and it is remembered"
    release(story, house)
    with pytest.raises(WorldError):
        refund(story, house)


def forgeries(story: Told) -> list[tuple[str, dict[str, Any]]]:
    """What a hostile client may try, each with the reason that it hears."""
    chain, honest = story.chain, story.proof()
    fresh = chain.fresh_coin

    def mined(tx: Tx, *more: Tx, spent: Tx | None = None) -> CancellationProof:
        height = chain.mine([tx, *more], 60).height
        for _ in range(CONFIRMATIONS):
            chain.mine([], 60)
        return story.proof(tx, height, spent)

    other_script = chain.tx([fresh()], [(9_000, MALLORY)])
    wrong_script = chain.tx([(other_script.txid, 0)], [(0, mark(story.hash, REASON))])
    theirs = mined(other_script, wrong_script, spent=other_script)
    theirs = story.proof(wrong_script, theirs.height, other_script)
    paid = chain.tx([fresh()], [(9_000, PAYOUT)])
    other_terms = chain.tx([(paid.txid, 0)], [(0, mark(b"x" * 32, REASON))])
    wrong_terms = story.proof(other_terms, mined(paid, other_terms, spent=paid).height, paid)
    unmarked = story.proof(story.spent, OPENED + 1, story.spent)
    return [
        ("payout address", story.request(theirs)),
        ("payout address", story.request(replace(theirs, spent=paid.raw))),
        ("payout address", story.request(replace(honest, spent=paid.raw))),
        ("does not name the terms", story.request(wrong_terms)),
        ("does not name the terms", story.request(unmarked)),
        ("another block", story.request(replace(honest, raw=wrong_terms.raw, spent=paid.raw))),
        ("another block", story.request(replace(honest, branch=("00" * 32, *honest.branch[1:])))),
        ("another block", story.request(replace(honest, position=0))),
        ("another block", story.request(replace(honest, height=honest.height + 1))),
        ("no such position", story.request(replace(honest, position=99))),
        ("Merkle branch", story.request(replace(honest, branch=("zz",)))),
        ("confirmations", story.request(honest, headers=b64encode(story.headers(honest.height + 1)).decode())),
        ("confirmations", story.request(replace(honest, height=chain.tip.height + 1))),
        ("hang", story.request(honest, headers=b64encode(story.headers()[:-80] + bytes(80)).decode())),
        ("frozen", story.request(honest, headers="")),
        ("after its opening block", story.request(replace(honest, height=OPENED))),
        ("after its opening block", story.request(replace(honest, height=0))),
        ("cannot be read", story.request(honest, raw="?")),
        ("cannot be read", story.request(honest, raw=f"?{b64encode(honest.raw).decode()}")),
        ("cannot be read", story.request(honest, spent=f"?{b64encode(honest.spent).decode()}")),
        ("cannot be read", story.request(honest, branch=5)),
        ("cannot be read", story.request(honest, raw=None)),
        ("number", story.request(honest, height=-1)),
        ("number", story.request(honest, position=True)),
        ("not proven", story.request(honest, raw="")),
        ("not proven", story.request(honest, spent=b64encode(story.spent.raw[:-1]).decode())),
    ]


def test_no_forged_cancellation_is_taken(story: Told, house: House) -> None:
    before = house.log.read_bytes()
    for why, request in forgeries(story):
        sentence = house.refused(request)
        assert why in sentence or (why == "hang" and "follow" in sentence), (why, sentence)
    assert house.log.read_bytes() == before
    with pytest.raises(WorldError, match="come to its end"):
        refund(story, house)
    house.still_honest()


def test_what_came_with_the_closing_block_or_later_cancels_nothing(tmp_path: Path) -> None:
    story = told()
    while not _closed(story):
        story.chain.mine([], 1_000)
    late = story.chain.tx([(story.cancelling.txid, 0)], [(0, mark(story.hash, REASON))])
    height = story.chain.mine([late], 60).height
    close(story)
    with running_signer(tmp_path, kind=Signer) as house:
        shown(story, house)
        sentence = house.refused(story.request(story.proof(late, height, story.cancelling)))
        assert "before its closing block" in sentence


def _closed(story: Told) -> bool:
    """Is the tip the closing block, or beyond?"""
    times = sorted(story.chain.known[h].time for h in story.chain.best[-11:])
    deadline = datetime.fromisoformat(json.loads(story.text)["deadline_at"])
    return times[len(times) // 2] > deadline.timestamp()


def test_the_last_block_before_the_closing_block_is_early_enough_and_the_closing_block_is_not(tmp_path: Path) -> None:
    for closing in (False, True):
        story = told()
        story.chain.mine([], 60)
        while not _closed(story):
            before = story.chain.copy()
            story.chain.mine([], 1_000)
        if not closing:
            before.go_to(before.tip.prev, remember=False)
        story.chain = before
        tx = story.chain.tx([(story.cancelling.txid, 0)], [(0, mark(story.hash, REASON))])
        height = story.chain.mine([tx], 1_000).height
        assert _closed(story) is closing
        close(story)
        with running_signer(tmp_path, kind=Signer) as house:
            shown(story, house)
            request = story.request(story.proof(tx, height, story.cancelling))
            if closing:
                assert "before its closing block" in house.refused(request)
            else:
                house.client.prove(
                    story.text, ACCOUNT, OutcomeProof(story.headers(), (), story.proof(tx, height, story.cancelling))
                )
        (tmp_path / "log.jsonl").unlink()
        (tmp_path / "log.head").unlink()


def test_terms_that_do_not_say_so_cannot_be_cancelled(tmp_path: Path) -> None:
    story = told(cancellable="")
    with running_signer(tmp_path, kind=Signer) as house:
        shown(story, house)
        assert "cannot be cancelled" in house.refused(story.request(story.proof()))


def test_another_campaign_is_not_cancelled_by_it(story: Told, house: House) -> None:
    other = told(title="Another")
    text = other.text.replace(other.chain.best[OPENED], story.chain.best[OPENED])
    changes = {"account": ACCOUNT + 1, "terms": text.replace(_key(text), _key(terms_3(ACCOUNT + 1)))}
    assert "name the terms" in house.refused(story.request(story.proof(), **changes))
    assert "other terms already" in house.refused(story.request(story.proof(), terms=text))


def _key(text: str) -> str:
    return str(json.loads(text)["receipt_key"])
