"""Addresses: text to locking script and back, for one network.

May read and write addresses, never derive them (see descriptors.py). What wallets understand is accepted,
what would lose money is refused with the reason: BIP 173, BIP 350 and base58check, checked for the network.
"""

from __future__ import annotations

from embit import base58, bech32
from embit.base import EmbitError

from crowdfund.errors import UserError
from crowdfund.sentences import N_, Sentence
from crowdfund.wallet.networks import NETWORKS, Network

_PREFIX_TITLES = {"bc": N_("bitcoin (mainnet)"), "tb": N_("a test network"), "bcrt": "regtest"}
_VERSION_TITLES = {
    0x00: "bitcoin (mainnet)",
    0x05: "bitcoin (mainnet)",
    0x6F: "a test network",
    0xC4: "a test network",
}


def normalise(text: str) -> str:
    """The address as wallets store it: without surrounding space, and in lower case where it came in upper case."""
    text = text.strip()
    return text.lower() if text == text.upper() and "1" in text and not text.isdigit() else text


def script_of(text: str, network_name: str, field: str | None = None) -> bytes:
    """The locking script that pays `text`. Raises UserError saying what is wrong with the address."""
    network = NETWORKS[network_name]
    address = normalise(text)
    if not address:
        raise UserError("Please give an address.", field)
    try:
        prefix = address.lower().rpartition("1")[0]
        if prefix in _PREFIX_TITLES:
            return _segwit_script(address, prefix, network)
        return _base58_script(address, network)
    except UserError as error:
        raise UserError(error.sentence, field) from error


def address_of(script: bytes, network_name: str) -> str:
    """The address of a standard locking script (P2PKH, P2SH, witness version 0 or 1). Raises ValueError otherwise."""
    network = NETWORKS[network_name]
    if len(script) == 25 and script[:3] == b"\x76\xa9\x14" and script[23:] == b"\x88\xac":
        return str(base58.encode_check(bytes([network.p2pkh_version]) + script[3:23]))
    if len(script) == 23 and script[:2] == b"\xa9\x14" and script[22:] == b"\x87":
        return str(base58.encode_check(bytes([network.p2sh_version]) + script[2:22]))
    if len(script) in (22, 34) and script[0] in (0x00, 0x51) and script[1] == len(script) - 2:
        return str(bech32.encode(network.bech32_prefix, 1 if script[0] else 0, list(script[2:])))
    raise ValueError("not a script with an address")


def _elsewhere(title: str, network: Network) -> Sentence:
    return Sentence(
        "This is an address of {other}; this site works on {network}.", other=Sentence(title), network=network.title
    )


def _segwit_script(address: str, prefix: str, network: Network) -> bytes:
    if address not in (address.lower(), address.upper()):
        raise UserError("This address mixes capital and small letters; copy it again from your wallet.")
    if prefix != network.bech32_prefix:
        raise UserError(_elsewhere(_PREFIX_TITLES[prefix], network))
    encoding, _, _ = bech32.bech32_decode(address)
    if encoding is None:
        raise UserError("This address has a typing error: its checksum does not fit. Copy it again.")
    version, program = bech32.decode(prefix, address)
    if version is None or program is None:
        raise UserError("This address is not put together as BIP 173 and BIP 350 ask; coins sent there could be lost.")
    if version > 1 or (version == 1 and len(program) != 32):
        raise UserError("This kind of address is not in use on the network yet; coins sent there could be lost.")
    return bytes([0x51 if version else 0x00, len(program), *program])


def _base58_script(address: str, network: Network) -> bytes:
    try:
        payload = bytes(base58.decode_check(address))
    except (ValueError, EmbitError, KeyError, IndexError) as error:
        raise UserError("This is not a bitcoin address, or it has a typing error. Copy it again.") from error
    if len(payload) != 21:
        raise UserError("This is not a bitcoin address.")
    version, digest = payload[0], payload[1:]
    if version == network.p2pkh_version:
        return b"\x76\xa9\x14" + digest + b"\x88\xac"
    if version == network.p2sh_version:
        return b"\xa9\x14" + digest + b"\x87"
    if version in _VERSION_TITLES:
        raise UserError(_elsewhere(_VERSION_TITLES[version], network))
    raise UserError("This is not an address that can be paid in bitcoin.")
