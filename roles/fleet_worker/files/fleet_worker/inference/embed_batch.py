# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Embeddings of several requests, made by one call: Ollama takes an array of texts, and is faster with it.

Requests with equal options become one call; each gets the vectors of its own texts. When that call ends with an error,
nothing is known of any single request: then each is served by itself, so that none fails for what another has in it.

The call has the longest time of all its requests. The worker answers each of them at its own time, whether the call is
over or not.

This runs in the threads of the pool.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._fleet.messages import Failure, Success
from .._ollama.api_errors import (
    CallCancelledError,
    ConnectionLostError,
    OllamaError,
    ServerBusyError,
    ServerUnreachableError,
)
from .._ollama.usage import counted
from ..domain.delivery import Delivery
from ..domain.verdicts import Verdict
from ..logs.log import Log
from .cancel_token import CancelToken
from .handler import Ready, RequestHandler
from .request_reader import ANSWER_RESERVE
from .tries import LOST_TRIES, Tries

LOG = Log()

#: What Ollama says of the time of a call, in nanoseconds.
_TIMES = ("total_duration", "load_duration")


@dataclass
class _Batch:
    """Requests that become one call.

    :ivar arguments: what they have in common.
    :ivar texts: those of each request.
    """

    arguments: dict[str, Any]
    deliveries: list[Delivery] = field(default_factory=list)
    stops: list[CancelToken] = field(default_factory=list)
    tries: list[Tries] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    size: int = 0


def serve_together(
    server: RequestHandler,
    deliveries: Sequence[Delivery],
    stops: Sequence[CancelToken],
    tries: Sequence[Tries],
    max_bytes: int,
) -> dict[Delivery, Ready]:
    """Make embeddings for those requests that can be served together, and return what came of each of them.

    What is missing in the result has to be served by itself.

    :param max_bytes: of the texts of one call.
    """
    ready: dict[Delivery, Ready] = {}
    try:
        for batch in _batches(server, deliveries, stops, tries, max_bytes):
            if len(batch.deliveries) > 1:
                ready.update(_run(server, batch))
    except Exception:
        # A defect of ours, which must cost nobody an answer.
        LOG.exception("defect", lane=deliveries[0].served.queue)
    return ready


def _batches(
    server: RequestHandler,
    deliveries: Sequence[Delivery],
    stops: Sequence[CancelToken],
    tries: Sequence[Tries],
    max_bytes: int,
) -> Iterator[_Batch]:
    """Put together what has equal options, up to so many bytes."""
    open_batches: dict[str, _Batch] = {}
    for delivery, stop, tried in zip(deliveries, stops, tries):
        arguments = server.embedding_of(delivery)
        if arguments is None:
            continue
        given = arguments.pop("input")
        texts = [given] if isinstance(given, str) else given
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        key = json.dumps(arguments, sort_keys=True)
        batch = open_batches.setdefault(key, _Batch(arguments))
        if batch.deliveries and batch.size + size > max_bytes:
            yield batch
            batch = open_batches[key] = _Batch(arguments)
        batch.deliveries.append(delivery)
        batch.stops.append(stop)
        batch.tries.append(tried)
        batch.texts.append(texts)
        batch.size += size
    yield from open_batches.values()


def _run(server: RequestHandler, batch: _Batch) -> dict[Delivery, Ready]:
    texts = [text for texts in batch.texts for text in texts]
    begun, started = time.monotonic(), time.time()
    lost = 0
    while True:
        seconds = max(ANSWER_RESERVE, max(delivery.seconds_left() for delivery in batch.deliveries) - ANSWER_RESERVE)
        try:
            result = server.embed({**batch.arguments, "input": texts}, batch.stops[0], seconds)
            return dict(_shared_out(batch, result, started, time.monotonic() - begun))
        except CallCancelledError:
            return dict.fromkeys(batch.deliveries, Verdict.REQUEUE)
        except ServerBusyError as error:
            took = time.monotonic() - begun
            return {
                delivery: server.ended(error, delivery, tried, started, took)
                for delivery, tried in zip(batch.deliveries, batch.tries)
            }
        except (ServerUnreachableError, ConnectionLostError) as error:
            lost += isinstance(error, ConnectionLostError)
            if lost > LOST_TRIES:
                return {}  # one of them may be what breaks it
            if server.wait_for_ollama(error, begun, seconds):
                continue
            if batch.stops[0].stopped:
                return dict.fromkeys(batch.deliveries, Verdict.REQUEUE)
            # They have waited together, and need not do so again one after the other.
            failure = Failure("ollama_unavailable", error.message, started, time.monotonic() - begun)
            return {
                delivery: Verdict.REQUEUE if server.may_return(delivery) else failure for delivery in batch.deliveries
            }
        except OllamaError:
            return {}


def _shared_out(batch: _Batch, result: Any, started: float, seconds: float) -> Iterator[tuple[Delivery, Success]]:
    """Give each request the vectors of its texts, in the form of an answer of its own.

    Ollama counts the tokens of the whole; each gets a share by the length of its texts. Of the rest each gets the
    fields that are known, so that an odd one, which the text of one request has caused, is in no other's answer.
    """
    vectors = result["embeddings"]
    common = {"model": batch.arguments["model"], **{name: counted(result[name]) for name in _TIMES if name in result}}
    tokens = counted(result.get("prompt_eval_count"))
    lengths = [sum(map(len, texts)) for texts in batch.texts]
    place = done = given = 0
    for delivery, texts, length in zip(batch.deliveries, batch.texts, lengths):
        done += length
        # Rounded so that the shares add up to the whole.
        upto = tokens * done // max(1, sum(lengths))
        own = {**common, "embeddings": vectors[place : place + len(texts)], "prompt_eval_count": upto - given}
        place, given = place + len(texts), upto
        yield delivery, Success(own, started, seconds)
