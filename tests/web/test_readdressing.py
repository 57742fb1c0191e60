"""The page on which a backer changes where a refund goes, without scripts, and the same for programs."""

from __future__ import annotations

import pytest

from crowdfund.chain.regtest import RegtestNode
from crowdfund.wallet.addresses import address_of
from support.node import new_address
from support.site import Visitor, field_error, sentences
from support.world import World
from wallet.test_refund_change import KEY_OF, A, B, C
from wallet.test_signed_messages import bip137, segwit

OLD, NEW, THIRD = (address_of(script, "regtest") for script in (A, B, C))


@pytest.fixture
def path(town: World, campaign: str) -> str:
    """The page of a new pledge whose refund address is OLD, which the signer knows."""
    pledge = town.pledge(campaign, 60_000, OLD)
    town.sync()
    return f"/p/{pledge.id}/refund-address"


def text_on(bob: Visitor, path: str, address: str = NEW) -> str:
    page = bob.send(path, {"address": address})
    assert page.status_code == 200
    return page.get_data(as_text=True).partition('id="text-to-sign" translate="no">')[2].partition("<")[0]


def test_the_whole_way(town: World, bob: Visitor, path: str) -> None:
    page = bob.get(path)
    assert "the secret link of your pledge is not enough" in sentences(page).lower()
    text = text_on(bob, path)
    assert OLD in text and text.endswith(NEW)
    answer = bob.send(path, {"address": f" {NEW.upper()} ", "signature": segwit(A, KEY_OF[A], text)})
    assert answer.status_code == 303, sentences(answer)
    pledge = path.removesuffix("/refund-address")
    assert "waiting for the key keeper" in sentences(bob.get(pledge))
    assert "waiting for the key keeper" in sentences(bob.get(path))
    town.sync()
    words = sentences(bob.get(pledge))
    assert f"From {OLD} to {NEW}" in words and "waiting for the key keeper" not in words
    assert "A receipt signed before a change" in words
    second = text_on(bob, path, THIRD)
    assert second.startswith("Refund address change 2 of pledge") and NEW in second


def test_each_refusal_has_its_sentence_and_nothing_typed_is_lost(bob: Visitor, path: str) -> None:
    for address, words in ((OLD, "already"), ("nonsense", "not a bitcoin address"), ("", "give an address")):
        page = bob.send(path, {"address": address, "signature": "abc"})
        assert page.status_code == 422 and words in field_error(page, "address")
    text = text_on(bob, path)
    for signature, words in (
        (segwit(B, KEY_OF[B], text), "exactly this text"), (segwit(A, KEY_OF[A], text + " "), "exactly this text"),
        ("ful" + segwit(A, KEY_OF[A], text), "full"), ("nonsense!", "copy all of it"), ("é" * 9, "Paste"),
        (segwit(A, KEY_OF[A], text_on(bob, path, THIRD)), "exactly this text"),
    ):  # fmt: skip
        page = bob.send(path, {"address": NEW, "signature": signature})
        assert page.status_code == 422 and words in field_error(page, "signature"), signature
        whole = page.get_data(as_text=True)
        assert text in whole and signature in whole and f'value="{NEW}"' in whole
    assert bob.send(path, {"address": NEW, "signature": bip137(31, KEY_OF[A], text)}).status_code == 303
    page = bob.send(path, {"address": THIRD, "signature": "abc"})
    assert page.status_code == 422 and "A change is waiting for the key keeper." in sentences(page)


def test_an_address_without_a_single_key_is_told_so(town: World, campaign: str, bob: Visitor) -> None:
    pledge = town.pledge(campaign, 60_000, address_of(b"\x00\x20" + b"w" * 32, "regtest"))
    page = bob.get(f"/p/{pledge.id}/refund-address")
    assert "It cannot be changed." in sentences(page) and "P2WSH" in sentences(page)
    assert "Change where a refund goes" not in sentences(bob.get(f"/p/{pledge.id}"))


def test_programs_do_the_same(town: World, campaign: str, bob: Visitor) -> None:
    pledge = town.pledge(campaign, 60_000, OLD)
    town.sync()
    path = f"/api/v1/pledges/{pledge.id}/refund-address"
    text = bob.client.post(path, json={"address": NEW}).get_json()["text"]
    wrong = bob.client.post(path, json={"address": NEW, "signature": segwit(B, KEY_OF[B], text)})
    assert wrong.status_code == 400 and "exactly this text" in wrong.get_json()["detail"]
    odd: tuple[object, ...] = ([], {}, {"address": 5}, {"address": NEW, "signature": 5})
    for body in odd:
        assert bob.client.post(path, json=body).status_code == 400
    answer = bob.client.post(path, json={"address": NEW, "signature": segwit(A, KEY_OF[A], text)})
    assert answer.status_code == 202
    (change,) = answer.get_json()["refund_changes"]
    assert (change["state"], change["text"]) == ("waiting", text)
    town.sync()
    held = bob.get(f"/api/v1/pledges/{pledge.id}").get_json()
    assert held["refund_address"] == NEW and held["refund_changes"][0]["state"] == "taken"


def test_strangers_learn_nothing(bob: Visitor) -> None:
    secret = "2" * 26
    assert bob.get(f"/p/{secret}/refund-address").status_code == 404
    assert bob.client.post(f"/api/v1/pledges/{secret}/refund-address", json={"address": NEW}).status_code == 404


def test_a_wallet_of_a_real_node_signs_with_a_legacy_address(
    town: World, campaign: str, bob: Visitor, node: RegtestNode
) -> None:
    old, new = str(node.bank("getnewaddress", "", "legacy")), new_address(node)
    pledge = town.pledge(campaign, 60_000, old)
    town.sync()
    path = f"/p/{pledge.id}/refund-address"
    text = text_on(bob, path, new)
    assert bob.send(path, {"address": new, "signature": str(node.bank("signmessage", old, text))}).status_code == 303
    town.sync()
    assert f"From {old} to {new}" in sentences(bob.get(f"/p/{pledge.id}"))
