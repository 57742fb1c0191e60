"""Child keys below one branch of a campaign, fast: BIP 32 by libsecp256k1, with nothing computed twice.

bitcoinlib derives all keys down to the branch (eight words below the account); what hangs below it is thousands of
plain children, for which bitcoinlib and embit's own way take milliseconds each. The tests compare every byte with
theirs. Private children go through coincurve, public ones through embit's libsecp256k1: two builds of the library, so
that who signs and who verifies share no code.
"""

from __future__ import annotations

import hmac

from coincurve import PrivateKey
from coincurve import PublicKey as CoincurveKey
from coincurve.context import GLOBAL_CONTEXT
from embit.ec import PublicKey
from embit.util import secp256k1

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of the curve's group


class ChildKey(PrivateKey):
    """A private key without the x-only public key that taproot needs: making that one takes a third of the time."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.context = GLOBAL_CONTEXT
        self.public_key = CoincurveKey.from_valid_secret(secret)


class PrivateBranch:
    """A private key and its chain code. Never printed."""

    def __init__(self, secret: bytes, chain_code: bytes) -> None:
        self._secret = int.from_bytes(secret, "big")
        self._chain_code = chain_code
        self._public = ChildKey(secret).public_key.format()

    def child(self, index: int) -> ChildKey:
        """The private key at the plain (not hardened) step `index`, 0 to 2**31 - 1."""
        tweak = int.from_bytes(_tweak(self._chain_code, self._public, index), "big")
        return ChildKey(((self._secret + tweak) % ORDER).to_bytes(32, "big"))


class PublicBranch:
    """A public key and its chain code."""

    def __init__(self, key: PublicKey, chain_code: bytes) -> None:
        self._point = key._point
        self._public = key.sec()
        self._chain_code = chain_code

    def child(self, index: int) -> PublicKey:
        """The public key at the plain (not hardened) step `index`, 0 to 2**31 - 1."""
        return PublicKey(secp256k1.ec_pubkey_add(self._point, _tweak(self._chain_code, self._public, index)))


def _tweak(chain_code: bytes, public: bytes, index: int) -> bytes:
    """What a child adds to its parent. (One in 2**127 is above the group's order; nobody has ever met one.)"""
    return hmac.digest(chain_code, public + index.to_bytes(4, "big"), "sha512")[:32]
