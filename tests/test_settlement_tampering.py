"""A signer that is away or lies, and an operator who edits the database: nothing wrong is stored, nothing is sent."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from embit.script import Script
from embit.transaction import Transaction

from crowdfund.campaigns import attempts as steps
from crowdfund.chain.regtest import RegtestNode
from crowdfund.wallet.keystore import Keystore, create_seed
from crowdfund.wallet.signer import Signer, SignerServer
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.wallet.signer_log import SignerLog
from crowdfund.wallet.signing import sign
from crowdfund.wallet.transactions import UnsignedTx
from support.world import World


def funded(world: World) -> str:
    """A campaign that has reached its goal, before its deadline."""
    campaign = world.campaign(goal_sats=200_000)
    world.paid(campaign, 250_000)
    return campaign


def attempts(world: World, campaign: str) -> list[tuple[str, bytes | None, bool]]:
    """(txid, bytes, sent) of every attempt."""
    return [(a.txid, a.raw, a.sent_at is not None) for b in world.snapshot(campaign).batches for a in b.attempts]


def trouble(world: World) -> str:
    """What stands in the worker's way, as the operator reads it."""
    with world.database.reading() as session:
        return str(session.connection().exec_driver_sql("SELECT trouble FROM chain_view").scalar_one())


def one_job(world: World) -> tuple[str, int, str, UnsignedTx]:
    """What the signer is asked to sign."""
    with world.database.reading() as session:
        job = steps.job(session, *steps.open_batches(session))
    return job.terms, job.account_index, job.kind, job.tx


def stop_signer(world: World) -> None:
    """No signer any more."""
    world.signer_server.shutdown()
    world.signer_server.server_close()


def start_signer(world: World) -> None:
    """A signer again, with what it finds on disk."""
    world.signer_server = served(world.folder / "signer", world.settings.signer_socket)


def served(folder: Path, socket: Path) -> SignerServer:
    """A signer with the seed and the log in this folder, listening."""
    signer = Signer(Keystore.open(folder / "seed", "regtest"), SignerLog(folder / "log.jsonl"), "regtest")
    server = SignerServer(signer, socket)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


def released(world: World, campaign: str) -> None:
    """Mine and look: it is paid, in one transaction."""
    world.sync()
    ((txid, raw, sent),) = attempts(world, campaign)
    assert raw is not None
    assert sent
    assert world.node.rpc("getrawmempool") == [txid]
    world.node.mine()
    world.sync()
    assert world.summary(campaign).state == "released"
    assert trouble(world) == ""


def test_the_signer_is_away_when_it_is_decided(world: World) -> None:
    """The decision and the plan do not wait for it, and are the ones it signs when it is back."""
    campaign = funded(world)
    stop_signer(world)
    world.close(campaign)
    ((txid, raw, sent),) = attempts(world, campaign)
    assert (raw, sent) == (None, False)
    assert "signer does not answer" in trouble(world)
    world.node.mine()
    world.sync()
    start_signer(world)
    world.sync()
    assert [a[0] for a in attempts(world, campaign)] == [txid]
    released(world, campaign)


def test_the_signer_dies_while_it_writes(world: World) -> None:
    """Half a line in its log was never acted on; half a reply is no signature; both give the same bytes later."""
    campaign = funded(world)
    world.close(campaign)
    ((txid, raw, _),) = attempts(world, campaign)
    stop_signer(world)
    log = world.folder / "signer" / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    assert b"settle" in lines[-1]
    job = one_job(world)
    head = f"{len(lines) - 1} {sha256(lines[-2][:-1]).hexdigest()}\n"  # it is written after the line
    for torn in (b"".join(lines[:-1]) + lines[-1][:40], b"".join(lines) + b'{"prev":"', b"".join(lines)):
        log.write_bytes(torn)
        log.with_suffix(".head").write_text(head)
        start_signer(world)
        assert SignerClient(world.settings.signer_socket).sign(*job) == raw
        assert log.read_bytes() == b"".join(lines)
        stop_signer(world)
    start_signer(world)
    assert txid == job[3].txid
    released(world, campaign)


def _another_output(answer: Transaction, _stranger: Transaction) -> None:
    answer.vout[0].script_pubkey = Script(b"\x00\x14" + b"m" * 20)


def _another_amount(answer: Transaction, _stranger: Transaction) -> None:
    answer.vout[0].value -= 1


def _another_key(answer: Transaction, stranger: Transaction) -> None:
    answer.vin[0].witness.items = stranger.vin[0].witness.items


def _another_signature(answer: Transaction, stranger: Transaction) -> None:
    answer.vin[0].witness.items[0] = stranger.vin[0].witness.items[0]


def _another_sighash(answer: Transaction, _stranger: Transaction) -> None:
    answer.vin[0].witness.items[0] = answer.vin[0].witness.items[0][:-1] + b"\x02"


def _no_signature(answer: Transaction, _stranger: Transaction) -> None:
    answer.vin[0].witness.items = []


Lie = Callable[[Transaction, Transaction], None]
LIES = (_another_output, _another_amount, _another_key, _another_signature, _another_sighash, _no_signature)


class LyingSigner(SignerClient):
    """Asks the true signer, has another seed sign the same, and changes the true one's answer."""

    def __init__(self, true: Path, stranger: Keystore, lie: Lie) -> None:
        super().__init__(true)
        self._stranger = stranger
        self._lie = lie

    def sign(self, terms: str, account_index: int, kind: str, tx: UnsignedTx) -> bytes:
        """See the parent."""
        answer = Transaction.parse(super().sign(terms, account_index, kind, tx))
        strange = sign(tx, self._stranger.branch(account_index, sha256(terms.encode()).digest()))
        self._lie(answer, Transaction.parse(strange))
        return bytes(answer.serialize())


@pytest.fixture
def stranger(tmp_path: Path) -> Keystore:
    """The keys of another seed."""
    create_seed(tmp_path / "stranger" / "seed")
    return Keystore.open(tmp_path / "stranger" / "seed", "regtest")


@pytest.mark.parametrize("lie", LIES)
def test_the_signer_lies(world: World, stranger: Keystore, lie: Lie) -> None:
    campaign = funded(world)
    world.equip(signer=LyingSigner(world.settings.signer_socket, stranger, lie))
    world.close(campaign)
    for _ in range(2):
        ((_, raw, sent),) = attempts(world, campaign)
        assert (raw, sent) == (None, False)
        assert world.node.rpc("getrawmempool") == []
        assert "signer" in trouble(world)
        world.node.mine()
        world.sync()
    world.worker = world.new_worker()
    released(world, campaign)


EDITS = (
    "UPDATE attempts SET raw = x'00'",
    "UPDATE attempts SET raw = NULL",
    "UPDATE attempts SET txid = 'f00d'",
    "UPDATE attempts SET sent_at = NULL",
    "DELETE FROM attempts",
    "UPDATE attempts SET fee_sats = fee_sats + 1",
    "UPDATE attempts SET sealed = FALSE",
    "UPDATE attempt_outputs SET script = x'0014'",
    "UPDATE attempt_outputs SET value_sats = value_sats - 1",
    "DELETE FROM attempt_outputs",
    "UPDATE batch_inputs SET position = 7",
    "DELETE FROM batch_inputs",
    "UPDATE batches SET parent_id = id",
    "UPDATE batches SET kind = 'refund'",
    "DELETE FROM batches",
    "UPDATE decisions SET outcome = 'failed'",
    "DELETE FROM decisions",
    "INSERT INTO decisions SELECT * FROM decisions",
    "UPDATE coins SET value_sats = value_sats + 1",
    "DELETE FROM coins",
    "UPDATE pledges SET refund_script = x'0014'",
    "UPDATE campaigns SET terms = replace(terms, '200000', '100000')",
    "INSERT INTO batch_inputs (batch_id, position, coin_id) SELECT batch_id, 9, coin_id FROM batch_inputs",
)


@pytest.fixture(scope="module")
def settled(node: RegtestNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A campaign decided, planned, signed and sent."""
    with World(node, tmp_path_factory.mktemp("settled")) as world:
        world.close(funded(world))
        yield world


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_settlement_is_refused_by_the_database(settled: World, edit: str) -> None:
    with (
        closing(sqlite3.connect(settled.folder / "crowdfund.sqlite")) as connection,
        pytest.raises(sqlite3.IntegrityError),
    ):
        connection.execute(edit)


def test_an_attempt_that_no_plan_made_is_not_signed(world: World) -> None:
    """Put in above the one that was sent: that one is sent on and paid, and the stranger halts what comes after it."""
    campaign = funded(world)
    world.close(campaign)
    ((txid, raw, _),) = attempts(world, campaign)
    with closing(sqlite3.connect(world.folder / "crowdfund.sqlite")) as connection:
        connection.execute(
            "INSERT INTO attempts (txid, batch_id, number, fee_sats, feerate_sat_vb, locktime, sealed) "
            "SELECT 'f00d', batch_id, 2, fee_sats + 1, feerate_sat_vb, locktime, FALSE FROM attempts"
        )
        connection.execute(
            "INSERT INTO attempt_outputs "
            "SELECT 'f00d', position, script, value_sats - 1, \"index\" FROM attempt_outputs"
        )
        connection.execute("UPDATE attempts SET sealed = TRUE WHERE txid = 'f00d'")
        connection.commit()
    world.worker = world.new_worker()
    world.sync()
    assert attempts(world, campaign) == [(txid, raw, True), ("f00d", None, False)]
    assert "was changed" in trouble(world)
    assert world.node.rpc("getrawmempool") == [txid]
    world.node.mine()
