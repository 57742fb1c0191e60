"""The form that every manifest is brought into, whatever it was written in: groups, lists and texts. Pure."""

from __future__ import annotations

from typing import TypeAlias, Union

from crowdfund.errors import UserError
from crowdfund.plain_text import one_line, shortened

DEPTH_LIMIT = 20
NODE_LIMIT = 20_000


class Number(str):
    """A number as it was written, where the language of the file tells numbers from texts."""


Node: TypeAlias = Union[str, bool, "list[Node]", "dict[str, Node]", None]


def put(group: dict[str, Node], key: str, value: Node) -> None:
    """Add to a group. Raises UserError where the key is there already with another value."""
    if key in group and (isinstance(value, (list, dict)) or type(group[key]) is not type(value) or group[key] != value):
        raise UserError(f"The file has the key “{shortened(one_line(key), 40)}” twice, with different values.")
    group[key] = value


def too_deep() -> UserError:
    """What is said of a file that nests further than any manifest does."""
    return UserError(f"The file nests deeper than {DEPTH_LIMIT} levels, which no manifest does.")


def too_many() -> UserError:
    """What is said of a file with more values than any manifest has."""
    return UserError(f"The file has more than {NODE_LIMIT} values, which no manifest has.")
