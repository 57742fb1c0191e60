"""The seed and the keys that come from it. Opened by the signer alone; the web process never loads this module.

One BIP 39 seed; each campaign has its own hardened BIP 84 account, so that a leaked child key with an account
xpub reaches one campaign only. Keys are derived when needed and never printed or written. On disk the seed is
encrypted (seed_file.py); the words as they are, on regtest only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coincurve import PrivateKey

from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.bcl import HDKey, Mnemonic
from crowdfund.wallet.descriptors import terms_words
from crowdfund.wallet.fast_keys import PrivateBranch
from crowdfund.wallet.networks import NETWORKS
from crowdfund.wallet.passphrase import Passphrase
from crowdfund.wallet.seed_file import COST, MAX_BYTES, Cost, Damaged, SealedSeed, seal
from crowdfund.wallet.whole_file import write_new
from crowdfund.wallet.words import entropy_of, new_entropy, words_of

HARDENED_LIMIT = 2**31
PLAIN_NETWORK = "regtest"
A_SEED = "a seed"

_PLAIN = re.compile(rb"[a-z\s]+")


def create_seed(path: Path) -> None:
    """Write 24 new BIP 39 words to `path` as they are, for regtest. Raises UserError if a seed is there."""
    store_plain(path, new_entropy())


def store_plain(path: Path, entropy: bytes) -> None:
    """Write the words of `entropy` as they are: nothing but regtest opens them."""
    make_folder(path)
    write_new(path, f"{words_of(entropy)}\n".encode(), A_SEED)


def make_folder(path: Path) -> None:
    """The folder of the seed, its owner's only. Raises WorldError where it cannot be made or written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise WorldError(f"{path.parent} cannot be made: {error.strerror}.", retryable=False) from error
    if not os.access(path.parent, os.W_OK):
        raise WorldError(f"{path.parent} cannot be written; run this as the signer's user.", retryable=False)


def sealed_seed(entropy: bytes, passphrase: Passphrase, network_name: str, cost: Cost = COST) -> SealedSeed:
    """The encrypted seed, opened once to see that it opens. `cost` is for tests: nothing else passes it."""
    fingerprint = Keystore(words_of(entropy), network_name).fingerprint
    made = seal(entropy, passphrase, network_name, fingerprint, cost)
    if unsealed(SealedSeed.from_bytes(made.to_bytes()), network_name, passphrase) != entropy:
        raise Damaged
    return made


def unsealed(sealed: SealedSeed, network_name: str, passphrase: Passphrase) -> bytes:
    """The entropy in an encrypted seed of this network, whose fingerprint it must have."""
    check_network(sealed, network_name)
    entropy = sealed.unseal(passphrase)
    if Keystore(words_of(entropy), network_name).fingerprint != sealed.fingerprint:
        raise Damaged
    return entropy


def check_network(sealed: SealedSeed, network_name: str) -> None:
    """Raises WorldError where the seed was made for another network."""
    if sealed.network != network_name:
        raise WorldError(
            f"This seed was made for {sealed.network}, and CROWDFUND_NETWORK is {network_name}.", retryable=False
        )


def read_seed(path: Path) -> SealedSeed | bytes:
    """What the seed file at `path` holds: an encrypted seed, or the entropy of plain words.

    Raises WorldError where it is missing, damaged or readable by others.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise WorldError(f"The seed file {path} is readable by others; run chmod 600 on it.", retryable=False)
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise WorldError(f"No seed in {path}: make one with `crowdfund keys create`.", retryable=False) from error
    except OSError as error:
        raise WorldError(f"The seed in {path} cannot be read: {error.strerror}.", retryable=False) from error
    if not is_plain(data):
        return SealedSeed.from_bytes(data)
    try:
        return entropy_of(data.decode())
    except UserError:
        raise WorldError(f"The seed in {path} is damaged: its checksum does not fit.", retryable=False) from None


def is_plain(data: bytes) -> bool:
    """Whether a file holds nothing but words."""
    return _PLAIN.fullmatch(data) is not None


def open_seed(path: Path, network_name: str, unlock: Callable[[], Passphrase]) -> bytes:
    """The entropy in the seed file at `path`; `unlock` is asked for the passphrase where it is encrypted.

    Raises WorldError where it is missing, damaged, readable by others, of another network, or plain where only
    encrypted seeds are opened; WrongPassphrase.
    """
    found = read_seed(path)
    if isinstance(found, SealedSeed):
        check_network(found, network_name)
        return unsealed(found, network_name, unlock())
    if network_name != PLAIN_NETWORK:
        raise WorldError(
            f"The seed in {path} is not encrypted, and on {network_name} none is opened that is not: "
            "run `crowdfund keys encrypt` once.",
            retryable=False,
        )
    return found


def _nobody_to_ask() -> Passphrase:
    raise WorldError("The seed is encrypted, and nobody gave its passphrase.", retryable=False)


class Keystore:
    """The opened seed of one network."""

    def __init__(self, words: str, network_name: str) -> None:
        self._network = NETWORKS[network_name]
        seed = Mnemonic().to_seed(words, validate=True)
        self._master = HDKey.from_seed(seed, network=self._network.bitcoinlib_name, witness_type="segwit")
        purpose = self._master.child_private(84, hardened=True)
        self._accounts = purpose.child_private(self._network.coin_type, hardened=True)

    @classmethod
    def open(cls, path: Path, network_name: str, unlock: Callable[[], Passphrase] = _nobody_to_ask) -> Keystore:
        """The keys of the seed file at `path`; see `open_seed`."""
        return cls(words_of(open_seed(path, network_name, unlock)), network_name)

    @property
    def fingerprint(self) -> str:
        """The master key's fingerprint (BIP 32), 8 hex digits."""
        return str(self._master.fingerprint.hex())

    def account_xpub(self, account_index: int) -> str:
        """The public key of account m/84'/coin'/account', in xpub or tpub form as descriptors want it."""
        return str(self._account(account_index).wif(is_private=False, witness_type="legacy"))

    def campaign_key(self, account_index: int, terms_hash: bytes) -> Any:
        """The private key at the end of the eight words of `terms_hash`; addresses are its children."""
        key = self._account(account_index)
        for word in terms_words(terms_hash):
            key = key.child_private(word)
        return key

    def branch(self, account_index: int, terms_hash: bytes) -> PrivateBranch:
        """The same key, for the many children that signing takes."""
        key = self.campaign_key(account_index, terms_hash)
        return PrivateBranch(bytes(key.private_byte), bytes(key.chain))

    def receipt_key(self, account_index: int) -> PrivateKey:
        """The private key m/84'/coin'/account'/0': a hardened child, so that no account xpub leads to it."""
        return PrivateKey(bytes(self._account(account_index).child_private(0, hardened=True).private_byte))

    def _account(self, account_index: int) -> Any:
        if not 0 <= account_index < HARDENED_LIMIT:
            raise ValueError(f"{account_index} is not an account")
        return self._accounts.child_private(account_index, hardened=True)
