"""Less work for the audit's tests: a smaller gap, so that a thousand addresses need not be derived each time."""

from __future__ import annotations

import pytest

from crowdfund.audit import chain_facts


@pytest.fixture(autouse=True)
def small_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search forty addresses beyond those given out."""
    monkeypatch.setattr(chain_facts, "GAP", 40)
