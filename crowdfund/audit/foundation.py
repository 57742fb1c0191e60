"""What everything else rests on: the terms behind the hash, and the descriptor behind the terms. Pure.

The descriptor's path is the hash of the terms, so the two cannot be exchanged: other terms, other addresses.
"""

from __future__ import annotations

import re
from dataclasses import fields
from hashlib import sha256

from crowdfund.audit.claims import Claims
from crowdfund.audit.xpub import check_account_xpub
from crowdfund.campaigns.details import Details
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.addresses import script_of
from crowdfund.wallet.amounts import MAX_MONEY_SATS
from crowdfund.wallet.descriptors import campaign_descriptor, derive_address
from crowdfund.wallet.fees import MAX_FEERATE_SAT_VB
from crowdfund.wallet.networks import NETWORKS

MAX_CONFIRMATIONS = 1_000
FIRST_LOCK_TIME = 500_000_000
LIMITS = dict.fromkeys(("goal_sats", "cap_sats", "min_coin_sats", "min_pledge_sats"), MAX_MONEY_SATS)
MAX_INT = 2**31 - 1

_DESCRIPTOR = re.compile(
    r"wpkh\(\[(?P<fingerprint>[0-9a-f]{8})/84h/[01]h/(?P<account>0|[1-9][0-9]{0,9})h\]"
    r"(?P<xpub>[1-9A-HJ-NP-Za-km-z]{111})(/[0-9]{1,10}){8}/\*\)#[a-z0-9]{8}"
)


def read_terms(claims: Claims) -> CampaignTerms:
    """The terms that the hash stands for. Raises ValueError with a sentence where they are not in order."""
    if sha256(_bytes(claims.terms_text)).hexdigest() != claims.terms_hash:
        raise ValueError("The terms do not have the hash that the bundle gives: one of the two was changed.")
    try:
        terms = CampaignTerms.parse(claims.terms_text)
        _check_types(terms)
        deadline_s = int(terms.deadline.timestamp())
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError("The terms are not those of a campaign in canonical form.") from error
    if not 0 <= deadline_s < 2**32 or not 1 <= terms.confirmations <= MAX_CONFIRMATIONS:
        raise ValueError("The deadline or the number of confirmations in the terms is out of range.")
    if not re.fullmatch("[0-9a-f]{64}", terms.opened_hash):
        raise ValueError("The terms do not name the block at which the campaign was opened.")
    if terms.network != claims.network:
        raise ValueError(f"The terms are for {terms.network[:20]}, the bundle is for {claims.network}.")
    if terms.version > 1:
        _check_second_version(terms)
    if terms.version > 2 and not re.fullmatch("[0-9a-f]{64}", terms.details_sha256):
        raise ValueError("The terms do not name the details that belong to them.")
    _check_payout(terms)
    return terms


def _check_second_version(terms: CampaignTerms) -> None:
    """What came with version 2. A lock time from half a billion on would be a time and no height."""
    if not re.fullmatch("0[23][0-9a-f]{64}", terms.receipt_key):
        raise ValueError("The terms do not name a key that signs receipts.")
    if not terms.opened_height < terms.timelock_height < FIRST_LOCK_TIME:
        raise ValueError("The block of the time-locked refunds in the terms is out of range.")
    if not 1 <= terms.timelock_feerate_sat_vb <= MAX_FEERATE_SAT_VB:
        raise ValueError("The feerate of the time-locked refunds in the terms is out of range.")


def check_details(claims: Claims, terms: CampaignTerms) -> str:
    """What the details are, in a sentence. Raises ValueError, with one, unless they are those that the terms name."""
    text = claims.details_text
    if text is None and not terms.details_sha256:
        return f"Terms of version {terms.version} name no details, and the bundle has none."
    if text is None or not terms.details_sha256:
        raise ValueError("Of terms and bundle, one has details and the other has none.")
    if sha256(_bytes(text)).hexdigest() != terms.details_sha256:
        raise ValueError("The details do not have the hash that the terms give: they were changed.")
    try:
        details = Details.parse(text)
    except ValueError as error:
        raise ValueError("The details are not in canonical form.") from error
    if details.budget and details.minimum_sats != terms.goal_sats:
        raise ValueError(
            f"The budget needs {details.minimum_sats:,} sat at least, and the goal is {terms.goal_sats:,} sat."
        )
    return f"The details have the hash that the terms give: {terms.details_sha256}."


def check_descriptor(claims: Claims, terms: CampaignTerms) -> None:
    """Raise ValueError, with a sentence, unless the descriptor follows from an account's key and the terms."""
    found = _DESCRIPTOR.fullmatch(claims.descriptor)
    if found is None or int(found["account"]) > MAX_INT:
        raise ValueError("The descriptor is not that of a campaign.")
    account_index = int(found["account"])
    check_account_xpub(found["xpub"], NETWORKS[terms.network].coin_type, account_index)
    expected = campaign_descriptor(found["fingerprint"], account_index, found["xpub"], terms.hash, terms.network)
    if claims.descriptor != expected:
        raise ValueError("The descriptor's path or checksum does not follow from the terms: addresses are not theirs.")


def check_addresses(claims: Claims) -> None:
    """Derive the first and the last address given out with two libraries. Raises ValueError if they differ."""
    try:
        for index in {0, max(0, claims.issued - 1)}:
            derive_address(claims.descriptor, index, claims.network)
    except WorldError as error:
        raise ValueError(error.sentence) from error


def _check_types(terms: CampaignTerms) -> None:
    """`CampaignTerms.parse` asks for the right names only."""
    for field in fields(terms):
        value = getattr(terms, field.name)
        if field.type == "str" and isinstance(value, str):
            continue
        if field.type == "int" and type(value) is int and 0 <= value <= LIMITS.get(field.name, MAX_INT):
            continue
        raise ValueError(f"{field.name} is not as it must be")


def _check_payout(terms: CampaignTerms) -> None:
    """People read the address, the settlement pays the script."""
    try:
        script = script_of(terms.payout_address, terms.network)
    except UserError as error:
        raise ValueError(f"The payout address in the terms is not in order. {error.sentence}") from error
    if script.hex() != terms.payout_script:
        raise ValueError("The payout script in the terms is not that of the payout address.")


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("The terms hold half a character; they cannot be hashed.") from error
