"""Every page at every width, in light and in dark: nothing runs out of the window, no text lies on other text."""

from __future__ import annotations

import pytest

from crowdfund.demo.examples import CREATOR, PASSWORD, fill
from crowdfund.demo.house import House
from support.browsing import Meet, Person
from support.fitting import misfits
from support.node import new_address

WIDTHS = (360, 768, 1440)


@pytest.fixture(scope="module")
def filled(house: House) -> dict[str, str]:
    """The example campaigns, and a page of each kind: name -> path."""
    fill(house.client, house.node)
    campaigns = [c for c in house.client.get("/campaigns")["campaigns"] if c["creator"] == CREATOR]
    paths = {f"campaign {c['state']}": f"/campaigns/{c['id']}" for c in reversed(campaigns)}
    first = campaigns[0]["id"]
    body: dict[str, object] = {
        "amount_sats": 2_100_000,
        "refund_address": new_address(house.node, "bech32m"),
        "name": "Wolfeschlegelsteinhausenbergerdorff the Elder of Bergen",
        "message": "M" * 280,
    }
    waiting, paid = (house.client.post(f"/campaigns/{first}/pledges", body)["id"] for _ in range(2))
    address = house.client.get(f"/pledges/{paid}")["address"]
    house.node.pay(address, 1_000_000)
    house.client.wait(f"/pledges/{paid}", lambda p: bool(p["seen_sats"]), "a payment")
    return {
        "front": "/",
        **paths,
        "audit": f"/campaigns/{campaigns[-1]['id']}/audit",
        "project": house.client.get(f"/campaigns/{first}")["project"]["url"],
        "talk": f"/campaigns/{first}/talk",
        "updates": f"/campaigns/{first}/updates",
        "campaign dashboard": f"/campaigns/{first}/dashboard",
        "pledge form": f"/campaigns/{first}/pledge",
        "pledge waiting": f"/p/{waiting}",
        "pledge short": f"/p/{paid}",
        "about": "/about",
        "incidents": "/incidents",
        "api": "/api",
        "log in": "/login",
        "sign up": "/signup",
        "dashboard": "/dashboard",
        "draft": "/drafts/new",
    }


# Colours alone differ, and axe looks at those: so the dark pages are measured with the long tests.
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_every_page_fits(meet: Meet, filled: dict[str, str], scheme: str) -> None:
    alice = meet(color_scheme=scheme)
    log_in(alice)
    faults = []
    for name, path in filled.items():
        alice.page.goto(path)
        if name == "draft":
            alice.press("Save and preview")  # with all its errors
        for width in WIDTHS:
            faults += [f"{name} at {width}: {fault}" for fault in misfits(alice, width)]
    assert not faults, "\n".join(faults)


def log_in(person: Person) -> None:
    person.page.goto("/login")
    person.fill(name=CREATOR, password=PASSWORD)
    person.page.locator("main").get_by_role("button", name="Log in").click()
    person.page.wait_for_url("**/dashboard")


def test_a_lone_campaign_fills_its_row(meet: Meet, filled: dict[str, str]) -> None:
    visitor = meet(viewport={"width": 1440, "height": 900})
    visitor.page.goto("/")
    rows = visitor.page.locator("ul.tiles").all()
    for row in rows:
        tiles, whole = row.locator(".tile").all(), row.bounding_box()
        last = tiles[-1].bounding_box()
        assert whole is not None and last is not None
        if len(tiles) < 3:
            assert last["x"] + last["width"] > whole["x"] + whole["width"] - 2


def test_pictures_keep_to_their_place(meet: Meet, filled: dict[str, str]) -> None:
    """No words of a tile lie on its picture, and the cover of a campaign is as wide as its story."""
    alice = meet()
    log_in(alice)
    for name, tile in (("front", ".tile"), ("project", ".tile"), ("dashboard", ".rowcard")):
        for width in WIDTHS:
            alice.page.set_viewport_size({"width": width, "height": 900})
            alice.page.goto(filled[name])
            for each in alice.page.locator(f"{tile}:has(img)").all():
                each.scroll_into_view_if_needed()
                picture, words = each.locator("img").bounding_box(), each.locator(f"{tile}-body").bounding_box()
                assert picture and words
                above = picture["y"] + picture["height"] <= words["y"] + 2
                before = picture["x"] + picture["width"] <= words["x"] + 2
                assert above or before, f"{name} at {width}: {picture} {words}"
    alice.page.goto(filled["campaign open"])
    cover, story = alice.page.locator(".c-picture").bounding_box(), alice.page.locator(".c-main").bounding_box()
    assert cover and story and abs(cover["width"] - story["width"]) < 2


def test_a_licence_without_a_longer_name_is_named_once(meet: Meet, filled: dict[str, str]) -> None:
    visitor = meet()
    visitor.page.goto(filled["campaign open"])
    facts = visitor.page.locator(".facts > div").first.inner_text()
    assert facts.count("CERN-OHL-S-2.0 AND CC-BY-SA-4.0") == 1
    visitor.page.goto(filled["campaign released"])
    facts = visitor.page.locator(".facts > div").first.inner_text()
    assert "GNU General Public License v3.0 or later" in facts and "GPL-3.0-or-later" in facts


def test_on_paper_the_pledge_keeps_its_code_and_its_link(meet: Meet, filled: dict[str, str]) -> None:
    visitor = meet()
    visitor.page.goto(filled["pledge waiting"])
    visitor.page.emulate_media(media="print")
    assert visitor.qr_text().lower() == visitor.wallet_link().lower()
    assert visitor.page.locator("#receipt .hash").is_visible() and visitor.page.locator(".print-only").is_visible()
    assert not visitor.page.locator(".bench").is_visible() and not visitor.page.locator("header nav").is_visible()


def test_an_address_that_is_not_there_looks_like_the_site(meet: Meet) -> None:
    visitor = meet()
    visitor.allowed_codes.add(404)
    visitor.page.goto("/nowhere")
    visitor.shows("h1", "Nothing here")
    assert not misfits(visitor, 360)
