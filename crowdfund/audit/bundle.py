"""The audit bundle of a campaign: what the site claims, for anyone to recompute (see `verify`).

It holds what follows from the terms and the chain, and the settlements planned. May not hold what is secret or
differs from one installation to the next: no pledge ids, names, database ids or wall-clock times. The same terms,
pledges, plans, statements and chain give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.lifecycle import Kind, decide
from crowdfund.campaigns.models import BatchRow, Coin, DecisionRow, Pledge, TimelockedRefund
from crowdfund.campaigns.overview import own_share
from crowdfund.campaigns.queries import Snapshot, facts_of, summarise
from crowdfund.campaigns.refund_models import RefundChangeRow
from crowdfund.campaigns.terms import canonical_json
from crowdfund.errors import UserError
from crowdfund.wallet.blocks import parse_tx, without_witness
from crowdfund.wallet.refund_change import ChangeText

VERSION = 1
WITH_DETAILS = 2
"""The version of bundles that hold the text of the details and what cancelled the campaign, as terms since version 3
name both."""


def build_bundle(snapshot: Snapshot, network: str) -> dict[str, object]:
    """The bundle, ready for JSON. Amounts in satoshi, hashes in hex. Raises UserError for a draft.

    Its keys are those that `claims.read` reads. Coins are in the order of height, txid, vout; settlements in
    the order of txid.
    """
    terms, tip = snapshot.terms, snapshot.tip
    if terms is None or tip is None:
        raise UserError("A draft has no audit bundle: publish the campaign first.")
    snapshot = _decided(snapshot)
    summary = summarise(snapshot)
    second = {"version": WITH_DETAILS, "details": snapshot.campaign.details, "cancellation": _cancellation(snapshot)}
    told = second if terms.details_sha256 else {}
    return {
        "version": VERSION,
        "network": network,
        "terms": terms.canonical(),
        "terms_hash": terms.hash.hex(),
        "descriptor": snapshot.campaign.descriptor,
        "issued": snapshot.campaign.next_index,
        "as_of": {"height": tip.height, "block_hash": tip.hash, "median_time_past": tip.median_time_past},
        "coins": _coins(snapshot),
        "closing": _closing(snapshot),
        "outcome": None if snapshot.outcome is None else snapshot.outcome.value,
        "counted_sats": summary.counted_sats,
        "buckets": {bucket.value: value_sats for bucket, value_sats in summary.buckets.items()},
        "settlements": sorted(_settlements(snapshot), key=lambda s: str(s["txid"])),
        **_statements(snapshot),
        **_refund_changes(snapshot),
        **told,
    }


def bundle_json(bundle: dict[str, object]) -> str:
    """The bundle's one and only text: keys sorted, no spaces."""
    return canonical_json(bundle)


def _statements(snapshot: Snapshot) -> dict[str, object]:
    """What the creator says and no chain can check: the addresses whose pledges are their own money. Left out where
    nothing is said, so that such a bundle is what it always was."""
    numbers = own_share(snapshot).numbers
    return {"statements": {"own_money": list(numbers)}} if numbers else {}


def _refund_changes(snapshot: Snapshot) -> dict[str, object]:
    """Text and signature of each change of a refund address that a refund shows anyway; the others stay their backers'
    own. Left out where there is none, so that such a bundle is what it always was."""
    paid = {output["index"] for s in _settlements(snapshot) if s["kind"] == Kind.REFUND for output in _outputs(s)}
    campaign = "" if snapshot.terms is None else snapshot.terms.hash.hex()
    found = [
        {"text": _text(campaign, index, row), "signature": row.signature}
        for index, rows in sorted(snapshot.refund_changes.items())
        if index in paid
        for row in rows
    ]
    return {"refund_changes": found} if found else {}


def _outputs(settlement: dict[str, Any]) -> list[dict[str, Any]]:
    return list(settlement["outputs"])


def _text(campaign: str, index: int, row: RefundChangeRow) -> str:
    return ChangeText(campaign, index, row.number, row.old_address, row.new_address).text()


def _decided(snapshot: Snapshot) -> Snapshot:
    """With the outcome as soon as it follows from the chain, so that nothing depends on when a worker stored it."""
    terms, closing = snapshot.terms, snapshot.closing
    if snapshot.decision is not None or terms is None or closing is None:
        return snapshot
    decision = decide(
        terms.goal_sats,
        terms.min_coin_sats,
        map(facts_of, snapshot.coins),
        closing.height,
        snapshot.tip_height,
        terms.confirmations,
        terms.cap_sats,
        snapshot.cancellation is not None,
    )
    if decision is None:
        return snapshot
    row = DecisionRow(
        campaign_id=snapshot.campaign.id,
        outcome=decision.outcome,
        counted_sats=decision.counted_sats,
        closing_height=closing.height,
        closing_hash=closing.hash,
        decided_height=snapshot.tip_height,
    )
    # The books move with the stored outcome; until then the bundle says what they will: no plan spends a coin yet.
    counted_balance = snapshot.balances.get(Bucket.COUNTED, 0)
    unclaimed_balance = snapshot.balances.get(Bucket.UNCLAIMED, 0) + counted_balance
    balances = {**snapshot.balances, Bucket.COUNTED: 0, Bucket.UNCLAIMED: unclaimed_balance}
    return replace(snapshot, decision=row, balances=balances)


def _closing(snapshot: Snapshot) -> dict[str, object] | None:
    if snapshot.decision is not None:
        return {"height": snapshot.decision.closing_height, "hash": snapshot.decision.closing_hash}
    if snapshot.closing is not None:
        return {"height": snapshot.closing.height, "hash": snapshot.closing.hash}
    return None


def _cancellation(snapshot: Snapshot) -> dict[str, object] | None:
    """What ended the campaign in place of its closing block, whose height is that of `closing` then. The transactions
    are without their witnesses, so that their txids say every byte."""
    held = snapshot.cancellation
    if held is None:
        return None
    return {
        "txid": held.txid,
        "height": held.height,
        "raw": without_witness(held.raw).hex(),
        "spent": None if held.spent is None else without_witness(held.spent).hex(),
        "reason": held.reason,
    }


def _coins(snapshot: Snapshot) -> list[dict[str, object]]:
    """Every confirmed coin; what is unconfirmed is no fact yet."""
    confirmed = [(p.index, coin) for p in snapshot.pledges for coin in p.coins if coin.height is not None]
    confirmed.sort(key=lambda found: (found[1].height, found[1].txid, found[1].vout))
    return [_coin(snapshot, index, coin) for index, coin in confirmed]


def _coin(snapshot: Snapshot, index: int, coin: Coin) -> dict[str, object]:
    return {
        "index": index,
        "txid": coin.txid,
        "vout": coin.vout,
        "value_sats": coin.value_sats,
        "height": coin.height,
        "block_hash": coin.block_hash,
        "coinbase": coin.coinbase,
        "spent_by": coin.spent_by,
        "spent_height": coin.spent_height,
        "bucket": str(snapshot.shown_bucket(coin)),
    }


def _settlements(snapshot: Snapshot) -> Iterator[dict[str, object]]:
    yield from (_settlement(snapshot, batch) for batch in snapshot.standing_batches)
    for pledge in snapshot.pledges:
        for coin in pledge.coins:
            refund = snapshot.taken_back.get(coin.spent_by or "")
            if refund is not None:
                yield _taken_back(snapshot, coin, pledge, refund)


def _taken_back(snapshot: Snapshot, coin: Coin, pledge: Pledge, refund: TimelockedRefund) -> dict[str, object]:
    """A time-locked refund that its backer has sent: a refund like any other, of one coin. It pays the address that the
    pledge had when it was signed."""
    ((value_sats, script),) = parse_tx(refund.raw).outputs
    return {
        "kind": Kind.REFUND.value,
        "txid": refund.txid,
        "locktime": 0 if snapshot.terms is None else snapshot.terms.timelock_height,
        "height": coin.spent_height,
        "fee_sats": refund.fee_sats,
        "inputs": [{"txid": coin.txid, "vout": coin.vout}],
        "outputs": [{"script": script.hex(), "value_sats": value_sats, "index": pledge.index}],
    }


def _settlement(snapshot: Snapshot, batch: BatchRow) -> dict[str, object]:
    """A batch as the chain can show it: `height` is that of its block, null while it is in none."""
    mined, attempt = snapshot.mined(batch), snapshot.shown_attempt(batch)
    return {
        "kind": batch.kind,
        "txid": attempt.txid,
        "locktime": attempt.locktime,
        "height": None if mined is None else mined[1],
        "fee_sats": attempt.fee_sats,
        "inputs": [{"txid": i.coin.txid, "vout": i.coin.vout} for i in batch.inputs],
        "outputs": [
            {"script": output.script.hex(), "value_sats": output.value_sats, "index": output.index}
            for output in attempt.outputs
        ],
    }
