"""An authenticator in software, that can also do what an honest one never does: count back, leave its owner unasked."""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Self

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PRESENT, VERIFIED, ATTESTED = 1, 4, 64


def packed(data: bytes) -> str:
    """base64url without padding, as WebAuthn writes bytes."""
    return urlsafe_b64encode(data).decode().rstrip("=")


def unpacked(text: str) -> bytes:
    """The bytes of that."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class SoftKey:
    """One passkey. Answers options as the site sends them, with the JSON that the site's script makes."""

    origin: str = "http://localhost:8000"
    rp_id: str = "localhost"
    verifies: bool = True
    count: int = 1
    step: int = 1
    handle: bytes = b""
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def copied(self) -> Self:
        """The same key in other hands."""
        return replace(self)

    def make(self, options: str, attested: bytes = b"") -> str:
        """Answer to being asked for a new passkey; `attested` in place of what an honest key says of itself."""
        asked = json.loads(options)
        self.handle = unpacked(asked["user"]["id"])
        statement = {"fmt": "none", "attStmt": {}, "authData": self._facts(attested or self.public())}
        parts = {
            "clientDataJSON": packed(self._client("webauthn.create", asked["challenge"])),
            "attestationObject": packed(cbor2.dumps(statement)),
        }
        return self._credential(parts)

    def show(self, options: str, **changes: Any) -> str:
        """Answer to being asked for a passkey that the site knows."""
        self.count += self.step
        facts, client = self._facts(), self._client("webauthn.get", json.loads(options)["challenge"])
        signature = self.key.sign(facts + sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        parts = {
            "clientDataJSON": packed(client),
            "authenticatorData": packed(facts),
            "signature": packed(signature),
            "userHandle": packed(self.handle),
        }
        return self._credential({**parts, **changes})

    def _credential(self, response: dict[str, str]) -> str:
        name = packed(self.credential_id)
        made = {"id": name, "rawId": name, "type": "public-key", "clientExtensionResults": {}, "response": response}
        return json.dumps(made)

    def _client(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}).encode()

    def _facts(self, attested: bytes = b"") -> bytes:
        flags = PRESENT | (VERIFIED if self.verifies else 0) | (ATTESTED if attested else 0)
        return sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big") + attested

    def public(self) -> bytes:
        """What the key says of itself: its id, and its public half."""
        point = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}
        return bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + bytes(cbor2.dumps(cose))
