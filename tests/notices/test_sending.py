"""Mail servers and programs that misbehave, senders that die: all is told, and nothing twice without need."""

from __future__ import annotations

import base64
import hmac
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import select

from crowdfund.db import Database
from crowdfund.errors import UserError, WorldError
from crowdfund.notices import hooks, outbox
from crowdfund.notices.models import Delivery, Notice, Webhook
from crowdfund.notices.posting import PinnedPoster, is_public
from crowdfund.notices.sender import run
from crowdfund.notices.smtp import Mailer
from support import mailbox as box
from support.mailbox import Mailbox
from support.paper import Paper, coin
from support.postgres import DATABASES, database_of
from support.receiver import Receiver
from support.telling import Telling, grow_old, look_again
from support.terminal import ROOT

HOUR = timedelta(hours=1)


@pytest.fixture
def server() -> Iterator[Mailbox]:
    """A mail server."""
    with Mailbox() as running:
        yield running


@pytest.fixture
def told(tmp_path: Path, server: Mailbox) -> Iterator[Telling]:
    """A published campaign whose creator has an address: one mail is due."""
    with Paper(tmp_path) as paper:
        telling = Telling(paper, server.url)
        telling.creator(paper.campaign(), "alice@example.org")
        yield telling


def only(told: Telling, channel: str = "mail") -> Notice:
    (notice,) = told.notices(channel)
    return notice


def deliveries(told: Telling) -> list[Delivery]:
    with told.paper.database.reading() as session:
        return list(session.scalars(select(Delivery).order_by(Delivery.id)))


def test_waits_grow_as_they_should() -> None:
    seconds = [outbox.wait_after(n).total_seconds() for n in range(1, 8)]
    assert seconds == [10, 60, 600, 3600, 21600, 21600, 21600]


def test_a_mail_that_is_put_off_comes_later_with_the_same_id(told: Telling, server: Mailbox) -> None:
    server.does = box.DEFERS
    told.tell()
    notice = only(told)
    assert (notice.state, notice.tries) == ("queued", 1) and "451" in notice.trouble
    assert timedelta(seconds=9) < notice.next_at - datetime.now(UTC) <= timedelta(seconds=10)
    told.tell()
    assert only(told).tries == 1, "not before its time"
    server.does = box.TAKES
    told.wait(timedelta(seconds=11))
    told.tell()
    assert (only(told).state, only(told).tries, len(server.mails)) == ("sent", 2, 1)
    assert [(d.ok, d.status) for d in deliveries(told)] == [(False, 451), (True, 250)]


def test_after_three_days_it_is_given_up(told: Telling, server: Mailbox) -> None:
    server.does = box.DEFERS
    told.tell()
    grow_old(told, timedelta(days=3))
    told.tell()
    notice = only(told)
    assert (notice.state, notice.tries) == ("given_up", 2) and notice.finished_at is not None


def test_a_refused_mail_is_given_up_at_once(told: Telling, server: Mailbox) -> None:
    server.does = box.REFUSES
    told.tell()
    assert (only(told).state, only(told).tries) == ("given_up", 1)
    assert "550" in only(told).trouble


@pytest.mark.parametrize("does", [box.HANGS, box.BREAKS_OFF])
def test_a_server_that_falls_silent_may_have_the_mail(does: str, told: Telling, server: Mailbox) -> None:
    server.does = does
    began = time.monotonic()
    told.tell()
    assert time.monotonic() - began < 4
    assert (only(told).state, only(told).tries) == ("queued", 1)
    server.does = box.TAKES
    told.wait(HOUR)
    told.tell()
    assert only(told).state == "sent"
    ids = {mail["Message-ID"] for mail in server.read}
    assert len(ids) == 1 and len(server.mails) == (2 if does == box.BREAKS_OFF else 1)
    assert len(set(server.mails)) == 1, "word for word the same"


def test_a_server_that_is_away_holds_up_mails_and_nothing_else(tmp_path: Path) -> None:
    with Paper(tmp_path) as paper, Receiver() as program:
        told = Telling(paper, "smtp://127.0.0.1:9")
        campaign = paper.campaign()
        told.creator(campaign, "alice@example.org")
        told.follower(campaign, "dora@example.org")
        told.hook(campaign, program.url)
        told.tell()
        assert only(told).trouble.startswith("The mail server does not answer")
        assert [json.loads(body)["type"] for body, _ in program.got] == ["webhook.registered", "campaign.published"]
        assert told.sender().mailer is not None


def test_no_mail_leaves_the_machine_in_the_clear(server: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """This server has no STARTTLS; only a loopback address is spared it."""
    assert Mailer(server.url).send("a@example.org", "b@example.org", b"Subject: x\r\n\r\nx\r\n").ok
    monkeypatch.setattr("crowdfund.notices.smtp.is_loopback", lambda host: False)
    with pytest.raises(WorldError, match="cannot be used"):
        Mailer(server.url).send("a@example.org", "b@example.org", b"Subject: x\r\n\r\nx\r\n")
    assert len(server.mails) == 1


def test_a_password_is_in_no_sentence(server: Mailbox) -> None:
    url = server.url.replace("smtp://", "smtp://alice:sword%20fish@")
    with pytest.raises(WorldError) as refused:
        Mailer(url).send("a@example.org", "b@example.org", b"x")
    assert "sword" not in refused.value.sentence


@pytest.mark.parametrize("kind", DATABASES)
def test_two_senders_share_the_work_and_send_nothing_twice(kind: str, tmp_path: Path, server: Mailbox) -> None:
    with database_of(kind, tmp_path / "x") as url, Paper(tmp_path / "p", database_url=url) as paper:
        told = Telling(paper, server.url)
        campaign = paper.campaign()
        for n in range(30):
            told.follower(campaign, f"reader{n}@example.org")
        pledge = paper.pledge(campaign, 1_000_000)
        paper.mine([coin(pledge, 1_000_000)])
        stop = threading.Event()
        senders = [told.sender(5), told.sender(5)]
        databases = [Database(url), Database(url)]
        for sender, database in zip(senders, databases, strict=True):
            sender.database = database
        threads = [threading.Thread(target=run, args=(sender, stop)) for sender in senders]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 20
        while len(server.mails) < 30 and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.3)
        stop.set()
        for thread in threads:
            thread.join()
        assert sorted(server.recipients) == sorted(f"reader{n}@example.org" for n in range(30))
        assert {state for _, state in told.kinds()} == {"sent"}
        for database in databases:
            database.close()


DYING = """
import os, signal, sys
from pathlib import Path
from dataclasses import replace
from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.notices import sender as s
from crowdfund.notices.posting import PinnedPoster
from crowdfund.notices.smtp import Mailer
settings = Settings.from_env()
database = Database(settings.database_url)
one = s.Sender(database, settings, Mailer(settings.smtp_url), PinnedPoster())
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "after noting": one.note(); die()
if sys.argv[1] == "after leasing": one._mail = die
if sys.argv[1] == "after sending": one._finish = die
one.note()
one.step("mail")
"""


@pytest.mark.parametrize(("moment", "handed_over"), [("after noting", 1), ("after leasing", 1), ("after sending", 2)])
def test_a_sender_may_be_killed_at_any_moment(
    moment: str, handed_over: int, told: Telling, server: Mailbox, tmp_path: Path
) -> None:
    """Killed after the server has acknowledged and before that is written down, the mail goes out twice, the same."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("CROWDFUND_")},
        **told.paper.settings.to_env(),
        "CROWDFUND_SMTP_URL": server.url,
        "CROWDFUND_MAIL_FROM": "site@fund.example.org",
        "CROWDFUND_BASE_URL": "https://fund.example.org",
        "PYTHONPATH": str(ROOT),
    }
    ended = subprocess.run([sys.executable, "-c", DYING, moment], env=environment, timeout=30, check=False)
    assert ended.returncode == -signal.SIGKILL
    if moment != "after noting":
        told.tell()
        assert len(server.mails) == handed_over - 1, "while the dead one's lease lasts, nobody else is at it"
        told.wait(outbox.LEASE)
    told.tell()
    told.tell()
    assert (only(told).state, len(server.mails)) == ("sent", handed_over)
    assert len(set(server.mails)) == 1


def test_a_message_is_signed_and_says_what_happened(tmp_path: Path) -> None:
    with Paper(tmp_path) as paper, Receiver() as program:
        told = Telling(paper)
        campaign = paper.campaign()
        hook = told.hook(campaign, program.url)
        pledge = paper.pledge(campaign, 600_000)
        paper.mine([coin(pledge, 600_000)])
        told.tell()
        types = [json.loads(body)["type"] for body, _ in program.got]
        assert types == ["webhook.registered", "campaign.published", "campaign.milestone", "pledge.confirmed"]
        for body, headers in program.got:
            message_id, stamp = headers["webhook-id"], headers["webhook-timestamp"]
            key = base64.b64decode(hook.secret.removeprefix("whsec_"))
            digest = hmac.new(key, f"{message_id}.{stamp}.".encode() + body, sha256).digest()
            assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
            assert abs(int(stamp) - time.time()) < 30 and pledge.id.encode() not in body
        data = json.loads(program.got[-1][0])["data"]
        assert (data["campaign_id"], data["value_sats"], data["pledge_index"]) == (campaign, 600_000, 0)
        assert len({headers["webhook-id"] for _, headers in program.got}) == 4


def test_a_failing_program_is_asked_less_and_less_and_then_turned_off(tmp_path: Path, server: Mailbox) -> None:
    with Paper(tmp_path) as paper, Receiver(status=500) as program:
        told = Telling(paper, server.url)
        campaign = paper.campaign()
        hook = told.hook(campaign, program.url)
        told.creator(campaign, "alice@example.org")
        told.tell()
        assert len(program.got) == 1, "what comes behind it waits as long"
        with paper.database.reading() as session:
            assert session.get_one(Webhook, hook.id).failing_since is not None
        told.wait(timedelta(seconds=11))
        told.tell()
        first, second = program.got
        assert first[0] == second[0] and first[1]["webhook-id"] == second[1]["webhook-id"]
        grow_old(told, timedelta(days=3, minutes=1))
        told.tell()
        with paper.database.reading() as session:
            assert session.get_one(Webhook, hook.id).disabled_reason == "It has failed for three days."
        assert {n.state for n in told.notices("webhook")} == {"given_up"}
        told.tell()
        assert [mail["Subject"].partition(" · ")[0] for mail in server.read][-1] == "Your webhook was turned off"
        before = len(program.got)
        paper.mine([coin(paper.pledge(campaign, 600_000), 600_000)])
        told.tell()
        assert len(program.got) == before


def test_a_success_ends_the_bad_time_and_410_ends_everything(tmp_path: Path) -> None:
    with Paper(tmp_path) as paper, Receiver(status=503) as program:
        told = Telling(paper)
        hook = told.hook(paper.campaign(), program.url)
        told.tell()
        program.status = 204
        told.wait(HOUR)
        told.tell()
        with paper.database.reading() as session:
            assert session.get_one(Webhook, hook.id).failing_since is None
        assert {n.state for n in told.notices("webhook")} == {"sent"}
        program.status = 410
        with paper.database.transaction() as session:
            found = session.get_one(Webhook, hook.id)
            hooks.send_again(session, found, told.notices("webhook")[0].id, datetime.now(UTC))
        told.tell()
        with paper.database.reading() as session:
            assert "gone" in session.get_one(Webhook, hook.id).disabled_reason


def test_a_message_is_delivered_again_when_asked_under_the_same_id(tmp_path: Path) -> None:
    with Paper(tmp_path) as paper, Receiver() as program:
        told = Telling(paper)
        hook = told.hook(paper.campaign(), program.url, "campaign.decided")
        told.tell()
        first = only(told, "webhook")
        for _ in range(2):
            with paper.database.transaction() as session:
                hooks.send_again(session, session.get_one(Webhook, hook.id), first.id, datetime.now(UTC))
            told.tell()
        assert [n.round for n in told.notices("webhook")] == [0, 1]
        assert len(program.got) == 2 and len({headers["webhook-id"] for _, headers in program.got}) == 1


@pytest.mark.parametrize("moment", ["redirects", "hangs", "trickles"])
def test_a_program_leads_us_nowhere_and_keeps_us_no_longer_than_it_may(moment: str, tmp_path: Path) -> None:
    with Paper(tmp_path) as paper, Receiver() as inside, Receiver() as program:
        told = Telling(paper)
        told.hook(paper.campaign(), program.url, "campaign.decided")
        if moment == "redirects":
            program.status, program.location = 307, inside.url
        program.hangs_s = 5 if moment == "hangs" else 0
        program.trickle, program.body = moment == "trickles", b"x" * 100
        began = time.monotonic()
        told.tell()
        assert time.monotonic() - began < 3
        notice = only(told, "webhook")
        assert (notice.state, notice.tries, inside.got) == ("queued", 1, [])
        assert {"redirects": "not followed", "hangs": "too long", "trickles": "too long"}[moment] in notice.trouble


def test_of_an_answer_only_the_beginning_is_read(tmp_path: Path) -> None:
    with Receiver(body=b"x" * 5_000_000) as program:
        posted = PinnedPoster(plain=True, allowed=("127.0.0.1",)).post(program.url, b"{}", {})
        assert len(posted.body) == 1_000


PRIVATE = (
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::1", "192.0.2.1", "240.0.0.1", "not an address",
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_none(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_public_ones_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://localhost/hook", "https://[::1]/", "https://2130706433/", "https://0x7f.1/",
        "https://[::ffff:127.0.0.1]/",
    ],
)  # fmt: skip
def test_private_networks_are_refused_in_every_spelling(url: str) -> None:
    with pytest.raises((UserError, WorldError)):
        PinnedPoster().check(url)
    with pytest.raises((UserError, WorldError)):
        PinnedPoster().post(url, b"{}", {})


@pytest.mark.parametrize(
    "url",
    [
        "", "hook", "ftp://example.org/", "http://example.org/", "https://", "https://u:p@example.org/",
        "https://example.org:0/", "https://example.org/\r\nX: y", "https://exa mple.org/", "https://[::1", "https://example.org/#x",
        "https://example.org/" + "x" * 500, "https://exämple.org/",
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_program_gets_a_sentence(url: str) -> None:
    with pytest.raises(UserError) as refused:
        PinnedPoster().check(url)
    assert refused.value.field == "url"


def test_a_name_that_changes_its_mind_is_believed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to the address that was looked at, not to what the name says a moment later."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    monkeypatch.setattr("crowdfund.notices.posting._looked_up", lambda *_: next(answers))
    with Receiver() as program:
        url = program.url.replace("127.0.0.1", "rebinding.example.org")
        assert PinnedPoster(plain=True, allowed=("127.0.0.1",)).post(url, b"{}", {}).status == 200
        assert program.got[0][1]["Host"].startswith("rebinding.example.org")
        with pytest.raises(UserError, match="private network"):
            PinnedPoster(plain=True).post(url, b"{}", {})
        assert len(program.got) == 1


def test_a_dead_senders_notice_is_not_failed_by_its_late_answer(told: Telling) -> None:
    """A lease that ran out is another's; what fails for the first does not count, what succeeds does."""
    first, second = told.sender(), told.sender()
    while look_again(first):
        pass
    now = datetime.now(UTC)
    with told.paper.database.transaction() as session:
        notice_id = outbox.claim(session, "mail", "first", now)
        assert notice_id is not None and outbox.claim(session, "mail", "second", now) is None
        assert outbox.claim(session, "mail", "second", now + outbox.LEASE) == notice_id
        outbox.finish(session, notice_id, "first", outbox.Result(False, "late"), now)
    assert (only(told).tries, only(told).leased_by) == (0, "second")
    with told.paper.database.transaction() as session:
        outbox.finish(session, only(told).id, "first", outbox.Result(True, "late"), now)
    assert only(told).state == "sent" and second.name != first.name
