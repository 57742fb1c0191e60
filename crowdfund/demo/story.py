"""`crowdfund demo --story`: both endings, played through the web API on the real node, and every satoshi accounted for.

The site says what it did; the node says what happened. `differences` compares the two to the satoshi, and the
story ends well only if it finds none.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from crowdfund.campaigns.terms import parse_time
from crowdfund.chain.regtest import RegtestNode
from crowdfund.demo.client import ApiClient
from crowdfund.demo.example import Example
from crowdfund.demo.examples import FUNDED, MISSED, confirm, new_address, publish, wait_until_sent
from crowdfund.demo.house import House, open_house
from crowdfund.wallet.amounts import btc_to_sats


@dataclass
class Part:
    """A backer's part in the story: the pledge, and what the node's wallet paid to it."""

    name: str
    pledge_id: str
    address: str
    refund_address: str
    txids: list[str] = field(default_factory=list)
    paid_sats: int = 0


@dataclass
class Act:
    """A campaign of the story with its backers."""

    example: Example
    campaign_id: str
    payout_address: str
    deadline_at: str
    parts: list[Part] = field(default_factory=list)


@dataclass(frozen=True)
class Ending:
    """One campaign at the end: the site's figures beside the node's. Amounts in satoshi."""

    title: str
    outcome: str
    counted_sats: int
    received_sats: int
    pledges_received_sats: int
    buckets: dict[str, int]
    node_paid_sats: int
    node_late_sats: int
    node_payout_sats: int
    node_refunds_sats: int
    node_fees_sats: int


def differences(ending: Ending) -> list[str]:
    """Every sum that is not right, one sentence each; empty if every satoshi is accounted for. Pure."""
    b = ending.buckets
    moved_sats = b["paid_out"] + b["refunded"] + b["miner_fee"]
    checks = (
        ("the buckets sum to what was received", sum(b.values()), ending.received_sats),
        ("what was received is what the node paid", ending.received_sats, ending.node_paid_sats),
        ("the pledges sum to what was received", ending.pledges_received_sats, ending.received_sats),
        (
            "counted is all but late and dust",
            ending.counted_sats,
            ending.node_paid_sats - ending.node_late_sats - b["dust"],
        ),
        ("paid out is what reached the payout address", b["paid_out"], ending.node_payout_sats),
        ("refunded is what reached the refund addresses", b["refunded"], ending.node_refunds_sats),
        ("miner fees are what the transactions left", b["miner_fee"], ending.node_fees_sats),
        ("all that came has gone out, but for dust", moved_sats + b["dust"], ending.node_paid_sats),
    )
    return [f"{ending.title}: {what}, but {one} is not {other}" for what, one, other in checks if one != other]


def run_story(data_dir: Path | None, port: int | None) -> int:
    """Play in `data_dir` (default: a folder that is thrown away). Returns 0 only if every sum is right."""
    with ExitStack() as stack:
        folder = data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crowdfund-")))
        return play(stack.enter_context(open_house(folder, port, click.echo)))


def play(house: House) -> int:
    """The story in a running house; prints each step and the table. Returns the exit code."""
    client, node = house.client, house.node
    acts = [_open(client, node, example) for example in (FUNDED, MISSED)]
    for act in acts:
        _back(client, node, act)
    _odd_payments(client, node, acts[1])
    _mine(client, node, "The payments are in a block and count.")
    for act in acts:
        _show(client, act)
    _jump(client, node, acts)
    late_sats = _pay_late(client, node, acts[0])
    _mine(client, node, "The settlements are in a block. So is the payment that came too late.")
    client.wait(f"/campaigns/{acts[0].campaign_id}", lambda c: c["buckets"]["in_settlement"] == late_sats, "a refund")
    wait_until_sent(client, node, acts[0].campaign_id)
    _mine(client, node, "The late payment has been sent back.")
    endings = [_ending(client, node, act, late) for act, late in zip(acts, (late_sats, 0), strict=True)]
    for ending in endings:
        _print_table(ending)
    wrong = [sentence for ending in endings for sentence in differences(ending)]
    wrong += [sentence for act in acts for sentence in _audit(client, house, act)]
    for sentence in wrong:
        click.echo(f"WRONG  {sentence}")
    click.echo("\nNot every satoshi is accounted for." if wrong else "\nEvery satoshi is accounted for.")
    return 1 if wrong else 0


def _open(client: ApiClient, node: RegtestNode, example: Example) -> Act:
    campaign = publish(client, node, example, timedelta(hours=3))
    click.echo(
        f"\nAlice publishes “{example.title}”: {example.goal_sats} sat by {campaign['deadline_at']}, or nothing."
    )
    click.echo(f"  terms {campaign['terms_hash']}")
    return Act(example, campaign["id"], campaign["payout_address"], campaign["deadline_at"])


def _back(client: ApiClient, node: RegtestNode, act: Act) -> None:
    for pledge in act.example.pledges:
        part = _pledge(client, node, act, pledge.name, pledge.message, pledge.sats)
        _pay(client, node, part, pledge.to_pay_sats)


def _pledge(client: ApiClient, node: RegtestNode, act: Act, name: str, message: str, amount_sats: int) -> Part:
    body = {"amount_sats": amount_sats, "refund_address": new_address(node), "name": name, "message": message}
    pledge = client.post(f"/campaigns/{act.campaign_id}/pledges", body)
    part = Part(name or "somebody", pledge["id"], pledge["address"], pledge["refund_address"])
    act.parts.append(part)
    return part


def _pay(client: ApiClient, node: RegtestNode, part: Part, sats: int) -> None:
    txid = node.pay(part.address, sats)
    part.txids.append(txid)
    part.paid_sats += sats
    client.wait(f"/pledges/{part.pledge_id}", lambda p: txid in {c["txid"] for c in p["coins"]}, "a payment")
    click.echo(f"  {part.name} pays {sats} sat in {txid}")


def _odd_payments(client: ApiClient, node: RegtestNode, act: Act) -> None:
    click.echo("\nPeople pay oddly, too:")
    twice = _pledge(client, node, act, "Dora, in two parts", "", 100_000)
    _pay(client, node, twice, 60_000)
    _pay(client, node, twice, 40_000)
    _pay(client, node, _pledge(client, node, act, "Emil, too little", "", 80_000), 30_000)
    _pay(client, node, _pledge(client, node, act, "Fay, far too little", "", 50_000), 700)


def _show(client: ApiClient, act: Act) -> None:
    campaign = client.get(f"/campaigns/{act.campaign_id}")
    click.echo(f"  “{act.example.title}” holds {campaign['counted_sats']} of {campaign['goal_sats']} sat.")


def _jump(client: ApiClient, node: RegtestNode, acts: Sequence[Act]) -> None:
    node.jump_to(max(int(parse_time(act.deadline_at).timestamp()) for act in acts))
    click.echo("\nThe deadline is past: the median time of the last eleven blocks says so.")
    for act in acts:
        campaign = wait_until_sent(client, node, act.campaign_id)
        settlement = campaign["settlement"]
        click.echo(f"  “{act.example.title}” is {campaign['outcome']} as of block {campaign['closing_height']}.")
        for batch in settlement["batches"]:
            click.echo(f"  The {settlement['kind']} is sent in {batch['txid']}, fee {batch['fee_sats']} sat.")


def _pay_late(client: ApiClient, node: RegtestNode, act: Act) -> int:
    click.echo("\nOne payment comes too late:")
    part, sats = act.parts[0], 55_000
    _pay(client, node, part, sats)
    return sats


def _mine(client: ApiClient, node: RegtestNode, sentence: str) -> None:
    confirm(client, node)
    click.echo(f"\n{sentence} (block {node.status()['height']})")


def _ending(client: ApiClient, node: RegtestNode, act: Act, late_sats: int) -> Ending:
    """The site's word and the node's, gathered apart."""
    path = f"/campaigns/{act.campaign_id}"
    campaign = client.wait(path, lambda c: not c["buckets"]["in_settlement"], "the end of the settlement")
    paid = sum(_output_to(node, txid, part.address) for part in act.parts for txid in part.txids)
    return Ending(
        title=act.example.title,
        outcome=campaign["outcome"],
        counted_sats=campaign["counted_sats"],
        received_sats=campaign["received_sats"],
        pledges_received_sats=sum(client.get(f"/pledges/{p.pledge_id}")["received_sats"] for p in act.parts),
        buckets=campaign["buckets"],
        node_paid_sats=paid,
        node_late_sats=late_sats,
        node_payout_sats=_received_by(node, act.payout_address),
        node_refunds_sats=sum(_received_by(node, part.refund_address) for part in act.parts),
        node_fees_sats=sum(_fee(node, txid) for txid in _settlement_txids(campaign)),
    )


def _settlement_txids(campaign: Any) -> list[str]:
    settlement = campaign["settlement"]
    late = [batch for other in settlement["late"] for batch in other["batches"]]
    return [batch["txid"] for batch in settlement["batches"] + late]


def _output_to(node: RegtestNode, txid: str, address: str) -> int:
    outputs = node.rpc("getrawtransaction", txid, True)["vout"]
    return sum(btc_to_sats(o["value"]) for o in outputs if o["scriptPubKey"].get("address") == address)


def _received_by(node: RegtestNode, address: str) -> int:
    return btc_to_sats(Decimal(node.bank("getreceivedbyaddress", address, 1)))


def _fee(node: RegtestNode, txid: str) -> int:
    """Inputs less outputs, each input read from the transaction that made it."""
    tx = node.rpc("getrawtransaction", txid, True)
    spent = [node.rpc("getrawtransaction", i["txid"], True)["vout"][i["vout"]]["value"] for i in tx["vin"]]
    return sum(map(btc_to_sats, spent)) - sum(btc_to_sats(o["value"]) for o in tx["vout"])


def _print_table(ending: Ending) -> None:
    click.echo(f"\n{ending.title}: {ending.outcome}")
    for name, sats in ending.buckets.items():
        if sats:
            click.echo(f"  {name.replace('_', ' '):<14} {sats:>12,}".replace(",", " "))
    click.echo(f"  {'sum':<14} {sum(ending.buckets.values()):>12,}".replace(",", " "))
    click.echo(f"  {'on the chain':<14} {ending.node_paid_sats:>12,}".replace(",", " "))


def _audit(client: ApiClient, house: House, act: Act) -> list[str]:
    """The campaign's bundle, judged by the auditor's own command in a process of its own."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(client.get(f"/campaigns/{act.campaign_id}/audit"), file)
        file.flush()
        command = [sys.executable, "-m", "crowdfund", "audit", file.name, "--node", house.node.rpc_url]
        command += ["--cookie-file", str(house.node.cookie_file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    click.echo(f"\ncrowdfund audit says of “{act.example.title}”: {'all holds' if done.returncode == 0 else 'NO'}")
    return [] if done.returncode == 0 else [f"{act.example.title}: the audit fails:\n{done.stdout}{done.stderr}"]
