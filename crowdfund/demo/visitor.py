"""Somebody with a browser, as far as the demo needs one: cookies, pages, forms with their tokens.

What the API does not offer goes through the pages' own forms, as everybody's does: accounts, projects, pictures, talk.
"""

from __future__ import annotations

import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.cookiejar import CookieJar
from urllib.parse import urlencode

from crowdfund.errors import WorldError

TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')
PATIENCE_S = 60


class _Stay(urllib.request.HTTPRedirectHandler):
    """Does not go where an answer sends it: the next page costs as much as the form itself, and nobody looks at it."""

    def redirect_request(self, *_args: object) -> None:
        """No further request."""


class Visitor:
    """A session at a running site. Raises WorldError where a page does not take what was sent."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._opener = urllib.request.build_opener(_Stay, urllib.request.HTTPCookieProcessor(CookieJar()))
        self._token = ""

    def sign_up(self, name: str, password: str) -> None:
        """A new account, logged in."""
        self._enter("/signup", name, password)

    def log_in(self, name: str, password: str) -> None:
        """Back to an account."""
        self._enter("/login", name, password)

    def open(self, path: str) -> str:
        """The page at `path`."""
        return self._ask(urllib.request.Request(self.base_url + path))

    def send(self, path: str, fields: Mapping[str, str]) -> str:
        """Send the form that stands at `path`; returns the page that answers it, empty if it is elsewhere."""
        values = self._with_token(path, fields)
        return self._ask(urllib.request.Request(self.base_url + path, urlencode(values).encode()))

    def send_file(self, path: str, fields: Mapping[str, str], name: str, data: bytes) -> str:
        """The same with a file in the field `name`."""
        edge = secrets.token_hex(16)
        parts = [_part(edge, key, value.encode()) for key, value in self._with_token(path, fields).items()]
        parts.append(_part(edge, name, data, "; filename=picture"))
        request = urllib.request.Request(self.base_url + path, b"".join(parts) + f"--{edge}--\r\n".encode())
        request.add_header("Content-Type", f"multipart/form-data; boundary={edge}")
        return self._ask(request)

    def _enter(self, path: str, name: str, password: str) -> None:
        self.send(path, {"name": name, "password": password})
        self._token = ""  # it belonged to the session before

    def _with_token(self, path: str, fields: Mapping[str, str]) -> dict[str, str]:
        """The fields with the session's token, which any form of the session shows."""
        if not self._token:
            found = TOKEN.search(self.open(path))
            if found is None:
                raise WorldError(f"There is no form at {path}.", retryable=False)
            self._token = found[1]
        return {**fields, "csrf_token": self._token}

    def _ask(self, request: urllib.request.Request) -> str:
        try:
            with self._opener.open(request, timeout=PATIENCE_S) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            if error.code == 303:
                return ""
            said = " ".join(re.findall(r'class="error"[^>]*>([^<]+)<', error.read().decode()))
            raise WorldError(f"{request.selector} was answered with {error.code}: {said}", retryable=False) from error
        except OSError as error:
            raise WorldError(f"The site at {self.base_url} does not answer: {error}.") from error


def _part(edge: str, name: str, data: bytes, more: str = "") -> bytes:
    """One field of a form with files."""
    return f'--{edge}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data + b"\r\n"
