"""What a backer keeps themselves: the signed receipt and the refunds that wait for their block, to see and to save."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, url_for
from sqlalchemy.orm import Session

from crowdfund.campaigns import promises, queries
from crowdfund.campaigns.models import Pledge
from crowdfund.campaigns.queries import Snapshot
from crowdfund.errors import NotFound
from crowdfund.wallet.receipts import receipt_address
from crowdfund.web.site import AsOf, here
from crowdfund.web.views import chain_time, expected_at

pages = Blueprint("keepsakes", __name__)


@dataclass(frozen=True)
class ReceiptView:
    """A receipt with all that checking it takes. `address` is that of the key that the terms name."""

    text: str
    signature: str
    address: str
    url: str


@dataclass(frozen=True)
class RefundView:
    """A signed refund of one coin, in hex. Blocks above `valid_after_height` may hold it. `current`: to the refund
    address of now."""

    txid: str
    raw: str
    value_sats: int
    valid_after_height: int
    current: bool = True


@dataclass(frozen=True)
class Keepsakes:
    """`promised`: the terms speak of receipts at all. `valid_about` is when the height is expected, None once it has
    passed. `older_refunds` go to addresses that the pledge had before."""

    promised: bool
    receipt: ReceiptView | None
    refunds: list[RefundView]
    refunds_url: str
    timelock_height: int
    valid_about: datetime | None
    older_refunds: tuple[RefundView, ...] = ()


@pages.get("/p/<pledge_id>/receipt.json")
def receipt(pledge_id: str) -> Response:
    """The receipt as a file. Raises NotFound while there is none."""
    found = _of(pledge_id).receipt
    if found is None:
        raise NotFound("The signed receipt is not there yet; it is made within minutes.")
    told = {"text": found.text, "signature": found.signature, "address": found.address}
    return _file(json.dumps(told, indent=2) + "\n", "application/json", "receipt.json")


@pages.get("/p/<pledge_id>/refunds.txt")
def refunds(pledge_id: str) -> Response:
    """The signed refunds as a file, a transaction in hex on each line. Raises NotFound while there is none."""
    found = _of(pledge_id).refunds
    if not found:
        raise NotFound("There is no refund to keep yet; it is signed when your payment is confirmed.")
    return _file("".join(f"{one.raw}\n" for one in found), "text/plain", "refunds.txt")


def keepsakes_of(session: Session, snapshot: Snapshot, pledge: Pledge, network: str, as_of: AsOf | None) -> Keepsakes:
    """All that the signer made for this pledge so far."""
    terms = snapshot.terms
    if terms is None or not terms.receipt_key:
        return Keepsakes(False, None, [], "", 0, None)
    kept = promises.receipt_of(session, pledge.id)
    made = None
    if kept is not None:
        address = receipt_address(terms.receipt_key, network)
        made = ReceiptView(kept.text, kept.signature, address, url_for("keepsakes.receipt", pledge_id=pledge.id))
    held = [
        RefundView(one.txid, one.raw.hex(), one.value_sats, one.timelock_height, one.current)
        for one in promises.refunds_of(session, pledge.id, terms)
    ]
    ahead = as_of is not None and terms.timelock_height > as_of.height
    return Keepsakes(
        promised=True,
        receipt=made,
        refunds=[one for one in held if one.current],
        older_refunds=tuple(one for one in held if not one.current),
        refunds_url=url_for("keepsakes.refunds", pledge_id=pledge.id),
        timelock_height=terms.timelock_height,
        valid_about=expected_at(terms.timelock_height, chain_time(network, as_of), as_of) if as_of and ahead else None,
    )


def as_json(kept: Keepsakes) -> dict[str, Any]:
    """For the API."""
    receipt = kept.receipt
    return {
        "receipt": receipt and {"text": receipt.text, "signature": receipt.signature, "address": receipt.address},
        "timelocked_refunds": [vars(one) for one in (*kept.refunds, *kept.older_refunds)],
    }


def _of(pledge_id: str) -> Keepsakes:
    site = here()
    with site.database.reading() as session:
        snapshot, pledge = queries.load_by_pledge(session, pledge_id)
        return keepsakes_of(session, snapshot, pledge, site.network, None)


def _file(text: str, kind: str, name: str) -> Response:
    answer = Response(text, mimetype=kind)
    answer.headers.set("Content-Disposition", "attachment", filename=name)
    return answer
