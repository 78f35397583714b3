# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of the page in docs/gateway.md: of a real fleet, with a real Ollama's answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fleet_parts import CHAT_MODEL, EMBED_MODEL
from gateway_parts import GatewayProcess

REPORTS = Path(os.environ.get("LEGIONIO_BUILD", "build")) / "reports"
CHAT = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hello"}]}


def test_page_of_a_real_fleet_is_drawn(real: GatewayProcess, tab: Any) -> None:
    """Leaves the picture in the reports; docs/gateway-page.png is a copy of it."""
    opened = tab(real, viewport={"width": 1200, "height": 900}, color_scheme="light")
    opened.wait_for("#model", CHAT_MODEL)
    for path, body in (
        ("/v1/chat/completions", {**CHAT, "max_tokens": 40}),
        ("/v1/embeddings", {"model": EMBED_MODEL, "input": ["one", "two"]}),
        ("/api/generate", {"model": CHAT_MODEL, "prompt": "Once", "stream": False, "options": {"num_predict": 30}}),
    ):
        assert real.ask(path, body).status == 200
    opened.page.get_by_label("Message").fill("What is the capital of France?")
    opened.page.get_by_role("button", name="Send").click()
    opened.wait_for("#answer", "Paris")
    opened.wait_for("#answer-details", "first token after")
    opened.wait_for("#ended", "/api/chat")
    REPORTS.mkdir(parents=True, exist_ok=True)
    opened.page.screenshot(path=REPORTS / "gateway-page.png", full_page=True)
    assert (REPORTS / "gateway-page.png").stat().st_size > 20_000
