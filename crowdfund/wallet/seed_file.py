"""The encrypted seed as one versioned file: JSON, ChaCha20-Poly1305, a key by Argon2id. Bytes only, no disk.

Everything but the sealed part itself is authenticated with it: network, fingerprint, costs, salt and nonce. A check
sum, which is no secret, tells a damaged file from a wrong passphrase before any key is made.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.networks import NETWORKS
from crowdfund.wallet.passphrase import Passphrase

FORMAT = "crowdfund seed"
VERSION = 1
SALT_BYTES, NONCE_BYTES, KEY_BYTES, TAG_BYTES = 16, 12, 32, 16
ENTROPY_LENGTHS = (16, 20, 24, 28, 32)
MAX_BYTES = 4096


@dataclass(frozen=True)
class Cost:
    """What one guess of the passphrase costs (Argon2id, RFC 9106)."""

    memory_kib: int
    passes: int
    lanes: int


COST = Cost(memory_kib=256 * 1024, passes=3, lanes=4)
MAX_COST = Cost(memory_kib=4 * 1024 * 1024, passes=64, lanes=64)  # more is no file of ours


class Damaged(WorldError):
    """The bytes are not those that were written."""

    def __init__(self) -> None:
        super().__init__(
            "The seed file is damaged or was changed: move it away, then run `crowdfund keys restore` on a backup.",
            retryable=False,
        )


class WrongPassphrase(UserError):
    """The file is whole, and this passphrase does not open it."""

    def __init__(self) -> None:
        super().__init__("This passphrase does not open the seed.")


@dataclass(frozen=True)
class SealedSeed:
    """An encrypted seed. `fingerprint` is the master key's, 8 hex digits; it and `network` are readable by all."""

    network: str
    fingerprint: str
    cost: Cost
    salt: bytes
    nonce: bytes
    sealed: bytes

    def to_bytes(self) -> bytes:
        """The whole file, the same bytes each time."""
        fields = {**self._open_fields(), "sealed": self.sealed.hex()}
        return _text({**fields, "check": _check(fields)})

    @classmethod
    def from_bytes(cls, data: bytes) -> SealedSeed:
        """Read a file. Raises Damaged for one byte that is not as written, WorldError for a newer version."""
        fields = _fields(data)
        if fields.get("version") != VERSION:
            raise WorldError("A newer version of this program made this seed file; use that one.", retryable=False)
        try:
            kdf, cipher = fields["kdf"], fields["cipher"]
            found = cls(
                fields["network"], fields["fingerprint"], Cost(kdf["memory_kib"], kdf["passes"], kdf["lanes"]),
                bytes.fromhex(kdf["salt"]), bytes.fromhex(cipher["nonce"]), bytes.fromhex(fields["sealed"]),
            )  # fmt: skip
            if found.to_bytes() != data or not found._is_sane():
                raise Damaged
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Damaged from None
        return found

    def unseal(self, passphrase: Passphrase) -> bytes:
        """The entropy, whole. Raises WrongPassphrase; takes about a second and `cost.memory_kib` of memory."""
        key = make_key(passphrase, self.salt, self.cost)
        try:
            entropy = ChaCha20Poly1305(key).decrypt(self.nonce, self.sealed, self._authenticated())
        except InvalidTag:
            raise WrongPassphrase from None
        if len(entropy) not in ENTROPY_LENGTHS:
            raise Damaged
        return entropy

    def _open_fields(self) -> dict[str, object]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "network": self.network,
            "fingerprint": self.fingerprint,
            "kdf": {
                "name": "argon2id",
                "memory_kib": self.cost.memory_kib,
                "passes": self.cost.passes,
                "lanes": self.cost.lanes,
                "salt": self.salt.hex(),
            },
            "cipher": {"name": "chacha20-poly1305", "nonce": self.nonce.hex()},
        }

    def _authenticated(self) -> bytes:
        return _text(self._open_fields())

    def _is_sane(self) -> bool:
        """Whether all sizes are ours: a foreign file must not make us use all memory."""
        numbers = (self.cost.memory_kib, self.cost.passes, self.cost.lanes)
        highest = (MAX_COST.memory_kib, MAX_COST.passes, MAX_COST.lanes)
        return (
            all(type(n) is int and 1 <= n <= most for n, most in zip(numbers, highest, strict=True))
            and self.cost.memory_kib >= 8 * self.cost.lanes
            and self.network in NETWORKS
            and len(bytes.fromhex(self.fingerprint)) == 4
            and (len(self.salt), len(self.nonce)) == (SALT_BYTES, NONCE_BYTES)
            and len(self.sealed) - TAG_BYTES in ENTROPY_LENGTHS
        )


def seal(entropy: bytes, passphrase: Passphrase, network: str, fingerprint: str, cost: Cost = COST) -> SealedSeed:
    """Encrypt under a fresh salt and nonce. `cost` is for tests: nothing else passes it."""
    draft = SealedSeed(network, fingerprint, cost, os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES), b"")
    cipher = ChaCha20Poly1305(make_key(passphrase, draft.salt, cost))
    sealed = cipher.encrypt(draft.nonce, entropy, draft._authenticated())
    return SealedSeed(network, fingerprint, cost, draft.salt, draft.nonce, sealed)


def make_key(passphrase: Passphrase, salt: bytes, cost: Cost) -> bytes:
    """A key of KEY_BYTES by Argon2id. Raises WorldError where there is too little memory for it."""
    try:
        return hash_secret_raw(passphrase.reveal(), salt, cost.passes, cost.memory_kib, cost.lanes, KEY_BYTES, Type.ID)
    except HashingError:
        raise WorldError(
            f"Making the key needs {cost.memory_kib // 1024} MiB of free memory, which is not there."
        ) from None


def _fields(data: bytes) -> dict[str, Any]:
    """The fields of a file whose check sum fits and whose spelling is ours."""
    try:
        fields: dict[str, Any] = json.loads(data[: MAX_BYTES + 1])
        check = fields.pop("check")
        if check != _check(fields) or _text({**fields, "check": check}) != data or fields["format"] != FORMAT:
            raise Damaged
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise Damaged from None
    return dict(fields)


def _check(fields: dict[str, object]) -> str:
    return sha256(_text(fields)).hexdigest()


def _text(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, indent=1).encode() + b"\n"
