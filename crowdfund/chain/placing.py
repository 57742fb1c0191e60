"""From headers that hang together to references of blocks at their heights. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from crowdfund.chain.port import BlockRef
from crowdfund.wallet.headers import Header, median_time_past


def place(headers: Sequence[Header], first_height: int, wanted_height: int) -> list[BlockRef]:
    """References to the blocks from `wanted_height` on; the ten headers before it (fewer at the first block) must
    be there, since the median time past is that of eleven."""
    refs = []
    for i in range(wanted_height - first_height, len(headers)):
        height, header = first_height + i, headers[i]
        prev_hash = header.prev_hash if height else ""
        median = median_time_past(headers, i)
        refs.append(BlockRef(height, header.hash, prev_hash, header.time, median, header.merkle_root))
    return refs
