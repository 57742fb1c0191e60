"""One installation and one web application for each module: the tests here change no chain that others rely on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from crowdfund.chain.regtest import RegtestNode
from support.site import Visitor, site_of
from support.world import World


@pytest.fixture(scope="module")
def town(node: RegtestNode) -> Iterator[World]:
    """A World for the whole module, in the node's own folder: there the test bench finds it."""
    with World(node, node.data_dir) as whole:
        yield whole


@pytest.fixture(scope="module")
def app(town: World) -> Iterator[Flask]:
    """The site on it."""
    with site_of(town) as running:
        yield running


@pytest.fixture(scope="module")
def campaign(town: World) -> str:
    """An open campaign's id."""
    return town.campaign()


@pytest.fixture(scope="module")
def alice(app: Flask) -> Visitor:
    """A creator, logged in."""
    visitor = Visitor(app)
    visitor.sign_up("Alice of the web")
    return visitor


@pytest.fixture
def bob(app: Flask) -> Visitor:
    """A visitor without an account."""
    return Visitor(app)
