# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A request on its way: how much time is left for it, and whether Ollama is asked at all."""

from __future__ import annotations

import time

import pytest
from fleet_worker._fleet.messages import Failure
from fleet_worker.inference.task import ANSWER_RESERVE

from ..deliveries import delivery, lane_settings
from .tasks import task_of


def test_task_keeps_a_moment_for_the_answer() -> None:
    task = task_of(delivery(lane=lane_settings(deadline=10.0)))
    assert 9.0 < task.seconds_left < 10.0 - ANSWER_RESERVE + 0.001
    assert task.call_seconds == pytest.approx(task.seconds_left, abs=0.5)
    assert task.hopeless() is None
    assert (task.queue, task.model) == (lane_settings().queue, "m:1")


def test_task_whose_time_is_over_is_hopeless_and_still_has_some_for_a_call() -> None:
    task = task_of(delivery(headers={"x-legion-fleet-deadline": int((time.time() - 60) * 1000)}))
    assert task.seconds_left < 0
    assert task.call_seconds == ANSWER_RESERVE
    failure = task.hopeless()
    assert isinstance(failure, Failure)
    assert failure.code == "inference_timeout" and not failure.started


def test_task_whose_delivery_is_the_last_is_hopeless() -> None:
    failure = task_of(delivery(count=1000)).hopeless()
    assert isinstance(failure, Failure)
    assert failure.code == "inference_failed" and "1000 deliveries" in failure.message
