"""`crowdfund audit` end to end: a process of its own, a file, a node, and what it prints and returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from pytest import MonkeyPatch

from audit.auditing import Bundle, audited, bundle_of, lie
from crowdfund.audit.bundle import bundle_json
from crowdfund.cli_audit import audit
from support.world import World


def _audit(*arguments: object, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CROWDFUND_")}
    return subprocess.run(
        [sys.executable, "-m", "crowdfund", "audit", *map(str, arguments)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**kept, **variables},
    )


def _settled(world: World) -> Bundle:
    campaign = world.campaign(goal_sats=100_000)
    world.paid(campaign, 120_000)
    world.close(campaign)
    world.node.mine()
    world.sync()
    return audited(world, campaign)[0]


def test_it_leaves_with_0_if_all_holds_and_1_if_not(world: World, tmp_path: Path) -> None:
    bundle = _settled(world)
    file = tmp_path / "bundle.json"
    file.write_text(bundle_json(bundle))
    at_node = ("--node", world.node.rpc_url, "--cookie-file", world.node.cookie_file)
    good = _audit(file, *at_node)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.splitlines()[0].startswith("ok   form")
    assert "Everything holds" in good.stdout
    assert "sum                         120,000 sat" in good.stdout
    told = bundle_json(lie(bundle, coins=[{**bundle["coins"][0], "value_sats": 120_001}]))
    bad = CliRunner().invoke(audit, ["-", *map(str, at_node)], input=told)
    assert bad.exit_code == 1
    assert any(line.startswith("BAD  coins ") for line in bad.stdout.splitlines())
    assert "Something differs" in bad.stdout


def test_json_for_programs_and_every_way_to_name_the_password(world: World, monkeypatch: MonkeyPatch) -> None:
    bundle = _settled(world)
    text = json.dumps(bundle, indent=2)
    url, cookie = world.node.rpc_url, world.node.cookie_file
    own_node = _audit("-", "--json", "--node", url, text=text, CROWDFUND_DATA_DIR=str(world.node.data_dir))
    assert own_node.returncode == 0, own_node.stderr
    with_password = url.replace("http://", f"http://{cookie.read_text().strip()}@")
    by_url = CliRunner().invoke(audit, ["-", "--json", "--node", with_password], input=text)
    monkeypatch.setenv("CROWDFUND_BITCOIND_COOKIE_FILE", str(cookie))
    by_variable = CliRunner().invoke(audit, ["-", "--json", "--node", url], input=text)
    for printed in (own_node.stdout, by_url.stdout, by_variable.stdout):
        answer: dict[str, Any] = json.loads(printed)
        assert answer["ok"] is True
        assert answer["buckets"] == bundle["buckets"]
        assert answer["outcome"] == "funded"
        assert {check["ok"] for check in answer["checks"]} == {True}


def test_it_leaves_with_2_and_a_sentence_if_it_could_not_be_checked(
    world: World, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    text = bundle_json(bundle_of(world, world.campaign()))
    url, cookie = world.node.rpc_url, world.node.cookie_file
    for name in ("DATA", "CACHE"):
        monkeypatch.setenv(f"CROWDFUND_{name}_DIR", str(tmp_path))
    offline = _audit("-", text=text)
    assert (offline.returncode, offline.stderr) == (2, "")
    assert "The chain was not consulted" in offline.stdout
    nowhere = CliRunner().invoke(audit, ["-", "--node", "http://a:b@127.0.0.1:1"], input=text)
    assert nowhere.exit_code == 2
    assert "does not answer" in nowhere.stdout
    for sentence, arguments, given in (
        ("cannot be read", [str(tmp_path / "none.json")], ""),
        ("cannot be read", [str(tmp_path)], ""),
        ("not UTF-8", ["-"], b"\xff"),
        ("not JSON", ["-"], "<html>"),
        ("one key twice", ["-"], '{"version":1,"version":1}'),
        ("not a whole number", ["-"], '{"version":1.0}'),
        ("not a whole number", ["-"], '{"version":NaN}'),
        ("not JSON", ["-"], "[" * 100_000),
        ("needs a password", ["-", "--node", url], text),
        ("must look like", ["-", "--node", "localhost:18443", "--cookie-file", str(cookie)], text),
        ("must look like", ["-", "--node", "http://localhost:x", "--cookie-file", str(cookie)], text),
        ("not JSON", ["-", "--json"], ""),
    ):
        run = CliRunner().invoke(audit, arguments, input=given)
        assert (run.exit_code, sentence in run.stderr, run.stderr[:7]) == (2, True, "Error: "), run.output
    assert json.loads(run.stdout)["ok"] is False


def test_a_bundle_of_another_form_differs() -> None:
    run = CliRunner().invoke(audit, ["-", "--json"], input='{"version":3}')
    assert run.exit_code == 1
    assert [check["check"] for check in json.loads(run.stdout)["checks"]] == ["form"]
