"""Before anything is decided: is this the right network, and does a second backend see the same blocks?

A server can hide a block or a whole branch without any lie that a check of ours would find; two servers that do not
know each other rarely hide the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crowdfund.chain.port import ChainBackend, NodeStatus
from crowdfund.errors import WorldError
from crowdfund.wallet.networks import NETWORKS


@dataclass(frozen=True)
class Doubt:
    """Why a decision waits: a sentence for everyone, and one for the operator that names the server. `height` is the
    disputed block's, None where nothing is disputed."""

    sentence: str
    detail: str
    height: int | None


def refuse_wrong_chain(backend: ChainBackend, status: NodeStatus, network: str) -> None:
    """Raises WorldError unless the first block is that of `network`."""
    wanted = NETWORKS[network]
    if status.genesis_hash != wanted.genesis:
        raise WorldError(
            f"The {backend.name} is not on {wanted.title}: its first block is another. Nothing is read from it."
        )


def second_opinion(second: ChainBackend, network: str, blocks: Mapping[int, str]) -> Doubt | None:
    """None if `second` has the same blocks (height -> hash), else what keeps us from deciding."""
    try:
        status = second.status()
        refuse_wrong_chain(second, status, network)
        seen = {height: second.block_hash(height) for height in blocks}
    except WorldError as error:
        sentence = "The decision waits for a second opinion: the server that is asked for it gives none."
        return Doubt(sentence, f"A decision waits for a second opinion: {error.sentence}", None)
    for height, block_hash in sorted(blocks.items()):
        if seen[height] is None:
            return _doubt("waits until {} has seen block {:,} too.", second, height, None)
        if seen[height] != block_hash:
            return _doubt("waits: {} has another block {:,} than we have.", second, height, height)
    return None


def _doubt(words: str, second: ChainBackend, height: int, disputed: int | None) -> Doubt:
    public = words.format("a second server", height)
    return Doubt(f"The decision {public}", f"A decision {words.format(f'the {second.name}', height)}", disputed)
