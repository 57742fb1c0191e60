"""The key ceremony on a real terminal, and what scripts get instead."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from crowdfund.wallet.keystore import Keystore, create_seed, open_seed, sealed_seed, store_plain
from crowdfund.wallet.passphrase import Passphrase
from crowdfund.wallet.seed_file import COST, Cost, SealedSeed
from crowdfund.wallet.words import entropy_of, words_of
from support.terminal import Terminal, environment

CHEAP = Cost(memory_kib=8, passes=1, lanes=1)
SECRET, OTHER = "right horse battery", "wrong horse battery"
ENTROPY = hashlib.sha256(b"a seed of these tests").digest()
WORDS = words_of(ENTROPY)
CLEARED = "\x1b[2J\x1b[3J\x1b[H\x1b[?1049l"


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    return tmp_path / "signer" / "seed"


@pytest.fixture
def sealed(seed: Path) -> Path:
    """A stored seed on signet that opens quickly."""
    seed.parent.mkdir(mode=0o700)
    seed.write_bytes(sealed_seed(ENTROPY, Passphrase(SECRET), "signet", CHEAP).to_bytes())
    seed.chmod(0o600)
    return seed


def keys(folder: Path, *arguments: str, network: str = "signet", **settings: str) -> Terminal:
    return Terminal(environment(folder, NETWORK=network, **settings), "keys", *arguments)


def script(
    folder: Path, *arguments: str, typed: str = "", network: str = "regtest", **settings: str
) -> subprocess.CompletedProcess[str]:
    """The same without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "crowdfund", "keys", *arguments],
        env=environment(folder, NETWORK=network, **settings),
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )


def shown_words(terminal: Terminal) -> dict[int, str]:
    """The numbered words on the screen."""
    terminal.expect("Press Enter when they are on paper")
    found = {int(n): word for n, word in re.findall(r"(\d+)\. ([a-z]+)", terminal.seen)}
    assert sorted(found) == list(range(1, 25))
    return found


def test_the_ceremony(tmp_path: Path, seed: Path) -> None:
    """Shown once, cleared, asked back, encrypted; then a backup, and back from it in another place."""
    with keys(tmp_path, "create") as terminal:
        words = shown_words(terminal)
        assert not seed.exists()
        terminal.type("")
        terminal.expect(re.escape("\x1b[2J"))
        after = len(terminal.seen)
        asked = []
        for wrong in (2, 0, 1, 0):
            asked.append(int(terminal.expect(r"Word (\d+) of your paper")[1]))
            for _ in range(wrong):
                terminal.answer(": ", "zoo" if words[asked[-1]] != "zoo" else "zebra")
                terminal.expect("not the word")
            terminal.answer(": ", words[asked[-1]].upper())
        assert asked == sorted(set(asked)) and not seed.exists()
        terminal.answer("New passphrase for the seed: ", SECRET)
        terminal.answer("The same once more: ", SECRET)
        assert terminal.end() == 0
    assert CLEARED in terminal.seen[after:]
    assert SECRET not in terminal.seen, "the passphrase is not echoed"
    entropy = entropy_of(" ".join(words[n] for n in sorted(words)))
    held = SealedSeed.from_bytes(seed.read_bytes())
    assert held.cost == COST and seed.stat().st_mode & 0o777 == 0o600
    assert open_seed(seed, "signet", lambda: Passphrase(SECRET)) == entropy
    assert f"Seed {held.fingerprint} (signet)" in terminal.seen

    stick = tmp_path / "stick.seed"
    with keys(tmp_path, "backup", "--new-passphrase", str(stick)) as terminal:
        terminal.answer("Passphrase of the seed: ", SECRET)
        terminal.answer("New passphrase for the backup: ", OTHER)
        terminal.answer("The same once more: ", OTHER)
        assert terminal.end() == 0
    assert stick.stat().st_mode & 0o777 == 0o600 and stick.read_bytes() != seed.read_bytes()

    stick.chmod(0o755)  # as on a memory stick that knows no owners
    with keys(tmp_path / "new", "restore", str(stick)) as terminal:
        terminal.answer("Passphrase of the backup: ", OTHER)
        assert terminal.end() == 0
    assert held.fingerprint in terminal.seen
    assert Keystore(words_of(entropy), "signet").account_xpub(0) in terminal.seen
    back = tmp_path / "new" / "signer" / "seed"
    assert back.stat().st_mode & 0o777 == 0o600
    assert open_seed(back, "signet", lambda: Passphrase(OTHER)) == entropy


def test_three_wrong_words_end_the_ceremony_without_a_seed(tmp_path: Path, seed: Path) -> None:
    with keys(tmp_path, "create") as terminal:
        shown_words(terminal)
        terminal.type("")
        for _ in range(3):
            terminal.answer("of your paper: ", "no")
        assert terminal.end() == 1
    assert "nothing was written" in terminal.seen and not seed.exists()
    assert terminal.seen.index(CLEARED) < terminal.seen.index("nothing was written")


def test_ctrl_c_clears_the_screen_and_writes_nothing(tmp_path: Path, seed: Path) -> None:
    with keys(tmp_path, "create") as terminal:
        shown_words(terminal)
        terminal.press(b"\x03\n")  # Enter, as Python may notice a signal only when it has read something
        assert terminal.end() == 1
    assert CLEARED in terminal.seen and "Traceback" not in terminal.seen and not seed.exists()


def test_a_weak_or_mistyped_passphrase_writes_nothing(tmp_path: Path, seed: Path) -> None:
    for first, second, sentence in (("short", None, "at least 12 letters"), (SECRET, OTHER, "differ")):
        with keys(tmp_path, "import") as terminal:
            terminal.answer("How many words", "24")
            terminal.answer("Word 1: ", WORDS)
            terminal.answer("New passphrase for the seed: ", first)
            if second:
                terminal.answer("The same once more: ", second)
            assert terminal.end() == 1
        assert sentence in terminal.seen and not seed.exists()
        assert SECRET not in terminal.seen and OTHER not in terminal.seen


def test_words_are_imported_one_by_one_with_help(tmp_path: Path, seed: Path) -> None:
    words = WORDS.split()
    with keys(tmp_path, "import", network="testnet4") as terminal:
        terminal.answer("How many words", "")
        terminal.answer("Word 1: ", words[0][:-1] + "q")
        terminal.expect("is not in the list")
        for number, word in enumerate(words[:20], 1):
            terminal.answer(f"Word {number}: ", word.title())
        terminal.answer("Word 21: ", f"{words[20]} xyzxyz {words[21]}")
        terminal.expect("is not in the list. Look again")
        terminal.answer("Word 22: ", " ".join(words[21:]))
        terminal.answer("New passphrase for the seed: ", SECRET)
        terminal.answer("The same once more: ", SECRET)
        assert terminal.end() == 0
    assert terminal.seen.index(CLEARED) > terminal.seen.index("Word 22")
    assert open_seed(seed, "testnet4", lambda: Passphrase(SECRET)) == ENTROPY


def test_words_with_a_wrong_checksum_are_not_imported(tmp_path: Path, seed: Path) -> None:
    swapped = WORDS.split()
    swapped[2], swapped[11] = swapped[11], swapped[2]
    with keys(tmp_path, "import") as terminal:
        terminal.answer("How many words", "24")
        terminal.answer("Word 1: ", " ".join(swapped))
        assert terminal.end() == 1
    assert "checksum" in terminal.seen and not seed.exists()


def test_verify_says_yes_or_no_and_nothing_else(tmp_path: Path, sealed: Path) -> None:
    others = words_of(bytes(31) + b"\x01")
    for typed, code, verdict in ((WORDS, 0, "Yes"), (others, 1, "No")):
        with keys(tmp_path, "verify") as terminal:
            terminal.answer("Passphrase of the seed: ", SECRET)
            terminal.answer("How many words", "24")
            terminal.answer("Word 1: ", typed)
            assert terminal.end() == code
        told = terminal.seen[terminal.seen.index(CLEARED) + len(CLEARED) :]
        assert re.fullmatch(rf"\s*{verdict}, these are [a-z ]+\.\s*", told), told
    with keys(tmp_path, "verify") as terminal:
        terminal.answer("Passphrase of the seed: ", OTHER)
        assert terminal.end() == 1
    assert "This passphrase does not open the seed." in terminal.seen


def test_nothing_overwrites_a_seed(tmp_path: Path, sealed: Path) -> None:
    before = sealed.read_bytes()
    for command in (("create",), ("import",), ("restore", str(sealed))):
        with keys(tmp_path, *command) as terminal:
            assert terminal.end() == 1
        assert "never overwritten" in terminal.seen
    with keys(tmp_path, "backup", str(sealed)) as terminal:
        terminal.answer("Passphrase of the seed: ", SECRET)
        assert terminal.end() == 1
    assert "never overwritten" in terminal.seen and sealed.read_bytes() == before


def test_a_backup_of_another_network_or_a_damaged_one_is_not_restored(tmp_path: Path, sealed: Path) -> None:
    for network, data, sentence in (
        ("testnet4", sealed.read_bytes(), "made for signet"),
        ("signet", sealed.read_bytes()[:-9], "take another copy"),
        ("signet", b"", "take another copy"),
        ("signet", WORDS.encode(), "keys import"),
    ):
        copy = tmp_path / "copy"
        copy.write_bytes(data)
        with keys(tmp_path / "new", "restore", str(copy), network=network) as terminal:
            assert terminal.end() == 1
        assert sentence in terminal.seen and not (tmp_path / "new" / "signer" / "seed").exists()


def test_a_plain_seed_of_an_older_version_is_encrypted(tmp_path: Path, seed: Path) -> None:
    store_plain(seed, ENTROPY)
    with Terminal(environment(tmp_path, NETWORK="signet"), "signer") as terminal:
        assert terminal.end() == 1
    assert "crowdfund keys encrypt" in terminal.seen
    with keys(tmp_path, "encrypt") as terminal:
        terminal.answer("New passphrase for the seed: ", SECRET)
        terminal.answer("The same once more: ", SECRET)
        assert terminal.end() == 0
    assert "Copies made before are not" in terminal.seen
    assert open_seed(seed, "signet", lambda: Passphrase(SECRET)) == ENTROPY
    assert sorted(p.name for p in seed.parent.iterdir()) == ["lock", "seed"], "no draft is left behind"
    with keys(tmp_path, "encrypt") as terminal:
        assert terminal.end() == 1
    assert "encrypted already" in terminal.seen


def test_a_passphrase_is_changed_and_the_seed_is_not(tmp_path: Path, sealed: Path) -> None:
    old = sealed.read_bytes()
    with keys(tmp_path, "change-passphrase") as terminal:
        terminal.answer("Passphrase of the seed: ", OTHER)
        assert terminal.end() == 1
    assert sealed.read_bytes() == old
    with keys(tmp_path, "change-passphrase") as terminal:
        terminal.answer("Passphrase of the seed: ", SECRET)
        terminal.answer("New passphrase for the seed: ", OTHER)
        terminal.answer("The same once more: ", OTHER)
        assert terminal.end() == 0
    assert open_seed(sealed, "signet", lambda: Passphrase(OTHER)) == ENTROPY
    assert SealedSeed.from_bytes(sealed.read_bytes()).cost == COST


@pytest.mark.parametrize("network", ["signet", "testnet4", "mainnet"])
def test_plain_words_are_for_regtest_only(tmp_path: Path, seed: Path, network: str) -> None:
    for command in ("create", "import"):
        answer = script(tmp_path, command, "--plain", typed=WORDS, network=network)
        assert answer.returncode == 1 and "--plain is for regtest only" in answer.stderr
    answer = script(tmp_path, "create", network=network)
    assert answer.returncode == 1 and "on a terminal only" in answer.stderr
    assert not seed.exists()


def test_a_folder_that_cannot_be_written_is_known_before_any_word(tmp_path: Path) -> None:
    (tmp_path / "signer").write_text("no folder")
    with keys(tmp_path, "create") as terminal:
        assert terminal.end() == 1
    assert "cannot be made" in terminal.seen and "Write these words" not in terminal.seen


@pytest.mark.parametrize("network", ["signet", "regtest"])
def test_words_are_not_shown_to_a_file(tmp_path: Path, seed: Path, network: str) -> None:
    """A terminal to type at, but the output goes elsewhere."""
    out = tmp_path / "out"
    with Terminal(environment(tmp_path, NETWORK=network), "keys", "create", output=out) as terminal:
        assert terminal.end() == 1
    assert "do not redirect it" in terminal.seen
    assert out.read_text() == "" and not seed.exists()


def test_scripts_on_regtest(tmp_path: Path) -> None:
    """What operator.md tells scripts: --plain, or a passphrase file; words at the standard input."""
    answer = script(tmp_path / "a", "create", "--plain")
    assert answer.returncode == 0 and "for regtest only" in answer.stdout
    assert len((tmp_path / "a" / "signer" / "seed").read_text().split()) == 24
    answer = script(tmp_path / "b", "import", "--plain", typed=WORDS)
    assert answer.returncode == 0 and (tmp_path / "b" / "signer" / "seed").read_text().strip() == WORDS
    answer = script(tmp_path / "c", "create")
    assert answer.returncode == 1 and "--plain" in answer.stderr

    place = tmp_path / "passphrase"
    place.write_text(SECRET)
    place.chmod(0o644)
    refused = script(tmp_path / "c", "import", typed=WORDS, SIGNER_PASSPHRASE_FILE=str(place))
    assert refused.returncode == 1 and "chmod 600" in refused.stderr
    place.chmod(0o600)
    answer = script(tmp_path / "c", "import", typed=WORDS, SIGNER_PASSPHRASE_FILE=str(place))
    assert answer.returncode == 0, answer.stderr
    seed = tmp_path / "c" / "signer" / "seed"
    assert json.loads(seed.read_text())["network"] == "regtest"
    assert open_seed(seed, "regtest", lambda: Passphrase(SECRET)) == ENTROPY
    for told in (answer, refused):
        assert not {SECRET, WORDS} & {told.stdout, told.stderr} and WORDS.split()[0] not in told.stdout + told.stderr


def test_a_backup_without_a_terminal(tmp_path: Path, sealed: Path) -> None:
    place = tmp_path / "passphrase"
    place.write_text(SECRET)
    place.chmod(0o600)
    answer = script(tmp_path, "backup", str(tmp_path / "copy"), network="signet", SIGNER_PASSPHRASE_FILE=str(place))
    assert answer.returncode == 0, answer.stderr
    copy = SealedSeed.from_bytes((tmp_path / "copy").read_bytes())
    assert copy.unseal(Passphrase(SECRET)) == ENTROPY
    answer = script(tmp_path, "backup", str(tmp_path / "no" / "stick"), network="signet")
    assert answer.returncode == 1 and "no terminal" in answer.stderr


def test_a_missing_seed_is_named(tmp_path: Path) -> None:
    for command in (("backup", "x"), ("encrypt",), ("change-passphrase",)):
        answer = script(tmp_path, *command, network="signet")
        assert answer.returncode == 1 and "keys create" in answer.stderr, command


def test_a_plain_regtest_seed_gets_an_encrypted_backup(tmp_path: Path, seed: Path) -> None:
    create_seed(seed)
    with keys(tmp_path, "backup", str(tmp_path / "copy"), network="regtest") as terminal:
        terminal.answer("New passphrase for the backup: ", SECRET)
        terminal.answer("The same once more: ", SECRET)
        assert terminal.end() == 0
    copy = SealedSeed.from_bytes((tmp_path / "copy").read_bytes())
    assert words_of(copy.unseal(Passphrase(SECRET))) == seed.read_text().strip()
