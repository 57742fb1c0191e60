"""Receipt and refund on the pledge's page, as files and in the API."""

from __future__ import annotations

from crowdfund.wallet.receipts import Receipt, verify_receipt
from support.site import Visitor, sentences
from support.world import World


def test_before_the_signer_has_made_them_the_page_says_what_comes(town: World, campaign: str, bob: Visitor) -> None:
    pledge = town.pledge(campaign, 60_000)
    words = sentences(bob.get(f"/p/{pledge.id}"))
    assert "It is being signed" in words
    assert "When your payment is confirmed, you can save a signed refund here. From block" in words
    for name in ("receipt.json", "refunds.txt"):
        assert bob.get(f"/p/{pledge.id}/{name}").status_code == 404
    answer = bob.get(f"/api/v1/pledges/{pledge.id}").get_json()
    assert (answer["receipt"], answer["timelocked_refunds"]) == (None, [])


def test_receipt_and_refund_are_shown_and_saved(town: World, campaign: str, bob: Visitor) -> None:
    pledge = town.paid(campaign, 60_000)
    terms = town.snapshot(campaign).terms
    assert terms is not None
    words = sentences(bob.get(f"/p/{pledge.id}"))
    assert "Save the receipt" in words and "Save the refund" in words and "is signed already" in words
    saved = bob.get(f"/p/{pledge.id}/receipt.json")
    assert saved.headers["Content-Disposition"] == "attachment; filename=receipt.json"
    receipt = saved.get_json()
    assert verify_receipt(receipt["text"], receipt["signature"], terms.receipt_key)
    assert Receipt.parse(receipt["text"]).address == pledge.address
    answer = bob.get(f"/api/v1/pledges/{pledge.id}").get_json()
    assert answer["receipt"] == receipt
    (refund,) = answer["timelocked_refunds"]
    assert refund["valid_after_height"] == terms.timelock_height
    file = bob.get(f"/p/{pledge.id}/refunds.txt")
    assert file.get_data(as_text=True) == f"{refund['raw']}\n"
    assert town.node.rpc("decoderawtransaction", refund["raw"])["txid"] == refund["txid"]


def test_strangers_learn_nothing(bob: Visitor) -> None:
    for name in ("receipt.json", "refunds.txt"):
        assert bob.get(f"/p/{'2' * 26}/{name}").status_code == 404
