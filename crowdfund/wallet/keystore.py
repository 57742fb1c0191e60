"""The seed and the keys that come from it. Opened by the signer alone; the web process never loads this module.

One BIP 39 seed; each campaign has its own hardened BIP 84 account, so that a leaked child key with an account
xpub reaches one campaign only. Keys are derived when needed and never printed or written.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.bcl import HDKey, Mnemonic
from crowdfund.wallet.descriptors import terms_words
from crowdfund.wallet.networks import NETWORKS

ENTROPY_BYTES = 32
HARDENED_LIMIT = 2**31


def create_seed(path: Path) -> None:
    """Write 24 new BIP 39 words to `path`, readable by its owner only. Raises UserError if a seed is there."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    words = Mnemonic().to_mnemonic(secrets.token_bytes(ENTROPY_BYTES))
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(words + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # fails where a seed exists, so that none is ever overwritten
    except FileExistsError as error:
        raise UserError(f"There is a seed in {path} already; it is never overwritten.") from error
    finally:
        draft.unlink()


class Keystore:
    """The opened seed of one network."""

    def __init__(self, words: str, network_name: str) -> None:
        self._network = NETWORKS[network_name]
        seed = Mnemonic().to_seed(words, validate=True)
        self._master = HDKey.from_seed(seed, network=self._network.bitcoinlib_name, witness_type="segwit")

    @classmethod
    def open(cls, path: Path, network_name: str) -> Keystore:
        """Read the seed file. Raises WorldError where it is missing, damaged or readable by others."""
        try:
            if path.stat().st_mode & 0o077:
                raise WorldError(f"The seed file {path} is readable by others; run chmod 600 on it.", retryable=False)
            return cls(path.read_text().strip(), network_name)
        except OSError as error:
            raise WorldError(f"No seed in {path}: make one with `crowdfund keys create`.", retryable=False) from error
        except (ValueError, Warning):  # bitcoinlib raises a Warning for an unknown word, and names the words in it
            raise WorldError(f"The seed in {path} is damaged: its checksum does not fit.", retryable=False) from None

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

    def _account(self, account_index: int) -> Any:
        if not 0 <= account_index < HARDENED_LIMIT:
            raise ValueError(f"{account_index} is not an account")
        key = self._master.child_private(84, hardened=True)
        key = key.child_private(self._network.coin_type, hardened=True)
        return key.child_private(account_index, hardened=True)
