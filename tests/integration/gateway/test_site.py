# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site of the guides and the reference, opened as files in a browser without a network."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from browser_parts import PATIENCE

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Build the site in a folder of its own: another step of the tests may build it at the same time."""
    command = [ROOT / "tests/tools/docs.sh", tmp_path / "site"]
    built = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, built.stdout + built.stderr
    return tmp_path / "site/html"


def test_search_of_the_site_finds_the_page_of_a_code_without_a_network(site: Path, browser: Any) -> None:
    context = browser.new_context(offline=True)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    try:
        page.goto(f"{(site / 'search.html').as_uri()}?q=mirror_busy")
        page.locator("#search-results a", has_text="Errors").first.click()
        page.locator("td", has_text="mirror_busy").first.wait_for()
        assert page.url.partition("?")[0] == (site / "guides/errors.html").as_uri()
        assert [address for address in addresses if not address.startswith("file:")] == []
    finally:
        context.close()
