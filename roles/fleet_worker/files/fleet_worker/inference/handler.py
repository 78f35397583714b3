# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of one request: it is read, checked, answered by Ollama, and its answer is written.

This knows neither broker nor scheduler: a delivery in, a verdict and perhaps a reply out. Whatever happens, there is a
verdict.

There are two ways to handle a request. :meth:`RequestHandler.serve` runs in a thread of the pool and may wait, also for
an Ollama that has to come up again. :meth:`RequestHandler.begin` runs on the I/O thread and never waits. It sends one
question to Ollama (``http_client.py``), and leaves everything that takes more than one to the first way.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Optional, Union

from .._fleet.dialects.headers import ignored_fields
from .._fleet.messages import Failure, Outcome, Request, Success
from .._ollama.api_errors import (
    CallCancelledError,
    ConnectionLostError,
    IncompleteResponseError,
    OllamaError,
    ServerBusyError,
    ServerUnreachableError,
)
from .._ollama.calls import Call
from .._ollama.client import Inference, OllamaClient
from .._ollama.streams import GenerationStream
from .._ollama.usage import usage_of
from ..domain.delivery import Delivery, LaneSettings
from ..domain.lane_rule import ALONE
from ..domain.verdicts import Result, Verdict
from ..logs.log import Log
from .answer_check import check_answer
from .cancel_token import CancelToken
from .deltas import DeltaPublisher
from .fault_table import Fault, ModelFailure, failure_of, fault_of
from .health import Health
from .http_client import HttpClient, HttpResult
from .probe import ASKED, TIMEOUT, Finding, Probed, probe
from .replies import Replies
from .request_reader import ANSWER_RESERVE, HandlerSettings, RequestReader, Task
from .tries import LOST_TRIES, RUNNER_PAUSE, Later, Tries

LOG = Log()

#: What came of a request before its turn.
Ready = Union[Outcome, Verdict, Later]


class RequestHandler:
    """Serves requests with one Ollama. For any number of threads, but for :meth:`begin`.

    :param asker: asks the same Ollama on the I/O thread; None when that cannot be done.
    """

    def __init__(
        self, terms: HandlerSettings, client: OllamaClient, health: Health, asker: Optional[HttpClient] = None
    ) -> None:
        self._terms = terms
        self._reader = RequestReader(terms)
        self._replies = Replies(terms.worker, terms.max_reply)
        self._client = client
        self._health = health
        self._asker = asker
        self._calls: dict[str, Callable[..., dict[str, Any]]] = {
            "chat": client.chat,
            "generate": client.generate,
            "embed": client.embed,
        }
        self._streams: dict[str, Callable[..., GenerationStream]] = {
            "chat": client.chat_stream,
            "generate": client.generate_stream,
        }

    def serve(
        self,
        delivery: Delivery,
        stop: CancelToken,
        deltas: DeltaPublisher,
        ready: Optional[Ready] = None,
        tries: Optional[Tries] = None,
    ) -> Union[Result, Later]:
        """Serve a request.

        :param deltas: where pieces of the answer go, when the requester wants them.
        :param ready: what came of it already, together with others.
        :param tries: what was tried for it before.
        """
        try:
            return self._serve(delivery, stop, deltas, ready, tries or Tries())
        except Exception as error:
            LOG.exception("defect", lane=delivery.served.queue)
            return self._defect(delivery, error)

    def expired(self, delivery: Delivery) -> Result:
        """Return what becomes of a request whose answer has not come in time."""
        return self._failed(
            delivery, Failure("inference_timeout", "the answer did not come in time", started=delivery.received)
        )

    def unacceptable(self, delivery: Delivery) -> Result:
        """Return what becomes of a request whose answer the broker does not take."""
        return self._failed(delivery, Failure("payload_too_large", "the broker does not take so large an answer"))

    def _failed(self, delivery: Delivery, failure: Failure) -> Result:
        try:
            task = self._reader.read(delivery)
            if isinstance(task, Result):
                return task
            return self._answered(task, failure)
        except Exception as error:
            LOG.exception("defect", lane=delivery.served.queue)
            return self._defect(delivery, error)

    def begin(
        self,
        delivery: Delivery,
        stop: CancelToken,
        ended: Callable[[Union[Result, Later, None]], None],
        tries: Optional[Tries] = None,
    ) -> bool:
        """Serve a request without waiting, on the I/O thread, if nothing more is to be done than to ask Ollama.

        :param ended: called on a later turn of the loop with what became of it; with None when it has to be served in
            a thread after all.
        :param tries: what was tried for it before.
        :return: whether it was begun. If not, it has to be served in a thread.
        """
        try:
            return self._asker is not None and self._begin(self._asker, delivery, stop, ended, tries or Tries())
        except Exception:
            LOG.exception("defect", lane=delivery.served.queue)
            return False  # serve() will meet the same defect, and knows what to do about it

    def _begin(
        self,
        asker: HttpClient,
        delivery: Delivery,
        stop: CancelToken,
        ended: Callable[[Union[Result, Later, None]], None],
        tries: Tries,
    ) -> bool:
        task = self._reader.read(delivery)
        if isinstance(task, Result) or task.failure or _wants_deltas(task) or self._reader.hopeless(delivery):
            return False
        if tries.runner_ended:
            return False  # it waits a moment first
        arguments = task.request.arguments
        try:
            inference = self._client.inference(task.request.call, arguments)
        except OllamaError:
            return False  # it cannot be sent as it is; serve() says why
        if inference is None:
            return False
        heard = partial(self._heard, task, arguments, inference, stop, tries, time.time(), time.monotonic())
        told = partial(self._told, delivery, heard, ended)
        try:
            seconds = max(ANSWER_RESERVE, delivery.seconds_left() - ANSWER_RESERVE)
            asked = asker.ask(inference.request, seconds, told)
        except ValueError:
            return False  # headers of the configuration that cannot be sent; the client says which
        stop.ends(asked.cancel)
        return True

    def _told(
        self,
        delivery: Delivery,
        heard: Callable[[HttpResult], Union[Result, Later, None]],
        ended: Callable[[Union[Result, Later, None]], None],
        told: HttpResult,
    ) -> None:
        """Ollama has answered what :meth:`begin` had it asked, or has not."""
        served: Union[Result, Later, None]
        try:
            served = heard(told)
        except Exception as error:
            LOG.exception("defect", lane=delivery.served.queue)
            served = self._defect(delivery, error)
        ended(served)

    def _heard(
        self,
        task: Task,
        arguments: Mapping[str, Any],
        inference: Inference,
        stop: CancelToken,
        tries: Tries,
        started: float,
        begun: float,
        told: HttpResult,
    ) -> Union[Result, Later, None]:
        """Return what becomes of a request by what Ollama has answered; None when that is for a thread to find out."""
        outcome: Ready
        try:
            if isinstance(told, OllamaError):
                raise told
            result = inference.result_of(told, told.body())
            check_answer(task.request.call, arguments, result)
            outcome = Success(result, started, time.monotonic() - begun)
        except CallCancelledError:
            outcome = _stopped(stop)
        except (ServerUnreachableError, ConnectionLostError):
            return None  # it is waited for
        except OllamaError as error:
            outcome = self.ended(error, task.delivery, tries, started, time.monotonic() - begun)
        return self._concluded(task, outcome, stop)

    def _serve(
        self, delivery: Delivery, stop: CancelToken, deltas: DeltaPublisher, ready: Optional[Ready], tries: Tries
    ) -> Union[Result, Later]:
        task = self._reader.read(delivery)
        if isinstance(task, Result):
            return task
        write_delta = task.dialect.write_delta
        if write_delta is not None and _wants_deltas(task):
            deltas.use(self._replies.deltas(task.request, write_delta))
        outcome: Ready = (
            task.failure
            or ready
            or self._reader.hopeless(delivery)
            or self._infer(task.request, delivery, stop, deltas, tries)
        )
        return self._concluded(task, outcome, stop)

    def _defect(self, delivery: Delivery, error: Exception) -> Result:
        """Return what becomes of a request that has met a defect of ours: it is answered, and never comes back.

        Without a queue to answer to, or if not even the error can be written, it is dead-lettered without an answer.
        """
        if isinstance(error, RecursionError):
            failure = Failure("unsupported_type", "the request, or its answer, is nested too deeply")
        else:
            failure = Failure("inference_failed", f"a defect of the worker ({type(error).__name__})", final=True)
        # If the request itself is what cannot be read, its properties say enough to answer it.
        bare = replace(delivery, message=replace(delivery.message, headers={}, body=b"{}"))
        for known in (delivery, bare):
            try:
                task = self._reader.read(known)
                served = task if isinstance(task, Result) else self._answered(task, failure)
                return replace(served, verdict=Verdict.REJECT, outcome="defect")
            except Exception:
                LOG.exception("defect_in_defect", lane=delivery.served.queue)
        return Result(Verdict.REJECT, "defect")

    def embedding_of(self, delivery: Delivery) -> Optional[dict[str, Any]]:
        """Return what Ollama would be asked for a request, if it is one for embeddings of texts; else None."""
        return self._reader.embedding_of(delivery)

    def embed(self, arguments: Mapping[str, Any], stop: CancelToken, seconds: float) -> dict[str, Any]:
        """Have Ollama make embeddings.

        :raises OllamaError: as the client does, and for an answer that is none to that.
        """
        result = self._calls["embed"](call=stop.begin(seconds), **arguments)
        check_answer("embed", arguments, result)
        return result

    def ended(self, error: OllamaError, delivery: Delivery, tries: Tries, started: float, seconds: float) -> Ready:
        """Return what comes of a request that Ollama has answered with an error.

        :param started: when Ollama was asked, seconds since 1970.
        :param seconds: how long Ollama was at work.
        """
        left = delivery.seconds_left() - ANSWER_RESERVE
        if isinstance(error, ServerBusyError):
            again = tries.busy(error.message, self._terms.patience, left)
            if again is not None:
                return again
            if self.may_return(delivery):
                return Verdict.REQUEUE
            return Failure("ollama_unavailable", error.message, started, seconds)
        if fault_of(error) is Fault.RUNNER:
            again = tries.runner_end(error.message, left)
            if again is not None:
                return again
            message = f"the process that runs the model ended each time that it served this request: {error.message}"
            # After a while it was not alone any more.
            return ModelFailure("inference_failed", message, started, seconds, final=seconds < ALONE)
        return failure_of(error, started, seconds)

    def probe(self, served: LaneSettings) -> Probed:
        """Find out whether Ollama runs the model of a lane; in a thread that may wait. Never raises."""
        lane = served.lane
        asked = Request(lane.type, lane.type, lane.model, ASKED[lane.type])

        def ask() -> None:
            arguments = self._reader.on_terms(asked, served, replace(served.terms, option_ranges=())).arguments
            result = self._calls[lane.type](call=Call(read_timeout=TIMEOUT, total_timeout=TIMEOUT), **arguments)
            check_answer(lane.type, arguments, result)

        try:
            return probe(ask)
        except Exception as error:
            LOG.exception("defect", lane=served.queue)
            return Probed(Finding.UNKNOWN, type(error).__name__)

    def wait_for_ollama(self, error: OllamaError, begun: float, seconds: float) -> bool:
        """Wait until an Ollama that has not answered is up, for as long as requests wait; return whether it is.

        :param begun: when it was asked first, on the monotonic clock.
        """
        self._health.suspect(error)
        seconds = min(seconds, begun + self._terms.patience - time.monotonic())
        return seconds > 0 and self._health.wait(seconds)

    def may_return(self, delivery: Delivery) -> bool:
        """Whether another node gets a request that this Ollama does not answer.

        Once only: the next one that cannot says so to the requester.
        """
        return delivery.count == 0 and delivery.seconds_left() > self._terms.patience

    def _infer(
        self, request: Request, delivery: Delivery, stop: CancelToken, deltas: DeltaPublisher, tries: Tries
    ) -> Ready:
        """Have Ollama answer. An Ollama that is down is waited for, within bounds."""
        arguments = request.arguments
        if tries.runner_ended:
            time.sleep(RUNNER_PAUSE)
        begun, started = time.monotonic(), time.time()
        lost = 0
        while True:
            try:
                call = stop.begin(max(ANSWER_RESERVE, delivery.seconds_left() - ANSWER_RESERVE))
                if deltas.wanted:
                    result = _streamed(self._streams[request.call](call=call, **arguments), deltas)
                else:
                    result = self._calls[request.call](call=call, **arguments)
                check_answer(request.call, arguments, result)
                return Success(result, started, time.monotonic() - begun)
            except CallCancelledError:
                return _stopped(stop)
            except (ServerUnreachableError, ConnectionLostError) as error:
                lost += isinstance(error, ConnectionLostError)
                left = delivery.seconds_left() - ANSWER_RESERVE if lost <= LOST_TRIES else 0.0
                if self.wait_for_ollama(error, begun, left):
                    continue
                if stop.stopped:
                    return _stopped(stop)
                if lost <= LOST_TRIES and self.may_return(delivery):
                    return Verdict.REQUEUE
                return Failure("ollama_unavailable", error.message, started, time.monotonic() - begun)
            except OllamaError as error:
                return self.ended(error, delivery, tries, started, time.monotonic() - begun)

    def _concluded(self, task: Task, outcome: Ready, stop: CancelToken) -> Union[Result, Later]:
        """Return what becomes of a request by what came of its work."""
        if isinstance(outcome, Later):
            if not stop.stopped:
                return outcome
            outcome = _stopped(stop)
        if isinstance(outcome, Verdict):
            return Result(outcome, "requester_gone" if stop.abandoned else "given_back", fields=task.fields)
        return self._answered(task, outcome)

    def _answered(self, task: Task, outcome: Outcome) -> Result:
        """Return what becomes of a request with its answer."""
        request, verdict, fields = task.request, task.verdict, task.fields
        fields["seconds"] = outcome.seconds or None
        if request.ignored:
            fields["ignored"] = ignored_fields(request.ignored)
        if isinstance(outcome, Success):
            usage = usage_of(outcome.result)
            fields.update(input_tokens=usage["input_tokens"], output_tokens=usage["output_tokens"])
        broken = outcome.message if isinstance(outcome, ModelFailure) else ""
        if request.reply_to is None:
            fields["unanswered"] = "no reply_to"
            return Result(verdict, _word(outcome), fields=fields, broken=broken)
        reply, outcome = self._replies.write(task.dialect, request, outcome)
        if isinstance(outcome, Failure):
            fields["error"] = outcome.message[:300]
        return Result(verdict, _word(outcome), reply, fields, broken)


def _stopped(stop: CancelToken) -> Verdict:
    """Return what becomes of a request whose work was ended: another node may still do it, if anybody waits for it."""
    return Verdict.ACK if stop.abandoned else Verdict.REQUEUE


def _wants_deltas(task: Task) -> bool:
    return task.request.stream and task.request.reply_to is not None and task.dialect.write_delta is not None


def _streamed(stream: GenerationStream, deltas: DeltaPublisher) -> dict[str, Any]:
    """Pass on the pieces of an answer; return the whole, as it would have come at once.

    :raises ConnectionLostError: also when that happens in the middle, as it does for an answer that comes at once.
    """
    result: dict[str, Any] = {}
    deltas.start_over()
    try:
        with stream:
            for event in stream:
                if event.type == "done":
                    result = event.data
                else:
                    deltas.add(event)
    except IncompleteResponseError as error:
        if isinstance(error.__cause__, ConnectionLostError):
            raise ConnectionLostError(error.message) from error
        raise
    return result


def _word(outcome: Outcome) -> str:
    if isinstance(outcome, Success):
        return "answered"
    # Ollama was not asked: it had expired before its turn, which is no matter of the model.
    return "expired" if outcome.code == "inference_timeout" and not outcome.started else outcome.code
