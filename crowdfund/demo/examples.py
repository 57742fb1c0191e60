"""Example campaigns for open projects, made real on the chain: one funded, one refunded, one open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from crowdfund.campaigns.terms import format_time, parse_time
from crowdfund.chain.regtest import RegtestNode
from crowdfund.demo.client import ApiClient

CREATOR = "alice"
PASSWORD = "everything belongs to everyone"


@dataclass(frozen=True)
class Example:
    """A campaign with its pledges: (name, message, pledged sats, paid sats)."""

    title: str
    summary: str
    story: str
    project_url: str
    license: str
    goal_sats: int
    pledges: tuple[tuple[str, str, int, int], ...]
    details: Mapping[str, Any] = field(default_factory=dict)


FUNDED = Example(
    title="A phrasebook of ten river languages",
    summary="Four hundred everyday sentences, recorded by the people who speak them, free for every school and app.",
    story="""Ten languages along one river, each spoken by fewer than nine thousand people. Most have never been
recorded in everyday speech.

## What becomes open

- four hundred sentences in each language, spoken by two people, with transcription and translation
- the recordings as FLAC, the texts as plain tables
- a printable booklet for each school

## Who we are

Seven teachers and two sound engineers. We recorded the first language last year with a borrowed microphone.

## What could go wrong

The rainy season closes the road for weeks. If we lose a month, the booklets come a month later; the recordings do not
depend on it.
""",
    project_url="https://example.org/river-phrasebook",
    license="CC-BY-SA-4.0",
    goal_sats=2_400_000,
    pledges=(
        ("Imani", "For my grandmother's language.", 900_000, 900_000),
        ("", "", 350_000, 350_000),
        ("Joost", "Looking forward to the FLAC files.", 500_000, 500_000),
        ("Library of Ansó", "", 800_000, 800_000),
        ("Tomás", "", 60_000, 75_000),
    ),
)

MISSED = Example(
    title="Firmware for the orphaned e-reader",
    summary="A free operating system for a million readers whose maker has switched off its servers.",
    story="""The maker is gone, the servers are silent, and a million good screens lie in drawers.

## What becomes open

- a boot loader and a small Linux that run from the card slot
- a reading program with no account and no network
- the notes that let others bring it to the sister models

## What could go wrong

Two of the five display controllers are undocumented. We can read them out, but it takes time.
""",
    project_url="https://example.org/free-reader",
    license="GPL-3.0-or-later",
    goal_sats=9_000_000,
    pledges=(
        ("Bo", "I have three of them in a drawer.", 400_000, 400_000),
        ("Sunniva", "", 250_000, 250_000),
        ("", "", 120_000, 120_000),
    ),
)

OPEN = Example(
    title="A seed drill any village can build",
    summary="Drawings, parts list and build videos for a hand-pulled seed drill that a small workshop can make.",
    story="""Most small farms still sow by hand. A drill triples the area that one person can sow in a day, but the
cheapest one on the market costs a season's income.

Ours uses bicycle parts, one welded frame and a printed seed plate. Two prototypes have sown eleven hectares.
""",
    project_url="https://example.org/seed-drill",
    license="CERN-OHL-S-2.0 AND CC-BY-SA-4.0",
    goal_sats=6_000_000,
    pledges=(
        ("Amara", "My father sowed by hand for fifty years.", 500_000, 500_000),
        ("", "", 210_000, 210_000),
        ("Workshop Porto", "Come and weld with us.", 1_000_000, 1_000_000),
        ("Lena", "", 150_000, 150_000),
        ("Kofi", "Please film the repair, too.", 320_000, 320_000),
        ("", "", 50_000, 50_000),
        ("Mirjam", "", 700_000, 700_000),
    ),
    details={
        "deliverables": [
            {
                "title": "Mechanical drawings (FreeCAD)",
                "license": "CERN-OHL-S-2.0",
                "url": "https://example.org/seed-drill/drawings",
                "state": "planned",
            },
            {"title": "Build and repair videos", "license": "CC-BY-SA-4.0", "url": "", "state": "planned"},
            {"title": "Field trial data", "license": "CC-BY-SA-4.0", "url": "", "state": "planned"},
        ],
        "budget": [
            {
                "title": "Steel, wheels and plates for six drills",
                "kind": "material",
                "need": "needed",
                "sats": 2_600_000,
            },
            {"title": "A welder and a film maker", "kind": "task", "need": "needed", "sats": 2_400_000},
            {"title": "One growing season of measuring", "kind": "task", "need": "needed", "sats": 1_000_000},
            {"title": "A press for steel plates", "kind": "infrastructure", "need": "optional", "sats": 1_500_000},
            {"title": "A second season of measuring", "kind": "task", "need": "optional", "sats": 900_000},
        ],
        "rewards": [
            {
                "title": "A printed seed plate",
                "text": "For beans, maize or millet, with the drawing of how it is made.",
                "minimum_sats": 150_000,
                "stock": 12,
            },
            {
                "title": "A day in the workshop",
                "text": "You build a drill with us, and take the photographs home.",
                "minimum_sats": 900_000,
                "stock": 3,
            },
        ],
        "returns": [
            {
                "title": "A two-day course for village smiths",
                "text": "Filmed, with subtitles in four languages.",
                "license": "CC-BY-SA-4.0",
            }
        ],
        "needs": [
            {"title": "Welders who try the drawings", "kind": "skill", "amount": 3, "unit": "people"},
            {"title": "Subtitles", "kind": "time", "amount": 40, "unit": "hours"},
        ],
        "risks": """The printed plate wears out faster in stony soil than we like. A pressed steel plate is the
fallback; it costs more to make but needs no printer.""",
        "about": "Two farmers, a bicycle mechanic and an engineer. Two prototypes of ours have sown eleven hectares.",
    },
)
SEEN_LATER = ("Ravi", "Sent this morning.", 350_000, 350_000)


def fill(client: ApiClient, node: RegtestNode) -> None:
    """Play both endings, then open the campaign that visitors find. Takes a few seconds."""
    ended = [publish(client, node, example, timedelta(hours=3)) for example in (FUNDED, MISSED)]
    for campaign, example in zip(ended, (FUNDED, MISSED), strict=True):
        for pledge in example.pledges:
            pledge_and_pay(client, node, campaign["id"], *pledge)
    confirm(client, node)
    node.jump_to(int(parse_time(ended[0]["deadline_at"]).timestamp()))
    for campaign in ended:
        wait_until_sent(client, node, campaign["id"])
    confirm(client, node)
    still_open = publish(client, node, OPEN, timedelta(days=30))
    for pledge in OPEN.pledges:
        pledge_and_pay(client, node, still_open["id"], *pledge)
    confirm(client, node)
    pledge_and_pay(client, node, still_open["id"], *SEEN_LATER)


def publish(client: ApiClient, node: RegtestNode, example: Example, duration: timedelta) -> Any:
    """An open campaign whose deadline is `duration` from the chain's now."""
    deadline = datetime.fromtimestamp(node.status()["median_time_past"], UTC) + duration
    draft = client.post(
        "/campaigns",
        {
            "title": example.title,
            "summary": example.summary,
            "story": example.story,
            "goal_sats": example.goal_sats,
            "deadline_at": format_time(deadline),
            "payout_address": new_address(node),
            "project_url": example.project_url,
            "license": example.license,
            **example.details,
        },
    )
    return client.post(f"/campaigns/{draft['id']}/publish")


def pledge_and_pay(
    client: ApiClient, node: RegtestNode, campaign_id: str, name: str, message: str, amount_sats: int, paid_sats: int
) -> Any:
    """A pledge, paid from the node's own wallet and seen by the site."""
    body = {"amount_sats": amount_sats, "refund_address": new_address(node), "name": name, "message": message}
    pledge = client.post(f"/campaigns/{campaign_id}/pledges", body)
    node.pay(pledge["address"], paid_sats)
    return client.wait(f"/pledges/{pledge['id']}", lambda p: bool(p["seen_sats"]), "a payment to be seen")


def confirm(client: ApiClient, node: RegtestNode) -> None:
    """Mine a block and wait until the site has read it."""
    node.mine()
    height = node.status()["height"]
    client.wait("/campaigns", lambda c: c["campaigns"][0]["as_of"]["height"] >= height, "the new block to be read")


def new_address(node: RegtestNode) -> str:
    """A bech32 address of the node's own wallet, which plays everybody outside."""
    return str(node.bank("getnewaddress", "", "bech32"))


def wait_until_sent(client: ApiClient, node: RegtestNode, campaign_id: str) -> Any:
    """The campaign once every transaction of its settlement is in the node's mempool or in a block.

    The site notes that a transaction is sent before it sends it, so its word alone is too early to mine on.
    """

    def is_sent(campaign: Any) -> bool:
        settlement = campaign["settlement"]
        if settlement is None:
            return False
        batches = settlement["batches"] + [batch for other in settlement["late"] for batch in other["batches"]]
        waiting = node.rpc("getrawmempool")
        return all(b["txid"] in waiting or b["state"] in ("confirmed", "final") for b in batches)

    return client.wait(f"/campaigns/{campaign_id}", is_sent, "the settlement")
