"""Posting to an address that a stranger chose: never to a machine of our own network, never longer than it may take.

The name is looked up once, every address found must be a public one, and the connection goes to one of those: what the
name says a moment later has no say. Redirects are not followed.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from crowdfund.errors import UserError, WorldError

WHOLE_TIMEOUT_S = 10
BODY_LIMIT = 1_000
URL_LIMIT = 500
PORTS = {"http": 80, "https": 443}
# Public by their own form, but leading to IPv4 addresses that may be anything.
TRANSLATED = tuple(map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))


@dataclass(frozen=True)
class Posted:
    """What came back: the status, and the beginning of the body."""

    status: int
    body: bytes


class Poster(Protocol):
    """How a message gets to a program."""

    def check(self, url: str) -> str:
        """The URL, if anything could ever be posted there. Raises UserError at the field `url`, WorldError where its
        name cannot be looked up."""

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
        """Post once. Raises WorldError where no answer comes, UserError where it may not be posted there."""


class PinnedPoster:
    """`plain` allows http:// (for trying things out). `allowed` are addresses that may be reached though they are not
    public."""

    def __init__(self, plain: bool = False, allowed: Collection[str] = (), timeout_s: float = WHOLE_TIMEOUT_S) -> None:
        self._plain = plain
        self._allowed = frozenset(allowed)
        self._timeout_s = timeout_s

    def check(self, url: str) -> str:
        """See `Poster`."""
        parts = self._read(url)
        self._addresses(parts, time.monotonic() + self._timeout_s)
        return url.strip()

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
        """See `Poster`. The whole of it is cut off after `timeout_s`."""
        until = time.monotonic() + self._timeout_s
        parts = self._read(url)
        address = self._addresses(parts, until)[0]
        connection = _Pinned(parts, address, max(0.1, until - time.monotonic()))
        watchdog = threading.Timer(max(0.1, until - time.monotonic()), connection.cut)
        watchdog.daemon = True
        watchdog.start()
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body, dict(headers))
            answer = connection.getresponse()
            posted = Posted(answer.status, answer.read(BODY_LIMIT))
        except ssl.SSLError as error:
            raise WorldError("Its certificate cannot be trusted.") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = time.monotonic() >= until
            raise WorldError("It took too long." if late else f"No answer: {type(error).__name__}.") from error
        finally:
            watchdog.cancel()
            connection.close()
        if time.monotonic() >= until:
            raise WorldError("It took too long.")
        return posted

    def _read(self, url: str) -> SplitResult:
        text = url.strip()
        try:
            parts = urlsplit(text)
            usable = parts.hostname and parts.port != 0 and text.isascii() and text.isprintable() and " " not in text
        except ValueError:
            usable = None
        if not usable or parts.scheme not in PORTS or len(text) > URL_LIMIT or parts.fragment:
            raise UserError("Write an address like https://example.org/hook.", "url")
        if parts.username or parts.password:
            raise UserError("Leave name and password out of the address: messages are signed.", "url")
        if parts.scheme == "http" and not self._plain:
            raise UserError("Use https://, so that nobody on the way reads or changes what is sent.", "url")
        return parts

    def _addresses(self, parts: SplitResult, until: float) -> list[str]:
        port = parts.port or PORTS[parts.scheme]
        found = _looked_up(parts.hostname or "", port, max(0.1, until - time.monotonic()))
        for address in found:
            if not is_public(address) and address not in self._allowed:
                raise UserError("This address leads into a private network; nothing is sent there.", "url")
        return found


class _Pinned(http.client.HTTPConnection):
    """A connection to one address, whatever the name says meanwhile; over TLS the certificate must be the name's."""

    def __init__(self, parts: SplitResult, address: str, timeout_s: float) -> None:
        super().__init__(parts.hostname or "", parts.port or PORTS[parts.scheme], timeout=timeout_s)
        self._address = address
        self._context = ssl.create_default_context() if parts.scheme == "https" else None

    def connect(self) -> None:
        """Connect to the address that was found before."""
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._context is not None:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)
        self._kept = self.sock  # the connection lets go of it while the answer is still read

    def cut(self) -> None:
        """End it now, from another thread."""
        with suppress(OSError, AttributeError):
            self._kept.shutdown(socket.SHUT_RDWR)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, by every reading of it."""
    try:
        ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip.version == net.version and ip in net for net in TRANSLATED):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not ip.is_unspecified


def _looked_up(host: str, port: int, patience_s: float) -> list[str]:
    """All addresses of a name. Raises WorldError. In a thread of its own: a resolver knows no deadline."""
    found: list[str] = []
    thread = threading.Thread(target=_look_up, args=(host, port, found), daemon=True)
    thread.start()
    thread.join(patience_s)
    if not found:
        raise WorldError(f"The name {host} cannot be looked up.")
    return list(found)


def _look_up(host: str, port: int, found: list[str]) -> None:
    with suppress(OSError, UnicodeError):
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found.extend(dict.fromkeys(str(answer[4][0]) for answer in answers))
