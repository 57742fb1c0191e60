"""When something is wrong: the operator's page says so, and the pages stay up and say how old their figures are."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from crowdfund.campaigns.models import ChainView
from crowdfund.campaigns.recording import set_view
from crowdfund.worker import run
from support.node import new_address, new_node
from support.site import Visitor, sentences, site_of
from support.world import World


def show(town: World, state: str = "live", trouble: str = "", age: timedelta = timedelta(0)) -> None:
    """Write how the chain stands, as the worker would have `age` ago."""
    with town.database.transaction() as db:
        set_view(db, state, trouble, 2, datetime.now(UTC) - age)


def test_all_is_well_while_the_chain_is_watched(town: World, bob: Visitor) -> None:
    show(town)
    answer = bob.get("/healthz")
    assert answer.status_code == 200 and answer.json is not None
    assert answer.json["status"] == "ok" and answer.json["trouble"] is None
    assert answer.json["height"] == town.node.status()["height"] and answer.json["network"] == "regtest"
    assert "may be old" not in sentences(bob.get("/"))


def test_a_silent_worker_is_told(town: World, bob: Visitor) -> None:
    show(town, age=timedelta(seconds=41))
    answer = bob.get("/healthz")
    assert answer.status_code == 503 and answer.json is not None
    assert answer.json["status"] == "degraded" and "watching stopped since" in answer.json["node"]
    page = sentences(bob.get("/"))
    assert "These numbers may be old: watching stopped since" in page and "As of block" in page


def test_trouble_is_told_to_the_operator(town: World, bob: Visitor) -> None:
    show(town, trouble="The signer does not answer.")
    answer = bob.get("/healthz")
    assert answer.status_code == 503 and answer.json is not None
    assert answer.json["trouble"] == "The signer does not answer."
    assert bob.get("/").status_code == 200


def test_before_the_first_block_everything_can_be_read(tmp_path: Path, world: World) -> None:
    with site_of(world, database_url=f"sqlite:///{tmp_path / 'empty.sqlite'}") as app:
        bob = Visitor(app)
        answer = bob.get("/healthz")
        assert answer.status_code == 503 and answer.json is not None and answer.json["height"] is None
        for path in ("/", "/about", "/signup", "/api", "/metrics", "/api/v1/campaigns"):
            assert bob.get(path).status_code == 200, path
        assert "No block has been read yet" in sentences(bob.get("/"))


def test_the_figures_for_machines(town: World, campaign: str, bob: Visitor) -> None:
    show(town)
    town.paid(campaign, 40_000)
    answer = bob.get("/metrics")
    assert answer.content_type.startswith("text/plain")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.get_data(as_text=True))
        for sample in family.samples
    }
    assert found[("crowdfund_bucket_sats", "counted")] == town.summary(campaign).counted_sats == 40_000
    assert found[("crowdfund_height",)] == town.node.status()["height"]
    assert found[("crowdfund_campaigns", "open")] == 1 and found[("crowdfund_up",)] == 1
    assert found[("crowdfund_viewers",)] == 0


def test_with_the_node_down_every_page_stays_up_and_says_as_of_when(tmp_path: Path) -> None:
    node = new_node(tmp_path)
    with World(node, tmp_path) as world:
        campaign = world.campaign()
        pledge = world.paid(campaign, 300_000)
        height, refund_address = node.status()["height"], new_address(node)
        node.stop()
        watching, stop = threading.Thread(target=lambda: run(world.new_worker(), stop)), threading.Event()
        watching.start()
        with site_of(world) as app:
            bob = Visitor(app)
            look(bob, world, campaign, pledge.id, height, refund_address)
        stop.set()
        watching.join(20)
        assert not watching.is_alive()


def look(bob: Visitor, world: World, campaign: str, pledge_id: str, height: int, refund_address: str) -> None:
    give_up = datetime.now(UTC) + timedelta(seconds=20)
    while "node unreachable since" not in sentences(bob.get("/")):
        assert datetime.now(UTC) < give_up, "the page does not say that the node is away"
    for path in ("/", f"/campaigns/{campaign}", f"/campaigns/{campaign}/audit", f"/p/{pledge_id}", "/about"):
        answer = bob.get(path)
        assert answer.status_code == 200
        assert f"As of block {height} ," in sentences(answer), path
        assert "These numbers may be old: node unreachable since" in sentences(answer)
    assert "300 000 sat" in sentences(bob.get(f"/campaigns/{campaign}"))
    assert bob.get("/healthz").status_code == 503
    form = {"amount": "50000", "amount_unit": "sat", "refund_address": refund_address}
    assert bob.send(f"/campaigns/{campaign}/pledge", form).status_code == 303  # an address needs no node
    bench = bob.post("/bench/mine")
    assert bench.status_code in (303, 503) and "Traceback" not in sentences(bench)
    with world.database.reading() as db:
        view = db.get(ChainView, 1)
        assert view is not None and "unreachable" in view.state
