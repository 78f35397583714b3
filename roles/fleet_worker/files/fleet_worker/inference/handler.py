# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The handler of one request: read the request, check it, ask Ollama, and write the answer.

The handler knows neither broker nor scheduler. It takes a task, and returns a verdict and usually a reply. It returns a
verdict after any error, too.

There are two ways to handle a request. :meth:`RequestHandler.serve` runs in a thread of the pool and may wait, also for
an Ollama that has to come up again (``blocking_inference.py``). :meth:`RequestHandler.begin` runs on the I/O thread and
never waits (``async_inference.py``). Embedding requests that wait together first share one call to Ollama
(``embed_batch.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Callable, Optional, Union

from .._fleet.dialects.base import ReplyIdentity
from .._fleet.dialects.carried import write_piece
from .._fleet.messages import Failure
from .._ollama.client import OllamaClient
from ..domain.delivery import Delivery, LaneSettings
from ..domain.protocol_settings import USUAL_PROTOCOL, ProtocolSettings
from ..domain.verdicts import Result, Verdict
from ..logs.defects import contained
from .async_inference import AsyncInference, Conclude
from .availability import OllamaAvailability
from .blocking_inference import BlockingInference
from .embed_batch import EmbedBatches
from .health import Health
from .http_client import HttpClient
from .probe import ModelProbe, Probed
from .replies import Replies
from .request_reader import RequestReader
from .result_writer import ResultWriter
from .task import ParsedRequest, Task, used_up
from .tries import Conclusion, Later

#: Called with the outcome of a request, or with ``None`` if a thread must handle the request.
OnEnd = Callable[[Union[Result, Later, None]], None]


@dataclass(frozen=True)
class HandlerSettings:
    """The settings of a handler.

    :ivar worker: the identity of this worker in replies.
    :ivar reply_queues: patterns of the allowed reply queues.
    :ivar max_request: the most bytes of a request's body.
    :ivar max_reply: the most bytes of an answer's body.
    :ivar patience: the most seconds that a request waits for an Ollama that is down.
    :ivar allow_runner_options: whether requesters may set options that make Ollama reload a model.
    :ivar protocol: the settings for requests that state a version of the protocol.
    """

    worker: ReplyIdentity
    reply_queues: tuple[str, ...]
    max_request: int
    max_reply: int
    patience: float
    allow_runner_options: bool
    protocol: ProtocolSettings = USUAL_PROTOCOL


class RequestHandler:
    """Handles requests with one Ollama. For any number of threads, except :meth:`begin`.

    :param http: calls the same Ollama from the I/O thread; ``None`` if that is impossible.
    """

    def __init__(
        self, settings: HandlerSettings, client: OllamaClient, health: Health, http: Optional[HttpClient] = None
    ) -> None:
        self._identity = settings.worker
        self._reader = RequestReader(
            settings.reply_queues,
            settings.max_request,
            runner_options=settings.allow_runner_options,
            protocol=settings.protocol,
        )
        self._results = ResultWriter(Replies(settings.worker, settings.max_reply))
        availability = OllamaAvailability(health, settings.patience)
        self._blocking = BlockingInference(client, availability)
        self._async = None if http is None else AsyncInference(http, client, availability)
        self._batches = EmbedBatches(self._reader, self._blocking, availability)
        self._probe = ModelProbe(self._reader, self._blocking)

    @property
    def node(self) -> str:
        """The name of this node."""
        return self._identity.node

    def begin(self, task: Task, ended: OnEnd) -> bool:
        """Begin to handle a request on the I/O thread, if one call to Ollama is enough.

        :param ended: called on a later turn of the loop with the outcome of the request.
        :return: whether the work has begun. If not, a thread must handle the request.
        """
        # serve() meets the same defect, and returns an error for it.
        return contained(lambda: self._begin(task, ended), lambda _error: False, lane=task.queue)

    def serve(self, task: Task, conclusion: Optional[Conclusion] = None) -> Union[Result, Later]:
        """Handle a request, in a thread that may wait.

        :param conclusion: the conclusion of the work, if a shared call has already done the work.
        """
        return contained(lambda: self._serve(task, conclusion), partial(self._defect, task.delivery), lane=task.queue)

    def embed_together(self, tasks: Sequence[Task], max_bytes: int) -> dict[Task, Conclusion]:
        """Make the embeddings of all requests that can share a call; return their conclusions.

        The caller must serve each task that is missing in the result alone.

        :param max_bytes: the most bytes of the texts of one call.
        """
        return self._batches.run(tasks, max_bytes)

    def probe(self, lane: LaneSettings) -> Probed:
        """Find out whether Ollama runs the model of a lane, in a thread that may wait. Never raises."""
        return self._probe.run(lane)

    def expired(self, delivery: Delivery) -> Result:
        """Return the result of a request whose deadline has passed during the work."""
        return self._fail(
            delivery, Failure("inference_timeout", "the answer did not come in time", started=delivery.received)
        )

    def unacceptable(self, delivery: Delivery) -> Result:
        """Return the result of a request whose answer the broker does not accept."""
        return self._fail(delivery, Failure("payload_too_large", "the broker does not take so large an answer"))

    def used_up(self, delivery: Delivery, count: int) -> Result:
        """Return the result of a request that cannot return to its queue, because this was its last delivery.

        :param count: the number of earlier deliveries.
        """
        return self._fail(delivery, used_up(count))

    def _begin(self, task: Task, ended: OnEnd) -> bool:
        if self._async is None:
            return False
        reading = self._reader.read_once(task)
        if isinstance(reading, Result) or reading.failure or reading.wants_deltas or task.hopeless():
            return False
        return self._async.begin(task, reading.request, partial(self._on_answer, task, reading, ended))

    def _on_answer(self, task: Task, reading: ParsedRequest, ended: OnEnd, conclude: Conclude) -> None:
        """End a request of :meth:`begin` after Ollama's answer or an error."""

        def result() -> Union[Result, Later, None]:
            conclusion = conclude()
            return None if conclusion is None else self._results.conclude(reading, conclusion, task.stop)

        ended(contained(result, partial(self._defect, task.delivery), lane=task.queue))

    def _serve(self, task: Task, conclusion: Optional[Conclusion]) -> Union[Result, Later]:
        reading = self._reader.read_once(task)
        if isinstance(reading, Result):
            return reading
        if reading.wants_deltas and reading.dialect.write_delta is not None:
            task.deltas.use(self._results.deltas(reading.request, reading.dialect.write_delta))
        if reading.request.carried is not None and reading.request.reply_to is not None:
            task.deltas.carry(lambda piece: write_piece(reading.request, piece, self._identity))
        conclusion = reading.failure or conclusion or task.hopeless() or self._blocking.infer(task, reading.request)
        return self._results.conclude(reading, conclusion, task.stop)

    def _fail(self, delivery: Delivery, failure: Failure) -> Result:
        return contained(
            lambda: self._answer(delivery, failure), partial(self._defect, delivery), lane=delivery.lane.queue
        )

    def _answer(self, delivery: Delivery, failure: Failure) -> Result:
        reading = self._reader.read(delivery)
        return reading if isinstance(reading, Result) else self._results.answer(reading, failure)

    def _defect(self, delivery: Delivery, error: Exception) -> Result:
        """Return the result of a request that met a defect of the worker: an error, without a requeue.

        Without a reply queue, or if even the error cannot be written, the request is dead-lettered without an answer.
        """
        if isinstance(error, RecursionError):
            failure = Failure("unsupported_type", "the request, or its answer, is nested too deeply")
        else:
            failure = Failure("inference_failed", f"a defect of the worker ({type(error).__name__})", final=True)
        # If the request itself cannot be read, its properties are enough for an answer.
        bare = replace(delivery, message=replace(delivery.message, headers={}, body=b"{}"))
        for known in (delivery, bare):
            result = contained(
                partial(self._answer, known, failure), _nothing, "defect_in_defect", lane=delivery.lane.queue
            )
            if result is not None:
                return replace(result, verdict=Verdict.REJECT, outcome="defect")
        return Result(Verdict.REJECT, "defect")


def _nothing(_error: Exception) -> Optional[Result]:
    return None
