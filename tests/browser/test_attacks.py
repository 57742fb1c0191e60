"""The 500 attacks in a real browser: as stories, titles and summaries, on pages of the site with its own headers.

Nothing may run, ask elsewhere or break the policy of the page; and what the browser builds of them is on a short list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from flask import render_template
from markupsafe import Markup
from playwright.sync_api import Browser

from crowdfund import create_app
from crowdfund.campaigns.drafts import clean_line
from crowdfund.errors import UserError
from crowdfund.web.markdown import TAGS, story_html
from crowdfund.web.views import campaign_view
from support.attacks import stories
from support.browsing import Person
from support.paper import Paper
from support.serving import served

BATCHES = 4
STORIES = list(stories().values())
UNLISTED = """(tags) => {
  const found = [];
  for (const story of document.querySelectorAll(".story")) {
    for (const el of story.querySelectorAll("*")) {
      if (!tags.includes(el.localName) || el.namespaceURI !== "http://www.w3.org/1999/xhtml") found.push(el.outerHTML);
      for (const { name } of el.attributes)
        if (!["a href", "a rel", "ol start"].includes(`${el.localName} ${name}`)) found.push(el.outerHTML);
      if (el.localName === "a" && el.href && !["http:", "https:"].includes(el.protocol)) found.push(el.outerHTML);
    }
  }
  return found;
}"""
CONTROL = (
    "<img src=x onerror='window.__ran=1'><img src='http://elsewhere.invalid/x.png'><script>window.__ran=1</script>"
)


def title_of(text: str) -> str:
    """What the check of a draft leaves of it as a title."""
    try:
        return clean_line("title", text[:80], 80)
    except UserError:
        return "Nothing to see"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a site that shows the attacks as cards and stories; at /control without any care."""
    with Paper(tmp_path_factory.mktemp("paper")) as paper:
        app = create_app(paper.settings)
        campaign = paper.campaign()

        def shown(texts: list[str], html: Callable[[str], Markup] = story_html) -> str:
            with paper.database.reading():
                view = campaign_view(paper.snapshot(campaign), "regtest", None)
            views = [replace(view, title=title_of(t), summary=title_of(t), story_html=html(t)) for t in texts]
            page = render_template("front.html", campaigns=views)
            told = Markup("").join(Markup('<div class="story">{}</div>').format(v.story_html) for v in views)
            return page.replace("</main>", f"{told}</main>")

        app.add_url_rule("/attacks/<int:n>", "attacks", lambda n: shown(STORIES[n::BATCHES]))
        app.add_url_rule("/control", "control", lambda: shown([CONTROL], Markup))
        with served(app) as address:
            yield address


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("batch", range(BATCHES))
def test_nothing_runs_and_nothing_is_asked_elsewhere(browser: Browser, site: str, batch: int, scripts: bool) -> None:
    with Person(browser, site, scripts=scripts) as visitor:
        visitor.page.on("dialog", lambda dialog: visitor.faults.append(f"dialog: {dialog.message}"))
        visitor.page.goto(f"/attacks/{batch}")
        visitor.page.wait_for_load_state("load")
        assert visitor.page.locator(".story").count() == visitor.page.locator(".tile").count() > 100
        assert visitor.page.evaluate("window.__ran") is None
        assert visitor.page.evaluate(UNLISTED, sorted(TAGS)) == []
        assert visitor.page.evaluate("document.querySelectorAll('main#main').length") == 1
        assert visitor.page.evaluate("document.querySelectorAll('h1').length") == 1
        links = visitor.page.locator(".tile h3 a").evaluate_all("found => new Set(found.map(a => a.pathname)).size")
        assert links == 1, "each card leads to its campaign and nowhere else"
        visitor.page.wait_for_timeout(200)
        assert visitor.page.url == f"{site}/attacks/{batch}", "nobody is led away"


def test_the_watch_over_them_is_awake(browser: Browser, site: str) -> None:
    """Without any care for what is shown, the policy of the page still holds, and all of it is noticed."""
    visitor = Person(browser, site)
    visitor.page.goto("/control")
    visitor.page.wait_for_timeout(300)
    assert visitor.page.evaluate("window.__ran") is None, "even so nothing ran"
    assert len([fault for fault in visitor.faults if "CSP: " in fault]) >= 2, visitor.faults
    assert len(visitor.page.evaluate(UNLISTED, sorted(TAGS))) >= 3
    visitor.context.close()
