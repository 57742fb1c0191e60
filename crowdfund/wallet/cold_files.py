"""What travels between a server without a seed and the machine that has it: accounts one way, plans the other. Pure.

The plans come with the terms and the refund addresses, so that the machine with the seed judges them by the same policy
and remembers them in a log of its own, as a signer behind a socket would.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from crowdfund.errors import UserError
from crowdfund.wallet.policy import MAX_INDEX, MAX_REGISTRATIONS, read_tx, whole
from crowdfund.wallet.signer_client import Account, tx_fields
from crowdfund.wallet.transactions import UnsignedTx

Found = TypeVar("Found")

VERSION = 1
ACCOUNTS, PLANS = "crowdfund cold accounts", "crowdfund cold plans"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ColdCampaign:
    """A campaign's canonical terms, its account, and its refund scripts (hex) by address index."""

    terms: str
    account: int
    refunds: dict[int, str]


@dataclass(frozen=True)
class ColdPlan:
    """A transaction that waits for its signature. `kind` is release or refund."""

    terms: str
    account: int
    kind: str
    tx: UnsignedTx


@dataclass(frozen=True)
class Manifest:
    """All that is asked of the machine with the seed at one time."""

    network: str
    campaigns: tuple[ColdCampaign, ...]
    plans: tuple[ColdPlan, ...]

    def to_text(self) -> str:
        """The file."""
        campaigns = [
            {"terms": c.terms, "account": c.account, "refunds": {str(n): script for n, script in c.refunds.items()}}
            for c in self.campaigns
        ]
        plans = [{"terms": p.terms, "account": p.account, "kind": p.kind, **tx_fields(p.tx)} for p in self.plans]
        return _file(PLANS, self.network, {"campaigns": campaigns, "plans": plans})

    @classmethod
    def parse(cls, text: str, network: str) -> Manifest:
        """Read the file. Raises UserError where it is none, or of another network."""

        def read(found: dict[str, Any]) -> Manifest:
            campaigns = tuple(
                ColdCampaign(str(c["terms"]), c["account"], {int(n): str(s) for n, s in c["refunds"].items()})
                for c in found["campaigns"]
            )
            plans = tuple(ColdPlan(str(p["terms"]), p["account"], str(p["kind"]), read_tx(p)) for p in found["plans"])
            return cls(network, campaigns, plans)

        return _read(text, PLANS, network, read)


def registrations(campaign: ColdCampaign) -> list[dict[str, object]]:
    """The requests that tell a signer of a campaign's refund addresses, some at a time."""
    pairs = [(str(index), script) for index, script in campaign.refunds.items()]
    return [
        {
            "op": "register",
            "terms": campaign.terms,
            "account": campaign.account,
            "refunds": dict(pairs[start : start + MAX_REGISTRATIONS]),
        }
        for start in range(0, len(pairs), MAX_REGISTRATIONS)
    ]


def signing_request(plan: ColdPlan) -> dict[str, object]:
    """The request that has a signer sign a plan."""
    return {"op": "sign", "terms": plan.terms, "account": plan.account, "kind": plan.kind, **tx_fields(plan.tx)}


def accounts_text(accounts: Sequence[Account], network: str) -> str:
    """Accounts as a file."""
    return _file(ACCOUNTS, network, {"accounts": [asdict(account) for account in accounts]})


def read_accounts(text: str, network: str) -> list[Account]:
    """Accounts from a file. Raises UserError where it is none, or of another network."""

    def read(found: dict[str, Any]) -> list[Account]:
        return [
            Account(whole(a["index"], MAX_INDEX), str(a["xpub"]), str(a["fingerprint"]), str(a["receipt_key"]))
            for a in found["accounts"]
        ]

    return _read(text, ACCOUNTS, network, read)


def _file(form: str, network: str, content: dict[str, object]) -> str:
    return json.dumps({"format": form, "version": VERSION, "network": network, **content}, indent=1) + "\n"


def _read(text: str, form: str, network: str, read: Callable[[dict[str, Any]], Found]) -> Found:
    try:
        found = json.loads(text)
        if (found["format"], found["version"]) != (form, VERSION):
            raise UserError("This file is something else, or of another version.")
        if found["network"] != network:
            raise UserError(f"This file is for {found['network']}, and CROWDFUND_NETWORK is {network}.")
        return read(found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError("This file is damaged, or something else.") from error
