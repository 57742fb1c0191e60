"""A running campaign in real browsers: an update, a question and its answer, a comment, hiding, and the dashboard; with
and without scripts, and every one of these pages narrow and wide."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from browser.test_look import WIDTHS
from crowdfund.demo.house import House
from support.browsing import Meet, Person
from support.fitting import misfits
from support.node import new_address

LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2
PICTURES = os.environ.get("CROWDFUND_TEST_PICTURES")  # a folder for people to look at them


@pytest.mark.parametrize("scripts", [True, False])
def test_people_talk_and_the_creator_sees_how_it_goes(house: House, meet: Meet, scripts: bool) -> None:
    alice, bob, carol = (meet(scripts=scripts) for _ in range(3))
    alice.sign_up("Alice who tells")
    campaign = alice.write_campaign(house.node)
    carol.pledge(campaign, 300_000, new_address(house.node), name="Carol", message="For the village")
    secret = carol.page.url
    alice.page.goto(f"{campaign}/pledge")
    alice.fill(amount="100000", refund_address=new_address(house.node))
    alice.press("Show me where to pay")
    alice.shows(".summary", "say whether this is your own money")
    alice.page.get_by_label("Yes", exact=True).check()
    alice.press("Show me where to pay")
    for person in (carol, alice):
        address = house.client.get(f"/pledges/{person.page.url.rsplit('/', 1)[1]}")["address"]
        house.node.pay(address, 300_000 if person is carol else 100_000)
    house.node.mine()
    carol.shows("h1", "Your pledge counts")

    bob.page.goto(campaign)
    bob.press("Ask a question")
    bob.fill(text=f"Which wood? {LONG}")
    bob.press("Ask")
    bob.shows(".flash", "Everyone can read your question once it is answered")
    alice.page.goto(f"{campaign}/dashboard")
    alice.press("Answer questions: 1")
    alice.page.locator("main").get_by_role("link", name="Answer").first.click()
    alice.page.wait_for_url("**/answer")
    look(alice, f"answer-{scripts}")
    alice.fill(text="Ash, from here.")
    alice.press("Publish the answer")
    alice.page.goto(f"{campaign}/dashboard")
    alice.press("Write an update")
    alice.fill(title="The first **drill**", text="It sows *straight*.\n\n- one\n- two")
    alice.press("Publish")
    alice.press("Edit")
    alice.fill(text="It sows *very* straight.")
    alice.press("Publish the new version")
    alice.shows("#versions", "What it said before")

    carol.page.goto(secret)
    carol.press("Comment on the campaign as somebody who has pledged")
    look(carol, f"comment-{scripts}")
    carol.fill(text=f"Well done! {LONG}")
    carol.press("Publish the comment")
    carol.shows(".comment", "anonymous has pledged")
    carol.page.goto("about:blank")  # a page that nobody looks at is not painted, and says that its fonts are unused
    bob.page.goto(f"{campaign}/talk")
    bob.shows(".comment", "has pledged")
    assert secret.rsplit("/", 1)[1] not in bob.page.content()
    bob.page.goto(campaign)
    bob.shows(".own-money", "declares 100000 sat")
    bob.shows(".question", "Which wood?")
    bob.shows(".update", "It sows very straight.")

    alice.page.goto(f"{campaign}/dashboard")
    alice.shows("#pledges ~ [data-part]", "For the village")
    alice.shows("[data-part=shares]", "75.0 %")
    alice.page.get_by_role("link", name="Hide name and message").first.click()
    alice.page.wait_for_url("**/hide/**")
    look(alice, f"hide-{scripts}")
    alice.fill(reason="An advertisement")
    alice.press("Hide it, with this reason")
    alice.shows(".log", "An advertisement")
    bob.page.goto(campaign)
    bob.shows("[data-part=backers]", "name hidden")

    for person, paths in (
        (alice, ("dashboard", "updates/new", "updates/1", "updates/1/edit", "talk", "talk/comment")),
        (bob, ("", "updates", "updates/1", "talk", "moderation")),
    ):
        for path in paths:
            person.page.goto(f"{campaign}/{path}".rstrip("/"))
            look(person, f"{path.replace('/', '-') or 'campaign'}-{person is alice}-{scripts}")


def test_an_update_appears_on_an_open_page(house: House, meet: Meet) -> None:
    alice, bob = meet(), meet()
    alice.sign_up("Alice who is quick")
    campaign = alice.write_campaign(house.node)
    bob.page.goto(campaign)
    alice.page.goto(f"{campaign}/updates/new")
    alice.fill(title="Just now", text="Look.")
    alice.press("Publish")
    bob.shows(".update", "Just now")


def look(person: Person, name: str) -> None:
    """The open page fits at every width; and there are pictures, for who wants them."""
    for width in WIDTHS:
        assert not (found := misfits(person, width)), f"{name} at {width}: {found}"
        if PICTURES:
            person.page.screenshot(path=Path(PICTURES) / f"{name}-{width}.png", full_page=True)
