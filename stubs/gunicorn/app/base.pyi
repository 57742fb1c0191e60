from typing import Any

class BaseApplication:
    cfg: Any
    def run(self) -> None: ...
