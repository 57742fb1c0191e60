"""Names of projects from addresses, and short names that are nobody else's."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.projects.naming import NAME_LIMIT, SLUG_LIMIT, guessed_kind, name_from_url, slug_of


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/tools/seed-drill.git", "Seed drill"),
        ("https://example.org/seed_drill/", "Seed drill"),
        ("https://example.org/a?b=c/d", "A"),
        ("https://example.org", "Example.org"),
        ("https://example.org/", "Example.org"),
        ("https://user@example.org:8080", "Example.org:8080"),
        ("", "Project"),
    ],
)
def test_a_name_from_an_address(url: str, name: str) -> None:
    assert name_from_url(url) == name


@given(st.text(max_size=100), st.sets(st.text("abc-123", max_size=4)))
def test_a_slug_is_plain_and_free(name: str, taken: set[str]) -> None:
    slug = slug_of(name, taken)
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", slug) and slug not in taken and len(slug) <= SLUG_LIMIT + 5
    assert slug_of(name, {*taken, slug}) != slug


@given(st.text(max_size=400))
def test_any_text_gives_a_name(url: str) -> None:
    assert 1 <= len(name_from_url(url)) <= NAME_LIMIT


@pytest.mark.parametrize(
    ("license_", "kind"),
    [
        ("CERN-OHL-S-2.0 AND CC-BY-SA-4.0", "hardware"),
        ("CC-BY-4.0", "culture"),
        ("ODbL-1.0", "data"),
        ("MIT", "software"),
        ("GPL-3.0-or-later", "software"),
    ],
)
def test_the_kind_that_a_licence_is_usually_for(license_: str, kind: str) -> None:
    assert guessed_kind(license_) == kind
