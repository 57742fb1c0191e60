"""Which bitcoind is used: the order of the choices, and the sentence for each that fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crowdfund.chain.bitcoind import find_bitcoind
from crowdfund.errors import UserError, WorldError
from support.node import script, wrapper_script


@pytest.fixture
def wrapper(tmp_path: Path) -> Path:
    return wrapper_script(tmp_path / "bin" / "bitcoind")


def test_the_bitcoind_asked_for_comes_first(wrapper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = script(tmp_path / "other" / "mine", f'exec "{wrapper}" "$@"')
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CROWDFUND_BITCOIND", str(other))
    assert find_bitcoind() == [str(other)]
    monkeypatch.delenv("CROWDFUND_BITCOIND")
    assert find_bitcoind() == [str(wrapper)]


def test_an_installed_bitcoind_that_does_not_run_is_passed_over(
    wrapper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper.write_text("#!/bin/sh\nexit 127\n")
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CROWDFUND_BITCOIND", raising=False)
    lines: list[str] = []
    assert find_bitcoind(lines.append) != [str(wrapper)]
    assert lines == [f"{wrapper} is not used: it is not a bitcoind"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("exit 0", "it is not a bitcoind"),
        ("exit 1", "it is not a bitcoind"),
        ("echo Bitcoin Core daemon version v22.0.0", "its version 22 is too old"),
        (None, "there is no such program"),
    ],
)
def test_a_wrong_setting_is_said_in_one_sentence(
    text: str | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bin" / "wrong"
    if text is not None:
        script(path, text)
    monkeypatch.setenv("CROWDFUND_BITCOIND", str(path))
    with pytest.raises(UserError, match=f"CROWDFUND_BITCOIND is '{path}': {sentence}. Name a bitcoind"):
        find_bitcoind()


def test_where_nothing_can_be_had_the_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CROWDFUND_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("CROWDFUND_BITCOIND", raising=False)
    with pytest.raises(WorldError, match=r"apt-get is missing .* Install Bitcoin Core or Knots"):
        find_bitcoind()
