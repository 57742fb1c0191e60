"""Manifests of projects: fifty files of five kinds, each with what must come out of it or the sentence that refuses it.

`manifests/expected.json` says it for each file: a field is its value and its place in the file, or a list of such.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crowdfund.campaigns import terms
from crowdfund.errors import UserError
from crowdfund.plain_text import clean_text, shortened
from crowdfund.projects.licenses import check_license
from crowdfund.projects.manifests import Found, Prefill, prefill, read_manifest
from crowdfund.projects.manifests.spot import web_address
from crowdfund.projects.manifests.syntax import SIZE_LIMIT
from crowdfund.projects.manifests.tree import DEPTH_LIMIT, NODE_LIMIT

HERE = Path(__file__).parent / "manifests"
EXPECTED: dict[str, dict[str, Any]] = json.loads((HERE / "expected.json").read_text())
NAMES = {
    "funding_json": "funding.json",
    "okh": "okh",
    "publiccode": "publiccode.yml",
    "codemeta": "codemeta.json",
    "funding_yml": ".github/FUNDING.yml",
}
HEADS: dict[str, dict[str, Any]] = {
    "funding.json": {"entity": {"name": "E"}, "funding": {"plans": []}},
    "okh.json": {"okhv": "2.4"},
    "publiccode.yml": {"publiccodeYmlVersion": "0.7"},
    "codemeta.json": {"@context": "https://w3id.org/codemeta/3.1"},
    "FUNDING.yml": {"github": "octo"},
}


UNMARKED = ("codemeta/wrong-types.json", "codemeta/no-context.json", "funding_yml/unknown-platform.yml")
"""Files that say what they are by their names alone."""


def name_of(path: str) -> str:
    name = NAMES[Path(path).parent.name]
    return name + Path(path).suffix if name == "okh" else name


def plain(value: Any) -> Any:
    if isinstance(value, Found):
        assert value.source.startswith("from ")
        return [plain(value.value), value.source.partition(", ")[2]]
    if isinstance(value, tuple):
        return [plain(entry) for entry in value]
    if is_dataclass(value):
        return {field.name: got for field in fields(value) if (got := plain(getattr(value, field.name))) != ""}
    return value


def told(name: str | None, data: bytes) -> dict[str, Any]:
    try:
        found = read_manifest(name, data)
    except UserError as error:
        return {"error": error.sentence}
    return {key: value for key, value in plain(found).items() if value not in (None, [])}


def sentence(name: str | None, data: bytes | str) -> str:
    with pytest.raises(UserError) as caught:
        read_manifest(name, data if isinstance(data, bytes) else data.encode())
    return caught.value.sentence


def read_json(content: object, name: str = "funding.json", project: int | None = None) -> Prefill:
    return read_manifest(name, json.dumps(content).encode(), project)


def test_there_are_ten_files_of_each_kind_and_each_is_in_the_table() -> None:
    paths = {f"{path.parent.name}/{path.name}" for path in HERE.glob("*/*")}
    assert paths == EXPECTED.keys()
    assert {folder: sum(path.startswith(f"{folder}/") for path in paths) for folder in NAMES} == dict.fromkeys(
        NAMES, 10
    )


@pytest.mark.parametrize("path", EXPECTED)
def test_what_comes_out_of_each_file(path: str) -> None:
    assert told(name_of(path), (HERE / path).read_bytes()) == EXPECTED[path]


@pytest.mark.parametrize("path", [path for path, expected in EXPECTED.items() if "error" not in expected])
def test_each_is_known_without_its_name_too(path: str) -> None:
    found, named = (told(name, (HERE / path).read_bytes()) for name in (None, name_of(path)))
    if path in UNMARKED:
        assert found == {"error": sentence("notes.txt", "a: b")}  # nothing in it says what it is
    else:
        assert {key: found.get(key) for key in named if key not in ("warnings", "refused")} == {
            key: value for key, value in named.items() if key not in ("warnings", "refused")
        }


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("FUNDING.YAML", "funding_yml/one-name.yml"),
        ("C:\\project\\PublicCode.yaml", "publiccode/full.yml"),
        ("hardware/pump.okh.yaml", "okh/version-one.yml"),
        ("okh-dryer.toml", "okh/later.toml"),
    ],
)
def test_a_name_may_have_folders_and_capitals(name: str, file: str) -> None:
    assert "error" not in told(name, (HERE / file).read_bytes())


def test_provenance_names_the_file_and_the_place() -> None:
    found = read_manifest("a/okh.toml", (HERE / "okh/later.toml").read_bytes())
    assert found.title == Found("Solar dryer", "from okh.toml, name")
    assert found.outputs[2].source == "from okh.toml, part[0]"


def test_of_several_projects_one_is_chosen() -> None:
    data = (HERE / "funding_json/several-projects.json").read_bytes()
    assert read_manifest("funding.json", data).title is None
    second = read_manifest("funding.json", data, 1)
    assert second.title == Found("Thing two", "from funding.json, projects[1].name")
    assert second.license and second.license.value == "GPL-3.0-only"
    assert len(second.choices) == 3
    for wrong in (3, -1):
        with pytest.raises(UserError, match="has 3 projects"):
            read_manifest("funding.json", data, wrong)


def test_what_is_no_manifest_gets_a_sentence() -> None:
    assert "is empty" in sentence("funding.json", b"\xef\xbb\xbf \n")
    assert "UTF-8" in sentence("okh.toml", b"\xff\xfe\x00")
    assert "256 kB" in sentence("okh.toml", b"#" * (SIZE_LIMIT + 1))
    assert "none of the manifests" in sentence("package.json", '{"name": "x"}')
    assert "none of the manifests" in sentence(None, "name = 'x'\n")
    assert "no keys" in sentence("publiccode.yml", "just words")
    assert "no keys" in sentence(None, "[1, 2]")


@pytest.mark.parametrize(
    ("name", "text", "fragment"),
    [
        ("funding.json", '{"a": 1,\n "b": }', "line 2, column 7"),
        ("funding.json", '{"a": Infinity}', "Infinity is no number"),
        ("funding.json", '{"a": {"b": 1, "b": 2}}', "“b” twice"),
        ("funding.json", '{"a": [], "a": []}', "“a” twice"),
        ("okh.toml", "okhv = '2.4'\nname = \n", "line 2, column 8"),
        ("okh.toml", f"a = 0x{'f' * 9_000}", "thousands of digits"),
        ("okh.toml", f"a = {'9' * 9_000}", "not valid TOML"),
        ("okh.yml", "a: [1\nb: 2", "line 2"),
        ("okh.yml", "a: \x01", "not valid YAML"),
        ("okh.yml", "? [a]\n: b", "Line 1 has a key that is no word"),
        ("okh.yml", "a: !!binary x", "tag for a program"),
        ("okh.yml", "a: &x 1\nb: *x", "Line 2 refers"),
    ],
)
def test_a_syntax_error_is_told_with_its_place(name: str, text: str, fragment: str) -> None:
    assert fragment in sentence(name, text)


def test_yaml_words_stay_words() -> None:
    found = read_manifest(
        "publiccode.yml", b"publiccodeYmlVersion: 0.5\nname: no\nurl: https://e.org\ncategories: [1_0, ~]"
    )
    assert found.version == "0.5"
    assert found.title and found.title.value == "no"
    assert [tag.value for tag in found.tags] == ["1_0"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("funding.json", "[" * 200_000),
        ("funding.json", "[" + "[]," * 80_000 + "[]]"),
        ("okh.toml", "a = " + "[" * 200_000),
        ("okh.toml", "a = " + "{a=" * 80_000),
        ("okh.toml", "a." * 130_000 + "a = 1"),
        ("okh.toml", ("k." * 18 + "k = 1\n") * 5_000),
        ("okh.toml", ('"' + "x" * 201 + '".') * 1_280 + "a = 1"),
        ("okh.toml", '"' + '\\"' * 130_000),
        ("okh.toml", "".join(f"k{n} = 1\n" for n in range(25_000))),
        ("okh.yml", "[" * 200_000),
        ("okh.yml", "- " * 130_000),
        ("okh.yml", "a: {" * 50_000),
        ("okh.yml", "a: [" + "a," * 120_000 + "]"),
        ("FUNDING.yml", "github: [" + "x, " * NODE_LIMIT + "]"),
        ("okh.yml", "okhv: '2.4'\nlicensor: " + "@a " * 80_000),
        ("codemeta.json", '{"license": "' + "(" * 200_000 + '"}'),
    ],
)
def test_no_small_file_costs_much_time(name: str, text: str) -> None:
    began = time.process_time()
    with pytest.raises(UserError):
        read_manifest(name, text.encode())
    assert time.process_time() - began < 3


def test_what_is_too_long_is_shortened_and_told() -> None:
    content = {
        "okhv": "2.4",
        "name": "word " * 50,
        "function": "y" * 20_000,
        "licensor": ["n"] * 100,
        "keywords": ["k" * 50],
    }
    found = read_json(content, "okh.json")
    assert found.title and found.title.value.endswith("word…") and len(found.title.value) <= prefill.TITLE_LIMIT
    assert found.description and len(found.description.value) == prefill.DESCRIPTION_LIMIT
    assert any("shortened to 80" in warning for warning in found.warnings)
    assert any("100 entries" in warning for warning in found.warnings)


def test_a_title_and_a_summary_fit_into_a_campaign() -> None:
    assert (terms.TITLE_LIMIT, terms.SUMMARY_LIMIT) == (prefill.TITLE_LIMIT, prefill.SUMMARY_LIMIT)
    assert terms.STORY_LIMIT >= prefill.DESCRIPTION_LIMIT


def test_licences_of_several_are_joined_in_brackets_where_one_may_choose() -> None:
    licenses = ["https://spdx.org/licenses/MIT", "Apache-2.0 OR GPL-2.0-only", "MIT", "SSPL-1.0"]
    found = read_json(HEADS["codemeta.json"] | {"name": "N", "license": licenses}, "codemeta.json")
    assert found.license and found.license.value == "MIT AND (Apache-2.0 OR GPL-2.0-only)"
    assert [(refused.value, refused.source) for refused in found.refused] == [
        ("SSPL-1.0", "from codemeta.json, license[3]")
    ]
    assert "not an open licence" in found.refused[0].sentence


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://e.org/a?b=c#d", "https://e.org/a?b=c#d"),
        ("HTTP://E.org", "http://E.org"),
        ("git+https://e.org/x.git", "https://e.org/x.git"),
        ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443/"),
        ("https://e.org:99999/", ""),
        ("https://[::1", ""),
        ("https:///path", ""),
        ("https://u@e.org", ""),
        ("https://e.org\\@f.org", ""),
        ("https://e.org/\n", "https://e.org/"),
        ("https://e.org/a b", ""),
        ("https://ex\u0430mple.org", ""),
        ("javascript://e.org/%0aalert(1)", ""),
        ("//e.org", ""),
        ("https://e.org/" + "x" * 300, ""),
    ],
)
def test_only_web_addresses_are_kept(text: str, address: str) -> None:
    assert web_address(text) == address


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.sampled_from(
    ["https://e.org/x", "MIT", "spdx:GPL-3.0", "OTRL-3", "ODRL-3*", "a@b.c", "\u202ex\x00", "5" * 40, "<b>", "x" * 400]
)  # fmt: skip
KEYS = sorted({key for path in HERE.glob("*/*") for key in re.findall(r"[A-Za-z@][A-Za-z-]{2,30}", path.read_text())})
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=30,
)


def check_bounds(found: Prefill) -> None:
    """All that is promised of a value, wherever it came from."""
    limits = {"title": prefill.TITLE_LIMIT, "summary": prefill.SUMMARY_LIMIT, "description": prefill.DESCRIPTION_LIMIT,
              "license": prefill.LICENSE_LIMIT, "stage": prefill.STAGE_LIMIT, "tags": prefill.TAG_LIMIT,
              "funding_hints": prefill.HINT_LIMIT, "maintainers": prefill.NAME_LIMIT}  # fmt: skip
    for field in fields(found):
        value = getattr(found, field.name)
        entries = value if isinstance(value, tuple) else (value,)
        assert len(entries) <= prefill.LIST_LIMIT
        for entry in entries:
            if isinstance(entry, Found):
                assert entry.value and entry.source.startswith("from ") and len(entry.source) <= prefill.SOURCE_LIMIT
                check_text(entry.source)
                if isinstance(entry.value, str):
                    check_text(entry.value)
                    assert len(entry.value) <= limits.get(field.name, prefill.URL_LIMIT)
                    assert ("url" not in field.name and field.name != "forks_of") or web_address(
                        entry.value
                    ) == entry.value
    for output in (output.value for output in found.outputs):
        check_text(output.name)
        assert 0 < len(output.name) <= prefill.NAME_LIMIT
        assert not output.url or web_address(output.url) == output.url
        assert not output.license or check_license(output.license) == output.license
    assert found.license is None or check_license(found.license.value)
    assert found.kind is None or found.kind.value in prefill.KINDS
    assert found.technology_readiness is None or 1 <= found.technology_readiness.value <= 6
    assert found.documentation_readiness is None or 1 <= found.documentation_readiness.value <= 4
    for text in (*found.warnings, *(refused.sentence for refused in found.refused)):
        check_text(text)
        assert 0 < len(text) <= prefill.SENTENCE_LIMIT
    assert all(len(choice.title) <= prefill.TITLE_LIMIT for choice in found.choices)
    assert len(found.version) <= prefill.VERSION_LIMIT


def check_text(text: str) -> None:
    assert clean_text(text) == text
    text.encode()


def read_whatever(name: str | None, data: bytes, project: int | None = None) -> None:
    try:
        check_bounds(read_manifest(name, data, project))
    except UserError as error:
        assert error.sentence
        error.sentence.encode()


ALL_NAMES = st.sampled_from([None, "x", "funding.json", "okh.toml", "okh.yml", "okh.json", *NAMES.values()])


@given(ALL_NAMES, st.binary(max_size=300))
@settings(max_examples=300)
@example("okh.yml", b"%\xc3\xa4")
@example("okh.toml", b"a=2020-99-99")
def test_any_bytes_are_read_or_refused(name: str | None, data: bytes) -> None:
    read_whatever(name, data)


@given(
    st.sampled_from(["okh.toml", "okh.yml", "FUNDING.yml", None]),
    st.text("ab:-?{}[]&*!|>'\"=.,#%@ \n\t0x~<", max_size=80),
)
@settings(max_examples=500)
def test_any_scribble_is_read_or_refused(name: str | None, text: str) -> None:
    read_whatever(name, text.encode())


@given(
    st.sampled_from(sorted(HEADS)),
    st.dictionaries(st.sampled_from(KEYS), trees, max_size=8),
    st.none() | st.integers(-1, 3),
)
@settings(max_examples=500)
def test_any_tree_is_read_or_refused(name: str, tree: dict[str, Any], project: int | None) -> None:
    read_whatever(name, json.dumps(HEADS[name] | tree).encode(), project)


@given(
    st.sampled_from(sorted(EXPECTED)),
    st.lists(st.tuples(st.integers(0, 3_000), st.binary(max_size=6)), min_size=1, max_size=4),
)
@settings(max_examples=500)
def test_any_change_of_a_real_file_is_read_or_refused(path: str, changes: list[tuple[int, bytes]]) -> None:
    data = (HERE / path).read_bytes()
    for at, new in changes:
        data = data[:at] + new + data[at + len(new) :]
    read_whatever(name_of(path), data)


@given(st.text(max_size=300), st.integers(2, 100))
def test_shortened_text_fits_and_begins_alike(text: str, limit: int) -> None:
    short = shortened(text, limit)
    assert len(short) <= limit
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


def test_the_depth_that_is_allowed_is_read() -> None:
    depth = DEPTH_LIMIT - 1
    content = json.dumps(HEADS["okh.json"] | {"name": "N", "x": 0}).replace(
        ": 0}", ": " + "[" * depth + "]" * depth + "}"
    )
    assert "error" not in told("okh.json", content.encode())
    assert "error" not in told("okh.yml", content.encode())
    assert "levels" in told("okh.json", content.replace("[]", "[[[]]]").encode())["error"]
    assert "levels" in told("okh.yml", content.replace("[]", "[[[]]]").encode())["error"]


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("a/b c.csv", "https://gitlab.com/o/r/-/blob/HEAD/a/b%20c.csv"),
        ("./bom.csv", "https://gitlab.com/o/r/-/blob/HEAD/bom.csv"),
        ("../bom.csv", ""),
        ("a/../../bom.csv", ""),
        ("/etc/passwd", ""),
        ("data:text/csv,x", ""),
        ("a?b#c", ""),
        ("ä.csv", ""),
    ],
)
def test_a_file_of_the_project_gets_the_address_that_its_forge_gives_it(path: str, address: str) -> None:
    content = {"okhv": "2.4", "name": "N", "repo": "https://gitlab.com/o/r.git", "bom": path}
    found = read_json(content, "okh.json")
    assert [url.value for url in found.bom_urls] == ([address] if address else [])
    assert bool(found.warnings) == (not address)


@pytest.mark.parametrize(
    ("technology", "documentation", "levels"),
    [
        ("OTRL-1", "ODRL-4", (1, 4)),
        ("OTRL-6", "ODRL-3*", (6, 3)),
        ("OTRL-7", "ODRL-5", (None, None)),
        ("ODRL-1", "OTRL-1", (None, None)),
        ("OTRL-0", "4", (None, None)),
    ],
)
def test_readiness_is_on_its_scale_or_left_out(
    technology: str, documentation: str, levels: tuple[int | None, int | None]
) -> None:
    content = {"technology-readiness-level": technology, "documentation-readiness-level": documentation}
    found = read_json({"okhv": "2.4", "name": "N"} | content, "okh.json")
    readiness = found.technology_readiness, found.documentation_readiness
    assert tuple(level and level.value for level in readiness) == levels
    assert len(found.warnings) == levels.count(None)
