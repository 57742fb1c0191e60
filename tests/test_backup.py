"""What is in a backup, what is not, and every way in which one is refused."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crowdfund.accounts import history, limits, passkeys, people, second, sessions
from crowdfund.accounts.history import Visit
from crowdfund.accounts.models import KeptAnswer, PasskeyChallenge
from crowdfund.accounts.passkeys import Site
from crowdfund.backup import form, tables
from crowdfund.backup.making import Sources, make_backup
from crowdfund.backup.restoring import check, restore_backup
from crowdfund.backup.signer_past import head_of, read_past
from crowdfund.campaigns import (
    books,
    delivery,
    gallery,
    helping,
    moderation,
    own_money,
    posts,
    queries,
    review,
    service,
    thefts,
    updates,
)
from crowdfund.campaigns.cancel_models import CancellationDraft, CancellationSend
from crowdfund.campaigns.ledger_models import Halt
from crowdfund.campaigns.models import (
    Campaign,
    Cancellation,
    Coin,
    Creator,
    Incident,
    IncidentCoin,
    Pledge,
    Restore,
    RivalRow,
)
from crowdfund.campaigns.refund_models import RefundChangeRow
from crowdfund.chain.regtest import RegtestNode
from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.errors import UserError, WorldError
from crowdfund.notices import deriving, hooks, outbox, subscribing
from crowdfund.notices.models import Delivery, Notice, Subscription
from crowdfund.projects import looking
from crowdfund.projects.models import Project
from crowdfund.projects.people import invite
from crowdfund.projects.pictures import PictureFile
from crowdfund.projects.roles import Role
from crowdfund.wallet import sealed_stream
from crowdfund.wallet.keystore import sealed_seed, store_plain
from crowdfund.wallet.passphrase import Passphrase
from crowdfund.wallet.sealed_stream import Lock, open_stream, seal_stream
from crowdfund.wallet.signer_log import SignerLog
from crowdfund.wallet.words import words_of
from support import ledger
from support.details import GOOD
from support.dying import dies_at
from support.node import new_node
from support.passkeys import SoftKey
from support.postgres import new_database
from support.restoring import CHEAP, SECRET, back_up, log_of, seed_of
from support.terminal import environment
from support.world import World

SMALL = 2_048
BOBS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
LOCK = Lock(SECRET)


@dataclass(frozen=True)
class Saved:
    """A backup, the settings of where it comes from, and all rows as they were."""

    path: Path
    settings: Settings
    rows: dict[str, list[list[object]]]

    def elsewhere(self, folder: Path, **changes: Any) -> Settings:
        """The settings of an empty installation in `folder`."""
        url = f"sqlite:///{folder / 'crowdfund.sqlite'}"
        return replace(self.settings, data_dir=folder, database_url=url, **changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A campaign that is settled and one that is open, in many small chunks."""
    folder = tmp_path_factory.mktemp("saved")
    with (
        pytest.MonkeyPatch.context() as patch,
        new_node(folder / "node") as node,
        World(node, folder / "site") as world,
    ):
        patch.setattr(sealed_stream, "CHUNK_BYTES", SMALL)
        done = world.campaign(goal_sats=100_000)
        world.paid(done, 150_000)
        world.close(done)
        node.mine()
        world.sync()
        world.paid(world.campaign(), 150_000)
        fill_details(world)
        fill_rare_tables(world.database)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sealed_stream, "CHUNK_BYTES", SMALL)
            back_up(world, folder / "backup")
        return Saved(folder / "backup", world.settings, rows_of(world.database))


def fill_details(world: World) -> None:
    """A campaign that has and got all that can stand beside the money."""
    creator = world.creator("alice of the details")
    with world.database.transaction() as session:
        draft = service.save_draft(session, world.settings, creator, world.draft(), details=GOOD)
        review.ask(session, creator, draft)
        review.decide(session, draft.id, True)
        invite(session, creator, draft.project_id or "", Role.EDITOR)
        service.publish(session, world.settings, creator, draft.id)
        delivery.report(session, creator, draft.id, 0, "there", "https://example.org")
        helping.offer(session, draft.id, 0, 1, "Bob", "bob", "I weld.")
    service.open_pledge(world.database, world.settings, draft.id, 50_000, BOBS, reward=0)
    world.sync()


def fill_rare_tables(database: Database) -> None:
    """A row in each table that a quiet day leaves empty."""
    now = datetime.now(UTC)
    with database.transaction() as session:
        people.create_token(session, "alice", now)
        fill_account(session, now)
        coin = session.scalars(select(Coin).order_by(Coin.id)).first()
        assert coin is not None
        incident = Incident(kind="reorganisation", height=coin.height, depth=1, began_at=now, ended_at=now)
        halt = Halt(campaign_id=coin.pledge.campaign_id, reason="r", began_at=now, ended_at=now, ended_reason="e")
        session.add_all([incident, halt, RivalRow(txid="a", by="b", height=None)])
        session.flush()
        session.add(IncidentCoin(incident_id=incident.id, coin_id=coin.id))
        gone = Coin(
            pledge_id=coin.pledge_id, txid="nothing", vout=0, value_sats=0, coinbase=False, first_seen_at=now,
            in_mempool=False, height=coin.height, block_hash=coin.block_hash, spent_by="thief",
            spent_height=coin.height,
        )  # fmt: skip
        session.add(gone)
        session.flush()
        thefts.acknowledge(session, ["nothing:0"], "r", now)
        fill_talk(session, coin.pledge)
        fill_cancelling(session, coin.pledge.campaign)
        fill_what_waits(session, now)
        draft = Campaign(
            id="draft", creator_id=coin.pledge.campaign.creator_id, project_id=coin.pledge.campaign.project_id,
            title="t", summary="s", story="s", goal_sats=9, deadline_at=now, payout_address="a", project_url="u",
            license="MIT", created_at=now,
        )  # fmt: skip
        session.add(draft)
        session.flush()
        for number in range(9):  # more than are written at once
            file = PictureFile("webp", 9, 9, bytes([number]) * 100)
            gallery.add(session, draft.creator_id, draft.id, [file], f"Picture {number}")
        project = session.get_one(Project, coin.pledge.campaign.project_id)
        looking.ask(session, coin.pledge.campaign.creator_id, project, now)
        hooks.register(session, coin.pledge.campaign.creator_id, "https://example.org/", ["campaign.decided"], now)
        subscribing.confirm(subscribing.follow_pledge(session, coin.pledge_id, "bob@example.org", now, "de"), now)
        outbox.note(session, deriving.news(session, now), False, now)
        notice = session.scalars(select(Notice)).first()
        assert notice is not None
        session.add(Delivery(notice_id=notice.id, at=now, ok=True, status=250, took_ms=1, sentence="ok"))


def fill_cancelling(session: Session, campaign: Campaign) -> None:
    """A cancellation that came too late, and how its creator came to it."""
    now, ids = datetime.now(UTC), {"campaign_id": campaign.id, "creator_id": campaign.creator_id}
    found = {"txid": "a", "height": 9, "block_hash": "b", "position": 0, "branch": b"c", "raw": b"d", "spent": None}
    session.add(Cancellation(campaign_id=campaign.id, reason_sha256="e" * 64, found_at=now, **found))
    session.add(CancellationDraft(**ids, reason="r", spent=b"s", vout=0, feerate_sat_vb=2, made_at=now))
    session.add(CancellationSend(**ids, txid="a", raw=b"d", brought_at=now, sent_at=now, answer=""))


def fill_what_waits(session: Session, now: datetime) -> None:
    """A change of a refund address that the signer has not seen yet, and an answer that a program may ask for again."""
    pledge = session.scalars(select(Pledge).where(Pledge.refund_address == BOBS).limit(1)).one()
    session.add(
        RefundChangeRow(
            pledge_id=pledge.id, number=1, old_address=pledge.refund_address, old_script=pledge.refund_script,
            new_address="new", new_script=b"new", signature="s", brought_at=now,
        )
    )  # fmt: skip
    hashes = {"owner_sha256": "0" * 64, "key_sha256": "1" * 64, "request_sha256": "2" * 64}
    session.add(KeptAnswer(**hashes, status=201, body="{}", expires_at=now))


def fill_talk(session: Session, pledge: Pledge) -> None:
    """What people say about the pledge's campaign."""
    now, campaign = datetime.now(UTC), pledge.campaign
    creator, snapshot = campaign.creator, queries.load(session, campaign.id)
    for number in (None, 1):
        updates.write(session, creator, campaign, "News", f"Text {number}", now, number)
    question = posts.ask(session, campaign, "", "Why?", now)
    posts.approve(session, campaign, question.id, moderation.CREATOR, now)
    posts.answer(session, creator, campaign, question.id, "Because.", now)
    posts.comment_as_backer(session, snapshot, pledge, "", "Go on!", now)
    moderation.hide(session, campaign, moderation.Target.post(question.id), moderation.OPERATOR, "Why not", now)
    own_money.declare(session, creator, pledge, True, now)


def fill_account(session: Session, now: datetime) -> None:
    """All that an account can have, in the tables of accounts."""
    alice, visit = people.find(session, "alice"), Visit("192.0.2.7", "Firefox/140", now)
    assert alice is not None
    key, site = SoftKey(), Site("localhost", "http://localhost:8000", "Seedbed")
    asked = passkeys.ask_for_new(session, site, "add", "alice", alice.id, now)
    handle = session.get_one(PasskeyChallenge, asked.challenge).user_handle
    answer = key.make(asked.options)
    passkeys.add(session, site, passkeys.Asked(asked.challenge, alice.id, handle), alice.id, answer, "Phone", now)
    second.begin_app(session, alice.id, now)
    second.new_codes(session, alice.id, now)
    sessions.begin(session, alice.id, "password", visit)
    history.note(session, alice.id, "failed", visit)
    limits.count(session, limits.FAILED, "alice", now)


@pytest.fixture
def saved(made: Saved, monkeypatch: pytest.MonkeyPatch) -> Saved:
    """The same, and the size of the chunks that it has."""
    monkeypatch.setattr(sealed_stream, "CHUNK_BYTES", SMALL)
    return made


def rows_of(database: Database) -> dict[str, list[list[object]]]:
    """Every row of every table."""
    with database.reading() as session:
        return {part.name: list(rows) for part, rows in tables.exported(session)}


def triggers(database: Database) -> set[tuple[str, str]]:
    """The triggers as they are."""
    with database.reading() as session:
        return {(n, s) for n, s in session.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))}


def restore(saved: Saved, settings: Settings, path: Path | None = None, passphrase: Passphrase = SECRET) -> Database:
    """Restore into `settings`; returns the database."""
    folder = settings.data_dir
    restore_backup(settings, path or saved.path, passphrase, log_of(folder), seed_of(folder))
    return Database(settings.database_url)


def nothing_there(settings: Settings) -> bool:
    """Whether the database has no table."""
    database = Database(settings.database_url)
    with database.engine.connect() as connection:
        found: list[str] = inspect(connection).get_table_names()
    database.close()
    return found == []


def test_every_row_comes_back_and_the_triggers_too(saved: Saved, tmp_path: Path) -> None:
    database, fresh = restore(saved, saved.elsewhere(tmp_path)), Database(f"sqlite:///{tmp_path / 'fresh.sqlite'}")
    fresh.upgrade()
    found = rows_of(database)
    assert [len(found.pop("restores")), saved.rows["restores"]] == [1, []]
    assert found == {name: rows for name, rows in saved.rows.items() if name != "restores"}
    assert len(found["attempts"]) == 1 and len(found["transfers"]) > 4 and len(found["watched_scripts"]) == 3
    assert triggers(database) == triggers(fresh) and len(triggers(fresh)) > 30
    with database.reading() as session:
        assert session.scalars(select(Subscription.language)).all() == ["de"], "mails go on in their reader's language"
        assert session.execute(text("PRAGMA foreign_key_check")).all() == []
        restored = session.scalars(select(Restore)).one()
        beginning = check(saved.path, LOCK).beginning
        assert beginning.tip is not None and restored.from_height == beginning.tip[0]
        issued = {c.id: (c.descriptor, c.next_index) for c in session.scalars(select(Campaign)) if c.terms}
        assert beginning.issued == issued, "descriptor and high-water index of every campaign"
    for each in (database, fresh):
        each.close()


def test_no_table_is_left_out(tmp_path: Path) -> None:
    """Every table that the migrations make is in a backup, and nothing else is."""
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    database.upgrade()
    assert set(inspect(database.engine).get_table_names()) == {"alembic_version", *rows_of(database)}
    database.close()


def test_every_table_comes_back_on_either_database(saved: Saved, tmp_path: Path) -> None:
    """SQLite to PostgreSQL and back: the same rows, with the triggers on and the counters beyond the highest id."""
    wanted = {name: rows for name, rows in saved.rows.items() if name != "restores"}
    assert [name for name, rows in wanted.items() if not rows] == [], "each table is on trial"
    with new_database(empty=True) as url:
        there = replace(saved.settings, data_dir=tmp_path / "pg", database_url=url)
        database = restore(saved, there)
        moved = rows_of(database)
        assert {name: moved[name] for name in wanted} == wanted
        assert_sound(database)
        path = tmp_path / "again"
        make_backup(database, there, Sources(log_of(there.data_dir), None), path, SECRET, CHEAP)
        database.close()
    database = restore(saved, saved.elsewhere(tmp_path / "back"), path)
    back = rows_of(database)
    assert {name: back[name] for name in wanted} == wanted and len(back["restores"]) == 2
    assert_sound(database)
    database.close()


def assert_sound(database: Database) -> None:
    """The ledger holds, triggers refuse, new rows get ids of their own, and an opened ledger is not opened again."""
    ledger.holds(database)
    assert books.open_ledger(database) == 0
    for edit in ("UPDATE coins SET value_sats = 1", "UPDATE transfers SET amount_sats = 1", "DELETE FROM pledges"):
        with pytest.raises(IntegrityError), database.transaction() as session:
            session.execute(text(edit))
    with database.transaction() as session:
        highest = session.scalar(select(func.max(Creator.id))) or 0
        assert people.sign_up(session, "somebody new", "correct horse battery", datetime.now(UTC)).id > highest
        session.rollback()


def test_a_changed_byte_is_refused_wherever_it_is(saved: Saved, tmp_path: Path) -> None:
    data, copy = saved.path.read_bytes(), tmp_path / "copy"
    assert len(data) > 10 * SMALL
    for place in (*range(400), *range(400, len(data), 499), *range(len(data) - 20, len(data))):
        copy.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises((UserError, WorldError), match=r"damaged|no backup"):
            check(copy, LOCK)
    chunk = SMALL + 16
    start = len(data) - 5 * chunk
    whole = sealed_ends(data)
    for cut in (*range(0, 400, 7), *whole, *range(500, len(data), 1_999), len(data) - 1):
        copy.write_bytes(data[:cut])
        with pytest.raises((UserError, WorldError), match=r"damaged|no backup"):
            check(copy, LOCK)
    swapped = data[:start] + data[start + chunk : start + 2 * chunk] + data[start : start + chunk]
    for other in (
        data + b"x",
        data + data[-chunk:],
        swapped + data[len(swapped) :],
        data[:start] + data[start + chunk :],
    ):
        copy.write_bytes(other)
        with pytest.raises(WorldError, match="damaged"):
            check(copy, LOCK)


def sealed_ends(data: bytes) -> list[int]:
    """Where chunks end: a file cut there still has whole chunks only."""
    header = data.index(b"\n", len(sealed_stream.MAGIC)) + 1 + sealed_stream.SEALED_CHECK_BYTES
    return [header, *range(header + SMALL + 16, len(data), SMALL + 16)]


def rewritten(saved: Saved, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A backup with another first line, sealed like a good one."""
    with saved.path.open("rb") as file:
        lines = b"".join(open_stream(file, LOCK)).split(b"\n")
    begin = json.loads(lines[0])
    change(begin["begin"])
    path.write_bytes(b"".join(seal_stream([json.dumps(begin).encode(), b"\n", b"\n".join(lines[1:])], SECRET, CHEAP)))
    return path


def test_every_bad_case_is_a_sentence(saved: Saved, tmp_path: Path) -> None:
    here = saved.elsewhere(tmp_path / "new")
    (tmp_path / "text").write_text("not a backup")
    newer = rewritten(saved, tmp_path / "newer", lambda begin: begin.update(format=2))
    later = rewritten(saved, tmp_path / "later", lambda begin: begin.update(revision="9999"))
    fewer = rewritten(saved, tmp_path / "fewer", lambda begin: begin["rows"].update(coins=1))
    for settings, path, passphrase, sentence in (
        (here, saved.path, Passphrase("another passphrase"), "does not open the backup"),
        (here, tmp_path / "text", SECRET, "no backup made by"),
        (here, tmp_path / "missing", SECRET, "cannot be read"),
        (here, newer, SECRET, "newer version"),
        (here, later, SECRET, "newer version"),
        (here, fewer, SECRET, "damaged"),
        (saved.elsewhere(tmp_path / "new", network="signet"), saved.path, SECRET, "was made on regtest"),
    ):
        with pytest.raises((UserError, WorldError), match=sentence):
            restore(saved, settings, path, passphrase)
        assert nothing_there(here)
    restore(saved, here).close()
    with pytest.raises(UserError, match="has tables already"):
        restore(saved, here)
    log = log_of(saved.elsewhere(tmp_path / "other").data_dir)
    log.parent.mkdir(parents=True)
    log.write_bytes(log_of(here.data_dir).read_bytes()[: -len("}\n")])
    with pytest.raises(UserError, match="does not continue the one in the backup"):
        restore(saved, saved.elsewhere(tmp_path / "other"))


def test_the_head_of_the_log_comes_too(saved: Saved, tmp_path: Path) -> None:
    """And a log without one, or with a head that is behind, opens all the same."""
    here, old = saved.elsewhere(tmp_path / "new"), log_of(saved.settings.data_dir)
    restore(saved, here).close()
    log = log_of(here.data_dir)
    assert log.read_bytes() == old.read_bytes() and head_of(log).read_bytes() == head_of(old).read_bytes()
    lines = log.read_bytes().count(b"\n")
    assert lines > 2 and head_of(log).read_text().startswith(f"{lines} ")
    SignerLog(log)
    cut = saved.elsewhere(tmp_path / "cut")
    log_of(cut.data_dir).parent.mkdir(parents=True)
    head_of(log_of(cut.data_dir)).write_text(f"{lines + 1} {'0' * 64}\n")
    with pytest.raises(UserError, match="written for a longer log"):
        restore(saved, cut)
    assert nothing_there(cut)
    head_of(log_of(cut.data_dir)).unlink()
    database = Database(saved.settings.database_url)
    bare = tmp_path / "log.jsonl"
    bare.write_bytes(old.read_bytes())
    make_backup(database, saved.settings, Sources(bare, None), tmp_path / "headless", SECRET, CHEAP)
    database.close()
    restore(saved, cut, tmp_path / "headless").close()
    assert not head_of(log_of(cut.data_dir)).exists()
    SignerLog(log_of(cut.data_dir))


def test_the_log_is_read_in_every_form_that_it_ever_had(tmp_path: Path) -> None:
    """One refund a line as the first version wrote it, many a line, and promises of another kind."""
    log = SignerLog(tmp_path / "log.jsonl")
    log._append({"refund": [3, "aa", 0, "00aa"]})
    log.register(4, b"\xbb" * 32, {1: b"\1", 2: b"\2"})
    log.timelocked("cc" * 32, 9, b"\xdd" * 32, f"{'ee' * 32}:0", 5)
    past = read_past((tmp_path / "log.jsonl").read_bytes())
    assert past.refunds == {(3, "aa", 0): b"\0\xaa", (4, "bb" * 32, 1): b"\1", (4, "bb" * 32, 2): b"\2"}
    assert past.last_account == 9 and read_past(b"").last_account == -1
    with pytest.raises(WorldError, match="was changed"):
        read_past((tmp_path / "log.jsonl").read_bytes().replace(b"00aa", b"00bb"))


def test_a_backup_is_never_overwritten(saved: Saved) -> None:
    before = saved.path.read_bytes()
    database = Database(saved.settings.database_url)
    with pytest.raises(UserError, match="never overwritten"):
        make_backup(database, saved.settings, Sources(None, None), saved.path, SECRET, CHEAP)
    assert saved.path.read_bytes() == before
    database.close()


def test_a_backup_while_four_threads_write(node: RegtestNode, tmp_path: Path) -> None:
    """Each is one moment: as many pledges as indices given out, every foreign key whole."""
    with World(node, tmp_path / "site") as world:
        campaign, stop = world.campaign(), threading.Event()

        def pledging() -> None:
            while not stop.is_set():
                world.pledge(campaign, 20_000, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080")

        writers = [threading.Thread(target=pledging) for _ in range(4)]
        for writer in writers:
            writer.start()
        try:
            for n in range(4):
                back_up(world, tmp_path / f"backup{n}")
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        settings = world.settings
    seen = []
    for n in range(4):
        folder = tmp_path / f"new{n}"
        there = replace(settings, data_dir=folder, database_url=f"sqlite:///{folder / 'crowdfund.sqlite'}")
        restore_backup(there, tmp_path / f"backup{n}", SECRET, log_of(folder), seed_of(folder))
        database = Database(there.database_url)
        with database.reading() as session:
            assert session.execute(text("PRAGMA foreign_key_check")).all() == []
            count = session.scalar(select(func.count()).select_from(Pledge)) or 0
            assert count == session.scalar(select(Campaign.next_index))
            seen.append(count)
        database.close()
    assert seen == sorted(seen) and seen[-1] > seen[0], "they wrote meanwhile"


def test_killed_while_making_a_backup(saved: Saved, tmp_path: Path) -> None:
    def make() -> None:
        database = Database(saved.settings.database_url)
        make_backup(database, saved.settings, Sources(log_of(saved.settings.data_dir), None), path, SECRET, CHEAP)

    died, step = 0, 1
    while True:
        path = tmp_path / f"backup{step}"
        if not dies_at(step, make):
            break
        died += 1
        if path.exists():
            check(path, LOCK)
        step += 3
    check(path, LOCK)
    assert died > 10


@pytest.mark.parametrize("every", [201, pytest.param(7, marks=pytest.mark.long)])
def test_killed_while_restoring(saved: Saved, tmp_path: Path, every: int) -> None:
    """Nothing half is left: an empty database or all of it; the same command goes on from there."""
    died, step = 0, 1
    while True:
        there = saved.elsewhere(tmp_path / f"new{step}")
        if not dies_at(step, partial(restore, saved, there)):
            break
        died += 1
        if nothing_there(there):
            restore(saved, there).close()
        database = Database(there.database_url)
        with database.reading() as session:
            assert len(session.scalars(select(Restore)).all()) == 1
        assert rows_of(database)["coins"] == saved.rows["coins"]
        database.close()
        step += every
    assert died >= 2


def script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "crowdfund", *arguments],
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )


def test_the_seed_is_in_a_backup_only_as_it_is_sealed(saved: Saved, tmp_path: Path) -> None:
    entropy = bytes(range(32))
    seed, settings = tmp_path / "seed", saved.elsewhere(tmp_path / "new")
    store_plain(seed, entropy)
    database = Database(saved.settings.database_url)
    with pytest.raises(UserError, match="plain words"):
        make_backup(database, saved.settings, Sources(None, seed), tmp_path / "file", SECRET, CHEAP)
    assert not (tmp_path / "file").exists()
    seed.write_bytes(sealed_seed(entropy, SECRET, "regtest", CHEAP).to_bytes())
    make_backup(database, saved.settings, Sources(None, seed), tmp_path / "file", SECRET, CHEAP)
    database.close()
    restore(saved, settings, tmp_path / "file").close()
    assert seed_of(settings.data_dir).read_bytes() == seed.read_bytes()
    with (tmp_path / "file").open("rb") as file:
        data = b"".join(open_stream(file, LOCK))
    for secret in (words_of(entropy).encode(), b" ".join(words_of(entropy).encode().split()[:3]), entropy):
        assert secret not in data and secret.hex().encode() not in data


@pytest.mark.long
def test_no_word_of_the_seed_is_anywhere(tmp_path: Path) -> None:
    """The whole way by the command line: backup with the seed, restore elsewhere; and plain words stay out."""
    entropy = bytes(range(32))
    words = words_of(entropy)
    secret = tmp_path / "passphrase"
    secret.write_text("a long enough passphrase\n")
    secret.chmod(0o600)
    old, new, plain = tmp_path / "old", tmp_path / "new", tmp_path / "plain"
    seed_of(old).parent.mkdir(parents=True)
    seed_of(old).write_bytes(sealed_seed(entropy, SECRET, "regtest", CHEAP).to_bytes())
    seed_of(old).chmod(0o600)
    options = ("--passphrase-file", str(secret))
    told = [script(old, "backup", str(tmp_path / "file"), *options, "--with-seed")]
    told.append(script(new, "restore", str(tmp_path / "file"), *options))
    assert [t.returncode for t in told] == [0, 0], told
    assert seed_of(new).read_bytes() == seed_of(old).read_bytes()
    assert seed_of(new).stat().st_mode & 0o077 == 0
    store_plain(seed_of(plain), entropy)
    told.append(script(plain, "backup", str(tmp_path / "other"), *options, "--with-seed"))
    assert told[-1].returncode == 1 and "plain words" in told[-1].stderr and not (tmp_path / "other").exists()
    artefacts = [t.stdout.encode() + t.stderr.encode() for t in told]
    data = (tmp_path / "file").read_bytes()
    artefacts += [data, b"".join(open_stream(io.BytesIO(data), LOCK))]
    artefacts += [file.read_bytes() for file in new.rglob("*") if file.is_file()]
    for artefact in artefacts:
        assert words.encode() not in artefact and entropy not in artefact and entropy.hex().encode() not in artefact
        assert b" ".join(words.encode().split()[:3]) not in artefact
    secret.chmod(0o644)
    refused = script(old, "backup", str(tmp_path / "fourth"), *options)
    assert refused.returncode == 1 and "chmod 600" in refused.stderr


def test_secrets_of_the_settings_stay_out(tmp_path: Path, saved: Saved) -> None:
    settings = replace(
        saved.settings,
        secret_key="canary-secret-key-canary-secret-key",
        bitcoind_password="user:canary",
        esplora_url="http://user:canary@127.0.0.1:3000",
    )
    database = Database(settings.database_url)
    make_backup(database, settings, Sources(None, None), tmp_path / "b", SECRET, CHEAP)
    database.close()
    with (tmp_path / "b").open("rb") as file:
        assert b"canary" not in b"".join(open_stream(file, LOCK))
    assert check(tmp_path / "b", LOCK).beginning.settings["CROWDFUND_NETWORK"] == "regtest"


def test_lines_that_do_not_add_up_are_refused(saved: Saved) -> None:
    """Even where somebody has the passphrase, each part must come to its sum."""
    with saved.path.open("rb") as file:
        lines = b"".join(open_stream(file, LOCK)).splitlines(keepends=True)
    row = next(n for n, line in enumerate(lines) if line.startswith(b"["))
    for broken in (
        lines[:-1],
        lines[: row - 1] + lines[row + 1 :],
        [*lines[:row], lines[row].replace(b"[", b"[ ", 1), *lines[row + 1 :]],
        [*lines, lines[row]],
        [*lines, lines[-1]],
        lines[1:],
        [],
    ):
        with pytest.raises(sealed_stream.DamagedStream):
            list(form.read(broken)[1])
