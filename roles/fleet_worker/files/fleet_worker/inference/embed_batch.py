# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call for the embedding requests that wait together: Ollama is faster with an array of texts.

Requests with equal options share one call, and each gets the vectors of its own texts. If the call fails, the worker
tries each request alone, so that no request fails because of another one.

The call has the time limit of its longest request. The worker answers each request by its own deadline, even if the
call has not ended. The end of the work on some of the requests does not end the call; the end of all of them does.

Everything here runs in the threads of the pool.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Optional

from .._fleet.messages import Success
from .._ollama.api_errors import CallCancelledError, OllamaError, ServerBusyError
from .._ollama.calls import Call
from .._ollama.usage import counted
from ..domain.verdicts import Result
from ..logs.defects import contained
from .availability import OllamaAvailability, UnavailableError
from .blocking_inference import BlockingInference
from .request_reader import RequestReader
from .task import Task
from .tries import Conclusion

#: Ollama's fields for the times of a call, in nanoseconds.
_TIMES = ("total_duration", "load_duration")


@dataclass
class _Batch:
    """Requests that share one call.

    :ivar arguments: the common arguments.
    :ivar texts: the texts of each request.
    :ivar size: the bytes of all texts.
    """

    arguments: dict[str, Any]
    tasks: list[Task] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    size: int = 0


class EmbedBatches:
    """Makes the embeddings of several requests in one call. For any number of threads."""

    def __init__(self, reader: RequestReader, inference: BlockingInference, availability: OllamaAvailability) -> None:
        self._reader = reader
        self._inference = inference
        self._availability = availability

    def run(self, tasks: Sequence[Task], max_bytes: int) -> dict[Task, Conclusion]:
        """Make the embeddings of all requests that can share a call; return their conclusions.

        The caller must serve each task that is missing in the result alone.

        :param max_bytes: the most bytes of the texts of one call.
        """
        conclusions: dict[Task, Conclusion] = {}

        def run() -> None:
            for batch in self._batches(tasks, max_bytes):
                if len(batch.tasks) > 1:
                    conclusions.update(self._embed(batch))

        contained(run, lambda _error: None, lane=tasks[0].queue)  # after a defect, each request is served alone
        return conclusions

    def _batches(self, tasks: Sequence[Task], max_bytes: int) -> Iterator[_Batch]:
        """Yield batches of requests with equal options, within the limit of bytes."""
        open_batches: dict[str, _Batch] = {}
        for task in tasks:
            arguments = self._arguments_of(task)
            if arguments is None:
                continue
            given = arguments.pop("input")
            texts = [given] if isinstance(given, str) else given
            size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
            key = json.dumps(arguments, sort_keys=True)
            batch = open_batches.setdefault(key, _Batch(arguments))
            if batch.tasks and batch.size + size > max_bytes:
                yield batch
                batch = open_batches[key] = _Batch(arguments)
            batch.tasks.append(task)
            batch.texts.append(texts)
            batch.size += size
        yield from open_batches.values()

    def _arguments_of(self, task: Task) -> Optional[dict[str, Any]]:
        """Return the arguments of the call for an embedding request with texts; ``None`` for other requests.

        Ollama makes no embedding of a request whose input is an empty text, but makes one of an empty text in a list.
        """
        if task.stop.stopped or task.hopeless():
            return None
        reading = self._reader.read_once(task)
        if isinstance(reading, Result) or reading.failure:
            return None
        arguments = dict(reading.request.arguments)
        return arguments if reading.request.call == "embed" and arguments.get("input", "") != "" else None

    def _embed(self, batch: _Batch) -> dict[Task, Conclusion]:
        """Make the call of a batch."""
        arguments = {**batch.arguments, "input": [text for texts in batch.texts for text in texts]}
        begun, started = time.monotonic(), time.time()

        def ask() -> dict[str, Any]:
            return self._inference.answer("embed", arguments, _begin_call(batch.tasks))

        def seconds_left() -> float:
            return max(task.seconds_left for task in batch.tasks)

        try:
            first = any(task.delivery.count == 0 for task in batch.tasks)
            result = self._availability.persist(ask, seconds_left, first=first)
            conclusions: dict[Task, Conclusion] = dict(_shares(batch, result, started, time.monotonic() - begun))
            return {**conclusions, **{task: task.stop.verdict for task in batch.tasks if task.stop.abandoned}}
        except CallCancelledError:
            return {task: task.stop.verdict for task in batch.tasks}
        except ServerBusyError as error:
            conclude = partial(self._availability.conclude, started=started, seconds=time.monotonic() - begun)
            return {task: conclude(error, task) for task in batch.tasks}
        except UnavailableError as gone:
            if gone.breaks:
                return {}  # one of the requests may break the connection
            # The requests have waited together, and must not wait again one after the other.
            give_up = partial(self._availability.give_up, gone, started=started, seconds=time.monotonic() - begun)
            return {task: task.stop.verdict if task.stop.stopped else give_up(task.delivery) for task in batch.tasks}
        except OllamaError:
            return {}


def _begin_call(tasks: Sequence[Task]) -> Call:
    """Return a call to Ollama that ends when nobody waits for it: each request was stopped, or its deadline passed."""
    seconds = max(task.call_seconds for task in tasks)
    call = Call(read_timeout=seconds, total_timeout=seconds)

    def cancel() -> None:
        if all(task.stop.stopped or task.seconds_left <= 0 for task in tasks):
            call.cancel()

    for task in tasks:
        task.stop.cancel_by(cancel)
    return call


def _shares(batch: _Batch, result: Any, started: float, seconds: float) -> Iterator[tuple[Task, Success]]:
    """Yield an answer for each request, with the vectors of its own texts.

    Ollama counts the tokens of all texts together, so each request gets a share in proportion to the length of its
    texts. Of the other fields, each answer has only the known ones, because the text of another request may have caused
    an unknown field.
    """
    vectors = result["embeddings"]
    common = {"model": batch.arguments["model"], **{name: counted(result[name]) for name in _TIMES if name in result}}
    tokens = counted(result.get("prompt_eval_count"))
    lengths = [sum(map(len, texts)) for texts in batch.texts]
    place = done = given = 0
    for task, texts, length in zip(batch.tasks, batch.texts, lengths):
        done += length
        # Rounded so that the shares add up to the whole.
        upto = tokens * done // max(1, sum(lengths))
        own = {**common, "embeddings": vectors[place : place + len(texts)], "prompt_eval_count": upto - given}
        place, given = place + len(texts), upto
        yield task, Success(own, started, seconds)
