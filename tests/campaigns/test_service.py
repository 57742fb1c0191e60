"""The use cases that write: drafts, publishing, pledging, alone and in a crowd."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from crowdfund.accounts import people
from crowdfund.campaigns import queries, service
from crowdfund.campaigns.models import Account, Campaign, Pledge
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.config import Settings
from crowdfund.db import ROOT
from crowdfund.errors import NotFound, Problems, UserError, WorldError
from crowdfund.wallet.amounts import MAX_MONEY_SATS
from crowdfund.wallet.descriptors import derive_address
from crowdfund.wallet.signer_client import Account as OfferedAccount
from support import fresh
from support.paper import ACCOUNTS, BLOCK_TIME, REFUND, START, Paper, coin

CROWD = f"""
import json, os, sys, traceback
from crowdfund.campaigns import service
from crowdfund.config import Settings
from crowdfund.db import Database
settings = Settings.from_env()

def work(job, argument, ready, start):
    database = Database(settings.database_url)
    os.write(ready, b".")
    os.read(start, 1)
    found = []
    if job == "pledge":
        for _ in range(25):
            found.append(service.open_pledge(database, settings, argument, 50_000, "{REFUND}"))
    else:
        with database.transaction() as session:
            creator, campaign = argument.split()
            found.append(service.publish(session, settings, int(creator), campaign).account_index)
    database.close()
    os.write(1, json.dumps(found).encode() + b"\\n")

jobs, children = json.loads(sys.argv[1]), []
(told, ready), (start, started) = os.pipe(), os.pipe()
for job in jobs:
    children.append(os.fork())
    if children[-1] == 0:
        try:
            os.close(started)
            work(*job, ready, start)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
for _ in jobs:
    os.read(told, 1)
os.close(start)
os.close(started)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


@pytest.fixture
def paper(tmp_path: Path, database_url: str) -> Iterator[Paper]:
    with Paper(tmp_path, database_url=database_url) as made:
        yield made


def crowd(settings: Settings, jobs: list[tuple[str, str]]) -> list[Any]:
    """Processes that all begin at one signal; what each of them found. They are forked off one that has imported."""
    command = [sys.executable, "-W", "error", "-c", CROWD, json.dumps(jobs)]
    done = subprocess.run(command, cwd=ROOT, env=settings.to_env(), text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answers = done.stdout.splitlines()
    assert len(answers) == len(jobs)
    return [item for answer in answers for item in json.loads(answer)]


def stored(paper: Paper) -> list[Pledge]:
    """Every pledge, paid or not."""
    with paper.database.reading() as session:
        return list(session.scalars(select(Pledge).order_by(Pledge.index)))


def test_eight_processes_that_ask_at_once_get_different_addresses(paper: Paper) -> None:
    campaign = paper.campaign()
    found = crowd(paper.settings, [("pledge", campaign)] * 8)
    pledges = stored(paper)
    assert len(set(found)) == 200 and {p.id for p in pledges} == set(found)
    assert [p.index for p in pledges] == list(range(200))
    assert len({p.address for p in pledges} - {None}) == len({p.script for p in pledges} - {None}) == 200
    held = paper.snapshot(campaign).campaign
    assert held.next_index == 200
    descriptor = held.descriptor or ""
    for pledge in pledges[::40]:
        assert (pledge.address, pledge.script) == derive_address(descriptor, pledge.index, "regtest")


def test_campaigns_published_at_once_take_different_accounts(paper: Paper) -> None:
    jobs = []
    for number in range(2):
        creator = paper.creator()
        with paper.database.transaction() as session:
            draft = service.save_draft(session, paper.settings, creator, paper.draft(title=f"Drill {number}"))
            jobs.append(("publish", f"{creator} {draft.id}"))
    assert sorted(crowd(paper.settings, jobs * 2)) == [0, 0, 1, 1], "and published twice is once"


def test_publishing_freezes_what_the_descriptor_commits_to(paper: Paper) -> None:
    campaign = paper.snapshot(paper.campaign()).campaign
    terms = CampaignTerms.parse(campaign.terms or "")
    assert terms.hash.hex() == campaign.terms_hash
    assert (terms.goal_sats, terms.deadline, terms.confirmations) == (1_000_000, START + 60 * BLOCK_TIME, 1)
    assert (terms.opened_height, terms.opened_hash) == (100, paper.ref(100).hash)
    words = "/".join(str(int(f"{int(campaign.terms_hash or '', 16):0256b}"[i : i + 31], 2)) for i in range(0, 248, 31))
    assert f"/{words}/*)" in (campaign.descriptor or "")


def test_publishing_twice_is_the_same_as_once(paper: Paper) -> None:
    campaign = paper.snapshot(paper.campaign()).campaign
    paper.mine()
    with paper.database.transaction() as session:
        again = service.publish(session, paper.settings, campaign.creator_id, campaign.id)
        assert (again.terms, again.account_index) == (campaign.terms, campaign.account_index)


def test_the_very_same_draft_twice_gets_a_sentence(paper: Paper) -> None:
    """A double click on "create" makes two drafts; their terms would be one."""
    creator = paper.creator()
    with paper.database.transaction() as session:
        first, second = (service.save_draft(session, paper.settings, creator, paper.draft()) for _ in range(2))
        service.publish(session, paper.settings, creator, first.id)
    with pytest.raises(UserError, match="already"), paper.database.transaction() as session:
        service.publish(session, paper.settings, creator, second.id)
    paper.mine(blocks=service.OPENING_DEPTH + 1)  # their opening block is another one
    with paper.database.transaction() as session:
        service.publish(session, paper.settings, creator, second.id)


def test_a_published_campaign_is_not_edited(paper: Paper) -> None:
    campaign = paper.snapshot(paper.campaign()).campaign
    with pytest.raises(UserError, match="cannot change"), paper.database.transaction() as session:
        service.save_draft(session, paper.settings, campaign.creator_id, paper.draft(goal_sats=20_000), campaign.id)
    assert paper.snapshot(campaign.id).campaign.goal_sats == 1_000_000


def test_another_creators_campaign_is_not_there(paper: Paper) -> None:
    owner, other = paper.creator(), paper.creator()
    with paper.database.transaction() as session:
        draft = service.save_draft(session, paper.settings, owner, paper.draft())
    for campaign in (draft.id, "unknown", ""):
        with pytest.raises(NotFound), paper.database.transaction() as session:
            service.save_draft(session, paper.settings, other, paper.draft(title="Mine"), campaign)
        with pytest.raises(NotFound), paper.database.transaction() as session:
            service.publish(session, paper.settings, other, campaign)


def test_a_draft_is_changed_until_it_is_published(paper: Paper) -> None:
    creator = paper.creator()
    with paper.database.transaction() as session:
        draft = service.save_draft(session, paper.settings, creator, paper.draft())
        service.save_draft(session, paper.settings, creator, paper.draft(title="Better"), draft.id)
        with pytest.raises(Problems) as refused:
            service.save_draft(session, paper.settings, creator, paper.draft(title="", goal_sats=2**70), draft.id)
        assert set(refused.value.by_field) == {"title", "goal"}
        assert service.publish(session, paper.settings, creator, draft.id).title == "Better"


def test_what_publishing_needs_is_named(paper: Paper) -> None:
    campaigns = [paper.campaign(title=f"Drill {n}") for n in range(ACCOUNTS)]
    assert len(campaigns) == ACCOUNTS
    creator = paper.creator()
    with paper.database.transaction() as session:
        draft = service.save_draft(session, paper.settings, creator, paper.draft())
    with pytest.raises(UserError, match="account"), paper.database.transaction() as session:
        service.publish(session, paper.settings, creator, draft.id)
    paper.mine(blocks=50)
    with pytest.raises(Problems, match="two hours"), paper.database.transaction() as session:
        service.publish(session, paper.settings, creator, draft.id)


def test_without_a_block_nothing_is_published(tmp_path: Path) -> None:
    settings = Settings.from_env({"CROWDFUND_DATA_DIR": str(tmp_path)})
    database = fresh.database(settings.database_url)
    with Paper(tmp_path / "other") as paper, database.transaction() as session:
        session.add(Account(index=0, xpub="x", fingerprint="f"))
        creator = people.sign_up(session, "alice", "correct horse battery", START).id
        soon = service.chain_now(session, "regtest") + timedelta(days=1)
        draft = service.save_draft(session, settings, creator, paper.draft(deadline_at=soon))
        with pytest.raises(UserError, match="No block"):
            service.publish(session, settings, creator, draft.id)
    database.close()


def test_pledges_to_what_takes_none(paper: Paper) -> None:
    creator = paper.creator()
    with paper.database.transaction() as session:
        draft = service.save_draft(session, paper.settings, creator, paper.draft())
    with pytest.raises(NotFound):
        paper.pledge("unknown")
    with pytest.raises(NotFound):
        paper.pledge(draft.id)
    campaign = paper.campaign()
    paper.mine(blocks=60)
    paper.pledge(campaign)
    paper.mine()
    with pytest.raises(UserError, match="deadline"):
        paper.pledge(campaign)
    assert paper.snapshot(campaign).campaign.next_index == 1, "a refusal uses no index up"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("amount", {"amount_sats": 9_999}),
        ("amount", {"amount_sats": 0}),
        ("amount", {"amount_sats": -1}),
        ("amount", {"amount_sats": MAX_MONEY_SATS + 1}),
        ("refund_address", {"refund_address": ""}),
        ("refund_address", {"refund_address": "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"}),
        ("refund_address", {"refund_address": REFUND[:-1] + "q"}),
        ("name", {"name": "x" * 61}),
        ("message", {"message": "x" * 281}),
    ],
)
def test_each_field_of_a_pledge_is_checked(field: str, changes: dict[str, Any], paper: Paper) -> None:
    campaign = paper.campaign()
    values: dict[str, Any] = {"amount_sats": 10_000, "refund_address": REFUND, **changes}
    with pytest.raises(Problems) as refused:
        service.open_pledge(paper.database, paper.settings, campaign, **values)
    assert list(refused.value.by_field) == [field]
    assert paper.snapshot(campaign).campaign.next_index == 0


def test_the_limits_themselves_are_allowed_and_texts_are_cleaned(paper: Paper) -> None:
    campaign = paper.campaign()
    for sats in (10_000, MAX_MONEY_SATS):
        service.open_pledge(paper.database, paper.settings, campaign, sats, REFUND, "n" * 60, "m" * 280)
    found = service.open_pledge(
        paper.database,
        paper.settings,
        campaign,
        10_000,
        f" {REFUND.upper()}\n",
        "b\x00o\u202eb\x9f",
        " hi\r\n\x1bthere\ud800 ",
    )
    with paper.database.reading() as session:
        pledge = queries.load_by_pledge(session, found)[1]
    assert (pledge.name, pledge.message, pledge.refund_address) == ("bob", "hi\nthere", REFUND)


def test_an_address_of_ours_is_nobodys_refund_or_payout_address(paper: Paper) -> None:
    first = paper.pledge(paper.campaign())
    for address in (str(first.address), str(first.address).upper()):
        with pytest.raises(Problems, match="of your own wallet") as refused:
            paper.pledge(first.campaign_id, refund_address=address)
        assert list(refused.value.by_field) == ["refund_address"]
        with pytest.raises(Problems) as unpaid:
            paper.campaign(payout_address=address)
        assert list(unpaid.value.by_field) == ["payout_address"]


@pytest.mark.parametrize("fault", [WorldError("Two libraries derive different addresses."), KeyboardInterrupt()])
def test_a_crash_before_the_address_is_stored_shows_no_pledge(
    fault: BaseException, paper: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is used up and never given to anybody else; what has no address is invisible."""
    campaign = paper.campaign()

    def crash(*_: object) -> None:
        raise fault

    monkeypatch.setattr(service, "derive_address", crash)
    with pytest.raises(type(fault)):
        paper.pledge(campaign)
    monkeypatch.undo()
    with paper.database.reading() as session:
        torn = session.scalars(select(Pledge)).one()
        assert (torn.index, torn.address, torn.script) == (0, None, None)
        with pytest.raises(NotFound):
            queries.load_by_pledge(session, torn.id)
    assert paper.snapshot(campaign).pledges == []
    assert paper.pledge(campaign).index == 1


def test_ids_are_long_and_without_look_alikes(paper: Paper) -> None:
    campaign = paper.campaign()
    ids = {paper.pledge(campaign).id for _ in range(5)}
    assert len(ids) == 5 and all(len(i) == 26 and not set(i) & set("01ilo") for i in ids)


def test_threads_of_one_process_get_different_addresses(paper: Paper) -> None:
    campaign = paper.campaign()
    faults: list[Exception] = []

    def ask() -> None:
        try:
            for _ in range(5):
                service.open_pledge(paper.database, paper.settings, campaign, 50_000, REFUND)
        except (UserError, WorldError) as error:
            faults.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert len({p.address for p in stored(paper)} - {None}) == 30


def test_an_account_without_receipt_key_opens_no_campaign_until_the_signer_tells_it(paper: Paper) -> None:
    with paper.database.transaction() as session:
        session.add_all(Account(index=ACCOUNTS + n, xpub=f"x{n}", fingerprint="f") for n in range(2))
        assert service.first_without_receipt_key(session) == ACCOUNTS
    for number in range(ACCOUNTS):
        paper.campaign(title=f"Drill {number}")
    with pytest.raises(UserError, match="account"):
        paper.campaign(title="One more")
    with paper.database.transaction() as session:
        service.store_accounts(session, [OfferedAccount(ACCOUNTS + n, f"x{n}", "f", f"key {n}") for n in range(2)])
        assert [session.get_one(Account, ACCOUNTS + n).receipt_key for n in range(2)] == ["key 0", "key 1"]
        assert service.first_without_receipt_key(session) is None


def test_terms_carry_the_receipt_key_of_their_account_and_a_block_for_the_time_locked_refunds(paper: Paper) -> None:
    campaign = paper.campaign(cap_sats=1_200_000)
    terms = paper.snapshot(campaign).terms
    assert terms is not None
    with paper.database.reading() as session:
        assert terms.receipt_key == session.get_one(Account, 0).receipt_key
    # Block 100 opens it, 60 blocks lead to the deadline, and a tenth of them more; then the margin of regtest.
    assert (terms.opened_height, terms.timelock_height) == (100, 100 + 66 + 144)
    assert (terms.version, terms.cap_sats, terms.timelock_feerate_sat_vb) == (3, 1_200_000, 10)


def test_a_campaign_that_has_all_that_it_accepts_takes_no_more_pledges(paper: Paper) -> None:
    campaign = paper.campaign(cap_sats=1_000_000)
    first, second = paper.pledge(campaign), paper.pledge(campaign)
    paper.mempool([coin(first, 1_000_000, "seen only")])
    third = paper.pledge(campaign)
    paper.mine([coin(first, 999_999)])
    paper.pledge(campaign)
    paper.mine([coin(second, 1_000, "b")])
    with pytest.raises(UserError, match="all that it accepts"):
        paper.pledge(campaign)
    assert paper.snapshot(campaign).campaign.next_index == 4, "a refusal uses no index up"
    paper.fork(1)
    assert paper.pledge(campaign).index > third.index, "a lost block gives room again"


def test_accounts_of_another_seed_are_refused(paper: Paper) -> None:
    with paper.database.transaction() as session:
        held = session.get_one(Account, 2)
        service.store_accounts(session, [OfferedAccount(2, held.xpub, held.fingerprint, "another key")])
        assert held.receipt_key != "another key", "what is known stays"
        with pytest.raises(UserError, match="another seed"):
            service.store_accounts(session, [OfferedAccount(2, "other", "f", "k")])
        assert service.account_stock(session) == (ACCOUNTS, ACCOUNTS)
    paper.campaign()
    with paper.database.reading() as session:
        assert service.account_stock(session) == (ACCOUNTS, ACCOUNTS - 1)
        assert session.scalar(select(Campaign.account_index)) == 0
