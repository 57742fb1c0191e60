from collections.abc import Callable

from flask import Blueprint, Flask
from werkzeug.exceptions import BadRequest

class CSRFError(BadRequest): ...

class CSRFProtect:
    def init_app(self, app: Flask) -> None: ...
    def exempt(self, view: Blueprint | Callable[..., object]) -> object: ...
