from typing import Any

from embit.ec import PublicKey

class Script:
    data: bytes
    def __init__(self, data: bytes = ...) -> None: ...
    def address(self, network: dict[str, Any] = ...) -> str: ...

def p2wpkh(pubkey: PublicKey) -> Script: ...

class Witness:
    items: list[bytes]
    def __init__(self, items: list[bytes] = ...) -> None: ...
