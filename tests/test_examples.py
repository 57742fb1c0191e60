"""What the demo shows is fit to be shown: sums that add up, pictures that are there, texts that a site would take."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import timedelta
from typing import Any

import pytest

from crowdfund.campaigns.detail_checks import check_details
from crowdfund.campaigns.details import LINES, Details, line_of
from crowdfund.campaigns.gallery import check_alt
from crowdfund.demo.drill import SEEN_LATER
from crowdfund.demo.example import PICTURES, Example
from crowdfund.demo.examples import BETWEEN, FUNDED, MISSED, PARTS, RUNNING
from crowdfund.web.markdown import story_html

EXAMPLES = [FUNDED, MISSED, *(example for example, _ in RUNNING)]
ALL = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
NAMES = sorted({picture.file for example in EXAMPLES for picture in example.pictures})


def paid_sats(example: Example) -> int:
    return sum(pledge.to_pay_sats for pledge in example.pledges)


@ALL
def test_the_budget_is_the_goal_and_the_details_can_freeze(example: Example) -> None:
    lines: dict[str, Any] = {
        name: tuple(line_of(kind, each) for each in example.details.get(name, ())) for name, kind in LINES.items()
    }
    details = Details(risks=example.details["risks"], about=example.details["about"], **lines)
    assert check_details(details, example.goal_sats) == details
    assert details.budget and details.deliverables


@ALL
def test_rewards_are_given_for_enough_and_not_more_than_there_are(example: Example) -> None:
    rewards = example.details.get("rewards", [])
    for number, reward in enumerate(rewards):
        chosen = [pledge for pledge in example.pledges if pledge.reward == number]
        assert all(pledge.sats >= reward["minimum_sats"] for pledge in chosen)
        assert len(chosen) < reward["stock"] or not reward["stock"]
    assert all(pledge.reward is None or pledge.reward < len(rewards) for pledge in example.pledges)


@ALL
def test_stories_have_headings_and_links_that_are_shown(example: Example) -> None:
    html = story_html(example.story)
    assert "<h" in html and "](" not in html


def test_they_end_as_they_are_told_to() -> None:
    assert paid_sats(FUNDED) >= FUNDED.goal_sats and paid_sats(MISSED) < MISSED.goal_sats // 10
    days_s = PARTS * BETWEEN + timedelta(hours=3)
    for example, duration in RUNNING:
        later = SEEN_LATER.sats if "drill" in example.title else 0
        assert paid_sats(example) + later < example.goal_sats and duration > days_s


def test_each_picture_is_drawn_small_and_shown() -> None:
    assert {path.name for path in PICTURES.glob("*.webp")} == set(NAMES)
    assert {path.stem for path in PICTURES.glob("*.svg")} == {name.removesuffix(".webp") for name in NAMES}
    for name in NAMES:
        assert (PICTURES / name).stat().st_size < 120_000, name
        drawing = ET.parse((PICTURES / name).with_suffix(".svg")).getroot()
        assert not [
            el.tag for el in drawing.iter() if el.tag.endswith(("}script", "}text", "}image", "}foreignObject"))
        ]
    for example in EXAMPLES:
        assert all(check_alt(picture.alt) == picture.alt for picture in example.pictures)
