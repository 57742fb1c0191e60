"""`crowdfund keys`: make, import, check, back up and restore the seed. Reads the settings, asks, calls, prints.

May not: keep a secret in a global, print one outside the private screen, or take one as an argument. What opens a
seed is loaded when a command runs, because the web process loads this module too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crowdfund.config import Settings
from crowdfund.errors import UserError

if TYPE_CHECKING:
    from crowdfund.wallet.passphrase import Passphrase
    from crowdfund.wallet.seed_file import SealedSeed

SHOWN_ACCOUNTS = 3

_plain = click.option("--plain", is_flag=True, help="Store the words as they are, without a question (regtest only).")
_path = click.argument("path", type=click.Path(dir_okay=False, path_type=Path))


@click.group()
def keys() -> None:
    """The seed. Its words and its passphrase are asked for on the terminal, never taken as arguments."""
    from crowdfund.wallet.shield import keep_memory_private

    keep_memory_private()


@keys.command("create")
@_plain
def create(plain: bool) -> None:
    """Make a new seed of 24 words. An existing one is never overwritten.

    The words are shown once, some are asked back, and only then the encrypted seed is written.
    On regtest a script needs no terminal: use --plain, or name a passphrase file in the settings.
    """
    from crowdfund.cli_ceremony import ask_back, private_screen, require_terminal, show_words
    from crowdfund.wallet.words import new_entropy, words_of

    settings = _ready_for_new(plain)
    entropy = new_entropy()
    if not plain and not _is_script(settings):
        require_terminal()
        with private_screen():
            show_words(words_of(entropy))
            ask_back(words_of(entropy))
    _store(settings, entropy, plain)


@keys.command("import")
@_plain
def import_(plain: bool) -> None:
    """Type the words of a seed that exists on paper. On regtest a script may send them to the standard input."""
    from crowdfund.cli_ceremony import ask_words, private_screen, require_terminal
    from crowdfund.wallet.words import entropy_of

    settings = _ready_for_new(plain)
    if _is_script(settings):
        entropy = entropy_of(sys.stdin.read(1000))
    else:
        require_terminal()
        with private_screen():
            entropy = ask_words()
    _store(settings, entropy, plain)


@keys.command("verify")
def verify() -> None:
    """Type the words on your paper and learn whether they are those of the stored seed: yes or no."""
    import hmac

    from crowdfund.cli_ceremony import ask_words, private_screen, require_terminal

    require_terminal()
    _, entropy = _opened()
    with private_screen():
        same = hmac.compare_digest(ask_words(), entropy)
    click.echo("Yes, these are the words of the seed." if same else "No, these are not the words of the seed.")
    raise SystemExit(0 if same else 1)


@keys.command("backup")
@_path
@click.option("--new-passphrase", is_flag=True, help="Ask for another passphrase for the copy.")
def backup(path: Path, new_passphrase: bool) -> None:
    """Write an encrypted copy of the seed to PATH, which must not exist."""
    from crowdfund.wallet.keystore import open_seed, sealed_seed
    from crowdfund.wallet.passphrase import ask_new, unlock
    from crowdfund.wallet.seed_file import SealedSeed
    from crowdfund.wallet.whole_file import write_new

    settings = Settings.from_env()
    passphrase = unlock(settings) if isinstance(_stored(settings), SealedSeed) else None
    entropy = open_seed(_seed_file(settings), settings.network, lambda: _given(passphrase))
    if path.exists():
        raise UserError(f"There is a file in {path} already; it is never overwritten.")
    if new_passphrase or passphrase is None:
        passphrase = ask_new("the backup")
    copy = sealed_seed(entropy, passphrase, settings.network)
    write_new(path, copy.to_bytes(), "a file")
    click.echo(f"A backup of seed {copy.fingerprint} ({copy.network}) is in {path}. Keep its passphrase elsewhere.")


@keys.command("restore")
@_path
def restore(path: Path) -> None:
    """Put the backup in PATH back. Refused where there is a seed."""
    from crowdfund.wallet.keystore import Keystore, check_network, unsealed
    from crowdfund.wallet.passphrase import ask, on_terminal, unlock
    from crowdfund.wallet.whole_file import write_new
    from crowdfund.wallet.words import words_of

    settings = _ready_for_new(plain=False)
    sealed = _read_backup(path)
    check_network(sealed, settings.network)
    entropy = unsealed(sealed, settings.network, ask("Passphrase of the backup") if on_terminal() else unlock(settings))
    store = Keystore(words_of(entropy), settings.network)
    write_new(_seed_file(settings), sealed.to_bytes(), "a seed")
    click.echo(f"Seed {sealed.fingerprint} ({sealed.network}) is back; its passphrase is the backup's. Its accounts:")
    for index in range(SHOWN_ACCOUNTS):
        click.echo(f"  {index}  {store.account_xpub(index)}")
    click.echo("Compare them with `crowdfund keys show-xpub` of before, or with a descriptor of your campaigns.")


@keys.command("encrypt")
def encrypt() -> None:
    """Encrypt a seed that an older version stored as plain words."""
    from crowdfund.wallet.keystore import sealed_seed
    from crowdfund.wallet.seed_file import SealedSeed
    from crowdfund.wallet.whole_file import replace

    settings = Settings.from_env()
    entropy = _stored(settings)
    if isinstance(entropy, SealedSeed):
        raise UserError("The seed is encrypted already; `crowdfund keys change-passphrase` gives it another one.")
    sealed = sealed_seed(entropy, _new_passphrase(settings), settings.network)
    replace(_seed_file(settings), sealed.to_bytes())
    click.echo(f"Seed {sealed.fingerprint} is encrypted now. Copies made before are not: find them and destroy them.")


@keys.command("change-passphrase")
def change_passphrase() -> None:
    """Give the stored seed another passphrase. Backups keep theirs."""
    from crowdfund.wallet.keystore import sealed_seed
    from crowdfund.wallet.passphrase import ask_new
    from crowdfund.wallet.seed_file import SealedSeed
    from crowdfund.wallet.whole_file import replace

    settings = Settings.from_env()
    if not isinstance(_stored(settings), SealedSeed):
        raise UserError("The seed is not encrypted; run `crowdfund keys encrypt`.")
    _, entropy = _opened()
    sealed = sealed_seed(entropy, ask_new("the seed"), settings.network)
    replace(_seed_file(settings), sealed.to_bytes())
    click.echo("The seed has its new passphrase. Older copies still open with the old one.")
    if settings.signer_passphrase_file is not None:
        click.echo(f"Write it into {settings.signer_passphrase_file} before the signer starts again.")


@keys.command("show-xpub")
@click.argument("account", type=click.IntRange(0, 2**31 - 1))
def show_xpub(account: int) -> None:
    """Print the public key of ACCOUNT, from the running signer."""
    from crowdfund.wallet.signer_client import SignerClient

    offered = SignerClient(Settings.from_env().signer_socket).accounts(account, 1)[0]
    click.echo(offered.xpub)


def _seed_file(settings: Settings) -> Path:
    from crowdfund.processes import seed_file

    return seed_file(settings)


def _stored(settings: Settings) -> SealedSeed | bytes:
    from crowdfund.wallet.keystore import read_seed

    return read_seed(_seed_file(settings))


def _opened() -> tuple[Settings, bytes]:
    """The settings, and the entropy of the stored seed."""
    from crowdfund.wallet.keystore import open_seed
    from crowdfund.wallet.passphrase import unlock

    settings = Settings.from_env()
    return settings, open_seed(_seed_file(settings), settings.network, lambda: unlock(settings))


def _given(passphrase: Passphrase | None) -> Passphrase:
    if passphrase is None:
        raise UserError("The seed was changed meanwhile; start again.")
    return passphrase


def _ready_for_new(plain: bool) -> Settings:
    """The settings. Raises UserError where a seed is there already, or --plain is asked for outside regtest.

    All that can be known to fail fails here, before words are shown.
    """
    from crowdfund.wallet.keystore import PLAIN_NETWORK, make_folder

    settings = Settings.from_env()
    if plain and settings.network != PLAIN_NETWORK:
        raise UserError(f"--plain is for regtest only; on {settings.network} the seed is always encrypted.")
    if _seed_file(settings).exists():
        raise UserError(f"There is a seed in {_seed_file(settings)} already; it is never overwritten.")
    make_folder(_seed_file(settings))
    return settings


def _is_script(settings: Settings) -> bool:
    """Whether nobody is asked: without a terminal, on regtest. Elsewhere a person must be there."""
    from crowdfund.wallet.keystore import PLAIN_NETWORK
    from crowdfund.wallet.passphrase import on_terminal

    return settings.network == PLAIN_NETWORK and not on_terminal()


def _store(settings: Settings, entropy: bytes, plain: bool) -> None:
    from crowdfund.wallet.keystore import sealed_seed, store_plain
    from crowdfund.wallet.whole_file import write_new

    path = _seed_file(settings)
    if plain:
        store_plain(path, entropy)
        click.echo(f"A seed is in {path}, as plain words: for regtest only.")
        return
    sealed = sealed_seed(entropy, _new_passphrase(settings), settings.network)
    write_new(path, sealed.to_bytes(), "a seed")
    click.echo(f"Seed {sealed.fingerprint} ({sealed.network}) is in {path}, encrypted.")
    click.echo("Now make a copy for another place: crowdfund keys backup PATH")


def _new_passphrase(settings: Settings) -> Passphrase:
    """The one that the signer will be given, where a file or credential has it; else it is asked for, twice."""
    from crowdfund.wallet.passphrase import ask_new, on_terminal, stored

    found = stored(settings)
    if found is not None:
        found.check_strength()
        click.echo("The passphrase is the one in the signer's file or credential.")
        return found
    if not on_terminal():
        raise UserError(
            "There is no terminal to ask for a passphrase: run this by hand. "
            "Scripts on regtest use --plain, or name a file in CROWDFUND_SIGNER_PASSPHRASE_FILE."
        )
    return ask_new("the seed")


def _read_backup(path: Path) -> SealedSeed:
    from crowdfund.wallet.keystore import is_plain
    from crowdfund.wallet.seed_file import MAX_BYTES, Damaged, SealedSeed

    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    if is_plain(data):
        raise UserError(f"{path} is no encrypted backup; type its words with `crowdfund keys import`.")
    try:
        return SealedSeed.from_bytes(data)
    except Damaged:
        raise UserError(f"{path} is damaged or was changed; take another copy of the seed.") from None
