# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A request of our own, to find out whether Ollama can run a model: tiny, well-formed, and of the kind of the lane.

What requesters ask can fail for what they ask. So no lane is paused because of their failures alone.
"""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Callable

from .._fleet.messages import Request
from .._ollama.api_errors import OllamaError
from .._ollama.calls import Call
from ..domain.delivery import LaneSettings
from ..logs.defects import contained
from .blocking_inference import BlockingInference
from .fault_table import Fault, fault_of
from .request_reader import RequestReader

#: Seconds for one try. Loading a large model takes minutes, and then it cannot be said to be broken.
TIMEOUT = 120.0

#: How often it is tried when the runner ends under it, which may be another request's doing; and seconds in between.
TRIES = 3
PAUSE = 1.0

#: What is asked, by the type of the lane: as little as can be.
ASKED: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "Hi"}], "options": {"num_predict": 1}},
    "generate": {"prompt": "Hi", "options": {"num_predict": 1}},
    "embed": {"input": "Hi"},
}


class Finding(enum.Enum):
    """What a probe has found out."""

    RUNS = "runs"
    FAILS = "fails"
    #: Ollama is down or busy, or it takes too long.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Probed:
    """:ivar reason: what Ollama said, unless it runs the model."""

    finding: Finding
    reason: str = ""


def probe(ask: Callable[[], object], sleep: Callable[[float], None] = time.sleep) -> Probed:
    """Find out whether Ollama runs a model. Takes up to :data:`TRIES` times as long as what is asked, and the pauses.

    :param ask: has Ollama answer one of :data:`ASKED` for the model; raises as the client does.
    """
    for left in reversed(range(TRIES)):
        try:
            ask()
        except OllamaError as error:
            fault = fault_of(error)
            if fault is Fault.RUNNER and left:
                sleep(PAUSE)
                continue
            finding = Finding.FAILS if fault in (Fault.MODEL, Fault.RUNNER) else Finding.UNKNOWN
            return Probed(finding, error.message)
        break
    return Probed(Finding.RUNS)


class ModelProbe:
    """Probes the models of one Ollama, on the terms of their lanes."""

    def __init__(self, reader: RequestReader, inference: BlockingInference) -> None:
        self._reader = reader
        self._inference = inference

    def run(self, lane: LaneSettings) -> Probed:
        """Find out whether Ollama runs the model of a lane; in a thread that may wait. Never raises."""
        return contained(
            lambda: probe(partial(self._ask, lane)),
            lambda error: Probed(Finding.UNKNOWN, type(error).__name__),
            lane=lane.queue,
        )

    def _ask(self, lane: LaneSettings) -> None:
        call, model = lane.lane.type, lane.lane.model
        # Without the ranges of the lane's options, which are for requesters.
        terms = replace(lane.terms, option_ranges=())
        asked = self._reader.on_terms(Request(call, call, model, ASKED[call]), lane, terms)
        self._inference.answer(call, asked.arguments, Call(read_timeout=TIMEOUT, total_timeout=TIMEOUT))
