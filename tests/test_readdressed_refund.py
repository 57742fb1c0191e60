"""A refund address of a real node's wallet is changed by its signature, the campaign fails, and the refund arrives at
the new one: the books, the chain and an auditor say the same, and a lie about the changes is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from audit.auditing import Bundle, audited, bundle_of, wrong
from crowdfund.audit import chain_facts
from crowdfund.audit.bundle import build_bundle, bundle_json
from crowdfund.audit.verify import verify
from crowdfund.backup.from_seed import restore_from_seed
from crowdfund.campaigns import readdressing, recovery, thefts
from crowdfund.campaigns.models import Pledge
from crowdfund.chain.regtest import RegtestNode
from crowdfund.wallet.addresses import address_of
from crowdfund.wallet.refund_change import ChangeText
from crowdfund.wallet.signer_client import SignerClient
from support.node import new_address
from support.restoring import addresses, back_up, bring_back, coins, log_of, lose_database
from support.truth import even
from support.world import World
from wallet.test_refund_change import KEY_OF, B, C
from wallet.test_signed_messages import segwit


def change(world: World, pledge: Pledge, new: str, sign: Callable[[str], str]) -> None:
    """What the page does, and then the worker."""
    with world.database.reading() as session:
        text = readdressing.text_to_sign(session, world.settings, pledge.id, new).text()
    with world.database.transaction() as session:
        readdressing.bring(session, world.settings, pledge.id, new, sign(text), datetime.now(UTC))
    world.sync()
    with world.database.reading() as session:
        assert session.get_one(Pledge, pledge.id).refund_address == new


def received(node: RegtestNode, address: str) -> int:
    return round(float(node.bank("getreceivedbyaddress", address, 0)) * 100_000_000)


@pytest.fixture(scope="module")
def failed(node: RegtestNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, str]]:
    """A campaign that has failed. Bob's address was legacy, then B, then one of the node's; Carol changed nothing."""
    with pytest.MonkeyPatch.context() as patch, World(node, tmp_path_factory.mktemp("world")) as world:
        patch.setattr(chain_facts, "GAP", 40)
        campaign = world.campaign()
        old, last = str(node.bank("getnewaddress", "", "legacy")), new_address(node)
        bob, carol = world.pledge(campaign, 200_000, old), world.paid(campaign, 100_000)
        node.pay(str(bob.address), 200_000)
        node.mine()
        world.sync()
        change(world, bob, address_of(B, "regtest"), lambda text: str(node.bank("signmessage", old, text)))
        assert bundle_of(world, campaign).get("refund_changes") is None, "nobody else's business before a refund"
        change(world, bob, last, lambda text: segwit(B, KEY_OF[B], text))
        world.close(campaign)
        for _ in range(3):
            node.mine()
            world.sync()
        assert [world.pledge_state(p) for p in (bob, carol)] == ["refunded"] * 2
        assert received(node, old) == 0 and 190_000 < received(node, last) <= 200_000
        assert world.worker.view.in_the_way == ""
        even(world)
        yield world, campaign


def test_an_auditor_follows_the_signatures(failed: tuple[World, str]) -> None:
    world, campaign = failed
    bundle, report = audited(world, campaign)
    assert len(bundle["refund_changes"]) == 2
    assert any("changes of refund addresses is signed" in finding.sentence for finding in report.findings)


def _forged(bundle: Bundle) -> Any:
    text = bundle["refund_changes"][1]["text"]
    return [bundle["refund_changes"][0], {"text": text.replace("change 2", "change 2"), "signature": "AAAA"}]


def _theft(bundle: Bundle) -> Any:
    """A change to somebody else, signed by that one."""
    last = ChangeText.parse(bundle["refund_changes"][1]["text"])
    told = ChangeText(last.campaign, last.index, 3, last.new_address, address_of(C, "regtest")).text()
    return [*bundle["refund_changes"], {"text": told, "signature": segwit(C, KEY_OF[C], told)}]


def _letter(bundle: Bundle) -> Any:
    first, second = bundle["refund_changes"]
    return [{**first, "text": first["text"].replace("campaign 0", "campaign 1") + " "}, second]


def _other_campaign(bundle: Bundle) -> Any:
    first, second = bundle["refund_changes"]
    read = ChangeText.parse(second["text"])
    told = ChangeText("ab" * 32, read.index, 2, read.old_address, read.new_address).text()
    return [first, {"text": told, "signature": segwit(B, KEY_OF[B], told)}]


LIES: dict[str, tuple[Callable[[Bundle], Any], str]] = {
    "a forged signature": (_forged, "is not signed by"),
    "somebody else's": (_theft, "is not signed by"),
    "an altered text": (_letter, "is not the text of a change"),
    "another campaign's": (_other_campaign, "is of another campaign"),
    "the first is missing": (lambda b: b["refund_changes"][1:], "is missing"),
    "the last is missing": (lambda b: b["refund_changes"][:1], "by its changes it is"),
    "another order": (lambda b: b["refund_changes"][::-1], "not in their order"),
    "one twice": (lambda b: b["refund_changes"] + b["refund_changes"][1:], "not in their order"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_about_the_changes_is_found(name: str, failed: tuple[World, str]) -> None:
    world, campaign = failed
    lying, words = LIES[name]
    bundle = bundle_of(world, campaign)
    report = verify({**bundle, "refund_changes": lying(bundle)}, None)
    assert report.differs and any(words in sentence for sentence in wrong(report)), wrong(report)


def test_one_that_follows_from_no_link_is_found(failed: tuple[World, str]) -> None:
    world, campaign = failed
    bundle = bundle_of(world, campaign)
    first = ChangeText.parse(bundle["refund_changes"][0]["text"])
    told = ChangeText(first.campaign, first.index, 2, address_of(C, "regtest"), address_of(B, "regtest")).text()
    lie = [bundle["refund_changes"][0], {"text": told, "signature": segwit(C, KEY_OF[C], told)}]
    assert any("the one before it led to" in s for s in wrong(verify({**bundle, "refund_changes": lie}, None)))


@pytest.mark.parametrize("value", [[], {}, [{}], [{"text": "x"}], [{"text": 1, "signature": "x"}], "x", None])
def test_odd_forms_are_refused(value: Any, failed: tuple[World, str]) -> None:
    world, campaign = failed
    report = verify({**bundle_of(world, campaign), "refund_changes": value}, None)
    assert report.findings[0].check == "form" and report.findings[0].ok is False


@pytest.mark.parametrize("way", ["backup", "seed"])
def test_what_comes_back_knows_the_changes(
    way: str, node: RegtestNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup is from before the change, or there is none: the log has it, and the refund is recognised."""
    monkeypatch.setattr(recovery, "GAP", 61)
    monkeypatch.setattr(recovery, "JUMP", 30)
    with World(node, tmp_path / "site") as before:
        campaign = before.campaign(goal_sats=50_000_000)
        bob = before.pledge(campaign, 150_000, address_of(B, "regtest"))
        node.pay(str(bob.address), 150_000)
        node.mine()
        before.sync()
        (tmp_path / "bundle").write_text(bundle_json(build_bundle(before.snapshot(campaign), "regtest")))
        back_up(before, tmp_path / "backup")
        last = new_address(node)
        change(before, bob, last, lambda text: segwit(B, KEY_OF[B], text))
        before.close(campaign)
        node.mine()
        before.sync()
        known = coins(before)
        lose_database(before)
        if way == "seed":
            signer = SignerClient(before.settings.signer_socket)
            restore_from_seed(before.settings, [tmp_path / "bundle"], signer, log_of(before.folder))
    if way == "backup":
        bring_back(before, tmp_path / "backup")
    with World(node, tmp_path / "site") as after:
        node.mine()
        after.sync()
        assert coins(after) == known and after.worker.view.in_the_way == ""
        (campaign,) = {campaign for campaign, _ in addresses(after).values()}
        (pledge,) = after.snapshot(campaign).pledges
        assert (pledge.refund_address, pledge.refund_number) == (last, 1)
        assert after.pledge_state(pledge) == "refunded" and received(node, last) > 140_000
        with after.database.reading() as session:
            assert thefts.foreign_spends(session) == []
        report = verify(build_bundle(after.snapshot(campaign), "regtest"), after.core)
        assert report.ok, wrong(report)
        assert any("changes of refund addresses" in finding.sentence for finding in report.findings)
