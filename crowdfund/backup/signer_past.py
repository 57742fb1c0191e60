"""What the signer's log knows that a restored database does not: refund scripts, and what was signed. Reads only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.signer_log import START

CHANGED = "The signer's log was changed: a line does not follow. Nothing is restored."


@dataclass(frozen=True)
class SignerPast:
    """Refund scripts by (account, terms hash in hex, index)."""

    refunds: dict[tuple[int, str, int], bytes]

    @property
    def last_account(self) -> int:
        """The highest account that an address of was registered; -1 if none was."""
        return max((account for account, _, _ in self.refunds), default=-1)


def whole_lines(path: Path) -> bytes | None:
    """The log as far as its lines are whole, None where there is none. Raises WorldError where it cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WorldError(f"{path} cannot be read: {error.strerror}.", retryable=False) from error
    return data[: data.rfind(b"\n") + 1]


def read_past(data: bytes) -> SignerPast:
    """Read whole lines, each of which must follow the one before. Raises WorldError where one does not."""
    refunds: dict[tuple[int, str, int], bytes] = {}
    last = START
    try:
        for line in data.decode().split("\n")[:-1]:
            entry = json.loads(line)
            if entry["prev"] != last:
                raise WorldError(CHANGED, retryable=False)
            if "refund" in entry:
                account, terms_hash, index, script = entry["refund"]
                refunds[(int(account), str(terms_hash), int(index))] = bytes.fromhex(script)
            last = sha256(line.encode()).hexdigest()
    except (ValueError, KeyError, TypeError):
        raise WorldError(CHANGED, retryable=False) from None
    return SignerPast(refunds)


def newest(living: bytes | None, saved: bytes | None) -> bytes | None:
    """The log to go on with. Raises UserError where the one that is there does not continue the one in the backup."""
    if living is None or saved is None:
        return saved if living is None else living
    if not living.startswith(saved):
        raise UserError(
            "The signer's log that is here does not continue the one in the backup: they are of two signers, or one "
            "was cut. Move the wrong one away; the newest whole one counts."
        )
    return living
