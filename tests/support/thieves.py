"""Whoever has taken over the worker, and asks the signer for what nobody should ever get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from support.payjudge import Judge, Mined
from support.simchain import NOBODY

Message = dict[str, Any]
LOOT = NOBODY.hex()


def thefts(judge: Judge, coin: Mined, others: Sequence[Mined]) -> dict[str, Message]:
    """Requests by name; each must be refused. `others` are coins of the same campaign."""
    given, terms = coin.given, judge.terms[coin.given.campaign]
    text, account = judge.shelf.account(given.campaign)
    mine, payout, index = given.refund_script.hex(), terms.payout_script.hex(), given.index
    spent = [[*coin.outpoint, coin.sats, index]]
    rest = coin.sats - 300
    height = min(judge.chain.tip.height, terms.timelock_height - 1)  # a right one: it is not to be what is refused

    def ask(kind: str, outputs: list[list[Any]], inputs: list[list[Any]] = spent) -> Message:
        return {"op": "sign", "terms": text, "account": account, "kind": kind, "locktime": height,
                "inputs": inputs, "outputs": outputs}  # fmt: skip

    found = {
        "a release to somebody else": ask("release", [[LOOT, rest, None]]),
        "a release and something for me": ask("release", [[payout, rest - 400, None], [LOOT, 400, None]]),
        "a refund to somebody else": ask("refund", [[LOOT, rest, index]]),
        "a refund to the payout": ask("refund", [[payout, rest, index]]),
        "a refund to nobody's pledge": ask("refund", [[mine, rest, None]]),
        "a refund of a pledge that is none": ask("refund", [[LOOT, rest, 999]], [[*coin.outpoint, coin.sats, 999]]),
        "more than was paid": ask("refund", [[mine, coin.sats + 1, index]]),
        "twice in one": ask("refund", [[mine, rest, index]], spent * 2),
        "a gift": ask("gift", [[mine, rest, index]]),
        "no fee": ask("refund", [[mine, coin.sats, index]]),
        "another amount by a lie": ask("refund", [[mine, rest, index]], [[*coin.outpoint, 2**60, index]]),
        "an order that is none": {"op": "export", "account": account},
        "half an order": {"op": "sign", "terms": text},
    }
    if coin.sats > 100_000:
        found["all for the miners"] = ask("refund", [[mine, 600, index]])
    other = next((c for c in others if c.given != given), None)
    if other is not None:
        both = [*spent, [*other.outpoint, other.sats, other.given.index]]
        found["one pledge for the other"] = ask("refund", [[mine, coin.sats + other.sats - 400, index]], both)
    decision = judge.decided.get(given.campaign)
    if decision is not None and (decision.outcome == "failed" or coin.outpoint not in judge.counted[given.campaign]):
        found["a release of what does not count"] = ask("release", [[payout, rest, None]])
    kind = judge.kinds.get(coin.outpoint)
    if kind == "refund":
        found["a release after the refund"] = ask("release", [[payout, rest, None]])
    if kind == "release":
        found["a refund after the release"] = ask("refund", [[mine, rest, index]])
    if kind is not None:
        out = [payout, rest, None] if kind == "release" else [mine, rest, index]
        found["another amount afterwards"] = ask(kind, [out], [[*coin.outpoint, coin.sats + 7, index]])
    if judge.shelf.is_registered(given.script):
        found["another refund address"] = {
            "op": "register", "terms": text, "account": account, "refunds": {str(index): LOOT}
        }  # fmt: skip
    return found
