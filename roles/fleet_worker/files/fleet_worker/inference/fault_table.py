# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of Ollama's errors: is the request, the model, another request, or the node at fault?

Ollama's statuses say little: a runner that died during an embedding is a 400, an unknown format is a 500, and an error
in the middle of a stream has the status 200. The texts say more, so the table of texts comes first. The texts are those
of Ollama 0.5 to 0.32: server/routes.go, server/sched.go, llm/server.go, runner/*/runner.go and model/parsers/*.go.

For an unknown text the status decides, and may be wrong. So a fault of the model alone does not pause a lane: a probe
first finds out whether Ollama can run the model (``probe.py``).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from .._fleet.messages import Failure
from .._ollama.api_errors import (
    AccessDeniedError,
    ApiError,
    DeadlineExceededError,
    IncompleteResponseError,
    ModelNotFoundError,
    OllamaError,
    ReadTimeoutError,
    UnsendableRequestError,
)
from .._ollama.streams import MAX_ERROR_TEXT


class Fault(enum.Enum):
    """The part at fault for an error."""

    #: The same request fails on every node, and other requests do not.
    REQUEST = "request"
    #: The model's output of this time cannot be used. The same request may succeed the next time.
    CHANCE = "chance"
    #: Ollama probably cannot run the model.
    MODEL = "model"
    #: The process that runs the model ended during this request, and perhaps during others.
    RUNNER = "runner"
    #: This Ollama, or a proxy in front of it.
    NODE = "node"


@dataclass(frozen=True)
class ModelFailure(Failure):
    """A failure that counts against the model."""


#: The first row whose pattern matches Ollama's message decides.
_TEXTS = tuple(
    (re.compile(pattern, re.IGNORECASE), fault)
    for pattern, fault in (
        # The runner ended during the request; an embedding gets a 400 with an error of Go's HTTP client.
        # Only the beginning counts, because the rest may quote the requester.
        (r"^(model runner has unexpectedly stopped|an error was encountered while running the model)", Fault.RUNNER),
        (r"^(llama runner process no longer running|unexpected server status|server not responding)", Fault.RUNNER),
        (r"^(error reading (llm|embed) response|do embedding request|health resp: |connection refused)", Fault.RUNNER),
        # Ollama could not load the model.
        (r"requires more system memory|unable to load (full )?model|error loading model", Fault.MODEL),
        (r"llama runner process has terminated|timed out waiting for llama runner|error starting runner", Fault.MODEL),
        (r"model failed to load|failed to (allocate|commit) memory|memory layout cannot be allocated", Fault.MODEL),
        (r"unknown model architecture|unsupported model|no longer compatible with your version", Fault.MODEL),
        # The node.
        (r"no space left on device|too many open files|context canceled|request canceled", Fault.NODE),
        (r"no available cache slots|could not find an available sequence|failed to acquire semaphore", Fault.NODE),
        # The model's output begins like a tool call, and cannot be parsed as one.
        (r"tool.?call|^invalid format$|failed to parse (JSON|XML|function call|arguments|value)", Fault.CHANCE),
        (r"empty function name|mismatched arg_key|invalid (argument|function call)|^tool '.*' not found", Fault.CHANCE),
        # The request.
        (r"\bNaN\b|unsupported value", Fault.REQUEST),
        (r"invalid format: |invalid JSON schema|grammar", Fault.REQUEST),
        (r"exceeds? (the |maximum )*context length|entire prompt removed|no input provided", Fault.REQUEST),
        (r"\bimages?\b|failed to process inputs", Fault.REQUEST),
        (r"option \".*\" must be|does not support|invalid input type|^json: |think value", Fault.REQUEST),
    )
)

#: The fault for a status, if no text matches. Otherwise the request is at fault for 4xx, and the model for 5xx.
_STATUSES = {
    200: Fault.MODEL,  # an error line of a stream
    401: Fault.NODE,
    403: Fault.NODE,
    405: Fault.NODE,
    407: Fault.NODE,
    408: Fault.NODE,
    429: Fault.NODE,  # busy
    499: Fault.NODE,
    501: Fault.REQUEST,  # this model makes no embeddings
    502: Fault.NODE,
    503: Fault.NODE,  # busy
    504: Fault.NODE,
}

#: The status with which proxies refuse a body.
_TOO_LARGE = 413


def fault_of(error: OllamaError) -> Fault:
    """Return the part at fault for an error."""
    if isinstance(error, UnsendableRequestError):
        return Fault.REQUEST
    if isinstance(error, IncompleteResponseError):
        return Fault.MODEL
    if not isinstance(error, ApiError) or isinstance(error, AccessDeniedError):
        return Fault.NODE
    text = error.server_message[:MAX_ERROR_TEXT]
    for pattern, fault in _TEXTS:
        if pattern.search(text):
            return fault
    known = _STATUSES.get(error.status)
    return known or (Fault.REQUEST if 400 <= error.status < 500 else Fault.MODEL)


def failure_of(error: OllamaError, started: float = 0.0, seconds: float = 0.0) -> Failure:
    """Return the failure that the requester gets for an error.

    :param started: the time of the call, in seconds since 1970.
    :param seconds: the duration of the call.
    """
    if isinstance(error, (ReadTimeoutError, DeadlineExceededError)):
        return Failure("inference_timeout", error.message, started, seconds)
    if isinstance(error, ModelNotFoundError):
        return Failure("model_not_loaded", error.message, started, seconds)
    if isinstance(error, UnsendableRequestError):
        return Failure("unsupported_type", error.message, started, seconds)
    if error.details.get("status") == _TOO_LARGE:
        return Failure("payload_too_large", error.message, started, seconds)
    fault = fault_of(error)
    kind = ModelFailure if fault in (Fault.MODEL, Fault.RUNNER) else Failure
    message = error.message
    if isinstance(error, IncompleteResponseError):
        message = "Ollama ended its answer before it was complete"
    return kind("inference_failed", message, started, seconds, final=fault is Fault.REQUEST)
