"""What the bundle claims, held against what a server says: each check yields a sentence for every difference.

Each check is told the same `Case`. May ask the server for what it needs; may not change anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from crowdfund.audit import chain_facts
from crowdfund.audit.chain_facts import ChainFacts, Spend
from crowdfund.audit.claims import Claims, Coin, Settlement
from crowdfund.audit.reckon import Reckoning, Spending, reckon
from crowdfund.campaigns.lifecycle import Kind
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.chain.agreement import refuse_wrong_chain
from crowdfund.chain.backends import AnyBackend
from crowdfund.chain.core import CoreBackend
from crowdfund.chain.port import BlockBackend, BlockRef, ChainBackend
from crowdfund.errors import WorldError


@dataclass(frozen=True)
class Case:
    """The claims, and everything recomputed from the chain."""

    claims: Claims
    terms: CampaignTerms
    facts: ChainFacts
    reckoning: Reckoning


def kind_of(backend: ChainBackend) -> str:
    """How sentences call what is asked: a node, or a server that is none."""
    return "node" if isinstance(backend, CoreBackend) else "server"


def asked(backend: AnyBackend) -> str:
    """Who was asked, and what it could have kept quiet about."""
    if isinstance(backend, CoreBackend):
        trust = "It checks all of the chain itself; one that is not yours can still keep quiet about blocks and coins."
    elif isinstance(backend, BlockBackend):
        trust = "Every block was read whole, so it could hide no coin in them; it can keep quiet about other blocks."
    else:
        trust = "All that it told was proven to be in the chain; it can keep quiet about coins and what spends them."
    return f"The {backend.name} was asked. {trust}"


def network_problems(claims: Claims, backend: ChainBackend) -> Iterator[str]:
    """Nothing can be wrong with the bundle here: raises WorldError where the server is on another network."""
    refuse_wrong_chain(backend, backend.status(), claims.network)
    return iter(())


def as_of_problems(claims: Claims, backend: ChainBackend) -> Iterator[str]:
    """Is the bundle's last block on the best chain, and its time the right one?

    Raises WorldError while the server has not come that far, as far as one can tell.
    """
    as_of = claims.as_of
    block = chain_facts.block_at(backend, claims.network, as_of.height)
    if block is None:
        status, kind = backend.status(), kind_of(backend)
        if kind == "server" or not status.synced:
            raise WorldError(f"The {kind} has only come to block {status.height:,}; wait until it has caught up.")
        yield f"The bundle speaks of block {as_of.height:,}; the chain ends at block {status.height:,}."
    elif block.hash != as_of.block_hash:
        yield f"Block {as_of.height:,} is {block.hash} on the chain, not {as_of.block_hash}: get a newer bundle."
    elif block.median_time_past != as_of.median_time_past:
        yield f"Block {as_of.height:,} has median time past {block.median_time_past}, not {as_of.median_time_past}."


def still_there(claims: Claims, backend: ChainBackend) -> None:
    """Raise WorldError if a reorganisation took the bundle's last block away while the chain was read."""
    if backend.block_hash(claims.as_of.height) != claims.as_of.block_hash:
        raise WorldError("The chain was reorganised while it was read; get a newer bundle and try again.")


def opening_block(terms: CampaignTerms, backend: ChainBackend) -> BlockRef | None:
    """The block that the terms name, if the server can tell of it."""
    return chain_facts.known_block(backend, terms.network, terms.opened_height, terms.opened_hash)


def opening_problems(terms: CampaignTerms, backend: ChainBackend) -> Iterator[str]:
    """The terms, and so the addresses, name a block: nothing can have been paid before it was known."""
    block = opening_block(terms, backend)
    if block is not None and block.height != terms.opened_height:
        yield f"The terms place block {terms.opened_hash} at height {terms.opened_height:,}; it is {block.height:,}."


def first_height(claims: Claims, terms: CampaignTerms, backend: AnyBackend) -> int:
    """Where to begin: before the block named in the terms, or at the very first block where nobody knows it.
    Histories of scripts begin at the first block in any case."""
    block = opening_block(terms, backend)
    whole_chain = block is None and isinstance(backend, BlockBackend)
    opened = terms.opened_height if block is None else block.height
    start = 0 if whole_chain else opened - chain_facts.REORGANISATION
    return max(0, min(start, claims.as_of.height))


def build_case(claims: Claims, terms: CampaignTerms, backend: AnyBackend) -> Case:
    """Read the chain and recompute."""
    deadline_s = int(terms.deadline.timestamp())
    first, end = first_height(claims, terms, backend), chain_facts.Cancelling.of(terms)
    facts = chain_facts.gather(backend, claims, deadline_s, first, end)
    closing_height = None if facts.closing is None else facts.closing[0]
    settlements = {s.txid: _spending(s, facts.spends.get(s.txid)) for s in claims.settlements}
    coins, cancelled = list(facts.coins.values()), facts.cancelled_by is not None
    reckoning = reckon(terms, closing_height, claims.as_of.height, coins, settlements, cancelled)
    return Case(claims, terms, facts, reckoning)


def coin_problems(case: Case) -> Iterator[str]:
    """The coins in the bundle are the coins on the chain: none hidden, none invented, every field the same."""
    claimed = {coin.outpoint: coin for coin in case.claims.coins}
    for outpoint, coin in case.facts.coins.items():
        name = f"{coin.txid}:{coin.vout}"
        if outpoint in claimed:
            yield from _field_problems(name, claimed[outpoint], coin)
        elif coin.index >= case.claims.issued:
            yield f"Coin {name} ({coin.value_sats:,} sat) lies at address {coin.index}, which was never given out."
        else:
            yield f"Coin {name} ({coin.value_sats:,} sat, address {coin.index}) is on the chain, not in the bundle."
    for txid, vout in claimed.keys() - case.facts.coins.keys():
        yield f"Coin {txid}:{vout} is in the bundle, but not on the chain."


def unspent_problems(case: Case, backend: ChainBackend) -> Iterator[str]:
    """A second opinion, from the server's own set of unspent outputs. Raises WorldError where it cannot be had."""
    moved_on = WorldError("The chain has moved on since the bundle was made.")
    if backend.block_hash(case.claims.as_of.height + 1) is not None:
        raise moved_on
    tip_hash, unspent = chain_facts.unspent_at_tip(backend, case.claims.descriptor, case.claims.issued)
    if tip_hash != case.claims.as_of.block_hash:
        raise moved_on
    claimed = {coin.outpoint: coin.value_sats for coin in case.claims.coins if coin.spent_by is None}
    for txid, vout in sorted(claimed.keys() ^ unspent.keys()):
        where = "bundle" if (txid, vout) in claimed else f"{kind_of(backend)}'s set of unspent outputs"
        yield f"Coin {txid}:{vout} is unspent only in the {where}."
    for outpoint in claimed.keys() & unspent.keys():
        if claimed[outpoint] != unspent[outpoint]:
            yield f"Coin {outpoint[0]}:{outpoint[1]} holds {unspent[outpoint]:,} sat in the {kind_of(backend)}'s set."


def spend_problems(case: Case) -> Iterator[str]:
    """Every settlement said to be in a block is there, as described, and spends the campaign's coins alone."""
    for settlement in case.claims.settlements:
        yield from _settlement_problems(case, settlement, case.facts.spends.get(settlement.txid))
    known = {s.txid for s in case.claims.settlements}
    for txid in case.facts.spends.keys() - known:
        yield f"Transaction {txid} spends coins of the campaign and is not among its settlements."


def cancellation_problems(case: Case) -> Iterator[str]:
    """The first cancellation in time, found again on the chain: none left out, none invented."""
    told = None if case.claims.cancellation is None else case.claims.cancellation.txid
    found = case.facts.cancelled_by
    if found != told and found is not None:
        where = "not there yet" if case.facts.closing is None else f"{case.facts.closing[0]:,}"
        yield f"Transaction {found} in block {where} cancels the campaign; the bundle has {told or 'no cancellation'}."
    elif found != told:
        yield f"The bundle says that {told} cancels the campaign; the chain has no cancellation in time."


def closing_problems(case: Case) -> Iterator[str]:
    """The closing block, found again from the headers."""
    found, claimed = case.facts.closing, case.claims.closing
    if found != claimed:
        yield f"The closing block is {_block(claimed)} in the bundle; on the chain it is {_block(found)}."


def result_problems(case: Case) -> Iterator[str]:
    """Outcome and counted sum, from the coins on the chain."""
    found, claims = case.reckoning, case.claims
    if found.outcome is not claims.outcome:
        yield f"The outcome is {_show(claims.outcome)} in the bundle; from the chain follows {_show(found.outcome)}."
    if found.counted_sats != claims.counted_sats:
        yield f"The bundle counts {claims.counted_sats:,} sat; the chain makes {found.counted_sats:,} sat."


def bucket_problems(case: Case) -> Iterator[str]:
    """Every bucket, from the coins and spends on the chain, and their sum."""
    for name, value_sats in case.reckoning.buckets.items():
        if case.claims.buckets[name] != value_sats:
            claimed_sats = case.claims.buckets[name]
            yield f"Bucket {name} holds {claimed_sats:,} sat in the bundle, {value_sats:,} sat on the chain."
    total_sats = sum(coin.value_sats for coin in case.facts.coins.values())
    if sum(case.claims.buckets.values()) != total_sats:
        yield f"The chain paid {total_sats:,} sat to the campaign; the buckets hold another sum."
    for outpoint, label in case.reckoning.labels.items():
        claimed = case.claims.labels.get(outpoint, label)
        if claimed != label:
            yield f"Coin {outpoint[0]}:{outpoint[1]} is called {claimed} in the bundle; it is {label}."


def _spending(settlement: Settlement, spend: Spend | None) -> Spending:
    """What the chain says of a settlement; only of one that is in no block, what the bundle says."""
    if spend is None:
        return Spending(settlement.kind, settlement.inputs, sum(o.value_sats for o in settlement.outputs))
    return Spending(settlement.kind, spend.inputs, sum(value_sats for value_sats, _ in spend.outputs))


def _settlement_problems(case: Case, settlement: Settlement, spend: Spend | None) -> Iterator[str]:
    title = f"The {settlement.kind} {settlement.txid}"
    if spend is None:
        if settlement.height is not None:
            yield f"{title} is in no block of the chain."
        return
    if spend.height != settlement.height:
        yield f"{title} is in block {spend.height:,}, not {settlement.height}."
    if spend.inputs != settlement.inputs:
        yield f"{title} spends other outpoints on the chain than in the bundle."
    if spend.outputs != tuple((o.value_sats, o.script) for o in settlement.outputs):
        yield f"{title} pays otherwise on the chain than in the bundle."
    if any(outpoint not in case.facts.coins for outpoint in spend.inputs):
        yield f"{title} also spends coins that are not the campaign's."
    paid_elsewhere = any(script.hex() != case.terms.payout_script for _, script in spend.outputs)
    if settlement.kind is Kind.RELEASE and paid_elsewhere:
        yield f"{title} pays, on the chain, a script that is not the payout script."


def _field_problems(name: str, claimed: Coin, found: Coin) -> Iterator[str]:
    for field in fields(Coin):
        mine, theirs = getattr(claimed, field.name), getattr(found, field.name)
        if mine != theirs:
            yield f"Coin {name}: {field.name} is {_show(mine)} in the bundle, {_show(theirs)} on the chain."


def _show(value: object) -> str:
    return "empty" if value is None else str(value)


def _block(block: tuple[int, str] | None) -> str:
    return "not there yet" if block is None else f"{block[0]:,} ({block[1]})"
