"""Faults on purpose: what the stories about settlements must find, each within so many steps.

Each puts one mistake into the product that people have made elsewhere, or might.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from crowdfund.campaigns import attempts, endings, ladder, lifecycle, queries, recording, settlement, settling, tip
from crowdfund.campaigns.lifecycle import Standing
from crowdfund.campaigns.models import Coin
from crowdfund.paying import Payer
from crowdfund.wallet import fees, policy
from crowdfund.wallet.signer_log import SignerLog

Patch = pytest.MonkeyPatch


def _sends_before_it_notes(patch: Patch) -> None:
    """The bytes go out, and only then is it written down that they did."""
    send = Payer._send

    def hasty(self: Any, job: Any, raw: bytes, *rest: Any) -> Any:
        if not job.sent:
            self.backend.broadcast(raw)
        return send(self, job, raw, *rest)

    patch.setattr(Payer, "_send", hasty)


def _forgets_what_was_signed(patch: Patch) -> None:
    """The signed bytes are never stored."""
    patch.setattr(attempts, "store_signed", lambda *_: None)


def _pays_the_wrong_backer(patch: Patch) -> None:
    """Two pledges' refund addresses change places."""
    plan = settlement.plan_refunds

    def crossed(coins: Sequence[Any], *rest: Any) -> Any:
        scripts = sorted({coin.refund_script for coin in coins})
        moved = dict(zip(scripts, scripts[1:] + scripts[:1], strict=True))
        return plan([_with(coin, refund_script=moved[coin.refund_script]) for coin in coins], *rest)

    patch.setattr(settling, "plan_refunds", crossed)


def _decides_a_block_early(patch: Patch) -> None:
    """The block before the closing block is taken for it."""
    right = tip.closing_block

    def hasty(session: Any, deadline: Any) -> Any:
        found = right(session, deadline)
        return found and session.get_one(type(found), found.height - 1)

    patch.setattr(endings, "closing_block", hasty)


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
    jobs, job = attempts.open_batches, attempts.job
    patch.setattr(attempts, "open_batches", lambda session: [b for b in jobs(session) if not job(session, b).sent])


def _lets_one_pay_for_all(patch: Patch) -> None:
    """The first pledge bears the fee of the second one, too."""
    share = fees.largest_remainder

    def unfair(total: int, weights: Sequence[int]) -> list[int]:
        parts = share(total, weights)
        return [parts[0] + parts[1], 0, *parts[2:]] if len(parts) > 1 else parts

    patch.setattr(settlement, "largest_remainder", unfair)


def _signs_both_kinds(patch: Patch) -> None:
    """The signer forgets of what kind an outpoint's settlement was, and takes the worker's word for how a campaign has
    ended: each of the two keeps it from signing both."""
    patch.setattr(SignerLog, "kind", lambda *_: None)
    patch.setattr(policy, "check_outcome", lambda *_: None)


def _forgets_with_the_power(patch: Patch) -> None:
    """The signer's log is kept in memory only."""
    patch.setattr(SignerLog, "_write", lambda *_: None)


def _plans_again(patch: Patch) -> None:
    """A coin that no block spends is planned anew, whatever was planned before."""
    patch.setattr(settling, "_is_spendable", lambda _coin, _confirmations, _tip_height: True)


def _takes_gone_for_paid(patch: Patch) -> None:
    """A transaction whose inputs the node misses is thought to be in a block."""
    jobs, job = attempts.open_batches, attempts.job
    patch.setattr(attempts, "open_batches", lambda session: [b for b in jobs(session) if not job(session, b).refusal])


def _keeps_lost_blocks(patch: Patch) -> None:
    """What a lost block held stays confirmed."""
    roll_back = recording._roll_back

    def stubborn(session: Any, fork_height: int, now: Any) -> None:
        held = [(coin, coin.height, coin.block_hash) for coin in session.query(Coin)]
        roll_back(session, fork_height, now)
        for coin, height, block_hash in held:
            if height is not None and height > fork_height:
                coin.height, coin.block_hash = height, block_hash

    patch.setattr(recording, "_roll_back", stubborn)


def _climbs_without_end(patch: Patch) -> None:
    """The caps of fees are forgotten, by planner and signer alike."""
    patch.setattr(settlement.FeeCaps, "allow", lambda *_: True)
    patch.setattr(ladder.next_attempt, "__defaults__", (settlement.FeeCaps(feerate_sat_vb=5_000),))
    patch.setattr(policy, "MAX_FEERATE_SAT_VB", 5_000)
    patch.setattr(policy, "MAX_REFUND_FEE_PERCENT", 100)
    patch.setattr(policy, "MAX_RELEASE_FEE_PERCENT", 100)


def _leaves_a_part_out(patch: Patch) -> None:
    """Of a batch that is split, only the first half is kept, and nobody looks for what is in no part."""
    halves = ladder._halves
    patch.setattr(attempts, "stray_coins", lambda _: {})
    patch.setattr(ladder, "_halves", lambda whole: halves(whole)[:1])


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
    _plans_again,
    _climbs_without_end,
    _leaves_a_part_out,
    _takes_gone_for_paid,
    _keeps_lost_blocks,
)
