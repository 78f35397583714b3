# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tiny request of our own, which finds out whether Ollama can run a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fleet_worker._ollama.api_errors import ApiError, DeadlineExceededError, OllamaError
from fleet_worker.domain.lane_terms import LaneTerms
from fleet_worker.inference.blocking_inference import BlockingInference
from fleet_worker.inference.probe import TIMEOUT, TRIES, Finding, ModelProbe, probe
from fleet_worker.inference.request_reader import RequestReader

from ..deliveries import lane_settings
from .scripted import Script, Step, Watch, availability, said


def error(text: str, status: int = 500) -> ApiError:
    return ApiError(text, status=status, server_message=text)


class Asked:
    """Fails as often as there are errors."""

    def __init__(self, *errors: OllamaError) -> None:
        self.errors = list(errors)
        self.times = 0

    def __call__(self) -> None:
        self.times += 1
        if self.errors:
            raise self.errors.pop(0)


@pytest.mark.parametrize(
    "errors, finding, times",
    [
        ([], Finding.RUNS, 1),
        ([error("requires more system memory")], Finding.FAILS, 1),
        ([error("something new")], Finding.FAILS, 1),
        ([error("model runner has unexpectedly stopped")] * (TRIES - 1), Finding.RUNS, TRIES),
        ([error("model runner has unexpectedly stopped")] * TRIES, Finding.FAILS, TRIES),
        ([DeadlineExceededError("slow")], Finding.UNKNOWN, 1),
        ([error("busy", 400)], Finding.UNKNOWN, 1),
    ],
)
def test_probe_finds_out_whether_a_model_runs(errors: Any, finding: Finding, times: int) -> None:
    asked = Asked(*errors)
    assert probe(asked, sleep=lambda _seconds: None).finding is finding
    assert asked.times == times


ANSWERS = {
    "chat": {"message": {"role": "assistant", "content": "Hi"}, "done": True, "eval_count": 1},
    "generate": {"response": "Hi", "done": True, "eval_count": 1},
    "embed": {"embeddings": [[1.0]]},
}


def model_probe(script: Script) -> ModelProbe:
    reader = RequestReader((), 1000, runner_options=False)
    return ModelProbe(reader, BlockingInference(script.client, availability(Watch())))


@pytest.mark.parametrize("kind", ["chat", "generate", "embed"])
def test_model_probe_asks_as_little_as_can_be_on_the_terms_of_the_lane(kind: str) -> None:
    script = Script(said(ANSWERS[kind]))
    lane = replace(lane_settings(kind), terms=LaneTerms(keep_alive="10m", option_ranges=(("num_predict", 5.0, 9.0),)))
    assert model_probe(script).run(lane).finding is Finding.RUNS
    (body,) = script.bodies
    assert (body["model"], body["keep_alive"]) == ("m:1", "10m")
    assert kind == "embed" or body["options"]["num_predict"] == 1, "the ranges are for requesters"
    assert script.calls[0].total_timeout == TIMEOUT


@pytest.mark.parametrize(
    "step, finding",
    [
        (said({"error": "requires more system memory"}, 500), Finding.FAILS),
        (said({"error": "server busy"}, 503), Finding.UNKNOWN),
        (said({"message": {"content": ""}, "done": True}), Finding.UNKNOWN),
    ],
)
def test_model_probe_says_what_ollama_said(step: Step, finding: Finding) -> None:
    probed = model_probe(Script(step)).run(lane_settings())
    assert probed.finding is finding and probed.reason


def test_model_probe_with_a_defect_knows_nothing() -> None:
    def broken() -> Any:
        raise LookupError("a defect")

    probed = model_probe(Script(broken)).run(lane_settings())
    assert (probed.finding, probed.reason) == (Finding.UNKNOWN, "LookupError")
