"""The site in other languages: which one a page speaks, and that nothing on it is left in English."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from flask import Flask
from flask.testing import FlaskClient

from crowdfund.db import ROOT
from crowdfund.languages import LANGUAGES, NAMES
from crowdfund.sentences import Sentence, counted, joined
from crowdfund.web.i18n import OFFER_PSEUDO, PSEUDO, said
from crowdfund.web.pseudo import pseudo
from support.cast import Person, estates, persons
from support.catalogues import faults, sentences
from support.details import more_accounts, paper_site
from support.every_page import paths_of
from support.paper import Paper
from support.wording import leftovers, unmarked

# Pages of those who run a campaign, and of programmers: they speak English.
DESK = {
    "account", "account_app", "account_close", "account_codes", "account_confirm", "account_name", "account_passkey",
    "account_password", "answer", "api", "campaign_dashboard", "cancel", "dashboard", "deliverables", "draft",
    "help_offers", "hide", "import_draft", "import_found", "join", "login_recover", "login_second", "notices",
    "pictures", "preview", "project_edit", "project_people", "proof", "token_new", "tokens", "update_form", "webhook",
    "webhook_new", "wizard", "wizard_start", "_bench", "_checklist", "_import_box", "_project_fields",
    "_wizard_preview", "_wizard_rows", "_wizard_steps",
}  # fmt: skip
# What people wrote, names and licences: they are the same in every language.
WRITTEN = re.compile(
    r"(Seedbed|Campaign [AB], \w+|Project [AB]|Drawings\.?|Films|A workshop|Open to all\.|Steel & wheels(: \d+ sat)?"
    r"|A welder(: \d+ sat)?|A second season(: \d+ sat)?|A lathe|Welders|A seed plate|Printed, in your colour\."
    r"|Your name on the wall|Update \d|Zoe|\w+ of [AB]|https://\S+|CC-BY[-\w.]*|CERN-OHL-S-2\.0|MIT( License)?|people"
    r"|lathe|sat|BTC|API|SHA-256|HTML|Markdown|reStructuredText|AsciiDoc|ar-XB|funding\.json|regtest|data-label: sat"
    r"|description:|\w+ (aria-label|alt|title|data-label):|[·:.,+\d]|\s)+"
)


@dataclass(frozen=True)
class Town:
    """A site with everything in it, its pages, and the owner of a project."""

    app: Flask
    paths: dict[str, str]
    owner: Person
    open_id: str


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Without a node."""
    with Paper(tmp_path_factory.mktemp("paper")) as paper, paper_site(paper, mail_from="a@example.org") as app:
        more_accounts(paper)
        held = estates(paper)
        owner = next(each for each in persons(app, paper, held) if each.name == "owner of A")
        yield Town(app, paths_of(app, held["A"], owner), owner, held["A"].campaigns["open"])


@pytest.fixture
def client(town: Town) -> Iterator[FlaskClient]:
    """A browser without cookies."""
    with town.app.test_client() as fresh:
        yield fresh


def at_the_desk(town: Town, path: str) -> str:
    """A page as the owner sees it."""
    return town.app.test_client(use_cookies=False).get(path, headers=town.owner.headers()).get_data(as_text=True)


def language_of(page: str) -> str:
    """As the page says it."""
    found = re.search(r'<html lang="([^"]+)"', page)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_every_sentence_is_translated(language: str) -> None:
    """Run `make translations`, and translate what is empty (docs/translating.md)."""
    assert faults(language) == []


def test_there_are_sentences() -> None:
    assert len(list(sentences())) > 800
    assert sentences().get("Please write an amount.") is not None  # of the wallet, by UserError
    assert sentences().get("{count:,} block") is not None


@pytest.mark.parametrize("template", sorted(p.name for p in (ROOT / "templates").iterdir() if p.stem not in DESK))
def test_no_template_says_something_that_cannot_be_translated(template: str) -> None:
    assert unmarked((ROOT / "templates" / template).read_text()) == []


def test_unmarked_text_is_found() -> None:
    assert unmarked('<p>Hello</p><p>{{ _("Fine") }}</p>') == ["Hello"]
    assert unmarked('<p aria-label="A table">{% trans %}Fine{% endtrans %}</p>') == ["p aria-label: A table"]
    assert unmarked("<p>{{ 'Yes indeed' if x else _(\"No\") }}</p>") == ["Yes indeed"]
    assert leftovers('<p>⟦a <b>fine</b> thing⟧ <b>left</b></p><i title="lost">⟦x⟧</i>') == ["left", "i title: lost"]


def test_nothing_on_any_page_is_left_in_english(town: Town) -> None:
    town.app.config[OFFER_PSEUDO] = True
    found = set()
    with town.app.test_client(use_cookies=False) as client:
        for headers in ({}, town.owner.headers()):
            for name, path in town.paths.items():
                mark = "&" if "?" in path else "?"
                with client.get(f"{path}{mark}lang={PSEUDO}", headers=headers) as answer:
                    page = answer.get_data(as_text=True)
                if answer.mimetype != "text/html" or answer.status_code in (302, 303):
                    continue
                assert 'dir="rtl"' in page and f'lang="{PSEUDO}"' in page, name
                if 'lang="en" dir="ltr">' in page:  # at the desk, where the head is English, too
                    page = page[page.index('<div class="page">') :]
                found |= {(name, text) for text in leftovers(page) if not WRITTEN.fullmatch(text)}
    town.app.config[OFFER_PSEUDO] = False
    assert not found


def test_the_pseudo_language_is_offered_to_nobody(client: FlaskClient) -> None:
    page = client.get(f"/about?lang={PSEUDO}").get_data(as_text=True)
    assert language_of(page) == "en" and f'hreflang="{PSEUDO}"' not in page


def test_the_address_goes_before_the_cookie_and_the_cookie_before_the_browser(client: FlaskClient) -> None:
    browser = {"Accept-Language": "fr, de-AT;q=0.9, en;q=0.5"}
    assert language_of(client.get("/about").get_data(as_text=True)) == "en"
    assert language_of(client.get("/about", headers=browser).get_data(as_text=True)) == "de"
    answer = client.get("/about?lang=es", headers=browser)
    assert language_of(answer.get_data(as_text=True)) == "es"
    assert "SameSite=Lax" in answer.headers["Set-Cookie"] and "lang=es" in answer.headers["Set-Cookie"]
    assert language_of(client.get("/about", headers=browser).get_data(as_text=True)) == "es"
    assert language_of(client.get("/about?lang=de", headers=browser).get_data(as_text=True)) == "de"
    assert language_of(client.get("/about?lang=xx").get_data(as_text=True)) == "de"  # nobody speaks that


def test_caches_are_told_what_a_page_varies_by(client: FlaskClient) -> None:
    for path in ("/", "/about", "/nowhere"):
        assert {"Cookie", "Accept-Language"} <= set(client.get(path).vary), path


def test_the_reader_stays_on_the_page_and_keeps_the_query(client: FlaskClient) -> None:
    page = client.get("/campaigns?q=a+%26+b&show=open&lang=en").get_data(as_text=True)
    own = client.application.extensions["crowdfund"].settings.base_url  # whatever host the request named
    for code in LANGUAGES:
        link = f'<a href="/campaigns?q=a+%26+b&amp;show=open&amp;lang={code}" hreflang="{code}" lang="{code}"'
        assert link in page and f">{NAMES[code]}</a>" in page
        alternate = f'hreflang="{code}" href="{own}/campaigns?q=a+%26+b&amp;show=open&amp;lang={code}"'
        assert alternate in page


def test_pages_that_are_secret_have_no_alternates(town: Town, client: FlaskClient) -> None:
    page = client.get(town.paths["GET pledges.show"]).get_data(as_text=True)
    assert 'rel="alternate" hreflang' not in page and 'hreflang="de"' in page


def test_pages_in_different_languages_are_kept_apart(client: FlaskClient) -> None:
    german = client.get("/", headers={"Accept-Language": "de"}).get_data(as_text=True)
    english = client.get("/", headers={"Accept-Language": "en"}).get_data(as_text=True)
    assert "Finanziere, was allen gehört." in german and "Fund what belongs to everyone." in english


def test_what_is_wrong_with_a_form_is_said_in_the_language(town: Town, client: FlaskClient) -> None:
    path = f"/campaigns/{town.open_id}/pledge?lang=de"
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', client.get(path).get_data(as_text=True))
    assert token is not None
    sent = {"csrf_token": token[1], "amount": "1,5", "amount_unit": "BTC", "refund_address": "x", "name": "n" * 200}
    answer = client.post(path, data=sent)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert "„1,5“ ist kein Betrag: lass Leerzeichen, Kommas und andere Trennzeichen weg und nimm einen Punkt." in page
    assert "Das ist keine Bitcoin-Adresse, oder sie hat einen Tippfehler." in page
    assert "Der Name hat 200 Zeichen; höchstens" in page and "Bitte behebe zuerst dies" in page


def test_programs_are_answered_in_english(town: Town, client: FlaskClient) -> None:
    german = {"Accept-Language": "de"}
    assert client.get("/api/v1/campaigns/none?lang=de", headers=german).get_json()["detail"] == (
        "There is no such campaign."
    )
    sent = {"amount_sats": 1, "refund_address": "x"}
    told = client.post(f"/api/v1/campaigns/{town.open_id}/pledges?lang=de", json=sent, headers=german).get_json()
    assert "The smallest pledge is" in str(told)
    page = client.get("/nowhere?lang=de").get_data(as_text=True)
    assert "Unter dieser Adresse gibt es keine Seite." in page


def test_the_desk_speaks_english_and_says_so(town: Town, client: FlaskClient) -> None:
    page = at_the_desk(town, "/dashboard?lang=de")
    assert language_of(page) == "de" and '<main id="main" tabindex="-1" lang="en" dir="ltr">' in page
    assert "Deine Kampagnen" in page and "Your campaigns" in page  # the menu, and the page
    assert "Offen" not in page
    assert '<main id="main" tabindex="-1">' in client.get("/about?lang=de").get_data(as_text=True)


def test_sentences_are_english_until_they_are_said(town: Town) -> None:
    blocks = counted("{count:,} block", "{count:,} blocks", 12_345)
    text = "A reorganisation of {blocks} at height {height:,}; no pledge was concerned."
    told = Sentence(text, blocks=blocks, height=1)
    assert told == "A reorganisation of 12,345 blocks at height 1; no pledge was concerned."
    with town.app.test_request_context("/?lang=de"):
        assert said(told) == "Eine Reorganisation von 12.345 Blöcken auf Höhe 1; keine Zusage war betroffen."
        assert said(joined(Sentence("Please write something."), "As it is {x} %.")) == (
            "Bitte schreibe etwas. As it is {x} %."
        )
        assert said("") == "" and said("Nobody translated {this} 100 %.") == "Nobody translated {this} 100 %."


def test_the_pseudo_language_keeps_places_and_tags() -> None:
    assert re.sub("ש", "", pseudo('<b title="a name">Hello there</b> %(name)s, {count:,} &nbsp; 5%%')) == (
        '⟦<b title="a name">Hello there</b> %(name)s, {count:,} &nbsp; 5%%⟧'
    )
    assert len(pseudo("A sentence of some words")) > len("A sentence of some words") * 1.2
