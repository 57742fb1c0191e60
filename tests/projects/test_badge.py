"""The badge is well-formed, holds nothing foreign, says in words what it shows, and can be read."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crowdfund.campaigns.lifecycle import CampaignState
from crowdfund.projects import badge
from crowdfund.projects.badge import SAID, badge_svg, badge_words

SVG = "{http://www.w3.org/2000/svg}"
TAGS = {"svg", "title", "rect", "path", "g", "text"}


def drawn(title: str = "A seed drill", state: str = "open", **more: int | None) -> ET.Element:
    given: dict[str, int | None] = {"counted_sats": 1, "goal_sats": 2, "days_left": 3, "height": 4, **more}
    return ET.fromstring(badge_svg(title, state=state, **given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "counted", "days", "height", "words"),
    [
        ("open", 630_000, 9, 840_000, "63% of 1,000,000 sat · 9 days left · block 840,000"),
        ("open", 0, 1, 1, "0% of 1,000,000 sat · 1 day left · block 1"),
        ("open", 999_999, 0, None, "99% of 1,000,000 sat · last day"),
        ("open", 1_280_000, None, 7, "128% of 1,000,000 sat · block 7"),
        ("closing", 5, 3, 7, "0% of 1,000,000 sat · closed, being counted · block 7"),
        ("released", 1_000_000, None, 7, "100% of 1,000,000 sat · funded, paid out · block 7"),
        ("refunded", 10_000, None, 7, "1% of 1,000,000 sat · not funded, refunded · block 7"),
        ("in need", 10_000, None, 7, "1% of 1,000,000 sat · in need · block 7"),
    ],
)
def test_what_it_says(state: str, counted: int, days: int | None, height: int | None, words: str) -> None:
    assert badge_words(counted, 1_000_000, state, days, height) == words
    root = ET.fromstring(badge_svg("A seed drill", counted, 1_000_000, state, days, height))
    assert root.get("role") == "img" and root.get("aria-labelledby") == "t"
    title = root.find(f"{SVG}title")
    assert title is not None and (title.get("id"), title.text) == ("t", f"A seed drill: {words}")
    assert [text.text for text in root.iter(f"{SVG}text")] == ["A seed drill", words]


def test_every_state_of_a_published_campaign_has_words() -> None:
    assert set(SAID) >= {state.value for state in CampaignState} - {"draft"}


@given(st.text(max_size=200), st.sampled_from([*SAID, "<b>"]), st.integers(0, 10**16), st.integers(0, 10**16))
@example("</title><script>alert(1)</script>", "open", 1, 1)
@example('" onload="alert(1)" x=\'', "open", 1, 1)
@example("]]>&lt;&#0;\x00\x1b\ud800\ufffe\uffff", "open", 1, 1)
@example("\u202eabc\u2066", "open", 0, 0)
@example("{width} {0} %s", "open", 1, 1)
def test_any_title_gives_a_harmless_picture(title: str, state: str, counted: int, goal: int) -> None:
    text = badge_svg(title, counted, goal, state, 3, 4)
    root = ET.fromstring(text.encode("utf-8"))
    tags = [element.tag.removeprefix(SVG) for element in root.iter()]
    assert set(tags) == TAGS and len(tags) == 8
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on") and "href" not in name and name not in ("style", "class")
            assert "url(" not in value and ":" not in value
    assert text.count("http") == title.count("http") * 2 + 1 or len(title) > 40, "the name space and nothing else"
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x09]", text)


@given(st.text(max_size=60))
def test_nothing_stands_out_of_it(title: str) -> None:
    root = drawn(title)
    width = int(root.get("width", "0"))
    name, said = root.iter(f"{SVG}text")
    ends = [int(text.get("x", "0")) + int(text.get("textLength", "0")) for text in (name, said)]
    assert ends[0] + badge.PAD <= int(said.get("x", "0")) and ends[1] + badge.PAD <= width
    assert len(name.text or "") <= badge.TITLE_LIMIT


@pytest.mark.parametrize("colour", [badge.GREEN, badge.GREY, badge.INK])
def test_white_can_be_read_on_it(colour: str) -> None:
    assert _contrast(colour, badge.PAPER) >= 4.5


def _contrast(one: str, other: str) -> float:
    """As WCAG reckons it."""
    dark, light = sorted(_luminance(colour) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
