"""Mails as bytes, addresses, and feeds: whatever text comes in, the form holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.errors import UserError
from crowdfund.notices.feed import ATOM, Entry, Feed, atom, json_feed
from crowdfund.notices.kinds import OF_ONE_PLEDGE, Kind, milestone
from crowdfund.notices.mail import Mail, check_address, masked, message_bytes
from crowdfund.notices.words import feed_words, words_for

AT = datetime(2026, 12, 1, 18, tzinfo=UTC)
HEADERS = {
    "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "List-Unsubscribe", "List-Unsubscribe-Post",
    "MIME-Version", "Content-Type",
}  # fmt: skip
NASTY = st.text(
    st.sampled_from("a: \r\n\t\0\x0b\x0c\x1c\x85\u2028\u2029<>&@,;\"'=?é💧\u202e\udc80" + "Bcc"), max_size=300
)
ANY = NASTY | st.text(max_size=300)


def mail_of(kind: Kind, title: str, site_name: str, detail: dict[str, object]) -> bytes:
    return message_bytes(
        Mail(
            "site@fund.example.org", "bob@example.org", site_name, words_for(kind, title, detail, True), "msg_1", AT,
            "https://fund.example.org/campaigns/x", "https://fund.example.org/mail/off/1/abc",
        )
    )  # fmt: skip


@given(st.sampled_from(list(Kind)), ANY, NASTY.filter(str.strip), ANY)
def test_no_text_adds_a_header_or_a_recipient(kind: Kind, title: str, site_name: str, more: str) -> None:
    detail: dict[str, object] = {"title": more, "sentence": more, "reason": more, "percent": 50}
    raw = mail_of(kind, title, site_name, detail)
    assert raw.isascii() and b"\r" not in raw.replace(b"\r\n", b"") and b"\n" not in raw.replace(b"\r\n", b"")
    head = raw.partition(b"\r\n\r\n")[0].decode()
    names = [line.partition(":")[0] for line in head.split("\r\n") if line[0] not in " \t"]
    assert len(names) == len(set(names)) and set(names) == HEADERS
    mail = message_from_bytes(raw, policy=default)
    assert [a.addr_spec for a in mail["To"].addresses] == ["bob@example.org"]
    assert [a.addr_spec for a in mail["From"].addresses] == ["site@fund.example.org"]
    assert max(map(len, raw.split(b"\r\n"))) <= 998


@given(ANY)
def test_html_of_a_title_is_text(title: str) -> None:
    mail = message_from_bytes(mail_of(Kind.GOAL, "<script>" + title, "x", {}), policy=default)
    assert isinstance(mail, EmailMessage)
    html = mail.get_body(("html",))
    assert html is not None and "<script" not in html.get_content()


@pytest.mark.parametrize(
    "address",
    ["", "bob", "bob@", "@example.org", "a b@example.org", "bob@example.org\r\nBcc: x@example.org", "bob@example",
     "b@x..org", "bob@example.org, eve@example.org", "<bob@example.org>", "Bob <bob@example.org>", "bob@localhost",
     "bob@127.0.0.1", "bob\0@example.org", '"a b"@example.org', "bob@[127.0.0.1]",
     "é@example.org", "x" * 65 + "@example.org"],
)  # fmt: skip
def test_what_is_no_address_gets_a_sentence(address: str) -> None:
    with pytest.raises(UserError) as refused:
        check_address(address)
    assert refused.value.field == "email"


@given(ANY)
def test_every_address_that_passes_is_fit_for_an_envelope(text: str) -> None:
    try:
        address = check_address(text + "@example.org")
    except UserError:
        return
    assert address.isascii() and address.isprintable() and not set(address) & set(' <>,;"') and address.count("@") == 1


def test_addresses_are_kept_in_one_form() -> None:
    assert check_address("  Bob@EXAMPLE.org ") == "Bob@example.org"
    assert check_address("bob@bücher.example.org") == "bob@xn--bcher-kva.example.org"
    assert masked("bob@example.org") == "b…@example.org"


def test_each_kind_has_its_words_and_no_amount() -> None:
    detail = {"value_sats": 123_457, "counted_sats": 123_457, "outpoint": "beef:0", "outcome": "funded", "percent": 25}
    for kind in Kind:
        words = words_for(kind, "A seed drill", detail, True)
        assert words.subject and all(words.paragraphs)
        assert not [part for part in (words.subject, *words.paragraphs) if "123" in part or "beef" in part]
        if kind in OF_ONE_PLEDGE:
            assert "the link that you kept" in words.paragraphs[-1].lower().replace("open ", "")


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_milestones_are_passed_upwards(counted_sats: int, goal_sats: int) -> None:
    step = milestone(counted_sats, goal_sats)
    assert step in (0, 25, 50, 75, 100) and counted_sats * 100 >= step * goal_sats
    assert (step == 100) == (counted_sats >= goal_sats)
    assert milestone(counted_sats + 1, goal_sats) >= step


@given(ANY, ANY)
def test_a_feed_is_valid_whatever_its_words(title: str, author: str) -> None:
    entries = [Entry(f"k{n}", title, author, "https://e.org/?a=1&b=<", AT.replace(hour=n)) for n in range(3)]
    feed = Feed("f", title, author, "https://e.org/", "https://e.org/f", "https://e.org/j", AT, entries)
    root = ElementTree.fromstring(atom(feed))
    ns = {"a": ATOM}
    assert root.tag == f"{{{ATOM}}}feed" and root.findtext("a:updated", "", ns) == "2026-12-01T02:00:00Z"
    for node in (root, *root.findall("a:entry", ns)):
        for name in ("id", "title", "updated"):
            assert len(node.findall(f"a:{name}", ns)) == 1, "exactly one (RFC 4287, 4.1)"
    assert len(root.findall("a:author/a:name", ns)) == 1
    assert [link.get("rel") for link in root.findall("a:link", ns)] == ["self", "alternate"]
    ids = [node.findtext("a:id", "", ns) for node in (root, *root.findall("a:entry", ns))]
    assert len(set(ids)) == 4 and all(i.startswith("urn:uuid:") for i in ids)
    told = json.loads(json_feed(feed))
    assert (told["version"], told["feed_url"]) == ("https://jsonfeed.org/version/1.1", "https://e.org/j")
    assert told["title"] == _sent(title) and [each["id"] for each in told["items"]] == ids[1:], "the same entries"
    assert {each["content_text"] for each in told["items"]} == {_sent(author)}
    assert told["items"][2]["date_published"] == "2026-12-01T02:00:00Z"


def _sent(text: str) -> str:
    """Half of a character cannot be written down."""
    return text.encode(errors="replace").decode()


def test_an_id_is_the_same_for_ever() -> None:
    feed = atom(Feed("site", "x", "x", "https://e.org/", "https://e.org/f", "https://e.org/j", AT, []))
    assert b"urn:uuid:" in feed and b"<updated>2026-12-01T18:00:00Z</updated>" in feed
    assert feed_words(Kind.DECIDED, "A seed drill", {"outcome": "failed"})[0] == "A seed drill: the goal was missed"
