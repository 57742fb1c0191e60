"""What the signer's log knows that a restored database does not: refund scripts, their changes, and what was signed.
Reads only."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.signer_log import START

Key = tuple[int, str, int]
CHANGED = "The signer's log was changed: a line does not follow. Nothing is restored."


@dataclass(frozen=True)
class SignerPast:
    """First refund scripts by (account, terms hash in hex, index), and the highest account that something was promised
    for; -1 if nothing was. `changes`: by the same, (number, script, signature) of each change, in their order."""

    refunds: dict[Key, bytes]
    last_account: int = -1
    changes: dict[Key, list[tuple[int, bytes, str]]] = field(default_factory=dict)


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
    refunds: dict[Key, bytes] = {}
    changes: dict[Key, list[tuple[int, bytes, str]]] = {}
    accounts, last = {-1}, START
    try:
        for line in data.decode().split("\n")[:-1]:
            entry = json.loads(line)
            if entry["prev"] != last:
                raise WorldError(CHANGED, retryable=False)
            refunds.update(_refunds(entry))
            if "changed" in entry:
                index, number, script, signature = entry["changed"]
                key = (entry["account"], entry["terms"], int(index))
                changes.setdefault(key, []).append((int(number), bytes.fromhex(script), str(signature)))
            accounts.update([entry["account"]] if "account" in entry else [])
            last = sha256(line.encode()).hexdigest()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WorldError(CHANGED, retryable=False) from None
    return SignerPast(refunds, max(accounts | {account for account, _, _ in refunds}), changes)


def _refunds(entry: dict[str, Any]) -> dict[Key, bytes]:
    """Those that a line registers: many in one, or one as older versions wrote them."""
    if "refund" in entry:
        account, terms_hash, index, script = entry["refund"]
        return {(int(account), str(terms_hash), int(index)): bytes.fromhex(script)}
    new = entry.get("refunds", {}).items()
    return {(entry["account"], entry["terms"], int(index)): bytes.fromhex(script) for index, script in new}


def head_of(log: Path) -> Path:
    """The small file beside a log that says how many lines it has at least."""
    return log.with_suffix(".head")


def refuse_missing_lines(log: Path, data: bytes) -> None:
    """Raises UserError where the head that is here was written for a longer log than `data`."""
    text = head_of(log).read_text(errors="replace") if head_of(log).exists() else ""
    lines = text.partition(" ")[0]
    if lines.isascii() and lines.isdigit() and int(lines) > data.count(b"\n"):
        raise UserError(
            f"{head_of(log)} was written for a longer log than the one that would be used: find that one. Where it is "
            "lost for good, move its head away, too."
        )


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
