"""The worker's hand for proofs: gathers, from the chain, what shows the signer how a campaign ended. Holds no key.

The signer sees no chain. It signs for coins alone whose transactions it was shown, and settles nothing before it was
shown headers up to the closing block and beyond; for a release, also every coin that counts, with the branch that leads
to its block. Transactions and branches are kept as soon as a coin is confirmed, while its block is at hand; and all of
that with the decision, as the signer may be away until another chain has won.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from crowdfund.campaigns import cancelling, evidence, settling, shown_endings
from crowdfund.campaigns.attempts import Job
from crowdfund.campaigns.cancelling import HeldCancellation
from crowdfund.campaigns.evidence import Unseen
from crowdfund.campaigns.lifecycle import Kind
from crowdfund.campaigns.settling import DueCampaign
from crowdfund.campaigns.shown_endings import ShownEnding
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.chain.backends import AnyBackend
from crowdfund.chain.inclusion import Inclusion, headers_from, inclusions
from crowdfund.db import Database
from crowdfund.errors import WorldError
from crowdfund.wallet.blocks import HEADER_SIZE, parse_tx, without_witness
from crowdfund.wallet.cancellation import CancellationProof
from crowdfund.wallet.headers import Header, check_chain, read_header
from crowdfund.wallet.merkle import verify_branch
from crowdfund.wallet.outcome_proof import CoinProof, OutcomeProof, ShownCoin, first_height
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.wallet.transactions import TxInput, UnsignedTx

log = logging.getLogger("crowdfund.worker")

Found = dict[tuple[str, int], Inclusion]


@dataclass
class Prover:
    """What it keeps between rounds are hints only: a signer that is shown something twice does not mind."""

    database: Database
    backend: AnyBackend
    _kept_at: str = ""
    _ended: dict[int, set[str]] = field(default_factory=dict)
    _seen: set[tuple[int, str, int]] = field(default_factory=set)

    def keep(self, tip_hash: str) -> None:
        """Keep what shows the coins of the newest blocks. What a server lacks now is asked for again when needed."""
        after = (-1, -1)
        while self._kept_at != tip_hash:
            with self.database.reading() as session:
                waiting = evidence.unseen(session, after)
            for _, coins in groupby(waiting, key=lambda coin: coin.height):
                self._keep_block(listed := list(coins))
                after = (listed[-1].height, listed[-1].coin_id)
            if len(waiting) < evidence.AT_ONCE:
                self._kept_at = tip_hash

    def show(self, signer: SignerClient, job: Job) -> None:
        """See to it that the signer knows what this job rests on. Raises WorldError."""
        self.show_coins(signer, job.terms, job.account_index, job.tx)
        ended = self._ended.get(job.account_index)
        spent = {f"{i.txid}:{i.vout}" for i in job.tx.inputs} if job.plan.kind is Kind.RELEASE else set()
        if ended is not None and spent <= ended:
            return
        proof = outcome_proof(self.database, self.backend, job.campaign_id, with_coins=bool(spent))
        signer.prove(job.terms, job.account_index, proof)
        self._ended[job.account_index] = {coin.outpoint for coin in proof.coins}

    def show_coins(self, signer: SignerClient, terms: str, account_index: int, tx: UnsignedTx) -> None:
        """Show the signer the transactions that made the coins which `tx` spends. Raises WorldError."""
        new = [i for i in tx.inputs if (account_index, i.txid, i.vout) not in self._seen]
        if not new:
            return
        signer.show(terms, account_index, shown_coins(self.database, self.backend, new))
        self._seen |= {(account_index, i.txid, i.vout) for i in new}

    def forget(self, account_index: int) -> None:
        """The signer has refused something: it is shown everything again the next time."""
        self._ended.pop(account_index, None)
        self._seen = {one for one in self._seen if one[0] != account_index}

    def _keep_block(self, coins: list[Unseen]) -> None:
        """What leads elsewhere came damaged or is of another block: it is left for later."""
        height = coins[0].height
        try:
            header = read_header(headers_from(self.backend, height, height))
            found = inclusions(self.backend, ((coin.txid, coin.height) for coin in coins))
        except WorldError as error:
            log.info("nothing is kept of block %s: %s", height, error.sentence)
            return
        if any(coin.block_hash != header.hash for coin in coins):
            return
        with self.database.transaction() as session:
            evidence.keep(session, coins, [one for one in found if _leads_to(header, one)])


def ending_of(database: Database, backend: AnyBackend, due: DueCampaign) -> ShownEnding:
    """What shows how a campaign ends that can be decided now. Raises WorldError where the server lacks a part, or has
    another chain than the recorded one."""
    with database.reading() as session:
        terms, coins = settling.outlook(session, due)
    first = first_height(terms.opened_height)
    raw = headers_from(backend, first, max(due.proof))
    if not _hang_together(raw, terms):  # kept for good, it would keep the signer from signing for good
        raise WorldError("The headers that show the end of a campaign came damaged; they are asked for again.")
    headers = {first + n: read_header(raw[n * HEADER_SIZE :][:HEADER_SIZE]) for n in range(len(raw) // HEADER_SIZE)}
    found = _gathered(database, backend, ((coin.txid, coin.height) for coin in coins))
    held = {(coin.txid, coin.vout): found[(coin.txid, coin.height)] for coin in coins}
    same = all(headers[height].hash == block_hash for height, block_hash in due.proof.items())
    if not same or not all(_leads_to(headers[one.height], one) for one in held.values()):
        raise WorldError("The chain has moved while the end of a campaign was put together; that is done again.")
    return ShownEnding(raw, due.proof[min(due.proof)], held)


def outcome_proof(database: Database, backend: AnyBackend, campaign_id: str, *, with_coins: bool) -> OutcomeProof:
    """The proof of a decided campaign's end: as it was kept with the decision, or, where nothing was, as the chain has
    it now. Raises WorldError where the server lacks a part."""
    with database.reading() as session:
        kept = shown_endings.proof(session, campaign_id, with_coins=with_coins)
        terms, closing_height = settling.ending(session, campaign_id)
        if kept is not None and not _hang_together(kept.headers, terms):  # older versions kept what came damaged
            kept = None
        cancelled = cancelling.of_decided(session, campaign_id, terms, then=kept is not None)
        coins = settling.counted_coins(session, campaign_id) if with_coins and kept is None else []
    if kept is not None:
        return kept if cancelled is None else replace(kept, cancellation=_shown(backend, terms, cancelled))
    last = closing_height + terms.confirmations - 1
    headers = headers_from(backend, first_height(terms.opened_height), last)
    if cancelled is not None:
        return OutcomeProof(headers, cancellation=_shown(backend, terms, cancelled))
    found = _gathered(database, backend, ((coin.txid, coin.height) for coin in coins))
    proofs = []
    for coin in coins:
        held = found[(coin.txid, coin.height)]
        proofs.append(CoinProof(held.raw, coin.vout, coin.index, coin.height, held.branch, held.position))
    return OutcomeProof(headers, tuple(proofs))


def _shown(backend: AnyBackend, terms: CampaignTerms, held: HeldCancellation) -> CancellationProof:
    """Without witnesses, which prove nothing here and may be long. Raises WorldError."""
    bare = without_witness(held.raw), without_witness(held.spent or _origin(backend, terms, held))
    return CancellationProof(*bare, held.height, held.branch, held.position)


def _origin(backend: AnyBackend, terms: CampaignTerms, held: HeldCancellation) -> bytes:
    """What the cancellation spends, asked for once more. Raises WorldError where the server does not have it."""
    origin = backend.origin(parse_tx(held.raw), held.block_hash, bytes.fromhex(terms.payout_script))
    if origin is None or origin.raw is None:
        raise WorldError(
            f"“{terms.title}” was cancelled by {held.txid}, and the {backend.name} no longer has the transaction that "
            "made the coin which that one spends: the creator can bring it on the page for cancelling."
        )
    return origin.raw


def shown_coins(database: Database, backend: AnyBackend, spent: Sequence[TxInput]) -> list[ShownCoin]:
    """The transactions that made these coins, as far as blocks hold them. Raises WorldError where one is lacking."""
    with database.reading() as session:
        heights = evidence.heights(session, {i.txid for i in spent})
    found = {txid: one.raw for (txid, _), one in _gathered(database, backend, heights.items()).items()}
    return [ShownCoin(found[i.txid], i.vout, i.index) for i in spent if i.txid in found]


def _gathered(database: Database, backend: AnyBackend, items: Iterable[tuple[str, int]]) -> Found:
    """From what was kept, and for the rest from the server. Raises WorldError."""
    wanted = list(items)
    with database.reading() as session:
        found = evidence.held(session, wanted)
    lacking = [item for item in wanted if item not in found]
    return found | {(one.txid, one.height): one for one in inclusions(backend, lacking)} if lacking else found


def _leads_to(header: Header, one: Inclusion) -> bool:
    try:
        return verify_branch(one.txid, one.branch, one.position) == header.merkle_root
    except ValueError:
        return False


def _hang_together(raw: bytes, terms: CampaignTerms) -> bool:
    """Do these headers, from where proofs begin, follow each other with the work that the network asks for?"""
    headers = [read_header(raw[at : at + HEADER_SIZE]) for at in range(0, len(raw), HEADER_SIZE)]
    try:
        check_chain(headers, first_height(terms.opened_height), terms.network)
    except ValueError:
        return False
    return True
