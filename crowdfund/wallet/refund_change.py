"""Another refund address for a pledge, by a signature of the one registered now: the text, and when it is taken. Pure.

The text is one line of plain letters that every wallet can sign and every person can read. It holds for one pledge of
one set of terms and says which change of that pledge it is, so that an old one never holds again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from crowdfund.errors import UserError
from crowdfund.wallet.addresses import address_of
from crowdfund.wallet.outcome_proof import Proven
from crowdfund.wallet.policy import MAX_INDEX, TermsFacts, read_hex, whole
from crowdfund.wallet.signed_messages import LONGEST, check_signed

_TEXT = re.compile(
    r"Refund address change (?P<number>[1-9][0-9]{0,9}) of pledge (?P<index>0|[1-9][0-9]{0,9}) "
    r"of campaign (?P<campaign>[0-9a-f]{64}): from (?P<old>[0-9A-Za-z]{1,100}) to (?P<new>[0-9A-Za-z]{1,100})",
    re.ASCII,
)
TOO_LATE = "the campaign has come to its end: no refund address of it changes any more."


@dataclass(frozen=True)
class ChangeText:
    """What is signed. `campaign` is the hash of the terms, 64 hex digits; `number` counts the changes of the pledge."""

    campaign: str
    index: int
    number: int
    old_address: str
    new_address: str

    def text(self) -> str:
        """The one spelling."""
        return (
            f"Refund address change {self.number} of pledge {self.index} of campaign {self.campaign}: "
            f"from {self.old_address} to {self.new_address}"
        )

    @classmethod
    def parse(cls, text: str) -> ChangeText:
        """Read a text back. Raises ValueError where it is not exactly that of some change."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise ValueError("not a change of a refund address")
        number, index = int(found["number"]), int(found["index"])
        if max(number, index) > MAX_INDEX:
            raise ValueError("a number is out of its range")
        return cls(found["campaign"], index, number, found["old"], found["new"])


@dataclass(frozen=True)
class RefundChange:
    """What a client asks of the signer: refund the pledge at `index` to `script` from now on. `signature` is that of
    the script registered until now."""

    index: int
    number: int
    script: bytes
    signature: str


class HeldRefunds(Protocol):
    """What was promised before."""

    def refund_script(self, account: int, index: int) -> bytes | None:
        """Where an address index of the account is refunded to, None where nobody said."""

    def change_number(self, account: int, index: int) -> int:
        """Of the last change of it; 0 where there was none."""

    def settled(self, account: int) -> bool:
        """Was any settlement ever signed for the account?"""

    def proven(self, account: int) -> Proven | None:
        """What was proven of the account's end, None while it is not."""


def change_fields(change: RefundChange) -> dict[str, object]:
    """The change as requests spell it; `read_change` reads it back."""
    return {
        "index": change.index,
        "number": change.number,
        "script": change.script.hex(),
        "signature": change.signature,
    }


def read_change(message: Mapping[str, Any]) -> RefundChange:
    """The change in a request. Raises UserError."""
    signature = message["signature"]
    if not isinstance(signature, str) or not signature.isascii() or len(signature) > LONGEST:
        raise UserError("a signature is a short text.")
    index, number = whole(message["index"], MAX_INDEX), whole(message["number"], MAX_INDEX)
    return RefundChange(index, number, read_hex(message["script"]), signature)


def check_change(change: RefundChange, terms: TermsFacts, account: int, held: HeldRefunds) -> bool:
    """Is there anything to note? False where this very change is the last one noted. Raises UserError, ValueError.

    Nothing changes once the end was proven or a settlement signed: a plan with the old address may exist by then.
    """
    registered, last = held.refund_script(account, change.index), held.change_number(account, change.index)
    if registered is None:
        raise UserError("no refund address is registered for this pledge that could be changed.")
    if last and change.number == last and change.script == registered:
        return False
    if held.proven(account) is not None or held.settled(account):
        raise UserError(TOO_LATE)
    if change.number < 1 or (last and change.number != last + 1):
        raise UserError(f"the next change of this refund address is number {last + 1}: an old one holds never again.")
    if change.script == registered:
        raise UserError("this is the address registered already.")
    old, new = address_of(registered, terms.network), address_of(change.script, terms.network)
    text = ChangeText(terms.hash.hex(), change.index, change.number, old, new).text()
    try:
        check_signed(registered, text, change.signature)
    except UserError as error:
        raise UserError(f"the change is not signed by the address registered now. {error.sentence}") from error
    return True
