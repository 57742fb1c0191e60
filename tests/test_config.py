"""Settings: a bad or unknown variable stops the start with a sentence that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from crowdfund import config
from crowdfund.config import KNOWN, Settings
from crowdfund.db import Database
from crowdfund.errors import UserError


def settings(**values: str) -> Settings:
    return Settings.from_env({"CROWDFUND_DATA_DIR": "/somewhere"} | {f"CROWDFUND_{k}": v for k, v in values.items()})


def test_without_settings_it_is_regtest_on_this_machine() -> None:
    made = settings()
    assert (made.network, made.bitcoind_url, made.confirmations) == ("regtest", "http://127.0.0.1:18443", 1)
    assert made.timelock_blocks == 144
    assert made.database_url == "sqlite:////somewhere/crowdfund.sqlite"
    assert made.signer_socket == Path("/somewhere/signer.sock")
    assert made.base_url == "http://127.0.0.1:8000" and made.test_bench
    assert Settings.from_env({"PATH": "/bin", "OTHER": "x"}).network == "regtest"


def test_mainnet_must_be_asked_for_and_is_careful() -> None:
    made = settings(NETWORK="mainnet")
    assert (made.network, made.bitcoind_url, made.confirmations) == ("mainnet", "http://127.0.0.1:8332", 6)
    assert not made.test_bench and made.timelock_blocks == 4_320
    assert (made.limit_factor, made.trusted_proxies) == (1, 0)
    for network in ("signet", "testnet4"):
        assert settings(NETWORK=network).confirmations == 6


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NETWORK", "Mainnet"),
        ("NETWORK", "main"),
        ("NETWORK", " regtest"),
        ("NETWORK", "testnet3"),
        ("CONFIRMATIONS", "0"),
        ("CONFIRMATIONS", "-1"),
        ("CONFIRMATIONS", "101"),
        ("CONFIRMATIONS", "1.5"),
        ("CONFIRMATIONS", "six"),
        ("CONFIRMATIONS", "\u0666"),
        ("CONFIRMATIONS", " 6"),
        ("TIMELOCK_BLOCKS", "143"),
        ("TIMELOCK_BLOCKS", "52561"),
        ("TIMELOCK_BLOCKS", "a month"),
        ("TRUSTED_PROXIES", "-1"),
        ("TRUSTED_PROXIES", "10"),
        ("LIMIT_FACTOR", "10001"),
        ("LIMIT_FACTOR", "half"),
        ("SIGNER", "hot"),
        ("SIGNER", "Cold"),
        ("SIGNER_PEER", "a b"),
        ("SIGNER_PEER", "-1"),
        ("SIGNER_PEER", "\u0666"),
        ("FETCHING", "yes"),
        ("FETCHING", "Off"),
        ("FETCHING", "1"),
        ("TEST_BENCH", "yes"),
        ("TEST_BENCH", "2"),
        ("BITCOIND_URL", "127.0.0.1:18443"),
        ("BITCOIND_URL", "ftp://node"),
        ("BITCOIND_URL", "http://"),
        ("BASE_URL", "example.org"),
        ("SOURCE_URL", "javascript:alert(1)"),
        ("BITCOIND_ZMQ_URL", "127.0.0.1:28332"),
        ("BITCOIND_ZMQ_URL", "ipc:///run/zmq"),
        ("BITCOIND_ZMQ_URL", "ssl://node:28332"),
        ("BITCOIND_ZMQ_URL", "tcp://node"),
        ("BITCOIND_ZMQ_URL", "tcp://:28332"),
        ("BITCOIND_ZMQ_URL", "tcp://node:28332/path"),
        ("BITCOIND_ZMQ_URL", "tcp://node:99999"),
        ("BITCOIND_ZMQ_URL", "tcp://*:28332x"),
        ("ELECTRUM_URL", "electrum.example.org:50002"),
        ("ELECTRUM_URL", "https://electrum.example.org:50002"),
        ("ELECTRUM_URL", "ssl://electrum.example.org"),
        ("ELECTRUM_URL", "ssl://[::1"),
        ("ESPLORA_URL", "esplora.example.org/api"),
        ("ESPLORA_URL", "tcp://esplora.example.org"),
        ("BACKEND", "bitcoind"),
        ("BACKEND", "Core"),
        ("SECOND_BACKEND", "none"),
        ("BACKEND", "electrum"),
        ("BACKEND", "esplora"),
        ("SECOND_BACKEND", "electrum"),
        ("SECOND_BACKEND", "esplora"),
        ("SECOND_BACKEND", "core"),
        ("CA_FILE", "/nowhere/at/all.pem"),
        ("CA_FILE", "/"),
        ("BITCOIND_PASSWORD", "no colon"),
        ("SECRET_KEY", "short"),
    ],
)
def test_a_bad_value_stops_the_start_with_its_name(name: str, value: str) -> None:
    with pytest.raises(UserError, match=f"CROWDFUND_{name}") as refused:
        settings(**{name: value})
    assert refused.value.sentence.endswith(".")


def test_the_chain_is_watched_through_one_backend_and_decided_by_two(tmp_path: Path) -> None:
    made = settings()
    assert (made.backend, made.second_backend, made.ca_file) == ("core", "", None)
    assert made.bitcoind_zmq_url == made.electrum_url == made.esplora_url == ""
    servers = {"ELECTRUM_URL": "ssl://e.org:50002", "ESPLORA_URL": "https://s.org/api"}
    for backend in ("core", "electrum", "esplora"):
        for second in ("core", "electrum", "esplora"):
            values = {**servers, "BACKEND": backend, "SECOND_BACKEND": second}
            if backend == second:
                with pytest.raises(UserError, match="the one that is watched already"):
                    settings(**values)
            else:
                made = settings(**values)
                assert (made.backend, made.second_backend) == (backend, second)
    certificate = tmp_path / "ca.pem"
    certificate.write_text("certificate")
    assert settings(CA_FILE=str(certificate)).ca_file == certificate
    assert settings(BITCOIND_ZMQ_URL="tcp://[::1]:28332").bitcoind_zmq_url == "tcp://[::1]:28332"
    assert settings(ELECTRUM_URL="tcp://e.org:50001").electrum_url == "tcp://e.org:50001"


@pytest.mark.parametrize("backend", ["electrum", "esplora"])
@pytest.mark.parametrize("name", ["BACKEND", "SECOND_BACKEND"])
def test_a_server_without_a_usual_place_must_be_named(backend: str, name: str) -> None:
    with pytest.raises(UserError, match=f"CROWDFUND_{backend.upper()}_URL must say where it is"):
        settings(**{name: backend})


@pytest.mark.parametrize("name", ["NETWROK", "network", "", "DATABASE", "NETWORK "])
def test_an_unknown_name_stops_the_start(name: str) -> None:
    with pytest.raises(UserError, match="is not a setting"):
        settings(**{name: "x"})


def test_the_test_bench_is_for_regtest_only() -> None:
    for network in ("mainnet", "signet", "testnet4"):
        with pytest.raises(UserError, match="regtest only"):
            settings(NETWORK=network, TEST_BENCH="1")
        assert not settings(NETWORK=network, TEST_BENCH="0").test_bench
    assert not settings(TEST_BENCH="0").test_bench


@pytest.mark.parametrize(
    "values",
    [
        {"SMTP_URL": "http://swordfish@m"}, {"SMTP_URL": "smtp://swordfish@m:99999"}, {"SMTP_URL": "smtp://"},
        {"SMTP_URL": "smtp://a:swordfish@m"}, {"SMTP_URL": "smtp://m/swordfish", "MAIL_FROM": "a@example.org"},
        {"MAIL_FROM": "nobody"}, {"MAIL_FROM": "a@b\r\nBcc: c@d"}, {"MAIL_FROM": "A <a@example.org>"},
        {"OPERATOR_MAIL": "a@example.org"}, {"SECURITY_CONTACT": "nobody"}, {"SECURITY_CONTACT": "http://e.org/holes"},
        {"SECURITY_CONTACT": "https://e.org/two words"}, {"SECURITY_CONTACT": "https://e.org/\r\nContact: x"},
    ],
)  # fmt: skip
def test_mail_that_cannot_work_stops_the_start(values: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"CROWDFUND_(SMTP_URL|MAIL_FROM|OPERATOR_MAIL|SECURITY_CONTACT)") as refused:
        settings(**values)
    assert "swordfish" not in refused.value.sentence


def test_a_sentence_never_shows_a_secret() -> None:
    for name, value in (("SECRET_KEY", "swordfish"), ("BITCOIND_PASSWORD", "swordfish")):
        with pytest.raises(UserError) as refused:
            settings(**{name: value})
        assert "swordfish" not in refused.value.sentence


def test_an_empty_value_is_no_value() -> None:
    assert settings(**dict.fromkeys(KNOWN.keys() - {"DATA_DIR"}, "")) == settings()


def test_the_cookie_is_not_asked_for_where_a_password_is_given() -> None:
    assert settings().bitcoind_cookie_file == Path.home() / ".bitcoin" / "regtest" / ".cookie"
    assert settings(NETWORK="mainnet").bitcoind_cookie_file == Path.home() / ".bitcoin" / ".cookie"
    assert settings(BITCOIND_PASSWORD="user:word").bitcoind_cookie_file is None
    assert settings(BITCOIND_URL="http://user:word@node:1").bitcoind_cookie_file is None
    assert settings(BITCOIND_COOKIE_FILE="/c").bitcoind_cookie_file == Path("/c")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"NETWORK": "mainnet", "CONFIRMATIONS": "3", "BITCOIND_PASSWORD": "u:p", "BASE_URL": "https://e.org/"},
        {"BITCOIND_URL": "http://u:p@node:1", "SECRET_KEY": "k" * 32, "SOURCE_URL": "https://e.org", "TEST_BENCH": "0"},
        {
            "BITCOIND_ZMQ_URL": "tcp://n:1",
            "ELECTRUM_URL": "ssl://e:2",
            "ESPLORA_URL": "http://s/api",
            "CA_FILE": __file__,
        },
        {"BACKEND": "esplora", "ESPLORA_URL": "https://s.org/api", "SECOND_BACKEND": "core"},
        {"SIGNER": "cold"},
        {"SMTP_URL": "smtp://u:p%40@m.example.org:587", "MAIL_FROM": "a@example.org", "OPERATOR_MAIL": "b@example.org"},
        {"SECURITY_CONTACT": "security@example.org"},
        {"SECURITY_CONTACT": "https://example.org/holes"},
        {"FETCHING": "local"},
        {"FETCHING": "off", "NETWORK": "signet"},
        {"SITE_NAME": "Ærø", "SIGNER_SOCKET": "/run/s", "DATABASE_URL": "sqlite:////x/y", "BITCOIND_COOKIE_FILE": "/c"},
    ],
)
def test_children_get_the_same_settings(values: dict[str, str]) -> None:
    made = settings(**values)
    env = made.to_env()
    assert Settings.from_env(env) == made
    assert {name.removeprefix("CROWDFUND_") for name in env} <= set(KNOWN)


def test_folders_follow_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CROWDFUND_DATA_DIR", "CROWDFUND_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "d"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert (config.default_data_dir(), config.cache_dir()) == (tmp_path / "d/crowdfund", tmp_path / "c/crowdfund")
    monkeypatch.setenv("CROWDFUND_DATA_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("CROWDFUND_CACHE_DIR", "relative")
    assert config.default_data_dir() == tmp_path / "own" and config.cache_dir().is_absolute()


@pytest.mark.parametrize(
    ("name", "value"),
    [("BASE_URL", "http://[::1"), ("BITCOIND_URL", "http://node:99999"), ("CONFIRMATIONS", "1" * 5000)],
)
def test_what_cannot_even_be_read_gets_a_sentence(name: str, value: str) -> None:
    with pytest.raises(UserError, match=f"CROWDFUND_{name}"):
        Settings.from_env({f"CROWDFUND_{name}": value})


def test_a_database_address_that_is_none_gets_a_sentence() -> None:
    with pytest.raises(UserError, match="CROWDFUND_DATABASE_URL"):
        Database("not an address")
