"""Faults on purpose: what the stories about settlements must find, each within so many steps.

Each puts one mistake into the product that people have made elsewhere, or might.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from crowdfund.campaigns import lifecycle, queries, recording, settlement, settling
from crowdfund.campaigns.lifecycle import Standing
from crowdfund.wallet.signer_log import SignerLog
from crowdfund.worker import Worker

Patch = pytest.MonkeyPatch


def _sends_before_it_notes(patch: Patch) -> None:
    """The bytes go out, and only then is it written down that they did."""
    send = Worker._send

    def hasty(self: Any, job: Any, raw: bytes, *rest: Any) -> Any:
        if not job.sent:
            self.backend.broadcast(raw)
        return send(self, job, raw, *rest)

    patch.setattr(Worker, "_send", hasty)


def _forgets_what_was_signed(patch: Patch) -> None:
    """The signed bytes are never stored."""
    patch.setattr(settling, "store_signed", lambda *_: None)


def _pays_the_wrong_backer(patch: Patch) -> None:
    """Two pledges' refund addresses change places."""
    plan = settlement.plan_refunds

    def crossed(coins: Sequence[Any], *rest: Any) -> Any:
        scripts = sorted({coin.refund_script for coin in coins})
        moved = dict(zip(scripts, scripts[1:] + scripts[:1], strict=True))
        return plan([_with(coin, refund_script=moved[coin.refund_script]) for coin in coins], *rest)

    patch.setattr(settling, "plan_refunds", crossed)


def _decides_a_block_early(patch: Patch) -> None:
    """One confirmation less than the terms ask for."""
    for module in (settling, lifecycle):
        patch.setattr(module, "depth", lambda height, tip_height: max(0, tip_height - height + 2))


def _counts_what_came_late(patch: Patch) -> None:
    """Coins of the closing block and after it count, too."""
    right = lifecycle.standing

    def kind_hearted(*facts: Any) -> Standing:
        found = right(*facts)
        return Standing.COUNTED if found is Standing.LATE else found

    for module in (lifecycle, queries):
        patch.setattr(module, "standing", kind_hearted)


def _drops_an_attempt(patch: Patch) -> None:
    """What was sent once is not looked after any more."""
    jobs = settling.open_jobs
    patch.setattr(settling, "open_jobs", lambda session: [job for job in jobs(session) if not job.sent])


def _lets_one_pay_for_all(patch: Patch) -> None:
    """The first pledge bears the fee of the second one, too."""
    share = settlement.largest_remainder

    def unfair(total: int, weights: Sequence[int]) -> list[int]:
        parts = share(total, weights)
        return [parts[0] + parts[1], 0, *parts[2:]] if len(parts) > 1 else parts

    patch.setattr(settlement, "largest_remainder", unfair)


def _signs_both_kinds(patch: Patch) -> None:
    """The signer takes every settlement for the first one."""
    settle = SignerLog.settle

    def forgetful(self: Any, *what: Any) -> None:
        self._settled.clear()
        settle(self, *what)

    patch.setattr(SignerLog, "settle", forgetful)


def _forgets_with_the_power(patch: Patch) -> None:
    """The signer's log is kept in memory only."""
    patch.setattr(SignerLog, "_write", lambda *_: None)


def _plans_what_a_reorganisation_gave_back(patch: Patch) -> None:
    """A coin that no block spends any more is planned anew."""
    patch.setattr(settling, "_is_spendable", lambda _snapshot, coin: coin.height is not None and coin.spent_by is None)


def _takes_gone_for_paid(patch: Patch) -> None:
    """A transaction whose inputs the node misses is thought to be in a block."""
    jobs = settling.open_jobs
    patch.setattr(settling, "open_jobs", lambda session: [job for job in jobs(session) if not job.refusal])


def _keeps_lost_blocks(patch: Patch) -> None:
    """What a lost block held stays confirmed."""
    roll_back = recording._roll_back

    def stubborn(session: Any, fork_height: int, now: Any) -> None:
        held = [(coin, coin.height, coin.block_hash) for coin in session.query(recording.Coin) if coin.height]
        roll_back(session, fork_height, now)
        for coin, height, block_hash in held[:1]:
            coin.height, coin.block_hash = height, block_hash

    patch.setattr(recording, "_roll_back", stubborn)


def _with(coin: Any, **changes: Any) -> Any:
    return replace(coin, **changes)


QUICK: tuple[Callable[[Patch], None], ...] = (_sends_before_it_notes, _lets_one_pay_for_all)
SLOW: tuple[Callable[[Patch], None], ...] = (
    _forgets_what_was_signed,
    _pays_the_wrong_backer,
    _decides_a_block_early,
    _counts_what_came_late,
    _drops_an_attempt,
    _signs_both_kinds,
    _forgets_with_the_power,
    _plans_what_a_reorganisation_gave_back,
    _takes_gone_for_paid,
    _keeps_lost_blocks,
)
