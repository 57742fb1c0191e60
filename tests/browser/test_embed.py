"""A campaign in a frame of another site, in a real browser: it is shown there, alone, and learns and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from support.browsing import TELL_VIOLATIONS, Person
from support.details import GOOD, detailed_campaign, more_accounts, paper_site
from support.paper import Paper, coin
from support.serving import served

LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmützenfabrikant baut Dampfer"
MEASURE = """() => {
  const box = document.querySelector(".embed-box").getBoundingClientRect();
  const out = [...document.querySelectorAll(".embed-foot p, .embed-title, .bar")].filter((part) => {
    const own = part.getBoundingClientRect();
    return own.left < box.left || own.right > box.right + 0.5 || own.bottom > box.bottom + 0.5 || own.top < box.top;
  });
  return {wide: document.documentElement.scrollWidth - innerWidth,
          high: document.documentElement.scrollHeight - innerHeight, out: out.map((part) => part.className)};
}"""


DOWNLOAD = "path => { const a = document.createElement('a'); a.href = path; a.download = ''; a.click(); }"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """(where the site answers, titles -> ids of campaigns)."""
    with Paper(tmp_path_factory.mktemp("paper")) as paper:
        more_accounts(paper)
        made = {title: detailed_campaign(paper, GOOD, title=title) for title in ("Six seed drills", LONG)}
        paper.mine([coin(paper.pledge(made[LONG], 400_000), 400_000, "a")])
        with paper_site(paper, mail_from="site@fund.example.org") as app, served(app) as url:
            yield url, made


@contextmanager
def elsewhere(html: str) -> Iterator[str]:
    """Another site, of one page."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def watched(page: Page) -> tuple[list[str], set[str]]:
    """(what goes wrong on a page, the hosts that it asks), as it happens."""
    faults: list[str] = []
    hosts: set[str] = set()
    page.on(
        "console", lambda said: faults.append(said.text) if said.type == "error" and "404" not in said.text else None
    )
    page.on("request", lambda asked: hosts.add(urlsplit(asked.url).netloc))
    return faults, hosts


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_from_240_to_600_pixels_and_asks_nobody_else(
    browser: Browser, site: tuple[str, dict[str, str]], scheme: str
) -> None:
    url, made = site
    frames = [(title, width) for title in made for width in (240, 300, 420, 600)]
    html = "".join(f'<iframe src="{url}/embed/{made[title]}" width="{w}" height="320"></iframe>' for title, w in frames)
    with elsewhere(html) as other:
        context = browser.new_context(color_scheme="dark" if scheme == "dark" else "light")
        context.add_init_script(TELL_VIOLATIONS)
        page = context.new_page()
        faults, hosts = watched(page)
        page.goto(other, wait_until="networkidle")
        assert len(page.frames) == len(frames) + 1
        for (title, width), frame in zip(frames, page.frames[1:], strict=True):
            assert frame.locator("h1").inner_text() == title
            assert frame.evaluate(MEASURE) == {"wide": 0, "high": 0, "out": []}, (title, width)
        assert hosts - {urlsplit(other).netloc} == {urlsplit(url).netloc}
        assert not context.cookies() and not faults
        context.close()


def test_its_link_opens_the_page_beside_the_other_site(browser: Browser, site: tuple[str, dict[str, str]]) -> None:
    url, made = site
    with elsewhere(f'<iframe src="{url}/embed/{made[LONG]}" width="300" height="320"></iframe>') as other:
        context = browser.new_context()
        page = context.new_page()
        page.goto(other, wait_until="networkidle")
        link = page.frames[1].locator("a")
        assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener")
        assert urlsplit(link.get_attribute("href") or "").path == f"/campaigns/{made[LONG]}"
        assert page.frames[1].locator("a").count() == 1 and page.frames[1].locator("script, form").count() == 0
        context.close()


def test_no_other_page_can_be_framed(browser: Browser, site: tuple[str, dict[str, str]]) -> None:
    url, made = site
    paths = ("/", f"/campaigns/{made[LONG]}", f"/campaigns/{made[LONG]}/pledge", "/login", "/embed/nothere")
    with elsewhere("".join(f'<iframe src="{url}{path}"></iframe>' for path in paths)) as other:
        context = browser.new_context()
        page = context.new_page()
        faults, _ = watched(page)
        page.goto(other, wait_until="networkidle")
        assert sum("frame-ancestors" in fault for fault in faults) == len(paths)
        context.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_with_snippet_poster_and_card(
    browser: Browser, site: tuple[str, dict[str, str]], width: int, tmp_path: Path
) -> None:
    url, made = site
    with Person(browser, url, viewport={"width": width, "height": 800}) as person:
        page = person.page
        page.goto(f"/campaigns/{made[LONG]}/elsewhere")
        for picture in page.locator("main img").all():
            picture.scroll_into_view_if_needed()
            person.page.wait_for_function(
                "each => each.complete && each.naturalWidth > 0", arg=picture.element_handle()
            )
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert "<iframe" in page.locator(".snippet", has_text="/embed/").inner_text()
        with page.expect_download() as download:
            page.evaluate(DOWNLOAD, f"/campaigns/{made[LONG]}/poster.pdf")
        download.value.save_as(tmp_path / "poster.pdf")
        assert (tmp_path / "poster.pdf").read_bytes().startswith(b"%PDF-")
