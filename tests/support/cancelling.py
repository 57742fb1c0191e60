"""A creator who cancels: coins at the payout address, and the transaction that spends one, signed by the bank."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select

from crowdfund.campaigns import cancel_desk
from crowdfund.campaigns.cancel_models import CancellationDraft
from crowdfund.campaigns.models import Campaign
from crowdfund.chain.regtest import RegtestNode
from crowdfund.wallet.cancellation import mark, reason_hash
from support.node import new_address
from support.world import World

REASON = "I have fallen ill and cannot build it this year."
COIN_SATS, FEE_SATS = 50_000, 1_000


def cancellation(node: RegtestNode, coin: tuple[str, int], terms_hash: bytes, reason: str = REASON) -> str:
    """A transaction in hex that cancels, signed by the bank, to which `coin` (of COIN_SATS) belongs."""
    data = mark(terms_hash, reason_hash(reason))[2:].hex()
    outputs: list[dict[str, str]] = [{new_address(node): f"0.{COIN_SATS - FEE_SATS:08d}"}, {"data": data}]
    made = node.rpc("createrawtransaction", [{"txid": coin[0], "vout": coin[1]}], outputs)
    whole = node.bank("signrawtransactionwithwallet", made)
    assert whole["complete"]
    return str(whole["hex"])


def payout_coin(node: RegtestNode, address: str) -> tuple[str, int]:
    """A new coin of COIN_SATS at this address, unconfirmed; the bank leaves it alone."""
    txid = str(node.pay(address, COIN_SATS))
    outputs = node.rpc("getrawtransaction", txid, 1)["vout"]
    number = next(o["n"] for o in outputs if o["scriptPubKey"].get("address") == address)
    node.bank("lockunspent", False, [{"txid": txid, "vout": number}])  # the bank pays with others
    return txid, number


class Canceller:
    """Has the key of a campaign's payout address, which is one of the bank's."""

    def __init__(self, world: World, campaign_id: str) -> None:
        self.node: RegtestNode = world.node
        terms = world.snapshot(campaign_id).terms
        assert terms is not None
        self.terms = terms
        self.reason = REASON

    def coin(self, confirmed: bool = True) -> tuple[str, int]:
        """A new coin at the payout address."""
        return self.paid_to(self.terms.payout_address, confirmed)

    def paid_to(self, address: str, confirmed: bool = True) -> tuple[str, int]:
        """A new coin at this address."""
        coin = payout_coin(self.node, address)
        if confirmed:
            self.node.mine()
        return coin

    def signed(self, coin: tuple[str, int], terms_hash: bytes | None = None) -> str:
        """The cancellation that spends this coin, in hex."""
        return cancellation(self.node, coin, terms_hash or self.terms.hash, self.reason)

    def send(self, mined: bool = True) -> str:
        """Cancel; returns the txid."""
        txid = str(self.node.rpc("sendrawtransaction", self.signed(self.coin())))
        if mined:
            self.node.mine()
        return txid

    def undo(self, txid: str, longer: int = 1) -> None:
        """Put a longer branch without `txid` in place of its block and those above it."""
        block = self.node.rpc("getrawtransaction", txid, 1)["blockhash"]
        height = self.node.rpc("getblockheader", block)["height"]
        above = int(self.node.rpc("getblockcount")) - height + 1
        self.node.rpc("invalidateblock", block)
        others = [t for t in self.node.rpc("getrawmempool") if t != txid]
        for n in range(above + longer):
            self.node.rpc("generateblock", new_address(self.node), others if not n else [])

    def ask(self, world: World) -> CancellationDraft:
        """What the creator's page does: give the reason and show a coin."""
        txid, _ = self.coin()
        raw = str(self.node.rpc("getrawtransaction", txid))
        with world.database.transaction() as session:
            campaign = session.scalars(select(Campaign).where(Campaign.terms_hash == self.terms.hash.hex())).one()
            typed = (self.terms.title, self.reason, raw)
            return cancel_desk.draft(session, campaign.creator, campaign.id, typed, 2, datetime.now(UTC))
