# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clients of the gateway's campaign: what their record calls lost or failed."""

from __future__ import annotations

import time
from typing import Any, Optional

import campaign_of_clients
import pytest
from campaign_of_clients import Campaign, Front


@pytest.mark.parametrize(
    "outcome, fault, found",
    [
        ("answered", None, []),
        ("no answer", None, ["lost"]),
        ("no answer", 0.0, ["lost"]),
        ("status 503", None, ["failed"]),
        ("status 503", 0.0, []),
        ("status 503", -60.0, ["failed"]),
        ("status 404", 0.0, ["failed"]),
        ("cut", None, ["failed"]),
        ("cut", 0.0, []),
    ],
)
def test_verdict_of_a_campaign_wants_a_death_that_explains_what_a_client_got(
    monkeypatch: pytest.MonkeyPatch, outcome: str, fault: Optional[float], found: list[str]
) -> None:
    """A fault of a minute ago has no effects any more."""
    monkeypatch.setattr(campaign_of_clients, "PAUSE", 0.0)
    monkeypatch.setattr(Campaign, "_ask", lambda *_arguments: (outcome, ""))
    campaign = Campaign([Front(None)], 1)
    if fault is not None:
        began: Any = time.monotonic() + fault
        with monkeypatch.context() as patched:
            patched.setattr(campaign_of_clients.time, "monotonic", lambda: began)
            campaign.broken("kill_worker", began)
    campaign.run(1).shutdown()
    verdict = campaign.verdict()
    assert [finding.kind for finding in verdict.findings] == found
    assert verdict.sent == 1
