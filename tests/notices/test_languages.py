"""Mails in the language of whoever gave the address: by a real mail server, and with nothing left in English."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest
from babel.support import NullTranslations
from sqlalchemy import select

from crowdfund import languages
from crowdfund.campaigns import updates
from crowdfund.campaigns.models import Campaign
from crowdfund.notices import subscribing
from crowdfund.notices.kinds import OF_ONE_PLEDGE, TO_BACKERS, TO_FOLLOWERS, Kind
from crowdfund.notices.mail import Mail, message_bytes
from crowdfund.notices.models import Subscription
from crowdfund.notices.words import words_for
from crowdfund.sentences import Sentence, counted
from crowdfund.web.pseudo import PseudoTranslations, pseudo
from support.mailbox import Mailbox
from support.paper import Paper, coin
from support.telling import Telling
from support.wording import leftovers

TITLE = "Ein {Sämaschinchen} <b>"
OFF = "https://fund.example.org/mail/off/1/abc"
MAIL = Mail("site@fund.example.org", "bob@example.org", "Seedbed", words_for(Kind.GOAL, "x", {}, True), "m", datetime(
    2026, 12, 1, tzinfo=UTC), "https://fund.example.org/campaigns/x", OFF)  # fmt: skip
READ_BY_BACKERS = sorted({*OF_ONE_PLEDGE, *TO_BACKERS, *TO_FOLLOWERS, Kind.CONFIRM_ADDRESS})
DETAILS: tuple[dict[str, object], ...] = (
    {"outcome": "funded", "title": "Teile da"},
    {"outcome": "failed", "title": "Teile da"},
    {"outcome": "failed", "cancelled": True, "title": "Teile da"},
)


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[EmailMessage]]]:
    """What each reader got of one campaign, by the mail server: followers in each language and in one that nobody
    offers any more, a German backer, the creator, and somebody who has not answered yet."""
    with Mailbox() as server, Paper(tmp_path_factory.mktemp("paper")) as paper:
        told = Telling(paper, server.url)
        campaign = paper.campaign(title=TITLE)
        for language in ("en", "es", "de", "fr"):
            told.follower(campaign, f"{language}@example.org", language)
        told.creator(campaign, "alice@example.org")
        pledge = paper.pledge(campaign, 1_000_000)
        told.backer(pledge.id, "bob@example.org", "de")
        with paper.database.transaction() as session:
            subscribing.follow_campaign(session, campaign, "neu@example.org", datetime.now(UTC), "de")
        paper.mine([coin(pledge, 1_000_000)])
        with paper.database.transaction() as session:
            row = session.get_one(Campaign, campaign)
            updates.write(session, row.creator, row, "Teile da", "Text", datetime.now(UTC))
        told.tell()
        found: dict[str, list[EmailMessage]] = {}
        for mail in server.read:
            found.setdefault(str(mail["To"]), []).append(mail)
        yield found


class Known(PseudoTranslations):
    """Knows the sentences that are in a catalogue; all else stays as it is."""

    def __init__(self, held: NullTranslations) -> None:
        super().__init__()
        self._held = held

    def ugettext(self, message: str) -> str:
        return message if self._held.ugettext(message) == message else pseudo(message)


def subjects(mails: list[EmailMessage]) -> list[str]:
    """Without the name of the site."""
    return sorted(str(mail["Subject"]).partition(" · ")[0] for mail in mails)


def part(mail: EmailMessage, kind: str) -> str:
    """The text of a mail, or its HTML."""
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


@pytest.mark.parametrize(
    ("reader", "goal", "update"),
    [
        ("en", "the goal is reached", "news from the project"),
        ("es", "Se alcanzó la meta", "Novedades del proyecto"),
        ("de", "Das Ziel ist erreicht", "Neues vom Projekt"),
        ("fr", "the goal is reached", "news from the project"),
    ],
)
def test_each_follower_reads_their_language(
    mails: dict[str, list[EmailMessage]], reader: str, goal: str, update: str
) -> None:
    got = mails[f"{reader}@example.org"]
    spoken = "en" if reader == "fr" else reader
    assert subjects(got) == sorted((goal, update))
    for mail in got:
        ending = "" if spoken == "en" else f"?lang={spoken}"
        assert f'<html lang="{spoken}" dir="ltr">' in part(mail, "html")
        assert str(mail["List-Unsubscribe"]).endswith(f"{ending}>")
        links = [word for word in part(mail, "plain").split() if word.startswith("https://")]
        assert len(links) == 2 and all(link.partition("?")[1:] == (ending[:1], ending[1:]) for link in links)


def test_a_german_mail_word_for_word(mails: dict[str, list[EmailMessage]]) -> None:
    got = mails["bob@example.org"]
    assert subjects(got) == ["Das Ziel ist erreicht", "Deine Zahlung ist in einem Block", "Neues vom Projekt"]
    text = {str(mail["Subject"]).partition(" · ")[0]: part(mail, "plain") for mail in got}
    lines = text["Deine Zahlung ist in einem Block"].replace("\r", "").split("\n\n")
    assert lines[0] == f"Eine Zahlung zu deiner Zusage für „{TITLE}“ ist in einem Block."
    assert lines[1].startswith("Öffne den Link, den du bei deiner Zusage aufbewahrt hast")
    assert lines[4].startswith("Nichts mehr davon hören: https://")
    assert f"Es gibt Neues von „{TITLE}“: „Teile da“." in text["Neues vom Projekt"]


def test_the_question_is_asked_in_the_language(mails: dict[str, list[EmailMessage]]) -> None:
    (mail,) = mails["neu@example.org"]
    assert subjects([mail]) == ["Ist das deine Adresse?"]
    assert f"möchte per Mail Neues über „{TITLE}“ erfahren" in part(mail, "plain")
    assert "/mail/confirm/" in part(mail, "plain") and "?lang=de" in part(mail, "plain")


def test_creators_are_told_in_english_as_at_their_desk(mails: dict[str, list[EmailMessage]]) -> None:
    assert subjects(mails["alice@example.org"]) == ["published", "the goal is reached"]
    assert all('<html lang="en"' in part(mail, "html") for mail in mails["alice@example.org"])


@pytest.mark.parametrize("kind", READ_BY_BACKERS)
@pytest.mark.parametrize("detail", DETAILS)
def test_nothing_that_backers_read_is_left_in_english(
    kind: Kind, detail: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the language of the tests, whose sentences stand in brackets."""
    bracketed = Known(languages.catalogue("de"))
    monkeypatch.setattr(languages, "catalogue", lambda _: bracketed)
    words = words_for(kind, "A seed drill", detail, backer=True)
    mail = message_from_bytes(message_bytes(replace(MAIL, words=words, language="de", site_name="")), policy=default)
    assert isinstance(mail, EmailMessage)
    page = part(mail, "html").replace(MAIL.link, "").replace(OFF, "").replace('<html lang="de" dir="ltr">', "<html>")
    assert leftovers(page) == [] and leftovers(f"<p>{mail['Subject']}</p>") == []
    text = part(mail, "plain").replace(MAIL.link, "").replace(OFF, "")
    assert leftovers(f"<p>{text}</p>") == []


def test_what_people_wrote_changes_no_sentence() -> None:
    nasty = "{about} %(x)s {0!r} {x.__class__} 5%%"
    told = words_for(Kind.UPDATE, nasty, {"title": nasty}, False).paragraphs[0]
    for language in languages.LANGUAGES:
        assert languages.said(told, language).count(nasty) == 2


def test_numbers_are_written_as_the_language_does() -> None:
    blocks = Sentence("A reorganisation of {blocks} at height {height:,}; no pledge was concerned.", height=1, blocks=(
        counted("{count:,} block", "{count:,} blocks", 12_345)))  # fmt: skip
    assert "12.345 Blöcken" in languages.said(blocks, "de") and "12,345 blocks" in languages.said(blocks, "en")


def test_a_language_stays_with_its_address(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nobody who only knows an address can have its owner written to in another one; whoever gives it anew can."""
    with Paper(tmp_path_factory.mktemp("paper")) as paper:
        told = Telling(paper)
        campaign = paper.campaign()
        told.follower(campaign, "dora@example.org", "de")
        told.follower(campaign, "dora@example.org", "es")
        with paper.database.transaction() as session:
            (held,) = session.scalars(select(Subscription))
            assert held.language == "de"
            session.delete(held)
        told.follower(campaign, "dora@example.org", "es")
        with paper.database.reading() as session:
            assert session.scalars(select(Subscription.language)).all() == ["es"]
