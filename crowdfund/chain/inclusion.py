"""Proofs that transactions lie in blocks, from whatever kind of server: for the signer, which sees no chain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from crowdfund.chain.backends import AnyBackend
from crowdfund.chain.port import BlockBackend, HistoryItem, WrongAnswer
from crowdfund.wallet.blocks import HEADER_SIZE, raw_transactions
from crowdfund.wallet.merkle import branches_of

HEADERS_AT_ONCE = 2_000


@dataclass(frozen=True)
class Inclusion:
    """A transaction with the branch that leads from it to the Merkle root of its block."""

    txid: str
    height: int
    raw: bytes
    branch: tuple[str, ...]
    position: int


def headers_from(backend: AnyBackend, first_height: int, last_height: int) -> bytes:
    """The best chain's headers between these heights, both included, one after the other. Raises WrongAnswer where
    the server has fewer; whether they hang together the reader checks."""
    found: list[bytes] = []
    wanted = last_height - first_height + 1
    while len(found) < wanted:
        part = backend.headers(first_height + len(found), min(HEADERS_AT_ONCE, wanted - len(found)))
        if not part:
            raise WrongAnswer(f"The server has no header at height {first_height + len(found)}.")
        if any(len(header) != HEADER_SIZE for header in part):
            raise WrongAnswer(f"The server's headers from height {first_height + len(found)} on cannot be read.")
        found += part
    return b"".join(found[:wanted])


def inclusions(backend: AnyBackend, items: Iterable[tuple[str, int]]) -> list[Inclusion]:
    """Proofs for these (txid, height), in their order of height and txid. Raises WrongAnswer where one is missing."""
    wanted = sorted(set(items), key=lambda item: (item[1], item[0]))
    if isinstance(backend, BlockBackend):
        return _from_blocks(backend, wanted)
    asked = [HistoryItem(txid, height) for txid, height in wanted]
    raw = backend.transactions([txid for txid, _ in wanted])
    proofs = backend.proofs(asked)
    try:
        return [
            Inclusion(item.txid, item.height, raw[item.txid], tuple(branch), position)
            for item, (branch, position) in zip(asked, proofs, strict=True)
        ]
    except KeyError as error:
        raise WrongAnswer(f"The server has no transaction {error.args[0]}.") from error


def _from_blocks(backend: BlockBackend, wanted: list[tuple[str, int]]) -> list[Inclusion]:
    by_height: dict[int, list[str]] = defaultdict(list)
    for txid, height in wanted:
        by_height[height].append(txid)
    found = []
    for height, txids in by_height.items():
        block_hash = backend.block_hash(height)
        if block_hash is None:
            raise WrongAnswer(f"The server has no block at height {height}.")
        try:
            transactions = raw_transactions(backend.block(block_hash))
        except ValueError as error:
            raise WrongAnswer(f"The server's block {height} cannot be read: {error}.") from error
        places = {txid: n for n, (txid, _) in enumerate(transactions)}
        missing = [txid for txid in txids if txid not in places]
        if missing:
            raise WrongAnswer(f"Block {height} does not hold {missing[0]}.")
        branches = branches_of([txid for txid, _ in transactions], (places[txid] for txid in txids))
        for txid in txids:
            position = places[txid]
            found.append(Inclusion(txid, height, transactions[position][1], branches[position], position))
    return found
