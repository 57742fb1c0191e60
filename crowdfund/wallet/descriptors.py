"""Descriptors: from an account xpub and a terms hash to every address of a campaign.

The derivation path is the proof: `account xpub / w1 / … / w8 / index`, where w1 to w8 are the first eight
31-bit words of the SHA-256 of the terms (BIP 32 allows 31 bits for a step without a key). Other terms, other
addresses. Every address is derived twice, by bitcoinlib and by embit, and shown only if both agree.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from embit.descriptor import Descriptor
from embit.descriptor.checksum import add_checksum
from embit.ec import PublicKey
from embit.networks import NETWORKS as EMBIT_NETWORKS
from embit.script import p2wpkh

from crowdfund.errors import WorldError
from crowdfund.wallet.addresses import script_of
from crowdfund.wallet.bcl import HDKey
from crowdfund.wallet.fast_keys import PublicBranch
from crowdfund.wallet.networks import NETWORKS

WORDS = 8
WORD_BITS = 31
MAX_INDEX = 2**31 - 1

# Without this library embit silently computes in slow Python: better not to start at all.
importlib.import_module("embit.util.ctypes_secp256k1")


def terms_words(terms_hash: bytes) -> tuple[int, ...]:
    """The first eight 31-bit words, most significant bit first, of a 32-byte terms hash."""
    if len(terms_hash) != 32:
        raise ValueError("a terms hash has 32 bytes")
    bits = int.from_bytes(terms_hash, "big")
    mask = (1 << WORD_BITS) - 1
    return tuple((bits >> (256 - WORD_BITS * (i + 1))) & mask for i in range(WORDS))


def campaign_descriptor(fingerprint: str, account_index: int, xpub: str, terms_hash: bytes, network_name: str) -> str:
    """The campaign's output descriptor (BIP 380, 382) with checksum: wpkh([origin]xpub/w1/…/w8/*)#…

    `fingerprint` is the master key's, 8 hex digits; `account_index` the hardened BIP 84 account.
    """
    coin = NETWORKS[network_name].coin_type
    path = "/".join(str(word) for word in terms_words(terms_hash))
    return str(add_checksum(f"wpkh([{fingerprint}/84h/{coin}h/{account_index}h]{xpub}/{path}/*)"))


def derive_address(descriptor: str, index: int, network_name: str) -> tuple[str, bytes]:
    """Address and locking script at `index` of a campaign's descriptor.

    Raises WorldError (not retryable) if the two implementations disagree: then no address may be shown.
    """
    if not 0 <= index <= MAX_INDEX:
        raise ValueError(f"{index} is not an address index")
    first = _address_by_embit(descriptor, index, network_name)
    second = _address_by_bitcoinlib(descriptor, index, network_name)
    if first != second:
        raise WorldError("Two libraries derive different addresses; no address is given out.", retryable=False)
    return first, script_of(first, network_name)


def derive_script(descriptor: str, index: int) -> bytes:
    """Locking script at `index`, by embit alone: for the many that an auditor or a rescan goes through."""
    return bytes(p2wpkh(derive_key(descriptor, index)).data)


def derive_key(descriptor: str, index: int) -> PublicKey:
    """Public key at `index`, by embit alone."""
    return _public_branch(descriptor).child(index)


@dataclass(frozen=True)
class KeyOrigin:
    """A public key (33 bytes), the master key's fingerprint (4 bytes) and the whole BIP 32 path from there."""

    public_key: bytes
    fingerprint: bytes
    path: tuple[int, ...]


def key_origin(descriptor: str, index: int) -> KeyOrigin:
    """What a signer that has the seed needs to find the key at `index`."""
    found = Descriptor.from_string(descriptor).key
    steps = (*found.origin.derivation, *found.allowed_derivation.indexes[:-1], index)
    return KeyOrigin(derive_key(descriptor, index).sec(), bytes(found.origin.fingerprint), steps)


def derive_scripts(descriptor: str, first: int, count: int) -> list[bytes]:
    """Locking scripts at `first` to `first + count - 1`, as a rescan goes through them by the thousand.

    The first of them is derived by embit's own way, too. Raises WorldError (not retryable) if both differ.
    """
    scripts = [derive_script(descriptor, index) for index in range(first, first + count)]
    if scripts and scripts[0] != Descriptor.from_string(descriptor).derive(first).script_pubkey().data:
        raise WorldError("Two ways lead to different addresses; nothing is looked for.", retryable=False)
    return scripts


def _address_by_embit(descriptor: str, index: int, network_name: str) -> str:
    embit_network = EMBIT_NETWORKS[NETWORKS[network_name].embit_name]
    return str(p2wpkh(derive_key(descriptor, index)).address(embit_network))


def _address_by_bitcoinlib(descriptor: str, index: int, network_name: str) -> str:
    return str(_branch_key(descriptor, network_name).child_public(index).address())


@lru_cache(maxsize=512)
def _public_branch(descriptor: str) -> PublicBranch:
    """The public key at the end of the eight words, by embit: its children are the keys of the addresses."""
    found = Descriptor.from_string(descriptor)
    steps = found.key.allowed_derivation.indexes if found.wpkh and found.key.allowed_derivation else [0]
    if steps.pop() is not None or None in steps:
        raise ValueError("not the descriptor of a campaign")
    key = found.key.key.derive(steps)
    return PublicBranch(key.get_public_key(), key.chain_code)


@lru_cache(maxsize=512)
def _branch_key(descriptor: str, network_name: str) -> Any:
    """The public key at the end of the eight words, by bitcoinlib alone (it reads no descriptors)."""
    xpub, *steps = descriptor.partition("]")[2].partition("/*)")[0].split("/")
    key = HDKey(xpub, network=NETWORKS[network_name].bitcoinlib_name, witness_type="segwit")
    for step in steps:
        key = key.child_public(int(step))
    return key
