"""Settings from the environment, each checked before anything starts.

Every setting is a variable `CROWDFUND_…`. A bad value, an unknown name or a contradiction stops the start with
one sentence that names the variable. Mainnet is never a default: it must be asked for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from crowdfund.errors import UserError

BACKENDS = ("core", "electrum", "esplora")
NETWORKS = ("regtest", "signet", "testnet4", "mainnet")
RPC_PORTS = {"regtest": 18443, "signet": 38332, "testnet4": 48332, "mainnet": 8332}
NETWORK_FOLDERS = {"regtest": "regtest", "signet": "signet", "testnet4": "testnet4", "mainnet": ""}

# name -> what it is for; a variable CROWDFUND_… that is not here stops the start, so that a typing error is seen.
KNOWN = {
    "NETWORK": "regtest (default), signet, testnet4 or mainnet",
    "DATA_DIR": "folder for everything that is written",
    "CACHE_DIR": "folder for downloads that can be made again",
    "DATABASE_URL": "SQLAlchemy address of the database",
    "BITCOIND_URL": "http://host:port of the node's RPC, user:password@ allowed",
    "BITCOIND_COOKIE_FILE": "the node's .cookie file",
    "BITCOIND_PASSWORD": "user:password of the node's RPC",
    "BITCOIND_ZMQ_URL": "tcp://host:port where the node publishes `sequence`; wakes the worker sooner",
    "ELECTRUM_URL": "tcp://host:port or ssl://host:port of an Electrum server",
    "ESPLORA_URL": "http(s)://host/path of an Esplora API",
    "BACKEND": "core (default), electrum or esplora: through which of them the chain is watched",
    "SECOND_BACKEND": "core, electrum or esplora: another one that must agree before anything is decided",
    "CA_FILE": "certificate of an Electrum or Esplora server that no public authority vouches for",
    "BASE_URL": "where people reach the site",
    "SITE_NAME": "the site's name",
    "SMTP_URL": "smtp(s)://user:password@host:port of the mail server that takes our mails; without it they wait",
    "MAIL_FROM": "address that mails come from, and that funding.json names; without it nobody is asked for an address",
    "OPERATOR_MAIL": "address that hears of halts and incidents",
    "SECURITY_CONTACT": "mail address or https:// page for whoever finds a hole in the site; security.txt names it",
    "TRUSTED_PROXIES": "how many proxies of yours stand before the site (0): whose X-Forwarded-For is believed",
    "LIMIT_FACTOR": "multiplies the limits on attempts, 0 for none: 1, on regtest 100",
    "SECRET_KEY": "key that signs sessions; made and kept in the data folder if unset",
    "SIGNER": "socket (default), or cold: the seed is on another machine and signatures come in files",
    "SIGNER_PEER": "user (name or number) that the signer hears beside its own: the worker's",
    "SIGNER_SOCKET": "Unix socket of the signer",
    "SIGNER_PASSPHRASE_FILE": "file with the passphrase of the seed, readable by its owner only",
    "SIGNER_CREDENTIAL": "name of the systemd credential with the passphrase of the seed",
    "CONFIRMATIONS": "confirmations before a coin counts and before a decision",
    "TIMELOCK_BLOCKS": "blocks after the deadline from which on time-locked refunds are valid, at least 144",
    "REVIEW": "on: the operator reads each campaign before it can be published (crowdfund review); off by default",
    "TEST_BENCH": "0 hides the test bench (regtest only)",
    "FETCHING": "on (default): files of projects are fetched from public hosts; off: they are uploaded; local (regtest "
    "only): also by http, on any port and from this machine",
    "SOURCE_URL": "where the source of this installation can be had (AGPL)",
    "BITCOIND": "path of a bitcoind for the private regtest node",
    "DEBIAN_MIRROR": "Debian mirror for the private regtest node",
    "FIAT_FILE": "JSON file that something of yours keeps fresh, with currency, per_btc and at: amounts to pay get an "
    "indication in that currency while it is less than an hour old",
    "CHROMIUM": "path of a Chromium for the browser tests",
}


def _xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback) / "crowdfund"


def default_data_dir() -> Path:
    """`CROWDFUND_DATA_DIR`, or the user's data folder as the XDG base directory rules name it."""
    return Path(os.environ.get("CROWDFUND_DATA_DIR") or _xdg("XDG_DATA_HOME", ".local/share")).absolute()


def cache_dir() -> Path:
    """`CROWDFUND_CACHE_DIR`, or the user's cache folder; holds only what can be made again."""
    return Path(os.environ.get("CROWDFUND_CACHE_DIR") or _xdg("XDG_CACHE_HOME", ".cache")).absolute()


@dataclass(frozen=True)
class Settings:
    """All that an installation can choose. Built by `from_env`, or directly in tests."""

    network: str
    data_dir: Path
    database_url: str
    bitcoind_url: str
    bitcoind_cookie_file: Path | None
    bitcoind_password: str | None
    bitcoind_zmq_url: str
    electrum_url: str
    esplora_url: str
    backend: str
    second_backend: str
    ca_file: Path | None
    base_url: str
    site_name: str
    secret_key: str | None
    signer: str
    signer_socket: Path
    signer_peer: str
    signer_passphrase_file: Path | None
    signer_credential: str
    confirmations: int
    timelock_blocks: int
    test_bench: bool
    fetching: str
    source_url: str
    smtp_url: str
    mail_from: str
    operator_mail: str
    security_contact: str
    review: bool
    trusted_proxies: int
    limit_factor: int
    fiat_file: Path | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read and check `env` (default: the process environment). Raises UserError with one sentence."""
        env = os.environ if env is None else env
        values = {k.removeprefix("CROWDFUND_"): v for k, v in env.items() if k.startswith("CROWDFUND_")}
        _refuse_unknown(values)
        network = values.get("NETWORK") or "regtest"
        if network not in NETWORKS:
            raise UserError(f"CROWDFUND_NETWORK is {network!r}; it must be one of {', '.join(NETWORKS)}.")
        data_dir = Path(values.get("DATA_DIR") or default_data_dir()).absolute()
        url = _http_url("BITCOIND_URL", values.get("BITCOIND_URL") or f"http://127.0.0.1:{RPC_PORTS[network]}")
        cookie = values.get("BITCOIND_COOKIE_FILE")
        return cls(
            network=network,
            data_dir=data_dir,
            database_url=values.get("DATABASE_URL") or f"sqlite:///{data_dir / 'crowdfund.sqlite'}",
            bitcoind_url=url,
            bitcoind_cookie_file=Path(cookie) if cookie else _default_cookie(network, values, url),
            bitcoind_password=_password(values),
            bitcoind_zmq_url=_socket_url(values, "BITCOIND_ZMQ_URL", ("tcp",)),
            electrum_url=_socket_url(values, "ELECTRUM_URL", ("tcp", "ssl")),
            esplora_url=_http_url("ESPLORA_URL", values["ESPLORA_URL"]) if values.get("ESPLORA_URL") else "",
            backend=_backend(values, "BACKEND", "core"),
            second_backend=_second_backend(values),
            ca_file=_file(values, "CA_FILE"),
            base_url=_http_url("BASE_URL", values.get("BASE_URL") or "http://127.0.0.1:8000").rstrip("/"),
            site_name=values.get("SITE_NAME") or "Seedbed",
            secret_key=_secret(values),
            signer=_signer(values),
            signer_socket=Path(values.get("SIGNER_SOCKET") or data_dir / "signer.sock"),
            signer_peer=_signer_peer(values),
            signer_passphrase_file=_path(values, "SIGNER_PASSPHRASE_FILE"),
            signer_credential=_credential(values),
            confirmations=_integer(values, "CONFIRMATIONS", 1 if network == "regtest" else 6, 1, 100),
            timelock_blocks=_integer(values, "TIMELOCK_BLOCKS", 144 if network == "regtest" else 4320, 144, 52_560),
            test_bench=_test_bench(values, network),
            fetching=_fetching(values, network),
            source_url=_source_url(values.get("SOURCE_URL") or ""),
            smtp_url=_smtp_url(values),
            mail_from=_mail_address(values, "MAIL_FROM"),
            operator_mail=_mail_address(values, "OPERATOR_MAIL"),
            security_contact=_contact(values),
            review=_review(values),
            trusted_proxies=_integer(values, "TRUSTED_PROXIES", 0, 0, 9),
            limit_factor=_integer(values, "LIMIT_FACTOR", 100 if network == "regtest" else 1, 0, 10_000),
            fiat_file=_path(values, "FIAT_FILE"),
        )

    def to_env(self) -> dict[str, str]:
        """The same settings as environment variables, for the child processes of `run` and `demo`."""
        found = {
            "NETWORK": self.network,
            "DATA_DIR": str(self.data_dir),
            "DATABASE_URL": self.database_url,
            "BITCOIND_URL": self.bitcoind_url,
            "BITCOIND_COOKIE_FILE": str(self.bitcoind_cookie_file or ""),
            "BITCOIND_PASSWORD": self.bitcoind_password or "",
            "BITCOIND_ZMQ_URL": self.bitcoind_zmq_url,
            "ELECTRUM_URL": self.electrum_url,
            "ESPLORA_URL": self.esplora_url,
            "BACKEND": self.backend,
            "SECOND_BACKEND": self.second_backend,
            "CA_FILE": str(self.ca_file or ""),
            "BASE_URL": self.base_url,
            "SITE_NAME": self.site_name,
            "SECRET_KEY": self.secret_key or "",
            "SIGNER": self.signer,
            "SIGNER_PEER": self.signer_peer,
            "SIGNER_SOCKET": str(self.signer_socket),
            "SIGNER_PASSPHRASE_FILE": str(self.signer_passphrase_file or ""),
            "SIGNER_CREDENTIAL": self.signer_credential,
            "CONFIRMATIONS": str(self.confirmations),
            "TIMELOCK_BLOCKS": str(self.timelock_blocks),
            "TEST_BENCH": "1" if self.test_bench else "0",
            "FETCHING": self.fetching,
            "SOURCE_URL": self.source_url,
            "SMTP_URL": self.smtp_url,
            "MAIL_FROM": self.mail_from,
            "OPERATOR_MAIL": self.operator_mail,
            "SECURITY_CONTACT": self.security_contact,
            "REVIEW": "on" if self.review else "",
            "TRUSTED_PROXIES": str(self.trusted_proxies),
            "LIMIT_FACTOR": str(self.limit_factor),
            "FIAT_FILE": str(self.fiat_file or ""),
        }
        return {f"CROWDFUND_{name}": value for name, value in found.items() if value}


def _refuse_unknown(values: Mapping[str, str]) -> None:
    for name in sorted(values):
        if name not in KNOWN:
            raise UserError(f"CROWDFUND_{name} is not a setting; known are {', '.join(sorted(KNOWN))}.")


def _http_url(name: str, value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is none
        usable = False
    if not usable:
        raise UserError(f"CROWDFUND_{name} is {value!r}; it must look like http://host:port.")
    return value


def _socket_url(values: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str:
    value = values.get(name) or ""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in schemes and parts.hostname and parts.port and not parts.path.strip("/")
    except ValueError:
        usable = False
    if value and not usable:
        forms = " or ".join(f"{scheme}://host:port" for scheme in schemes)
        raise UserError(f"CROWDFUND_{name} is {value!r}; it must look like {forms}.")
    return value


def _backend(values: Mapping[str, str], name: str, default: str) -> str:
    """One of the three, whose server must be named where it has no usual place."""
    kind = values.get(name) or default
    if kind and kind not in BACKENDS:
        raise UserError(f"CROWDFUND_{name} is {kind!r}; it must be one of {', '.join(BACKENDS)}.")
    if kind in ("electrum", "esplora") and not values.get(f"{kind.upper()}_URL"):
        raise UserError(f"CROWDFUND_{name} is {kind}, so CROWDFUND_{kind.upper()}_URL must say where it is.")
    return kind


def _second_backend(values: Mapping[str, str]) -> str:
    kind = _backend(values, "SECOND_BACKEND", "")
    if kind and kind == _backend(values, "BACKEND", "core"):
        raise UserError(
            f"CROWDFUND_SECOND_BACKEND is {kind}, the one that is watched already; a second one is another."
        )
    return kind


def _file(values: Mapping[str, str], name: str) -> Path | None:
    value = values.get(name) or ""
    if value and not Path(value).is_file():
        raise UserError(f"CROWDFUND_{name} is {value!r}; there is no such file.")
    return Path(value) if value else None


def _source_url(value: str) -> str:
    return _http_url("SOURCE_URL", value) if value else ""


def _smtp_url(values: Mapping[str, str]) -> str:
    """May hold a password, so that no sentence shows it."""
    value = values.get("SMTP_URL") or ""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("smtp", "smtps") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if value and (not usable or parts.path.strip("/") or parts.query):
        raise UserError("CROWDFUND_SMTP_URL must look like smtp://user:password@host:587 or smtps://…:465.")
    if value and not values.get("MAIL_FROM"):
        raise UserError("CROWDFUND_SMTP_URL is set, so CROWDFUND_MAIL_FROM must say where mails come from.")
    return value


def _mail_address(values: Mapping[str, str], name: str) -> str:
    value = values.get(name) or ""
    if value and not re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,189}", value, re.ASCII):
        raise UserError(f"CROWDFUND_{name} is {value!r}; it must be an address like site@example.org.")
    if value and name == "OPERATOR_MAIL" and not values.get("MAIL_FROM"):
        raise UserError("CROWDFUND_OPERATOR_MAIL is set, so CROWDFUND_MAIL_FROM must say where mails come from.")
    return value


def _contact(values: Mapping[str, str]) -> str:
    """An address for mails, or the address of a page."""
    value = values.get("SECURITY_CONTACT") or ""
    if not value.startswith("https://"):
        return _mail_address(values, "SECURITY_CONTACT")
    if not re.fullmatch(r"https://[!-~]{1,300}", value, re.ASCII):
        raise UserError(f"CROWDFUND_SECURITY_CONTACT is {value!r}; an address of a page has no spaces in it.")
    return _http_url("SECURITY_CONTACT", value)


def _integer(values: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = values.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise UserError(f"CROWDFUND_{name} is {text!r}; it must be a whole number from {low} to {high}.")
    return int(text)


def _test_bench(values: Mapping[str, str], network: str) -> bool:
    text = values.get("TEST_BENCH") or ("1" if network == "regtest" else "0")
    if text not in ("0", "1"):
        raise UserError(f"CROWDFUND_TEST_BENCH is {text!r}; it must be 0 or 1.")
    if text == "1" and network != "regtest":
        raise UserError("CROWDFUND_TEST_BENCH works on regtest only: it mines blocks and moves the clock.")
    return text == "1"


def _review(values: Mapping[str, str]) -> bool:
    text = values.get("REVIEW") or "off"
    if text not in ("on", "off"):
        raise UserError(f"CROWDFUND_REVIEW is {text!r}; it must be on or off.")
    return text == "on"


def _fetching(values: Mapping[str, str], network: str) -> str:
    """ "on", "off", or "local": whoever can name an address can then ask the services of this machine."""
    kind = values.get("FETCHING") or "on"
    if kind not in ("on", "off", "local"):
        raise UserError(f"CROWDFUND_FETCHING is {kind!r}; it must be on, off or local.")
    if kind == "local" and network != "regtest":
        raise UserError("CROWDFUND_FETCHING is local, which is for regtest only: it opens this machine to strangers.")
    return kind


def _password(values: Mapping[str, str]) -> str | None:
    text = values.get("BITCOIND_PASSWORD") or None
    if text is not None and ":" not in text:
        raise UserError("CROWDFUND_BITCOIND_PASSWORD must be user:password, as the node's rpcauth knows them.")
    return text


def _secret(values: Mapping[str, str]) -> str | None:
    text = values.get("SECRET_KEY") or None
    if text is not None and len(text) < 32:
        raise UserError("CROWDFUND_SECRET_KEY is too short; use at least 32 random characters.")
    return text


def _path(values: Mapping[str, str], name: str) -> Path | None:
    """Not looked at here: the web process has this setting too, and may not read that file."""
    return Path(values[name]).absolute() if values.get(name) else None


def _credential(values: Mapping[str, str]) -> str:
    name = values.get("SIGNER_CREDENTIAL") or "crowdfund-passphrase"
    if "/" in name or name in (".", ".."):
        raise UserError(f"CROWDFUND_SIGNER_CREDENTIAL is {name!r}; it must be the name of a credential, not a path.")
    return name


def _signer(values: Mapping[str, str]) -> str:
    """ "socket": a signer runs here. "cold": the seed is on another machine, and signatures come in files."""
    kind = values.get("SIGNER") or "socket"
    if kind not in ("socket", "cold"):
        raise UserError(f"CROWDFUND_SIGNER is {kind!r}; it must be socket or cold.")
    return kind


def _signer_peer(values: Mapping[str, str]) -> str:
    """Looked up by the signer alone: a machine without it need not know that user."""
    peer = values.get("SIGNER_PEER") or ""
    if peer and not re.fullmatch(r"[0-9]{1,9}|[A-Za-z_][A-Za-z0-9_.-]{0,31}", peer, re.ASCII):
        raise UserError(f"CROWDFUND_SIGNER_PEER is {peer!r}; it must be a user's name or number.")
    return peer


def _default_cookie(network: str, values: Mapping[str, str], url: str) -> Path | None:
    if values.get("BITCOIND_PASSWORD") or "@" in url:
        return None
    return Path.home() / ".bitcoin" / NETWORK_FOLDERS[network] / ".cookie"
