"""axe-core in a page that a browser shows: what in it would be in somebody's way.

It comes in through the browser's own door for debuggers, so that the site's content security policy stays as strict as
it is for everybody, and it runs in a world of its own, where no script of the page sees it.
"""

from __future__ import annotations

import json
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import CDPSession, Page

# WCAG 2.2 at the levels A and AA, and what is good practice beyond it.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Nothing is fetched, and what passes is not told.
QUIETLY = {"preload": False, "resultTypes": ["violations"]}
EVERYTHING: dict[str, Any] = {"runOnly": {"type": "tag", "values": TAGS}}
RUN = """axe.run(document, {options}).then((found) => JSON.stringify(found.violations.map((rule) => [
  rule.id, rule.help, rule.nodes.map((node) => [node.target.join(" "), node.any.concat(node.all, node.none)
    .map((check) => check.message).join("; ")])])))"""


class Axe:
    """axe-core for one open page, whatever addresses it goes to."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._session: CDPSession = page.context.new_cdp_session(page)
        self._session.send("Page.enable")
        self._world = 0

    def enter(self) -> None:
        """Come into the page that is open now."""
        frame = self._session.send("Page.getFrameTree")["frameTree"]["frame"]["id"]
        made = self._session.send("Page.createIsolatedWorld", {"frameId": frame, "worldName": "axe"})
        self._world = made["executionContextId"]
        self._evaluate(f"{AXE_SCRIPT}; 0")

    def faults(self, options: dict[str, Any]) -> list[str]:
        """A line for each element in somebody's way."""
        told = self._evaluate(RUN.replace("{options}", json.dumps(options | QUIETLY)))
        return [f"{rule}: {helps} — {where} ({why})" for rule, helps, nodes in json.loads(told) for where, why in nodes]

    def _evaluate(self, script: str) -> Any:
        asked = {"expression": script, "contextId": self._world, "awaitPromise": True, "returnByValue": True}
        answer = self._session.send("Runtime.evaluate", asked)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")
