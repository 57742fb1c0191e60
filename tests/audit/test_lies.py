"""Lies that agree with themselves: every sum in the bundle fits, and only the chain or the rules give them away."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from audit.auditing import Bundle, audited, changed_terms, lie, of_another_network, same_account, with_terms, wrong
from crowdfund.audit.verify import verify
from crowdfund.audit.xpub import ALPHABET, FIELD
from support.node import new_address
from support.world import World


def _caught(world: World, told: Bundle, *sentences: str, offline: bool = False) -> None:
    """The lie is seen on the chain; without a chain it is seen only where a rule is broken."""
    assert verify(told, None).differs is offline
    report = verify(told, world.core)
    assert not report.ok
    for sentence in sentences:
        assert any(sentence in s for s in wrong(report)), wrong(report)


def _released(world: World) -> Bundle:
    campaign = world.campaign(goal_sats=200_000)
    world.paid(campaign, 100_000)
    world.paid(campaign, 150_000)
    late = world.pledge(campaign, 40_000)
    world.close(campaign)
    world.node.pay(str(late.address), 40_000)
    world.node.mine()
    world.sync()
    world.node.mine()
    world.sync()
    return audited(world, campaign)[0]


def _payload(xpub: str) -> bytes:
    number = 0
    for letter in xpub:
        number = number * 58 + ALPHABET.index(letter)
    return number.to_bytes(82, "big")[:78]


def _base58(payload: bytes) -> str:
    number = int.from_bytes(payload + sha256(sha256(payload).digest()).digest()[:4], "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    return text


def _on_curve(payload: bytes) -> bool:
    x = int.from_bytes(payload[46:], "big")
    return pow(x**3 + 7, (FIELD - 1) // 2, FIELD) == 1


def test_coins_hidden_invented_and_changed(world: World) -> None:
    campaign = world.campaign(goal_sats=5_000_000)
    for sats in (100_000, 200_000, 300_000):
        world.paid(campaign, sats)
    bundle, _ = audited(world, campaign)
    first, *rest = bundle["coins"]
    _caught(world, lie(bundle, coins=rest), "is on the chain, not in the bundle", "unspent only in the node's set")
    invented = {**rest[-1], "txid": "f" * 64, "index": 0}
    told = lie(bundle, coins=sorted([*bundle["coins"], invented], key=lambda c: (c["height"], c["txid"], c["vout"])))
    _caught(world, told, "is in the bundle, but not on the chain")
    _caught(world, lie(bundle, coins=[{**first, "value_sats": 1_100_000}, *rest]), "value_sats is 1100000")
    _caught(world, lie(bundle, coins=[{**first, "index": 2}, *rest]), "index is 2 in the bundle, 0 on the chain")
    _caught(world, lie(bundle, coins=[{**first, "coinbase": True}, *rest]), "coinbase is True")


def test_an_outcome_before_its_time_and_a_closing_block_moved(world: World) -> None:
    campaign = world.campaign(goal_sats=300_000)
    world.paid(campaign, 200_000)
    open_bundle, _ = audited(world, campaign)
    as_of = open_bundle["as_of"]
    early = {"height": as_of["height"], "hash": as_of["block_hash"]}
    _caught(world, lie(open_bundle, closing=early), "on the chain it is not there yet", "outcome is failed")
    late = world.pledge(campaign, 150_000)
    world.close(campaign)
    world.node.pay(str(late.address), 150_000)
    world.node.mine(2)
    world.sync()
    bundle, _ = audited(world, campaign)
    last = {"height": bundle["as_of"]["height"], "hash": bundle["as_of"]["block_hash"]}
    told = lie(bundle, closing=last, settlements=[])
    assert told["outcome"] == "funded", "with the late coin the goal would have been reached"
    _caught(world, told, "The closing block is", "The outcome is funded in the bundle", offline=True)
    _caught(world, lie(bundle, closing=None, settlements=[]), "not there yet in the bundle", offline=True)


def test_settlements_hidden_invented_and_turned_round(world: World) -> None:
    bundle = _released(world)
    release = next(s for s in bundle["settlements"] if s["kind"] == "release")
    refund = next(s for s in bundle["settlements"] if s["kind"] == "refund")
    unspent = [{**c, "spent_by": None, "spent_height": None} for c in bundle["coins"]]
    _caught(world, lie(bundle, coins=unspent, settlements=[]), "spent_by is empty in the bundle", "not among its")
    _caught(world, lie(bundle, settlements=[refund]), "which is no settlement of this campaign", offline=True)
    payout = {**release["outputs"][0], "index": 0}
    turned = sorted([{**release, "kind": "refund", "outputs": [payout]}, refund], key=lambda s: str(s["txid"]))
    _caught(world, lie(bundle, settlements=turned), "does not have exactly one output for each pledge", offline=True)
    turned = sorted([release, {**refund, "kind": "release"}], key=lambda s: str(s["txid"]))
    _caught(world, lie(bundle, settlements=turned), "a late coin of a funded campaign", offline=True)
    planned = sorted([{**release, "height": None}, refund], key=lambda s: str(s["txid"]))
    coins = [{**c, "spent_by": None, "spent_height": None} if c["spent_by"] == release["txid"] else c
             for c in bundle["coins"]]  # fmt: skip
    _caught(world, lie(bundle, coins=coins, settlements=planned), "is in block")


def test_terms_exchanged(world: World) -> None:
    campaign = world.campaign(goal_sats=200_000)
    world.paid(campaign, 150_000)
    bundle, _ = audited(world, campaign)
    lower = changed_terms(bundle, goal_sats=100_000)
    _caught(world, {**bundle, "terms": lower}, "do not have the hash", offline=True)
    told = with_terms(bundle, lower)
    _caught(world, told, "does not follow from the terms", offline=True)
    told = with_terms(bundle, lower, same_account(bundle, lower))
    _caught(world, told, "is in the bundle, but not on the chain")
    for changes in ({"opened_height": 1}, {"opened_height": 600}):
        text = changed_terms(bundle, **changes)
        told = with_terms(lie(bundle, coins=[]), text, same_account(bundle, text))
        _caught(world, told, "The terms place block")
    for height in (0, json.loads(bundle["terms"])["opened_height"], 500_000_000):
        text = changed_terms(bundle, timelock_height=height)
        told = with_terms(lie(bundle, coins=[]), text, same_account(bundle, text))
        _caught(world, told, "The block of the time-locked refunds in the terms is out of range", offline=True)


def test_another_network_and_another_node(world: World) -> None:
    bundle, _ = audited(world, world.campaign())
    _caught(world, {**bundle, "network": "signet"}, "The terms are for regtest", offline=True)
    report = verify(of_another_network(bundle), world.core)
    assert not report.ok and not report.differs, "the wrong node was asked, and nothing could be checked"
    assert any("is not on signet: its first block is another" in f.sentence for f in report.findings)


def test_a_bundle_that_speaks_of_a_block_the_chain_does_not_have(world: World) -> None:
    bundle, _ = audited(world, world.campaign())
    as_of = bundle["as_of"]
    _caught(world, {**bundle, "as_of": {**as_of, "height": as_of["height"] + 1}}, "the chain ends at block")
    _caught(world, {**bundle, "as_of": {**as_of, "height": as_of["height"] - 1}}, "get a newer bundle")


def test_hostile_terms_are_refused_with_a_sentence(world: World) -> None:
    bundle, _ = audited(world, world.campaign())
    nested = '{"a":' * 5_000 + "1" + "}" * 5_000
    for text in ("", "null", "[1]", "{}", "[" * 100_000, nested, '"\\ud800"', "\ud800", "9" * 5_000, "NaN", "\0"):
        terms_hash = sha256(text.encode(errors="surrogatepass")).hexdigest()
        report = verify({**bundle, "terms": text, "terms_hash": terms_hash}, None)
        assert [f.check for f in report.findings if f.ok is False] == ["terms"]


def test_hostile_values_in_terms_are_refused_with_a_sentence(world: World) -> None:
    bundle, _ = audited(world, world.campaign())
    strange: tuple[Any, ...] = (None, -1, 2**63, True, [], {}, ["x"], "", "x", "\0", "1" * 200, "é", "bcrt1" + "q" * 50)
    for key in json.loads(bundle["terms"]):
        for value in strange:
            text = changed_terms(bundle, **{key: value})
            report = verify(with_terms(bundle, text, same_account(bundle, text)), None)
            free_text = key in ("creator", "title", "summary", "license", "story_sha256", "project_url")
            harmless = (free_text and isinstance(value, str)) or (key, value) == ("cancellable", "")
            assert report.differs or harmless, (key, value)
    for deadline in ("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2026-01-01", "2200-01-01T00:00:00Z"):
        text = changed_terms(bundle, deadline_at=deadline)
        assert "terms" in wrong(verify(with_terms(bundle, text, same_account(bundle, text)), None))[0]
    text = changed_terms(bundle, payout_address=new_address(world.node))
    sentences = wrong(verify(with_terms(bundle, text, same_account(bundle, text)), None))
    assert sentences == ["terms: The payout script in the terms is not that of the payout address."]


def test_hostile_keys_in_the_descriptor_are_refused_with_a_sentence(world: World) -> None:
    bundle, _ = audited(world, world.campaign())
    xpub = bundle["descriptor"].partition("]")[2].split("/")[0]
    payload = _payload(xpub)
    mainnet, private = bytes.fromhex("0488b21e") + payload[4:], bytes.fromhex("04358394") + payload[4:]
    off_curve = next(key for n in range(1, 99) if not _on_curve(key := payload[:46] + n.to_bytes(32, "big")))
    beyond = payload[:46] + b"\xff" * 32
    account = payload[:12] + bytes([payload[12] ^ 1]) + payload[13:]
    made_up = [_base58(key) for key in (mainnet, private, off_curve, beyond, account, payload[:4] + bytes(74))]
    mistyped = xpub[:-1] + ("2" if xpub.endswith("1") else "1")
    for other in (*made_up, "1" * 111, "z" * 111, mistyped, xpub[::-1], xpub[:5], ""):
        told = {**bundle, "descriptor": bundle["descriptor"].replace(xpub, other)}
        assert "descriptor" in wrong(verify(told, None))[0], other
    assert _base58(payload) == xpub
    for other in ("", "wpkh()", "raw(00)", bundle["descriptor"].split("#")[0], "sh(" + bundle["descriptor"] + ")"):
        assert "descriptor" in wrong(verify({**bundle, "descriptor": other}, None))[0], other
