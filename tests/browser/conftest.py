"""A complete house of real processes for all browser tests of a worker, and a Chromium for each module."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from crowdfund.chain.regtest import RegtestNode
from crowdfund.demo.house import House, open_house
from support.browser import FLAGS, chromium_path
from support.browsing import Meet, Person
from support.every_page import Pages, all_pages, visitor
from support.node import wrapper_script


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Node, signer, worker and web, without example campaigns."""
    folder = tmp_path_factory.mktemp("house")
    with ExitStack() as stack:
        # The node's program is known; the cache is a folder of our own, so that nobody's notes are written over.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CROWDFUND_BITCOIND", str(wrapper_script(folder / "bin" / "bitcoind")))
            patch.setenv("CROWDFUND_CACHE_DIR", str(folder / "cache"))
            running = stack.enter_context(open_house(folder / "data", _free_port(), print))
        yield running


@pytest.fixture
def node(house: House) -> RegtestNode:
    """The house's node."""
    return house.node


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(chromium_path()), args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture
def meet(house: House, browser: Browser) -> Iterator[Meet]:
    """Bring in people; whatever went wrong in their browsers fails the test at its end."""
    with ExitStack() as stack:

        def bring(*, scripts: bool = True, **options: Any) -> Person:
            return stack.enter_context(Person(browser, house.settings.base_url, scripts=scripts, **options))

        yield bring


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """Every page of a site that has everything, without a node."""
    with all_pages(tmp_path_factory.mktemp("paper")) as found:
        yield found


@pytest.fixture
def owner(pages: Pages, browser: Browser) -> Iterator[Person]:
    """Who may see all of them, in a browser."""
    with visitor(pages, browser) as person:
        yield person


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
