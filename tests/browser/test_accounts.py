"""Accounts in a real browser, with Chromium's own virtual authenticator in place of a fingerprint reader."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pyotp
import pytest
from playwright.sync_api import Browser, expect

from crowdfund.demo.house import House
from support.browsing import Meet, Person, flat
from support.fitting import misfits
from support.world import PASSWORD

WIDTHS = (360, 1280)


class Keyed(Person):
    """Somebody with an authenticator, at the name of this machine: browsers know no passkeys for bare addresses."""

    def __init__(self, browser: Browser, house: House, **options: Any) -> None:
        super().__init__(browser, house.settings.base_url.replace("127.0.0.1", "localhost"), **options)
        self.cdp = self.context.new_cdp_session(self.page)
        self.cdp.send("WebAuthn.enable")
        self.authenticator = self.plug()

    def plug(self, transport: str = "internal") -> str:
        """One more authenticator; returns its number."""
        options = {
            "protocol": "ctap2", "transport": transport, "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True,
        }  # fmt: skip
        return str(self.cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"])

    def unplug(self, authenticator: str) -> None:
        """Take it out."""
        self.cdp.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": authenticator})

    def credential(self, authenticator: str) -> dict[str, Any]:
        """What the authenticator holds, as somebody who copies it would have it."""
        found = self.cdp.send("WebAuthn.getCredentials", {"authenticatorId": authenticator})["credentials"]
        assert len(found) == 1
        return dict(found[0])

    def use_passkey(self, path: str) -> None:
        """Use the passkey that the page asks for, and wait until it leads to `path`."""
        self.page.get_by_role("button", name="Use a passkey").click()
        self.page.wait_for_url(lambda url: urlsplit(url).path == path)

    def log_out(self) -> None:
        """Log out."""
        self.press("Log out")
        assert self.page.url.endswith("/")


@pytest.fixture
def keyed(house: House, browser: Browser) -> Any:
    """Bring in people with an authenticator; their browsers' faults fail the test."""
    people: list[Keyed] = []

    def bring(**options: Any) -> Keyed:
        people.append(Keyed(browser, house, **options))
        return people[-1]

    yield bring
    for person in people:
        person.__exit__(None, None, None)


Bring = Callable[..., Keyed]


def test_a_life_with_passkeys(keyed: Bring) -> None:
    alice = keyed()
    alice.page.goto("/signup")
    alice.page.fill("#passkey-account", "Alice of the fingerprint")
    alice.use_passkey("/drafts/start")
    alice.log_out()

    alice.page.goto("/login?next=/account")
    alice.use_passkey("/account")
    assert "First passkey" in alice.page.inner_text("main") and "last used" in alice.page.inner_text("main")

    alice.press("Add a passkey")
    alice.fill(passkey_name="The same device")
    alice.page.get_by_role("button", name="Make the passkey").click()
    expect(alice.page.get_by_role("alert")).to_have_text("This device holds a passkey of this account already.")

    second = alice.plug("usb")
    alice.fill(passkey_name="Key ring")
    alice.page.get_by_role("button", name="Make the passkey").click()
    alice.page.wait_for_url("**/account")
    assert "The passkey “Key ring” is added." in alice.page.inner_text(".flash")

    row = alice.page.get_by_role("listitem").filter(has_text="First passkey").first
    row.locator("summary").click()
    row.get_by_role("button", name="Remove this passkey").click()
    assert "The passkey is removed." in alice.page.inner_text(".flash")
    alice.page.get_by_role("listitem").filter(has_text="Key ring").first.locator("summary").click()
    expect(alice.page.get_by_text("It is the last way into your account, so it cannot be removed.")).to_be_visible()

    alice.log_out()
    alice.page.goto("/login")
    alice.unplug(second)
    alice.page.get_by_role("button", name="Use a passkey").click()
    alice.page.wait_for_load_state()
    expect(alice.page.locator("main")).to_contain_text("not accepted")


def test_a_cloned_authenticator_is_refused(keyed: Bring) -> None:
    alice = keyed()
    alice.page.goto("/signup")
    alice.page.fill("#passkey-account", "Alice who was copied")
    alice.use_passkey("/drafts/start")
    copied = alice.credential(alice.authenticator)
    for _ in range(2):
        alice.log_out()
        alice.page.goto("/login")
        alice.use_passkey("/dashboard")
    assert alice.credential(alice.authenticator)["signCount"] > copied["signCount"]

    thief = keyed()
    thief.page.goto("/login")
    taken = {"authenticatorId": thief.authenticator, "credential": copied}
    thief.cdp.send("WebAuthn.addCredential", taken)
    thief.page.get_by_role("button", name="Use a passkey").click()
    expect(thief.page.locator("#errors")).to_contain_text("its counter went back")

    alice.page.goto("/account")
    expect(alice.page.locator(".log .alarming")).to_contain_text("A passkey was refused")


def test_password_app_and_recovery(meet: Meet) -> None:
    """All of it without JavaScript."""
    alice = meet(scripts=False)
    alice.page.goto("/signup")
    alice.fill(name="Alice on paper", password=PASSWORD)
    alice.press("Create the account")
    alice.page.goto("/account")
    alice.press("Set up an authenticator app")
    totp = pyotp.TOTP("".join(alice.page.locator(".fours span").all_inner_texts()))
    assert f"secret={totp.secret}" in alice.qr_text()
    alice.fill(code=totp.at(datetime.now(UTC), counter_offset=-1))
    alice.press("Use this app")
    alice.press("Make ten new codes")
    codes = alice.page.locator(".codes li").all_inner_texts()
    alice.fill(code=codes[6])
    alice.press("I have written them down")
    assert "10 of ten are left" in flat(alice.page.inner_text("main"))
    alice.press("Log out")

    log_in(alice, "Alice on paper")
    alice.page.wait_for_url("**/login/second")
    alice.fill(code=totp.at(datetime.now(UTC)))
    alice.press("Go on")
    alice.page.wait_for_url("**/dashboard")
    alice.press("Log out")

    log_in(alice, "Alice on paper")
    alice.page.wait_for_url("**/login/second")
    alice.press("Use a recovery code")
    alice.fill(recovery_code=codes[0].upper())
    alice.press("Come in")
    alice.page.wait_for_url("**/account")
    assert "You came in with a recovery code; 9 are left." in alice.page.inner_text(".flash")
    assert "Came in with a recovery code" in alice.page.locator(".log .alarming").first.inner_text()


def test_without_scripts_a_sentence_says_what_is_missing(meet: Meet) -> None:
    bob = meet(scripts=False)
    for path in ("/login", "/signup"):
        bob.page.goto(path)
        expect(bob.page.get_by_text("Passkeys need JavaScript")).to_be_visible()
        expect(bob.page.get_by_role("button", name="Use a passkey")).to_be_hidden()


def test_at_a_bare_address_a_sentence_says_where_passkeys_work(meet: Meet, house: House) -> None:
    bob = meet()
    bob.page.goto("/login")
    place = house.settings.base_url.replace("127.0.0.1", "localhost")
    expect(bob.page.get_by_text(f"Passkeys work at {place} only.")).to_be_visible()
    expect(bob.page.get_by_role("button", name="Use a passkey")).to_be_disabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_of_an_account_fits(keyed: Bring, scheme: str) -> None:
    alice = keyed(color_scheme=scheme)
    alice.page.goto("/signup")
    alice.page.fill("#passkey-account", f"Alice of the narrow {scheme} screen")
    alice.use_passkey("/drafts/start")
    alice.page.goto("/account/password")
    alice.fill(password=PASSWORD)
    alice.press("Set the password")
    alice.press("Set up an authenticator app")
    faults = fits(alice, "/account/app")
    alice.page.goto("/account")
    alice.press("Make ten new codes")
    faults += fits(alice, "the codes")
    for path in ("/account", "/account/confirm", "/account/passkeys/new", "/account/name", "/account/close"):
        alice.page.goto(path)
        if path == "/account":
            for summary in alice.page.locator("summary").all():
                summary.click()
        faults += fits(alice, path)
    alice.log_out()
    for path in ("/login", "/signup", "/login/recover"):
        alice.page.goto(path)
        alice.page.get_by_role("main").get_by_role("button").first.click()  # with its errors
        expect(alice.page.locator("#errors")).to_be_visible()
        faults += fits(alice, path)
    log_in(alice, f"Alice of the narrow {scheme} screen")
    alice.page.wait_for_url("**/login/second")
    faults += fits(alice, "/login/second")
    assert not faults, "\n".join(faults)


def fits(person: Person, name: str) -> list[str]:
    return [f"{name} at {width}: {fault}" for width in WIDTHS for fault in misfits(person, width)]


def log_in(person: Person, name: str) -> None:
    person.page.goto("/login")
    person.fill(name=name, password=PASSWORD)
    person.page.locator("main").get_by_role("button", name="Log in").click()
