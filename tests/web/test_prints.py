"""Cards and posters as they are drawn: whatever the title, nothing runs over, nothing takes long, nothing is a box."""

from __future__ import annotations

import io
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from crowdfund.db import ROOT
from crowdfund.projects.pixels import Pixels
from crowdfund.web.prints import card as cards
from crowdfund.web.prints import letters
from crowdfund.web.prints import poster as posters
from crowdfund.web.prints.card import CardFacts, SiteFacts, card, site_card
from crowdfund.web.prints.kept import Kept
from crowdfund.web.prints.pdf import pdf
from crowdfund.web.prints.png import png
from crowdfund.web.prints.poster import PosterFacts, poster
from crowdfund.web.prints.sheet import COLOURS, Code, Pattern, Photo, Sheet, Words
from support.images import codes_in, halves, pixel
from support.pdf import read_pdf

ADDRESS = "https://fund.example.org/campaigns/k3v9x2m7qa"
FACTS = CardFacts(
    site="Seedbed", note="", title="Six seed drills for six villages", instead="All or nothing, in bitcoin.",
    stripes=((300_000, True), (150_000, True), (70_000, False)), goal_sats=1_000_000, figure="45%",
    beside="of 1,000,000 sat are confirmed", left="Until 1 December 2026", right="as of block 840,000",
    seed=sha256(b"terms").digest(),
)  # fmt: skip
PAPER = PosterFacts(
    site="Seedbed", title="Six seed drills for six villages", summary="Two farmers & a welder build them.",
    goal=("Goal", "1,000,000 sat"), ends=("Ends", "1 December 2026, 18:00 UTC"),
    promise="All or nothing: if the goal is not reached by then, every pledge goes back to its backer.",
    how="You pay from any bitcoin wallet, without an account.", scan="Scan to see the campaign", address=ADDRESS,
    shown="fund.example.org/campaigns/k3v9x2m7qa", foot="Crowdfunding", seed=sha256(b"terms").digest(),
)  # fmt: skip
PHOTO = Pixels(1_200, 630, halves(size=(1_200, 630)).tobytes())
AT = datetime(2026, 11, 22, tzinfo=UTC)
TITLES = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


def words(sheet: Sheet) -> list[Words]:
    return [part for part in sheet.parts if isinstance(part, Words)]


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=("PNG",))


@settings(max_examples=60, deadline=None)
@given(TITLES)
@example("W" * 80)
@example("Donaudampfschifffahrtsgesellschaftskapitän " * 2)
@example("a\u0300\u0301\u0302" * 20)
@example("مضخة ماء مفتوحة للقرى")
@example("開かれた種まき機")
@example("👩🏽‍🌾 Drills 🚜 for Łódź")
def test_no_title_runs_over_its_place(title: str) -> None:
    for sheet in (card(replace(FACTS, title=title)), poster(replace(PAPER, title=title, summary=title))):
        for each in words(sheet):
            wide = letters.width(each.text, each.face, each.size)
            left = each.x - {"left": 0, "middle": wide / 2, "right": wide}[each.align]
            assert left >= 40 and left + wide <= sheet.width - (cards.PANEL if sheet.width == cards.WIDTH else 40)
            assert 0 < each.y < sheet.height - 8
            assert all(any(ord(sign) in cut.signs for cut in letters.cuts(each.face)) for sign in each.text)
    lines = [each for each in words(card(replace(FACTS, title=title))) if each.face == "display" and each.size > 30]
    assert all(below.y - above.y >= above.size for above, below in pairwise(lines))
    assert all(130 < each.y < cards.BAR_Y - 30 for each in lines)


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Six seed drills", "Six seed drills"),
        ("Łódź: żółty pług, naïve façade", "Łódź: żółty pług, naïve façade"),
        ("👩🏽‍🌾 Drills 🚜🇵🇱 1️⃣", "Drills 1"),
        ("\uff37ide \ufb01ne", "Wide fine"),
        ("cafe\u0301", "café"),
        ("開かれた種まき機", None),
        ("Drill 開", None),
        ("плуг", None),
        ("مضخة", None),
        ("🚜🚜", None),
        ("", None),
    ],
)
def test_what_the_fonts_can_write_is_written_and_the_rest_is_left_out(title: str, shown: str | None) -> None:
    assert letters.written(title, "display") == shown
    large = [each.text for each in words(card(replace(FACTS, title=title))) if each.face == "display"][1:]
    assert " ".join(large).replace("- ", "") == (shown or FACTS.instead)


def test_a_word_is_broken_only_where_there_is_no_other_way() -> None:
    assert letters.fitted("open seed drills", "display", (60.0, 20.0), 330.0, 150.0, 1.1)[1] == ["open seed", "drills"]
    size, lines = letters.fitted("Kapitänsmützenfabrikant", "display", (60.0, 20.0), 300.0, 150.0, 1.1)
    assert (size, lines) == (20.0, ["Kapitänsmützenfabrikant"]), "smaller before broken"
    assert len(letters.fitted("x" * 80, "display", (60.0, 40.0), 300.0, 999.0, 1.1)[1]) > 1
    assert letters.fitted("a b c d e f g h", "text", (40.0,), 100.0, 50.0, 1.1)[1][-1].endswith("…")


def test_lines_of_a_title_are_about_as_long_as_each_other() -> None:
    assert letters.balanced(["Six seed drills for six", "villages"], "display", 42.0, 493.0) == [
        "Six seed drills",
        "for six villages",
    ]
    assert letters.balanced(["Villages"], "display", 42.0, 493.0) == ["Villages"]


def test_a_card_is_a_picture_of_its_size_and_takes_a_moment() -> None:
    png(card(FACTS))  # the fonts are read
    began = time.process_time()
    data = png(card(replace(FACTS, title="W" * 80, stripes=tuple((1_000, n % 9 > 0) for n in range(10_000)))))
    assert time.process_time() - began < 2
    picture = opened(data)
    assert picture.size == (1200, 630) and picture.mode == "RGB" and len(data) < 400_000


def test_a_card_shows_the_colours_of_the_site_and_where_the_campaign_stands() -> None:
    at = opened(png(card(FACTS))).getpixel
    y, room = cards.BAR_Y + 20, cards.ROOM
    bar = [at((cards.MARGIN + int(room * share), int(y))) for share in (0.1, 0.38, 0.7)]
    assert bar == [_rgb("commons"), _rgb("commons-deep"), _rgb("track")]
    assert at((5, 5)) == _rgb("paper")
    goal = cards.MARGIN + int(room / 1.08)
    assert at((goal, int(y) - 30)) == _rgb("ink"), "the flag's pole stands where the bar says the goal is"


def _rgb(name: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(COLOURS[name][1:]))


def test_the_colours_are_those_of_the_stylesheet() -> None:
    css = (ROOT / "static" / "site.css").read_text()
    tokens = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", css.partition("@media")[0]))
    assert {name: tokens[name] for name in COLOURS} == COLOURS


def test_a_campaign_has_its_own_pattern_until_it_has_a_picture() -> None:
    parts = card(FACTS).parts
    assert [part.seed for part in parts if isinstance(part, Pattern)] == [FACTS.seed]
    one, other = (opened(png(card(each))) for each in (FACTS, replace(FACTS, seed=b"other")))
    differs = ImageChops.difference(one, other).getbbox()
    assert differs is not None and differs[0] >= cards.WIDTH - cards.PANEL
    assert differs[3] > cards.HEIGHT - 60, "down to the foot of the card"
    with_photo = card(FACTS, PHOTO)
    assert any(isinstance(part, Photo) for part in with_photo.parts)
    picture = opened(png(with_photo))
    left, right = (pixel(picture, x, 300) for x in (cards.WIDTH - cards.PANEL + 20, cards.WIDTH - 20))
    assert left[0] > 200 and right[2] > 200, "its left half is red and its right half blue"


def test_the_card_of_the_site() -> None:
    sheet = site_card(SiteFacts("Seedbed", "", "Fund what belongs to everyone.", "All or nothing.", b"draft"))
    assert "Seedbed" in [each.text for each in words(sheet)]
    assert opened(png(sheet)).size == (1200, 630)


@pytest.mark.parametrize("photo", [None, PHOTO])
def test_the_code_of_a_poster_is_read_by_two_programs(photo: Pixels | None) -> None:
    data = png(poster(PAPER, photo), 150 / 72)
    assert opened(data).size == (1240, 1754)
    assert codes_in(data) == [ADDRESS, ADDRESS]


def test_a_poster_is_one_page_of_a4_with_text_in_its_own_fonts() -> None:
    read = read_pdf(pdf(poster(PAPER), PAPER.title, "Seedbed", "en", AT))
    assert read.sizes == [(595.28, 841.89)]
    assert read.fonts == {"FrauncesSemiBold", "AtkinsonHyperlegible", "AtkinsonHyperlegibleBold",
                          "AtkinsonHyperlegibleMonoExtraLight"}  # fmt: skip
    assert read.embedded == len(read.fonts), "each font is in the file"
    text = " ".join(read.lines)
    for said in (PAPER.summary, *PAPER.goal, *PAPER.ends, PAPER.promise, PAPER.how, PAPER.shown, PAPER.site):
        assert said in text
    assert "Six seed drills for six villages" in text


def test_a_poster_with_letters_from_two_files_and_a_picture() -> None:
    facts = replace(PAPER, title="Łódź ploughs", alt="A plough")
    data = pdf(poster(facts, PHOTO), facts.title, "Seedbed", "en", AT)
    assert "".join(read_pdf(data).lines).startswith("Łódź ploughs")
    assert b"/Subtype /Image" in data and b"/Lang (en)" in data and b"/URI (https://fund.example.org/" in data


def test_the_code_on_paper_is_the_same_as_in_the_picture() -> None:
    codes = [part for part in poster(PAPER).parts if isinstance(part, Code)]
    assert [code.text for code in codes] == [ADDRESS]
    assert codes[0].y + codes[0].side < posters.HEIGHT - posters.MARGIN and codes[0].side > 142, "5 cm at least"


def test_no_figure_that_changes_is_on_paper() -> None:
    fields = set(PosterFacts.__dataclass_fields__)
    assert not fields & {"stripes", "percent", "figure", "right", "height", "counted_sats"}


def test_so_many_pieces_are_kept_and_the_oldest_go() -> None:
    kept = Kept(2)
    kept.keep("a", b"1")
    kept.keep("b", b"2")
    assert kept.get("a") == b"1"
    kept.keep("c", b"3")
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (b"1", None, b"3")
