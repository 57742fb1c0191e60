"""From the bytes of a stranger's file to a tree of texts, groups and lists. Pure.

Whatever the bytes are, the answer is a tree of bounded depth and size, or a UserError with a sentence. No number is
ever computed: numbers stay the text that they were written as, so that none can be huge, infinite or rounded.
"""

from __future__ import annotations

import json
import re
import tomllib
from datetime import date, time
from itertools import count
from typing import Any, NoReturn

from crowdfund.errors import UserError
from crowdfund.projects.manifests.tree import DEPTH_LIMIT, NODE_LIMIT, Node, Number, put, too_deep, too_many
from crowdfund.projects.manifests.yaml_tree import read_yaml

SIZE_LIMIT = 256 * 1024

JSON, TOML, YAML = "JSON", "TOML", "YAML"

_ENDINGS = {".json": JSON, ".toml": TOML, ".yml": YAML, ".yaml": YAML}
_TOML_LINE = re.compile(
    r"""\s*(?:\[\[?[\w\s."'-]+\]\]?\s*(?:\#.*)?$|["']?[\w-]+["']?(?:\s*\.\s*["']?[\w-]+["']?)*\s*=)""", re.ASCII
)
_TOML_PLACE = re.compile(r"at line (\d+), column (\d+)")
# The parser takes the square of the number of parts of a key.
_PART = r"""(?:[A-Za-z0-9_-]++|"(?:\\.|[^"\\\n]){0,200}+"|'[^'\n]{0,200}+')"""
_LONG_KEY = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_PART}[ \t]*+\.[ \t]*+){{{DEPTH_LIMIT}}}")


def read_text(data: bytes) -> str:
    """The file as text. Raises UserError if it is too large, empty or not UTF-8."""
    if len(data) > SIZE_LIMIT:
        raise UserError(f"This file has more than {SIZE_LIMIT // 1024} kB; a manifest is a small file.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("This file is not a text in UTF-8.") from None
    if not text.strip():
        raise UserError("This file is empty.")
    return text


def language_of(name: str, text: str) -> str:
    """What the file is written in, by the end of its name, else by how its first line looks."""
    for ending, language in _ENDINGS.items():
        if name.casefold().endswith(ending):
            return language
    lines = (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    first = next(lines, "")
    if _TOML_LINE.match(first):
        return TOML
    return JSON if first.lstrip().startswith(("{", "[")) else YAML


def read_tree(text: str, language: str) -> Node:
    """The tree that the text stands for. Raises UserError, with the line where it is known."""
    if language == YAML:
        return read_yaml(text)
    try:
        return _plain(_read_json(text) if language == JSON else _read_toml(text), count(1))
    except RecursionError:
        raise too_deep() from None


def _read_json(text: str) -> Any:
    try:
        return json.loads(
            text,
            object_pairs_hook=_group,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_no_number,
        )
    except json.JSONDecodeError as error:
        raise UserError(
            f"This is not valid JSON: line {error.lineno}, column {error.colno} cannot be read. "
            "JSON has no comments, and no comma after the last entry."
        ) from None


def _group(pairs: list[tuple[str, Any]]) -> dict[str, Node]:
    group: dict[str, Node] = {}
    for key, value in pairs:
        put(group, key, value)
    return group


def _no_number(word: str) -> NoReturn:
    raise UserError(f"This is not valid JSON: {word} is no number.")


def _read_toml(text: str) -> Any:
    if _LONG_KEY.search(text):
        raise too_deep()
    try:
        return tomllib.loads(text, parse_float=Number)
    except ValueError as error:  # also for whole numbers of thousands of digits
        place = _TOML_PLACE.search(str(error))
        where = f"line {place[1]}, column {place[2]}" if place else "its end, or one of its values,"
        raise UserError(f"This is not valid TOML: {where} cannot be read.") from None


def _plain(value: Any, counted: count[int], depth: int = 0) -> Node:
    """The same tree of our own types alone."""
    if depth > DEPTH_LIMIT:
        raise too_deep()
    if next(counted) > NODE_LIMIT:
        raise too_many()
    if isinstance(value, dict):
        return {key: _plain(entry, counted, depth + 1) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry, counted, depth + 1) for entry in value]
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (date, time)):
        return value.isoformat()
    return _whole(value)


def _whole(value: int) -> Number:
    try:
        return Number(value)
    except ValueError:  # hexadecimal numbers are read without a limit of digits, and not written without one
        raise UserError("This is not valid TOML: one of its numbers has thousands of digits.") from None
