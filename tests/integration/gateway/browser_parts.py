# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A headless browser, and queries of the page in it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from services import part

#: Milliseconds for whatever a page has to show: it looks at the gateway every 2 s.
PATIENCE = 15_000

#: Chromium refuses its sandbox to root, and would ask hosts of its vendor at each start.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Debian's Chromium."""
    executable = shutil.which("chromium")
    assert executable, "chromium is not installed; tests/lab/setup.sh --clients installs it"
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS, env={"HOME": home})
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page of the gateway in a browser profile of its own.

    :ivar addresses: every address that the page has asked for.
    :ivar complaints: what the browser wrote to its console as an error, violations of the security policy among it,
        and errors of the script.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        context.set_default_timeout(PATIENCE)
        self.page: Page = context.new_page()
        self.addresses: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.addresses.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._said)
        # An alert would be the proof that a name was run as a script.
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.goto(url)

    def _said(self, message: Any) -> None:
        # The browser reports each 401 as an error, which a page without a key has to see.
        if message.type == "error" and "401" not in message.text:
            self.complaints.append(message.text)

    def use_key(self, key: str) -> None:
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_label("API key").press("Enter")

    def wait_for(self, selector: str, text: str) -> None:
        self.page.locator(selector, has_text=text).first.wait_for()

    def rows(self, table: str) -> list[list[str]]:
        """The texts of a table's body, row by row."""
        found: list[list[str]] = self.page.evaluate(
            "(id) => [...document.getElementById(id).rows].map((row) => [...row.cells].map((one) => one.textContent))",
            table,
        )
        return found

    def is_wider_than_its_window(self) -> bool:
        wide: bool = self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        return wide

    def barriers(self) -> list[str]:
        """What axe-core finds that keeps people out, by the rules of WCAG 2.2 AA: labels, contrast, names, roles."""
        self.page.evaluate((part("node-clients") / "node_modules" / "axe-core" / "axe.min.js").read_text())
        found = self.page.evaluate(
            "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
        )
        # A checker that looked at nothing would find nothing.
        assert len(found["passes"]) > 15, [rule["id"] for rule in found["passes"]]
        return [
            f"{rule['id']}: {node['html']}: {node['failureSummary']}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]
