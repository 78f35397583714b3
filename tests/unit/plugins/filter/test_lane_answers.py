# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lane without an answer, and one that the wrong node has answered, are problems; every other lane is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.filter.lane_answers import lane_answers

CHAT = {"type": "chat", "model": "smollm2:135m"}


def answer(**changes: Any) -> dict[str, Any]:
    """Return the result of one lane."""
    return {"item": CHAT, "seconds": 0.25, "node": "gpu-02", "content": " Paris.\n", "attempts": 1, **changes}


def test_lane_answers_of_an_answer_says_who_gave_it() -> None:
    asked = lane_answers([answer()], "gpu-01")
    assert asked["problems"] == []
    assert asked["lanes"] == [
        {
            "type": "chat",
            "model": "smollm2:135m",
            "style": "model",
            "answered_by": "gpu-02",
            "milliseconds": 250,
            "attempts": 1,
            "problem": "",
            "text": "chat smollm2:135m: answered by gpu-02 in 250 ms: Paris.",
        }
    ]


def test_lane_answers_of_a_node_cannot_forge_lines() -> None:
    asked = lane_answers([answer(node="gpu\n02", content="Paris\x1b[2J" + 1000 * "!")], "gpu-01")
    text = asked["lanes"][0]["text"]
    assert "Paris" in text and text.isprintable() and len(text) < 800
    (problem,) = lane_answers([answer(node="gpu\n02")], "gpu-01", node="gpu-01")["problems"]
    assert "gpu" in problem and problem.isprintable()


def test_lane_answers_of_an_embedding_says_how_long_the_vector_is() -> None:
    result = answer(item={"type": "embed", "model": "m"}, content=None, embeddings=[[0.0] * 384], node=None)
    (lane,) = lane_answers([result], "gpu-01")["lanes"]
    assert lane["text"].endswith("a node that does not say its name in 250 ms, an embedding of 384 numbers")


def test_lane_answers_of_a_failure_names_lane_and_reason() -> None:
    failed = {"item": CHAT, "error_code": "fleet_timeout", "msg": "no answer within 120 s"}
    (problem,) = lane_answers([failed], "gpu-01")["problems"]
    assert problem == "The lane chat smollm2:135m, asked from gpu-01, gave no answer: no answer within 120 s"


def test_lane_answers_of_a_failure_with_a_time_is_a_failure() -> None:
    assert lane_answers([answer(error_code="fleet_answer", msg="inference failed")], "gpu-01")["problems"]


def test_lane_answers_of_another_node_names_both_and_a_remedy() -> None:
    (problem,) = lane_answers([answer(attempts=19)], "gpu-01", node="gpu-01")["problems"]
    for word in ("19 times", "gpu-02", "never by gpu-01", "offering"):
        assert word in problem


def test_lane_answers_of_another_node_are_enough_if_the_node_has_answered_others() -> None:
    """With other requesters on the lane, chance decides who answers the requests of the playbook."""
    status = json.dumps({"lanes": [{"queue": "llm.request.chat", "answered": 7}, {"queue": "other", "answered": 0}]})
    results = [answer(attempts=3, lane="llm.request.chat"), answer(attempts=3, lane="other")]
    asked = lane_answers(results, "gpu-01", "gpu-01", status)
    assert "gpu-01 has answered 7 other requests" in asked["lanes"][0]["text"]
    assert len(asked["problems"]) == 1


@pytest.mark.parametrize("status", ["", "{", "[]", '{"lanes": [{"queue": "q"}]}', '{"lanes": null}'])
def test_lane_answers_with_a_status_that_counts_nothing_ask_for_the_node(status: str) -> None:
    assert len(lane_answers([answer(attempts=3, lane="q")], "gpu-01", "gpu-01", status)["problems"]) == 1


def test_lane_answers_of_the_node_itself_is_no_problem() -> None:
    assert lane_answers([answer(node="gpu-01", attempts=3)], "gpu-01", node="gpu-01")["problems"] == []
