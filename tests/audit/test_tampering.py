"""Every single change to a good bundle is found, over its whole JSON tree; and nothing in it makes the audit crash."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from audit.auditing import Bundle, RememberingNode, bundle_of
from crowdfund.audit.form import MAX_ISSUED
from crowdfund.audit.verify import verify
from support.world import World

Path = tuple[str | int, ...]
Change = tuple[Path, str, Bundle]

LETTERS = "0123456789abcdefABCDEFghijklmnopqrstuvwxyz"
NAMES = (
    ("funded", "failed", None),
    ("release", "refund"),
    ("regtest", "signet", "testnet4", "mainnet"),
    ("counted", "late", "dust", "in_settlement", "paid_out", "refunded", "unclaimed", "foreign_spend"),
)
NUMBERS = (0, -1, 7, 2**31, 2**63, 2**400, 1.5, float("nan"))
STRANGE: tuple[Any, ...] = (*NUMBERS, None, True, False, "", "x", "\ud800", "0" * 64, [], {}, [[]])


def _is_invisible(path: Path, bundle: Bundle, told: Any) -> bool:
    """What no auditor can see: addresses given out and never paid leave no trace on the chain.

    `issued` serves to recognise coins at addresses not given out. Making it larger hides no coin, as coins are
    searched far beyond it; making it smaller than what was paid is found.
    """
    return path == ("issued",) and type(told["issued"]) is int and bundle["issued"] < told["issued"] <= MAX_ISSUED


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, value
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, (*path, key))


def _with(bundle: Bundle, path: Path, value: Any) -> Any:
    told = copy.deepcopy(bundle)
    place: Any = told
    for key in path[:-1]:
        place = place[key]
    if not path:
        return value
    place[path[-1]] = value
    return told


def _other_values(value: Any) -> Iterator[tuple[str, Any]]:
    """What somebody could write instead of `value`, by a small step or a bold one."""
    if type(value) is int:
        yield from (("one more", value + 1), ("one less", value - 1))
    if isinstance(value, str):
        for place in {0, len(value) // 2, len(value) - 1} if value else ():
            other = LETTERS[(LETTERS.find(value[place]) + 1) % (16 if len(value) in (44, 64) else len(LETTERS))]
            yield f"letter {place}", value[:place] + other + value[place + 1 :]
        yield from (("one letter more", value + "0"), ("one letter less", value[:-1]))
    if isinstance(value, list):
        for n in range(len(value)):
            yield f"without {n}", value[:n] + value[n + 1 :]
            yield f"{n} twice", [*value[: n + 1], *value[n:]]
        yield "backwards", value[::-1]
    if isinstance(value, dict):
        for key in value:
            yield f"without {key}", {k: v for k, v in value.items() if k != key}
        yield "more", {**value, "more": 1}
    for names in NAMES:
        if value in names:
            yield from ((f"name {name}", name) for name in names)
    yield from (("strange", other) for other in STRANGE)


def _changes(bundle: Bundle) -> Iterator[Change]:
    for path, value in _leaves(bundle):
        for what, other in _other_values(value):
            if type(other) is not type(value) or other != value:
                yield path, what, _with(bundle, path, other)


def _assert_all_found(world: World, bundle: Bundle) -> None:
    tried, missed = 0, []
    with closing(RememberingNode(world)) as node:
        assert verify(bundle, node).ok
        for path, what, told in _changes(bundle):
            tried += 1
            if not verify(told, node).differs and not _is_invisible(path, bundle, told):
                missed.append((path, what))
    assert missed == []
    assert tried > 1_000


def test_every_change_to_an_open_campaign_is_found(world: World) -> None:
    campaign = world.campaign(goal_sats=5_000_000)
    for sats in (100_000, 100_000):
        world.paid(campaign, sats)
    world.node.rpc("generatetoaddress", 1, world.pledge(campaign, 20_000).address)
    world.sync()
    _assert_all_found(world, bundle_of(world, campaign))


def test_every_change_to_a_released_campaign_with_a_refund_under_way_is_found(world: World) -> None:
    campaign = world.campaign(goal_sats=200_000)
    world.paid(campaign, 100_000)
    world.paid(campaign, 100_000)
    late, later = (world.pledge(campaign, 30_000) for _ in range(2))
    world.close(campaign)
    for pledge in (late, later):
        world.node.pay(str(pledge.address), 30_000)
    world.node.mine()
    world.sync()
    bundle = bundle_of(world, campaign)
    assert {s["kind"]: s["height"] is None for s in bundle["settlements"]} == {"release": False, "refund": True}
    _assert_all_found(world, bundle)


def test_every_change_to_a_refunded_campaign_is_found(world: World) -> None:
    campaign = world.campaign(goal_sats=5_000_000)
    for sats in (100_000, 100_000):
        world.paid(campaign, sats)
    world.node.pay(str(world.pledge(campaign, 10_000).address), 900)
    world.close(campaign)
    world.node.mine()
    world.sync()
    bundle = bundle_of(world, campaign)
    assert bundle["outcome"] == "failed"
    _assert_all_found(world, bundle)
