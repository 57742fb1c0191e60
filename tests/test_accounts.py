"""Accounts that were stored before there were receipt keys: the worker asks for what they lack."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select, text

from crowdfund.campaigns.models import Account
from crowdfund.chain.regtest import RegtestNode
from crowdfund.wallet.signer_client import SignerClient
from support.world import World


def test_the_worker_fills_in_receipt_keys_and_then_campaigns_can_be_published(
    node: RegtestNode, tmp_path: Path
) -> None:
    world = World(node, tmp_path)
    offered = SignerClient(world.settings.signer_socket).accounts(0, 30)
    with world.database.transaction() as session:
        session.add_all(Account(index=a.index, xpub=a.xpub, fingerprint=a.fingerprint) for a in offered)
    with world:
        for _ in range(2):
            world.worker.keep_accounts()
        with world.database.reading() as session:
            held = session.scalars(select(Account).order_by(Account.index)).all()
        assert [a.receipt_key for a in held[:30]] == [a.receipt_key for a in offered], (
            "thirty of them, twenty at a time"
        )
        terms = world.snapshot(world.campaign()).terms
        assert terms is not None and terms.receipt_key == offered[0].receipt_key


def test_an_account_that_a_campaign_has_taken_is_left_as_it_is(world: World) -> None:
    """A campaign of the first version gives no receipts: its account needs no key."""
    with world.database.transaction() as session:
        session.execute(text("DROP TRIGGER accounts_frozen_receipt_key"))
    campaign = world.campaign()
    index = world.snapshot(campaign).campaign.account_index
    with world.database.transaction() as session:
        session.get_one(Account, index).receipt_key = None
    world.worker.keep_accounts()
    with world.database.reading() as session:
        assert session.get_one(Account, index).receipt_key is None
