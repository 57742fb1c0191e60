"""Fetches a file from an address that a stranger has named, and lets nobody use us to look into our own network.

Each host is resolved once; all its addresses must be public; the connection goes to an address that was checked, never
to a name. A redirect is a new address and goes the same way. What an asker is told about a host that cannot be reached
is always one and the same sentence, be it refused here, closed, filtered or unknown. May not know what the file is for.
"""

from __future__ import annotations

import http.client
import ipaddress
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from urllib.parse import quote, urljoin

from crowdfund.config import Settings
from crowdfund.errors import UserError, WorldError
from crowdfund.projects.pinned_http import Clock, Connect, TooMuch, answer_of, tcp
from crowdfund.projects.reach import LOOPBACK, Address, Network, is_in, is_public
from crowdfund.projects.urls import LOCAL, STRICT, Fetch, Fetched, NoFile, Rules, Target, target_of

TIMEOUT_S = 10.0
CONNECT_S = 4.0
MAX_BYTES = 512 * 1024
MAX_REDIRECTS = 3
ADDRESSES_TRIED = 3
AT_ONCE = 8
REDIRECTS = (301, 302, 303, 307, 308)
KINDS = frozenset(
    ("application/json", "application/yaml", "application/x-yaml", "application/toml", "application/octet-stream")
)

Resolve = Callable[[str], Sequence[Address]]


def system_resolver(host: str) -> Sequence[Address]:
    """All addresses of a name, as this machine knows them. Raises OSError.

    A last dot keeps our own search domains out. Addresses with a zone keep it, so that they are refused.
    """
    asked = f"{host}." if "." in host else host
    found = socket.getaddrinfo(asked, None, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(entry[4][0]) for entry in found]


def fetcher_of(settings: Settings) -> Fetch:
    """What fetches on this installation. Where that is switched off, each call raises UserError."""
    if settings.fetching == "off":
        return _off
    if settings.fetching == "local":
        return Fetcher(LOCAL, also=LOOPBACK).fetch
    return Fetcher().fetch


def _off(_url: str) -> Fetched:
    raise UserError("This site does not fetch files from elsewhere; upload the file instead.")


class Fetcher:
    """One for a process: it bounds how many fetches go on at once.

    `also` are networks that may be reached though they are not public. `resolve` and `connect` are the only ways out.
    """

    def __init__(
        self,
        rules: Rules = STRICT,
        *,
        also: tuple[Network, ...] = (),
        resolve: Resolve = system_resolver,
        connect: Connect = tcp,
        context: ssl.SSLContext | None = None,
        timeout_s: float = TIMEOUT_S,
        limit: int = MAX_BYTES,
    ) -> None:
        self._rules, self._also, self._resolve, self._connect = rules, also, resolve, connect
        self._given_context = context
        self._timeout_s, self._limit = timeout_s, limit
        self._slots, self._questions = threading.BoundedSemaphore(AT_ONCE), threading.BoundedSemaphore(2 * AT_ONCE)

    def fetch(self, url: str) -> Fetched:
        """The file at `url`, after at most three redirects.

        Raises UserError for an address that is none, NoFile where nothing is there that we take, WorldError where the
        host cannot be reached, shows a wrong certificate, or needs longer than the time that all hops have together.
        """
        target, hops = target_of(url, self._rules), list[str]()
        with self._slot():
            clock = Clock(self._timeout_s)
            while True:
                found = self._one(target, tuple(hops), clock)
                if isinstance(found, Fetched):
                    return found
                hops.append(target.url)
                if len(hops) > MAX_REDIRECTS:
                    raise NoFile(f"{target.host_text} sends us on and on; give the address where the file is.")
                target = found

    @cached_property
    def _context(self) -> ssl.SSLContext:
        """Reading every certificate of the system takes a while, and most processes fetch nothing."""
        return self._given_context or ssl.create_default_context()

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(timeout=self._timeout_s):
            raise WorldError("We are fetching many files just now; please try again in a minute.")
        try:
            yield
        finally:
            self._slots.release()

    def _one(self, target: Target, hops: tuple[str, ...], clock: Clock) -> Fetched | Target:
        """The file, or where it is said to be."""
        sock = self._connected(target, clock)
        try:
            with answer_of(target, sock, self._context, clock, self._limit) as answer:
                if answer.status in REDIRECTS:
                    return self._sent_on(target, answer)
                return Fetched(target.url, hops, _judged(target, answer), _body(target, answer, self._limit))
        except TooMuch as error:
            raise _too_much(target) from error
        except TimeoutError as error:
            raise WorldError(f"{target.host_text} took too long, so the file was not read.") from error
        except ssl.SSLCertVerificationError as error:
            raise WorldError(
                f"{target.host_text} shows a certificate that is not valid for it, so nothing was read."
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise WorldError(f"{target.host_text} broke off before the file was whole.") from error

    def _connected(self, target: Target, clock: Clock) -> socket.socket:
        """A connection to one of the host's addresses. Every failure is the same one, whatever lies behind it."""
        try:
            addresses = self._addresses(target.host, clock)
        except (OSError, UnicodeError) as error:
            raise _unreachable(target) from error
        if not addresses or not all(is_public(one) or is_in(one, self._also) for one in addresses):
            raise _unreachable(target)
        for address in addresses[:ADDRESSES_TRIED]:
            try:
                return self._connect(address, target.port, min(CONNECT_S, clock.left()))
            except OSError:
                continue
        raise _unreachable(target)

    def _addresses(self, host: str | Address, clock: Clock) -> list[Address]:
        """Each once, in the resolver's order."""
        if not isinstance(host, str):
            return [host]
        return list(dict.fromkeys(self._asked(host, clock)))

    def _asked(self, name: str, clock: Clock) -> Sequence[Address]:
        """Ask the resolver, once, in a thread of its own: the system's can be slow, and cannot be told to hurry."""
        answers: queue.SimpleQueue[Sequence[Address] | Exception] = queue.SimpleQueue()
        if not self._questions.acquire(timeout=clock.left()):
            raise TimeoutError("the resolver is busy")
        threading.Thread(target=self._ask_resolver, args=(name, answers), daemon=True).start()
        try:
            answer = answers.get(timeout=clock.left())
        except queue.Empty as error:
            raise TimeoutError("the resolver is slow") from error
        if isinstance(answer, Exception):
            raise OSError("the resolver knows nothing") from answer
        return answer

    def _ask_resolver(self, name: str, answers: queue.SimpleQueue[Sequence[Address] | Exception]) -> None:
        try:
            answers.put(self._resolve(name))
        except Exception as error:  # goes to who has asked
            answers.put(error)
        finally:
            self._questions.release()

    def _sent_on(self, target: Target, answer: http.client.HTTPResponse) -> Target:
        location = quote((answer.getheader("Location") or "").encode("latin-1"), safe="/%:@!$&'()*+,;=~-._?#[]")
        if not location:
            raise NoFile(f"{target.host_text} sends us on without saying where.")
        try:
            return target_of(urljoin(target.url, location), self._rules)
        except ValueError as error:
            raise NoFile(f"{target.host_text} sends us on to what is no address.") from error
        except UserError as error:
            raise NoFile(
                f"{target.host_text} sends us on to an address where we do not go. {error.sentence}"
            ) from error


def _judged(target: Target, answer: http.client.HTTPResponse) -> str:
    """The type of a file that may be read. Raises NoFile or WorldError for everything else."""
    host, status = target.host_text, answer.status
    if status == 429 or status >= 500:
        raise WorldError(f"{host} has no time for us just now (status {status}); please try again later.")
    if status != 200:
        raise NoFile(f"There is no public file at {target.url} (status {status}).")
    if (answer.getheader("Content-Encoding") or "identity").strip().lower() != "identity":
        raise NoFile(f"{host} sends the file packed though we asked for it as it is; upload the file instead.")
    if (answer.getheader("Transfer-Encoding") or "chunked").strip().lower() != "chunked":
        raise NoFile(f"{host} sends the file in a form that we do not read; upload the file instead.")
    kind = (answer.getheader("Content-Type") or "application/octet-stream").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise NoFile(f"At {target.url} is a web page, not the file itself; give the address of the raw file.")
    if not (kind.startswith("text/") or kind in KINDS or kind.endswith(("+json", "+yaml"))):
        raise NoFile(f"At {target.url} is something else than a text file; only text, JSON, YAML and TOML are read.")
    return kind


def _body(target: Target, answer: http.client.HTTPResponse, limit: int) -> bytes:
    """The whole body. A length that was promised is kept, or http.client raises IncompleteRead."""
    if answer.length is not None and answer.length > limit:
        raise _too_much(target)
    body = answer.read() if answer.length is not None else answer.read(limit + 1)
    if len(body) > limit:
        raise _too_much(target)
    return body


def _too_much(target: Target) -> NoFile:
    return NoFile(f"The file at {target.url} is too large to be read here.")


def _unreachable(target: Target) -> WorldError:
    return WorldError(
        f"We cannot get a file from {target.host_text}. See that the address is public and opens in a browser, or "
        "upload the file instead."
    )
