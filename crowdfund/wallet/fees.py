"""Sizes and fees of settlement transactions: integers only. Pure.

Weights follow BIP 141. A P2WPKH input is counted with a 72-byte signature, the longest that bitcoinlib makes
(low S, BIP 146), so that the feerate paid is never below the one asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

P2WPKH_INPUT_WEIGHT = 41 * 4 + 1 + 1 + 72 + 1 + 33
OVERHEAD_WEIGHT = (4 + 4) * 4 + 2
DUST_RELAY_SAT_PER_KVB = 3000

MIN_FEERATE_SAT_VB = 1
MAX_FEERATE_SAT_VB = 500
MAX_FEE_SATS = 5_000_000  # of one transaction
MAX_RELEASE_FEE_PERCENT = 10  # of what a release spends
MAX_REFUND_FEE_PERCENT = 50  # of what one pledge's coins in a refund hold
MAX_WEIGHT = 400_000  # heavier transactions are not relayed


def clamp_feerate(estimate_sat_vb: int | None, fallback_sat_vb: int = 2) -> int:
    """The node's estimate held between 1 and 500 sat/vB; the fallback where the node has none."""
    feerate = fallback_sat_vb if estimate_sat_vb is None else estimate_sat_vb
    return max(MIN_FEERATE_SAT_VB, min(MAX_FEERATE_SAT_VB, feerate))


def output_weight(script: bytes) -> int:
    """Weight of an output paying `script`."""
    return (8 + _varint_size(len(script)) + len(script)) * 4


def transaction_weight(input_count: int, output_scripts: Sequence[bytes]) -> int:
    """Weight of a transaction with `input_count` P2WPKH inputs and these outputs, at most."""
    weight = OVERHEAD_WEIGHT + input_count * P2WPKH_INPUT_WEIGHT
    weight += (_varint_size(input_count) + _varint_size(len(output_scripts))) * 4
    return weight + sum(output_weight(script) for script in output_scripts)


def transaction_vsize(input_count: int, output_scripts: Sequence[bytes]) -> int:
    """Virtual size in vB of a transaction with `input_count` P2WPKH inputs and these outputs."""
    return -(-transaction_weight(input_count, output_scripts) // 4)


def dust_limit_sats(script: bytes) -> int:
    """The smallest output that nodes relay: what it would cost to spend it at 3 sat/vB (Core's dust rule)."""
    witness = len(script) >= 4 and script[0] in (0x00, *range(0x51, 0x61)) and script[1] == len(script) - 2
    spend_vsize = 67 if witness else 148
    return (8 + _varint_size(len(script)) + len(script) + spend_vsize) * DUST_RELAY_SAT_PER_KVB // 1000


def largest_remainder(total: int, weights: Sequence[int]) -> list[int]:
    """Split `total` in proportion to `weights`; the parts sum to it exactly. Ties go to the earlier part."""
    whole = sum(weights)
    if whole <= 0:
        raise ValueError("nothing to share by")
    parts = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(total * weights[i] % whole), i))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts


def _varint_size(n: int) -> int:
    return 1 if n < 0xFD else 3 if n <= 0xFFFF else 5
