# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge of histories: what counts as lost or doubled, and what it says of the reason."""

from __future__ import annotations

from typing import Any

import pytest
from history import ANY, Event, Happened, Rules, judge

SENT, DELIVERED, ANSWERED = Happened.SENT, Happened.DELIVERED, Happened.ANSWERED
CONFIRMED, ACKED, RECEIVED = Happened.CONFIRMED, Happened.ACKED, Happened.RECEIVED
DROPPED, EXPIRED, FAULT, RETURNED = Happened.DROPPED, Happened.EXPIRED, Happened.FAULT, Happened.RETURNED


def history(*steps: Any) -> list[Event]:
    """Events of one request, one second after the other; "marked" behind an answer marks it."""
    events = []
    for at, step in enumerate(steps):
        what, detail = step if isinstance(step, tuple) else (step, "")
        request, marked = "" if what is FAULT else "r", detail == "marked"
        events.append(Event(what, request, float(at), "gpu-1", "" if marked else detail, marked))
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


def test_judge_of_a_fault_before_the_confirm_of_the_request_counts_it() -> None:
    events = [Event(DELIVERED, "r", 1.0, "gpu-1"), Event(SENT, "r", 3.0), Event(RECEIVED, "r", 4.0, detail="odd")]
    rules = Rules(errors={"odd": {"model"}})
    assert judge([Event(FAULT, "", 2.0, "gpu-1", "model"), *events], rules).findings == []
    assert judge([Event(FAULT, "", 0.5, "gpu-1", "model"), *events], rules).findings


LIMITED = Rules(costly={"kill": 1, "restart": 2}, delivery_limits={"gpu-1": 2}, used_up="used_up")
KILL, DEATH = (FAULT, "kill"), (DROPPED, "delivery_limit")


def test_judge_of_used_up_deliveries_lets_costly_faults_during_the_life_explain_them() -> None:
    assert judge(history(SENT, KILL, KILL, KILL, DEATH), LIMITED).findings == []
    assert judge(history(SENT, KILL, KILL, KILL, DEATH)).findings
    assert judge(history(SENT, KILL, (FAULT, "restart"), DEATH), LIMITED).findings == []
    assert judge(history(SENT, RETURNED, RETURNED, DELIVERED, KILL, DEATH), LIMITED).findings == []


@pytest.mark.parametrize(
    "steps",
    [
        (SENT, KILL, KILL, (FAULT, "ollama_slow"), DEATH),
        (KILL, KILL, SENT, KILL, DEATH),
        (SENT, KILL, KILL, DEATH, KILL),
        (SENT, KILL, KILL, KILL, (DROPPED, "rejected")),
        (SENT, KILL, KILL, KILL, DELIVERED, RETURNED, DEATH),
    ],
    ids=["too few", "before it was sent", "after its death", "another death", "given back last"],
)
def test_judge_of_used_up_deliveries_by_other_faults_finds_a_loss(steps: Any) -> None:
    assert [found.kind for found in judge(history(*steps), LIMITED).findings] == ["lost"]


def test_judge_of_a_fault_that_lasts_counts_it_for_what_is_sent_meanwhile() -> None:
    events = [Event(SENT, "r", 3.0, "gpu-1"), Event(DROPPED, "r", 9.0, detail="delivery_limit")]
    faults = [Event(FAULT, "", float(at), detail="kill", seconds=5.0) for at in (0, 1, 2)]
    assert judge([*faults, *events], LIMITED).findings == []
    elsewhere = [Event(FAULT, "", 4.0, "gpu-2", "kill") for _number in range(3)]
    assert judge([*elsewhere, *events], LIMITED).findings
    assert judge([*elsewhere, *events, Event(DELIVERED, "r", 5.0, "gpu-2")], LIMITED).findings == []


def test_judge_of_the_error_of_a_last_delivery_wants_faults_that_used_the_others_up() -> None:
    last = (RECEIVED, "used_up")
    assert judge(history(SENT, KILL, KILL, last), LIMITED).findings == []
    assert judge(history(SENT, KILL, last), LIMITED).findings


def test_judge_of_an_error_for_a_lack_of_time_wants_that_the_requester_waits_no_more() -> None:
    rules = Rules(too_late="late")
    sent, late = Event(SENT, "r", 1.0, seconds=5.0), Event(RECEIVED, "r", 5.5, detail="late")
    assert judge([sent, late], rules).findings == []
    assert judge([sent, Event(RECEIVED, "r", 4.0, detail="late")], rules).findings
    assert judge([Event(SENT, "r", 1.0), late], rules).findings


ERROR = (RECEIVED, "ollama_unavailable")
OLLAMA = Rules(errors={"ollama_unavailable": {"ollama_dies"}})


@pytest.mark.parametrize(
    "rules, steps, found",
    [
        (OLLAMA, (SENT, (FAULT, "ollama_dies"), ERROR), []),
        (Rules(errors={"ollama_unavailable": ()}), (SENT, FAULT, ERROR), []),
        (Rules(errors={"ollama_unavailable": None}), (SENT, ERROR), []),
        (Rules(errors={ANY: None}), (SENT, ERROR), []),
        (Rules(errors={"inference_failed": None}), (SENT, ERROR), ["failed"]),
        (Rules(), (SENT, (FAULT, "ollama_dies"), ERROR), ["failed"]),
        (OLLAMA, (SENT, ERROR), ["failed"]),
        (OLLAMA, ((FAULT, "ollama_dies"), SENT, ERROR), ["failed"]),
        (OLLAMA, (SENT, (FAULT, "kill"), ERROR), ["failed"]),
        (OLLAMA, (SENT, (FAULT, "ollama_dies"), (RECEIVED, "inference_failed")), ["failed"]),
    ],
    ids=[
        "explained",
        "any fault",
        "its own",
        "any",
        "not its own",
        "no rule",
        "no fault",
        "a fault before",
        "another fault",
        "another error",
    ],
)
def test_judge_of_an_error_wants_a_fault_that_explains_its_code(rules: Rules, steps: Any, found: list[str]) -> None:
    verdict = judge(history(*steps), rules)
    assert [one.kind for one in verdict.findings] == found
    assert sum(verdict.errors.values()) == 1


def test_judge_of_errors_tells_their_numbers() -> None:
    assert "errors 1 ollama_unavailable, expired 0" in str(judge(history(SENT, ERROR)))
    assert "errors none" in str(judge(history(SENT, RECEIVED)))


def test_judge_of_an_error_beside_an_answer_counts_the_answer() -> None:
    verdict = judge(history(SENT, FAULT, RECEIVED, (RECEIVED, "ollama_unavailable")))
    assert not verdict.errors


def lane_of(*lives: tuple[float, float]) -> list[Event]:
    """Requests of one lane: when each was sent, and when it was delivered."""
    return [
        event
        for number, (sent, delivered) in enumerate(lives)
        for event in (
            Event(SENT, f"r{number}", sent, "lane"),
            Event(DELIVERED, f"r{number}", delivered, "gpu-1"),
            Event(RECEIVED, f"r{number}", delivered + 1.0),
        )
    ]


PATIENT = Rules(starved_after=20.0)


def test_judge_of_a_request_that_waits_for_others_of_its_lane_does_not_call_it_starved() -> None:
    assert judge(lane_of((0, 1), (0, 19), (0, 38), (0, 57)), PATIENT).findings == []


def test_judge_of_the_next_request_of_a_lane_that_waits_too_long_calls_it_starved() -> None:
    events = lane_of((0, 1), (2, 30))
    (finding,) = judge(events, PATIENT).findings
    assert (finding.kind, finding.request) == ("starved", "r1") and "delivered after 28.0 s" in finding.why
    assert judge(events).findings == []
    assert judge([*events, Event(FAULT, "", 40.0)], PATIENT).findings
    assert judge([*events, Event(FAULT, "", 10.0)], PATIENT).findings == []
    assert judge([*events, Event(FAULT, "", 0.0, seconds=3.0)], PATIENT).findings == []


def test_judge_of_a_request_that_expires_while_it_starves_calls_it_starved() -> None:
    assert [one.kind for one in judge([Event(SENT, "r", 1.0), Event(EXPIRED, "r", 121.0)], PATIENT).findings] == [
        "starved"
    ]
    assert judge([Event(SENT, "r", 1.0), Event(EXPIRED, "r", 11.0)], PATIENT).findings == []


def test_judge_of_a_repeated_answer_wants_a_fault_and_a_mark() -> None:
    answered = (SENT, DELIVERED, RECEIVED)
    assert judge(history(*answered, FAULT, (RECEIVED, "marked"))).findings == []
    assert "nothing was broken" in judge(history(FAULT, *answered, (RECEIVED, "marked"))).findings[0].why
    assert "nothing was broken" in judge(history(*answered, (RECEIVED, "marked"), FAULT)).findings[0].why
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
