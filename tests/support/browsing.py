"""People with real browsers: pages that remember whatever goes wrong in them, and what people do on the site.

Works the same with and without JavaScript: where a page does not update itself, it is loaded again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import cv2
import numpy as np
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

from crowdfund.chain.regtest import RegtestNode
from support.node import new_address
from support.world import PASSWORD

PATIENCE_MS = 20_000
_accounts = count(1)
STORY = "Most small farms still sow **by hand**.\n\n## What becomes open\n\n- drawings\n- films"
TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (e) => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`));
"""
# Answers of the server are judged by `_on_response`. The other says that the machine was slow to draw, nothing else.
NO_FAULTS = ("Failed to load resource", "was preloaded using link preload but not used within a few seconds")


class Person:
    """One person's browser with one open page. Use as a context manager: leaving it fails on any fault."""

    def __init__(self, browser: Browser, base_url: str, *, scripts: bool = True, **options: Any) -> None:
        self.scripts = scripts
        self.context = browser.new_context(base_url=base_url, java_script_enabled=scripts, **options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.context.add_init_script(TELL_VIOLATIONS)
        self.faults: list[str] = []
        self.allowed_codes = {422}
        self._host = urlsplit(base_url).netloc
        self.page: Page = self.context.new_page()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.faults.append(f"error in a script: {error}"))
        self.page.on("request", self._on_request)
        self.page.on("requestfailed", self._on_failure)
        self.page.on("response", self._on_response)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.context.close()
        assert kind is not None or not self.faults, "\n".join(self.faults)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(known in message.text for known in NO_FAULTS):
            self.faults.append(f"console: {message.text}")

    def _on_request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != self._host:
            self.faults.append(f"asked another host: {request.url}")

    def _on_failure(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # a page that is left ends its own stream
            self.faults.append(f"{request.url}: {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.allowed_codes:
            self.faults.append(f"{response.url} was answered with {response.status}")

    def shows(self, selector: str, text: str | re.Pattern[str]) -> None:
        """Wait until the part of the page has the text: the page updates itself, or is loaded again and again."""
        part = self.page.locator(selector).first
        wanted = text if isinstance(text, re.Pattern) else re.compile(re.escape(text))
        give_up = time.monotonic() + PATIENCE_MS / 1000
        while not (part.count() and wanted.search(flat(part.inner_text()))):
            said = flat(part.inner_text()) if part.count() else "nothing"
            assert time.monotonic() < give_up, f"{selector} says “{said}”, not “{wanted.pattern}”"
            self.page.wait_for_timeout(100)
            if not self.scripts:
                self.page.reload()

    def sign_up(self, name: str) -> None:
        """Make an account; a number after the name makes it nobody else's."""
        self.page.goto("/signup")
        self.fill(name=f"{name} {next(_accounts)}", password=PASSWORD)
        self.press("Create the account")
        assert self.page.url.endswith("/drafts/start")

    def fill(self, **fields: str) -> None:
        """Fill in fields by their ids."""
        for name, value in fields.items():
            self.page.fill(f"#{name}", value)

    def press(self, name: str) -> None:
        """Press a button or follow a link by its name, and wait for the page that follows."""
        button = self.page.get_by_role("button", name=name).or_(self.page.get_by_role("link", name=name))
        button.first.click()
        self.page.wait_for_load_state()

    def write_campaign(self, node: RegtestNode, **changes: str) -> str:
        """Write a draft, look at the preview, publish; returns the campaign's path."""
        self.page.goto("/drafts/new")
        self.fill(**{**draft_fields(node), **changes})
        self.press("Save and preview")
        self.press("Freeze the terms and publish")
        return urlsplit(self.page.url).path

    def pledge(self, campaign: str, amount_sats: int, refund_address: str, **fields: str) -> str:
        """Pledge; returns the path of the pledge's page, which is open now."""
        self.page.goto(campaign)
        self.press("Pledge")
        self.fill(amount=str(amount_sats), refund_address=refund_address, **fields)
        if self.page.locator("#own-hint").count():  # a creator is asked
            self.page.get_by_label("No", exact=True).check()
        self.press("Show me where to pay")
        path = urlsplit(self.page.url).path
        assert path.startswith("/p/"), flat(self.page.inner_text("main"))
        return path

    def qr_text(self) -> str:
        """What a wallet reads from the code as it stands on the screen. Neither decoder reads every code."""
        self.page.locator("svg.qr").scroll_into_view_if_needed()
        screen = cv2.imdecode(np.frombuffer(self.page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        assert screen is not None
        decoders = (cv2.QRCodeDetectorAruco(), cv2.QRCodeDetector())
        return next((text for text in (str(one.detectAndDecode(screen)[0]) for one in decoders) if text), "")

    def wallet_link(self) -> str:
        """The payment URI behind the code."""
        return self.page.locator("a.qr-link").get_attribute("href") or ""


class Meet(Protocol):
    """Brings in a person with a browser of their own; options are those of playwright's contexts."""

    def __call__(self, *, scripts: bool = True, **options: Any) -> Person: ...


def settlement_sent(person: Person, node: RegtestNode) -> str:
    """Wait until the campaign's page names the settlement's transaction and the node has it; returns its txid."""
    person.shows(".settlement .hash", re.compile("^[0-9a-f]{64}$"))
    txid = person.page.locator(".settlement .hash").inner_text()
    wait_until(lambda: txid in node.rpc("getrawmempool"), "the settlement to be sent")
    return txid


def draft_fields(node: RegtestNode) -> dict[str, str]:
    """A good draft, as a person types it, with the id of each field."""
    deadline = datetime.fromtimestamp(node.status()["median_time_past"], UTC) + timedelta(days=3)
    return {
        "title": "A seed drill any village can build",
        "summary": "Drawings, parts list and videos for a hand-pulled seed drill.",
        "story": STORY,
        "project_url": "https://example.org/seed-drill",
        "license": "CERN-OHL-S-2.0",
        "goal": "1000000",
        "deadline": f"{deadline:%Y-%m-%dT%H:%M}",
        "payout_address": new_address(node),
    }


def flat(text: str) -> str:
    """Text on one line."""
    return " ".join(text.split())


def figure(text: str) -> int:
    """The satoshi in a text such as `1 000 000 sat`."""
    return int(re.sub(r"\D", "", text))


def wait_until(ready: Callable[[], bool], what: str) -> None:
    """Wait until `ready()`; fails saying what was waited for."""
    give_up = time.monotonic() + PATIENCE_MS / 1000
    while not ready():
        assert time.monotonic() < give_up, f"waited in vain for {what}"
        time.sleep(0.05)
