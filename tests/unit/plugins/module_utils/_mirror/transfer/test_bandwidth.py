# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limit of bytes a second, with a clock of the test's own."""

from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.bandwidth import BURST, Bandwidth


class Clock:
    """A clock that stands still until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_spend_without_a_limit_needs_no_wait() -> None:
    assert Bandwidth(None).spend(10**12) == 0.0


def test_spend_more_than_the_rate_has_to_wait() -> None:
    clock = Clock()
    limit = Bandwidth(1000, clock)
    assert limit.spend(500) == pytest.approx(0.5)
    assert limit.spend(500) == pytest.approx(1.0)  # another connection: the debt is common
    clock.now += 1.0
    assert limit.spend(0) == 0.0


def test_spend_after_silence_may_burst_for_a_moment_only() -> None:
    clock = Clock()
    limit = Bandwidth(1000, clock)
    clock.now += 3600
    assert limit.spend(1000) == pytest.approx(1.0 - BURST)


def test_spend_a_day_of_pieces_keeps_the_rate() -> None:
    clock = Clock()
    limit = Bandwidth(1_000_000, clock)
    for _piece in range(1000):
        clock.now += limit.spend(65536)
    assert clock.now - 1000 == pytest.approx(65.536, abs=BURST)
