"""What is said and asked at a terminal when words of a seed are shown or typed. Keeps nothing, writes no file.

Words appear on the terminal's second screen only, which is cleared: they stay in no scroll-back.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from crowdfund.errors import UserError
from crowdfund.wallet.words import LENGTHS, entropy_of, is_word, nearest_word

COLUMNS = 4
ASKED_BACK = 4
TRIES = 3

_SECOND_SCREEN = "\x1b[?1049h\x1b[2J\x1b[H"
_CLEARED = "\x1b[2J\x1b[3J\x1b[H\x1b[?1049l"


def require_terminal() -> None:
    """Raises UserError where words would be shown to, or asked of, something else than a person."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("Words are shown and typed on a terminal only; run this by hand, and do not redirect it.")


@contextmanager
def private_screen() -> Iterator[None]:
    """Everything printed inside is gone afterwards, however it ends."""
    click.echo(_SECOND_SCREEN, nl=False)
    try:
        yield
    finally:
        click.echo(_CLEARED, nl=False)


def show_words(words: str) -> None:
    """Show the words, numbered, until Enter is pressed."""
    numbered = [f"{number:2}. {word:<10}" for number, word in enumerate(words.split(), 1)]
    click.echo("Write these words on paper, in this order. They are shown this once.")
    click.echo("Whoever has them has the money; without them and without a backup it is lost.\n")
    rows = -(-len(numbered) // COLUMNS)
    for row in range(rows):
        click.echo("  " + "  ".join(numbered[row::rows]))
    click.prompt("\nPress Enter when they are on paper", default="", show_default=False, prompt_suffix=" ")
    click.echo(_SECOND_SCREEN, nl=False)


def ask_back(words: str) -> None:
    """Ask for some of the words, at positions drawn by lot. Raises UserError after three wrong answers to one."""
    given = words.split()
    for index in sorted(secrets.SystemRandom().sample(range(len(given)), ASKED_BACK)):
        for left in reversed(range(TRIES)):
            typed = click.prompt(f"Word {index + 1} of your paper", default="", show_default=False)
            if secrets.compare_digest(typed.strip().lower().encode(), given[index].encode()):
                break
            click.echo("That is not the word." + (" Look again." if left else ""))
        else:
            raise UserError("Your paper and these words differ, so nothing was written; start again with new words.")


def ask_words() -> bytes:
    """Have the words of a seed typed, one or several in a line. Returns their entropy.

    Raises UserError where the checksum does not fit.
    """
    count = click.prompt("How many words", type=click.Choice([str(n) for n in LENGTHS]), default="24")
    taken: list[str] = []
    while len(taken) < int(count):
        line = click.prompt(f"Word {len(taken) + 1}", default="", show_default=False).lower().split()
        for word in line:
            if not is_word(word):
                click.echo(_help(word))
                break
            taken.append(word)
    return entropy_of(" ".join(taken))


def _help(typed: str) -> str:
    near = nearest_word(typed)
    return f"“{typed}” is not in the list" + (f"; did you mean “{near}”?" if near else ". Look again.")
