"""Writing a campaign step by step in a browser: what is typed is kept by itself, and without scripts by its button."""

from __future__ import annotations

from playwright.sync_api import expect

from crowdfund.demo.house import House
from support.browsing import Meet, Person, draft_fields
from support.node import new_address

PROJECT = {"name": "Seed drill", "repository_url": "https://example.org/drill", "license": "CERN-OHL-S-2.0"}


def begin(person: Person, name: str) -> None:
    """Sign up, and make a project."""
    person.sign_up(name)
    person.page.goto("/drafts/start")
    person.page.select_option("#kind", "hardware")
    person.fill(**PROJECT)
    person.press("Save and go on")
    assert person.page.url.endswith("/write/story")


def test_what_is_typed_is_kept_and_shown(meet: Meet, house: House) -> None:
    alice = meet()
    begin(alice, "Alice of the wizard")
    alice.fill(title="Six drills", summary="For six villages.", story="By hand.", about="Two farmers.")
    expect(alice.page.get_by_text("Saved.", exact=True)).to_be_visible()
    expect(alice.page.locator("#preview .h1")).to_have_text("Six drills")
    alice.page.reload()
    expect(alice.page.locator("#title")).to_have_value("Six drills")
    alice.fill(title="x" * 81)
    expect(alice.page.locator("#saved")).to_contain_text("at most 80 fit")
    alice.fill(title="Six drills")
    alice.press("Save and go on")
    assert alice.page.url.endswith("/write/open")
    alice.fill(**{"deliverables-0-title": "Drawings", "deliverables-0-license": "CERN-OHL-S-2.0"})
    alice.press("Save and go on")
    alice.fill(**{"budget-0-title": "Steel", "budget-0-sats": "1000000"})
    expect(alice.page.locator("#preview svg.budget")).to_be_visible()
    alice.press("Save and go on")
    alice.press("Save and go on")
    expect(alice.page.locator("#goal")).to_have_value("1000000")
    fields = draft_fields(house.node)
    alice.fill(deadline=fields["deadline"], payout_address=new_address(house.node))
    alice.press("Save and go on")
    alice.press("Freeze the terms and publish")
    assert "/campaigns/" in alice.page.url
    expect(alice.page.get_by_role("heading", name="What the money pays for")).to_be_visible()


def test_the_same_without_scripts_on_a_narrow_screen(meet: Meet, house: House) -> None:
    alice = meet(scripts=False, viewport={"width": 360, "height": 740})
    begin(alice, "Alice of the button")
    alice.fill(title="By button")
    alice.press("Save and go on")
    alice.fill(**{"deliverables-0-title": "Drawings", "deliverables-0-license": "nonsense"})
    alice.press("Save and go on")
    expect(alice.page.locator("#deliverables-0-license-error")).to_contain_text("not an SPDX")
    expect(alice.page.locator("#deliverables-0-title")).to_have_value("Drawings")
    alice.press("Story")
    expect(alice.page.locator("#title")).to_have_value("By button")
