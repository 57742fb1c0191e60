"""How long the pages of a large site take: python -m bench.pages [--small]

Fills an SQLite database with 10,000 campaigns and 1,000,000 pledges, each paid by one coin: one campaign of 10,000
pledges, all others of about 100. Then asks the real application for pages, in this process, without a socket, and does
the same with a site of 100 campaigns. The campaigns are copies of one that was published; pledges, coins, balances and
figures are written in bulk while the triggers are away, as a restored backup is. The last line is one JSON object:

front_ms             the front page, milliseconds of the server, the median of several, warm, rendered anew each time
campaign_ms          the page of the campaign of 10,000 pledges
front_kept_ms        the front page as long as nothing has changed: it is kept as it was rendered
campaign_kept_ms     the page of the large campaign, likewise
pledge_ms            the page of a pledge to that campaign
queries_max          the most statements that any of these pages took
bytes_max            the most bytes of any of them, with its style sheet, scripts and the fonts that a browser asks for,
                     as the server sends them; pictures apart
bytes_letters_max    the same with the fonts for letters of other Latin alphabets
viewers_served       browsers that were told of a change by one server (bench.viewers), 0 where that is not there
viewer_lag_s         how late the last of them was told, seconds
discover_ms          the search page: the first page, words, filters, the last page; the slowest of them
campaign_100_ms      the page of a campaign of 100 pledges
pledge_100_ms        the page of a pledge to that one
…_growth             each of the times / that on the small site (1: does not grow with the site). There, the large
                     campaign has 1,000 pledges
refresh_ms           deriving the figures of the large campaign anew, as the worker does
fill_s               how long the database took to fill
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import logging
import random
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import event, insert, select, text, update

from bench.settle import scratch
from crowdfund import create_app
from crowdfund.backup.tables import without_triggers
from crowdfund.campaigns import figures
from crowdfund.campaigns.figure_models import CampaignFigures
from crowdfund.campaigns.ledger_models import Balance
from crowdfund.campaigns.models import Account, Campaign
from crowdfund.campaigns.recording import tell_pages
from crowdfund.campaigns.terms import CampaignTerms
from support.paper import Paper

SATS = 20_000
AVERAGE = 100
ROUNDS = 15
FONT_FACE = re.compile(r"@font-face \{[^}]*?(fonts/[^)\"']+\.woff2)([^}]*)\}")
RANGE = re.compile(r"U\+([0-9A-F]+)(?:-([0-9A-F]+))?")
WORDS = ("loom", "drill", "wells", "songs", "press", "kiln", "boat", "seeds", "atlas", "lamp")


@dataclass(frozen=True)
class Size:
    """How many campaigns, and how many pledges the large one has. `average`: the others'."""

    campaigns: int
    large: int
    average: int = AVERAGE


LARGE, LITTLE = Size(10_000, 10_000), Size(100, 1_000)
TINY, TINIER = Size(60, 300, 10), Size(15, 60, 10)


@dataclass(frozen=True)
class Filled:
    """A filled database: the large campaign, one of the others, and a pledge to each."""

    large: str
    other: str
    large_pledge: str
    other_pledge: str


def say(line: str) -> None:
    """Progress, apart from the results."""
    print(line, file=sys.stderr, flush=True)


def fill(paper: Paper, size: Size) -> Filled:
    """Campaigns, pledges, coins, balances and figures."""
    first = paper.campaign(title="A loom", story="By hand. " * 100, goal_sats=size.average * SATS * 2)
    paper.mine(blocks=40)
    counts = {first: size.large}
    with paper.database.engine.begin() as connection, without_triggers(connection):
        campaigns = [dict(row) for row in connection.execute(select(Campaign.__table__)).mappings()]
        account = dict(connection.execute(select(Account.__table__).limit(1)).mappings().one())
        copies = [_copy(campaigns[0], number) for number in range(1, size.campaigns)]
        counts |= {str(copy["id"]): size.average for copy in copies}
        accounts = [{**account, "index": c["account_index"], "xpub": f"x{c['account_index']}"} for c in copies]
        connection.execute(insert(Account), accounts)
        connection.execute(insert(Campaign), copies)
    with closing_raw(paper) as raw:
        for place, (campaign_id, count) in enumerate(counts.items()):
            _pay(raw, campaign_id, range(count), place)
        raw.commit()
    _write_figures(paper, counts)
    other = str(copies[len(copies) // 2]["id"])
    return Filled(first, other, pledge_id(first, size.large // 2), pledge_id(other, size.average // 2))


@contextmanager
def closing_raw(paper: Paper) -> Iterator[sqlite3.Connection]:
    """A connection that writes fast; the triggers are away meanwhile."""
    raw = sqlite3.connect(str(paper.database.engine.url.database))
    kept = raw.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for pragma in ("synchronous=OFF", "foreign_keys=OFF", "cache_size=-500000"):
        raw.execute(f"PRAGMA {pragma}")
    for name, _ in kept:
        raw.execute(f'DROP TRIGGER "{name}"')
    yield raw
    for _, statement in kept:
        raw.execute(statement)
    raw.commit()
    raw.close()


def pledge_id(campaign_id: str, index: int) -> str:
    """The secret of a pledge."""
    return sha256(f"{campaign_id} {index}".encode()).hexdigest()[:26]


def _copy(row: dict[str, Any], number: int) -> dict[str, Any]:
    """Another campaign of the same creator, published a minute later than the one before."""
    title = f"A {WORDS[number % len(WORDS)]} for everyone, number {number}"
    terms = replace(CampaignTerms.parse(row["terms"]), title=title)
    return {
        **row, "id": f"copy{number}", "title": title, "terms": terms.canonical(), "terms_hash": terms.hash.hex(),
        "account_index": 1_000 + number, "descriptor": f"{row['descriptor']} {number}",
        "published_at": row["published_at"] + timedelta(minutes=number),
    }  # fmt: skip


def _pay(raw: sqlite3.Connection, campaign_id: str, indices: range, place: int) -> None:
    """A pledge and a coin for each index; one coin in fifty waits for a block."""
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ")
    pledges, coins = [], []
    for index in indices:
        name = sha256(f"{campaign_id} {index}".encode())
        script = b"\0\x14" + name.digest()[:20]
        height = None if index % 50 == 7 else 101 + (index * 7 + place) % 35
        block_hash = None if height is None else f"{height:064x}"
        message = "Good luck with it, I look forward to the drawings." if index % 3 == 0 else ""
        pledges.append(
            (pledge_id(campaign_id, index), campaign_id, index, f"bcrt1q{name.hexdigest()[:38]}", script, SATS,
             f"bcrt1q{name.hexdigest()[20:58]}", script[::-1], f"Backer {index}", message, now, True, False)
        )  # fmt: skip
        coins.append(
            (pledge_id(campaign_id, index), name.hexdigest(), 0, SATS, False, now, height is None, height, block_hash)
        )
    columns = "id, campaign_id, 'index', address, script, amount_sats, refund_address, refund_script, name, message"
    columns = columns.replace("'", '"') + ", created_at, registered, receipt_due"
    raw.executemany(f"INSERT INTO pledges ({columns}) VALUES ({', '.join('?' * 13)})", pledges)
    columns = "pledge_id, txid, vout, value_sats, coinbase, first_seen_at, in_mempool, height, block_hash"
    raw.executemany(f"INSERT INTO coins ({columns}) VALUES ({', '.join('?' * 9)})", coins)


def _write_figures(paper: Paper, counts: dict[str, int]) -> None:
    """The balances that the coins would have come to; the figures as they are derived of a few, and copied."""
    chance = random.Random(1)
    sums = {c: SATS * sum(index % 50 != 7 for index in range(count)) for c, count in counts.items()}
    with paper.database.engine.begin() as connection, without_triggers(connection):
        connection.execute(text("DELETE FROM campaign_figures"))
        rows = [
            {"campaign_id": campaign_id, "account": account, "sats": sign * sats}
            for campaign_id, sats in sums.items()
            for account, sign in (("outside", -1), ("counted", 1))
        ]
        connection.execute(insert(Balance), rows)
        of_others = select(Campaign.__table__).where(Campaign.id.like("copy%"))
        others = [dict(row) for row in connection.execute(of_others).mappings()]
    with paper.database.transaction() as session:
        large = next(iter(counts))
        for campaign_id in (large, "copy1"):
            figures.refresh(session, campaign_id)
        table = CampaignFigures.__table__
        found = session.execute(select(table).where(table.c.campaign_id == "copy1")).mappings().one()
        copied = [
            {
                **found, "campaign_id": row["id"], "published_at": row["published_at"],
                "search": f"{figures.plain(row['title'])} {found['search']}",
                "license": chance.choice(("MIT", "ODbL-1.0")),
            }
            for row in others
            if row["id"] != "copy1"
        ]  # fmt: skip
        session.execute(insert(CampaignFigures), copied)
        session.execute(update(Campaign).where(Campaign.id == large).values(next_index=counts[large]))


class Visits:
    """Pages of one application, with their time, statements and bytes."""

    def __init__(self, paper: Paper) -> None:
        app = create_app(replace(paper.settings, test_bench=False))  # as on any chain but a private one
        gc.collect()
        gc.freeze()  # as the server does
        self._client: FlaskClient = app.test_client()
        self._database = paper.database
        self._statements = 0
        self.queries_max = 0
        self.bytes_max = 0
        self.bytes_letters_max = 0
        engine = app.extensions["crowdfund"].database.engine
        event.listen(engine, "before_cursor_execute", self._count)

    def _count(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self._statements += 0 if statement.startswith(("PRAGMA", "BEGIN")) else 1

    def time_ms(self, address: str, rounds: int = ROUNDS, kept: bool = False) -> float:
        """The median, after two that warm up. Unless `kept`, something has changed before each."""
        taken = []
        for number in range(rounds + 2):
            if not kept:
                with self._database.transaction() as session:
                    tell_pages(session)
            self._statements, began = 0, time.perf_counter()
            answer = self._client.get(address)
            body = answer.get_data()
            if number >= 2:
                taken.append((time.perf_counter() - began) * 1_000)
            if answer.status_code != 200:
                raise RuntimeError(f"{address} answers with {answer.status_code}")
        statements = self._statements
        self.queries_max = max(self.queries_max, statements)
        needed, all_parts = self._parts_of(body.decode())
        sent = self._bytes_of(address)
        self.bytes_max = max(self.bytes_max, sent + needed)
        self.bytes_letters_max = max(self.bytes_letters_max, sent + all_parts)
        say(f"  {address[:60]:60} {median(taken):8.1f} ms {statements:4} statements {sent:8,} bytes")
        return median(taken)

    def _parts_of(self, page: str) -> tuple[int, int]:
        """Bytes of style sheets and scripts of a page, and of its fonts: those that it has letters for, and all."""
        addresses = set(re.findall(r'(?:href|src)="(/static/[^"]+\.(?:css|js|woff2)[^"]*)"', page))
        needed, others = set(addresses), set[str]()
        for address in addresses:
            if ".css" in address:
                sheet = self._client.get(address).get_data(as_text=True)  # as it is, to read it
                for font, ranges in FONT_FACE.findall(sheet):
                    (needed if has_letters(page, ranges) else others).add(f"/static/{font}")
        sizes = [sum(map(self._bytes_of, some)) for some in (needed, others)]
        return sizes[0], sum(sizes)

    def _bytes_of(self, address: str) -> int:
        return len(self._client.get(address, headers={"Accept-Encoding": "gzip, deflate, br"}).get_data())


def has_letters(page: str, ranges: str) -> bool:
    """Has a page letters in these ranges of a style sheet (U+100-2BA, U+2020)? In no range named: always."""
    bounds = [(int(low, 16), int(high or low, 16)) for low, high in RANGE.findall(ranges)]
    return not bounds or any(low <= ord(letter) <= high for letter in set(page) for low, high in bounds)


def measure_site(paper: Paper, filled: Filled, size: Size) -> tuple[dict[str, float], Visits]:
    """The times of all pages, by key."""
    visits = Visits(paper)
    last = -(-size.campaigns // 12)
    searches = ("", "?q=loom+everyone", "?q=nothing+like+it", "?license=MIT&order=closest", "?show=open&order=ending",
                f"?page={last}", "?order=funded&hands=1")  # fmt: skip
    found = {
        "front_ms": visits.time_ms("/"),
        "discover_ms": max(visits.time_ms(f"/campaigns{search}") for search in searches),
        "campaign_100_ms": visits.time_ms(f"/campaigns/{filled.other}"),
        "pledge_100_ms": visits.time_ms(f"/p/{filled.other_pledge}"),
        "campaign_ms": visits.time_ms(f"/campaigns/{filled.large}"),
        "pledge_ms": visits.time_ms(f"/p/{filled.large_pledge}"),
        "front_kept_ms": visits.time_ms("/", kept=True),
        "campaign_kept_ms": visits.time_ms(f"/campaigns/{filled.large}", kept=True),
    }
    return found, visits


def refresh_ms(paper: Paper, campaign_id: str) -> float:
    """Deriving the figures of a campaign, once warm."""
    taken = []
    for _ in range(3):
        with paper.database.transaction() as session:
            began = time.perf_counter()
            figures.refresh(session, campaign_id)
            taken.append((time.perf_counter() - began) * 1_000)
    return median(taken)


def measure(large: Size, small: Size) -> dict[str, float]:
    """All results, by key."""
    results: dict[str, float] = {}
    sites = {}
    for name, size in (("small", small), ("large", large)):
        with scratch() as folder, Paper(folder / "site") as paper:
            say(f"{size.campaigns:,} campaigns")
            began = time.perf_counter()
            filled = fill(paper, size)
            results["fill_s"] = time.perf_counter() - began
            sites[name], visits = measure_site(paper, filled, size)
            results["refresh_ms"] = refresh_ms(paper, filled.large)
            for key in ("queries_max", "bytes_max", "bytes_letters_max"):
                results[key] = max(results.get(key, 0), getattr(visits, key))
    grown = {key.replace("_ms", "_growth"): value / sites["small"][key] for key, value in sites["large"].items()}
    served, lag_s = viewers()
    return {**sites["large"], **results, **grown, "viewers_served": served, "viewer_lag_s": lag_s}


def viewers() -> tuple[int, float]:
    """What `bench.viewers` measures, where it is there."""
    try:
        measured: Callable[[], tuple[int, float]] = importlib.import_module("bench.viewers").measure
    except ModuleNotFoundError:
        return 0, 0.0
    return measured()


def main() -> None:
    """Measure, print a table, and the JSON object as the last line."""
    parser = argparse.ArgumentParser(description="How long the pages of a large site take.")
    parser.add_argument("--small", action="store_true", help="a site of a few campaigns, to see that it works")
    chosen = parser.parse_args()
    logging.disable(logging.INFO)
    sizes = (TINY, TINIER) if chosen.small else (LARGE, LITTLE)
    results = {key: round(value, 2) for key, value in measure(*sizes).items()}
    results |= {key: int(results[key]) for key in ("queries_max", "bytes_max", "viewers_served")}
    print(f"The pages of a site of {sizes[0].campaigns:,} campaigns, {Path(sys.argv[0]).name}")
    for key, value in results.items():
        print(f"  {key:24}{value:>14,.2f}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
