"""Helpers for the audit's tests: bundles as JSON gives them, a node that remembers, and lies that are consistent."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from crowdfund.audit.bundle import build_bundle, bundle_json
from crowdfund.audit.form import parse_json, read
from crowdfund.audit.foundation import read_terms
from crowdfund.audit.reckon import reckon
from crowdfund.audit.rules import claimed_spendings
from crowdfund.audit.verify import Report, verify
from crowdfund.campaigns import queries
from crowdfund.campaigns.terms import canonical_json
from crowdfund.chain.core import CoreBackend
from crowdfund.chain.port import UnspentCoin
from crowdfund.wallet.addresses import script_of
from crowdfund.wallet.descriptors import campaign_descriptor
from support.world import World

Bundle = dict[str, Any]


class RememberingNode(CoreBackend):
    """The real node, each question asked once: hundreds of audits of one unmoving chain."""

    def __init__(self, world: World) -> None:
        super().__init__(world.node.rpc_url, world.node.cookie_file)
        self._answers: dict[str, list[Any]] = {}
        self._blocks: dict[str, bytes] = {}
        self._headers: dict[tuple[int, int], list[bytes]] = {}
        self._unspent: dict[tuple[bytes, ...], tuple[str, list[UnspentCoin]]] = {}

    def call_many(self, calls: Sequence[tuple[str, list[object]]]) -> list[Any]:
        key = json.dumps(calls)
        if key not in self._answers:
            self._answers[key] = super().call_many(calls)
        return self._answers[key]

    def block(self, block_hash: str) -> bytes:
        if block_hash not in self._blocks:
            self._blocks[block_hash] = super().block(block_hash)
        return self._blocks[block_hash]

    def headers(self, first_height: int, count: int) -> list[bytes]:
        if (first_height, count) not in self._headers:
            self._headers[first_height, count] = super().headers(first_height, count)
        return self._headers[first_height, count]

    def unspent(self, scripts: Sequence[bytes]) -> tuple[str, list[UnspentCoin]]:
        key = tuple(scripts)
        if key not in self._unspent:
            self._unspent[key] = super().unspent(scripts)
        return self._unspent[key]


def bundle_of(world: World, campaign_id: str) -> Bundle:
    """The bundle, as somebody who downloaded it reads it."""
    with world.database.reading() as session:
        text = bundle_json(build_bundle(queries.load(session, campaign_id), "regtest"))
    value = parse_json(text)
    assert isinstance(value, dict)
    return value


def audited(world: World, campaign_id: str) -> tuple[Bundle, Report]:
    """A fresh bundle, which must pass, and the report on it."""
    bundle = bundle_of(world, campaign_id)
    report = verify(bundle, world.core)
    assert report.ok, wrong(report)
    assert dict(report.buckets) == bundle["buckets"]
    return bundle, report


def wrong(report: Report) -> list[str]:
    """The sentences of what differs."""
    return [f"{f.check}: {f.sentence}" for f in report.findings if f.ok is False]


def lie(bundle: Bundle, **changes: Any) -> Bundle:
    """A copy with `changes`, and all sums, labels and the outcome made to fit: a lie that only the chain shows."""
    told = {**copy.deepcopy(bundle), **copy.deepcopy(changes)}
    claims = read(told)
    found = reckon(
        read_terms(claims),
        None if claims.closing is None else claims.closing[0],
        claims.as_of.height,
        claims.coins,
        claimed_spendings(claims),
        claims.cancellation is not None,
    )
    told["outcome"] = None if found.outcome is None else str(found.outcome)
    told["counted_sats"] = found.counted_sats
    told["buckets"] = dict(found.buckets)
    for coin in told["coins"]:
        coin["bucket"] = str(found.labels[(coin["txid"], coin["vout"])])
    return told


def with_terms(bundle: Bundle, terms_text: str, descriptor: str | None = None) -> Bundle:
    """The bundle with other terms and their hash; with another descriptor, if one is given."""
    changed = {"terms": terms_text, "terms_hash": sha256(terms_text.encode()).hexdigest()}
    return {**copy.deepcopy(bundle), **changed, "descriptor": descriptor or bundle["descriptor"]}


def changed_terms(bundle: Bundle, **changes: Any) -> str:
    """The canonical text of its terms, with `changes`."""
    return canonical_json({**json.loads(bundle["terms"]), **changes})


def same_account(bundle: Bundle, terms_text: str) -> str:
    """The descriptor that these terms would have had."""
    origin, _, rest = bundle["descriptor"].removeprefix("wpkh([").partition("]")
    fingerprint, _, _, account = origin.split("/")
    terms_hash = sha256(terms_text.encode()).digest()
    return campaign_descriptor(fingerprint, int(account[:-1]), rest.split("/")[0], terms_hash, "regtest")


def of_another_network(bundle: Bundle) -> Bundle:
    """The same campaign, in perfect order, on signet."""
    address = "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx"
    changes = {"network": "signet", "payout_address": address, "payout_script": script_of(address, "signet").hex()}
    text = changed_terms(bundle, **changes)
    return with_terms({**bundle, "network": "signet"}, text, same_account(bundle, text))
