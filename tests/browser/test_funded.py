"""From the first line of a draft to the payout and its audit, as alice, bob and carol live it in their browsers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from playwright.sync_api import expect

from crowdfund.chain.regtest import RegtestNode
from crowdfund.demo.house import House
from crowdfund.wallet.amounts import btc_to_sats, format_btc
from support.browsing import Meet, Person, draft_fields, figure, flat, settlement_sent
from support.node import new_address

BAD_DRAFT = {
    "title": "",
    "goal": "1,000,000",
    "deadline": "2020-01-01T00:00",
    "payout_address": "bcrt1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnard0ex",
    "project_url": "ftp://example.org",
    "license": "all rights reserved",
}
QR_URI = re.compile(r"bitcoin:(BCRT1[0-9A-Z]+)\?amount=([0-9.]+)")


def test_a_campaign_is_funded_and_paid_out(meet: Meet, house: House, tmp_path: Path) -> None:
    node, alice, bob, carol = (
        house.node,
        meet(),
        meet(viewport={"width": 390, "height": 844}),
        meet(color_scheme="dark"),
    )
    payout_address = new_address(node)
    campaign = publish_at_the_second_try(alice, node, payout_address)
    alice.page.evaluate("window.neverReloaded = true")
    expect(alice.page.locator(".bar rect.seen")).to_have_count(0)

    first = back_and_watch(bob, node, campaign, 400_000, new_address(node).upper())
    expect(alice.page.locator(".bar rect.c0")).to_have_count(1)
    alice.shows(".barwords", "40% of the goal is confirmed.")

    second = carol.pledge(campaign, 700_000, new_address(node), name="Carol", message="For my village.")
    assert pay_the_code(carol, node) == 700_000
    carol.shows("h1", "Your payment is on its way")
    alice.shows(".barwords", "Another 700000 sat has been seen")
    expect(alice.page.locator(".bar rect.seen")).to_have_count(1)
    node.mine()
    alice.shows(".barwords", "110% of the goal is confirmed, so the goal is reached")
    expect(alice.page.locator(".bar rect.seen")).to_have_count(0)
    alice.shows(".backers", "Carol 700000 sat For my village.")

    paid_out = watch_the_payout(alice, bob, carol, node, payout_address)
    for person, path in ((bob, first), (carol, second)):
        assert person.page.url.endswith(path)
        person.shows("h1", "Your pledge went to the project")
        person.shows(".settled .hash", paid_out)
    audit_from_the_page(bob, house, campaign, tmp_path)


def publish_at_the_second_try(alice: Person, node: RegtestNode, payout_address: str) -> str:
    """Everything wrong at first: each field says why and keeps what was typed; then it is mended and published."""
    page = alice.page
    alice.sign_up("Alice with a browser")
    page.goto("/drafts/new")
    alice.fill(**{**draft_fields(node), **BAD_DRAFT})
    alice.press("Save and preview")
    said = {name: flat(page.locator(f"#{name}-error").inner_text()) for name in BAD_DRAFT}
    assert "write a title" in said["title"] and "leave out spaces, commas" in said["goal"]
    assert "in the past" in said["deadline"] and "checksum" in said["payout_address"]
    assert "https://" in said["project_url"] and "SPDX" in said["license"]
    typed = {**draft_fields(node), **BAD_DRAFT}
    for name in ("story", "summary", *BAD_DRAFT):
        assert page.input_value(f"#{name}") == typed[name]
    assert page.title().startswith("Error: ") and page.locator("#errors li").count() == len(BAD_DRAFT)

    alice.fill(**{**draft_fields(node), "payout_address": payout_address})
    alice.press("Save and preview")
    assert re.fullmatch(".*/drafts/[a-z0-9]+/preview", page.url)
    assert payout_address in page.locator(".publish .address").inner_text().replace("\n", "").replace(" ", "")
    assert page.locator(".sheet .story strong").inner_text() == "by hand"
    alice.press("Freeze the terms and publish")
    alice.shows(".flash", "Published. The terms are frozen")
    return urlsplit(page.url).path


def back_and_watch(bob: Person, node: RegtestNode, campaign: str, amount_sats: int, refund_address: str) -> str:
    """Pledge with an address in capitals, pay what the code says, and see it arrive without loading the page again."""
    path = bob.pledge(campaign, amount_sats, refund_address, name="Bob")
    assert refund_address.lower() in bob.page.locator("[data-part=refund] .address").inner_text().replace(" ", "")
    bob.page.evaluate("window.neverReloaded = true")
    assert pay_the_code(bob, node) == amount_sats
    bob.shows("h1", "Your payment is on its way")
    bob.shows("#announce", "Your payment is on its way")
    assert bob.page.title().startswith("Your payment is on its way")
    expect(bob.page.locator("svg.qr")).to_have_count(0)
    node.mine()
    bob.shows("h1", "Your pledge counts")
    bob.shows(".coins", "confirmed, block")
    assert bob.page.evaluate("window.neverReloaded")
    return path


def pay_the_code(backer: Person, node: RegtestNode) -> int:
    """Read the code from the screen as a wallet does and pay what it says; returns the satoshi."""
    read = QR_URI.fullmatch(backer.qr_text())
    assert read is not None, f"the code says {backer.qr_text()!r}"
    address, sats = read[1].lower(), btc_to_sats_text(read[2])
    assert backer.wallet_link() == f"bitcoin:{address}?amount={format_btc(sats)}"
    assert address in backer.page.locator(".due .address").inner_text().replace("\n", "").replace(" ", "")
    assert figure(backer.page.locator(".due .big").inner_text()) == sats
    node.pay(address, sats)
    return sats


def btc_to_sats_text(text: str) -> int:
    """`0.00400000` in satoshi."""
    whole, decimals = text.split(".")
    assert len(decimals) == 8
    return int(whole + decimals)


def watch_the_payout(alice: Person, bob: Person, carol: Person, node: RegtestNode, payout_address: str) -> str:
    """Jump to the deadline and see the payout sent and confirmed, on the page and on the node; returns its txid."""
    alice.press("Jump to the deadline")
    alice.shows("[data-part=state]", "Funded, paying out.")
    txid = settlement_sent(alice, node)
    bob.shows("h1", "Your money is on its way out")
    alice.press("Mine a block")
    alice.shows("[data-part=badge]", "Funded and paid out")
    alice.shows(".settlement", "The payout is in the chain for good.")
    row = alice.page.get_by_role("row").filter(has_text="Paid out to the project")
    shown_sats = figure(row.get_by_role("cell").inner_text())
    assert btc_to_sats(node.bank("getreceivedbyaddress", payout_address)) == shown_sats
    assert shown_sats + figure(alice.page.get_by_text("miner fee").last.inner_text().split("fee")[1]) == 1_100_000
    assert node.rpc("getrawtransaction", txid, True)["confirmations"] == 1
    return txid


def audit_from_the_page(bob: Person, house: House, campaign: str, folder: Path) -> None:
    """The audit page lists both coins, and the file that it offers passes the auditor's own command."""
    bob.page.goto(campaign)
    bob.press("See every coin and recompute the sums")
    assert bob.page.locator(".coins.audit tbody tr").count() == 2
    bob.shows(".coins.audit", re.compile("paid out.*paid out"))
    with bob.page.expect_download() as download:
        bob.press("Download the audit file")
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    assert file.name in bob.page.locator(".command code").inner_text()
    with urlopen(f"{house.settings.base_url}{campaign}/audit.json") as answer:
        assert json.loads(file.read_text()) == json.load(answer)
    command = [sys.executable, "-m", "crowdfund", "audit", str(file), "--node", house.node.rpc_url]
    command += ["--cookie-file", str(house.node.cookie_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_code_can_be_read_in_light_and_in_dark_wide_and_narrow(meet: Meet, house: House) -> None:
    alice = meet()
    alice.sign_up("Alice of the code")
    campaign = alice.write_campaign(house.node)
    path = alice.pledge(campaign, 210_000, new_address(house.node))
    for scheme in ("light", "dark"):
        for width, height in ((1280, 900), (390, 844)):
            viewer = meet(color_scheme=scheme, viewport={"width": width, "height": height})
            viewer.page.goto(path)
            read = viewer.qr_text()
            assert QR_URI.fullmatch(read), f"{scheme}, {width} wide: {read!r}"
            assert read.lower() == viewer.wallet_link().lower()
