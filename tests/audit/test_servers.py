"""The same audits through every kind of server: a node, an Electrum server, an Esplora server."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from pytest import MonkeyPatch, TempPathFactory, fixture, mark

from audit.auditing import Bundle, bundle_of, lie, of_another_network
from crowdfund.audit import chain_checks, chain_facts
from crowdfund.audit.bundle import bundle_json
from crowdfund.chain.electrum import ElectrumBackend
from crowdfund.chain.port import HistoryItem
from crowdfund.chain.regtest import RegtestNode
from crowdfund.cli_audit import audit
from crowdfund.wallet.headers import MEDIAN_SPAN
from support.electrumx import ElectrumX
from support.esplora import Answer, EsploraServer
from support.world import DAY, World

KINDS = ("node", "electrum", "electrum over TLS", "esplora")
STORIES = ("open", "released", "refunded")


@dataclass
class Scene:
    """One chain, a campaign in each state, and every kind of server over it."""

    esplora: EsploraServer
    electrum_url: str
    bundles: dict[str, Bundle]
    named: dict[str, tuple[str, ...]]

    def audit(self, kind: str, bundle: Bundle, *more: str) -> Result:
        """`crowdfund audit - --json` through a server of this kind."""
        return CliRunner().invoke(audit, ["-", "--json", *self.named[kind], *more], input=bundle_json(bundle))


@fixture(scope="module")
def scene(node: RegtestNode, tmp_path_factory: TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    with ExitStack() as stack:
        world = stack.enter_context(World(node, folder / "world"))
        still_open = world.campaign(goal_sats=5_000_000, deadline_at=world.chain_now() + 30 * DAY)
        released, refunded = world.campaign(goal_sats=200_000), world.campaign(goal_sats=5_000_000)
        for campaign in (still_open, released, refunded):
            for sats in (150_000, 90_000):
                node.pay(str(world.pledge(campaign, sats).address), sats)
        node.mine()
        world.sync()
        late = world.pledge(released, 40_000)
        world.close(released)
        node.pay(str(late.address), 40_000)
        for _ in range(2):
            node.mine()
            world.sync()
        world.paid(still_open, 30_000)
        names = dict(zip(STORIES, (still_open, released, refunded), strict=True))
        bundles = {story: bundle_of(world, campaign) for story, campaign in names.items()}
        assert [bundles[story]["outcome"] for story in STORIES] == [None, "funded", "failed"]
        assert bundles["released"]["buckets"]["refunded"] > 0
        electrumx = stack.enter_context(ElectrumX.start(node, folder / "electrumx", tls=True))
        esplora = stack.enter_context(EsploraServer(node))
        yield Scene(
            esplora,
            electrumx.url,
            bundles,
            {
                "node": ("--node", node.rpc_url, "--cookie-file", str(node.cookie_file)),
                "electrum": ("--electrum", f"127.0.0.1:{electrumx.tcp_port}"),
                "electrum over TLS": ("--electrum", electrumx.tls_url, "--ca-file", str(electrumx.ca_file)),
                "esplora": ("--esplora", esplora.url),
            },
        )


@fixture(autouse=True)
def few_blocks(monkeypatch: MonkeyPatch) -> None:
    """Less to read, in stretches that have to be put together."""
    monkeypatch.setattr(chain_facts, "REORGANISATION", 5)
    monkeypatch.setattr(chain_facts, "HEIGHTS_AT_ONCE", 7)


def _told(result: Result) -> dict[str, Any]:
    return dict(json.loads(result.stdout))


def _bad(result: Result) -> set[str]:
    return {check["check"] for check in _told(result)["checks"] if check["ok"] is False}


@mark.parametrize("kind", KINDS)
@mark.parametrize("story", STORIES)
def test_an_honest_bundle_holds(scene: Scene, kind: str, story: str) -> None:
    bundle = scene.bundles[story]
    result = scene.audit(kind, bundle)
    assert result.exit_code == 0, result.output
    told = _told(result)
    assert (told["ok"], told["outcome"], told["buckets"]) == (True, bundle["outcome"], bundle["buckets"])
    assert {check["ok"] for check in told["checks"]} == {True}
    assert "keep quiet" in told["asked"] and kind.split()[0] in told["asked"].lower()


@mark.parametrize("kind", KINDS)
def test_a_lie_is_found(scene: Scene, kind: str) -> None:
    bundle = scene.bundles["open"]
    first, *rest = bundle["coins"]
    richer = scene.audit(kind, lie(bundle, coins=[{**first, "value_sats": first["value_sats"] + 1}, *rest]))
    assert richer.exit_code == 1 and {"coins", "buckets", "unspent coins"} <= _bad(richer)
    fewer = scene.audit(kind, lie(bundle, coins=rest))
    assert fewer.exit_code == 1 and {"coins", "buckets", "unspent coins"} <= _bad(fewer)
    failed = scene.bundles["refunded"]
    turned = scene.audit(kind, {**copy.deepcopy(failed), "outcome": "funded"})
    assert turned.exit_code == 1 and {"sums", "outcome"} <= _bad(turned)
    closed_early = scene.audit(kind, lie(bundle, closing=failed["closing"]))
    assert closed_early.exit_code == 1 and {"closing block", "outcome"} <= _bad(closed_early)


def test_a_server_knows_the_opening_block_on_its_best_chain_only(scene: Scene, monkeypatch: MonkeyPatch) -> None:
    opened = json.loads(scene.bundles["open"]["terms"])
    height, block_hash = opened["opened_height"], opened["opened_hash"]
    with closing(ElectrumBackend(scene.electrum_url, "regtest")) as backend:
        found = chain_facts.known_block(backend, "regtest", height, block_hash)
        assert found is not None and (found.height, found.hash) == (height, block_hash)
        assert chain_facts.known_block(backend, "regtest", height + 1, block_hash) is None
        assert chain_facts.known_block(backend, "regtest", 100_000, block_hash) is None
    monkeypatch.setattr(chain_facts, "known_block", lambda *_: None)
    for kind in ("electrum", "esplora"):
        result = scene.audit(kind, scene.bundles["released"])
        assert result.exit_code == 0, result.output
        (opening,) = [check for check in _told(result)["checks"] if check["check"] == "opening"]
        assert opening["ok"] is None and "cannot tell of others" in opening["sentence"]


def test_a_deadline_before_the_first_block_that_was_read_is_sought_further_back(
    scene: Scene, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_checks, "first_height", lambda claims, *_: claims.as_of.height)
    result = scene.audit("electrum", scene.bundles["released"])
    assert result.exit_code == 0, result.output


def test_a_server_that_lies_proves_nothing(scene: Scene, monkeypatch: MonkeyPatch) -> None:
    bundle = scene.bundles["released"]
    opened = bundle["coins"][0]["block_hash"]

    def another_block(path: str, told: Answer) -> Answer:
        return (told[0], told[1], told[2][:-1] + b"\0\1") if path == f"/block/{opened}/raw" else told

    scene.esplora.hook = another_block
    try:
        result = scene.audit("esplora", bundle)
    finally:
        scene.esplora.hook = None
    assert result.exit_code == 2 and not _told(result)["ok"]
    honest = ElectrumBackend.histories

    def moved(backend: ElectrumBackend) -> dict[bytes, tuple[HistoryItem, ...]]:
        return {s: tuple(HistoryItem(i.txid, i.height + 1) for i in h) for s, h in honest(backend).items()}

    monkeypatch.setattr(ElectrumBackend, "histories", moved)
    result = scene.audit("electrum", bundle)
    assert result.exit_code == 2 and not _told(result)["ok"]


@mark.parametrize("heights_at_once", [7, 500])
def test_headers_must_lead_to_the_last_block(scene: Scene, heights_at_once: int, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(chain_facts, "HEIGHTS_AT_ONCE", heights_at_once)
    honest = ElectrumBackend.headers

    def invented(backend: ElectrumBackend, first_height: int, count: int) -> list[bytes]:
        *told, last = honest(backend, first_height, count)
        of_one_block = count <= MEDIAN_SPAN + 1
        return [*told, last if of_one_block else last[:-1] + bytes([last[-1] ^ 1])]

    monkeypatch.setattr(ElectrumBackend, "headers", invented)
    result = scene.audit("electrum", scene.bundles["released"])
    assert result.exit_code == 2 and "was reorganised" in result.stdout


def test_coins_that_a_server_keeps_quiet_about_are_missing(scene: Scene, monkeypatch: MonkeyPatch) -> None:
    honest = ElectrumBackend.histories
    monkeypatch.setattr(ElectrumBackend, "histories", lambda backend: dict.fromkeys(honest(backend), ()))
    result = scene.audit("electrum", scene.bundles["open"])
    assert result.exit_code == 1 and "coins" in _bad(result)
    assert "keep quiet about coins" in _told(result)["asked"]


def test_what_cannot_be_asked_leaves_with_2(scene: Scene, tmp_path: Path) -> None:
    text = bundle_json(scene.bundles["open"])
    tls = scene.named["electrum over TLS"][1]
    for sentence, arguments in (
        ("cannot be reached", ["--electrum", "127.0.0.1:1"]),
        ("cannot be reached", ["--esplora", "http://127.0.0.1:1"]),
        ("certificate", ["--electrum", tls]),
        ("must look like", ["--electrum", "127.0.0.1"]),
        ("must look like", ["--electrum", "http://127.0.0.1:50001"]),
        ("must look like", ["--electrum", "127.0.0.1:port"]),
        ("is not a server's URL", ["--esplora", "127.0.0.1:3000"]),
        ("CA file", ["--electrum", tls, "--ca-file", str(tmp_path / "none.pem")]),
        ("is for TLS", ["--electrum", "127.0.0.1:50001", "--ca-file", str(tmp_path / "none.pem")]),
        ("Name one server", ["--electrum", "127.0.0.1:50001", "--esplora", "http://127.0.0.1:3000"]),
    ):
        result = CliRunner().invoke(audit, ["-", *arguments], input=text)
        assert result.exit_code == 2, (arguments, result.output)
        assert sentence in result.output, (arguments, result.output)


@mark.parametrize("kind", ["electrum", "esplora"])
def test_a_server_of_another_network_or_behind_proves_nothing(scene: Scene, kind: str) -> None:
    bundle = scene.bundles["open"]
    result = scene.audit(kind, of_another_network(bundle))
    assert result.exit_code == 2 and "is not on signet: its first block is another" in result.stdout
    result = scene.audit(kind, {**bundle, "as_of": {**bundle["as_of"], "height": bundle["as_of"]["height"] + 1}})
    assert result.exit_code == 2 and "has only come to block" in result.stdout


@mark.parametrize("kind", KINDS)
def test_a_bundle_of_another_form_or_network_is_nobodys_fault_but_its_own(scene: Scene, kind: str) -> None:
    for told in ({}, {**scene.bundles["open"], "network": "elsewhere"}, {**scene.bundles["open"], "network": []}):
        result = scene.audit(kind, told)
        assert result.exit_code == 1 and _bad(result) == {"form"}


def test_the_report_for_people_says_who_was_asked(scene: Scene) -> None:
    text = bundle_json(scene.bundles["open"])
    result = CliRunner().invoke(audit, ["-", *scene.named["electrum"]], input=text)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-2].startswith("The Electrum server at 127.0.0.1:")
