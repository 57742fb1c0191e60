"""Cases by turns: where two things hardly touch each other, the normal run pairs them up, and the long run plays each
with each."""

from __future__ import annotations

import pytest


def long_unless(quick: bool) -> tuple[pytest.MarkDecorator, ...]:
    """The mark of a case that only the long run plays."""
    return () if quick else (pytest.mark.long,)
