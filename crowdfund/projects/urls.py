"""Addresses of files that strangers name: read once, strictly, into what is asked for and nothing else. Pure.

Whatever two programs could read differently is refused here, so that what was checked is what is asked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import SplitResult, quote, urlsplit

import idna

from crowdfund.errors import UserError
from crowdfund.projects.reach import Address

URL_LIMIT = 2000
PORTS = {"https": 443, "http": 80}
# Names that never belong to a host on the internet; asking for one would only ask our own network.
SPECIAL_NAMES = frozenset(
    (
        "alt", "arpa", "corp", "home", "internal", "intranet", "invalid", "lan", "local", "localdomain", "localhost",
        "mail", "onion", "private", "test",
    )
)  # fmt: skip

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_BAD = re.compile(r"[\s\\<>\"`{}|^]")


@dataclass(frozen=True)
class Rules:
    """What is allowed beyond https at a name on the standard port. All of it is for tests and the private network."""

    http: bool = False
    any_port: bool = False
    any_host: bool = False


STRICT = Rules()
LOCAL = Rules(http=True, any_port=True, any_host=True)


class NoFile(UserError):
    """There is no file that can be used at an address, and nothing else is wrong: the next address may have one."""


@dataclass(frozen=True)
class Target:
    """One address, taken apart. `host` is a name in ASCII or an IP address; `path` begins with a slash, holds the query
    and is quoted."""

    scheme: str
    host: str | Address
    port: int
    path: str

    @property
    def host_text(self) -> str:
        """The host as a URL has it."""
        return f"[{self.host}]" if isinstance(self.host, IPv6Address) else str(self.host)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host_text}{port}"

    @property
    def url(self) -> str:
        """The whole address in its one spelling."""
        return self.origin + self.path


@dataclass(frozen=True)
class Fetched:
    """A file as it came. `url` is where it was found, `hops` are the addresses asked before, oldest first."""

    url: str
    hops: tuple[str, ...]
    content_type: str
    body: bytes

    @cached_property
    def sha256(self) -> str:
        """Of the body, in hex."""
        return hashlib.sha256(self.body).hexdigest()


Fetch = Callable[[str], Fetched]


def target_of(text: str, rules: Rules = STRICT) -> Target:
    """Read an address. Raises UserError with what is wrong with it; the sentence repeats no part that may be secret."""
    text = text.strip(" ")
    if not text or len(text) > URL_LIMIT or not text.isprintable() or _BAD.search(text):
        raise UserError("This is no web address; write it like https://example.org/funding.json.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:  # brackets that do not close, a port that is none
        raise UserError("This is no web address; write it like https://example.org/funding.json.") from error
    if parts.scheme != "https" and not (rules.http and parts.scheme == "http"):
        raise UserError("The address must begin with https://.")
    if "@" in parts.netloc:
        raise UserError("The address must have no user name and no password in it.")
    port = PORTS[parts.scheme] if port is None else port
    if port == 0 or not (rules.any_port or port == PORTS[parts.scheme]):
        raise UserError("The address must be on the standard port; leave the number behind the host out.")
    return Target(parts.scheme, _host(parts, rules), port, _path(parts))


def _host(parts: SplitResult, rules: Rules) -> str | Address:
    host = host_of(_host_text(parts.netloc))
    if rules.any_host:
        return host
    if not isinstance(host, str):
        raise UserError("The address must have the name of a host, not a number.")
    last = host.rpartition(".")[2]
    if last == host or last in SPECIAL_NAMES:
        raise UserError("The address must have the full name of a host on the internet, such as example.org.")
    return host


def _host_text(netloc: str) -> str:
    """Without the port. Unlike SplitResult.hostname it changes nothing."""
    if netloc.startswith("["):
        return netloc[: netloc.index("]") + 1]
    return netloc.partition(":")[0]


def _path(parts: SplitResult) -> str:
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    return path + ("?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?") if parts.query else "")


def host_of(text: str) -> str | Address:
    """A host's one spelling: a name in lower case and ASCII without a last dot, or an IP address however written.

    Every spelling of an IPv4 address that some program understands (`0x7f.1`, `2130706433`, `017700000001`) is that
    address. Raises UserError for what is neither.
    """
    if text.startswith("["):
        return _ipv6(text)
    name = _ascii(text).lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise _no_host()
    return _ipv4(labels) if _NUMBER.fullmatch(labels[-1]) else name


def _no_host() -> UserError:
    return UserError("The address has no proper host name; write it like https://example.org/funding.json.")


def _ascii(text: str) -> str:
    """By UTS 46, as browsers do it; what it maps to digits and dots is digits and dots from here on."""
    if text.isascii() and "xn--" not in text.lower():
        return text
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise _no_host() from error


def _ipv6(text: str) -> IPv6Address:
    if not text.endswith("]") or "%" in text:  # a zone names an interface of ours
        raise _no_host()
    try:
        return IPv6Address(text[1:-1])
    except AddressValueError as error:
        raise _no_host() from error


def _ipv4(labels: list[str]) -> IPv4Address:
    """As inet_aton and browsers read it: up to four numbers, each decimal, octal or hexadecimal; the last one fills
    what is left."""
    try:
        numbers = [_number(label) for label in labels]
    except ValueError as error:
        raise _no_host() from error
    *head, last = numbers
    if len(numbers) > 4 or any(n > 255 for n in head) or last >= 256 ** (5 - len(numbers)):
        raise _no_host()
    return IPv4Address(last + sum(n << 8 * (3 - place) for place, n in enumerate(head)))


def _number(label: str) -> int:
    if len(label) > 40:
        raise ValueError(label)
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8 if len(label) > 1 and label.startswith("0") else 10)
