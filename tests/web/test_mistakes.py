"""A mistake of ours: what a visitor is told of it, what the log holds, and that the two can be brought together."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest
from flask import Flask

from crowdfund.web import security
from support.details import paper_site
from support.paper import Paper
from support.site import Visitor, sentences

SECRET = "a secret of the inside"
ID = re.compile(r"\b[0-9a-f]{12}\b")


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    with Paper(tmp_path_factory.mktemp("paper")) as made:
        yield made


@pytest.fixture
def app(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    with paper_site(paper) as running:
        for endpoint in ("public.about", "api.campaigns", "pledges.show"):
            monkeypatch.setitem(running.view_functions, endpoint, boom)
        yield running


def boom(**_parts: str) -> str:
    raise ZeroDivisionError(SECRET)


def test_page_and_log_name_the_same_mistake(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    page = Visitor(app).get("/about")
    assert page.status_code == 500 and "Traceback" not in page.text and SECRET not in page.text
    (shown,) = ID.findall(sentences(page))
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert f"Mistake {shown} at GET /about" in record.getMessage()
    assert record.exc_info is not None and str(record.exc_info[1]) == SECRET
    assert "boom" in caplog.text, "the traceback is in the log"


def test_each_mistake_has_its_own_name_and_programs_are_told_it(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    problems = [Visitor(app).get("/api/v1/campaigns") for _ in range(2)]
    names = [problem.get_json(force=True)["mistake"] for problem in problems]
    assert len(set(names)) == 2 and all(ID.fullmatch(name) and name in caplog.text for name in names)
    assert problems[0].content_type == "application/problem+json" and SECRET not in problems[0].text


def test_the_log_has_no_secret_address(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    assert Visitor(app).get("/p/zzzzzzzzzzzzzzzzzzzzzzzzzz").status_code == 500
    assert "/p/<pledge_id>" in caplog.text and "zzzz" not in "".join(each.getMessage() for each in caplog.records)


def test_what_is_no_mistake_of_ours_has_no_name(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("/nowhere", "/logout"):
        assert "name the mistake" not in sentences(Visitor(app).get(path))
    assert "mistake" not in Visitor(app).get("/api/v1/nowhere").get_json(force=True)
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


def test_where_even_its_page_fails_there_is_an_answer(
    app: Flask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "render_template", boom_of_the_page)
    answer = Visitor(app).get("/about")
    assert (answer.status_code, answer.content_type) == (500, "text/plain; charset=utf-8")
    (shown,) = ID.findall(answer.text)
    assert (
        caplog.text.count(shown) == 2 and SECRET not in answer.text and "frame-ancestors 'none'" in str(answer.headers)
    )


def boom_of_the_page(*_given: object, **_more: object) -> str:
    raise KeyError(SECRET)
