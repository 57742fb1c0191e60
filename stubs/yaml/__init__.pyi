from collections.abc import Iterator
from typing import Any

class Mark:
    line: int
    column: int

class YAMLError(Exception): ...
class SafeLoader: ...
class CSafeLoader: ...

class Event:
    start_mark: Mark
    end_mark: Mark

class NodeEvent(Event):
    anchor: str | None

class AliasEvent(NodeEvent): ...

class ScalarEvent(NodeEvent):
    tag: str | None
    value: str
    style: str | None

class CollectionStartEvent(NodeEvent):
    tag: str | None

class SequenceStartEvent(CollectionStartEvent): ...
class MappingStartEvent(CollectionStartEvent): ...
class CollectionEndEvent(Event): ...
class DocumentStartEvent(Event): ...

def parse(stream: str, Loader: Any = ...) -> Iterator[Event]: ...
def safe_load(stream: str) -> Any: ...
