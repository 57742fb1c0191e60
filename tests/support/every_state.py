"""Every state that a pledge and a campaign can be in, made real on a node, and what their pages must say in it.

`story` yields what there is to look at while it lasts: some states are gone when the next one comes. The sentences are
English ones, as the catalogues have them; the pages are looked at by others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from unittest.mock import patch

from crowdfund.campaigns import settling, thefts
from crowdfund.campaigns.models import Pledge
from crowdfund.campaigns.settlement import plan_release
from crowdfund.wallet.keystore import Keystore
from support.cancelling import Canceller
from support.node import new_address
from support.rivals import block, orphan, payment
from support.world import DAY, World

K = 3  # blocks that confirm an end, so that there is time to look at it
TITLE = "Sembradora · Sämaschine"
LICENCE = "CERN-OHL-S-2.0", "CERN Open Hardware Licence Version 2 - Strongly Reciprocal"
# What people wrote, and names: the same in every language.
WRITTEN = frozenset({TITLE, *LICENCE})
# Much like others: only the thorough look at these, too.
ALIKE = frozenset({
    "campaign open, seen", "campaign undone", "campaign closing, missed", "pledge called off, on its way",
    "pledge called off, refunded", "pledge late, refunded", "pledge in a block", "pledge not wanted",
})  # fmt: skip
LABEL_SEEN = "seen, not yet counted"
WAITS = "Scan the code with your wallet. The payment shows here a moment after you send it."
REORGANISED = (
    "Your payment was confirmed already; then the network replaced its blocks from %(block)s on, and yours with them. "
    "Nothing is lost: the payment waits for another block, and counts again once it is in one."
)
SHORT = "%(amount)s count toward the goal. %(missing)s are missing: scan again to add them, or leave it as it is."
EVICTED = (
    "It left the network before a block took it, most often because its fee was too low. The money is still in the "
    "wallet that sent it."
)
REPLACED = (
    "The wallet that paid has sent another transaction in its place, and that one pays nothing here. The money is with "
    "that transaction."
)
DOUBLE_SPENT = (
    "A block holds another transaction that spends the same money, so this payment cannot be confirmed any more."
)
RIPENS = (
    "%(amount)s come straight from a miner. Such coins may not move for 100 blocks, so they count after these, about "
    "17 hours after they were mined. If the campaign ends before, they are sent back to you."
)
OVER_CAP = (
    "%(amount)s came when the campaign had all that it accepts, so they do not count. Nothing is lost. After the "
    "deadline they are sent back to the address that you gave with your pledge, less the network fee."
)
LATE_SEEN = (
    "The campaign has ended, so the %(amount)s in sight come too late to count. They are sent back to the address that "
    "you gave with your pledge, less the network fee."
)
LATE = (
    "%(amount)s came after the deadline. They do not count. They are sent back to the address that you gave with your "
    "pledge, less the network fee."
)
COMES_BACK = (
    "The creator has cancelled the campaign; your money comes back. It is sent to the address that you gave with your "
    "pledge, less the network fee, as soon as the cancellation is deep enough in the chain."
)
FOREIGN = (
    "Your payment arrived. Then a transaction that is not ours has spent it. Until whoever runs this site has looked "
    "into it, nobody is paid or refunded. What they find is written here."
)
TAKEN = (
    "Your payment arrived. Then a transaction that is not ours has spent it: it went neither to the project nor back "
    "to you. Ask whoever runs this site."
)
UNCLAIMED = "At today's fees the refund would cost more than it holds. It is kept and sent when fees fall."
WELCOME = "Pledges are welcome. A pledge counts once its payment is in a block."
FULL = "It has all that it accepts. What comes now is sent back after the deadline."
PAID = "The goal was reached and the project has been paid."
CLOSING = "Block %(height)s ended the campaign; the outcome is decided when %(num)s blocks confirm it."
CANCELLED = (
    "The creator has cancelled it in block %(height)s. When %(num)s blocks confirm that, every backer is refunded."
)
PAYING_OUT = "The goal was reached. The payout is on its way to the project and waits for a block."
REFUNDING = "The goal was missed. The refunds are on their way to every backer and wait for a block."
CALLED_OFF = "The creator has cancelled it. The refunds are on their way to every backer and wait for a block."
PAID_BACK = "The goal was missed. Every backer has been paid back, less the network fee."
CALLED_OFF_PAID_BACK = "The creator has cancelled it. Every backer has been paid back, less the network fee."
BACK_HOME = "Your money, less its share of the network fee, is back at the address that you gave."
PAY_OUT_IN_A_BLOCK = "It is in a block, and final once %(count)s blocks hold it fast."


@dataclass(frozen=True)
class Look:
    """A page in a state: its address, sentences that stand there, and the satoshi that it names."""

    state: str
    path: str
    says: tuple[str, ...]
    sats: int


@dataclass
class Story:
    """The installation, its campaigns and its pledges by their names."""

    world: World
    campaigns: dict[str, str] = field(default_factory=dict)
    pledges: dict[str, Pledge] = field(default_factory=dict)

    def opens(self, name: str, **changes: Any) -> None:
        """A campaign."""
        self.campaigns[name] = self.world.campaign(
            title=f"{TITLE} {len(self.campaigns)}", summary=TITLE, story=TITLE, **changes
        )

    def pledge(self, name: str, campaign: str, sats: int) -> str:
        """A pledge; returns its address."""
        self.pledges[name] = self.world.pledge(self.campaigns[campaign], sats, name="Ada")
        return str(self.pledges[name].address)

    def pays(self, name: str, sats: int = 0) -> str:
        """From the bank; returns the transaction's id."""
        pledge = self.pledges[name]
        return self.world.node.pay(str(pledge.address), sats or pledge.amount_sats)

    def mine(self, blocks: int = 1) -> None:
        """With all that waits; the worker looks after each."""
        for _ in range(blocks):
            self.world.node.mine()
            self.world.sync()

    def of_pledge(self, state: str, name: str, *says: str) -> Look:
        """What to look at."""
        pledge = self.pledges[name]
        return Look(f"pledge {state}", f"/p/{pledge.id}", says, pledge.amount_sats)

    def of_campaign(self, state: str, name: str, *says: str) -> Look:
        """What to look at."""
        terms = self.world.snapshot(self.campaigns[name]).terms
        assert terms is not None
        return Look(f"campaign {state}", f"/campaigns/{self.campaigns[name]}", says, terms.goal_sats)

    def set_clock_past(self, name: str) -> None:
        """From now on blocks are later than this campaign's deadline."""
        terms = self.world.snapshot(self.campaigns[name]).terms
        assert terms is not None
        self.world.node.rpc("setmocktime", int(terms.deadline.timestamp()) + 1)


def story(world: World) -> Iterator[Sequence[Look]]:
    """From the first campaign to the last refund. The world's ends are K blocks deep when they are decided."""
    told = Story(world)
    for chapter in (_begun, _seen, _undone, _confirmed, _full, _cancelled, _closing, _decided, _settled, _last):
        yield from chapter(told)


def _begun(told: Story) -> Iterator[Sequence[Look]]:
    for name, goal_sats in (("funded", 1_000_000), ("missed", 9_000_000), ("cancelled", 8_000_000)):
        told.opens(name, goal_sats=goal_sats)
    told.opens("capped", goal_sats=200_000, cap_sats=200_000)
    told.opens("later", goal_sats=9_000_000, deadline_at=told.world.chain_now() + 20 * DAY)
    told.pledge("waiting", "missed", 123_000)
    told.world.sync()
    yield [
        told.of_pledge("waiting", "waiting", "Send your pledge", WAITS),
        told.of_campaign("open", "missed", "Open", WELCOME),
    ]


def _seen(told: Story) -> Iterator[Sequence[Look]]:
    node, sync = told.world.node, told.world.sync
    told.pledge("first", "funded", 800_000)
    replaced = payment(node, told.pledge("replaced", "missed", 77_000), 77_000)
    node.rpc("sendrawtransaction", replaced.raw)
    dropped, raw = orphan(node, told.pledge("dropped", "missed", 66_000), 66_000)
    node.rpc("sendrawtransaction", raw)
    told.pays("first")
    sync()
    for sent in (replaced.rival, dropped.rival):
        node.rpc("sendrawtransaction", sent)
    sync()
    yield [
        told.of_pledge("seen", "first", "Your payment is on its way", LABEL_SEEN),
        told.of_campaign("open, seen", "funded", "Open", LABEL_SEEN),
        told.of_pledge("replaced", "replaced", "Your payment was replaced by another", REPLACED),
        told.of_pledge("dropped", "dropped", "The network has dropped your payment", EVICTED),
    ]


def _undone(told: Story) -> Iterator[Sequence[Look]]:
    (mined,) = told.world.node.mine()
    told.world.sync()
    yield [
        told.of_pledge("confirmed", "first", "Your pledge counts"),
        told.of_pledge("double-spent", "replaced", "Your payment cannot arrive any more", DOUBLE_SPENT),
    ]
    told.world.node.rpc("invalidateblock", mined)
    told.world.sync()
    yield [
        told.of_pledge("undone", "first", "Your payment is on its way", REORGANISED),
        told.of_campaign("undone", "funded", "Out of the ordinary", LABEL_SEEN),
    ]


def _confirmed(told: Story) -> Iterator[Sequence[Look]]:
    for name, sats, paid_sats in (("short", 100_000, 40_000), ("over", 100_000, 150_000)):
        told.pledge(name, "funded", sats)
        told.pays(name, paid_sats)
    told.pledge("short at last", "missed", 250_000)
    told.pays("short at last", 90_000)
    told.mine()
    told.world.node.rpc("generatetoaddress", 1, told.pledge("ripens", "later", 40_000))
    told.world.sync()
    yield [
        told.of_pledge("short", "short", "A part of your pledge has arrived", SHORT),
        told.of_pledge("over", "over", "Your pledge counts, and more", "All %(amount)s that you sent count, also what "
                       "is above %(pledged)s."),
        told.of_pledge("ripens", "ripens", "Your payment has arrived and ripens", RIPENS),
        told.of_campaign("nearly funded", "funded", "Open", WELCOME),
    ]  # fmt: skip


def _full(told: Story) -> Iterator[Sequence[Look]]:
    told.pledge("whole", "capped", 200_000)
    told.pays("whole")
    told.pledge("above", "capped", 60_000)
    told.pledge("unpaid", "capped", 50_000)
    told.pledge("last", "funded", 110_000)
    told.pays("last")
    told.mine()
    told.pays("above")
    told.mine()
    yield [
        told.of_pledge("above the cap", "above", "Your payment comes back to you", OVER_CAP),
        told.of_pledge("not wanted", "unpaid", "Please do not pay any more",
                       "The campaign has all that it accepts. What you paid now would be sent back to you."),
        told.of_campaign("full", "capped", FULL),
        told.of_campaign("funded", "funded",
                         "The goal is reached with confirmed pledges. The outcome is decided at the deadline."),
    ]  # fmt: skip


def _cancelled(told: Story) -> Iterator[Sequence[Look]]:
    told.pledge("called off", "cancelled", 300_000)
    told.pays("called off")
    canceller = Canceller(told.world, told.campaigns["cancelled"])
    coin = canceller.coin()
    told.world.node.rpc("sendrawtransaction", canceller.signed(coin))
    told.mine()
    yield [
        told.of_pledge("called off", "called off", COMES_BACK),
        told.of_campaign("cancelled", "cancelled", "Cancelled, not yet deep", CANCELLED),
    ]
    told.mine(K - 1)
    yield [
        told.of_pledge("called off, on its way", "called off", "Your money is on its way out",
                       "Your refund is on its way to the address that you gave."),
        told.of_campaign("cancelled, refunding", "cancelled", "Cancelled, refunding", CALLED_OFF),
    ]  # fmt: skip
    told.mine(K)
    yield [
        told.of_pledge("called off, refunded", "called off", "You have been refunded", BACK_HOME),
        told.of_campaign("cancelled, refunded", "cancelled", "Cancelled, refunded", CALLED_OFF_PAID_BACK),
    ]


def _closing(told: Story) -> Iterator[Sequence[Look]]:
    told.pledge("late", "missed", 500_000)
    told.set_clock_past("missed")
    for _ in range(6):
        block(told.world.node)
    txid = told.pays("late")
    told.world.sync()
    yield [
        told.of_pledge("too late, seen", "late", "Your payment is on its way", LATE_SEEN),
        told.of_pledge("not paid", "waiting", "This pledge was not paid",
                       "The campaign has ended and nothing arrived for this pledge, so it cost you nothing."),
        told.of_campaign("closing", "funded", "Closing", CLOSING),
        told.of_campaign("closing, missed", "missed", "Closing", CLOSING),
    ]  # fmt: skip
    block(told.world.node, txid)
    told.world.sync()
    yield [told.of_pledge("late", "late", "Your payment came too late", LATE)]


def _decided(told: Story) -> Iterator[Sequence[Look]]:
    """The payout is planned as that of a large campaign: in several transactions."""
    with patch.object(settling, "plan_release", partial(plan_release, size=1)):
        told.mine()
    kinds = [batch.kind for batch in told.world.snapshot(told.campaigns["funded"]).batches]
    assert kinds.count("release") > 2, kinds
    yield [
        told.of_pledge("on its way to the project", "first", "Your money is on its way out",
                       "The goal was reached. The payout is on its way to the project.",
                       "Transaction %(number)s of %(total)s of the payout."),
        told.of_pledge("short, on its way back", "short at last", "Your money is on its way out",
                       "Your refund is on its way to the address that you gave."),
        told.of_campaign("paying out", "funded", "Funded, paying out", PAYING_OUT),
        told.of_campaign("refunding", "missed", "Not funded, refunding", REFUNDING),
    ]  # fmt: skip
    told.mine()
    yield [told.of_pledge("in a block", "first", PAY_OUT_IN_A_BLOCK)]


def _settled(told: Story) -> Iterator[Sequence[Look]]:
    told.mine(2 * K)
    yield [
        told.of_pledge("paid to the project", "first", "Your pledge went to the project",
                       "The goal was reached, and the project has been paid. Thank you."),
        told.of_pledge("refunded", "short at last", "You have been refunded", BACK_HOME),
        told.of_pledge("late, refunded", "late", "You have been refunded", BACK_HOME),
        told.of_campaign("paid out", "funded", "Funded and paid out", PAID),
        told.of_campaign("refunded", "missed", "Not funded, refunded", PAID_BACK),
    ]  # fmt: skip


def _last(told: Story) -> Iterator[Sequence[Look]]:
    """What hardly ever comes: fees that eat up a refund, and somebody else who has the keys."""
    world = told.world
    for name, sats in (("small", 10_000), ("robbed", 70_000)):
        told.pledge(name, "later", sats)
        told.pays(name)
    told.mine()
    world.backend.feerate_sat_vb = lambda target_blocks: 400  # type: ignore[method-assign]
    told.set_clock_past("later")
    told.mine(6 + K)
    yield [told.of_pledge("unclaimed", "small", "Your refund waits for lower fees", UNCLAIMED)]
    outpoint = _rob(told, "small")
    yield [told.of_pledge("moved by a stranger", "small", "Your money was moved, and not by us", FOREIGN)]
    with world.database.transaction() as session:
        thefts.acknowledge(session, [outpoint], "the seed was copied", datetime.now(UTC))
    yield [told.of_pledge("taken", "small", "Somebody else has taken your money", TAKEN)]


def _rob(told: Story, name: str) -> str:
    """Whoever has the seed signs away this pledge's coin. Returns its outpoint."""
    world, node, pledge = told.world, told.world.node, told.pledges[name]
    snapshot = world.snapshot(pledge.campaign_id)
    assert snapshot.terms is not None
    keys = Keystore.open(world.folder / "signer" / "seed", "regtest")
    account: Any = keys.campaign_key(snapshot.campaign.account_index or 0, snapshot.terms.hash)
    wif = account.child_private(pledge.index).wif_key()
    (coin,) = (c for c in snapshot.coins if c.pledge_id == pledge.id)
    loot = {new_address(node): f"0.{coin.value_sats - 1_000:08d}"}
    raw = node.rpc("createrawtransaction", [{"txid": coin.txid, "vout": coin.vout}], [loot])
    signed = node.rpc("signrawtransactionwithkey", raw, [wif])
    assert signed["complete"], signed
    node.rpc("sendrawtransaction", signed["hex"])
    told.mine()
    return f"{coin.txid}:{coin.vout}"
