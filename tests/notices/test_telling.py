"""What is noted of a campaign's life, who is told of it, and that everything is told once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from crowdfund.campaigns import halts, readdressing, settling, updates
from crowdfund.campaigns.checks import Breach
from crowdfund.campaigns.models import Attempt, Campaign, Pledge
from crowdfund.campaigns.refund_models import RefundChangeRow
from crowdfund.chain.follow import FoundSpend
from crowdfund.notices import outbox, subscribing
from crowdfund.notices.models import Happening, Notice, Subscription
from support.mailbox import Mailbox
from support.paper import PAYOUT, Paper, coin
from support.postgres import DATABASES, database_of
from support.telling import Telling, look_again

NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Telling]:
    """An installation with a mail server, and an operator with an address."""
    with Mailbox() as mailbox, Paper(tmp_path / "paper") as paper:
        telling = Telling(paper, mailbox.url, operator="root@fund.example.org")
        telling.mailbox = mailbox  # type: ignore[attr-defined]
        yield telling


def mailbox_of(told: Telling) -> Mailbox:
    found = told.mailbox  # type: ignore[attr-defined]
    assert isinstance(found, Mailbox)
    return found


def settle(paper: Paper, campaign_id: str) -> None:
    """Decide, and let the one transaction of the settlement be sent and confirmed."""
    with paper.database.transaction() as session:
        assert settling.decide_campaign(session, campaign_id, 2)
    with paper.database.transaction() as session:
        for attempt in session.scalars(select(Attempt)).all():
            attempt.raw = b"signed"
            session.flush()
            attempt.sent_at, attempt.sent_height = NOW, paper.tip


def spends(paper: Paper, campaign_id: str) -> list[FoundSpend]:
    snapshot = paper.snapshot(campaign_id)
    return [
        FoundSpend(i.coin.txid, i.coin.vout, batch.attempts[-1].txid)
        for batch in snapshot.batches
        for i in batch.inputs
    ]


def test_a_funded_campaign_is_told_of_from_beginning_to_end(told: Telling) -> None:
    paper = told.paper
    campaign = paper.campaign()
    told.creator(campaign, "alice@example.org")
    told.follower(campaign, "dora@example.org")
    bob, carol = paper.pledge(campaign, 600_000), paper.pledge(campaign, 500_000)
    told.backer(bob.id, "bob@example.org")
    told.tell()
    paper.mine([coin(bob, 600_000, "b")])
    told.tell()
    paper.mine([coin(carol, 500_000, "c")])
    told.tell()
    paper.mine(blocks=62)
    settle(paper, campaign)
    told.tell()
    paper.mine(spends=spends(paper, campaign))
    told.tell()
    told.tell()
    mails = [(mail["To"], mail["Subject"].partition(" · ")[0]) for mail in mailbox_of(told).read]
    assert mails == [
        ("alice@example.org", "published"),
        ("alice@example.org", "50% of the goal"),
        ("bob@example.org", "Your payment is in a block"),
        ("bob@example.org", "the goal is reached"),
        ("alice@example.org", "the goal is reached"),
        ("dora@example.org", "the goal is reached"),
        ("bob@example.org", "funded"),
        ("alice@example.org", "funded"),
        ("dora@example.org", "funded"),
        ("bob@example.org", "everything is settled"),
        ("alice@example.org", "everything is settled"),
        ("dora@example.org", "everything is settled"),
    ]
    assert {state for _, state in told.kinds()} == {"sent"}


def test_a_failed_campaign_is_told_of_with_each_refund_and_nothing_secret(told: Telling) -> None:
    paper = told.paper
    campaign = paper.campaign()
    told.creator(campaign, "alice@example.org")
    told.follower(campaign, "dora@example.org")
    bob, carol = paper.pledge(campaign, 123_457), paper.pledge(campaign, 234_567)
    told.backer(bob.id, "bob@example.org")
    paper.mine([coin(bob, 123_457, "b"), coin(carol, 234_567, "c")])
    told.tell()
    paper.mine(blocks=62)
    settle(paper, campaign)
    told.tell()
    paper.mine(spends=spends(paper, campaign))
    told.tell()
    bobs = [mail["Subject"].partition(" · ")[0] for mail in mailbox_of(told).read if mail["To"] == "bob@example.org"]
    assert bobs == [
        "Your payment is in a block",
        "the goal was missed",
        "A refund is on its way to you",
        "everything is settled",
        "Your refund has arrived",
    ]
    keys = told.happened()
    assert len([key for key in keys if key.startswith("refund_")]) == 4, "carol's are noted, too"
    for raw, mail in zip(mailbox_of(told).mails, mailbox_of(told).read, strict=True):
        words = raw.decode() + "".join(part.get_content() for part in mail.walk() if not part.is_multipart())
        for pledge in (bob, carol):
            for secret in (pledge.id, str(pledge.address), pledge.refund_address, str(pledge.amount_sats), "123,457"):
                assert secret not in words
        assert mail["Message-ID"] and mail["Auto-Submitted"] == "auto-generated"
        assert re.fullmatch(r"<https://fund\.example\.org/mail/off/\d+/[0-9a-f]{40}>", mail["List-Unsubscribe"])
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert not any(pledge.id in key for pledge in (bob, carol) for key in keys)


def test_a_changed_refund_address_is_told_to_its_backer_alone(told: Telling) -> None:
    paper = told.paper
    campaign = paper.campaign()
    told.creator(campaign, "alice@example.org")
    told.follower(campaign, "dora@example.org")
    bob, carol = paper.pledge(campaign), paper.pledge(campaign)
    told.backer(bob.id, "bob@example.org")
    told.backer(carol.id, "carol@example.org")
    told.tell()
    with paper.database.transaction() as session:
        row = RefundChangeRow(
            pledge_id=bob.id, number=1, old_address=bob.refund_address, old_script=bob.refund_script,
            new_address=PAYOUT, new_script=b"new", signature="s", brought_at=NOW,
        )  # fmt: skip
        session.add(row)
        session.flush()
        assert readdressing.mark_sent(session, row.id, NOW)
    told.tell()
    with paper.database.transaction() as session:
        readdressing.note_answer(session, row.id, "", NOW)
    for _ in range(2):
        told.tell()
    about = [mail for mail in mailbox_of(told).read if mail["Subject"].startswith("Your refund address was changed")]
    assert [mail["To"] for mail in about] == ["bob@example.org"]
    words = "".join(part.get_content() for part in about[0].walk() if not part.is_multipart()).replace("\n", "")
    assert bob.refund_address in words and PAYOUT in words and bob.id not in words


def test_a_reorganisation_is_told_to_those_whose_payment_hangs_in_the_air(told: Telling) -> None:
    paper = told.paper
    campaign = paper.campaign()
    told.creator(campaign, "alice@example.org")
    bob, carol = paper.pledge(campaign), paper.pledge(campaign)
    told.backer(bob.id, "bob@example.org")
    told.backer(carol.id, "carol@example.org")
    paper.mine([coin(bob, 100_000, "b"), coin(carol, 100_000, "c")])
    told.tell()
    paper.fork(1)
    paper.mine([coin(carol, 100_000, "c")], branch="other")
    told.tell()
    paper.mine([coin(bob, 100_000, "b")], branch="other")
    told.tell()
    subjects = [(m["To"], m["Subject"].partition(" · ")[0]) for m in mailbox_of(told).read[3:]]
    assert subjects == [
        ("root@fund.example.org", "Out of the ordinary"),
        ("alice@example.org", "out of the ordinary"),
        ("bob@example.org", "Your payment waits for a block again"),
        ("bob@example.org", "Your payment is in a block again"),
    ]
    body = mailbox_of(told).read[4].get_body(("plain",))
    assert body is not None and "has un-confirmed 2 pledges." in " ".join(body.get_content().split())


def test_the_operator_hears_of_halts_but_not_of_old_ones(told: Telling) -> None:
    now = datetime.now(UTC)
    with told.paper.database.transaction() as session:
        halts.begin(session, [Breach(None, "The sums differ.")], now - timedelta(days=4))
        halts.end_all(session, "mended", now - timedelta(days=4))
        halts.begin(session, [Breach(None, "The sums differ again.")], now)
    told.tell()
    with told.paper.database.transaction() as session:
        halts.end_all(session, "mended again", now)
    told.tell()
    assert [mail["To"] for mail in mailbox_of(told).read] == ["root@fund.example.org"] * 2
    assert "Settlement is halted" in mailbox_of(told).read[0]["Subject"]
    assert [key for key in told.happened() if key.startswith("halt")] == [
        "halt:1",
        "halt:2",
        "halt_ended:1",
        "halt_ended:2",
    ]


def test_an_update_is_told_once_and_its_edits_are_not(told: Telling) -> None:
    paper = told.paper
    campaign = paper.campaign()
    told.follower(campaign, "dora@example.org")
    for number, title in ((None, "First\r\nBcc: x@example.org"), (1, "First, with one word more")):
        with paper.database.transaction() as session:
            row = session.get_one(Campaign, campaign)
            updates.write(session, row.creator, row, title, "It sows.", datetime.now(UTC), number)
        told.tell()
    (mail,) = mailbox_of(told).read
    assert mail["Bcc"] is None and "First Bcc: x@example.org" in mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]


def test_somebody_with_two_subscriptions_gets_one_mail(told: Telling) -> None:
    campaign = told.paper.campaign()
    pledge = told.paper.pledge(campaign, 1_000_000)
    told.backer(pledge.id, "bob@example.org")
    told.follower(campaign, "bob@example.org")
    told.paper.mine([coin(pledge, 1_000_000)])
    told.tell()
    assert [kind for kind, _ in told.kinds()] == ["campaign.goal_reached", "pledge.confirmed"]
    assert "the link that you kept" in mailbox_of(told).mails[0].decode(), "as a backer"


def test_before_an_address_is_confirmed_it_gets_one_question_and_nothing_else(told: Telling) -> None:
    paper = told.paper
    campaign = paper.campaign()
    pledge = paper.pledge(campaign, 1_000_000)
    with paper.database.transaction() as session:
        subscribing.follow_campaign(session, campaign, "Dora@EXAMPLE.org", datetime.now(UTC))
    told.tell()
    paper.mine([coin(pledge, 1_000_000)])
    told.tell()
    (mail,) = mailbox_of(told).read
    assert (mail["To"], mail["List-Unsubscribe"]) == ("Dora@example.org", None)
    body = mail.get_body(("plain",))
    assert body is not None
    link = re.search(r"https://fund\.example\.org/mail/confirm/(\d+)/([0-9a-f]{40})", body.get_content())
    assert link is not None
    with paper.database.transaction() as session:
        subscribing.confirm(subscribing.by_token(session, int(link[1]), "confirm", link[2]), NOW)
    paper.mine(blocks=62)
    settle(paper, campaign)
    told.tell()
    assert [m["Subject"].partition(" · ")[0] for m in mailbox_of(told).read[1:]] == ["funded"]


def test_an_address_that_was_taken_away_is_not_written_to(told: Telling) -> None:
    campaign = told.paper.campaign()
    dora = told.follower(campaign, "dora@example.org")
    pledge = told.paper.pledge(campaign, 1_000_000)
    told.paper.mine([coin(pledge, 1_000_000)])
    sender = told.sender()
    while look_again(sender):
        pass
    with told.paper.database.transaction() as session:
        session.execute(delete(Subscription).where(Subscription.id == dora))
    told.tell(sender)
    assert not mailbox_of(told).mails
    assert [(n.state, n.trouble) for n in told.notices()] == [("given_up", "The address was taken away.")]
    new = told.follower(campaign, "eve@example.org")
    assert new > dora, "an id never comes back as somebody else's"


def test_questions_to_an_address_are_few(told: Telling) -> None:
    campaigns = [told.paper.campaign(title=f"Number {n}") for n in range(4)]
    now = datetime.now(UTC)

    def ask(n: int, email: str, at: datetime) -> None:
        with told.paper.database.transaction() as session:
            subscribing.follow_campaign(session, campaigns[n], email, at)

    for n in range(3):
        ask(n, "dora@example.org", now)
    with pytest.raises(Exception, match="several times today"):
        ask(3, "DORA@example.org", now)
    ask(3, "DORA@example.org", now + timedelta(days=1, minutes=1))
    with told.paper.database.transaction() as session:
        subscribing.forget_unanswered(session, now + timedelta(days=3, minutes=1))
        assert [s.email for s in session.scalars(select(Subscription))] == ["DORA@example.org"]


@pytest.mark.parametrize("kind", DATABASES)
def test_what_was_sent_stays_sent_and_nothing_is_told_twice(kind: str, tmp_path: Path) -> None:
    """The rules are the database's own."""
    with database_of(kind, tmp_path / "x") as url, Paper(tmp_path / "paper", database_url=url) as paper:
        told = Telling(paper)
        campaign = paper.campaign()
        told.follower(campaign, "dora@example.org")
        pledge = paper.pledge(campaign, 1_000_000)
        told.backer(pledge.id, "bob@example.org")
        paper.mine([coin(pledge, 1_000_000)])
        sender = told.sender()
        while look_again(sender):
            pass
        assert look_again(told.sender()) == 0 and len(told.notices()) == 3
        first = told.notices()[0]
        again = {c.name: getattr(first, c.name) for c in Notice.__table__.columns if c.name != "id"}
        with pytest.raises(IntegrityError), paper.database.transaction() as session:
            session.add(Notice(**again))
        with paper.database.transaction() as session:
            outbox.finish(session, first.id, "", outbox.Result(True, "ok"), NOW)
        for values in ({"state": "queued", "finished_at": None}, {"tries": 9}, {"recipient_id": 9}):
            with pytest.raises(IntegrityError, match="cannot change"), paper.database.transaction() as session:
                session.execute(update(Notice).where(Notice.id == first.id).values(**values))
        for statement in (delete(Notice), delete(Happening), update(Happening).values(detail="{}")):
            with pytest.raises(IntegrityError), paper.database.transaction() as session:
                session.execute(statement)
        with pytest.raises(IntegrityError, match="cannot change"), paper.database.transaction() as session:
            session.execute(update(Subscription).values(email="eve@example.org"))


def test_a_queue_without_a_mail_server_waits(tmp_path: Path) -> None:
    with Paper(tmp_path) as paper:
        told = Telling(paper)
        told.creator(paper.campaign(), "alice@example.org")
        told.tell()
        assert told.kinds() == [("campaign.published", "queued")]
        with Mailbox() as mailbox:
            told.smtp_url = mailbox.url
            told.tell()
            assert len(mailbox.mails) == 1


def test_old_keys_of_happenings_name_no_pledge(told: Telling) -> None:
    campaign = told.paper.campaign()
    pledge = told.paper.pledge(campaign)
    told.paper.mine([coin(pledge, 100_000)])
    told.tell()
    with told.paper.database.reading() as session:
        ids = session.scalars(select(Pledge.id)).all()
    assert not [key for key in told.happened() for each in ids if each in key]
