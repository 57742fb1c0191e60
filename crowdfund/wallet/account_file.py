"""Accounts on their way from the machine with the seed to the server: public keys, as JSON. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from crowdfund.errors import UserError
from crowdfund.wallet.descriptors import MAX_INDEX
from crowdfund.wallet.signer_client import Account

_FINGERPRINT = re.compile(r"[0-9a-f]{8}", re.ASCII)


def accounts_text(network: str, accounts: Sequence[Account]) -> str:
    """Text that `read_accounts` reads back, with every field that an account has."""
    return json.dumps({"network": network, "accounts": [asdict(a) for a in accounts]}, indent=1) + "\n"


def read_accounts(text: str, network: str) -> list[Account]:
    """The accounts in `text`. Raises UserError where they are another network's, or the text is something else.

    Whether the keys in them are public keys is for the caller to see.
    """
    try:
        read = json.loads(text)
        named, accounts = read["network"], [_account(one) for one in read["accounts"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError("The file holds no accounts; make it with `crowdfund cold accounts`.") from error
    if named != network:
        raise UserError(f"These accounts are for {named}, and CROWDFUND_NETWORK is {network}.")
    return accounts


def _account(read: Mapping[str, Any]) -> Account:
    account = Account(**{field.name: read[field.name] for field in fields(Account)})
    if type(account.index) is not int or not 0 <= account.index <= MAX_INDEX:
        raise ValueError("not the index of an account")
    if type(account.xpub) is not str or not _FINGERPRINT.fullmatch(account.fingerprint):
        raise ValueError("not a key, or not a fingerprint")
    return account
