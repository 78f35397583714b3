# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A probe: a tiny request of the worker, which shows whether Ollama can run a model.

A requester's request may fail because of its own content. So the worker pauses a lane only after a failed probe.
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

#: The most seconds of one attempt. A large model may take longer to load, so a timeout is not a failure.
TIMEOUT = 120.0

#: The most attempts if the runner ends, because another request may have ended it; and the seconds in between.
TRIES = 3
PAUSE = 1.0

#: The arguments of the probe by type of the lane: as little work as possible.
ASKED: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "Hi"}], "options": {"num_predict": 1}},
    "generate": {"prompt": "Hi", "options": {"num_predict": 1}},
    "embed": {"input": "Hi"},
}


class Finding(enum.Enum):
    """The finding of a probe."""

    RUNS = "runs"
    FAILS = "fails"
    #: Ollama is down, busy or too slow.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Probed:
    """:ivar reason: Ollama's error; empty if Ollama runs the model."""

    finding: Finding
    reason: str = ""


def probe(ask: Callable[[], object], sleep: Callable[[float], None] = time.sleep) -> Probed:
    """Find out whether Ollama runs a model, in at most :data:`TRIES` attempts.

    :param ask: calls Ollama with one of :data:`ASKED` for the model; raises the errors of the client.
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
    """Probes the models of one Ollama, with the settings of their lanes."""

    def __init__(self, reader: RequestReader, inference: BlockingInference) -> None:
        self._reader = reader
        self._inference = inference

    def run(self, lane: LaneSettings) -> Probed:
        """Find out whether Ollama runs the model of a lane, in a thread that may wait. Never raises."""
        return contained(
            lambda: probe(partial(self._ask, lane)),
            lambda error: Probed(Finding.UNKNOWN, type(error).__name__),
            lane=lane.queue,
        )

    def _ask(self, lane: LaneSettings) -> None:
        call, model = lane.lane.type, lane.lane.model
        # The allowed ranges of options concern requesters, not the probe.
        terms = replace(lane.terms, option_ranges=())
        asked = self._reader.on_terms(Request(call, call, model, ASKED[call]), lane, terms)
        self._inference.answer(call, asked.arguments, Call(read_timeout=TIMEOUT, total_timeout=TIMEOUT))
