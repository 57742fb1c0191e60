from typing import Any

class Script:
    data: bytes
    def __init__(self, data: bytes = ...) -> None: ...
    def address(self, network: dict[str, Any] = ...) -> str: ...

class Witness:
    items: list[bytes]
    def __init__(self, items: list[bytes] = ...) -> None: ...
