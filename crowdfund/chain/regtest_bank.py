"""The wallet in the private regtest node that pays as a stranger's wallet would.

May not: mine, move the clock, or hold coins of anything but regtest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from crowdfund.chain.local_rpc import LocalRpc, RpcError
from crowdfund.errors import UserError, WorldError

NAME = "bank"
FEE_RESERVE_SATS = 100_000
MOST_SATS = 10_000 * 100_000_000  # regtest yields 15,000 BTC in all
COINS_TO_TRY = 10
NO_SUCH_WALLET = -18
ALREADY_LOADED = (-35, -4)
LONG_CHAIN = re.compile("ancestors|descendants|chain|cluster")  # too many unconfirmed transactions in a row


@dataclass(frozen=True)
class Bank:
    """The wallet "bank" of the node behind `rpc`; made or loaded when it is not there."""

    rpc: LocalRpc

    def call(self, method: str, *params: object) -> Any:
        """Call an RPC method on the wallet. Raises RpcError or WorldError."""
        try:
            return self.rpc.call(method, params, wallet=NAME, timeout=300)
        except RpcError as error:
            if error.code != NO_SUCH_WALLET:
                raise
        self._open()
        return self.rpc.call(method, params, wallet=NAME, timeout=300)

    def spendable_sats(self) -> int:
        """What the wallet can spend now: confirmed and mature coins, and its own change."""
        trusted: Decimal = self.call("getbalances")["mine"]["trusted"]
        return int(trusted * 100_000_000)

    def check(self, address: str, amount_sats: int) -> None:
        """Raise UserError for a payment that can never be made."""
        if not 1 <= amount_sats <= MOST_SATS:
            raise UserError(f"The amount must be from 1 to {MOST_SATS:,} satoshi.", field="amount_sats")
        if not self.rpc.call("validateaddress", [address])["isvalid"]:
            raise UserError(f"{address!r} is not an address on regtest.", field="address")

    def pay(self, address: str, amount_sats: int) -> str:
        """Send a payment into the mempool and return its txid. Raises UserError, WorldError."""
        amount = f"{amount_sats // 10**8}.{amount_sats % 10**8:08d}"
        try:
            return str(self.call("sendtoaddress", address, amount))
        except RpcError as error:
            if "too small" in error.reason or "dust" in error.reason:
                sentence = f"{amount_sats} sat is too little for a payment."
                raise UserError(sentence, field="amount_sats") from error
            if not LONG_CHAIN.search(error.reason):
                raise
        return self._pay_from_one_coin(address, amount)

    def _pay_from_one_coin(self, address: str, amount: str) -> str:
        """Pay from a coin with few unconfirmed ancestors: the wallet's own choice had too many."""
        enough = Decimal(amount) + Decimal(FEE_RESERVE_SATS) / 100_000_000
        coins = [coin for coin in self.call("listunspent", 0) if coin["amount"] >= enough]
        coins.sort(key=lambda coin: coin.get("ancestorcount", 0))
        for coin in coins[:COINS_TO_TRY]:
            chosen = {"inputs": [{"txid": coin["txid"], "vout": coin["vout"]}], "add_inputs": False}
            try:
                return str(self.call("send", [{address: amount}], None, "unset", None, chosen)["txid"])
            except RpcError as error:
                if not LONG_CHAIN.search(error.reason):
                    raise
        raise WorldError("The bank waits for earlier payments; mine a block, then pay again.")

    def _open(self) -> None:
        """Load the wallet, or make it; from then on the node loads it at every start."""
        try:
            self.rpc.call("loadwallet", [NAME, True])
        except RpcError as error:
            if error.code in ALREADY_LOADED:
                return
            if error.code != NO_SUCH_WALLET:
                raise
            self._make()

    def _make(self) -> None:
        try:
            # name, no private keys, blank, passphrase, avoid reuse, descriptors, load on startup
            self.rpc.call("createwallet", [NAME, False, False, "", False, True, True])
        except RpcError as error:
            if error.code not in ALREADY_LOADED:  # another process has just made it
                raise
