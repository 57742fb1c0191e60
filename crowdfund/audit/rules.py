"""The rules that every settlement obeys, asked of the bundle's own claims. Pure.

Whether the claims are those of the chain is asked elsewhere. Refund addresses are not part of the terms: that
a refund went to the right one is for its backer to see (from a first address on, `readdressing` follows signed
changes); here, each pledge gets what it paid less its own share of the fee, and nothing else is paid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from crowdfund.audit.claims import Claims, Coin, Outpoint, Settlement
from crowdfund.audit.reckon import Spending, coin_standings, reckon
from crowdfund.campaigns.lifecycle import Kind, Outcome, Standing, owed_kind
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.wallet.fees import (
    MAX_FEE_SATS,
    MAX_FEERATE_SAT_VB,
    MAX_REFUND_FEE_PERCENT,
    MAX_RELEASE_FEE_PERCENT,
    P2WPKH_INPUT_WEIGHT,
    largest_remainder,
    output_weight,
    transaction_vsize,
)
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx


def claimed_spendings(claims: Claims) -> dict[str, Spending]:
    """The settlements as the bundle tells them, by txid."""
    return {
        s.txid: Spending(s.kind, s.inputs, sum(output.value_sats for output in s.outputs)) for s in claims.settlements
    }


def issued_problems(claims: Claims) -> Iterator[str]:
    """A coin can only lie at an address that was given out."""
    for coin in claims.coins:
        if coin.index >= claims.issued:
            yield f"Coin {_name(coin.outpoint)} lies at address {coin.index}, which was never given out."


def statement_problems(claims: Claims) -> Iterator[str]:
    """Whose money a pledge is cannot be checked; that there is any can."""
    paid = {coin.index for coin in claims.coins}
    for index in claims.own_money:
        if index not in paid:
            yield f"Address {index} is said to hold the creator's own money, and holds none."


def own_sats(claims: Claims, terms: CampaignTerms) -> int:
    """What counts, in satoshi, at the addresses that are said to hold the creator's own money."""
    closing_height = None if claims.closing is None else claims.closing[0]
    stands = coin_standings(claims.coins, closing_height, terms, claims.as_of.height)
    own = (c for c in claims.coins if c.index in claims.own_money and stands[c.outpoint] is Standing.COUNTED)
    return sum(coin.value_sats for coin in own)


def sum_problems(claims: Claims, terms: CampaignTerms) -> Iterator[str]:
    """Outcome, counted sum and buckets must follow from the coins and settlements in the bundle itself."""
    closing_height = None if claims.closing is None else claims.closing[0]
    cancelled = claims.cancellation is not None
    found = reckon(terms, closing_height, claims.as_of.height, claims.coins, claimed_spendings(claims), cancelled)
    if found.outcome is not claims.outcome:
        yield f"The outcome is {_word(claims.outcome)} in the bundle; from its coins follows {_word(found.outcome)}."
    if found.counted_sats != claims.counted_sats:
        yield f"The bundle counts {claims.counted_sats:,} sat; its coins make {found.counted_sats:,} sat."
    for outpoint, label in found.labels.items():
        if claims.labels[outpoint] != label:
            yield f"Coin {_name(outpoint)} is called {claims.labels[outpoint]}; it is {label}."
    for name, value_sats in found.buckets.items():
        if claims.buckets[name] != value_sats:
            yield f"Bucket {name} holds {claims.buckets[name]:,} sat in the bundle; its coins make {value_sats:,} sat."
    total_sats, coins_sats = sum(claims.buckets.values()), sum(coin.value_sats for coin in claims.coins)
    if total_sats != coins_sats:
        yield f"The buckets hold {total_sats:,} sat, the coins {coins_sats:,} sat."


def settlement_problems(claims: Claims, terms: CampaignTerms) -> Iterator[str]:
    """Every settlement spends the campaign's own coins, when and as they are owed, and pays nobody else."""
    coins = {coin.outpoint: coin for coin in claims.coins}
    closing_height = None if claims.closing is None else claims.closing[0]
    cancelled = claims.cancellation is not None
    outcome = reckon(terms, closing_height, claims.as_of.height, claims.coins, {}, cancelled).outcome
    # With a closing block, where the tip is makes no difference.
    stands = coin_standings(claims.coins, closing_height, terms, closing_height or 0)
    for outpoint, times in Counter(o for s in claims.settlements for o in s.inputs).items():
        if times > 1:
            yield f"Coin {_name(outpoint)} is in {times} settlements."
    known = {s.txid for s in claims.settlements}
    for coin in claims.coins:
        if coin.spent_by is not None and coin.spent_by not in known:
            yield f"Coin {_name(coin.outpoint)} was spent by {coin.spent_by}, which is no settlement of this campaign."
    for settlement in claims.settlements:
        if is_taken_back(settlement, terms):
            yield from _taken_back_problems(settlement, coins, terms)
        elif outcome is None or closing_height is None:
            yield f"{_title(settlement)} was made although nothing is decided yet."
        else:
            yield from _one_settlement(settlement, coins, stands, terms, closing_height, outcome)


def is_taken_back(settlement: Settlement, terms: CampaignTerms) -> bool:
    """Is this a time-locked refund that a backer kept, and sent when its height had come?

    No settlement of the site has such a lock time, and it can be in no block before that height."""
    return bool(terms.timelock_height) and settlement.locktime == terms.timelock_height


def _taken_back_problems(settlement: Settlement, coins: Mapping[Outpoint, Coin], terms: CampaignTerms) -> Iterator[str]:
    """One coin, back to its own pledge, whatever the outcome; the fee is the one that the terms state."""
    title = _title(settlement)
    if _txid(settlement) != settlement.txid:
        yield f"{title}: its inputs, outputs and lock time make another transaction."
    spent = [coins[outpoint] for outpoint in settlement.inputs if outpoint in coins]
    if len(spent) != 1 or len(settlement.inputs) != 1 or settlement.kind is not Kind.REFUND:
        yield f"{title} has the lock time of a refund that a backer keeps, and is none."
        return
    if spent[0].spent_by != settlement.txid or spent[0].spent_height != settlement.height:
        yield f"{title} and its coin {_name(spent[0].outpoint)} disagree on whether it was spent."
    if settlement.height is None or settlement.height <= terms.timelock_height:
        yield f"{title} is said to be in a block in which it was not valid."
    yield from _refund_problems(settlement, spent)
    due_sats = transaction_vsize(1, [o.script for o in settlement.outputs]) * terms.timelock_feerate_sat_vb
    if settlement.fee_sats != due_sats:
        yield f"{title} pays {settlement.fee_sats:,} sat to the miners; {due_sats:,} sat are due."


def _one_settlement(
    settlement: Settlement,
    coins: Mapping[Outpoint, Coin],
    stands: Mapping[Outpoint, Standing],
    terms: CampaignTerms,
    closing_height: int,
    outcome: Outcome,
) -> Iterator[str]:
    title = _title(settlement)
    if _txid(settlement) != settlement.txid:
        yield f"{title}: its inputs, outputs and lock time make another transaction."
    if settlement.height is not None and settlement.height < closing_height + terms.confirmations:
        yield f"{title} was in a block before the outcome could be decided."
    missing = [outpoint for outpoint in settlement.inputs if outpoint not in coins]
    for outpoint in missing:
        yield f"{title} spends {_name(outpoint)}, which is not a confirmed coin of this campaign."
    if missing:
        return
    spent = [coins[outpoint] for outpoint in settlement.inputs]
    for coin in spent:
        yield from _coin_in_settlement(settlement, coin, stands[coin.outpoint], outcome)
    yield from _fee_problems(settlement, spent)
    if settlement.kind is Kind.RELEASE:
        yield from _release_problems(settlement, terms)
    else:
        yield from _refund_problems(settlement, spent)


def _coin_in_settlement(settlement: Settlement, coin: Coin, stands: Standing, outcome: Outcome) -> Iterator[str]:
    title = _title(settlement)
    owed = owed_kind(stands, outcome)
    if owed is not settlement.kind:
        due = "to be left where it is" if owed is None else f"due for a {owed}"
        what = "an over-cap" if stands is Standing.OVER_CAP else f"a {stands}"
        yield f"{title} spends {_name(coin.outpoint)}, {what} coin of a {outcome} campaign, which is {due}."
    if (coin.spent_by == settlement.txid) != (settlement.height is not None):
        yield f"{title} and its coin {_name(coin.outpoint)} disagree on whether it was spent."
    elif settlement.height is not None and coin.spent_height != settlement.height:
        yield f"{title} and its coin {_name(coin.outpoint)} name different blocks."


def _fee_problems(settlement: Settlement, spent: list[Coin]) -> Iterator[str]:
    title = _title(settlement)
    fee_sats = sum(c.value_sats for c in spent) - sum(o.value_sats for o in settlement.outputs)
    if fee_sats != settlement.fee_sats:
        yield f"{title}: inputs less outputs are {fee_sats:,} sat, the fee is given as {settlement.fee_sats:,} sat."
    vsize = transaction_vsize(len(spent), [o.script for o in settlement.outputs])
    most_sats = min(vsize * MAX_FEERATE_SAT_VB, MAX_FEE_SATS)
    if not 0 < fee_sats <= most_sats:
        yield f"{title}: a fee of {fee_sats:,} sat is not between 1 and {most_sats:,} sat."
    if settlement.kind is Kind.RELEASE:
        yield from _share_problems(title, MAX_RELEASE_FEE_PERCENT, sum(c.value_sats for c in spent), fee_sats)


def _share_problems(title: str, percent: int, paid_sats: int, share_sats: int) -> Iterator[str]:
    if share_sats * 100 > paid_sats * percent:
        yield f"{title}: a fee of {share_sats:,} sat is more than {percent} % of {paid_sats:,} sat."


def _release_problems(settlement: Settlement, terms: CampaignTerms) -> Iterator[str]:
    for output in settlement.outputs:
        if output.script.hex() != terms.payout_script:
            yield f"{_title(settlement)} pays {output.value_sats:,} sat to a script that is not the payout script."
        if output.index is not None:
            yield f"{_title(settlement)} names a pledge (address {output.index}) for what it pays out."


def _refund_problems(settlement: Settlement, spent: list[Coin]) -> Iterator[str]:
    """One output for each pledge spent; the fee is shared by weight, to the satoshi."""
    title = _title(settlement)
    paid: Counter[int] = Counter()
    for coin in spent:
        paid[coin.index] += coin.value_sats
    if Counter(o.index for o in settlement.outputs) != Counter(dict.fromkeys(paid, 1)):
        yield f"{title} does not have exactly one output for each pledge that it spends."
        return
    inputs = Counter(coin.index for coin in spent)
    weights = [inputs[o.index or 0] * P2WPKH_INPUT_WEIGHT + output_weight(o.script) for o in settlement.outputs]
    for output, share_sats in zip(settlement.outputs, largest_remainder(settlement.fee_sats, weights), strict=True):
        owed_sats = paid[output.index or 0] - share_sats
        if output.value_sats != owed_sats:
            yield f"{title} refunds {output.value_sats:,} sat for address {output.index}; {owed_sats:,} sat are due."
        yield from _share_problems(title, MAX_REFUND_FEE_PERCENT, paid[output.index or 0], share_sats)


def _txid(settlement: Settlement) -> str:
    """Of the transaction that the bundle describes. An input's value is no part of what a txid hashes."""
    inputs = tuple(TxInput(txid, vout, 0, 0) for txid, vout in settlement.inputs)
    outputs = tuple(TxOutput(o.script, o.value_sats) for o in settlement.outputs)
    return UnsignedTx(inputs, outputs, settlement.locktime).txid


def _title(settlement: Settlement) -> str:
    return f"The {settlement.kind} {settlement.txid}"


def _name(outpoint: Outpoint) -> str:
    return f"{outpoint[0]}:{outpoint[1]}"


def _word(outcome: Outcome | None) -> str:
    return "not decided" if outcome is None else outcome.value
