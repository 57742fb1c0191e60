"""Payments on a real node that have a rival for the same coin, and blocks that hold what they are told, no more."""

from __future__ import annotations

from dataclasses import dataclass

from crowdfund.chain.regtest import RegtestNode
from support.node import new_address


@dataclass(frozen=True)
class Payment:
    """A signed payment that nobody has seen, and another, for a higher fee, that spends the same coin."""

    txid: str
    raw: str
    rival: str


def payment(node: RegtestNode, address: str, sats: int) -> Payment:
    """Out of a coin that is older than any branch here."""
    coin = next(c for c in node.bank("listunspent", 12) if c["amount"] * 10**8 > sats + 200_000)
    held_sats = int(coin["amount"] * 10**8)

    def signed(paid: dict[str, int], fee_sats: int) -> str:
        paid = {**paid, new_address(node): held_sats - fee_sats - sum(paid.values())}
        outputs = [{to: f"{value // 10**8}.{value % 10**8:08d}"} for to, value in paid.items()]
        spent = [{"txid": coin["txid"], "vout": coin["vout"], "sequence": 0xFFFFFFFD}]
        raw = node.bank("createrawtransaction", spent, outputs)
        return str(node.bank("signrawtransactionwithwallet", raw)["hex"])

    raw = signed({address: sats}, 2_000)
    return Payment(str(node.rpc("decoderawtransaction", raw)["txid"]), raw, signed({}, 50_000))


def orphan(node: RegtestNode, address: str, sats: int) -> tuple[Payment, str]:
    """A payment to somebody else, which is sent, and in hex the one to `address` that spends it: it is gone when the
    rival of the first one comes, and nothing stands in its own place."""
    before = payment(node, new_address(node), sats + 2_000)
    node.rpc("sendrawtransaction", before.raw)
    spent, paid = [{"txid": before.txid, "vout": 0}], [{address: f"{sats // 10**8}.{sats % 10**8:08d}"}]
    raw = str(node.bank("createrawtransaction", spent, paid))
    return before, str(node.bank("signrawtransactionwithwallet", raw)["hex"])


def block(node: RegtestNode, *held: str) -> str:
    """A block with these transactions (txids of the mempool, or raw) and no others."""
    return str(node.rpc("generateblock", new_address(node), list(held))["hash"])
