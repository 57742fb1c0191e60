"""The signer without a socket, for a machine that has no wire: the same object, the same log, the same rules."""

from __future__ import annotations

import json
from typing import Any

from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.signer import Signer
from crowdfund.wallet.signer_client import SignerClient


class SignerHere(SignerClient):
    """Asks a signer in this very process, in the words that would go over the socket."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def _ask(self, message: dict[str, object]) -> dict[str, Any]:
        try:
            return self._signer.answer(json.loads(json.dumps(message)))
        except UserError as error:
            raise WorldError(f"The signer refuses: {error.sentence}", retryable=False) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise WorldError("The signer refuses: the request cannot be read.", retryable=False) from error
