"""Every state of a pledge and of a campaign, in every language, with and without scripts, wide and narrow, light and
dark, and printed: the page says it, fits, is in nobody's way, and leaves nothing in English.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from itertools import cycle, product
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from crowdfund import create_app
from crowdfund.chain.regtest import RegtestNode
from crowdfund.languages import LANGUAGES
from crowdfund.wallet.amounts import btc_to_sats
from support.axe import EVERYTHING, Axe
from support.browsing import Person, flat
from support.every_page import NARROW, WIDE
from support.every_state import ALIKE, TITLE, WRITTEN, K, Look, story
from support.fitting import misfits
from support.node import new_address, new_node
from support.serving import served
from support.tongues import ENGLISH, Leftovers, pattern, read, translated
from support.world import World

BROKEN = "bcrt1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnard0ex"
MISTAKES = "Please write an amount.", "This address has a typing error: its checksum does not fit. Copy it again."
ORDER = sorted(LANGUAGES, key=lambda language: language != ENGLISH)  # others are compared with the English page


@dataclass(frozen=True)
class Way:
    """How a page is looked at."""

    scripts: bool
    width: int
    scheme: str

    def __str__(self) -> str:
        return f"{'with' if self.scripts else 'without'} scripts, {self.width} wide, {self.scheme}"


# Eight ways and three languages: whoever takes turns meets all of them.
WAYS = tuple(
    Way(scripts, width, scheme)
    for scheme, width, scripts in product(("light", "dark"), (NARROW["width"], WIDE["width"]), (True, False))
)


class Reader:
    """Somebody with two browsers, one of them without scripts, who notes all that is wrong. `thorough`: what is in
    anybody's way is looked for each time that it can be, not once for each state."""

    def __init__(self, stack: ExitStack, browser: Browser, url: str, thorough: bool) -> None:
        self.people = {
            scripts: stack.enter_context(Person(browser, url, scripts=scripts, reduced_motion="reduce"))
            for scripts in (True, False)
        }
        self.axe, self.thorough = Axe(self.people[True].page), thorough
        self.leftovers = {name: Leftovers(name, WRITTEN) for name in LANGUAGES if name != ENGLISH}
        self.english: dict[str, list[str]] = {}
        self.searched: set[str] = set()
        self.faults: list[str] = []
        self.looked = 0

    def look(self, look: Look, language: str, way: Way) -> None:
        """Open the page in this way and this language."""
        person = self.people[way.scripts]
        person.page.emulate_media(media="screen", color_scheme=way.scheme)  # type: ignore[arg-type]
        person.page.goto(f"{look.path}?lang={language}")
        found = [*self._words(look, language, person.page), *misfits(person, way.width)]
        if way.scripts and (self.thorough or look.state not in self.searched):  # axe-core is a script
            self.searched.add(look.state)
            self.axe.enter()
            found += self.axe.faults(EVERYTHING)
        found += self._printed(look, language, person.page)
        self.faults += [f"{look.state}, {language}, {way}: {fault}" for fault in found]
        self.looked += 1

    def look_away(self) -> None:
        """Else the open pages would follow all that happens next."""
        for person in self.people.values():
            person.page.goto("about:blank")

    def _words(self, look: Look, language: str, page: Page) -> list[str]:
        said, all_texts = read(page)
        found = [f"does not say: {text}" for text in look.says if not pattern(language, text).search(said)]
        if page.locator("html").get_attribute("lang") != language:
            found.append("says to be in another language")
        if language == ENGLISH:
            self.english[look.state] = all_texts
            return found
        return found + self.leftovers[language].of(all_texts, self.english[look.state])

    def _printed(self, look: Look, language: str, page: Page) -> list[str]:
        """On paper there must still be the state, which comes first, and the amount."""
        page.emulate_media(media="print")
        said = flat(page.inner_text("main"))
        found = [] if pattern(language, look.says[0]).search(said) else [f"printed, does not say: {look.says[0]}"]
        return found if str(look.sats) in said else [*found, f"printed, does not name {look.sats}"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegtestNode]:
    """Without a house around it."""
    with new_node(tmp_path_factory.mktemp("node")) as running:
        yield running


def read_the_story(folder: Path, browser: Browser, ways: Callable[[], Sequence[Way]], thorough: bool = False) -> Reader:
    """On a node of its own: it is taken through time, and its blocks are undone."""
    with ExitStack() as stack:
        node = stack.enter_context(new_node(folder / "node"))
        world = stack.enter_context(World(node, folder / "house", CONFIRMATIONS=str(K)))
        url = stack.enter_context(served(create_app(world.settings)))
        reader = Reader(stack, browser, url, thorough)
        for looks in story(world):
            for look, language in product(looks, ORDER):
                if thorough or look.state not in ALIKE:
                    for way in ways():
                        reader.look(look, language, way)
            reader.look_away()
    return reader


def test_every_state_in_every_language(browser: Browser, tmp_path: Path) -> None:
    """Each state once in each language; the ways of looking take turns."""
    turns = cycle(WAYS)
    reader = read_the_story(tmp_path, browser, lambda: [next(turns)])
    assert not reader.faults, "\n".join(reader.faults)
    assert len(reader.english) == len(reader.searched) >= 30 and reader.looked == len(LANGUAGES) * len(reader.english)


@pytest.mark.long
def test_every_state_in_every_language_and_every_way(browser: Browser, tmp_path: Path) -> None:
    reader = read_the_story(tmp_path, browser, lambda: WAYS, thorough=True)
    assert not reader.faults, "\n".join(reader.faults)
    assert reader.looked == len(LANGUAGES) * len(reader.english) * len(WAYS)


def test_english_in_a_german_page_is_found() -> None:
    """A sentence of the catalogue, a part of one around an amount, and what is in no catalogue."""
    said = [
        "Deine Zusage zählt",
        "Your pledge counts",
        "5 sat count toward the goal. You need",
        "Made up later",
        "By Ada",
    ]
    assert Leftovers("de", frozenset({"By Ada"})).of(said, ["Made up later", "By Ada"]) == [
        "in English: “count toward the goal.”",
        "in English: “Your pledge counts”",
        "the same as in English: “Made up later”",
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_from_the_front_page_to_the_receipt_by_clicks_without_scripts(
    world: World, browser: Browser, language: str
) -> None:
    """With a mistake in the form, and nothing typed in the address bar but the site's own name."""
    campaign = world.campaign(title=TITLE, summary=TITLE, story=TITLE)
    world.sync()
    with (
        served(create_app(world.settings)) as url,
        Person(browser, url, scripts=False, locale=language, viewport=NARROW) as bob,
    ):
        bob.page.goto("/")
        bob.press(TITLE)
        assert bob.page.url.endswith(f"/campaigns/{campaign}")
        main = bob.page.locator("main")
        main.get_by_role("link", name=translated(language, "Pledge"), exact=True).click()
        bob.fill(amount="", refund_address=BROKEN, name="Bob")
        bob.press(translated(language, "Show me where to pay"))
        said = flat(bob.page.inner_text("#errors"))
        assert all(translated(language, mistake) in said for mistake in MISTAKES), said
        assert (bob.page.input_value("#refund_address"), bob.page.input_value("#name")) == (BROKEN, "Bob")
        bob.fill(amount="1000000", refund_address=new_address(world.node))
        bob.press(translated(language, "Show me where to pay"))
        pays_and_reads_the_receipt(world, bob, language)


def pays_and_reads_the_receipt(world: World, bob: Person, language: str) -> None:
    """From the open page of a pledge, which is loaded again each time."""
    world.sync()  # the receipt is signed
    address, sats = bob.wallet_link().removeprefix("bitcoin:").split("?amount=")
    assert bob.qr_text().lower() == bob.wallet_link().lower()
    assert bob.page.inner_text("h1") == translated(language, "Send your pledge")
    world.node.pay(address, btc_to_sats(Decimal(sats)))
    for headline in ("Your payment is on its way", "Your pledge counts"):
        world.sync()
        bob.page.reload()
        assert bob.page.inner_text("h1") == translated(language, headline)
        world.node.mine()
    with bob.page.expect_download() as download:
        bob.page.get_by_role("link", name=translated(language, "Save the receipt")).click()
    assert address in download.value.path().read_text()
