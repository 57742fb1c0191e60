"""The two kinds of failure a caller may expect; anything else is a bug and crashes.

A `UserError` is something a person can mend, said in one sentence. A `WorldError` comes from outside the
program (a node, a disk, a network) and says whether trying again later can help.
"""

from __future__ import annotations

from crowdfund.sentences import N_, Sentence, counted


class UserError(Exception):
    """A person's input cannot be accepted. `field` names the form field it belongs to, where there is one."""

    def __init__(self, sentence: str, field: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.field = field


class NotFound(UserError):
    """What was asked for does not exist, or the asker may not know that it does."""


class WorldError(Exception):
    """Something outside the program failed. `retryable` is True where the same call may work later."""

    def __init__(self, sentence: str, *, retryable: bool = True) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.retryable = retryable


class Problems(UserError):
    """Several inputs at once cannot be accepted: a sentence for each field."""

    def __init__(self, by_field: dict[str, str]) -> None:
        super().__init__(" ".join(by_field.values()))
        self.by_field = by_field


class TooMany(UserError):
    """The same was tried too often. `retry_after_s` says when it may be tried again. `sentence` is for where there is
    more to say than to wait; `{wait}` in it becomes the time."""

    def __init__(self, retry_after_s: int, sentence: str = "", field: str | None = None) -> None:
        minutes = -(-retry_after_s // 60)
        hours = Sentence("{hours} hours", hours=-(-minutes // 60))
        wait = hours if minutes > 99 else counted("a minute", "{count} minutes", minutes)
        sentence = sentence or N_("That was tried too often. Please wait {wait} and try again; nothing is lost.")
        super().__init__(Sentence(sentence, wait=wait), field)
        self.retry_after_s = retry_after_s
