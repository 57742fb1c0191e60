"""How fast signing is, and what bounds it: python -m bench.signing [--inputs N] [--rounds N]

One process, one batch of P2WPKH inputs, each with a key of its own that is derived anew. The limit is what libsecp256k1
takes for the bare ECDSA signatures over the same digests with the same keys, and nothing else. What is compared runs in
turn, round by round; each figure is the median of its rounds. The last line is one JSON object:

sign_ratio_libsecp   our rate / the rate of the bare signatures (1 = nothing is lost on keys, digests and bytes)
sign_per_s           inputs signed in a second: child key, digest, signature, witness
vs_bitcoinlib        how many times faster that is than bitcoinlib's own signing of the same bytes
verify_per_s         inputs verified in a second by the worker, by embit alone
settle_per_s         inputs through both, one after the other
address_per_s        addresses derived in a second by both libraries, compared
script_per_s         locking scripts derived in a second by embit alone, as an auditor does
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from coincurve import PrivateKey
from embit.hashes import hash160

from crowdfund.wallet.bcl import Transaction
from crowdfund.wallet.descriptors import campaign_descriptor, derive_address, derive_script
from crowdfund.wallet.fast_keys import PrivateBranch
from crowdfund.wallet.keystore import Keystore
from crowdfund.wallet.signing import Digests, sign
from crowdfund.wallet.transactions import SEQUENCE, VERSION, TxInput, TxOutput, UnsignedTx, verify_signed

WORDS = "abandon " * 11 + "about"
INPUTS, ROUNDS = 350, 7
SLOW_INPUTS = 40  # bitcoinlib takes some 7 ms for each
ADDRESSES = 200


@dataclass(frozen=True)
class Batch:
    """A release of many coins, with the keys that sign it."""

    store: Keystore
    terms_hash: bytes
    tx: UnsignedTx
    branch: PrivateBranch
    descriptor: str


def batch_of(inputs: int) -> Batch:
    """A release of `inputs` coins at as many addresses."""
    store, terms_hash = Keystore(WORDS, "regtest"), sha256(b"a bench").digest()
    coins = tuple(TxInput(f"{n + 1:064x}", n, 100_000, n) for n in range(inputs))
    tx = UnsignedTx(coins, (TxOutput(b"\x00\x14" + b"p" * 20, inputs * 99_000),), 800_000)
    descriptor = campaign_descriptor(store.fingerprint, 0, store.account_xpub(0), terms_hash, "regtest")
    return Batch(store, terms_hash, tx, store.branch(0, terms_hash), descriptor)


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def bare_signing_of(tx: UnsignedTx, branch: PrivateBranch) -> Callable[[], object]:
    """Only the signatures of a transaction: keys and digests are made before."""
    digests = Digests(tx)
    pairs: list[tuple[PrivateKey, bytes]] = []
    for position, spent in enumerate(tx.inputs):
        key = branch.child(spent.index)
        pairs.append((key, digests.of(position, hash160(key.public_key.format()))))
    return lambda: [key.sign(digest, hasher=None) for key, digest in pairs]


def bitcoinlib_signing(batch: Batch, inputs: int) -> Callable[[], object]:
    """The first `inputs` of a batch, signed by bitcoinlib alone."""
    branch = batch.store.campaign_key(0, batch.terms_hash)

    def work() -> None:
        made = Transaction(
            version=VERSION, locktime=batch.tx.locktime, network="regtest", witness_type="segwit", replace_by_fee=True
        )
        for i in batch.tx.inputs[:inputs]:
            made.add_input(
                i.txid, i.vout, keys=[branch.child_private(i.index)], script_type="sig_pubkey",
                witness_type="segwit", value=i.value_sats, sequence=SEQUENCE,
            )  # fmt: skip
        made.add_output(batch.tx.outputs[0].value_sats, lock_script=batch.tx.outputs[0].script)
        made.sign()

    return work


def measure_signing(inputs: int = INPUTS, rounds: int = ROUNDS) -> dict[str, float]:
    """`sign_ratio_libsecp`, `sign_per_s`, `vs_bitcoinlib`, `verify_per_s`, `settle_per_s`."""
    batch = batch_of(inputs)
    raw, bare, slow = (
        sign(batch.tx, batch.branch),
        bare_signing_of(batch.tx, batch.branch),
        bitcoinlib_signing(batch, SLOW_INPUTS),
    )
    verify_signed(raw, batch.tx, batch.descriptor)
    ours, limits, slows, checks = [], [], [], []
    for _ in range(rounds):
        limits.append(seconds(bare) / inputs)
        ours.append(seconds(lambda: sign(batch.tx, batch.branch)) / inputs)
        checks.append(seconds(lambda: verify_signed(raw, batch.tx, batch.descriptor)) / inputs)
        slows.append(seconds(slow) / SLOW_INPUTS)
    our_s, check_s = statistics.median(ours), statistics.median(checks)
    return {
        "sign_ratio_libsecp": statistics.median(limits) / our_s,
        "sign_per_s": 1 / our_s,
        "vs_bitcoinlib": statistics.median(slows) / our_s,
        "verify_per_s": 1 / check_s,
        "settle_per_s": 1 / (our_s + check_s),
    }


def measure_addresses(rounds: int = ROUNDS) -> dict[str, float]:
    """`address_per_s` and `script_per_s`, each address a new one."""
    batch = batch_of(1)
    derive_address(batch.descriptor, 0, "regtest")
    both, one = [], []
    for number in range(rounds):
        fresh = range(1 + number * ADDRESSES, 1 + (number + 1) * ADDRESSES)
        both.append(seconds(partial(_addresses, batch.descriptor, fresh)))
        one.append(seconds(partial(_scripts, batch.descriptor, fresh)))
    return {
        "address_per_s": ADDRESSES / statistics.median(both),
        "script_per_s": ADDRESSES / statistics.median(one),
    }


def _addresses(descriptor: str, indices: range) -> list[tuple[str, bytes]]:
    return [derive_address(descriptor, index, "regtest") for index in indices]


def _scripts(descriptor: str, indices: range) -> list[bytes]:
    return [derive_script(descriptor, index) for index in indices]


def main(arguments: Sequence[str]) -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description="How fast signing is.")
    parser.add_argument("--inputs", type=int, default=INPUTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    found = {**measure_signing(options.inputs, options.rounds), **measure_addresses(options.rounds)}
    for name, value in found.items():
        print(f"{name:22} {value:10.2f}")
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))


if __name__ == "__main__":
    main(sys.argv[1:])
