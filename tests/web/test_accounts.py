"""Accounts as visitors without JavaScript meet them, and what a browser with a passkey sends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pyotp
import pytest
from argon2 import PasswordHasher
from flask import Flask
from sqlalchemy import delete, select, update

from crowdfund.accounts import limits, passwords
from crowdfund.accounts.models import AccountEvent, AttemptWindow, WebSession
from crowdfund.campaigns.models import Campaign, Creator
from crowdfund.chain.regtest import RegtestNode
from crowdfund.projects.models import Project
from support.node import new_address
from support.passkeys import SoftKey
from support.site import TOKEN_FIELD, Visitor, draft_form, field_error, sentences, site_of
from support.world import PASSWORD, World

SECRET = re.compile(r"<span>([A-Z2-7]{4})</span>")
CODE = re.compile(r'<li class="amount">([a-z2-7-]{19})</li>')


def aged(town: World, **ago: timedelta) -> None:
    """Let time have gone by for all sessions."""
    with town.database.transaction() as db:
        db.execute(update(WebSession).values({k: datetime.now(UTC) - v for k, v in ago.items()}))


def entered(app: Flask, name: str, password: str = PASSWORD) -> Visitor:
    visitor = Visitor(app)
    answer = visitor.send("/login", {"name": name, "password": password})
    assert answer.status_code == 303, sentences(answer)
    return visitor


def signed_up(app: Flask, name: str) -> Visitor:
    visitor = Visitor(app)
    visitor.sign_up(name)
    return visitor


def with_app(visitor: Visitor) -> pyotp.TOTP:
    """Set up an authenticator app, with the code of half a minute ago."""
    assert visitor.post("/account/app/begin").location == "/account/app"
    secret = "".join(SECRET.findall(visitor.get("/account/app").get_data(as_text=True)))
    totp = pyotp.TOTP(secret)
    assert "not the code" in field_error(visitor.send("/account/app", {"code": "12345"}), "code")
    assert visitor.send("/account/app", {"code": totp.at(datetime.now(UTC), counter_offset=-1)}).status_code == 303
    return totp


def with_codes(visitor: Visitor) -> list[str]:
    page = visitor.post("/account/codes")
    codes = CODE.findall(page.get_data(as_text=True))
    assert len(codes) == 10
    assert "none of the ten" in field_error(visitor.send("/account/codes/confirm", {"code": "x"}), "code")
    assert visitor.send("/account/codes/confirm", {"code": codes[4]}).status_code == 303
    return codes


def passkey(visitor: Visitor, key: SoftKey, path: str, purpose: str, **fields: str) -> Any:
    """What the script does: ask, let the authenticator answer, send the form."""
    token = visitor.csrf_token("/account")
    asked = visitor.client.post("/passkeys/options", data={"csrf_token": token, "purpose": purpose, **fields})
    assert asked.status_code == 200, asked.get_data(as_text=True)
    options = asked.get_data(as_text=True)
    credential = key.make(options) if purpose in ("sign_up", "add") else key.show(options)
    return visitor.client.post(path, data={"csrf_token": token, "credential": credential, **fields})


@pytest.fixture
def key(town: World) -> SoftKey:
    """An authenticator at this site."""
    return SoftKey(origin=town.settings.base_url.replace("127.0.0.1", "localhost"))


def test_password_and_app(app: Flask) -> None:
    alice = signed_up(app, "alice with an app")
    totp = with_app(alice)
    again = entered(app, "alice with an app")
    assert again.get("/dashboard").location.startswith("/login"), "half in is not in"
    assert again.get("/account").location.startswith("/login")
    assert field_error(again.send("/login/second", {"code": "000000"}), "code").startswith("This code is not right")
    code = totp.at(datetime.now(UTC))
    assert again.send("/login/second", {"code": code}).location == "/dashboard"
    thief = entered(app, "alice with an app")
    assert thief.send("/login/second", {"code": code}).status_code == 422, "a code is good once"
    log = sentences(alice.get("/account"))
    assert "The password was right, the code after it was wrong" in log and "password and app" in log


def test_recovery(app: Flask) -> None:
    alice = signed_up(app, "alice who lost it")
    with_app(alice)
    codes = with_codes(alice)
    lost = Visitor(app)
    form = {"name": "alice who lost it", "recovery_code": codes[0]}
    assert "do not fit" in field_error(lost.send("/login/recover", form), "recovery_code"), (
        "a paper alone is not enough"
    )
    assert lost.send("/login/recover", {**form, "password": PASSWORD}).location == "/account"
    page = sentences(lost.get("/account"))
    assert "9 are left" in page and "9 of ten are left" in page and "Came in with a recovery code" in page
    assert "asks for a code of your authenticator app" in page, "nothing was removed"
    assert lost.post("/account/app/remove").status_code == 303
    assert "Your password is enough" in sentences(lost.get("/account"))
    half = entered(app, "alice who lost it")
    assert half.get("/dashboard").status_code == 200


def test_the_codes_are_shown_once(app: Flask) -> None:
    alice = signed_up(app, "alice on paper")
    codes = with_codes(alice)
    for path in ("/account", "/account/codes/confirm"):
        assert not [c for c in codes if c in alice.get(path).get_data(as_text=True)]


def test_sign_up_and_log_in_by_passkey(app: Flask, key: SoftKey) -> None:
    alice = Visitor(app)
    assert passkey(alice, key, "/signup/passkey", "sign_up", name="alice of the keys").location == "/drafts/start"
    assert "passkey First passkey" in sentences(alice.get("/account"))
    again = Visitor(app)
    assert passkey(again, key, "/login/passkey?next=/account", "log_in").location == "/account"
    assert again.post("/logout", page="/account").status_code == 303
    for password in ("", PASSWORD):
        refused = Visitor(app).send("/login", {"name": "alice of the keys", "password": password})
        assert "do not fit together" in field_error(refused, "password")


def test_a_passkey_beside_a_password(app: Flask, key: SoftKey) -> None:
    alice = signed_up(app, "alice of both")
    page = alice.get("/account/passkeys/new")
    assert "asks for a passkey as well" in sentences(page)
    made = passkey(alice, key, "/account/passkeys/new", "add", passkey_name="Phone")
    assert made.location == "/account" and "“Phone” is added" in sentences(alice.get("/account"))
    half = entered(app, "alice of both")
    assert half.get("/dashboard").location.startswith("/login")
    assert passkey(half, key, "/login/second/passkey", "second").location == "/dashboard"
    number = re.search(r"/account/passkeys/(\d+)/remove", alice.get("/account").get_data(as_text=True))
    assert number is not None
    assert alice.post(f"/account/passkeys/{number[1]}/rename", {"passkey_name": "Old phone"}).status_code == 303
    assert "Old phone" in sentences(alice.get("/account"))
    stranger = signed_up(app, "a stranger to keys")
    assert stranger.post(f"/account/passkeys/{number[1]}/remove").status_code == 404
    assert alice.post("/account/password/remove").status_code == 303
    assert "last way" in sentences(alice.get("/account"))
    assert alice.post(f"/account/passkeys/{number[1]}/remove").status_code == 303
    assert "last way into your account, so it cannot be removed. Add" in sentences(alice.get("/account"))


def test_a_copied_passkey_is_refused_and_told_of(app: Flask, key: SoftKey) -> None:
    alice = Visitor(app)
    passkey(alice, key, "/signup/passkey", "sign_up", name="alice and her copy")
    key.count += 5
    assert passkey(Visitor(app), key, "/login/passkey", "log_in").status_code == 303
    key.count -= 5
    answer = passkey(Visitor(app), key, "/login/passkey", "log_in")
    assert answer.status_code == 422 and "its counter went back" in sentences(answer)
    assert "A passkey was refused" in sentences(alice.get("/account"))


def test_only_the_browser_that_was_asked_answers(app: Flask, key: SoftKey) -> None:
    alice, thief = Visitor(app), Visitor(app)
    passkey(alice, key, "/signup/passkey", "sign_up", name="alice who answers")
    token, other = alice.csrf_token("/login"), thief.csrf_token("/login")
    options = alice.client.post("/passkeys/options", data={"csrf_token": token, "purpose": "log_in"})
    credential = key.show(options.get_data(as_text=True))
    stolen = thief.client.post("/login/passkey", data={"csrf_token": other, "credential": credential})
    assert stolen.status_code == 422 and "too long, or was sent twice" in sentences(stolen)
    sent = {"csrf_token": token, "credential": credential}
    cookies = alice.client.get_cookie("session")
    assert cookies is not None
    assert alice.client.post("/login/passkey", data=sent).status_code == 303
    alice.client.set_cookie("session", cookies.value)
    assert alice.client.post("/login/passkey", data=sent).status_code == 422, "not again, with the old cookie either"


def test_options_are_given_to_those_who_may(app: Flask, bob: Visitor) -> None:
    token = bob.csrf_token("/login")
    for purpose in ("add", "confirm", "second", "", "nonsense"):
        answer = bob.client.post("/passkeys/options", data={"csrf_token": token, "purpose": purpose})
        assert answer.status_code == 422 and "Load it again" in answer.get_json()["detail"]
    taken = {"csrf_token": token, "purpose": "sign_up", "name": "ALICE of the web"}
    signed_up(app, "Alice of the taken name")
    taken["name"] = "alice of the TAKEN name"
    assert "taken" in bob.client.post("/passkeys/options", data=taken).get_json()["detail"]
    assert bob.client.post("/passkeys/options", data={"purpose": "log_in"}).status_code == 400


def test_where_passkeys_cannot_be_used_they_are_not_offered(town: World) -> None:
    with site_of(town, base_url="https://192.0.2.7") as app:
        bob = Visitor(app)
        assert "passkey" not in sentences(bob.get("/login")).lower()
        answer = bob.post("/passkeys/options", {"purpose": "log_in"})
        assert answer.status_code == 422 and "a name of its own" in answer.get_json()["detail"]


def test_changing_the_ways_in_asks_who_is_there(town: World, app: Flask) -> None:
    alice = signed_up(app, "alice away from keyboard")
    aged(town, proven_at=timedelta(minutes=16))
    for path in ("/account/password", "/account/app", "/account/passkeys/new", "/account/name", "/account/close"):
        assert alice.get(path).location == f"/account/confirm?next={path.replace('/', '%2F')}".replace("%2F", "/")
    for path in ("/account/codes", "/account/password/remove", "/account/app/begin", "/account/close"):
        assert alice.post(path, page="/account").location.startswith("/account/confirm")
    assert alice.get("/account").status_code == 200 and alice.get("/dashboard").status_code == 200
    before = alice.client.get_cookie("session")
    wrong = alice.send("/account/confirm?next=/account/name", {"password": "wrong password"})
    assert wrong.status_code == 422 and "does not fit" in field_error(wrong, "password")
    assert alice.send("/account/confirm?next=/account/name", {"password": PASSWORD}).location == "/account/name"
    assert alice.get("/account/name").status_code == 200
    assert before is not None
    alice.client.set_cookie("session", before.value)
    assert alice.get("/account").location.startswith("/login"), "the token from before is worth nothing"


def test_after_half_a_day_publishing_asks_too(town: World, app: Flask) -> None:
    alice = signed_up(app, "alice who slept")
    draft = alice.send("/drafts/new", draft_form(town)).location.split("/")[2]
    aged(town, seen_at=timedelta(hours=13), proven_at=timedelta(hours=13))
    assert alice.get(f"/drafts/{draft}/preview").status_code == 200
    asleep = alice.post(
        f"/drafts/{draft}/publish", page="/account", headers={"Referer": f"http://localhost/drafts/{draft}/preview"}
    )
    assert asleep.location == f"/account/confirm?next=/drafts/{draft}/preview", "and then back to the button"
    foreign = alice.post(f"/drafts/{draft}/publish", page="/account", headers={"Referer": "http://evil.example/x"})
    assert foreign.location == "/account/confirm"
    assert town.snapshot(draft).campaign.terms is None
    assert alice.send("/account/confirm", {"password": PASSWORD}).status_code == 303
    assert alice.post(f"/drafts/{draft}/publish", page="/account").location == f"/campaigns/{draft}"


def test_after_half_a_day_no_payout_address_changes_and_nobody_is_taken_in(
    town: World, app: Flask, node: RegtestNode
) -> None:
    alice = signed_up(app, "alice who was away")
    form = draft_form(town)
    draft = alice.send("/drafts/new", form).location.split("/")[2]
    slug = slug_of(town, draft)
    aged(town, seen_at=timedelta(hours=13), proven_at=timedelta(hours=13))
    elsewhere = new_address(node)
    for path, fields in (
        (f"/drafts/{draft}/edit", {**form, "payout_address": elsewhere}),
        (f"/drafts/{draft}/write/money", {**form, "payout_address": elsewhere}),
        ("/drafts/new", {**form, "payout_address": elsewhere}),
    ):
        answer = alice.send(path, fields)
        assert answer.status_code == 422 and "away for more than twelve hours" in sentences(answer), path
        assert elsewhere in answer.text, "nothing is lost"
    assert town.snapshot(draft).campaign.payout_address == form["payout_address"]
    assert alice.send(f"/drafts/{draft}/edit", {**form, "title": "Other words"}).status_code == 303
    invited = alice.post(f"/projects/{slug}/people", {"deed": "invite", "role": "owner"}, page="/account")
    assert invited.location.startswith("/account/confirm")
    assert alice.get("/join/some-token").location == "/account/confirm?next=/join/some-token"
    assert alice.post(f"/drafts/{draft}/review", page="/account").location.startswith("/account/confirm")
    alice.send("/account/confirm", {"password": PASSWORD})
    assert alice.send(f"/drafts/{draft}/edit", {**form, "payout_address": elsewhere}).status_code == 303
    invited = alice.post(f"/projects/{slug}/people", {"deed": "invite", "role": "editor"}, page="/account")
    assert invited.status_code == 200 and "/join/" in invited.text


def slug_of(town: World, draft: str) -> str:
    with town.database.reading() as db:
        return db.get_one(Project, db.get_one(Campaign, draft).project_id).slug


def test_who_was_invited_comes_back_to_the_invitation(app: Flask) -> None:
    guest = Visitor(app)
    door = guest.get("/join/some-token").location
    assert door == "/login?next=/join/some-token"
    assert "/signup?next=/join/some-token" in guest.get(door).text
    form = {"name": "a guest with a link", "password": PASSWORD}
    assert guest.send("/signup?next=/join/some-token", form).location == "/join/some-token"
    form["name"] = "a guest led astray"
    assert Visitor(app).send("/signup?next=//evil.example/", form).location == "/drafts/start"


def test_cookies_are_of_this_host_alone_where_there_is_https(town: World) -> None:
    with site_of(town, base_url="https://fund.example.org") as site:
        answer = site.test_client().get("/login", base_url="https://fund.example.org")
        assert answer.headers["Set-Cookie"].startswith("__Host-session=")
        assert "Secure" in answer.headers["Set-Cookie"] and "Domain" not in answer.headers["Set-Cookie"]
        alice = site.test_client()
        token = TOKEN_FIELD.search(alice.get("/signup", base_url="https://fund.example.org").text)
        assert token is not None
        made = alice.post(
            "/signup", data={"csrf_token": token[1], "name": "alice of https", "password": PASSWORD},
            base_url="https://fund.example.org", headers={"Referer": "https://fund.example.org/signup"},
        )  # fmt: skip
        known = [c for c in made.headers.getlist("Set-Cookie") if c.startswith("__Host-known=")]
        assert made.status_code == 303 and len(known) == 1 and "Path=/;" in known[0] and "Secure" in known[0]


def test_a_session_ends_after_thirty_days(town: World, app: Flask) -> None:
    alice = signed_up(app, "alice of the month")
    cookie = alice.client.get_cookie("session")
    assert cookie is not None and cookie.http_only and cookie.same_site == "Lax" and not cookie.secure
    with town.database.transaction() as db:
        creator = db.scalars(select(Creator).where(Creator.key == "alice of the month")).one()
        db.execute(delete(WebSession).where(WebSession.creator_id == creator.id))
    assert alice.get("/dashboard").location.startswith("/login")


def test_sessions_are_listed_and_ended(app: Flask) -> None:
    one = signed_up(app, "alice everywhere")
    two = Visitor(app)
    two.send("/login", {"name": "alice everywhere", "password": PASSWORD})
    three = entered(app, "alice everywhere")
    page = one.get("/account").get_data(as_text=True)
    numbers = re.findall(r"/account/sessions/(\d+)/end", page)
    assert len(numbers) == 3 and page.count("this one") == 1
    stranger = signed_up(app, "a stranger to sessions")
    assert stranger.post(f"/account/sessions/{numbers[0]}/end", page="/account").status_code == 404
    assert one.post(f"/account/sessions/{numbers[0]}/end", page="/account").status_code == 303
    assert three.get("/dashboard").location.startswith("/login") and two.get("/dashboard").status_code == 200
    assert one.post("/account/sessions/end-others", page="/account").status_code == 303
    assert two.get("/dashboard").location.startswith("/login") and one.get("/dashboard").status_code == 200
    own = re.findall(r"/account/sessions/(\d+)/end", one.get("/account").get_data(as_text=True))
    assert one.post(f"/account/sessions/{own[0]}/end", page="/account").location == "/"
    assert one.get("/dashboard").location.startswith("/login")


def test_a_new_password(app: Flask) -> None:
    alice = signed_up(app, "alice anew")
    other = entered(app, "alice anew")
    assert "at least 10" in field_error(alice.send("/account/password", {"password": "short"}), "password")
    assert alice.send("/account/password", {"password": "a whole new sentence"}).status_code == 303
    assert "One other browser is logged out" in sentences(alice.get("/account"))
    assert other.get("/dashboard").location.startswith("/login")
    entered(app, "alice anew", "a whole new sentence")


def test_a_name_until_it_is_published(town: World, app: Flask) -> None:
    alice = signed_up(app, "alice for now")
    signed_up(app, "alice before her")
    assert "taken" in field_error(alice.send("/account/name", {"name": "ALICE before her"}), "name")
    assert alice.send("/account/name", {"name": "alice for good"}).status_code == 303
    campaign = alice.send("/drafts/new", draft_form(town)).location.split("/")[2]
    alice.post(f"/drafts/{campaign}/publish", page="/account")
    page = sentences(alice.get("/account"))
    assert "so it cannot change any more" in page and "cannot be closed" in page
    assert "cannot change" in field_error(alice.send("/account/name", {"name": "alice again"}), "name")
    assert alice.post("/account/close", page="/account").location == "/account"
    assert "its terms name you for ever" in sentences(alice.get("/account"))


def test_closing(town: World, app: Flask) -> None:
    alice = signed_up(app, "alice who leaves")
    alice.send("/drafts/new", draft_form(town))
    assert "cannot be undone" in sentences(alice.get("/account/close"))
    assert alice.post("/account/close", page="/account/close").location == "/"
    assert alice.get("/dashboard").location.startswith("/login")
    signed_up(app, "alice who leaves")


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that are hashed in no time, for tests that try many."""
    passwords._nobody.cache_clear()
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@contextmanager
def strict(town: World, **settings: Any) -> Iterator[Flask]:
    """The site with the limits that a public one has, and nothing counted yet."""
    with town.database.transaction() as db:
        db.execute(delete(AttemptWindow))
    with site_of(town, limit_factor=1, **settings) as app:
        yield app


@pytest.mark.usefixtures("cheap")
def test_passwords_cannot_be_guessed_for_long_and_nobody_is_locked_out(town: World, app: Flask) -> None:
    for name in ("alice under attack", "somebody with a cookie"):
        signed_up(app, name)
    with strict(town, trusted_proxies=1) as site:
        alice = entered(site, "alice under attack")
        alice.post("/logout", page="/account")
        for name in ("alice under attack", "nobody at all"):
            thief, form = Visitor(site), {"name": name, "password": "wrong password"}
            far = {"X-Forwarded-For": "198.51.100.9"}
            codes = [thief.post("/login", form, page="/login", headers=far).status_code for _ in range(11)]
            assert codes == [422] * 10 + [429], "whether there is such an account or not"
        answer = thief.post("/login", form, page="/login", headers=far)
        assert 0 < int(answer.headers["Retry-After"]) <= 900 and "Please wait" in sentences(answer)
        with town.database.transaction() as db:
            for _ in range(85):
                limits.count(db, limits.ACCOUNT, "log_in_pair alice under attack", datetime.now(UTC))
        for number in range(10):
            thief = Visitor(site)
            headers = {"X-Forwarded-For": f"203.0.113.{number}"}
            last = thief.post(
                "/login", {"name": "alice under attack", "password": "wrong"}, page="/login", headers=headers
            )
        assert last.status_code == 429, "from everywhere at once neither"
        known = entered(site, "somebody with a cookie")
        answer = known.send("/login", {"name": "alice under attack", "password": "wrong"})
        assert answer.status_code == 429, "nor from a browser that another account knows"
        answer = alice.send("/login", {"name": "alice under attack", "password": PASSWORD})
        assert answer.status_code == 303, "her own browser is counted by itself"


@pytest.mark.usefixtures("cheap")
def test_a_browser_is_known_to_a_person_and_a_password_not_to_a_name(town: World) -> None:
    """Whoever had the name before, or learnt the password once, is counted like anybody."""
    wrong = {"name": "the wanted name", "password": "wrong password"}
    with strict(town) as site:
        squatter = signed_up(site, "the wanted name")
        assert squatter.send("/account/name", {"name": "another name"}).status_code == 303
        squatter.post("/logout", page="/account")
        owner = signed_up(site, "the wanted name")
        thief = entered(site, "the wanted name")
        assert owner.send("/account/password", {"password": "a whole new sentence"}).status_code == 303
        owner.post("/logout", page="/account")
        with town.database.transaction() as db:
            db.execute(delete(AttemptWindow))
            for _ in range(10):
                limits.count(db, limits.PAIR, "127.0.0.1 the wanted name", datetime.now(UTC))
        for visitor in (squatter, thief):
            assert visitor.send("/login", wrong).status_code == 429
        for _ in range(10):
            assert owner.send("/login", wrong).status_code == 422, "the browser that set the password is known"
        assert owner.send("/login", wrong).status_code == 429


@pytest.mark.usefixtures("cheap")
def test_logging_in_again_and_again_does_not_make_more_room(town: World) -> None:
    with strict(town) as site:
        alice = signed_up(site, "alice in and out")
        for _ in range(10):
            alice.post("/logout", page="/account")
            answer = alice.send("/login", {"name": "alice in and out", "password": PASSWORD})
            assert answer.status_code == 303
        alice.post("/logout", page="/account")
        assert alice.send("/login", {"name": "alice in and out", "password": PASSWORD}).status_code == 429


@pytest.mark.usefixtures("cheap")
def test_a_number_that_is_a_name_locks_nobody_out_of_recovery(town: World, app: Flask) -> None:
    alice = signed_up(app, "alice and a number")
    with_app(alice)
    codes = with_codes(alice)
    with town.database.reading() as db:
        number = db.scalars(select(Creator.id).where(Creator.key == "alice and a number")).one()
    with strict(town) as site:
        half = entered(site, "alice and a number")
        thief = Visitor(site)
        for _ in range(11):
            refused = thief.send("/login/recover", {"name": str(number), "recovery_code": "x"})
        assert refused.status_code == 429
        assert half.send("/login/recover", {"recovery_code": codes[0]}).location == "/account"


def test_names_cannot_be_asked_for_by_renaming(town: World) -> None:
    with strict(town) as site:
        alice = signed_up(site, "alice who asks for names")
        codes = [alice.send("/account/name", {"name": f"Alice of the web {n}"}).status_code for n in range(10)]
        assert codes == [303] * 9 + [429]


@pytest.mark.usefixtures("cheap")
def test_whose_address_counts(town: World, app: Flask) -> None:
    """Without a proxy that is ours, nobody gets room by naming another address."""
    signed_up(app, "alice at her address")
    for proxies, allowed in ((0, 10), (1, 12)):
        with strict(town, trusted_proxies=proxies) as site:
            codes = [
                Visitor(site).post(
                    "/login", {"name": "alice at her address", "password": "wrong"}, page="/login",
                    headers={"X-Forwarded-For": f"1.2.3.4, 203.0.113.{number}"},
                ).status_code
                for number in range(12)
            ]  # fmt: skip
            assert codes.count(422) == allowed
    with town.database.reading() as db:
        assert "203.0.113.3" in db.scalars(select(AccountEvent.address)).all()


@pytest.mark.usefixtures("cheap")
def test_sign_ups_and_second_factors_are_limited(town: World) -> None:
    with strict(town) as site:
        visitors = [Visitor(site) for _ in range(11)]
        codes = [
            v.send("/signup", {"name": f"robot {n}", "password": PASSWORD}).status_code for n, v in enumerate(visitors)
        ]
        assert codes == [303] * 10 + [429]
        with_app(visitors[0])
        half = entered(site, "robot 0")
        codes = [half.send("/login/second", {"code": "000000"}).status_code for _ in range(11)]
        assert codes == [422] * 10 + [429]
        again = visitors[0]
        again.post("/logout", page="/account")
        again.send("/login", {"name": "robot 0", "password": PASSWORD})
        assert again.send("/login/second", {"code": "000000"}).status_code == 422, "the owner's browser goes on"


def test_pledging_is_limited(town: World, campaign: str, node: RegtestNode) -> None:
    form = {"amount": "50000", "amount_unit": "sat", "refund_address": new_address(node)}
    body = {"amount_sats": 50_000, "refund_address": new_address(node)}
    with strict(town) as site:
        bob = Visitor(site)
        codes = [bob.send(f"/campaigns/{campaign}/pledge", form).status_code for _ in range(29)]
        assert set(codes) == {303}
        assert bob.client.post(f"/api/v1/campaigns/{campaign}/pledges", json=body).status_code == 201
        answer = bob.send(f"/campaigns/{campaign}/pledge", form)
        assert answer.status_code == 429 and "Please wait" in sentences(answer) and "Retry-After" in answer.headers
        assert form["refund_address"] in answer.get_data(as_text=True), "nothing is lost"
        problem = bob.client.post(f"/api/v1/campaigns/{campaign}/pledges", json=body)
        assert problem.status_code == 429 and problem.get_json()["title"] == "Too often"
        assert int(problem.headers["Retry-After"]) > 0


def test_every_page_of_accounts_needs_an_account(app: Flask, bob: Visitor) -> None:
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("accounts."):
            path = re.sub(r"<.*?>", "1", rule.rule)
            methods = (rule.methods or set()) & {"GET", "POST"}
            for method in methods:
                token = {"csrf_token": bob.csrf_token("/login")} if method == "POST" else {}
                answer = bob.client.open(path, method=method, data=token)
                assert answer.status_code == 303 and answer.location.startswith("/login"), path
