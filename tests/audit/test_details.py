"""The details in a bundle: one byte changed is found, and so is a budget that is not the goal. No chain is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.auditing import Bundle, changed_terms, same_account, with_terms, wrong
from crowdfund.audit.bundle import build_bundle, bundle_json
from crowdfund.audit.form import parse_json
from crowdfund.audit.verify import verify
from crowdfund.campaigns import drafts, service
from crowdfund.campaigns.details import Details
from support.details import GOOD, detailed_campaign
from support.paper import Paper


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    with Paper(tmp_path_factory.mktemp("paper")) as made:
        yield made


@pytest.fixture(scope="module")
def bundle(paper: Paper) -> Bundle:
    return bundle_of(paper, detailed_campaign(paper))


def bundle_of(paper: Paper, campaign: str) -> Bundle:
    found = parse_json(bundle_json(build_bundle(paper.snapshot(campaign), "regtest")))
    assert isinstance(found, dict)
    return found


def found_in(bundle: Bundle) -> list[str]:
    return wrong(verify(bundle, None))


def test_a_good_bundle_holds_the_details_that_the_terms_name(bundle: Bundle) -> None:
    assert bundle["version"] == 2 and Details.parse(bundle["details"]).budget == GOOD.budget
    report = verify(bundle, None)
    assert not report.differs
    assert any(f.check == "details" and f.ok and "have the hash" in f.sentence for f in report.findings)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_one_byte_changed_is_found(bundle: Bundle, data: st.DataObject) -> None:
    text = bundle["details"]
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(exclude_categories=["Cs"]).filter(lambda c: c != text[at]))
    for changed in (text[:at] + letter + text[at + 1 :], text[:at] + text[at + 1 :]):
        assert found_in({**bundle, "details": changed}) == [
            "details: The details do not have the hash that the terms give: they were changed."
        ]


@pytest.mark.parametrize("other", [None, "", 5, [], {}, True, "\ud800", "x" * 500_001])
def test_something_else_in_their_place_is_found(bundle: Bundle, other: object) -> None:
    assert found_in({**bundle, "details": other})


def test_a_bundle_without_them_is_found(bundle: Bundle) -> None:
    without = {key: value for key, value in bundle.items() if key != "details"}
    assert "form: The bundle lacks details." in found_in(without)
    del without["cancellation"]
    assert found_in({**without, "version": 1}) == [
        "details: Of terms and bundle, one has details and the other has none."
    ]
    assert "form" in found_in({**bundle, "version": 1})[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (replace(GOOD, budget=GOOD.budget[:1]).canonical(), "needs 400,000 sat at least, and the goal is 1,000,000"),
        (json.dumps(json.loads(GOOD.canonical())), "not in canonical form"),
        ("null", "not in canonical form"),
        ("[" * 50_000, "not in canonical form"),
        ("", ""),
    ],
    ids=["budget", "spaces", "null", "deep", "none"],
)
def test_details_that_nobody_could_have_frozen(bundle: Bundle, text: str, says: str) -> None:
    """With terms that name them, and the descriptor that follows: a lie that agrees with itself."""
    terms = changed_terms(bundle, details_sha256=sha256(text.encode()).hexdigest())
    told = with_terms({**bundle, "details": text}, terms, same_account(bundle, terms))
    assert [s for s in found_in(told) if says in s] if says else found_in(told) == []


def test_a_campaign_of_the_second_version_has_the_bundle_that_it_had(
    paper: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_before(*args: object) -> object:
        return replace(drafts.freeze(*args), version=2, details_sha256="", cancellable="")  # type: ignore[arg-type]

    monkeypatch.setattr(service, "freeze", as_before)
    old = bundle_of(paper, paper.campaign(title="Of before"))
    assert old["version"] == 1 and "details" not in old and "details_sha256" not in old["terms"]
    assert found_in(old) == []
    assert found_in({**old, "version": 2, "details": "", "cancellation": None}) == [
        "details: Of terms and bundle, one has details and the other has none."
    ]


def test_the_terms_alone_bring_the_details_back(paper: Paper, bundle: Bundle, tmp_path: Path) -> None:
    from crowdfund.backup import from_seed

    file = tmp_path / "bundle.json"
    file.write_text(json.dumps(bundle))
    (told,) = from_seed._read(file, "regtest")
    assert told.details == bundle["details"]
    file.write_text(json.dumps({**bundle, "details": bundle["details"].replace("Steel", "Steal")}))
    assert from_seed._read(file, "regtest")[0].details == "", "what is not what was hashed is left out"
