"""Do refunds go where the signatures of their backers lead? Asked of the bundle's own claims. Pure.

The first refund address of a pledge stands in no terms: its backer has it in the signed receipt. From there on every
change must be signed by the address before it, none left out and none in another place, and the last one must be what
a refund pays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

from crowdfund.audit.claims import Claims, SignedChange
from crowdfund.audit.rules import is_taken_back
from crowdfund.campaigns.lifecycle import Kind
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.errors import UserError
from crowdfund.wallet.addresses import address_of, script_of
from crowdfund.wallet.refund_change import ChangeText
from crowdfund.wallet.signed_messages import check_signed

Read = tuple[ChangeText, SignedChange]


def change_problems(claims: Claims, terms: CampaignTerms) -> Iterator[str]:
    """Every difference, as a sentence."""
    read: list[Read] = []
    for number, told in enumerate(claims.refund_changes):
        try:
            read.append((ChangeText.parse(told.text), told))
        except ValueError:
            yield f"refund_changes[{number}] is not the text of a change of a refund address."
            return
    places = [(change.index, change.number) for change, _ in read]
    if any(not first < second for first, second in pairwise(places)):
        yield "The changes of refund addresses are not in their order, or one is listed twice."
        return
    for index, group in groupby(read, key=lambda one: one[0].index):
        changes = list(group)
        yield from _chain_problems(index, changes, claims, terms)
        yield from _refund_problems(index, [change for change, _ in changes], claims, terms)


def _chain_problems(index: int, changes: Sequence[Read], claims: Claims, terms: CampaignTerms) -> Iterator[str]:
    if index >= claims.issued:
        yield f"The refund address of pledge {index} is said to have changed; that pledge was never given out."
    before: ChangeText | None = None
    for change, told in changes:
        title = f"Change {change.number} of the refund address of pledge {index}"
        if change.campaign != terms.hash.hex():
            yield f"{title} is of another campaign."
        if change.number != (before.number + 1 if before else 1):
            yield f"{title} does not follow: the one before it is missing."
        elif before is not None and before.new_address != change.old_address:
            yield f"{title} begins at {change.old_address}; the one before it led to {before.new_address}."
        yield from _signature_problems(title, change, told, claims.network)
        before = change


def _signature_problems(title: str, change: ChangeText, told: SignedChange, network: str) -> Iterator[str]:
    try:
        old, new = (script_of(address, network) for address in (change.old_address, change.new_address))
        if (address_of(old, network), address_of(new, network)) != (change.old_address, change.new_address):
            yield f"{title} does not spell its addresses as they are spelt."
        check_signed(old, told.text, told.signature)
    except UserError as error:
        yield f"{title} is not signed by {change.old_address}: {error.sentence}"


def _refund_problems(index: int, changes: Sequence[ChangeText], claims: Claims, terms: CampaignTerms) -> Iterator[str]:
    """What a backer has kept and sent may pay an older address of theirs; what the site refunds pays the last one."""
    held = [changes[0].old_address, *(change.new_address for change in changes)]
    for settlement in claims.settlements:
        allowed = held if is_taken_back(settlement, terms) else held[-1:]
        for output in settlement.outputs if settlement.kind is Kind.REFUND else ():
            paid = _address(output.script, claims.network)
            if output.index == index and paid not in allowed:
                yield f"The refund {settlement.txid} pays {paid} for pledge {index}; by its changes it is {held[-1]}."


def _address(script: bytes, network: str) -> str:
    try:
        return address_of(script, network)
    except ValueError:
        return script.hex()
