"""Fixtures for all tests: a real node for each module, a whole installation for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from crowdfund.chain.regtest import RegtestNode
from support import fresh
from support.node import new_node
from support.postgres import DATABASES, database_of
from support.world import World

# How long an example takes says more of the machine than of the code. The same examples in each normal run, so that a
# red one is about the change that it is run for; new ones are looked for by the long campaigns.
settings.register_profile("same", deadline=None, derandomize=True, database=None)
settings.register_profile("new", deadline=None, print_blob=True)
settings.load_profile("same")
fresh.save_time()

# Files that take minutes: begun first, so that no worker is still at them when the others are done.
LONGEST = (
    "test_crashes.py",
    "test_axe.py",
    "test_every_state.py",
    "test_reorganisations.py",
    "test_schemathesis.py",
    "test_matrix.py",
    "test_keys_cli.py",
    "test_exactly_once.py",
    "test_backends.py",
    "test_model.py",
    "test_demo.py",
    "test_faulty_proxy.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; the order within a file stays."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegtestNode]:
    """A funded regtest node of the module's own. A test may jump in time; it may not reorganise without repair."""
    with new_node(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture
def world(node: RegtestNode, tmp_path: Path) -> Iterator[World]:
    """A fresh installation on the module's node."""
    with World(node, tmp_path) as whole:
        yield whole


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database of the test's own: the test runs once on each kind."""
    with database_of(request.param, tmp_path / "deep") as url:
        yield url
