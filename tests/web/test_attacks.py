"""500 texts that would like to run, hide or mislead: as story, title and summary they come out as words.

What comes out is read by a parser, and every element, attribute and address must be on a short list. What a real
browser makes of them: tests/browser/test_attacks.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from flask import Flask, render_template

from crowdfund import create_app
from crowdfund.campaigns.drafts import check_draft, clean_line
from crowdfund.campaigns.models import Campaign
from crowdfund.campaigns.posts import Talk
from crowdfund.errors import Problems, UserError
from crowdfund.web.markdown import TAGS, URL_LIMIT, story_html
from crowdfund.web.more import MoreView, more_view
from crowdfund.web.site import Site
from crowdfund.web.views import CampaignView, campaign_view
from support.attacks import RUN, endless, stories
from support.paper import START, Paper

STORIES = stories()
ATTRIBUTES = {("a", "href"), ("a", "rel"), ("ol", "start")}
UNWANTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
CPU_S = 6


class Reader(HTMLParser):
    """All elements with their attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.other: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.other.append(data)

    def handle_decl(self, decl: str) -> None:
        self.other.append(decl)

    def handle_pi(self, data: str) -> None:
        self.other.append(data)

    def unknown_decl(self, data: str) -> None:
        self.other.append(data)


def faults(html: str) -> list[str]:
    """What is not on the list."""
    read, found = Reader(html), []
    for tag, attributes in read.elements:
        found += [f"<{tag}>"] if tag not in TAGS else []
        found += [f"<{tag} {name}>" for name in attributes if (tag, name) not in ATTRIBUTES]
        href = attributes.get("href")
        if href is not None:
            parts = urlsplit(href)
            good = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and "\\" not in href
            found += [] if good and len(href) <= URL_LIMIT and href.isascii() else [href]
            found += [] if attributes.get("rel") == "nofollow noopener ugc" else ["rel"]
    return found + read.other + UNWANTED.findall(html + read.text)


def test_there_are_enough_of_them() -> None:
    assert len(STORIES) >= 500 and len(set(STORIES.values())) >= 500


def test_the_reader_sees_what_is_wrong() -> None:
    for wrong in (
        "<script>", "<a href='javascript:1' rel='nofollow noopener ugc'>", "<p onclick=x>", "<p id=x>", "<!-- x -->",
        "<img src=x>",
        "<a href='/x' rel='nofollow noopener ugc'>", "<h2>", "a\u202eb", "&#x202e;", "<a href='https://a.example'>",
    ):  # fmt: skip
        assert faults(wrong), wrong
    assert not faults('<p><a href="https://a.example/" rel="nofollow noopener ugc">x</a></p><ol start="3"></ol>')


@pytest.mark.parametrize("name", STORIES)
def test_a_story_comes_out_as_words(name: str) -> None:
    assert not faults(story_html(STORIES[name])), STORIES[name]


def test_what_is_harmless_stays() -> None:
    html = story_html(
        "# A\n\n## B\n\n##### C\n\n**b** *i* ~~s~~ `c` [l](https://a.example/x?y=1#z)\n\n"
        "- 1\n\n3. x\n\n|a|\n|-|\n|b|\n\n> q"
    )
    assert {tag for tag, _ in Reader(html).elements} == {
        "h3", "h4", "p", "strong", "em", "s", "code", "a", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th",
        "td", "blockquote",
    }  # fmt: skip
    assert 'href="https://a.example/x?y=1#z"' in html and '<ol start="3">' in html
    assert "49" not in story_html("{{7*7}}") and "{{7*7}}" in story_html("{{7*7}}")


@pytest.mark.parametrize(
    ("story", "shown"),
    [
        ("[https://bank.example](https://evil.example)", "https://bank.example (evil.example)"),
        ("[bank.\u200bexample](https://evil.example)", "bank.\u200bexample (evil.example)"),
        ("[**https**://bank.example](https://evil.example)", "https://bank.example (evil.example)"),
        ("[`https:\\\\bank.example`](https://evil.example)", "https:\\\\bank.example (evil.example)"),
        ("[b\u0430nk.example](https://xn--bnk-5cd.example)", "b\u0430nk.example (xn--bnk-5cd.example)"),
        ("<https://b\u0430nk.example>", "https://b\u0430nk.example (xn--bnk-6cd.example)"),
        ("[www.good.example/x](https://good.example/y)", "www.good.example/x"),
        ("[Good words](https://good.example) [2.0](https://good.example)", "Good words 2.0"),
        ("<https://good.example/x>", "https://good.example/x"),
    ],
)
def test_where_a_link_leads_is_what_it_says(story: str, shown: str) -> None:
    assert Reader(story_html(story)).text.strip() == shown


@pytest.mark.parametrize("name", endless())
def test_no_story_takes_long_or_comes_out_huge(name: str) -> None:
    text = endless()[name]
    before = time.process_time()
    html = story_html(text)
    assert time.process_time() - before < CPU_S and len(html) < 2_000_000
    assert not faults(html)


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    with Paper(tmp_path_factory.mktemp("paper")) as made:
        yield made


@pytest.fixture(scope="module")
def app(paper: Paper) -> Iterator[Flask]:
    made = create_app(paper.settings)
    yield made
    found: Site = made.extensions["crowdfund"]
    found.database.close()


@pytest.fixture(scope="module")
def page(app: Flask, paper: Paper) -> CampaignView:
    """A campaign's page before somebody wrote an attack into it."""
    campaign = paper.campaign()
    with app.test_request_context("/"), paper.database.reading():
        return campaign_view(paper.snapshot(campaign), "regtest", None)


@pytest.fixture(scope="module")
def more(app: Flask, paper: Paper) -> MoreView:
    """What else stands on such a page."""
    campaign = paper.campaign()
    with app.test_request_context("/"), paper.database.reading() as session:
        return more_view(session, session.get_one(Campaign, campaign))


def lines() -> dict[str, str]:
    """The attacks as titles: what the check of a draft leaves of them."""
    found = {}
    for name, text in STORIES.items():
        try:
            found[name] = clean_line("title", text[:80], 80)
        except UserError:
            continue
    return found


def test_titles_and_summaries_change_no_page(app: Flask, page: CampaignView, more: MoreView) -> None:
    """With any attack in them, a page has the elements that it has with harmless words, and the text is all there."""

    def shape(html: str) -> list[tuple[str, tuple[str, ...]]]:
        return [(tag, tuple(attributes)) for tag, attributes in Reader(html).elements]

    with app.test_request_context("/"):
        for name in ("front.html", "campaign.html", "preview.html", "dashboard.html"):

            def rendered(title: str, template: str = name) -> str:
                shown = replace(page, title=title, summary=title, creator_name=title)
                return render_template(
                    template, campaign=shown, campaigns=[shown], terms_preview=[("Title", title)], incidents=[],
                    more=more, talk=Talk([], [], []), may_publish=True,
                )  # fmt: skip

            plain = shape(rendered("Harmless"))
            chosen = lines()
            for attack, title in chosen.items() if name == "campaign.html" else list(chosen.items())[::5]:
                html = rendered(title)
                assert shape(html) == plain, f"{attack}: {title!r}"
                assert title in Reader(html).text or template_title(title) in Reader(html).text, f"{attack}: {title!r}"


def template_title(title: str) -> str:
    """A parser takes the NUL and the line ends that a title cannot have anyway."""
    return title.replace("\r", "\n")


def test_a_title_that_nobody_can_see_is_none(paper: Paper) -> None:
    for title in ("\u200b", "\u200b \u2060", "\u3164", "\u2800", "\u00ad", "\u202e\u200f", "\u0301"):
        with pytest.raises(Problems) as refused:
            check_draft(paper.draft(title=title), "regtest", START)
        assert refused.value.by_field.keys() == {"title"}, repr(title)
    for title in ("é", "字", "🌱", "?", "A\u200dB"):
        assert check_draft(paper.draft(title=title), "regtest", START).title == title


def test_nothing_of_a_template_is_carried_out(app: Flask, page: CampaignView, more: MoreView) -> None:
    with app.test_request_context("/"):
        shown = replace(
            page, title="{{7*7}}", summary="{{ site.settings.secret_key }}", story_html=story_html("{{7*7}}")
        )
        html = render_template("campaign.html", campaign=shown, incidents=[], more=more, talk=Talk([], [], []))
    assert html.count("{{7*7}}") >= 3 and "{{ site.settings.secret_key }}" in html and RUN not in html
