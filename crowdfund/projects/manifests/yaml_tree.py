"""YAML as a tree of texts, read event by event. Pure.

No object is ever made from a tag, no alias is followed and no plain word becomes a truth value, a date or a number:
`0.10` stays 0.10, `no` stays no. What remains is bounded in depth and in number while it is read.
"""

from __future__ import annotations

from itertools import count

import yaml

from crowdfund.errors import UserError
from crowdfund.projects.manifests.tree import DEPTH_LIMIT, NODE_LIMIT, Node, put, too_deep, too_many

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TAGS = frozenset(f"tag:yaml.org,2002:{word}" for word in ("str", "map", "seq", "int", "float", "bool", "null"))


def read_yaml(text: str) -> Node:
    """The tree of the one document in `text`. Raises UserError, with the line where it is known."""
    building = _Building()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            building.take(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "one of its characters"
        raise UserError(f"This is not valid YAML: {where} cannot be read.") from None
    return building.root


class _Building:
    """The tree while it grows: the groups and lists that are open, and the key that waits for its value."""

    def __init__(self) -> None:
        self.root: Node = None
        self._open: list[tuple[list[Node] | dict[str, Node], list[str]]] = []
        self._documents = 0
        self._count = count(1)

    def take(self, event: yaml.Event) -> None:
        """Add what the event says."""
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise UserError("This file has several YAML documents; a manifest is one.")
        elif isinstance(event, yaml.AliasEvent):
            raise UserError(f"Line {event.start_mark.line + 1} refers to another place by an alias; write it out.")
        elif isinstance(event, yaml.ScalarEvent):
            self._add(_scalar(event), event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        _check_tag(event.tag, event)
        started: list[Node] | dict[str, Node] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._add(started, event)
        self._open.append((started, []))
        if len(self._open) > DEPTH_LIMIT:
            raise too_deep()

    def _add(self, node: Node, event: yaml.NodeEvent) -> None:
        if next(self._count) > NODE_LIMIT:
            raise too_many()
        if not self._open:
            self.root = node
            return
        place, waiting = self._open[-1]
        if isinstance(place, list):
            place.append(node)
        elif waiting:
            put(place, waiting.pop(), node)
        elif isinstance(node, (list, dict)):
            raise UserError(f"Line {event.start_mark.line + 1} has a key that is no word.")
        else:
            waiting.append("" if node is None else str(node))


def _scalar(event: yaml.ScalarEvent) -> Node:
    _check_tag(event.tag, event)
    plain = event.style is None or event.style == ""
    return None if plain and event.value in _NULLS else event.value


def _check_tag(tag: str | None, event: yaml.NodeEvent) -> None:
    if tag is not None and tag not in _TAGS and tag != "!":
        raise UserError(f"Line {event.start_mark.line + 1} has a tag for a program; a manifest has only texts.")
