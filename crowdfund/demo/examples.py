"""Example campaigns made real: their money on the chain, their words and pictures through the site's own forms.

Of open software one that was funded and paid out; of open hardware one that was refunded and one half full; of open
culture one that is nearly there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from crowdfund.campaigns.terms import format_time, parse_time
from crowdfund.chain.regtest import RegtestNode
from crowdfund.demo import drill, phrasebook, reader
from crowdfund.demo.client import ApiClient
from crowdfund.demo.example import Backing, Example, Offer, Project, Question
from crowdfund.demo.visitor import Visitor

CREATOR = "alice"
PASSWORD = "everything belongs to everyone"
FUNDED, MISSED = reader.FUNDED, drill.MISSED
RUNNING = ((phrasebook.OPEN, timedelta(days=12)), (drill.OPEN, timedelta(days=30)))
# The pledges to those that run come in as many parts, a day and a half of chain time apart.
PARTS, BETWEEN = 5, timedelta(hours=36)


def fill(client: ApiClient, node: RegtestNode) -> None:
    """Play both endings, then open the campaigns that visitors find. Takes some seconds.

    Words and pictures come in beside what happens on the chain, as they take as long.
    """
    alice = Visitor(client.base_url)
    alice.log_in(CREATOR, PASSWORD)
    hours = {draft(client, node, each, timedelta(hours=3)): each for each in (FUNDED, MISSED)}
    days = {draft(client, node, each, duration): each for each, duration in RUNNING}
    slugs = {example.project: slug_of(client, each) for each, example in (hours | days).items()}
    for project, slug in slugs.items():
        introduce(alice, slug, project)  # before anything is published, as campaigns freeze it
    with ThreadPoolExecutor(2) as pool:
        pictures = {each: pool.submit(show_pictures, alice, each, example) for each, example in (hours | days).items()}
        beside = [pool.submit(gather, alice, slug, project.team) for project, slug in slugs.items()]
        for campaigns, play in ((hours, play_endings), (days, let_days_pass)):
            for each in campaigns:
                pictures[each].result()
                client.post(f"/campaigns/{each}/publish")
            backers = play(client, node, campaigns)
            beside += [pool.submit(talk, alice, each, campaigns[each], backers[each]) for each in campaigns]
        for task in beside:
            task.result()


def publish(client: ApiClient, node: RegtestNode, example: Example, duration: timedelta) -> Any:
    """An open campaign whose deadline is `duration` from the chain's now, without its pictures."""
    return client.post(f"/campaigns/{draft(client, node, example, duration)}/publish")


def draft(client: ApiClient, node: RegtestNode, example: Example, duration: timedelta) -> str:
    """The campaign before it is published; returns its id."""
    deadline = datetime.fromtimestamp(node.status()["median_time_past"], UTC) + duration
    made = client.post(
        "/campaigns",
        {
            "title": example.title,
            "summary": example.summary,
            "story": example.story,
            "goal_sats": example.goal_sats,
            "deadline_at": format_time(deadline),
            "payout_address": new_address(node),
            "project_url": example.project.repository_url,
            "license": example.license,
            **example.details,
        },
    )
    return str(made["id"])


def slug_of(client: ApiClient, campaign_id: str) -> str:
    """The name in addresses of a campaign's project."""
    return str(client.get(f"/campaigns/{campaign_id}")["project"]["slug"])


def introduce(owner: Visitor, slug: str, project: Project) -> None:
    """What the project's page says of it."""
    names = ("name", "kind", "repository_url", "site_url", "license", "summary", "bom_url", "technology_readiness",
             "documentation_readiness")  # fmt: skip
    owner.send(f"/projects/{slug}/edit", {name: str(getattr(project, name)) for name in names})


def gather(owner: Visitor, slug: str, team: Sequence[tuple[str, str]]) -> None:
    """The others of a project: each gets a link from its owner and joins by it."""
    for name, role in team:
        invited = owner.send(f"/projects/{slug}/people", {"deed": "invite", "role": role})
        member = Visitor(owner.base_url)
        member.sign_up(name, PASSWORD)
        member.send(_found(r"/join/[\w-]+", invited), {})


def show_pictures(creator: Visitor, campaign_id: str, example: Example) -> None:
    """The pictures of a draft, each made anew by the site like everybody's."""
    for picture in example.pictures:
        creator.send_file(f"/drafts/{campaign_id}/pictures", {"alt": picture.alt}, "picture", picture.read())


def play_endings(client: ApiClient, node: RegtestNode, campaigns: Mapping[str, Example]) -> dict[str, list[str]]:
    """Pledges, the deadline, the payout and the refunds; returns the pledges' ids by campaign."""
    backers = {each: back(client, node, each, example.pledges) for each, example in campaigns.items()}
    confirm(client, node)
    deadlines = [parse_time(client.get(f"/campaigns/{each}")["deadline_at"]) for each in campaigns]
    node.jump_to(int(max(deadlines).timestamp()))
    for each in campaigns:
        wait_until_sent(client, node, each)
    confirm(client, node)
    return backers


def let_days_pass(client: ApiClient, node: RegtestNode, campaigns: Mapping[str, Example]) -> dict[str, list[str]]:
    """Some pledges each day and a half, and one that no block has yet; returns the pledges' ids by campaign."""
    backers: dict[str, list[str]] = {each: [] for each in campaigns}
    for part in range(PARTS):
        for each, example in campaigns.items():
            count = len(example.pledges)
            now = example.pledges[count * part // PARTS : count * (part + 1) // PARTS]
            backers[each] += back(client, node, each, now)
        node.jump_to(node.status()["median_time_past"] + int(BETWEEN.total_seconds()))
        until_read(client, node)
    seen = back(client, node, list(campaigns)[-1], (drill.SEEN_LATER,))[0]
    client.wait(f"/pledges/{seen}", lambda p: bool(p["seen_sats"]), "a payment to be seen")
    return backers


def back(client: ApiClient, node: RegtestNode, campaign_id: str, pledges: Sequence[Backing]) -> list[str]:
    """Pledges, paid from the node's own wallet; returns their ids."""
    made = []
    for each in pledges:
        body = {"amount_sats": each.sats, "refund_address": new_address(node), "name": each.name,
                "message": each.message, "reward": each.reward}  # fmt: skip
        pledge = client.post(f"/campaigns/{campaign_id}/pledges", body)
        node.pay(pledge["address"], each.to_pay_sats)
        made.append(str(pledge["id"]))
    return made


def talk(creator: Visitor, campaign_id: str, example: Example, backers: Sequence[str]) -> None:
    """All that people say about a campaign, in the order of a visit: news, questions, comments, help, deliveries."""
    path, visitor = f"/campaigns/{campaign_id}", Visitor(creator.base_url)
    for title, text in example.updates:
        creator.send(f"{path}/updates/new", {"title": title, "text": text})
    for question in example.questions:
        ask(visitor, creator, path, question)
    for pledge_id, backing in zip(backers, example.pledges, strict=True):
        if backing.comment:
            visitor.send(f"/p/{pledge_id}/comment", {"name": backing.name, "text": backing.comment})
    for offer in example.offers:
        offer_help(visitor, creator, path, offer)
    for number, url in example.delivered:
        creator.send(f"{path}/deliverables", {"number": str(number), "state": "there", "url": url})


def ask(visitor: Visitor, creator: Visitor, path: str, question: Question) -> None:
    """A question, and its answer if it has one."""
    visitor.send(f"{path}/talk", {"name": question.name, "text": question.text})
    if question.answer:
        waiting = _found(r"/talk/\d+/answer", creator.open(f"{path}/talk"))
        creator.send(path + waiting, {"text": question.answer})


def offer_help(visitor: Visitor, creator: Visitor, path: str, offer: Offer) -> None:
    """An offer of help, and the thanks for it if it is accepted."""
    words = {"name": offer.name, "contact": offer.contact, "message": offer.message}
    visitor.send(f"{path}/help", {"need": str(offer.need), "amount": str(offer.amount), **words})
    if offer.thanks:
        number = _found(r'name="offer" value="(\d+)"', creator.open(f"{path}/offers"))
        creator.send(f"{path}/offers", {"offer": number, "state": "accepted", "answer": offer.thanks})


def confirm(client: ApiClient, node: RegtestNode) -> None:
    """Mine a block and wait until the site has read it."""
    node.mine()
    until_read(client, node)


def until_read(client: ApiClient, node: RegtestNode) -> None:
    """Wait until the site has read every block."""
    height = node.status()["height"]
    client.wait("/campaigns", lambda c: c["campaigns"][0]["as_of"]["height"] >= height, "the new block to be read")


def new_address(node: RegtestNode) -> str:
    """A bech32 address of the node's own wallet, which plays everybody outside."""
    return str(node.bank("getnewaddress", "", "bech32"))


def wait_until_sent(client: ApiClient, node: RegtestNode, campaign_id: str) -> Any:
    """The campaign once every transaction of its settlement is in the node's mempool or in a block.

    The site notes that a transaction is sent before it sends it, so its word alone is too early to mine on.
    """

    def is_sent(campaign: Any) -> bool:
        settlement = campaign["settlement"]
        if settlement is None:
            return False
        batches = settlement["batches"] + [batch for other in settlement["late"] for batch in other["batches"]]
        waiting = node.rpc("getrawmempool")
        return all(b["txid"] in waiting or b["state"] in ("confirmed", "final") for b in batches)

    return client.wait(f"/campaigns/{campaign_id}", is_sent, "the settlement")


def _found(pattern: str, page: str) -> str:
    """The first place on a page that fits: its group, or all of it."""
    found = re.search(pattern, page)
    if found is None:
        raise ValueError(f"no {pattern} on the page")
    return found[found.lastindex or 0]
