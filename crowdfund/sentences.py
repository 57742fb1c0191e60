"""Sentences that are written in one language and may be shown in others.

Pure, and below everything: whoever has something to say writes it in English with named places in it. Where it reaches
a person, `crowdfund.web.i18n` looks up the sentence, not what it has become, and says it in their language.
"""

from __future__ import annotations

from typing import Any, Self


class Sentence(str):
    """English text that remembers how it was made: with `{names}` in it, and what stands there. What stands there may
    be a sentence itself. Whoever wants English takes it as the string that it is."""

    template: str
    plural: str
    number: int
    values: dict[str, Any]

    def __new__(cls, template: str, /, **values: Any) -> Self:
        made = super().__new__(cls, template.format(**values) if values else template)
        made.template, made.plural, made.number, made.values = template, "", 1, values
        return made


def counted(one: str, many: str, count: int) -> Sentence:
    """`one` or `many`, as English has it; `{count}` in them is the number."""
    made = Sentence(one if count == 1 else many, count=count)
    made.template, made.plural, made.number = one, many, count
    return made


def joined(*sentences: str) -> Sentence:
    """One sentence after the other."""
    named = {f"s{number}": each for number, each in enumerate(sentences)}
    return Sentence(" ".join(f"{{{name}}}" for name in named), **named)


def N_(text: str) -> str:
    """Marks a text that is to be translated where it is shown, and leaves it as it is."""
    return text
