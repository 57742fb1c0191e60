"""The passphrase of the seed: what it must be like, and the three places it may come from.

A file that is nobody else's, a systemd credential, or a prompt on a terminal. Never the value of an environment
variable and never an argument: other programs can read those. Its text is never part of a repr or of a sentence.
"""

from __future__ import annotations

import getpass
import hmac
import os
import stat
import sys
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from crowdfund.config import Settings
from crowdfund.errors import UserError, WorldError

MIN_LETTERS = 12
MIN_DIFFERENT = 6
MAX_BYTES = 1024


class Passphrase:
    """A passphrase, normalised (NFKC) so that every keyboard types the same one."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        try:
            unicodedata.normalize("NFKC", text).encode()
        except UnicodeError:  # half a letter, from a terminal with another encoding; the error holds the text
            raise UserError("The passphrase is not UTF-8 text; check the encoding of the terminal.") from None
        self._text = unicodedata.normalize("NFKC", text)
        if not self._text or len(self.reveal()) > MAX_BYTES or any(map(_is_control, self._text)):
            raise UserError(f"A passphrase has between 1 and {MAX_BYTES} bytes, and no line breaks.")

    def __repr__(self) -> str:
        return "Passphrase(…)"

    def reveal(self) -> bytes:
        """The bytes that the key is made from."""
        return self._text.encode()

    def equals(self, other: Passphrase) -> bool:
        """Whether both are the same, in a time that does not depend on them."""
        return hmac.compare_digest(self.reveal(), other.reveal())

    def check_strength(self) -> None:
        """Raises UserError where a new passphrase would be guessed too easily."""
        if len(self._text) < MIN_LETTERS or len(set(self._text)) < MIN_DIFFERENT:
            raise UserError(
                f"Take a passphrase of at least {MIN_LETTERS} letters, {MIN_DIFFERENT} of them different: "
                "best are six words drawn by dice."
            )


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) == "Cc"


def stored(settings: Settings, env: Mapping[str, str] | None = None) -> Passphrase | None:
    """The passphrase from the file or the systemd credential; None where there is neither.

    Raises WorldError if the file cannot be read or others can read it.
    """
    if settings.signer_passphrase_file is not None:
        return _read(settings.signer_passphrase_file, 0o077, "CROWDFUND_SIGNER_PASSPHRASE_FILE")
    return _from_systemd(settings.signer_credential, env)


def from_file_or_credential(path: Path | None, credential: str) -> Passphrase | None:
    """The same for other passphrases: from the file, where one is named, else from the systemd credential."""
    return _from_systemd(credential, None) if path is None else _read(path, 0o077, "the passphrase file")


def _from_systemd(name: str, env: Mapping[str, str] | None) -> Passphrase | None:
    folder = (os.environ if env is None else env).get("CREDENTIALS_DIRECTORY")
    credential = Path(folder) / name if folder else None
    if credential is None or not credential.exists():
        return None
    # Group bits are no leak here: systemd gives a service its file by an access list, and they show that list's mask.
    return _read(credential, 0o007, "the systemd credential")


def _read(path: Path, others: int, what: str) -> Passphrase:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise WorldError(f"{path} ({what}) is not a file.", retryable=False)
            if status.st_mode & others:
                raise WorldError(f"{path} ({what}) is readable by others; run chmod 600 on it.", retryable=False)
            data = file.read(MAX_BYTES + 3)
    except OSError as error:
        raise WorldError(f"{path} ({what}) cannot be read: {error.strerror}.", retryable=False) from error
    try:
        return Passphrase(data.decode().removesuffix("\n").removesuffix("\r"))
    except (UserError, UnicodeError):
        raise WorldError(
            f"{path} ({what}) must hold the passphrase in one line of UTF-8 text.", retryable=False
        ) from None


def on_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def ask(prompt: str) -> Passphrase:
    """Ask on the terminal, without showing what is typed. Raises UserError where there is no terminal."""
    if not on_terminal():
        raise UserError("There is no terminal to ask for a passphrase.")
    try:
        return Passphrase(getpass.getpass(f"{prompt}: "))
    except (EOFError, UnicodeError):
        raise UserError("No passphrase was given.") from None


def ask_new(what: str) -> Passphrase:
    """Ask twice for a new, strong passphrase. Raises UserError where it is weak, or the two differ."""
    passphrase = ask(f"New passphrase for {what}")
    passphrase.check_strength()
    if not passphrase.equals(ask("The same once more")):
        raise UserError("The two passphrases differ, so nothing was written; start again.")
    return passphrase


def unlock(settings: Settings) -> Passphrase:
    """The passphrase of the stored seed, from wherever it is to be had. Raises UserError where it is nowhere."""
    found = stored(settings)
    if found is None and not on_terminal():
        raise UserError(
            "The seed is encrypted and there is no terminal to ask for its passphrase: give the systemd credential "
            f"{settings.signer_credential}, or name a file in CROWDFUND_SIGNER_PASSPHRASE_FILE."
        )
    return found if found is not None else ask("Passphrase of the seed")
