"""Verifying an audit bundle: a list of small checks, all run, each an `ok` or a sentence that says what differs.

Independent of the site: it knows the bundle, the terms' rules and a chain backend, and nothing of the database.
Errors in the bundle are values, never exceptions, whatever the bundle holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from crowdfund.audit import chain_checks, foundation, rules
from crowdfund.audit.cancelling import cancellation_problems
from crowdfund.audit.chain_checks import (
    Case,
    bucket_problems,
    closing_problems,
    coin_problems,
    result_problems,
    spend_problems,
    unspent_problems,
)
from crowdfund.audit.claims import Claims
from crowdfund.audit.form import FormError, read
from crowdfund.audit.readdressing import change_problems
from crowdfund.campaigns.lifecycle import Outcome
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.chain.backends import AnyBackend
from crowdfund.chain.port import BlockBackend
from crowdfund.errors import WorldError

MOST_SENTENCES = 20


@dataclass(frozen=True)
class Finding:
    """What one check found. `ok` is None where it could not be made."""

    check: str
    ok: bool | None
    sentence: str


@dataclass(frozen=True)
class Report:
    """All findings; `outcome` and `buckets` (satoshi) as recomputed from the chain, `consulted` if there was one.

    `height` is that of the last block looked at. `asked` says who was asked, and what such a server can keep
    quiet about. Where the chain was not consulted, `buckets` is empty and `asked` None.
    """

    findings: tuple[Finding, ...]
    consulted: bool = False
    height: int | None = None
    outcome: Outcome | None = None
    counted_sats: int = 0
    buckets: Mapping[str, int] = field(default_factory=dict)
    asked: str | None = None

    @property
    def ok(self) -> bool:
        """Does everything hold, and was the chain asked?"""
        return self.consulted and not self.differs

    @property
    def differs(self) -> bool:
        """Is anything not as it must be?"""
        return any(finding.ok is False for finding in self.findings)


def verify(bundle: object, backend: AnyBackend | None) -> Report:
    """Run every check on a bundle, as parsed from JSON. Without a backend, only what needs none; `ok` is then False."""
    try:
        claims = read(bundle)
    except FormError as error:
        return Report((Finding("form", False, str(error)),))
    findings = [Finding("form", True, "The bundle is put together as it must be.")]
    try:
        terms = foundation.read_terms(claims)
        findings.append(Finding("terms", True, f"The terms have the hash {claims.terms_hash}."))
    except ValueError as error:
        return Report((*findings, Finding("terms", False, str(error))))
    try:
        foundation.check_descriptor(claims, terms)
        findings.append(Finding("descriptor", True, "The addresses follow from the terms: their path is its hash."))
        foundation.check_addresses(claims)
        findings.append(Finding("addresses", True, "Two libraries derive the same addresses."))
    except ValueError as error:
        return Report((*findings, Finding("descriptor", False, str(error))))
    findings += _offline(claims, terms)
    if backend is None:
        sentence = "The chain was not consulted: name a node or another server to check against."
        return Report((*findings, Finding("chain", None, sentence)))
    return _on_chain(claims, terms, backend, findings)


def _offline(claims: Claims, terms: CampaignTerms) -> list[Finding]:
    settlements = len(claims.settlements)
    return [
        _details(claims, terms),
        *_cancellation(claims, terms),
        *_run("issued", "Every coin lies at an address that was given out.", rules.issued_problems(claims)),
        *_run(
            "settlements",
            f"Each of the {settlements} settlement transactions pays only what is due to whom it is due.",
            rules.settlement_problems(claims, terms),
        ),
        *_run("sums", "The bundle's own figures agree to the satoshi.", rules.sum_problems(claims, terms)),
        *_refund_changes(claims, terms),
        *_statements(claims, terms),
    ]


def _refund_changes(claims: Claims, terms: CampaignTerms) -> list[Finding]:
    """Of campaigns in which one holds."""
    if not claims.refund_changes:
        return []
    good = (
        f"Each of the {len(claims.refund_changes):,} changes of refund addresses is signed by the address before it, "
        "and refunds go to the last ones."
    )
    return _run("refund addresses", good, change_problems(claims, terms))


def _statements(claims: Claims, terms: CampaignTerms) -> list[Finding]:
    """What the creator says of own money: told, not checked, beyond that it is of addresses that were given out."""
    if not claims.own_money:
        return []
    found = _run("statements", "", rules.statement_problems(claims))
    if found[0].ok is False:
        return found
    own_sats = rules.own_sats(claims, terms)
    sentence = (
        f"The creator says that {len(claims.own_money):,} of the addresses paid hold their own money: {own_sats:,} sat "
        f"of what counts, {claims.counted_sats - own_sats:,} sat without them. No chain can check that."
    )
    return [Finding("statements", None, sentence)]


def _cancellation(claims: Claims, terms: CampaignTerms) -> list[Finding]:
    """Of a campaign that can be cancelled, or is said to be."""
    if not terms.cancellable and claims.cancellation is None:
        return []
    good = "The bundle speaks of no cancellation."
    if claims.cancellation is not None:
        good = f"Transaction {claims.cancellation.txid} names these terms and spends from the payout address."
        if claims.cancellation.spent is None:
            good = (
                f"Transaction {claims.cancellation.txid} names these terms; what it spends, the bundle does not have."
            )
    return _run("cancellation", good, cancellation_problems(claims, terms))


def _details(claims: Claims, terms: CampaignTerms) -> Finding:
    try:
        return Finding("details", True, foundation.check_details(claims, terms))
    except ValueError as error:
        return Finding("details", False, str(error))


def _on_chain(claims: Claims, terms: CampaignTerms, backend: AnyBackend, findings: list[Finding]) -> Report:
    """First whether server and bundle speak of one chain; only then is it worth reading."""
    kind = chain_checks.kind_of(backend)
    try:
        right = f"The {kind} is on the bundle's network."
        findings += _run("network", right, chain_checks.network_problems(claims, backend))
        if findings[-1].ok:
            findings += _run(
                "as of",
                f"Block {claims.as_of.height:,} is on the {kind}'s best chain.",
                chain_checks.as_of_problems(claims, backend),
            )
        if not findings[-1].ok:
            sentence = f"Nothing else can be checked against this {kind}'s chain."
            return Report((*findings, Finding("chain", None, sentence)))
        case = chain_checks.build_case(claims, terms, backend)
        findings += [*_opening(terms, backend), *_against(case), *_unspent(case, backend)]
        chain_checks.still_there(claims, backend)
    except WorldError as error:
        return Report((*findings, Finding("chain", None, f"The chain could not be checked. {error.sentence}")))
    return Report(
        tuple(findings),
        consulted=True,
        height=claims.as_of.height,
        outcome=case.reckoning.outcome,
        counted_sats=case.reckoning.counted_sats,
        buckets=case.reckoning.buckets,
        asked=chain_checks.asked(backend),
    )


def _opening(terms: CampaignTerms, backend: AnyBackend) -> list[Finding]:
    kind = chain_checks.kind_of(backend)
    if chain_checks.opening_block(terms, backend) is None:
        whole = "the whole chain was searched for coins."
        if kind == "node":
            return [Finding("opening", None, f"The node does not know the block that the terms name; {whole}")]
        sentence = f"The block that the terms name is not on the server's chain, and it cannot tell of others; {whole}"
        return [Finding("opening", None, sentence)]
    good = f"The terms name a block that the {kind} knows: no address is older"
    good += ", and no older block was searched." if isinstance(backend, BlockBackend) else "."
    return _run("opening", good, chain_checks.opening_problems(terms, backend))


def _against(case: Case) -> list[Finding]:
    coins, settled = len(case.facts.coins), len(case.facts.spends)
    closing = "The campaign is open." if case.facts.closing is None else f"It is block {case.facts.closing[0]:,}."
    if case.facts.cancelled_by is not None and case.facts.closing is not None:
        closing = f"Block {case.facts.closing[0]:,} is in its place: the creator cancelled the campaign there."
    outcome = "Nothing is decided yet" if case.reckoning.outcome is None else f"The campaign {_ended(case)}"
    total_sats = sum(case.reckoning.buckets.values())
    return [
        *_run("coins", f"All {coins} coins on the chain are in the bundle, and no others.", coin_problems(case)),
        *_run("spends", f"All {settled} transactions that spend them are its settlements.", spend_problems(case)),
        *_cancelled(case),
        *_run("closing block", closing, closing_problems(case)),
        *_run("outcome", f"{outcome}: {case.reckoning.counted_sats:,} sat count.", result_problems(case)),
        *_run("buckets", f"They hold every satoshi on the chain: {total_sats:,} sat.", bucket_problems(case)),
    ]


def _cancelled(case: Case) -> list[Finding]:
    if not case.terms.cancellable:
        return []
    good = "The chain has no cancellation in time."
    if case.facts.cancelled_by is not None:
        good = f"Transaction {case.facts.cancelled_by} is on the chain, in time, and spends from the payout address."
    return _run("cancelled", good, chain_checks.cancellation_problems(case))


def _ended(case: Case) -> str:
    if case.facts.cancelled_by is not None:
        return "was cancelled by its creator"
    return "reached its goal" if case.reckoning.outcome is Outcome.FUNDED else "missed its goal"


def _unspent(case: Case, backend: AnyBackend) -> list[Finding]:
    """A second opinion; without it, the first one stands."""
    kind = chain_checks.kind_of(backend)
    good = f"The {kind}'s own set of unspent outputs holds the same coins."
    try:
        return _run("unspent coins", good, unspent_problems(case, backend))
    except WorldError as error:
        return [Finding("unspent coins", None, f"No second opinion from the {kind}. {error.sentence}")]


def _run(check: str, good: str, problems: Iterable[str]) -> list[Finding]:
    """One finding that says all is well, or one for each problem, up to a number that can be read."""
    sentences = list(islice(problems, MOST_SENTENCES + 1))
    if not sentences:
        return [Finding(check, True, good)]
    if len(sentences) > MOST_SENTENCES:
        sentences[MOST_SENTENCES] = "There are more differences of this kind."
    return [Finding(check, False, sentence) for sentence in sentences]
