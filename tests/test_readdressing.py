"""Changes of refund addresses on their way: from the page to the signer and back into the books, whatever dies between.

A chain on paper, the real signer behind its socket, and both kinds of database. The rules of the signer itself are in
wallet/test_refund_change.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from crowdfund.backup.signer_past import read_past, whole_lines
from crowdfund.campaigns import promises, readdressing, recovery, settling
from crowdfund.campaigns.ledger_models import Halt
from crowdfund.campaigns.models import Attempt, AttemptOutput, DecisionRow, Pledge
from crowdfund.campaigns.refund_models import RefundChangeRow
from crowdfund.changing import Changer
from crowdfund.db import Database
from crowdfund.errors import Problems, UserError, WorldError
from crowdfund.registering import Registrar
from crowdfund.wallet.addresses import address_of
from crowdfund.wallet.descriptors import derive_address
from crowdfund.wallet.refund_change import ChangeText, RefundChange
from crowdfund.wallet.signer_client import SignerClient
from support.dying import dies_at
from support.paper import PAYOUT, Paper, coin
from support.postgres import spoken
from support.signing import House, running_signer
from wallet.test_refund_change import KEY_OF, A, B, C
from wallet.test_signed_messages import segwit

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CLOSING = 161  # the first block after the deadline


def of(script: bytes) -> str:
    return address_of(script, "regtest")


@dataclass
class Place:
    """An installation with one campaign and one pledge, whose refund address is A."""

    paper: Paper
    house: House
    campaign: str
    pledge_id: str

    @property
    def pledge(self) -> Pledge:
        with self.paper.database.reading() as session:
            return session.get_one(Pledge, self.pledge_id)

    @property
    def changes(self) -> list[RefundChangeRow]:
        with self.paper.database.reading() as session:
            return list(session.scalars(select(RefundChangeRow).order_by(RefundChangeRow.id)))

    @property
    def states(self) -> list[str]:
        return [row.state for row in self.changes]

    @property
    def changer(self) -> Changer:
        """One without memory, with connections of its own making."""
        return Changer(self.paper.database, self.house.client)

    def signature(self, new: bytes, by: bytes | None = None) -> str:
        with self.paper.database.reading() as session:
            told = readdressing.text_to_sign(session, self.paper.settings, self.pledge_id, of(new))
        signer = by or self.pledge.refund_script
        return segwit(signer, KEY_OF[signer], told.text())

    def bring(self, new: bytes, by: bytes | None = None) -> RefundChangeRow:
        signature = self.signature(new, by)
        with self.paper.database.transaction() as session:
            return readdressing.bring(session, self.paper.settings, self.pledge_id, of(new), signature, NOW)

    def pay_and_close(self) -> None:
        """The pledge is paid, and the deadline passes: the campaign can be decided, and has failed."""
        self.paper.mine([coin(self.pledge, 90_000)])
        self.paper.mine(blocks=CLOSING + 2 - self.paper.tip)

    def decide(self) -> bool:
        with self.paper.database.transaction() as session:
            readdressing.refuse_unanswered(session, self.campaign)
            return settling.decide_campaign(session, self.campaign, 2)

    def refunded_to(self) -> list[bytes]:
        """The scripts in all plans."""
        with self.paper.database.reading() as session:
            return list(session.scalars(select(AttemptOutput.script)))

    def registered_at_signer(self) -> bytes | None:
        return self.house.server.signer._log.refund_script(0, 0)


@pytest.fixture
def place(tmp_path: Path, database_url: str) -> Iterator[Place]:
    with running_signer(tmp_path) as house, Paper(tmp_path, database_url=database_url) as paper:
        campaign = paper.campaign()
        pledge = paper.pledge(campaign, refund_address=of(A))
        made = Place(paper, house, campaign, pledge.id)
        Registrar(paper.database, house.client).keep("tip")
        yield made


def test_a_change_goes_to_the_signer_and_moves_the_pledge(place: Place) -> None:
    place.bring(B)
    assert place.pledge.refund_script == A, "nothing has moved before the signer has said yes"
    place.changer.keep()
    held = place.pledge
    assert (held.refund_script, held.refund_address, held.refund_number) == (B, of(B), 1)
    assert place.registered_at_signer() == B and place.states == ["taken"]
    place.bring(C)
    place.changer.keep()
    assert (place.pledge.refund_script, place.pledge.refund_number) == (C, 2)
    place.pay_and_close()
    assert place.decide() and place.refunded_to() == [C]


def test_a_halted_campaign_keeps_no_other_one_waiting(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readdressing, "AT_ONCE", 1)
    place.bring(B)
    elsewhere = place.paper.pledge(place.paper.campaign(), refund_address=of(A))
    other = replace(place, campaign=elsewhere.campaign_id, pledge_id=elsewhere.id)
    Registrar(place.paper.database, place.house.client).keep("tip")
    other.bring(C)
    with place.paper.database.transaction() as session:
        session.add(Halt(campaign_id=place.campaign, reason="r", began_at=NOW))
    place.changer.keep()
    assert (place.pledge.refund_script, other.pledge.refund_script) == (A, C)
    assert place.states == ["waiting", "taken"]


def test_the_same_again_is_one_change_and_another_one_has_to_wait(place: Place) -> None:
    assert place.bring(B).id == place.bring(B).id
    with pytest.raises(UserError, match="on its way"):
        place.bring(C)
    place.changer.keep()
    place.changer.keep()
    assert place.states == ["taken"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_will_not_do_is_refused_before_anything_is_stored(place: Place) -> None:
    with pytest.raises(Problems, match="exactly this text"):
        place.bring(B, by=B)
    for address, words in (
        (of(A), "already"), (str(place.pledge.address), "of a pledge on this site"), ("bc1qar0srrr7xfkvy5l643lydnw9re59"
         "gtzzwf5mdq", "mainnet"), ("nonsense", "not a bitcoin address"), ("", "give an address"),
    ):  # fmt: skip
        with pytest.raises(Problems, match=words), place.paper.database.transaction() as session:
            readdressing.bring(session, place.paper.settings, place.pledge_id, address, "x", NOW)
    for signature in ("", "é", "x" * 5_000):
        with pytest.raises(Problems, match="Paste"), place.paper.database.transaction() as session:
            readdressing.bring(session, place.paper.settings, place.pledge_id, of(B), signature, NOW)
    assert place.changes == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_whoever_writes_into_the_table_moves_nothing(place: Place) -> None:
    """As the web process, taken over, could: the signer asks for the signature itself."""
    held = place.pledge
    with place.paper.database.transaction() as session:
        session.add(
            RefundChangeRow(
                pledge_id=held.id, number=1, old_address=of(A), old_script=A, new_address=of(C), new_script=C,
                signature=place.signature(B), brought_at=NOW,
            )
        )  # fmt: skip
    place.changer.keep()
    assert place.states == ["refused"] and "not signed by the address" in place.changes[0].answer
    assert place.pledge.refund_script == A == place.registered_at_signer()
    place.bring(B)
    place.changer.keep()
    assert place.pledge.refund_script == B, "a refused one takes no number away"


def test_nothing_is_decided_while_the_signer_has_not_answered(place: Place) -> None:
    row = place.bring(B)
    place.pay_and_close()
    place.house.server.shutdown()
    place.house.server.server_close()
    place.house.path.unlink(missing_ok=True)
    with pytest.raises(WorldError, match="does not answer"):
        place.changer.keep()
    assert place.states == ["sent"]
    with pytest.raises(WorldError, match="not answered yet"):
        place.decide()
    with pytest.raises(IntegrityError), place.paper.database.transaction() as session:
        settling.decide_campaign(session, place.campaign, 2)
    with place.paper.database.transaction() as session:
        readdressing.note_answer(session, row.id, "no", NOW)
    assert place.decide() and place.refunded_to() == [A]


def test_what_never_went_to_the_signer_is_too_late_at_the_decision(place: Place) -> None:
    place.bring(B)
    place.pay_and_close()
    assert place.decide()
    assert place.states == ["refused"] and "too late" in place.changes[0].answer
    place.changer.keep()
    assert place.refunded_to() == [A] and place.registered_at_signer() == A
    with pytest.raises(UserError, match="too late"):
        place.bring(C)
    with pytest.raises(IntegrityError), place.paper.database.transaction() as session:
        session.execute(
            text(spoken(place.paper.database, "UPDATE pledges SET refund_script = x'73', refund_number = 1"))
        )


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_killed_at_any_step_books_and_signer_end_up_the_same(place: Place) -> None:
    """At each statement and each commit of the worker's step, again and again, until nothing is left to be done."""
    url = place.paper.settings.database_url
    path = place.house.path

    def work() -> None:
        Changer(Database(url), SignerClient(path)).keep()

    ring, turns, died, step = [B, C, A], 0, 0, 1
    while True:
        new = ring[turns % 3]
        place.bring(new)
        killed = dies_at(step, work)
        held, signer = place.pledge.refund_script, place.registered_at_signer()
        assert held == signer or place.states[-1] == "sent", "where they differ, nothing can be decided"
        work()
        assert place.pledge.refund_script == place.registered_at_signer() == new
        assert place.states[-1] == "taken" and place.pledge.refund_number == turns + 1
        turns += 1
        if not killed:
            break
        died, step = died + 1, step + 1
    assert died >= 6


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_hostile_worker_plans_nothing_that_the_signer_has_not_taken(place: Place) -> None:
    """It may tell the signer whatever it likes: it has no signature of the old address."""
    terms = place.paper.snapshot(place.campaign).campaign.terms or ""
    for change in (
        RefundChange(0, 1, C, place.signature(B)),
        RefundChange(0, 1, C, place.signature(C, by=C)),
        RefundChange(0, 1, C, ""),
    ):
        with pytest.raises(WorldError, match="not signed by the address"):
            place.house.client.change_refund(terms, 0, change)
    assert place.registered_at_signer() == A


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_address_that_is_asked_for_is_never_given_out(place: Place) -> None:
    """Whoever reads the descriptor can name an address of the campaign before it is given out."""
    with place.paper.database.reading() as session:
        descriptor = session.get_one(Pledge, place.pledge_id).campaign.descriptor or ""
    own = derive_address(descriptor, 1, "regtest")[1]
    place.bring(own)
    place.changer.keep()
    assert place.pledge.refund_script == own
    assert place.paper.pledge(place.campaign, refund_address=PAYOUT).index == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_new_time_locked_refund_goes_to_the_new_address(place: Place) -> None:
    place.paper.mine([coin(place.pledge, 90_000)])
    place.paper.mine(blocks=3)
    paid = []
    for new in (B, None):
        with place.paper.database.transaction() as session:
            (owed,) = promises.owed_refunds(session)
            paid.append(owed.tx.outputs[0].script)
            promises.store_refund(session, owed, b"raw", NOW)
        with place.paper.database.reading() as session:
            assert promises.owed_refunds(session) == []
        if new:
            place.bring(new)
            place.changer.keep()
    assert paid == [A, B]
    terms = place.paper.snapshot(place.campaign).terms
    assert terms is not None
    with place.paper.database.reading() as session:
        assert [one.current for one in promises.refunds_of(session, place.pledge_id, terms)] == [False, True]


def test_a_restored_database_follows_the_log_of_the_signer(place: Place, tmp_path: Path) -> None:
    """What the backup has as waiting or sent, or not at all, the log knows."""
    first = place.bring(B)
    terms = place.paper.snapshot(place.campaign).campaign.terms or ""
    with place.paper.database.transaction() as session:
        readdressing.mark_sent(session, first.id, NOW)
    place.house.client.change_refund(terms, 0, RefundChange(0, 1, B, first.signature))
    told = ChangeText(place.paper.snapshot(place.campaign).campaign.terms_hash or "", 0, 2, of(B), of(C)).text()
    place.house.client.change_refund(terms, 0, RefundChange(0, 2, C, segwit(B, KEY_OF[B], told)))
    past = read_past(whole_lines(place.house.log) or b"")
    with place.paper.database.transaction() as session:
        assert recovery.add_registered(session, "regtest", past.refunds, NOW, past.changes) == (0, 0)
    assert place.states == ["taken", "taken"]
    assert (place.pledge.refund_script, place.pledge.refund_number) == (C, 2)
    with place.paper.database.transaction() as session:
        recovery.add_registered(session, "regtest", past.refunds, NOW, past.changes)
    assert place.states == ["taken", "taken"]
    place.bring(A)
    place.changer.keep()
    assert place.pledge.refund_script == A == place.registered_at_signer()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_a_backup_has_as_sent_and_the_log_does_not_know_is_given_up(place: Place) -> None:
    row = place.bring(B)
    with place.paper.database.transaction() as session:
        readdressing.mark_sent(session, row.id, NOW)
    past = read_past(whole_lines(place.house.log) or b"")
    with place.paper.database.transaction() as session:
        recovery.add_registered(session, "regtest", past.refunds, NOW, past.changes)
    assert place.states == ["refused"] and place.pledge.refund_script == A
    place.pay_and_close()
    assert place.decide()
    with place.paper.database.reading() as session:
        assert session.get(DecisionRow, place.campaign) is not None
        assert session.scalar(select(Attempt.txid)) is not None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_where_signatures_come_by_hand_nothing_is_offered(place: Place) -> None:
    cold = replace(place.paper.settings, signer="cold")
    with pytest.raises(UserError, match="without a network"), place.paper.database.transaction() as session:
        readdressing.bring(session, cold, place.pledge_id, of(B), "x", NOW)
    assert Changer(place.paper.database, None).keep() is False
