"""Licences: open ones are taken in their standard spelling, all others get a sentence."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crowdfund.errors import UserError
from crowdfund.projects.licenses import SUGGESTED, check_license, license_title


@pytest.mark.parametrize("expression", SUGGESTED)
def test_what_is_suggested_is_accepted_and_has_a_title(expression: str) -> None:
    assert check_license(f" {expression.lower()} ") == expression
    assert license_title(expression) != expression


@pytest.mark.parametrize(
    ("text", "standard"),
    [
        ("mit or gpl-3.0-only", "MIT OR GPL-3.0-only"),
        ("MIT OR (CC-BY-ND-4.0 AND MIT)", "MIT OR (CC-BY-ND-4.0 AND MIT)"),
        ("gpl-2.0-only with classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("CERN-OHL-1.2", "CERN-OHL-1.2"),
        ("TAPR-OHL-1.0", "TAPR-OHL-1.0"),
        ("MIT AND CC0-1.0", "MIT AND CC0-1.0"),
    ],
)
def test_expressions_are_open_where_their_parts_are(text: str, standard: str) -> None:
    assert check_license(text) == standard
    assert check_license(standard) == standard


@pytest.mark.parametrize(
    "text",
    [
        "CC-BY-NC-4.0",
        "CC-BY-ND-4.0",
        "CC-BY-NC-SA-4.0",
        "BUSL-1.1",
        "SSPL-1.0",
        "MIT AND CC-BY-NC-4.0",
        "(MIT OR Apache-2.0) AND BUSL-1.1",
        "CC-BY-NC-4.0 WITH Classpath-exception-2.0",
    ],
)
def test_licences_that_keep_something_back_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="not an open licence") as refused:
        check_license(text, "license")
    assert refused.value.field == "license"


@pytest.mark.parametrize(
    "text",
    ["", " ", "open", "()", "(", "MIT OR", "AND", "MIT MIT", "(MIT", "MIT/Apache-2.0", "MIT WITH MIT", "LicenseRef-x",
     "Classpath-exception-2.0", "\x00", "\ud800", "MIT\nOR\x00", "(" * 200, "M" * 201, "MIT OR " * 28 + "MIT"],
)  # fmt: skip
def test_what_is_no_spdx_expression_gets_a_sentence(text: str) -> None:
    if len(text) == 28 * 7 + 3:
        assert check_license(text)
        return
    with pytest.raises(UserError, match=r"SPDX"):
        check_license(text)


@example("()")
@example("(AND 0")
@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["MIT", "GPL-2.0", "AND", "OR", "WITH", "(", ")", "+", "x"]), max_size=9).map(" ".join)
)
def test_any_text_is_a_licence_or_gets_a_sentence(text: str) -> None:
    try:
        assert check_license(text)
    except UserError as error:
        assert error.sentence.endswith(".")
