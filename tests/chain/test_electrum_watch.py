"""Watching scripts over the Electrum protocol: statuses and histories that fit, that do not, and that come late."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest

from crowdfund.chain.electrum_watch import scripthash_of, status_of
from crowdfund.chain.port import HistoryItem, WrongAnswer
from support.electrum_liar import GENESIS, always, answer, liar

SOME = b"\x00\x14" + b"\x07" * 20


@pytest.mark.parametrize(
    "told",
    [
        None,
        5,
        {},
        "text",
        [5],
        [[]],
        [{"tx_hash": "00" * 32}],
        [{"tx_hash": "00" * 32, "height": 1.0}],
        [{"tx_hash": "00" * 32, "height": 1e400}],
        [{"tx_hash": "00" * 32, "height": True}],
        [{"tx_hash": "00" * 32, "height": "1"}],
        [{"tx_hash": "00" * 32, "height": -2}],
        [{"tx_hash": "00" * 32, "height": 1 << 31}],
        [{"tx_hash": "00", "height": 1}],
        [{"tx_hash": "AA" * 32, "height": 1}],
        [{"tx_hash": 5, "height": 1}],
    ],
)
def test_a_history_of_another_shape(told: object) -> None:
    with liar(
        blockchain__scripthash__subscribe=always("ab" * 32), blockchain__scripthash__get_history=always(told)
    ) as backend:
        backend.watch([SOME])
        with pytest.raises(WrongAnswer):
            backend.histories()


@pytest.mark.parametrize("status", [5, "", "ab", "zz" * 32, [], {}, False])
def test_a_status_of_another_shape(status: object) -> None:
    with liar(blockchain__scripthash__subscribe=always(status)) as backend, pytest.raises(WrongAnswer):
        backend.watch([SOME])


def test_a_history_that_does_not_fit_its_status_is_asked_for_again() -> None:
    asked: list[int] = []
    items = [{"tx_hash": "11" * 32, "height": 5}, {"tx_hash": "22" * 32, "height": -1}]
    right = status_of([HistoryItem("11" * 32, 5), HistoryItem("22" * 32, -1)])
    assert right == sha256(f"{'11' * 32}:5:{'22' * 32}:-1:".encode()).hexdigest()

    def history(number: int, _: list[Any]) -> bytes:
        asked.append(number)
        return answer(number, items if len(asked) >= enough else items[:1])

    for enough, calls in ((1, 1), (3, 3), (99, 6)):
        asked.clear()
        with liar(
            blockchain__scripthash__subscribe=always(right), blockchain__scripthash__get_history=history
        ) as backend:
            backend.watch([SOME])
            held = backend.histories()[SOME]
            assert (len(held), len(asked)) == (1 if enough == 99 else 2, calls)
            backend.histories()
            assert len(asked) == (12 if enough == 99 else calls), "what never fitted is asked for at each call"


def test_a_notice_older_than_the_answers_does_no_harm() -> None:
    """The old status comes after the new history: asking for the status again settles it."""
    item = {"tx_hash": "11" * 32, "height": 5}
    right = status_of([HistoryItem("11" * 32, 5)])

    def history(number: int, _: list[Any]) -> bytes:
        told = {"method": "blockchain.scripthash.subscribe", "params": [scripthash_of(SOME), "ab" * 32]}
        return answer(number, [item]) + (json.dumps(told).encode() + b"\n" if number < 6 else b"")

    with liar(blockchain__scripthash__subscribe=always(right), blockchain__scripthash__get_history=history) as backend:
        backend.watch([SOME])
        assert backend.histories() == {SOME: (HistoryItem("11" * 32, 5),)}


def test_a_transaction_told_of_twice_counts_once_and_confirmed() -> None:
    items = [
        {"tx_hash": "11" * 32, "height": 0},
        {"tx_hash": "11" * 32, "height": 5},
        {"tx_hash": "11" * 32, "height": 0},
    ]
    with liar(
        blockchain__scripthash__subscribe=always("ab" * 32), blockchain__scripthash__get_history=always(items)
    ) as backend:
        backend.watch([SOME])
        assert backend.histories() == {SOME: (HistoryItem("11" * 32, 5),)}


def test_after_trouble_every_script_is_subscribed_anew() -> None:
    subscribed: list[str] = []
    broken = [True]

    def subscribe(number: int, params: list[Any]) -> bytes:
        subscribed.append(params[0])
        return answer(number, None)

    def tip(number: int, _: list[Any]) -> bytes:
        return b"garbage\n" if broken else answer(number, {"height": 0, "hex": GENESIS})

    scripts = [SOME, SOME + b"\x01", SOME + b"\x02"]
    with liar(blockchain__scripthash__subscribe=subscribe, blockchain__headers__subscribe=tip) as backend:
        backend.watch(scripts[:2])
        backend.watch(scripts)
        assert subscribed == [scripthash_of(s) for s in scripts]
        with pytest.raises(WrongAnswer):
            backend.status()
        broken.clear()
        backend.status()
        assert len(subscribed) == 3, "other questions do not wait for it"
        assert backend.histories() == dict.fromkeys(scripts, ())
        assert subscribed[3:] == subscribed[:3]
