"""What must hold of the ledger, each as a comparison of two accounts of the same thing. Pure.

A breach says what is wrong in a sentence for the operator. It names a campaign, or none where it concerns all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from crowdfund.campaigns.ledger import AT_ADDRESS, FIRST_PREV_HASH, OUTSIDE, Bucket, seal


@dataclass(frozen=True)
class Breach:
    """`halts`: must settlement stand still, or is it enough that somebody hears of it?"""

    campaign_id: str | None
    sentence: str
    halts: bool = True


@dataclass(frozen=True)
class Link:
    """How far the chain of hashes was followed: a transfer and its hash."""

    id: int = 0
    hash: str = FIRST_PREV_HASH


@dataclass(frozen=True)
class HeldCoin:
    """A coin where the rules put it, and where its transfers have put it; account -> satoshi."""

    outpoint: str
    derived: Mapping[str, int]
    posted: Mapping[str, int]


@dataclass(frozen=True)
class LyingCoin:
    """An output at an address of ours that nothing has spent, in the books or on the chain."""

    txid: str
    vout: int
    value_sats: int
    height: int


def follow_hashes(rows: Iterable[tuple[Mapping[str, object], str]], since: Link) -> tuple[Link, list[Breach]]:
    """Follow the chain of hashes: `rows` are (sealed columns, hash) in order of id. Ends at the first break."""
    for columns, own_hash in rows:
        number = columns["id"]
        if number != since.id + 1:
            return since, [Breach(None, f"Transfer {since.id + 1} is missing from the ledger.")]
        if columns["prev_hash"] != since.hash:
            return since, [Breach(None, f"Transfer {number} does not hang on the one before it.")]
        if seal(columns) != own_hash:
            return since, [Breach(None, f"Transfer {number} was changed after it was posted: its hash is another.")]
        since = Link(since.id + 1, own_hash)
    return since, []


def balance_breaches(campaign_id: str, balances: Mapping[str, int], sums: Mapping[str, int]) -> list[Breach]:
    """The running balances, against the sums of all transfers: account -> satoshi."""
    found = []
    for account in sorted({*balances, *sums}):
        kept, added = balances.get(account, 0), sums.get(account, 0)
        if kept != added:
            found.append(f"The balance of {account} is {kept:,} sat; its transfers sum to {added:,} sat.")
        if added < 0 and account != OUTSIDE:
            found.append(f"Account {account} has given {-added:,} sat more than it was given.")
    if total := sum(sums.values()):
        found.append(f"All entries sum to {total:,} sat instead of nothing.")
    return [Breach(campaign_id, sentence) for sentence in found]


def place_breaches(campaign_id: str, coins: Iterable[HeldCoin]) -> list[Breach]:
    """Each coin's place in the ledger, against what the facts and the rules say."""
    return [
        Breach(
            campaign_id,
            f"The ledger has {coin.outpoint} in {_words(coin.posted)}; by the rules it is in {_words(coin.derived)}.",
        )
        for coin in coins
        if dict(coin.derived) != dict(coin.posted)
    ]


def received_breaches(campaign_id: str, balances: Mapping[str, int], received_sats: int) -> list[Breach]:
    """What came in, against the coins that blocks hold."""
    came_in_sats = -balances.get(OUTSIDE, 0)
    if came_in_sats == received_sats:
        return []
    sentence = f"By the ledger {came_in_sats:,} sat came in; the coins in blocks hold {received_sats:,} sat."
    return [Breach(campaign_id, sentence)]


def theft_breaches(balances: Mapping[str, int], acknowledged_sats: int = 0) -> list[Breach]:
    """Coins spent by somebody else mean that somebody else has keys: that concerns all, until a person has looked at
    each."""
    stolen_sats = balances.get(Bucket.FOREIGN_SPEND, 0) - acknowledged_sats
    if stolen_sats <= 0:
        return []
    return [Breach(None, f"{stolen_sats:,} sat of ours were spent by a transaction that is not ours.")]


def unspent_breaches(
    campaign_id: str, balances: Mapping[str, int], books: Iterable[LyingCoin], chain: Iterable[LyingCoin]
) -> list[Breach]:
    """What lies at a campaign's addresses: by the ledger, by its coins, and by the chain's own set of unspent outputs.

    A coin that only the chain has stops nothing: it is taken in before anything is decided.
    """
    ours, there = set(books), set(chain)
    held_sats = sum(sats for account, sats in balances.items() if account in AT_ADDRESS)
    ours_sats = sum(coin.value_sats for coin in ours)
    found = [
        Breach(campaign_id, f"{c.txid}:{c.vout} is in the books, and is not among the unspent outputs.")
        for c in sorted(ours - there, key=_outpoint)
    ]
    if held_sats != ours_sats:
        sentence = f"The ledger has {held_sats:,} sat at the addresses; the unspent coins hold {ours_sats:,} sat."
        found.append(Breach(campaign_id, sentence))
    found += [
        Breach(campaign_id, f"{c.txid}:{c.vout} is among the unspent outputs, and not in the books yet.", halts=False)
        for c in sorted(there - ours, key=_outpoint)
    ]
    return found


def _outpoint(coin: LyingCoin) -> tuple[str, int]:
    return coin.txid, coin.vout


def _words(place: Mapping[str, int]) -> str:
    return " and ".join(f"{account} ({sats:,} sat)" for account, sats in sorted(place.items())) or OUTSIDE
