"""A small client of the web API, for demo and story."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from crowdfund.errors import WorldError

PATIENCE_S = 60


class ApiClient:
    """The API of a running site."""

    def __init__(self, base_url: str, token: str = "") -> None:
        self.base_url = base_url
        self._token = token

    def get(self, path: str) -> Any:
        """GET `path` below /api/v1."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, object] | None = None) -> Any:
        """POST to `path` below /api/v1."""
        return self._ask("POST", path, body or {})

    def wait(self, path: str, ready: Callable[[Any], bool], what: str) -> Any:
        """GET until `ready`. Raises WorldError saying `what` was waited for."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self.get(path)
            if ready(answer):
                return answer
            if time.monotonic() > deadline:
                raise WorldError(f"Waited {PATIENCE_S} seconds for {what}, in vain.", retryable=False)
            time.sleep(0.1)

    def _ask(self, verb: str, path: str, body: dict[str, object] | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.base_url}/api/v1{path}", data, method=verb)
        request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise WorldError(f"{verb} {path} was answered with {error.code}: {error.read().decode()}") from error
        except OSError as error:
            raise WorldError(f"The site at {self.base_url} does not answer: {error}.") from error
