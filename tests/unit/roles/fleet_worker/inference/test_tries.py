# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a request is tried again."""

from __future__ import annotations

from fleet_worker.inference.tries import Later, Tries


def test_tries_of_a_busy_ollama_have_growing_pauses_and_an_end() -> None:
    tries = Tries()
    pauses = []
    while True:
        later = tries.busy("full", 30.0, 1000.0)
        if later is None or len(pauses) > 20:
            break
        assert not later.alone
        pauses.append(later.seconds)
    # No time goes by in this test, so only the cap shows; each pause is half of the full one at least.
    assert 0.25 <= pauses[0] <= 0.5
    assert 5.0 <= pauses[-1] <= 10.0
    assert pauses[2] > pauses[0]


def test_tries_of_a_busy_ollama_without_time_left_end_at_once() -> None:
    assert Tries().busy("full", 0.0, 1000.0) is None
    assert Tries().busy("full", 30.0, 0.1) is None


def test_tries_after_a_runner_ended_are_alone_and_once() -> None:
    tries = Tries()
    assert tries.runner_end("EOF", 100.0) == Later(0.0, "EOF", alone=True)
    assert tries.runner_ended
    assert tries.runner_end("EOF", 100.0) is None
    assert Tries().runner_end("EOF", 0.1) is None, "nobody waits for that long"
