"""JSON-RPC to a node on this machine that is known by its URL and its cookie file.

The private regtest node is driven through it. May not: read floats (numbers with a point become Decimal),
send a call twice (a payment would be made twice), or know what a method means.
"""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crowdfund.errors import WorldError

WARMING_UP = -28


class RpcError(WorldError):
    """The node answered with an error. `code` is the node's own number for it, `reason` its own words."""

    def __init__(self, method: str, code: int, reason: str) -> None:
        super().__init__(f"The node refused {method}: {reason.rstrip('.')}.", retryable=code == WARMING_UP)
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class LocalRpc:
    """One node's RPC. The cookie is read on every call, because each start of a node writes a new one."""

    url: str
    cookie_file: Path

    def call(self, method: str, params: Sequence[object] = (), *, wallet: str = "", timeout: float = 60) -> Any:
        """Answer of `method` (`timeout` in seconds). Raises RpcError, or WorldError if none answers."""
        body = json.dumps({"id": 0, "method": method, "params": list(params)}, default=_text)
        path = f"/wallet/{wallet}" if wallet else "/"
        status, answer = self._post(path, body, timeout)
        if status == 401:
            raise WorldError(f"The node at {self.url} refuses the cookie in {self.cookie_file}.")
        if status == 503:
            raise WorldError(f"The node at {self.url} has too much to do; try again.")
        try:
            reply = json.loads(answer, parse_float=Decimal)
            error, result = reply["error"], reply["result"]
        except (ValueError, TypeError, KeyError):
            sentence = f"What answers at {self.url} is not a bitcoin node (HTTP status {status})."
            raise WorldError(sentence, retryable=False) from None
        if error is not None:
            raise RpcError(method, int(error["code"]), str(error["message"]).strip().split("\n")[0])
        return result

    def _post(self, path: str, body: str, timeout: float) -> tuple[int, bytes]:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 18443, timeout=timeout)
        try:
            cookie = base64.b64encode(self.cookie_file.read_bytes().strip()).decode("ascii")
            connection.request("POST", path, body, {"Authorization": f"Basic {cookie}"})
            reply = connection.getresponse()
            return reply.status, reply.read()
        except TimeoutError as error:
            raise WorldError(f"The node at {self.url} did not answer within {timeout:.0f} seconds.") from error
        except (OSError, http.client.HTTPException) as error:
            raise WorldError(f"The node at {self.url} does not answer ({error}).") from error
        finally:
            connection.close()


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:.8f}"
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be sent to a node")
