"""The API's description: pledges, and what they are to those who pay and those who are paid."""

from __future__ import annotations

from typing import Any

from crowdfund.web.openapi.shape import Op, listed, made_of, maybe, number, page_of, sats, text, time, truth

_COIN = made_of(
    index=number("of the pledge's address"),
    address=text(),
    txid=text(),
    vout=number(),
    value_sats=sats(),
    state=text(),
    height=maybe(number()),
    block_hash=maybe(text()),
    bucket=text(),
    spent_txid=maybe(text()),
    note=text(),
)
_AS_OF = made_of(height=number(), block_hash=text(), median_time_past=time(), state=text())

SCHEMAS: dict[str, Any] = {
    "PledgeRequest": made_of(
        optional=("name", "message", "own_money", "reward"),
        amount_sats=sats("What the backer means to pay.", 1),
        refund_address=text("Where the money goes back to if the goal is missed."),
        name=text("Shown in public; empty stays anonymous."),
        message=text("Shown in public."),
        own_money=truth("Only with a token of the campaign's project: whether it is their own money."),
        reward=number("Number of a reward; left out for none."),
    )
    | {
        "examples": [
            {"amount_sats": 50_000, "refund_address": "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "name": "Zoë"}
        ]
    },
    "Pledge": made_of(
        id=text("Secret: whoever has it sees the pledge."),
        campaign_id=text(),
        address=text("To be paid."),
        amount_sats=sats(),
        uri=text("BIP 321 payment URI"),
        refund_address=text("Where a refund goes now."),
        refund_changes=listed(
            made_of(
                number=number(),
                state=text("waiting, taken or refused"),
                old_address=text(),
                new_address=text(),
                text=text(),
                signature=text(),
                brought_at=time(),
                answered_at=maybe(time()),
                answer=text("why it was refused"),
            ),
            "Changes of that address, the oldest first.",
        ),
        name=text(),
        message=text(),
        reward=maybe(
            made_of(
                title=text(),
                state=text("reserved, held, freed (run out unpaid) or missed (paid late, none left)"),
            )
        ),
        state=text(
            "awaiting, seen, confirmed, short, over, late, over_cap, maturing, replaced, double_spent, evicted, "
            "in_settlement, paid_out, refunded, unclaimed, foreign (spent by a transaction that is not ours, which "
            "halts everything) or taken (the same, once a person has acknowledged it)"
        ),
        headline=text(),
        sentence=text("Where the money is, for people."),
        received_sats=sats(),
        seen_sats=sats(),
        counted_sats=sats(),
        coins=listed(_COIN),
        settled_txid=maybe(text()),
        refund_estimate_sats=maybe(number("What would come back at today's feerate; null once decided.", None)),
        receipt_url=text("The backer's own page", format="uri"),
        receipt=maybe(
            made_of(
                description="As verifymessage asks for it (BIP 137); null until it is signed, and where there is none.",
                text=text(),
                signature=text("base64"),
                address=text(),
            )
        ),
        timelocked_refunds=listed(
            made_of(
                txid=text(),
                raw=text("hex"),
                value_sats=sats(),
                valid_after_height=number(),
                current=truth("false where it goes to an address from before a change"),
            ),
            "Signed refunds, one for each confirmed coin; blocks above valid_after_height may hold them.",
        ),
        as_of=maybe(_AS_OF),
    ),
    "RefundAddressRequest": made_of(
        optional=("signature",),
        address=text("The new refund address."),
        signature=text(
            "Of the refund address of now over the text, in base64: BIP 137, or BIP 322 simple with or without its "
            "prefix. Without it the answer is the text alone."
        ),
    )
    | {"examples": [{"address": "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"}]},
    "TextToSign": made_of(text=text("One line; sign it exactly as it is.")),
    "PledgeRow": made_of(
        number=number("the place of its address"),
        name=text(),
        message=text(),
        amount_sats=sats(),
        received_sats=sats(),
        seen_sats=sats(),
        counted_sats=sats(),
        state=text(),
        own_money=truth("whether the creator declared it to be their own money"),
        hidden=truth("whether name and message are hidden in public"),
    ),
    "PledgeRows": page_of("pledges", "PledgeRow"),
    "OwnMoneyRequest": made_of(own=truth()) | {"examples": [{"own": True}]},
    "OwnMoney": made_of(number=number(), own_money=truth()),
}
OPERATIONS: tuple[Op, ...] = (
    Op(
        "POST", "/campaigns/{id}/pledges", "Pledge: get an address to pay", "Pledge", 201, body="PledgeRequest",
        problems=(401, 403, 409), limited=True, made=True, description="No token is needed.",
    ),
    Op(
        "GET", "/campaigns/{id}/pledges", "The pledges to an own campaign that were paid", "PledgeRows", 200, "read",
        pages=True, description="Without their secret ids.",
    ),
    Op(
        "PUT", "/campaigns/{id}/pledges/{number}/own-money", "Say whether a pledge is own money", "OwnMoney", 200,
        "write", "OwnMoneyRequest",
    ),
    Op("GET", "/pledges/{id}", "Where a pledge's money is", "Pledge"),
    Op(
        "POST", "/pledges/{id}/refund-address", "Change where a refund goes, by a signature of the address of now",
        "TextToSign", body="RefundAddressRequest", limited=True,
        also=((202, "Pledge", "Kept; the signer answers within moments: see refund_changes."),),
    ),
)  # fmt: skip
