"""A creator cancels from the page: asks, signs with a wallet, brings it back; and what everybody reads then."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from audit.auditing import bundle_of
from crowdfund.audit import chain_facts
from crowdfund.audit.verify import verify
from crowdfund.campaigns import cancel_desk
from crowdfund.campaigns.lifecycle import Outcome
from crowdfund.campaigns.models import Campaign, Creator
from crowdfund.chain.core import CoreBackend
from crowdfund.chain.port import Origin
from crowdfund.chain.regtest import RegtestNode
from crowdfund.wallet.blocks import ParsedTx, parse_tx
from support.cancelling import REASON, Canceller
from support.node import new_address
from support.site import Visitor, field_error, sentences, site_of
from support.world import PASSWORD, World

KINDS = ("bech32", "bech32m", "p2sh-segwit", "legacy")


@pytest.fixture(autouse=True)
def small_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit derives forty addresses beyond those given out."""
    monkeypatch.setattr(chain_facts, "GAP", 40)


@pytest.fixture
def app(world: World) -> Iterator[Flask]:
    with site_of(world) as made:
        yield made


def creator_of(world: World, app: Flask, campaign: str) -> Visitor:
    """The campaign's creator, logged in."""
    with world.database.reading() as session:
        name = session.get_one(Creator, session.get_one(Campaign, campaign).creator_id).name
    visitor = Visitor(app)
    assert visitor.send("/login", {"name": name, "password": PASSWORD}).status_code == 303
    return visitor


def raw_coin(world: World, canceller: Canceller) -> str:
    return str(world.node.rpc("getrawtransaction", canceller.coin()[0]))


def asked(visitor: Visitor, canceller: Canceller, campaign: str, raw: str, /, **changes: str) -> TestResponse:
    good = {"title": canceller.terms.title, "reason": REASON, "coin": raw, "feerate": "3"}
    return visitor.send(f"/campaigns/{campaign}/cancel", {**good, **changes})


def signed(world: World, psbt: str) -> str:
    done = world.node.bank("walletprocesspsbt", psbt)
    assert done["complete"]
    return str(done["psbt"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_creator_cancels_from_the_page_with_every_kind_of_address(world: World, app: Flask, kind: str) -> None:
    campaign = world.campaign(payout_address=new_address(world.node, kind))
    bob = world.paid(campaign, 1_200_000)
    creator, canceller = creator_of(world, app, campaign), Canceller(world, campaign)
    path = f"/campaigns/{campaign}/cancel"
    assert path in creator.get(f"/campaigns/{campaign}/dashboard").get_data(as_text=True)
    assert "in about" in sentences(creator.get(path))
    assert asked(creator, canceller, campaign, raw_coin(world, canceller)).status_code == 303
    page = creator.get(path).get_data(as_text=True)
    assert REASON in page and 'class="qr"' in page
    psbt = creator.get(f"{path}.psbt").get_data()
    assert psbt.startswith(b"psbt\xff") and b64encode(psbt).decode() in page
    back = signed(world, b64encode(psbt).decode())
    assert creator.post(f"{path}/signed", {"signed": back}, page=path).status_code == 303
    assert "Waits to be sent" in sentences(creator.get(path))
    world.sync()
    assert "The network has it" in sentences(creator.get(path))
    (txid,) = world.node.rpc("getrawmempool")
    entry = world.node.rpc("getmempoolentry", txid)
    assert 3 <= int(entry["fees"]["base"] * 100_000_000) / entry["vsize"] < 7, "about the feerate asked for"
    world.node.mine()
    world.sync()
    assert "The campaign is cancelled" in sentences(creator.get(path))
    stranger = Visitor(app)
    told = sentences(stranger.get(f"/campaigns/{campaign}"))
    assert "The creator has cancelled" in told and REASON in told and txid in told
    api = stranger.get(f"/api/v1/campaigns/{campaign}").get_json()
    assert api["cancellation"]["txid"] == txid and api["cancellation"]["reason"] == REASON
    world.node.mine()
    world.sync()
    assert "Cancelled, refunded" in sentences(stranger.get(f"/campaigns/{campaign}"))
    assert world.pledge_state(bob) == "refunded"


def test_backers_read_that_their_money_comes_back(node: RegtestNode, tmp_path: Path) -> None:
    with World(node, tmp_path, CONFIRMATIONS="3") as world, site_of(world) as app:
        campaign = world.campaign()
        bob, carol = world.paid(campaign, 50_000), world.pledge(campaign, 60_000)
        Canceller(world, campaign).send()
        world.node.pay(str(carol.address), 60_000)
        world.node.mine()
        world.sync()
        visitor = Visitor(app)
        assert "Cancelled, not yet deep" in sentences(visitor.get(f"/campaigns/{campaign}"))
        for pledge in (bob, carol):
            told = sentences(visitor.get(f"/p/{pledge.id}"))
            assert "The creator has cancelled the campaign; your money comes back." in told
        refused = visitor.get(f"/campaigns/{campaign}/pledge")
        assert "New pledges are not taken" in sentences(visitor.get(f"/campaigns/{campaign}"))
        assert refused.status_code != 500


def test_what_is_wrong_is_said_at_its_field_and_nothing_is_lost(world: World, app: Flask) -> None:
    campaign = world.campaign()
    creator, canceller = creator_of(world, app, campaign), Canceller(world, campaign)
    coin = raw_coin(world, canceller)
    foreign = str(world.node.rpc("getrawtransaction", world.node.pay(new_address(world.node), 9_000)))
    for field, value, word in (
        ("title", "Another", "not the title"),
        ("reason", "  ", "Tell your backers"),
        ("reason", "x" * 501, "500 characters"),
        ("coin", "", "no transaction"),
        ("coin", "xyz", "no transaction"),
        ("coin", coin[:-2], "no transaction"),
        ("coin", foreign, "pays nothing to the payout address"),
        ("feerate", "0", "from 1 to 500"),
        ("feerate", "501", "from 1 to 500"),
        ("feerate", "much", "from 1 to 500"),
    ):
        answer = asked(creator, canceller, campaign, coin, **{field: value})
        assert answer.status_code == 422 and word in field_error(answer, field), (field, value, sentences(answer))
        if field != "reason":
            assert REASON in answer.get_data(as_text=True), "what was written is still there"
    answer = asked(creator, canceller, campaign, coin, feerate="500")
    assert "Send a larger one" in field_error(answer, "coin")
    with world.database.reading() as session:
        assert cancel_desk.newest_draft(session, campaign) is None


def test_only_a_cancellation_of_this_campaign_is_taken_back(world: World, app: Flask) -> None:
    campaign, other = world.campaign(), world.campaign()
    creator, canceller = creator_of(world, app, campaign), Canceller(world, campaign)
    path = f"/campaigns/{campaign}/cancel"
    coin = canceller.coin()
    raw = str(world.node.rpc("getrawtransaction", coin[0]))
    assert asked(creator, canceller, campaign, raw).status_code == 303
    psbt = creator.get(f"{path}.psbt").get_data()
    wrong = {
        "": "neither",
        "00": "neither",
        b64encode(psbt).decode(): "not signed",
        raw: "does not name the terms",
        canceller.signed(coin, Canceller(world, other).terms.hash): "does not name the terms",
        canceller.signed(canceller.paid_to(new_address(world.node))): "does not spend an output",
    }
    for text, word in wrong.items():
        answer = creator.post(f"{path}/signed", {"signed": text}, page=path)
        assert answer.status_code == 422 and word in field_error(answer, "signed"), (word, sentences(answer))
    with world.database.reading() as session:
        assert cancel_desk.sent(session, campaign) == []
    ready = canceller.signed(coin)
    file = {"csrf_token": creator.csrf_token(path), "file": (BytesIO(ready.encode()), "signed.txt")}
    for _ in range(2):
        file["file"] = (BytesIO(ready.encode()), "signed.txt")
        answer = creator.client.post(f"{path}/signed", data=file, content_type="multipart/form-data")
        assert answer.status_code == 303
    with world.database.reading() as session:
        (sent,) = cancel_desk.sent(session, campaign)
    assert sent.txid == parse_tx(bytes.fromhex(ready)).txid


def test_what_the_network_refuses_is_said(world: World, app: Flask) -> None:
    campaign = world.campaign()
    creator, canceller = creator_of(world, app, campaign), Canceller(world, campaign)
    path, coin = f"/campaigns/{campaign}/cancel", canceller.coin()
    assert asked(creator, canceller, campaign, str(world.node.rpc("getrawtransaction", coin[0]))).status_code == 303
    ready = canceller.signed(coin)
    spent = re.sub("^02000000", "01000000", ready)  # the signature covers the version: now it is wrong
    assert creator.post(f"{path}/signed", {"signed": spent}, page=path).status_code == 303
    world.sync()
    assert "does not take it" in sentences(creator.get(path))


def test_nobody_else_comes_to_the_page_and_an_ended_campaign_is_not_cancelled(world: World, app: Flask) -> None:
    campaign = world.campaign()
    path = f"/campaigns/{campaign}/cancel"
    stranger = Visitor(app)
    assert stranger.get(path).status_code in (302, 303)
    stranger.sign_up(f"mallory {campaign}")
    for each in (path, f"{path}.psbt"):
        assert stranger.get(each).status_code == 404
    assert stranger.post(f"{path}/signed", {"signed": "00"}).status_code == 404
    creator, canceller = creator_of(world, app, campaign), Canceller(world, campaign)
    coin = raw_coin(world, canceller)
    world.close(campaign)
    assert "reached its deadline" in sentences(creator.get(path))
    answer = asked(creator, canceller, campaign, coin)
    assert answer.status_code == 422 and "cannot be cancelled any more" in sentences(answer)


def test_what_a_pruned_node_has_forgotten_the_creator_brings(
    world: World, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made with another wallet, of a coin whose transaction the node no longer has: it cancels all the same."""
    campaign = world.campaign()
    bob = world.paid(campaign, 1_200_000)
    honest = CoreBackend.origin

    def forgetful(node: CoreBackend, tx: ParsedTx, block_hash: str, script: bytes) -> Origin | None:
        return None if honest(node, tx, block_hash, script) is None else Origin(None)

    monkeypatch.setattr(CoreBackend, "origin", forgetful)
    creator, canceller = creator_of(world, app, campaign), Canceller(world, campaign)
    coin, path = canceller.coin(), f"/campaigns/{campaign}/cancel"
    raw = str(world.node.rpc("getrawtransaction", coin[0]))
    world.node.rpc("sendrawtransaction", canceller.signed(coin))
    world.node.mine()
    world.sync()
    assert world.snapshot(campaign).outcome is Outcome.FAILED, "the script that was spent is known"
    assert "the creator can bring it" in world.worker.view.trouble
    bundle = bundle_of(world, campaign)
    assert bundle["cancellation"]["spent"] is None and verify(bundle, world.core).ok
    page = sentences(creator.get(path))
    assert "something is lacking" in page and "refunds have to wait" in page
    other = str(world.node.rpc("getrawtransaction", canceller.coin()[0]))
    assert "spends another coin" in field_error(asked(creator, canceller, campaign, other), "coin")
    assert asked(creator, canceller, campaign, raw, reason="Something else").status_code == 303
    page = sentences(creator.get(path))
    assert "something is lacking" in page and "refunds have to wait" not in page
    answer = asked(creator, canceller, campaign, raw, reason="Something else")
    assert "letter by letter" in field_error(answer, "reason")
    assert "Something else" not in sentences(Visitor(app).get(f"/campaigns/{campaign}"))
    assert asked(creator, canceller, campaign, raw, feerate="").status_code == 303
    assert "something is lacking" not in sentences(creator.get(path))
    for _ in range(2):
        world.node.mine()
        world.sync()
    assert world.worker.view.in_the_way == "" and world.pledge_state(bob) == "refunded"
    assert REASON in sentences(Visitor(app).get(f"/campaigns/{campaign}"))
    assert bundle_of(world, campaign)["cancellation"]["spent"] is not None
