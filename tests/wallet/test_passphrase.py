"""The passphrase: strong when new, hidden always, and from a place that others cannot read."""

from __future__ import annotations

import io
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from crowdfund.config import Settings
from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.passphrase import MAX_BYTES, Passphrase, ask, stored, unlock

SECRET = "right horse battery"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


def settings(file: Path | None = None, **more: str) -> Settings:
    return replace(Settings.from_env({"CROWDFUND_DATA_DIR": "/somewhere", **more}), signer_passphrase_file=file)


@pytest.mark.parametrize("weak", ["short", "elevenchars", "aaaaaaaaaaaaaaaaaaaa", "121212121212", "abcabcabcabcabc"])
def test_a_weak_one_is_refused_when_it_is_new(weak: str) -> None:
    with pytest.raises(UserError, match="at least 12 letters") as refused:
        Passphrase(weak).check_strength()
    assert weak not in refused.value.sentence


def test_a_strong_one_is_taken() -> None:
    for strong in (SECRET, "elevenchars1", "ein Wort für Ærø"):
        Passphrase(strong).check_strength()


@pytest.mark.parametrize("bad", ["", "two\nlines here", "a\0b", "x" * (MAX_BYTES + 1), "half \udce4 letter"])
def test_what_is_no_passphrase(bad: str) -> None:
    with pytest.raises(UserError) as refused:
        Passphrase(bad)
    told = "".join(traceback.format_exception(refused.value))
    assert not bad or bad not in told
    assert "udce4" not in told


def test_every_keyboard_types_the_same_one() -> None:
    assert Passphrase("Bu\u0308cher und Tee").equals(Passphrase("B\u00fccher und Tee"))
    assert not Passphrase("Bücher").equals(Passphrase("Bucher"))


def test_it_does_not_show_itself() -> None:
    held = Passphrase(SECRET)
    assert "horse" not in f"{held} {held!r} {[held]} {vars(settings())}"


def test_it_comes_from_a_file(place: Path) -> None:
    for ending in ("", "\n", "\r\n"):
        place.write_bytes(f"{SECRET}{ending}".encode())
        found = stored(settings(place), {})
        assert found is not None and found.reveal() == SECRET.encode()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o610])
def test_a_file_that_others_reach_is_refused(place: Path, mode: int) -> None:
    place.chmod(mode)
    with pytest.raises(WorldError, match=r"CROWDFUND_SIGNER_PASSPHRASE_FILE.*chmod 600"):
        stored(settings(place), {})


def test_a_file_that_is_none_is_refused(tmp_path: Path, place: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(WorldError, match="CROWDFUND_SIGNER_PASSPHRASE_FILE"):
            stored(settings(path), {})
    for content in (b"", b"\n", b"one\ntwo\n", b"\xff\xfe horse", b"horse" * 1000):
        place.write_bytes(content)
        with pytest.raises(WorldError, match="one line") as refused:
            stored(settings(place), {})
        assert "horse" not in "".join(traceback.format_exception(refused.value))


def test_it_comes_from_a_systemd_credential(tmp_path: Path) -> None:
    credential = tmp_path / "crowdfund-passphrase"
    credential.write_text(SECRET)
    credential.chmod(0o440)  # as an access list of systemd looks
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    found = stored(settings(), env)
    assert found is not None and found.reveal() == SECRET.encode()
    assert stored(replace(settings(), signer_credential="another"), env) is None
    credential.rename(tmp_path / "another")
    assert stored(replace(settings(), signer_credential="another"), env) is not None
    (tmp_path / "another").chmod(0o444)
    with pytest.raises(WorldError, match="systemd credential"):
        stored(replace(settings(), signer_credential="another"), env)


def test_a_file_that_was_named_comes_before_a_credential(tmp_path: Path, place: Path) -> None:
    (tmp_path / "crowdfund-passphrase").write_text("another one")
    found = stored(settings(place), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found is not None and found.reveal() == SECRET.encode()


def test_without_a_place_and_a_terminal_a_sentence_names_both_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(SECRET))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(UserError, match="crowdfund-passphrase, or name a file in CROWDFUND_SIGNER_PASSPHRASE_FILE"):
        unlock(settings())
    with pytest.raises(UserError, match="no terminal"):
        ask("Passphrase")


def test_child_processes_learn_where_it_is() -> None:
    made = settings(CROWDFUND_SIGNER_PASSPHRASE_FILE="/etc/p", CROWDFUND_SIGNER_CREDENTIAL="seed")
    for one in (settings(Path("/etc/p")), replace(made, signer_passphrase_file=Path("/etc/p"))):
        assert Settings.from_env(one.to_env()) == one
    assert settings().signer_passphrase_file is None


def test_it_is_no_setting_itself() -> None:
    with pytest.raises(UserError, match="CROWDFUND_SIGNER_PASSPHRASE is not a setting") as refused:
        settings(CROWDFUND_SIGNER_PASSPHRASE=SECRET)
    assert "horse" not in refused.value.sentence
    for name in ("../x", "/x", "..", "a/b"):
        with pytest.raises(UserError, match="name of a credential"):
            settings(CROWDFUND_SIGNER_CREDENTIAL=name)
