"""What the tables themselves refuse: every trigger and every check, by plain SQL as a bug or an intruder would."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from crowdfund.accounts.models import (
    AccountEvent,
    AttemptWindow,
    Authenticator,
    KeptAnswer,
    Passkey,
    PasskeyChallenge,
    RecoveryCode,
    WebSession,
)
from crowdfund.campaigns.cancel_models import CancellationDraft, CancellationSend
from crowdfund.campaigns.detail_models import (
    DeliverableReport,
    HelpOffer,
    ReviewRequest,
    ReviewVerdict,
    RewardClaim,
    RewardRow,
)
from crowdfund.campaigns.figure_models import CampaignFigures
from crowdfund.campaigns.models import (
    Account,
    ApiToken,
    Attempt,
    AttemptOutput,
    BatchInput,
    BatchRow,
    Block,
    Campaign,
    Cancellation,
    ChainView,
    Coin,
    CountedCoinRow,
    Creator,
    DecisionRow,
    EndingRow,
    Incident,
    IncidentCoin,
    PaymentInput,
    Pledge,
    PledgeReceipt,
    Restore,
    RivalRow,
    TimelockedRefund,
)
from crowdfund.campaigns.picture_models import Picture, PictureRow
from crowdfund.campaigns.refund_models import RefundChangeRow
from crowdfund.campaigns.talk_models import Approval, Moderation, OwnMoney, Post, UpdateVersion
from crowdfund.db import Base, Database
from crowdfund.notices.models import Delivery, Happening, Notice, Subscription, Webhook
from crowdfund.projects.models import Project, ProjectInvitation, ProjectMember
from crowdfund.projects.proof_models import ProjectProof
from crowdfund.wallet.amounts import MAX_MONEY_SATS
from support import fresh
from support.postgres import DATABASES, database_of, on_postgresql, spoken

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def campaign(name: str, number: int, published: bool = True) -> Campaign:
    return Campaign(
        id=name, creator_id=1, title="t", summary="s", story="s", goal_sats=5, deadline_at=NOW, payout_address="a",
        project_url="u", license="MIT", created_at=NOW, next_index=3, terms=f"terms {name}" if published else None,
        terms_hash=name if published else None, account_index=number if published else None,
        descriptor=name if published else None, published_at=NOW if published else None, project_id="prj",
    )  # fmt: skip


def pledge(name: str, campaign_id: str, index: int, shown: bool = True) -> Pledge:
    return Pledge(
        id=name, campaign_id=campaign_id, index=index, address=name if shown else None,
        script=name.encode() if shown else None, amount_sats=10_000, refund_address="r", refund_script=b"r",
        name="", message="", created_at=NOW,
    )  # fmt: skip


def coin(number: int, pledge_id: str) -> Coin:
    return Coin(
        id=number, pledge_id=pledge_id, txid=f"t{number}", vout=0, value_sats=10_000, coinbase=False,
        first_seen_at=NOW, in_mempool=False, height=5, block_hash="h",
    )  # fmt: skip


def fill(session: Session) -> None:
    """Two campaigns: `won` is funded and settled, `lost` has failed; a draft beside them."""
    session.add(Creator(id=1, name="alice", key="alice", password_hash="x", created_at=NOW))
    session.add_all(Account(index=n, xpub=f"x{n}", fingerprint="f") for n in range(5))
    session.add(Creator(id=2, name="bob", key="bob", password_hash="x", created_at=NOW))
    session.add(
        Project(
            id="prj", slug="prj", name="p", summary="", kind="data", repository_url="", site_url="u", license="MIT",
            forks_of="", technology_readiness=0, documentation_readiness=0, bom_url="", created_at=NOW,
        )
    )  # fmt: skip
    session.flush()
    session.add_all(
        ProjectMember(project_id="prj", creator_id=n, role=role, joined_at=NOW)
        for n, role in ((1, "owner"), (2, "editor"))
    )
    session.add_all(
        ProjectInvitation(
            id=n, project_id="prj", role="editor", token_sha256=f"t{n}", made_by=1, made_at=NOW, expires_at=NOW,
            used_by=who, used_at=NOW if who else None,
        )
        for n, who in ((1, 2), (2, None))
    )  # fmt: skip
    session.flush()
    session.add_all([campaign("won", 0), campaign("lost", 1), campaign("open", 2), campaign("draft", 3, False)])
    session.add(campaign("moving", 4))
    session.flush()
    session.add_all(RewardRow(campaign_id="won", number=n, minimum_sats=10_000, stock=n) for n in range(2))
    session.flush()
    session.add_all([pledge("p1", "won", 0), pledge("p2", "lost", 0), pledge("p3", "won", 1, False)])
    session.add_all([pledge("p4", "won", 2, False), pledge("p5", "won", 4, False)])
    session.flush()
    session.add_all(
        RewardClaim(pledge_id=p, campaign_id="won", number=1, reserved_at=NOW, freed_at=freed)
        for p, freed in (("p1", None), ("p4", NOW))
    )
    session.add(DeliverableReport(campaign_id="won", number=0, state="there", url="u", creator_id=1, reported_at=NOW))
    session.add_all(
        HelpOffer(
            id=n, campaign_id="won", need=0, amount=1, name="n", contact="c", message="m", offered_at=NOW, state=state,
            answer="", answered_at=NOW if n == 2 else None,
        )
        for n, state in ((1, "offered"), (2, "accepted"))
    )  # fmt: skip
    session.add_all(
        ReviewRequest(id=n, campaign_id="draft", draft_sha256="d", creator_id=1, asked_at=NOW) for n in (1, 2)
    )
    session.flush()
    session.add(ReviewVerdict(request_id=1, approved=True, reason="", decided_at=NOW))
    session.flush()
    session.add_all([coin(n, p) for n, p in ((1, "p1"), (2, "p2"), (3, "p1"), (4, "p2"), (5, "p2"))])
    session.add(Block(height=5, hash="h", prev_hash="g", time=1, median_time_past=1))
    session.add(ChainView(id=1, state="live", trouble="", feerate_sat_vb=1, changes=0, seen_at=NOW))
    for name, outcome in (("won", "funded"), ("lost", "failed")):
        session.add(
            DecisionRow(
                campaign_id=name, outcome=outcome, counted_sats=1, closing_height=5, closing_hash="h", decided_height=5
            )
        )
    session.flush()
    session.add_all(
        [BatchRow(id=1, campaign_id="won", kind="release"), BatchRow(id=5, campaign_id="lost", kind="refund")]
    )
    session.flush()
    session.add_all([BatchInput(coin_id=n, batch_id=b, position=n) for n, b in ((1, 1), (2, 5), (4, 5))])
    session.flush()
    for name, batch_id, sats in (("a1", 1, 9_900), ("a5", 5, 19_900)):
        attempt = Attempt(txid=name, batch_id=batch_id, number=1, fee_sats=100, feerate_sat_vb=2, locktime=5)
        session.add(attempt)
        session.flush()
        session.add(AttemptOutput(txid=name, position=0, script=b"p", value_sats=sats, index=None))
        session.flush()
        attempt.sealed = True
        session.flush()
    sent = session.get_one(Attempt, "a1")
    sent.raw, sent.sent_at, sent.sent_height = b"raw", NOW, 5
    session.flush()
    session.add(BatchRow(id=6, campaign_id="won", kind="refund"))
    session.add(PaymentInput(txid="t1", prev_txid="x", prev_vout=0))
    session.add(RivalRow(txid="t9", by="t1", height=None))
    for number, ended_at in ((1, NOW), (2, None)):
        session.add(
            Incident(id=number, kind="disagreement", height=5, depth=1, began_at=NOW, ended_at=ended_at,
                     campaign_id="open")
        )  # fmt: skip
    session.flush()
    session.add(IncidentCoin(incident_id=1, coin_id=1))
    session.get_one(Account, 0).receipt_key = "k"
    session.add_all(
        Restore(id=number, source="backup", restored_at=NOW, from_height=5, first_account=1, caught_up_at=done)
        for number, done in ((1, NOW), (2, None))
    )
    session.add(PledgeReceipt(pledge_id="p1", text="t", signature="s", created_at=NOW))
    session.add(TimelockedRefund(txid="l1", coin_id=1, raw=b"raw", value_sats=9_900, fee_sats=100, created_at=NOW))
    fill_talk(session)
    fill_notices(session)
    fill_accounts(session)
    fill_endings(session)
    fill_changes(session)
    session.add(Picture(id=1, campaign_id="draft", position=0, sha256="0" * 64, alt="a"))
    session.flush()
    session.add(ProjectProof(id=1, project_id="prj", looked_at=NOW, asked_by=1,
                             address="u", outcome="asked"))  # fmt: skip
    session.add(PictureRow(picture_id=1, kind="webp", width=9, height=9, sha256="0" * 64, data=b"x"))
    session.execute(text(transfer(1, "outside", "counted", 10_000)))
    session.execute(text(transfer(2, "counted", "in_settlement", 10_000)))
    session.execute(text("UPDATE coins SET spent_by = 'thief', spent_height = 5 WHERE id = 3"))
    session.execute(text(f"{SEEN_TO} (1, 3, 'thief', 5, 'r', '2026-01-01 00:00:00')"))
    session.execute(text(f"{HALT} (1, 'won', 'r', '2026-01-01 00:00:00', NULL, NULL)"))
    session.execute(text(f"{HALT} (2, NULL, 'r', '2026-01-01 00:00:00', '2026-01-02 00:00:00', 'mended')"))


def fill_changes(session: Session) -> None:
    """A change of a refund address that waits, and one that the signer was asked for."""
    session.add_all([pledge(f"m{n}", "moving", n) for n in (1, 2, 3)])
    session.flush()
    for number in (1, 2):
        session.add(
            RefundChangeRow(
                id=number, pledge_id=f"m{number}", number=1, old_address="r", old_script=b"r", new_address="s",
                new_script=b"s", signature="x", brought_at=NOW,
            )
        )  # fmt: skip
    session.flush()
    session.get_one(RefundChangeRow, 2).state = "sent"
    session.flush()


def fill_endings(session: Session) -> None:
    """What shows how `won` and `lost` ended; a cancellation of `open`, and what its creator asked for and brought."""
    session.add_all(EndingRow(campaign_id=name, headers=b"x") for name in ("won", "lost"))
    session.flush()
    session.add(CountedCoinRow(coin_id=1, campaign_id="won", height=5, raw=b"r", branch=b"", position=0))
    session.add(
        Cancellation(
            id=1, campaign_id="open", txid="c", height=5, block_hash="h", position=1, branch=b"", raw=b"r", spent=None,
            reason_sha256="0" * 64, found_at=NOW,
        )
    )  # fmt: skip
    session.add(
        CancellationDraft(
            id=1, campaign_id="open", creator_id=1, reason="r", spent=b"s", vout=0, feerate_sat_vb=2, made_at=NOW
        )
    )
    session.add(CancellationSend(id=1, campaign_id="open", creator_id=1, txid="c", raw=b"r", brought_at=NOW))
    session.flush()


def fill_accounts(session: Session) -> None:
    """Carol with one passkey and nothing else; what else people have to come in by, and what is noted of it."""
    session.add(Creator(id=3, name="carol", key="carol", password_hash="", created_at=NOW))
    session.flush()
    session.add(
        Passkey(
            id=1, creator_id=3, credential_id=b"c" * 16, public_key=b"k" * 32, user_handle=b"h" * 32, sign_count=5,
            name="Phone", created_at=NOW,
        )
    )  # fmt: skip
    session.add(PasskeyChallenge(challenge=b"c" * 32, purpose="log_in", expires_at=NOW))
    session.add(Authenticator(creator_id=1, secret="s" * 32, last_step=5, created_at=NOW, confirmed_at=NOW))
    session.add_all(
        RecoveryCode(id=n, creator_id=1, code_sha256=f"{n:064}", active=n < 3, created_at=NOW, used_at=used)
        for n, used in ((1, NOW), (2, None), (3, None))
    )
    later = NOW.replace(hour=13)
    session.add(
        WebSession(
            id=1, token_sha256="0" * 64, creator_id=1, way="password", second_due=True, began_at=NOW, seen_at=NOW,
            proven_at=NOW, expires_at=later, address="a", agent="a",
        )
    )  # fmt: skip
    session.add(AccountEvent(id=1, creator_id=1, happened_at=NOW, kind="failed", detail="", address="a", times=2))
    session.add(
        ApiToken(
            creator_id=1, token_sha256="0" * 64, created_at=NOW, name="robot", prefix="abc", scopes="read",
            expires_at=later,
        )
    )  # fmt: skip
    session.add(
        KeptAnswer(
            owner_sha256="0" * 64,
            key_sha256="1" * 64,
            request_sha256="2" * 64,
            status=201,
            body="{1}",
            expires_at=later,
        )
    )
    session.add(AttemptWindow(rule="r", subject_sha256="0" * 64, began_at=NOW, ends_at=later, attempts=2))
    session.flush()


def fill_notices(session: Session) -> None:
    """Something that happened, told to somebody, with a second one still to be told."""
    session.add(Happening(id=1, key="k", kind="campaign.decided", campaign_id="won", at=NOW, noted_at=NOW, detail="{}"))
    session.add(Subscription(id=1, email="e", about="a", campaign_id="won", key="k", asked_at=NOW, confirmed_at=NOW))
    session.add(Webhook(id=1, creator_id=1, url="u", secret="s", events="e", created_at=NOW))
    session.flush()
    session.add_all(
        Notice(id=n, happening_id=1, channel="mail", recipient_id=n, created_at=NOW, next_at=NOW) for n in (1, 2)
    )
    session.flush()
    told = session.get_one(Notice, 1)
    told.state, told.tries, told.finished_at = "sent", 1, NOW
    session.add(Delivery(id=1, notice_id=1, at=NOW, ok=True, took_ms=1, sentence="ok"))


def fill_talk(session: Session) -> None:
    """An update, a question that is answered and one that is approved, a comment that is hidden, own money."""
    session.add(
        UpdateVersion(
            id=1, campaign_id="won", number=1, version=1, title="t", text="t", creator_id=1, created_at=NOW,
        )
    )  # fmt: skip
    for number, kind, role, more in (
        (1, "question", "visitor", {}),
        (2, "answer", "creator", {"question_id": 1, "creator_id": 1}),
        (3, "comment", "backer", {"pledge_id": "p1"}),
        (4, "question", "visitor", {}),
    ):
        session.add(Post(id=number, campaign_id="won", kind=kind, role=role, name="", text="t", created_at=NOW, **more))
        session.flush()
    session.add(Approval(post_id=4, role="creator", created_at=NOW))
    session.add(
        Moderation(
            id=1, campaign_id="won", kind="comment", post_id=3, action="hide", role="creator", reason="r",
            sha256="0" * 64, created_at=NOW,
        )
    )  # fmt: skip
    session.add(OwnMoney(id=1, pledge_id="p1", own=True, creator_id=1, created_at=NOW))
    session.flush()


def fill_figures(session: Session) -> None:
    """Of the published campaigns; nothing has touched them."""
    session.add_all(
        CampaignFigures(
            campaign_id=name, goal_sats=5, ends_at=NOW, published_at=NOW, license="MIT", kind="data",
            creator_name="alice", search="t", state="open", cancelled=False, is_full=False, counted_sats=0, seen_sats=0,
            maturing_sats=0, pledge_count=0, percent=0, wants_help=False, height=5,
        )
        for name in ("won", "lost", "open")
    )  # fmt: skip


class Undone(Exception):
    """It went through; the next test finds everything as it was."""


@contextmanager
def filled(url: str) -> Iterator[Database]:
    made = fresh.database(url)
    with made.transaction() as session:
        fill(session)
        fill_figures(session)
    if on_postgresql(made):
        run(made, *(f"SELECT setval('{table}_id_seq', 100)" for table in NUMBERED))
    yield made
    made.close()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with filled(database_url) as made:
        yield made


@pytest.fixture(scope="module", params=DATABASES)
def unmoved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One for all tests in which nothing may change."""
    with database_of(request.param, tmp_path_factory.mktemp("unmoved")) as url, filled(url) as made:
        yield made


@pytest.fixture(scope="module")
def untouched(unmoved: Database) -> dict[str, list[str]]:
    """What it held before all of them."""
    return dump(unmoved)


def run(database: Database, *statements: str) -> None:
    with database.transaction() as session:
        for statement in statements:
            session.execute(text(spoken(database, statement)))


BATCH = "INSERT INTO batches (id, campaign_id, kind, parent_id) VALUES"
INPUT = "INSERT INTO batch_inputs (coin_id, batch_id, position) VALUES"
OUTPUT = 'INSERT INTO attempt_outputs (txid, position, script, value_sats, "index") VALUES'
ATTEMPT = "INSERT INTO attempts (txid, batch_id, number, fee_sats, feerate_sat_vb, locktime, sealed) VALUES"
SEAL = "UPDATE attempts SET sealed = TRUE WHERE txid ="
LOCKED = "INSERT INTO timelocked_refunds (txid, coin_id, raw, value_sats, fee_sats, created_at) VALUES"
COIN = (
    "INSERT INTO coins (pledge_id, txid, vout, value_sats, coinbase, first_seen_at, in_mempool, height, block_hash,"
    " spent_by, spent_height) VALUES"
)
TRANSFER = (
    "INSERT INTO transfers (id, campaign_id, coin_id, key, from_account, to_account, amount_sats, what, height,"
    " block_hash, at, reverses, prev_hash, hash) VALUES"
)


def transfer(number: int, giver: str, taker: str, sats: object, **changes: object) -> str:
    """The next transfer of coin 1, as plain SQL; its hash is made up."""
    columns: dict[str, object] = {
        "id": number, "campaign_id": "won", "coin_id": 1, "key": f"k{number}", "from_account": giver,
        "to_account": taker, "amount_sats": sats, "what": "w", "height": 5, "block_hash": "h",
        "at": "2026-01-01 00:00:00", "reverses": None, "prev_hash": f"{number - 1:064d}", "hash": f"{number:064d}",
    }  # fmt: skip
    values = [f"'{v}'" if isinstance(v, str) else "NULL" if v is None else str(v) for v in (columns | changes).values()]
    return f"{TRANSFER} ({', '.join(values)})"


HALT = "INSERT INTO halts (id, campaign_id, reason, began_at, ended_at, ended_reason) VALUES"
SEEN_TO = "INSERT INTO acknowledged_spends (id, coin_id, spent_by, spent_height, why, at) VALUES"
WHEN = "'2026-01-01 00:00:00'"


def update_row(campaign: str, number: int, version: int, title: str = "t") -> str:
    """A version of an update, as plain SQL."""
    columns = "campaign_id, number, version, title, text, creator_id, created_at"
    values = f"'{campaign}', {number}, {version}, '{title}', 't', 1, {WHEN}"
    return f"INSERT INTO update_versions ({columns}) VALUES ({values})"


def post(kind: str, role: str, campaign: str = "won", said: str = "t", **more: object) -> str:
    """A post, as plain SQL."""
    told = {name: f"'{value}'" if isinstance(value, str) else value for name, value in more.items()}
    columns = ", ".join(["campaign_id, kind, role, name, text, created_at", *told])
    values = ", ".join([f"'{campaign}', '{kind}', '{role}', '', '{said}', {WHEN}", *map(str, told.values())])
    return f"INSERT INTO posts ({columns}) VALUES ({values})"


def moderated(kind: str, action: str = "hide", campaign: str = "won", **more: object) -> str:
    """A line of the log, as plain SQL."""
    told = {"role": "creator", "reason": "r", "sha256": "0" * 64, **more}
    values = ", ".join(f"'{value}'" if isinstance(value, str) else str(value) for value in told.values())
    return (
        f"INSERT INTO moderation (campaign_id, kind, action, created_at, {', '.join(told)})"
        f" VALUES ('{campaign}', '{kind}', '{action}', {WHEN}, {values})"
    )


OWN = "INSERT INTO own_money (pledge_id, own, creator_id, created_at) VALUES"
INCIDENT = "INSERT INTO incidents (kind, height, depth, began_at) VALUES"

CLAIM = "INSERT INTO reward_claims (pledge_id, campaign_id, number, reserved_at) VALUES"
REPORT = "INSERT INTO deliverable_reports (campaign_id, number, state, url, creator_id, reported_at) VALUES"
OFFER = "INSERT INTO help_offers (campaign_id, need, amount, name, contact, message, offered_at, state, answer) VALUES"
NEW_CAMPAIGN = (
    "INSERT INTO campaigns (id, creator_id, title, summary, story, goal_sats, deadline_at, payout_address, project_url,"
    " license, created_at, next_index, project_id) VALUES"
    " ('new', 1, '', '', '', 1, '2026-01-01', '', '', '', '2026-01-01', 0,"
)

CHANGE = (
    "INSERT INTO refund_changes (pledge_id, number, old_address, old_script, new_address, new_script, signature,"
    " brought_at, state) VALUES"
)


def changed(pledge_id: str, number: int = 1, old: str = "72", state: str = "waiting") -> str:
    """A change of a refund address, as plain SQL."""
    return f"{CHANGE} ('{pledge_id}', {number}, 'r', x'{old}', 's', x'73', 'x', {WHEN}, '{state}')"


PUBLISHED = "UPDATE campaigns SET terms = 't', terms_hash = 'd', account_index = 3, descriptor = 'd' WHERE id = 'draft'"
PICTURE = "INSERT INTO pictures (id, campaign_id, position, sha256, alt) VALUES"
FILE = "INSERT INTO picture_files (picture_id, kind, width, height, sha256, data) VALUES"
ADDRESS = "INSERT INTO subscriptions (id, email, about, campaign_id, key, asked_at, language) VALUES"
NOTICE = (
    "INSERT INTO notices (id, happening_id, channel, recipient_id, state, round, tries, created_at, next_at, "
    "finished_at)"
)
HASH = "0" * 64


def looked(outcome: str, **values: object) -> str:
    """A look at the project of the open campaign."""
    row = {"address": "u", "asked_by": 1, "way": "", "url": "", "line": "", "sha256": "",
           "sentence": "", **values}  # fmt: skip
    said = ", ".join("NULL" if value is None else repr(value) for value in row.values())
    return (
        f"INSERT INTO project_proofs (id, project_id, looked_at, outcome, {', '.join(row)}) "
        f"VALUES (2, 'prj', {WHEN}, '{outcome}', {said})"
    )


FIGURES = (
    "goal_sats, ends_at, published_at, license, kind, creator_name, search, state, cancelled, is_full, counted_sats,"
    " seen_sats, maturing_sats, pledge_count, percent, wants_help, height"
)
TOUCHED = "SELECT touched FROM campaign_figures WHERE campaign_id ="
REFUSED = {
    # programs
    "more rights for a token": "UPDATE api_tokens SET scopes = 'read write publish notices'",
    "a token of somebody else": "UPDATE api_tokens SET creator_id = 2",
    "a token that goes on": "UPDATE api_tokens SET expires_at = NULL",
    "another answer": "UPDATE kept_answers SET body = '{}'",
    "an answer that is kept longer": "UPDATE kept_answers SET expires_at = '2030-01-01 00:00:00'",
    # figures of lists
    "figures of a draft": f"INSERT INTO campaign_figures (campaign_id, {FIGURES})"
    f" SELECT 'draft', {FIGURES} FROM campaign_figures WHERE campaign_id = 'won'",
    "figures of another goal": "UPDATE campaign_figures SET goal_sats = 6",
    "a percentage of its own": "UPDATE campaign_figures SET percent = 1",
    "figures in no state": "UPDATE campaign_figures SET state = 'draft'",
    # ways into accounts
    "a name that terms hold": "UPDATE creators SET name = 'x' WHERE id = 1",
    "another beginning of an account": "UPDATE creators SET created_at = '2020-01-01 00:00:00' WHERE id = 2",
    "the last way in, a password": "UPDATE creators SET password_hash = '' WHERE id = 2",
    "the last way in, a passkey": "DELETE FROM passkeys",
    "somebody else's passkey": "UPDATE passkeys SET creator_id = 1",
    "a counter that goes back": "UPDATE passkeys SET sign_count = 4",
    "a passkey without a name": "UPDATE passkeys SET name = ''",
    "another secret of an app": f"UPDATE authenticators SET secret = '{'x' * 32}'",
    "a code of an app once more": "UPDATE authenticators SET last_step = 4",
    "an app not confirmed any more": "UPDATE authenticators SET confirmed_at = NULL",
    "another recovery code": f"UPDATE recovery_codes SET code_sha256 = '{9:064}' WHERE id = 2",
    "a recovery code once more": "UPDATE recovery_codes SET used_at = NULL WHERE id = 1",
    "a recovery code not good any more": "UPDATE recovery_codes SET active = FALSE WHERE id = 2",
    "a recovery code used before it is good": "UPDATE recovery_codes SET used_at = '2026-11-22 13:00:00' WHERE id = 3",
    "a question with more time": "UPDATE passkey_challenges SET expires_at = '2030-01-01 00:00:00'",
    "a session without its second factor": "UPDATE sessions SET second_due = FALSE",
    "a session with more time": "UPDATE sessions SET expires_at = '2030-01-01 00:00:00'",
    "an account's log": "UPDATE account_events SET kind = 'logged_in'",
    "an account's log with less in it": "UPDATE account_events SET times = 1",
    "attempts not made": "UPDATE attempt_windows SET attempts = 1",
    # what people are told
    "what happened, otherwise": "UPDATE happenings SET detail = '{}x' WHERE id = 1",
    "what happened, away": "DELETE FROM happenings",
    "a notice to somebody else": "UPDATE notices SET recipient_id = 9 WHERE id = 2",
    "a notice away": "DELETE FROM notices",
    "a notice sent, to be sent again": "UPDATE notices SET state = 'queued', finished_at = NULL WHERE id = 1",
    "a notice that begins as sent": f"{NOTICE} VALUES (9, 1, 'mail', 9, 'sent', 0, 1, {WHEN}, {WHEN}, {WHEN})",
    "an attempt to tell, otherwise": "UPDATE deliveries SET sentence = 'x'",
    "an attempt to tell, away": "DELETE FROM deliveries",
    "another address": "UPDATE subscriptions SET email = 'x'",
    "another language": "UPDATE subscriptions SET language = 'de'",
    "a language that is no code": f"{ADDRESS} (9, 'f', 'b', 'won', 'k', {WHEN}, 'de\"><b>')",
    "no language": f"{ADDRESS} (9, 'f', 'b', 'won', 'k', {WHEN}, '')",
    "a language as long as a sentence": f"{ADDRESS} (9, 'f', 'b', 'won', 'k', {WHEN}, '{'de-' * 5}')",
    "an address not confirmed any more": "UPDATE subscriptions SET confirmed_at = NULL",
    "another webhook": "UPDATE webhooks SET url = 'x'",
    # where refunds go
    "another signature": "UPDATE refund_changes SET signature = 'y', state = 'sent' WHERE id = 1",
    "a change that begins as sent": changed("m3", state="sent"),
    "a change from another address": changed("m3", old="74"),
    "a change with an old number": changed("m3", 0),
    "a change of what is decided": changed("p2"),
    "a second change on its way": changed("m1"),
    "a change taken without the signer": (
        f"UPDATE refund_changes SET state = 'taken', answered_at = {WHEN} WHERE id = 1"
    ),
    "a change sent, not sent": "UPDATE refund_changes SET state = 'waiting' WHERE id = 2",
    "a change refused without a word": (
        f"UPDATE refund_changes SET state = 'refused', answered_at = {WHEN} WHERE id = 1"
    ),
    "another address by hand": "UPDATE pledges SET refund_script = x'73', refund_address = 's' WHERE id = 'm3'",
    "another address by a change only sent": (
        "UPDATE pledges SET refund_script = x'73', refund_address = 's', refund_number = 1 WHERE id = 'm2'"
    ),
    "another number": "UPDATE pledges SET refund_number = 1 WHERE id = 'm3'",
    "decided while an address changes": "INSERT INTO decisions VALUES ('moving', 'failed', 1, 5, 'h', 5, NULL)",
    # how campaigns ended
    "other headers": "UPDATE endings SET headers = x'00' WHERE campaign_id = 'lost'",
    "another branch": "UPDATE counted_coins SET branch = x'00'",
    "a coin that counts elsewhere": "INSERT INTO counted_coins VALUES (2, 'won', 5, x'00', x'00', 0)",
    "a cancellation, otherwise": "UPDATE cancellations SET raw = x'00'",
    "a draft cancelled": (
        f"INSERT INTO cancellations VALUES (2, 'draft', 'c', 5, 'h', 1, x'00', x'00', NULL, '{'0' * 64}', {WHEN})"
    ),
    "cancelled and funded": "INSERT INTO decisions VALUES ('open', 'funded', 1, 5, 'h', 5, 1)",
    "cancelled in another block": "INSERT INTO decisions VALUES ('open', 'failed', 1, 5, 'g', 5, 1)",
    "cancelled by another's": "UPDATE decisions SET cancellation_id = 1 WHERE campaign_id = 'lost'",
    "another reason": "UPDATE cancellation_drafts SET reason = 'x'",
    "a cancellation of a draft asked for": (
        f"INSERT INTO cancellation_drafts VALUES (2, 'draft', 1, 'r', x'00', 0, 2, {WHEN})"
    ),
    "another transaction": "UPDATE cancellation_sends SET raw = x'00'",
    # looks at the files of projects
    "a look, otherwise": "UPDATE project_proofs SET looked_at = '2026-01-02 00:00:00'",
    "a look at somebody else's address": looked("asked", address="https://elsewhere.example.org"),
    "a look that nobody asked for": looked("asked", asked_by=None),
    "a proof without a line": looked("shown", way="challenge", url="u", sha256="0" * 64),
    "a proof without a file": looked("shown", way="challenge", line="l", sha256="0" * 64),
    "a proof without its hash": looked("shown", way="challenge", url="u", line="l", sha256="0" * 63),
    "a proof in no way": looked("shown", url="u", line="l", sha256="0" * 64),
    "a proof by magic": looked("shown", way="magic", url="u", line="l", sha256="0" * 64),
    "a line of what was not seen": looked("absent", line="l", sentence="s"),
    "nothing seen, and not why": looked("absent"),
    "an outcome of no kind": looked("magic"),
    "a look at nothing": looked("asked", address=""),
    "an endless sentence": looked("absent", sentence="s" * 1_001),
    # pictures
    "another picture": f"UPDATE pictures SET sha256 = '{'1' * 64}'",
    "other bytes of a picture": "UPDATE picture_files SET height = 8",
    # projects, and what was promised beside the money
    "a campaign of no project": f"{NEW_CAMPAIGN} NULL)",
    "a campaign of a project that is none": f"{NEW_CAMPAIGN} 'nothing')",
    "a project away": "UPDATE campaigns SET project_id = NULL WHERE id = 'draft'",
    "a published campaign's details": "UPDATE campaigns SET details = 'x' WHERE id = 'won'",
    "a project's slug": "UPDATE projects SET slug = 'x'",
    "a project of no kind": "UPDATE projects SET kind = 'magic'",
    "a readiness beyond the last": "UPDATE projects SET technology_readiness = 7",
    "a documentation beyond the last": "UPDATE projects SET documentation_readiness = 5",
    "when somebody joined": "UPDATE project_members SET joined_at = '2020-01-01 00:00:00' WHERE creator_id = 2",
    "an unknown role": "UPDATE project_members SET role = 'king' WHERE creator_id = 2",
    "the last owner leaves": "UPDATE project_members SET left_at = '2026-01-01 00:00:00' WHERE creator_id = 1",
    "the last owner becomes an editor": "UPDATE project_members SET role = 'editor' WHERE creator_id = 1",
    "an invitation's role": "UPDATE project_invitations SET role = 'owner' WHERE id = 2",
    "an invitation used twice": "UPDATE project_invitations SET used_by = 1 WHERE id = 1",
    "an invitation used at no time": "UPDATE project_invitations SET used_by = 1 WHERE id = 2",
    "a reward's stock": "UPDATE rewards SET stock = 9",
    "a reward of a draft": "INSERT INTO rewards VALUES ('draft', 0, 10000, 0)",
    "a reward after a pledge": "INSERT INTO rewards VALUES ('won', 7, 10000, 0)",
    "a reward for nothing": "INSERT INTO rewards VALUES ('open', 7, 0, 0)",
    "a claim moved": "UPDATE reward_claims SET number = 0 WHERE pledge_id = 'p1'",
    "a claim of another campaign": f"{CLAIM} ('p2', 'won', 0, '2026-01-01 00:00:00')",
    "a claim beyond the stock": f"{CLAIM} ('p5', 'won', 1, '2026-01-01 00:00:00')",
    "a claim regained beyond the stock": "UPDATE reward_claims SET freed_at = NULL WHERE pledge_id = 'p4'",
    "a delivery taken back": "UPDATE deliverable_reports SET state = 'planned'",
    "a delivery of a draft": f"{REPORT} ('draft', 0, 'there', 'u', 1, '2026-01-01 00:00:00')",
    "a delivery in no state": f"{REPORT} ('won', 0, 'lost', 'u', 1, '2026-01-01 00:00:00')",
    "an offer's words": "UPDATE help_offers SET message = 'x' WHERE id = 1",
    "an offer answered twice": "UPDATE help_offers SET state = 'declined' WHERE id = 2",
    "an offer answered at no time": "UPDATE help_offers SET state = 'accepted' WHERE id = 1",
    "an offer to a draft": f"{OFFER} ('draft', 0, 1, 'n', 'c', 'm', '2026-01-01 00:00:00', 'offered', '')",
    "an offer of nothing": f"{OFFER} ('won', 0, 0, 'n', 'c', 'm', '2026-01-01 00:00:00', 'offered', '')",
    "what was reviewed": "UPDATE review_requests SET draft_sha256 = 'x'",
    "a verdict": "UPDATE review_verdicts SET approved = FALSE, reason = 'x'",
    "sent back without a reason": "INSERT INTO review_verdicts VALUES (2, FALSE, '', '2026-01-01 00:00:00')",
    **{
        f"rows of {table} deleted": f"DELETE FROM {table}"
        for table in (
            "projects",
            "project_members",
            "project_invitations",
            "rewards",
            "reward_claims",
            "deliverable_reports",
            "help_offers",
            "review_requests",
            "review_verdicts",
        )
    },
    # published terms
    "terms": "UPDATE campaigns SET terms = 'other' WHERE id = 'won'",
    "terms away": "UPDATE campaigns SET terms = NULL, terms_hash = NULL WHERE id = 'won'",
    "terms hash": "UPDATE campaigns SET terms_hash = 'other' WHERE id = 'won'",
    "story": "UPDATE campaigns SET story = 'other' WHERE id = 'won'",
    "account": "UPDATE campaigns SET account_index = 3 WHERE id = 'won'",
    "descriptor": "UPDATE campaigns SET descriptor = 'other' WHERE id = 'won'",
    "cap": "UPDATE campaigns SET cap_sats = 9 WHERE id = 'won'",
    "a receipt key": "UPDATE accounts SET receipt_key = 'x' WHERE receipt_key = 'k'",
    "a receipt key away": "UPDATE accounts SET receipt_key = NULL WHERE receipt_key = 'k'",
    "published": "UPDATE campaigns SET published_at = NULL WHERE id = 'won'",
    "index back": "UPDATE campaigns SET next_index = 2 WHERE id = 'won'",
    "index back in a draft": "UPDATE campaigns SET next_index = next_index - 1 WHERE id = 'draft'",
    "index below zero": "UPDATE campaigns SET next_index = -1 WHERE id = 'draft'",
    "an account twice": "UPDATE campaigns SET account_index = 0 WHERE id = 'draft'",
    "an account that is none": "UPDATE campaigns SET account_index = 99 WHERE id = 'draft'",
    "the same terms twice": "UPDATE campaigns SET terms = 'x', terms_hash = 'won' WHERE id = 'draft'",
    "no goal": "UPDATE campaigns SET goal_sats = 0 WHERE id = 'draft'",
    "goal above all money": f"UPDATE campaigns SET goal_sats = {MAX_MONEY_SATS + 1} WHERE id = 'draft'",
    # pledges
    "address": "UPDATE pledges SET address = 'other' WHERE id = 'p1'",
    "address away": "UPDATE pledges SET address = NULL, script = NULL WHERE id = 'p1'",
    "script": "UPDATE pledges SET script = x'00' WHERE id = 'p1'",
    "refund script": "UPDATE pledges SET refund_script = x'00' WHERE id = 'p1'",
    "refund script of an unshown pledge": "UPDATE pledges SET refund_script = x'00' WHERE id = 'p3'",
    "refund address": "UPDATE pledges SET refund_address = 'other' WHERE id = 'p1'",
    "pledge index": "UPDATE pledges SET \"index\" = 9 WHERE id = 'p1'",
    "pledge amount": "UPDATE pledges SET amount_sats = 1 WHERE id = 'p1'",
    "pledge moved": "UPDATE pledges SET campaign_id = 'lost' WHERE id = 'p1'",
    "pledge id": "UPDATE pledges SET id = 'other' WHERE id = 'p3'",
    "an address twice": "UPDATE pledges SET address = 'p1', script = x'01' WHERE id = 'p3'",
    "a script twice": "UPDATE pledges SET address = 'x', script = CAST('p1' AS BLOB) WHERE id = 'p3'",
    # coins
    "coin value": "UPDATE coins SET value_sats = 1 WHERE id = 1",
    "coin txid": "UPDATE coins SET txid = 'other' WHERE id = 1",
    "coin vout": "UPDATE coins SET vout = 1 WHERE id = 1",
    "coin pledge": "UPDATE coins SET pledge_id = 'p2' WHERE id = 1",
    "coin coinbase": "UPDATE coins SET coinbase = TRUE WHERE id = 1",
    "an outpoint twice": f"{COIN} ('p1', 't1', 0, 5, FALSE, '2026-01-01', FALSE, NULL, NULL, NULL, NULL)",
    "a coin of nobody": f"{COIN} ('p9', 't9', 0, 5, FALSE, '2026-01-01', FALSE, NULL, NULL, NULL, NULL)",
    "a negative coin": f"{COIN} ('p1', 't9', 0, -1, FALSE, '2026-01-01', FALSE, NULL, NULL, NULL, NULL)",
    "too much money": f"{COIN} "
    f"('p1', 't9', 0, {MAX_MONEY_SATS + 1}, FALSE, '2026-01-01', FALSE, NULL, NULL, NULL, NULL)",
    "a height without a hash": "UPDATE coins SET block_hash = NULL WHERE id = 1",
    "a hash without a height": "UPDATE coins SET height = NULL WHERE id = 1",
    "a spender without height": "UPDATE coins SET spent_by = 'x' WHERE id = 1",
    "in a block and in the mempool": "UPDATE coins SET in_mempool = TRUE WHERE id = 1",
    # decisions and plans
    "outcome": "UPDATE decisions SET outcome = 'failed' WHERE campaign_id = 'won'",
    "counted": "UPDATE decisions SET counted_sats = 2 WHERE campaign_id = 'won'",
    "closing": "UPDATE decisions SET closing_height = 6 WHERE campaign_id = 'won'",
    "closing hash": "UPDATE decisions SET closing_hash = 'x' WHERE campaign_id = 'won'",
    "decision moved": "UPDATE decisions SET campaign_id = 'open' WHERE campaign_id = 'won'",
    "a second decision": "INSERT INTO decisions VALUES ('won', 'failed', 1, 5, 'h', 5, NULL)",
    "an unknown outcome": "INSERT INTO decisions VALUES ('open', 'maybe', 1, 5, 'h', 5, NULL)",
    "release of a failed campaign": f"{BATCH} (2, 'lost', 'release', NULL)",
    "release of an undecided campaign": f"{BATCH} (2, 'open', 'release', NULL)",
    "refund of an undecided campaign": f"{BATCH} (2, 'open', 'refund', NULL)",
    "an unknown kind": f"{BATCH} (2, 'won', 'gift', NULL)",
    "batch kind": "UPDATE batches SET kind = 'refund' WHERE id = 1",
    "batch moved": "UPDATE batches SET campaign_id = 'lost' WHERE id = 1",
    "a batch made part of another": "UPDATE batches SET parent_id = 1 WHERE id = 6",
    "a part of another campaign's batch": f"{BATCH} (2, 'won', 'refund', 5)",
    "a part of another kind": f"{BATCH} (2, 'won', 'refund', 1)",
    "a part of a batch that is not planned": f"{BATCH} (2, 'won', 'refund', 6)",
    "a part of no batch": f"{BATCH} (2, 'won', 'release', 99)",
    "a coin in two batches": f"{INPUT} (1, 6, 1)",
    "a coin twice in a batch": f"{INPUT} (3, 6, 1), (3, 6, 2)",
    "a foreign campaign's coin": f"{INPUT} (5, 6, 1)",
    "a coin more for a planned batch": f"{INPUT} (3, 1, 7)",
    "an input moved": "UPDATE batch_inputs SET position = 5 WHERE coin_id = 1",
    "an input exchanged": "UPDATE batch_inputs SET coin_id = 3 WHERE coin_id = 1",
    "an output's value": "UPDATE attempt_outputs SET value_sats = 1 WHERE txid = 'a1'",
    "an output's script": "UPDATE attempt_outputs SET script = x'00' WHERE txid = 'a1'",
    "an output more for a sealed attempt": f"{OUTPUT} ('a1', 1, x'00', 1, NULL)",
    "an output of no attempt": f"{OUTPUT} ('a9', 0, x'00', 1, NULL)",
    # attempts
    "raw bytes": "UPDATE attempts SET raw = x'00' WHERE txid = 'a1'",
    "raw bytes away": "UPDATE attempts SET raw = NULL WHERE txid = 'a1'",
    "sent at": "UPDATE attempts SET sent_at = NULL, sent_height = NULL WHERE txid = 'a1'",
    "sent at another height": "UPDATE attempts SET sent_height = 6 WHERE txid = 'a1'",
    "sent before signed": "UPDATE attempts SET sent_at = '2026-01-01 00:00:00', sent_height = 5 WHERE txid = 'a5'",
    "sent at no height": "UPDATE attempts SET raw = x'00', sent_at = '2026-01-01 00:00:00' WHERE txid = 'a5'",
    "txid": "UPDATE attempts SET txid = 'x' WHERE txid = 'a1'",
    "attempt moved": "UPDATE attempts SET number = 2 WHERE txid = 'a1'",
    "attempt fee": "UPDATE attempts SET fee_sats = 101 WHERE txid = 'a1'",
    "attempt feerate": "UPDATE attempts SET feerate_sat_vb = 6 WHERE txid = 'a1'",
    "attempt locktime": "UPDATE attempts SET locktime = 6 WHERE txid = 'a1'",
    "attempt opened again": "UPDATE attempts SET sealed = FALSE WHERE txid = 'a5'",
    "attempt replaced": "INSERT OR REPLACE INTO attempts SELECT * FROM attempts WHERE txid = 'a5'",
    "a number twice": f"{ATTEMPT} ('a2', 1, 1, 200, 2, 5, FALSE)",
    "a number left out": f"{ATTEMPT} ('a2', 1, 3, 200, 2, 5, FALSE)",
    "a first number of two": f"{ATTEMPT} ('a2', 6, 2, 200, 2, 5, FALSE)",
    "the same fee again": f"{ATTEMPT} ('a2', 1, 2, 100, 2, 5, FALSE)",
    "a lower feerate": f"{ATTEMPT} ('a2', 1, 2, 200, 1, 5, FALSE)",
    "an attempt without fee": f"{ATTEMPT} ('a2', 6, 1, 0, 1, 5, FALSE)",
    "an attempt sealed from the start": f"{ATTEMPT} ('a2', 1, 2, 200, 2, 5, TRUE)",
    # what a restore found
    "a restore's source": "UPDATE restores SET source = 'seed' WHERE id = 2",
    "a restore's time": "UPDATE restores SET restored_at = '2020-01-01 00:00:00' WHERE id = 2",
    "a restore's height": "UPDATE restores SET from_height = NULL WHERE id = 2",
    "a restore's first account": "UPDATE restores SET first_account = 0 WHERE id = 2",
    "a restore that catches up again": "UPDATE restores SET caught_up_at = NULL WHERE id = 1",
    "a restore from nowhere": ("INSERT INTO restores VALUES (3, 'hearsay', '2026-01-01 00:00:00', NULL, 0, NULL)"),
    # what backers keep
    "a receipt": "UPDATE receipts SET text = 'x' WHERE pledge_id = 'p1'",
    "a receipt's signature": "UPDATE receipts SET signature = 'x' WHERE pledge_id = 'p1'",
    "a second receipt": "INSERT INTO receipts VALUES ('p1', 'x', 'x', '2026-01-01 00:00:00')",
    "a time-locked refund": "UPDATE timelocked_refunds SET raw = x'00' WHERE txid = 'l1'",
    "a second time-locked refund": f"{LOCKED} ('l2', 1, x'00', 9900, 100, '2026-01-01 00:00:00')",
    "a time-locked refund of less": f"{LOCKED} ('l2', 2, x'00', 9899, 100, '2026-01-01 00:00:00')",
    "a time-locked refund of more": f"{LOCKED} ('l2', 2, x'00', 9901, 100, '2026-01-01 00:00:00')",
    "a time-locked refund of no coin": f"{LOCKED} ('l2', 99, x'00', 9900, 100, '2026-01-01 00:00:00')",
    "two chain views": (
        "INSERT INTO chain_view (id, state, trouble, feerate_sat_vb, changes, seen_at)"
        " VALUES (2, 'x', '', 1, 0, '2026-01-01 00:00:00')"
    ),
    # what the chain did
    "a watched script": "UPDATE watched_scripts SET script = x'00' WHERE id = 1",
    "a watched script's place": "UPDATE watched_scripts SET id = 99 WHERE id = 1",
    "a script watched twice": "INSERT INTO watched_scripts (script) VALUES (CAST('p1' AS BLOB))",
    "what a payment spends": "UPDATE payment_inputs SET prev_vout = 1",
    "an input twice": "INSERT INTO payment_inputs (txid, prev_txid, prev_vout) VALUES ('t1', 'x', 0)",
    **{
        f"a transfer's {column}": f"UPDATE transfers SET {column} = {value} WHERE id = 2"
        for column, value in {
            "id": 9,
            "campaign_id": "'lost'",
            "coin_id": 3,
            "key": "'x'",
            "from_account": "'late'",
            "to_account": "'late'",
            "amount_sats": 1,
            "what": "'x'",
            "height": 6,
            "block_hash": "'x'",
            "at": "'2030-01-01 00:00:00'",
            "reverses": 1,
            "prev_hash": f"'{'a' * 64}'",
            "hash": f"'{'a' * 64}'",
        }.items()
    },
    "a transfer replaced": transfer(2, "counted", "late", 1).replace("INSERT", "INSERT OR REPLACE", 1),
    "a transfer of nothing": transfer(3, "in_settlement", "late", 0),
    "a transfer backwards": transfer(3, "in_settlement", "late", -1),
    "a transfer of half a satoshi": transfer(3, "in_settlement", "late", "1.5"),
    "a transfer of words": transfer(3, "in_settlement", "late", "many"),
    "a transfer to oneself": transfer(3, "in_settlement", "in_settlement", 1),
    "a transfer to nobody known": transfer(3, "in_settlement", "pocket", 1),
    "a transfer from nobody known": transfer(3, "pocket", "late", 1),
    "a transfer's key twice": transfer(3, "in_settlement", "late", 1, key="k1"),
    "a gap in the ledger": transfer(4, "in_settlement", "late", 1, prev_hash=f"{2:064d}"),
    "another one before it": transfer(3, "in_settlement", "late", 1, prev_hash=f"{1:064d}"),
    "a hash twice": transfer(3, "in_settlement", "late", 1, hash=f"{1:064d}"),
    "a short hash": transfer(3, "in_settlement", "late", 1, hash="3"),
    "a coin that comes in twice": transfer(3, "outside", "counted", 1),
    "more than an account holds": transfer(3, "in_settlement", "late", 10_001),
    "an account that holds nothing": transfer(3, "counted", "late", 1),
    "a transfer of another's coin": transfer(3, "outside", "counted", 1, coin_id=2),
    "a transfer of no coin": transfer(3, "outside", "counted", 1, coin_id=99),
    "a contra transfer of another amount": transfer(3, "in_settlement", "counted", 9_999, reverses=2),
    "a contra transfer to elsewhere": transfer(3, "in_settlement", "late", 10_000, reverses=2),
    "a contra transfer of another coin": transfer(3, "outside", "counted", 10_000, coin_id=3, reverses=1),
    "a contra transfer of nothing there": transfer(3, "in_settlement", "counted", 10_000, reverses=99),
    "a balance below zero": "UPDATE balances SET sats = -1 WHERE account = 'counted'",
    "a balance of half a satoshi": "UPDATE balances SET sats = '1.5' WHERE account = 'counted'",
    "a balance of nobody known": "INSERT INTO balances VALUES ('won', 'pocket', 0)",
    "a halt's reason": "UPDATE halts SET reason = 'x' WHERE id = 1",
    "a halt's campaign": "UPDATE halts SET campaign_id = NULL WHERE id = 1",
    "a halt's beginning": "UPDATE halts SET began_at = '2020-01-01 00:00:00' WHERE id = 1",
    "a halt that ends without a reason": "UPDATE halts SET ended_at = '2026-01-02 00:00:00' WHERE id = 1",
    "a halt that begins again": "UPDATE halts SET ended_at = NULL, ended_reason = NULL WHERE id = 2",
    "a halt without a reason": f"{HALT} (3, 'won', '', '2026-01-01 00:00:00', NULL, NULL)",
    "a halt of nobody": f"{HALT} (3, 'nobody', 'r', '2026-01-01 00:00:00', NULL, NULL)",
    "an acknowledged spend without a reason": f"{SEEN_TO} (2, 2, 'thief', 5, '', '2026-01-01 00:00:00')",
    "a spend acknowledged twice": f"{SEEN_TO} (2, 3, 'thief', 5, 'r', '2026-01-01 00:00:00')",
    "a spend that is not there": f"{SEEN_TO} (2, 3, 'other', 5, 'r', '2026-01-01 00:00:00')",
    "a spend at another height": f"{SEEN_TO} (2, 3, 'thief', 6, 'r', '2026-01-01 00:00:00')",
    "a spend of nobody's coin": f"{SEEN_TO} (2, 99, 'thief', 5, 'r', '2026-01-01 00:00:00')",
    **{
        f"an acknowledged spend's {column}": f"UPDATE acknowledged_spends SET {column} = {value}"
        for column, value in {
            "coin_id": 2,
            "spent_by": "'x'",
            "spent_height": 6,
            "why": "'x'",
            "at": "'2030-01-01 00:00:00'",
        }.items()
    },
    "a rival of itself": "INSERT INTO rivals (txid, by) VALUES ('t8', 't8')",
    "two rivals": "INSERT INTO rivals (txid, by) VALUES ('t9', 't8')",
    "an incident of another kind": f"{INCIDENT} ('rumour', 5, 1, '2026-01-01 00:00:00')",
    "an incident without depth": f"{INCIDENT} ('reorganisation', 5, 0, '2026-01-01 00:00:00')",
    "an incident's kind": "UPDATE incidents SET kind = 'reorganisation' WHERE id = 2",
    "an incident's height": "UPDATE incidents SET height = 6 WHERE id = 2",
    "an incident's depth": "UPDATE incidents SET depth = 6 WHERE id = 2",
    "an incident's beginning": "UPDATE incidents SET began_at = '2020-01-01 00:00:00' WHERE id = 2",
    "an incident's campaign": "UPDATE incidents SET campaign_id = NULL WHERE id = 2",
    "an incident's end": "UPDATE incidents SET ended_at = '2030-01-01 00:00:00' WHERE id = 1",
    "an incident's end away": "UPDATE incidents SET ended_at = NULL WHERE id = 1",
    "an incident's coin": "UPDATE incident_coins SET coin_id = 2",
    # what people say
    "an update's text": "UPDATE update_versions SET text = 'x' WHERE id = 1",
    "an update replaced": (f"INSERT OR REPLACE INTO update_versions VALUES (1, 'won', 1, 1, 'x', 'x', 1, {WHEN})"),
    "a version left out": update_row("won", 1, 3),
    "a version again": update_row("won", 1, 1),
    "an update left out": update_row("won", 3, 1),
    "a second version of nothing": update_row("won", 2, 2),
    "an update of a draft": update_row("draft", 1, 1),
    "an update of nothing": update_row("nothere", 1, 1),
    "an update without a title": update_row("won", 2, 1, title=""),
    "a post's text": "UPDATE posts SET text = 'x' WHERE id = 1",
    "a post's name": "UPDATE posts SET name = 'x' WHERE id = 1",
    "a question under a draft": post("question", "visitor", campaign="draft"),
    "a question without words": post("question", "visitor", said=""),
    "a question by a creator": post("question", "creator", creator_id=1),
    "a comment by a visitor": post("comment", "visitor"),
    "a comment by a backer of another campaign": post("comment", "backer", pledge_id="p2"),
    "a comment by a backer without a pledge": post("comment", "backer"),
    "a comment by a creator without an account": post("comment", "creator"),
    "a post of another kind": post("rumour", "creator", creator_id=1),
    "a post by somebody else": post("comment", "operator"),
    "an answer to nothing": post("answer", "creator", creator_id=1),
    "an answer to an answer": post("answer", "creator", creator_id=1, question_id=2),
    "an answer to another campaign's question": post("answer", "creator", campaign="open", creator_id=1, question_id=1),
    "an answer by a backer": post("answer", "backer", pledge_id="p1", question_id=1),
    "a comment that answers": post("comment", "creator", creator_id=1, question_id=1),
    "an approval's role": "UPDATE post_approvals SET role = 'operator'",
    "an approval of a comment": f"INSERT INTO post_approvals VALUES (3, 'creator', {WHEN})",
    "an approval by a visitor": f"INSERT INTO post_approvals VALUES (1, 'visitor', {WHEN})",
    "the log's reason": "UPDATE moderation SET reason = 'x'",
    "the log's role": "UPDATE moderation SET role = 'operator'",
    "hidden twice": moderated("comment", post_id=3),
    "shown without being hidden": moderated("question", "show", post_id=1),
    "hidden without a reason": moderated("question", post_id=1, reason=""),
    "hidden by a visitor": moderated("question", post_id=1, role="visitor"),
    "half a fingerprint": moderated("question", post_id=1, sha256="0"),
    "hidden under another kind": moderated("comment", post_id=1),
    "hidden in another campaign": moderated("question", campaign="lost", post_id=1),
    "a hidden update that is not there": moderated("update", update_number=2),
    "an update hidden in another campaign": moderated("update", campaign="lost", update_number=1),
    "a pledge hidden in another campaign": moderated("pledge", pledge_id="p2"),
    "hidden, and nothing named": moderated("update"),
    "two hidden in one line": moderated("question", post_id=1, update_number=1),
    "done something else": moderated("question", "delete", post_id=1),
    "own money unsaid": "UPDATE own_money SET own = FALSE",
    "own money said twice": f"{OWN} ('p1', TRUE, 1, {WHEN})",
    "own money of nobody": f"{OWN} ('p9', TRUE, 1, {WHEN})",
    "a watched script replaced": "INSERT OR REPLACE INTO watched_scripts VALUES (1, x'00')",
    "an input replaced": "INSERT OR REPLACE INTO payment_inputs VALUES (1, 't1', 'x', 5)",
    "an incident replaced": (
        "INSERT OR REPLACE INTO incidents VALUES (1, 'disagreement', 6, 1, '2026-01-01 00:00:00', NULL, NULL)"
    ),
}
NUMBERED = (
    "creators", "coins", "batches", "watched_scripts", "payment_inputs", "incidents", "halts", "restores",
    "acknowledged_spends", "update_versions", "posts", "moderation", "own_money",
    "happenings", "notices", "deliveries", "subscriptions", "webhooks", "pictures", "project_proofs",
    "cancellations", "cancellation_drafts", "cancellation_sends", "refund_changes",
)  # fmt: skip
TABLES = tuple(Base.metadata.tables)
KEPT = (
    "campaigns", "pledges", "coins", "decisions", "batches", "batch_inputs", "attempts", "attempt_outputs",
    "watched_scripts", "payment_inputs", "incidents", "incident_coins",
    "transfers", "balances", "halts", "receipts", "timelocked_refunds", "restores",
    "acknowledged_spends", "endings", "counted_coins", "cancellations", "cancellation_drafts", "cancellation_sends",
    "update_versions", "posts", "post_approvals", "moderation", "own_money", "happenings", "notices", "deliveries",
    "project_proofs", "refund_changes",
)  # fmt: skip


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
def test_what_must_not_change_does_not(statement: str, unmoved: Database, untouched: dict[str, list[str]]) -> None:
    with pytest.raises((IntegrityError, DataError)):  # PostgreSQL's own types refuse what is no whole number
        run(unmoved, statement)
    assert dump(unmoved) == untouched


@pytest.mark.parametrize("table", KEPT)
def test_rows_are_kept_for_ever(table: str, unmoved: Database) -> None:
    if on_postgresql(unmoved):
        with pytest.raises(IntegrityError, match="kept for ever"):
            run(unmoved, f"TRUNCATE {table} CASCADE")
    else:
        run(unmoved, "PRAGMA foreign_keys = OFF")
    with pytest.raises(IntegrityError, match="kept for ever"):
        run(unmoved, f"DELETE FROM {table}")


REFUND = (f"{BATCH} (2, 'lost', 'refund', NULL)", f"{INPUT} (5, 2, 0)")
FIRST = f"{ATTEMPT} ('a2', 2, 1, 100, 1, 5, FALSE)"
PAID = f"{OUTPUT} ('a2', 0, x'00', 9900, 0)"


@pytest.mark.parametrize("sats", [9_899, 9_901])
def test_an_unbalanced_attempt_is_not_sealed_and_not_signed(sats: int, database: Database) -> None:
    unbalanced = (*REFUND, FIRST, f"{OUTPUT} ('a2', 0, x'00', {sats}, 0)")
    for statement in (f"{SEAL} 'a2'", "UPDATE attempts SET sealed = TRUE, raw = x'00' WHERE txid = 'a2'"):
        with pytest.raises(IntegrityError, match="inputs_are_outputs_plus_fee"):
            run(database, *unbalanced, statement)
    with pytest.raises(IntegrityError, match="sealed_before_signed"):
        run(database, *unbalanced, "UPDATE attempts SET raw = x'00' WHERE txid = 'a2'")


@pytest.mark.parametrize("parts", [(REFUND[0], FIRST, PAID), (*REFUND, FIRST), (REFUND[0], FIRST)])
def test_without_inputs_or_without_outputs_nothing_is_sealed(parts: tuple[str, ...], database: Database) -> None:
    with pytest.raises(IntegrityError, match="inputs_are_outputs_plus_fee"):
        run(database, *parts, f"{SEAL} 'a2'")


def rung(script: str = "p", index: str = "NULL", more: str = "") -> tuple[str, ...]:
    """The second attempt of the release."""
    output = f"{OUTPUT} ('a2', 0, CAST('{script}' AS BLOB), {9_800 - (1 if more else 0)}, {index})"
    return (f"{ATTEMPT} ('a2', 1, 2, 200, 2, 6, FALSE)", output, *([more] if more else []), f"{SEAL} 'a2'")


def test_every_rung_pays_the_same_scripts(database: Database) -> None:
    for other in (rung(script="q"), rung(index="0"), rung(more=f"{OUTPUT} ('a2', 1, x'00', 1, NULL)")):
        with pytest.raises(IntegrityError, match="every_rung_pays_the_same_scripts"):
            run(database, *other)
    run(database, *rung())


def test_no_rung_follows_an_unfinished_one(database: Database) -> None:
    with pytest.raises(IntegrityError, match="the_ladder_never_goes_down"):
        run(database, *rung()[:2], f"{ATTEMPT} ('a3', 1, 3, 300, 3, 6, FALSE)")


def part(number: int, coin_id: int, parent: int = 5) -> tuple[str, ...]:
    """A batch of one coin, split from another."""
    name = f"b{number}"
    return (
        f"{BATCH} ({number}, 'lost', 'refund', {parent})", f"{INPUT} ({coin_id}, {number}, 0)",
        f"{ATTEMPT} ('{name}', {number}, 1, 100, 1, 5, FALSE)", f"{OUTPUT} ('{name}', 0, x'00', 9900, 0)",
        f"{SEAL} '{name}'",
    )  # fmt: skip


def test_a_coin_goes_down_one_line_of_parts(database: Database) -> None:
    run(database, *part(7, 2))
    for name, statements in {
        "parts_have_no_coin_in_common": part(8, 2),
        "a_part_holds_coins_of_the_whole": part(8, 5),
        "a_part_is_less_than_the_whole": part(8, 2, parent=7),
        "a_coin_is_planned_once": (f"{BATCH} (8, 'lost', 'refund', NULL)", f"{INPUT} (2, 8, 0)"),
    }.items():
        with pytest.raises(IntegrityError, match=name):
            run(database, *statements)
    run(database, *part(8, 4))


ALLOWED = [
    "UPDATE campaigns SET next_index = 4 WHERE id = 'won'",
    "UPDATE campaigns SET title = 'x', terms = 't', terms_hash = 'h', account_index = 3 WHERE id = 'draft'",
    "UPDATE pledges SET address = 'x', script = x'01' WHERE id = 'p3'",
    "UPDATE pledges SET registered = TRUE",
    "UPDATE coins SET height = NULL, block_hash = NULL, in_mempool = TRUE WHERE id = 1",
    "UPDATE coins SET spent_by = 'x', spent_height = 7 WHERE id = 1",
    "UPDATE attempts SET refusal = 'no'",
    "DELETE FROM blocks",
    "DELETE FROM rivals",
    "UPDATE creators SET name = 'bo', key = 'bo' WHERE id = 2",
    "UPDATE creators SET password_hash = 'y' WHERE id = 1",
    "UPDATE recovery_codes SET used_at = '2026-11-22 13:00:00' WHERE id = 2",
    "UPDATE recovery_codes SET active = TRUE WHERE id = 3",
    "UPDATE sessions SET token_sha256 = 'x' || substr(token_sha256, 2), seen_at = '2026-11-22 13:00:00'",
    "DELETE FROM sessions",
    "DELETE FROM authenticators",
    "UPDATE rivals SET by = 't8', height = 9",
    "UPDATE incidents SET ended_at = '2026-11-22 13:00:00' WHERE id = 2",
    f"{BATCH} (2, 'lost', 'refund', NULL)",
    f"{BATCH} (2, 'won', 'refund', NULL)",
    f"{BATCH} (2, 'lost', 'refund', 5)",
    f"{INPUT} (3, 6, 0)",
    "UPDATE halts SET ended_at = '2026-11-22 13:00:00', ended_reason = 'mended' WHERE id = 1",
    transfer(3, "in_settlement", "paid_out", 9_900),
    transfer(3, "in_settlement", "counted", 10_000, reverses=2),
    transfer(3, "outside", "dust", 10_000, coin_id=3),
    "UPDATE campaigns SET cap_sats = 9 WHERE id = 'draft'",
    "UPDATE restores SET caught_up_at = '2026-11-22 13:00:00' WHERE id = 2",
    "UPDATE accounts SET receipt_key = 'x' WHERE receipt_key IS NULL",
    f"{LOCKED} ('l2', 2, x'00', 9900, 100, '2026-01-01 00:00:00')",
    update_row("won", 1, 2),
    update_row("won", 2, 1),
    update_row("lost", 1, 1),
    post("comment", "creator", creator_id=1),
    post("answer", "creator", creator_id=1, question_id=1),
    moderated("comment", "show", post_id=3),
    moderated("update", update_number=1),
    moderated("pledge", pledge_id="p1", role="operator"),
    moderated("question", post_id=1),
    f"INSERT INTO post_approvals VALUES (1, 'operator', {WHEN})",
    f"{OWN} ('p1', FALSE, 1, {WHEN})",
    f"{OWN} ('p2', FALSE, 1, {WHEN})",
    changed("m3"),
    f"UPDATE refund_changes SET state = 'refused', answered_at = {WHEN}, answer = 'no' WHERE id = 1",
    f"UPDATE refund_changes SET state = 'taken', answered_at = {WHEN} WHERE id = 2",
    f"{LOCKED.removesuffix(') VALUES')}, change_number) VALUES ('l2', 1, x'00', 9900, 100, {WHEN}, 1)",
]


@pytest.mark.parametrize("statement", ALLOWED)
def test_what_the_work_needs_is_allowed(statement: str, unmoved: Database) -> None:
    with pytest.raises(Undone), unmoved.transaction() as session:
        session.execute(text(spoken(unmoved, statement)))
        raise Undone  # nothing here waits for a commit to be refused


def test_balances_follow_each_transfer(database: Database) -> None:
    run(database, transfer(3, "in_settlement", "paid_out", 9_900), transfer(4, "in_settlement", "miner_fee", 100))
    with database.reading() as session:
        rows = session.execute(text("SELECT campaign_id, account, sats FROM balances ORDER BY account")).all()
        entries = session.execute(text("SELECT account, sum(amount_sats) FROM entries GROUP BY account")).all()
    assert {tuple(row)[1:] for row in rows} == {tuple(row) for row in entries}
    assert [tuple(row) for row in rows if row.sats] == [
        ("won", "miner_fee", 100), ("won", "outside", -10_000), ("won", "paid_out", 9_900),
    ]  # fmt: skip


OURS = [
    (
        "UPDATE coins SET spent_by = 'a1', spent_height = 5 WHERE id = 1",
        f"{SEEN_TO} (2, 1, 'a1', 5, 'r', '2026-01-01')",
    ),
    (
        "UPDATE coins SET spent_by = 'l1', spent_height = 5 WHERE id = 1",
        f"{SEEN_TO} (2, 1, 'l1', 5, 'r', '2026-01-01')",
    ),
]


@pytest.mark.parametrize("statements", OURS, ids=["a settlement", "a time-locked refund"])
def test_what_we_have_signed_is_not_acknowledged_as_somebody_elses(
    statements: tuple[str, ...], database: Database
) -> None:
    with pytest.raises(IntegrityError, match="no_foreign_spend"):
        run(database, *statements)


IN_STEPS = [
    (PUBLISHED, f"{PICTURE} (2, 'draft', 1, '{1:064}', 'b')"),
    (PUBLISHED, "UPDATE pictures SET alt = 'b'"),
    (PUBLISHED, "DELETE FROM pictures"),
    (PUBLISHED, f"{FILE} (1, 'webp', 8, 9, '{HASH}', x'00')"),
    (PUBLISHED, "DELETE FROM picture_files"),
    tuple(f"{PICTURE} ({n}, 'draft', {n}, '{n:064}', 'b')" for n in range(2, 12)),
    *OURS,
    *((f"DELETE FROM {table}",) for table in KEPT),
    (*REFUND, FIRST, f"{OUTPUT} ('a2', 0, x'00', 9899, 0)", f"{SEAL} 'a2'"),
    rung(script="q"),
    (*part(7, 2), *part(8, 2)),
    (*part(7, 2), *part(8, 5)),
    (*part(7, 2), *part(8, 2, parent=7)),
]
# What triggers do by themselves: a statement (the last of several), and what it must change.
DONE: dict[str, tuple[str | tuple[str, ...], str]] = {
    "issued_is_watched": (
        "UPDATE pledges SET address = 'x', script = x'01' WHERE id = 'p3'",
        "SELECT count(*) FROM watched_scripts",
    ),
    "inserted_is_watched": (
        """INSERT INTO pledges (id, campaign_id, "index", address, script, amount_sats, refund_address, refund_script,
                                name, message, created_at, registered)
           SELECT 'p9', campaign_id, 9, 'p9', x'09', amount_sats, refund_address, refund_script, name, message,
                  created_at, registered FROM pledges WHERE id = 'p1'""",
        "SELECT count(*) FROM watched_scripts",
    ),
    "a_taken_change_moves_its_pledge": (
        f"UPDATE refund_changes SET state = 'taken', answered_at = {WHEN} WHERE id = 2",
        "SELECT refund_number FROM pledges WHERE id = 'm2'",
    ),
    "figures_of_a_new_coin": (
        f"{COIN} ('p1', 'new', 0, 5, FALSE, {WHEN}, TRUE, NULL, NULL, NULL, NULL)",
        f"{TOUCHED} 'won'",
    ),
    "figures_of_a_moved_coin": ("UPDATE coins SET height = 6, block_hash = 'h6' WHERE id = 1", f"{TOUCHED} 'won'"),
    "figures_of_a_new_balance": (
        "INSERT INTO balances (campaign_id, account, sats) VALUES ('open', 'dust', 0)",
        f"{TOUCHED} 'open'",
    ),
    "figures_of_a_moved_balance": (transfer(3, "in_settlement", "paid_out", 1), f"{TOUCHED} 'won'"),
    "figures_of_a_decision": (
        "INSERT INTO decisions (campaign_id, outcome, counted_sats, closing_height, closing_hash, decided_height)"
        " VALUES ('open', 'failed', 0, 9, 'h9', 9)",
        f"{TOUCHED} 'open'",
    ),
    "figures_of_a_batch": (f"{BATCH} (2, 'lost', 'refund', NULL)", f"{TOUCHED} 'lost'"),
    "figures_of_an_attempt": (f"{ATTEMPT} ('a9', 5, 2, 200, 2, 5, FALSE)", f"{TOUCHED} 'lost'"),
    "figures_of_a_refund_of_ones_own": (f"{LOCKED} ('own', 3, x'00', 9000, 1000, {WHEN})", f"{TOUCHED} 'won'"),
    "figures_of_an_acknowledged_spend": (
        (
            "UPDATE coins SET spent_by = 'robber', spent_height = 5 WHERE id = 5",
            "UPDATE campaign_figures SET touched = FALSE",
            f"{SEEN_TO} (9, 5, 'robber', 5, 'w', {WHEN})",
        ),
        f"{TOUCHED} 'lost'",
    ),
    "figures_of_a_cancellation": (
        f"INSERT INTO cancellations VALUES (9, 'open', 'c9', 5, 'h', 1, x'00', x'00', NULL, '{HASH}', {WHEN})",
        f"{TOUCHED} 'open'",
    ),
    "a_transfer_moves_the_balances": (
        transfer(3, "in_settlement", "paid_out", 1),
        "SELECT sats FROM balances WHERE account = 'in_settlement'",
    ),
}


def refusal(database: Database, statements: tuple[str, ...], without: str = "") -> str:
    """The words in which a database refuses these, nothing if it does not; all is undone. `without`: a trigger."""
    with database.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            if without:
                connection.exec_driver_sql(f"DROP TRIGGER {without}")
            for statement in statements:
                connection.exec_driver_sql(statement)
        except IntegrityError as error:
            return str(error.orig)
        finally:
            connection.rollback()
            connection.invalidate()
    return ""


def test_no_trigger_is_without_a_statement_that_it_alone_refuses(tmp_path: Path) -> None:
    with filled(f"sqlite:///{tmp_path / 'all.sqlite'}") as database:
        with database.reading() as session:
            triggers = session.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")).all()
        refused: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for statements in [*((one,) for one in REFUSED.values()), *IN_STEPS]:
            refused[refusal(database, statements)].append(statements)
        says = {name: re.search(r"RAISE\(ABORT, '(.*)'\)", sql) for name, sql in triggers}
        assert {name for name, words in says.items() if words is None} == set(DONE)
        for name, words in says.items():
            if words is not None:
                tried = refused[words[1]]
                assert any(refusal(database, each, without=name) == "" for each in tried), name


@pytest.mark.parametrize(("statement", "query"), DONE.values(), ids=DONE.keys())
def test_what_triggers_do_by_themselves(statement: str | tuple[str, ...], query: str, database: Database) -> None:
    *first, statement = (statement,) if isinstance(statement, str) else statement
    with database.transaction() as session:
        for each in first:
            session.execute(text(spoken(database, each)))
        before = session.scalar(text(query))
        session.execute(text(spoken(database, statement)))
        assert session.scalar(text(query)) != before


def dump(database: Database) -> dict[str, list[str]]:
    """Every row of every table."""
    with database.reading() as session:
        ask = session.connection().exec_driver_sql
        return {table: sorted(repr(tuple(row)) for row in ask(f"SELECT * FROM {table}")) for table in TABLES}
