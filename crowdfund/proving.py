"""The worker's hand for proofs: gathers, from the chain, what shows the signer how a campaign ended. Holds no key.

The signer sees no chain and signs nothing before it was shown headers up to the closing block and beyond; for a
release, also every coin that counts, with the branch that leads to its block.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from crowdfund.campaigns import settling
from crowdfund.campaigns.attempts import Job
from crowdfund.campaigns.lifecycle import Kind
from crowdfund.campaigns.settling import CountedCoin
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.chain.backends import AnyBackend
from crowdfund.chain.inclusion import headers_from, inclusions
from crowdfund.db import Database
from crowdfund.wallet.outcome_proof import CoinProof, OutcomeProof, first_height
from crowdfund.wallet.signer_client import SignerClient


@dataclass
class Prover:
    """What it keeps between rounds are hints only: a signer that is shown something twice does not mind."""

    database: Database
    backend: AnyBackend
    _shown: dict[int, set[tuple[str, int]]] = field(default_factory=dict)

    def show(self, signer: SignerClient, job: Job) -> None:
        """See to it that the signer knows what this job rests on. Raises WorldError."""
        shown = self._shown.get(job.account_index)
        spent = {(i.txid, i.vout) for i in job.tx.inputs} if job.plan.kind is Kind.RELEASE else set()
        if shown is not None and spent <= shown:
            return
        proof, coins = outcome_proof(self.database, self.backend, job.campaign_id, with_coins=bool(spent))
        signer.prove(job.terms, job.account_index, proof)
        self._shown[job.account_index] = {(coin.txid, coin.vout) for coin in coins}


def outcome_proof(
    database: Database, backend: AnyBackend, campaign_id: str, *, with_coins: bool
) -> tuple[OutcomeProof, list[CountedCoin]]:
    """The proof of a decided campaign's end, and the coins in it. Raises WorldError where the server lacks a part."""
    with database.reading() as session:
        terms, closing_height = settling.ending(session, campaign_id)
        coins = settling.counted_coins(session, campaign_id) if with_coins else []
    headers = headers_from(backend, first_height(terms.opened_height), _last_height(terms, closing_height))
    found = {(one.txid, one.height): one for one in inclusions(backend, ((c.txid, c.height) for c in coins))}
    proofs = []
    for coin in coins:
        held = found[(coin.txid, coin.height)]
        proofs.append(CoinProof(held.raw, coin.vout, coin.index, coin.height, held.branch, held.position))
    return OutcomeProof(headers, tuple(proofs)), coins


def _last_height(terms: CampaignTerms, closing_height: int) -> int:
    return closing_height + terms.confirmations - 1
