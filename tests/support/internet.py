"""A small internet on loopback: names, public addresses, HTTPS servers, and an authority that nobody else trusts.

`resolve` and `connect` are what a Fetcher is given instead of the ways out of this machine. A public address leads to
one of the servers here; whatever else is connected to is noted, and refused.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from crowdfund.projects.reach import Address

# (connection, what was asked) -> nothing; the connection is closed afterwards.
Talk = Callable[[socket.socket, str], None]


class Authority:
    """A certificate authority that lives as long as a test module."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of a test")])
        self._self = self._sign(self._name, self._key.public_key(), None)

    def client(self) -> ssl.SSLContext:
        """What trusts this authority and no other."""
        return ssl.create_default_context(cadata=self._self.public_bytes(Encoding.PEM).decode())

    def server(self, *names: str) -> ssl.SSLContext:
        """A server's side, with a certificate for these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        certificate = self._sign(subject, key.public_key(), names)
        file = self._folder / f"{names[0]}.pem"
        file.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, names: Sequence[str] | None
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        draft = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
        )
        if names is not None:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            draft = draft.add_extension(alternatives, critical=False)
        return draft.sign(self._key, SHA256())


class Server:
    """A server on a free port of loopback. `requests` are the heads of what it was asked, `hits` its connections."""

    def __init__(self, talk: Talk, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[str] = []
        self.hits = 0
        self._talk, self._context = talk, context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            self.hits += 1
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(5)
        try:
            with plain if self._context is None else self._context.wrap_socket(plain, server_side=True) as sock:
                head = b""
                while b"\r\n\r\n" not in head:
                    more = sock.recv(65_536)
                    if not more:
                        return
                    head += more
                self.requests.append(head.decode("latin-1"))
                self._talk(sock, self.requests[-1])
        except OSError:
            plain.close()


class Internet:
    """Names and where they lead. `asked` are the names that were resolved, `connected` the addresses connected to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.connected: list[str] = []
        self._answers: dict[str, list[list[Address]]] = {}
        self._servers: dict[str, int] = {}

    def name(self, host: str, *answers: str | list[str]) -> None:
        """What a name resolves to: each time the next answer, the last one for ever."""
        self._answers[host] = [
            [ipaddress.ip_address(one) for one in ([answer] if isinstance(answer, str) else answer)]
            for answer in answers
        ]

    def at(self, address: str, server: Server) -> None:
        """A public address leads to this server, whatever the port."""
        self._servers[address] = server.port

    def resolve(self, host: str) -> Sequence[Address]:
        """As a system's resolver."""
        self.asked.append(host)
        answers = self._answers.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return answers[0] if len(answers) == 1 else answers.pop(0)

    def connect(self, address: Address, port: int, timeout_s: float) -> socket.socket:
        """A connection to the server at that address; anything else is noted and refused."""
        self.connected.append(str(address))
        if str(address) not in self._servers:
            raise ConnectionRefusedError(str(address))
        return socket.create_connection(("127.0.0.1", self._servers[str(address)]), timeout_s)


@contextmanager
def serving(talk: Talk, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server for a while."""
    server = Server(talk, context)
    try:
        yield server
    finally:
        server.close()


def http(body: bytes, status: str = "200 OK", length: int | None = None, more: str = "") -> bytes:
    """An answer. `more` are header lines, each with its end."""
    kind = "" if "content-type" in more.lower() else "Content-Type: text/plain\r\n"
    length = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{kind}{more}\r\n".encode("latin-1") + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    """An answer that sends on."""
    return http(b"", status, more=f"Location: {location}\r\n")


def saying(answer: bytes) -> Talk:
    """Always the same answer."""
    return lambda sock, _request: sock.sendall(answer)


def files(there: Mapping[str, bytes]) -> Talk:
    """The answer for each path; for all others that there is nothing."""

    def talk(sock: socket.socket, request: str) -> None:
        path = request.split(" ", 2)[1]
        sock.sendall(there.get(path) or http(b"none", "404 Not Found"))

    return talk
