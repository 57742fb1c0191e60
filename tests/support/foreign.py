"""A signer that is none of ours: a wallet of the node with the private keys of a campaign, as a device has them."""

from __future__ import annotations

import base64
from typing import Any

from embit.descriptor.checksum import add_checksum

from crowdfund.chain.local_rpc import LocalRpc
from crowdfund.chain.regtest import RegtestNode
from crowdfund.wallet.bcl import HDKey, Mnemonic
from crowdfund.wallet.descriptors import terms_words
from crowdfund.wallet.keystore import Keystore
from crowdfund.wallet.words import words_of


def keys_of(entropy: bytes) -> Keystore:
    """The keys of a seed on regtest."""
    return Keystore(words_of(entropy), "regtest")


def private_account(entropy: bytes) -> str:
    """What nobody may ever hand over: account 0 with its private key."""
    key = HDKey.from_seed(Mnemonic().to_seed(words_of(entropy)), network="regtest", witness_type="segwit")
    for step in (84, 1, 0):
        key = key.child_private(step, hardened=True)
    return str(key.wif(is_private=True, witness_type="legacy"))


def private_descriptor(keys: Keystore, account: int, terms_hash: bytes) -> str:
    """The campaign's descriptor with the private key at the end of the words in it, and the whole origin before it."""
    key: Any = keys.campaign_key(account, terms_hash)
    assert isinstance(key, HDKey)
    path = "/".join(str(word) for word in terms_words(terms_hash))
    origin = f"[{keys.fingerprint}/84h/1h/{account}h/{path}]"
    return str(add_checksum(f"wpkh({origin}{key.wif(is_private=True, witness_type='legacy')}/*)"))


class ForeignSigner:
    """The node's wallet; it draws other nonces than we do and knows nothing of pledges."""

    def __init__(self, node: RegtestNode, keys: Keystore, account: int, terms_hash: bytes) -> None:
        self._rpc = LocalRpc(node.rpc_url, node.cookie_file)
        self._wallet = f"foreign-{terms_hash.hex()[:12]}"
        self._rpc.call("createwallet", [self._wallet, False, True])
        wanted = {"desc": private_descriptor(keys, account, terms_hash), "timestamp": "now", "range": [0, 100]}
        (made,) = self._rpc.call("importdescriptors", [[wanted]], wallet=self._wallet)
        assert made["success"], made

    def sign(self, psbt: bytes, finish: bool = True) -> bytes:
        """The PSBT with this wallet's signatures: finalised, or with the signatures only."""
        text = base64.b64encode(psbt).decode()
        answer = self._rpc.call("walletprocesspsbt", [text, True, "ALL", True, finish], wallet=self._wallet)
        assert answer["complete"] is finish
        return base64.b64decode(answer["psbt"])
