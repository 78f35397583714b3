# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge of histories: what counts as lost or doubled, and what it says of the reason."""

from __future__ import annotations

from typing import Any

import pytest
from history import Event, Happened, judge

SENT, DELIVERED, ANSWERED = Happened.SENT, Happened.DELIVERED, Happened.ANSWERED
CONFIRMED, ACKED, RECEIVED = Happened.CONFIRMED, Happened.ACKED, Happened.RECEIVED
DROPPED, EXPIRED, FAULT = Happened.DROPPED, Happened.EXPIRED, Happened.FAULT


def history(*steps: Any) -> list[Event]:
    """Events of one request, one second after the other; "marked" behind an answer marks it."""
    events = []
    for at, step in enumerate(steps):
        what, detail = step if isinstance(step, tuple) else (step, "")
        request = "" if what is FAULT else "r"
        events.append(Event(what, request, float(at), "gpu-1", detail, marked=detail == "marked"))
    return events


def test_judge_of_an_answered_request_finds_nothing() -> None:
    verdict = judge(history(SENT, DELIVERED, ANSWERED, CONFIRMED, ACKED, RECEIVED))
    assert (verdict.findings, verdict.sent, verdict.answered) == ([], 1, 1)


@pytest.mark.parametrize(
    "steps, why",
    [
        ((SENT,), "never delivered"),
        ((SENT, DELIVERED), "delivered, last to gpu-1, and never answered"),
        ((SENT, DELIVERED, ANSWERED), "the answer never was with the broker"),
        ((SENT, DELIVERED, ANSWERED, CONFIRMED, ACKED), "its answer was with the broker, and did not come out"),
        ((SENT, DELIVERED, ACKED), "acknowledged, and its answer never was with the broker"),
        ((SENT, DELIVERED, (DROPPED, "delivery_limit")), "dropped by its queue (delivery_limit) after 1 deliveries"),
    ],
)
def test_judge_of_a_request_without_an_answer_says_how_far_it_came(steps: Any, why: str) -> None:
    (finding,) = judge(history(*steps)).findings
    assert finding.kind == "lost" and why in finding.why


def test_judge_of_a_request_that_expired_does_not_call_it_lost() -> None:
    verdict = judge(history(SENT, EXPIRED))
    assert (verdict.findings, verdict.expired) == ([], 1)


def test_judge_of_a_request_that_the_broker_never_took_does_not_call_it_lost() -> None:
    assert judge(history(DELIVERED)).findings == []


def test_judge_of_used_up_deliveries_lets_faults_explain_them() -> None:
    events = history(SENT, FAULT, (DROPPED, "delivery_limit"))
    assert judge(events).findings and not judge(events, deaths_allowed=True).findings


def test_judge_of_a_repeated_answer_wants_a_fault_and_a_mark() -> None:
    answered = (SENT, DELIVERED, RECEIVED)
    assert judge(history(*answered, FAULT, (RECEIVED, "marked"))).findings == []
    assert (
        judge(history(*answered, FAULT, RECEIVED)).findings[0].why == "2 answers, 2 of them unmarked: only one may be"
    )
    assert "nothing was broken" in judge(history(*answered, (RECEIVED, "marked"))).findings[0].why


def test_judge_of_a_request_that_was_sent_twice_allows_two_answers() -> None:
    assert judge(history(SENT, SENT, DELIVERED, RECEIVED, RECEIVED)).findings == []


def test_judge_of_an_acknowledgement_before_the_answer_is_too_early() -> None:
    (finding,) = judge(history(SENT, DELIVERED, ACKED, CONFIRMED, RECEIVED)).findings
    assert finding.kind == "too early"


def test_judge_of_answers_tells_the_longest_gap() -> None:
    assert judge(history(SENT, RECEIVED, FAULT, FAULT, FAULT, (RECEIVED, "marked"))).longest_gap == 4.0
