# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ollama with a script: the real client over a transport that answers what a test says."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Callable, Union

from fleet_worker._ollama.calls import Call
from fleet_worker._ollama.client import OllamaClient
from fleet_worker._ollama.errors import CollectionError
from fleet_worker._ollama.transport import HttpRequest
from fleet_worker.inference.availability import OllamaAvailability

JSON = "application/json"


class Answer:
    """An answer that comes in pieces. A piece that is an exception is raised."""

    reason = ""

    def __init__(self, *pieces: Union[bytes, Exception], status: int = 200, content_type: str = JSON) -> None:
        self.pieces = pieces
        self.status = status
        self.headers: Mapping[str, str] = {"Content-Type": content_type}

    def chunks(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def close(self) -> None:
        """Nothing is held."""


def said(document: Any, status: int = 200) -> Answer:
    return Answer(json.dumps(document).encode(), status=status)


Step = Union[Answer, Exception, Callable[[], Answer]]


class Script:
    """A transport that takes one step for each request; the last one for ever."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.requests: list[HttpRequest] = []
        self.calls: list[Call] = []
        #: Without retries, as the worker has it.
        self.client = OllamaClient("127.0.0.1:1", retries=0, transport=self)

    def send(self, request: HttpRequest, call: Call) -> Answer:
        self.requests.append(request)
        self.calls.append(call)
        call.check()
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, Answer) else step()

    def close(self) -> None:
        """Nothing is held."""

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.body) for request in self.requests if isinstance(request.body, bytes)]


class Watch:
    """The health of an Ollama that comes up, or does not, as a test says; it never takes time.

    :param ups: whether Ollama comes up in time, for each wait; the last one for ever.
    :param lost: the keys of the models that Ollama has no more.
    """

    def __init__(self, *ups: bool, lost: Collection[str] = ()) -> None:
        self.lost = lost
        self.ups = list(ups or (False,))
        self.suspected: list[CollectionError] = []
        self.waits: list[float] = []

    def still_has(self, model_key: str) -> bool:
        return model_key not in self.lost

    def suspect(self, error: CollectionError) -> None:
        self.suspected.append(error)

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return self.ups.pop(0) if len(self.ups) > 1 else self.ups[0]


def availability(watch: Watch, patience: float = 30.0) -> OllamaAvailability:
    return OllamaAvailability(watch, patience)  # type: ignore[arg-type]
