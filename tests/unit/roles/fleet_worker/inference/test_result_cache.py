# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that are kept."""

from __future__ import annotations

from fleet_worker._fleet.messages import Message, Properties, Reply
from fleet_worker.domain.verdicts import Result, Verdict
from fleet_worker.inference.result_cache import KEEP, MAX_BYTES, MAX_COUNT, ResultCache


def answer(size: int = 1) -> Result:
    return Result(Verdict.ACK, "answered", Reply("", "q", Message(Properties(), {}, b"x" * size)))


def test_cache_keeps_an_answer_for_its_time() -> None:
    now = [0.0]
    results = ResultCache(lambda: now[0])
    first = answer()
    results.put("a", first)
    now[0] = KEEP
    assert results.get("a") is first
    now[0] = KEEP + 1
    assert results.get("a") is None
    assert len(results) == 0


def test_cache_keeps_no_answer_without_identity() -> None:
    results = ResultCache()
    results.put(None, answer())
    assert len(results) == 0
    assert results.get(None) is None


def test_cache_bounds_number_and_bytes() -> None:
    results = ResultCache()
    for number in range(MAX_COUNT + 5):
        results.put(str(number), answer())
    assert len(results) == MAX_COUNT
    assert results.get("4") is None
    assert results.get("5") is not None
    results = ResultCache()
    for number in range(20):
        results.put(str(number), answer(MAX_BYTES // 10))
    assert len(results) == 10
    results.put("huge", answer(MAX_BYTES // 4))
    assert results.get("huge") is None


def test_cache_with_a_second_answer_replaces_the_first() -> None:
    results = ResultCache()
    results.put("a", answer(MAX_BYTES // 8))
    for _time in range(20):
        results.put("a", answer(MAX_BYTES // 8))
    assert len(results) == 1
