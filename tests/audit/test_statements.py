"""What a creator says of own money is told by the audit, and checked as far as it can be."""

from __future__ import annotations

from datetime import UTC, datetime

from audit.auditing import audited, bundle_of
from crowdfund.audit.verify import verify
from crowdfund.campaigns import own_money
from crowdfund.campaigns.models import Pledge
from support.world import World


def test_a_statement_is_told_and_not_taken_for_a_proof(world: World) -> None:
    campaign = world.campaign()
    own, _ = world.paid(campaign, 300_000), world.paid(campaign, 200_000)
    silent = bundle_of(world, campaign)
    assert "statements" not in silent
    with world.database.transaction() as session:
        pledge = session.get_one(Pledge, own.id)
        own_money.declare(session, pledge.campaign.creator, pledge, True, datetime.now(UTC))
    bundle, report = audited(world, campaign)
    assert bundle == {**silent, "statements": {"own_money": [own.index]}} and report.ok
    (found,) = (f for f in report.findings if f.check == "statements")
    assert found.ok is None and "300,000 sat of what counts, 200,000 sat without them. No chain can" in found.sentence
    lie = {**bundle, "statements": {"own_money": [7]}}
    (found,) = (f for f in verify(lie, world.core).findings if f.check == "statements")
    assert found.ok is False and "Address 7 is said to hold the creator's own money, and holds none." in found.sentence
