# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose fault an error of Ollama is, by its status and its text."""

from __future__ import annotations

import pytest
from fleet_worker._ollama.api_errors import (
    AccessDeniedError,
    ApiError,
    ConnectionLostError,
    DeadlineExceededError,
    IncompleteResponseError,
    InvalidRequestError,
    OllamaError,
    ServerBusyError,
    UnexpectedAnswerError,
    UnsendableRequestError,
)
from fleet_worker.inference.fault_table import Fault, ModelFailure, failure_of, fault_of


def error(status: int, text: str) -> ApiError:
    kind = InvalidRequestError if status == 400 else ApiError
    return kind(text, status=status, server_message=text)


@pytest.mark.parametrize(
    "status, text, fault",
    [
        # The texts of Ollama 0.24.0, with what it puts into them.
        (500, 'invalid format: "\\"yaml\\""; expected "json" or a valid JSON Schema object', Fault.REQUEST),
        (500, "invalid JSON schema in format", Fault.REQUEST),
        (400, "the input length exceeds the context length", Fault.REQUEST),
        (400, "input exceeds maximum context length and cannot be truncated further", Fault.REQUEST),
        (400, "embedding contains NaN or Inf values", Fault.REQUEST),
        (500, "failed to encode response: json: unsupported value: NaN", Fault.REQUEST),
        (500, "Failed to create new sequence: failed to process inputs: image: unknown format", Fault.REQUEST),
        (500, 'option "temperature" must be of type float32', Fault.REQUEST),
        (400, "json: cannot unmarshal string into Go struct field", Fault.REQUEST),
        (400, '"smollm2:135m" does not support thinking', Fault.REQUEST),
        (501, "this model does not support embeddings", Fault.REQUEST),
        (422, "no words that we know", Fault.REQUEST),
        (500, "error parsing tool call: raw='{', err=unexpected end of JSON input", Fault.CHANCE),
        (200, "failed to parse JSON: invalid character", Fault.CHANCE),
        (500, "error parsing tool call: raw='model runner has unexpectedly stopped', err=unexpected EOF", Fault.CHANCE),
        (500, "invalid format", Fault.CHANCE),
        (500, "model requires more system memory (80.0 GiB) than is available (3.1 GiB)", Fault.MODEL),
        (500, "llama runner process has terminated: signal: killed", Fault.MODEL),
        (500, "unable to load model: /models/blobs/sha256-0", Fault.MODEL),
        (500, "no words that we know", Fault.MODEL),
        (200, "no words that we know", Fault.MODEL),
        (500, "model runner has unexpectedly stopped, this may be due to resource limitations", Fault.RUNNER),
        (200, "an error was encountered while running the model: unexpected EOF", Fault.RUNNER),
        (500, "llama runner process no longer running: -1 ", Fault.RUNNER),
        (400, 'do embedding request: Post "http://127.0.0.1:4711/embedding": EOF', Fault.RUNNER),
        (499, "request canceled", Fault.NODE),
        (502, "Bad Gateway", Fault.NODE),
        (500, "write: no space left on device", Fault.NODE),
    ],
)
def test_fault_of_an_error_of_the_api(status: int, text: str, fault: Fault) -> None:
    assert fault_of(error(status, text)) is fault
    failure = failure_of(error(status, text))
    assert failure.code == "inference_failed"
    assert failure.retriable is (fault is not Fault.REQUEST)
    assert isinstance(failure, ModelFailure) is (fault in (Fault.MODEL, Fault.RUNNER))


def test_fault_of_a_long_text_is_that_of_its_beginning() -> None:
    text = "error parsing tool call: raw='" + 'option "' * 200_000
    assert fault_of(error(500, text)) is Fault.CHANCE
    assert fault_of(error(500, 'option "' * 200_000)) is Fault.MODEL, "an unknown text"


@pytest.mark.parametrize(
    "found, fault, code, retriable",
    [
        (ConnectionLostError("cut"), Fault.NODE, "inference_failed", True),
        (ServerBusyError("full", status=503, server_message="full"), Fault.NODE, "inference_failed", True),
        (ServerBusyError("full", status=429, server_message="full"), Fault.NODE, "inference_failed", True),
        (UnexpectedAnswerError("a page"), Fault.NODE, "inference_failed", True),
        (UnexpectedAnswerError("a page", status=413), Fault.NODE, "payload_too_large", False),
        (AccessDeniedError("no", status=401, server_message="grammar"), Fault.NODE, "inference_failed", True),
        (DeadlineExceededError("late"), Fault.NODE, "inference_timeout", True),
        (UnsendableRequestError("half a pair"), Fault.REQUEST, "unsupported_type", False),
        (IncompleteResponseError("cut", partial={}), Fault.MODEL, "inference_failed", True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_fault_of_another_error(found: OllamaError, fault: Fault, code: str, retriable: bool) -> None:
    assert fault_of(found) is fault
    failure = failure_of(found)
    assert (failure.code, failure.retriable) == (code, retriable)


def test_failure_of_any_text_has_a_code_of_the_protocol() -> None:
    for status in (200, 301, 400, 404, 413, 418, 429, 500, 599):
        assert failure_of(error(status, "\u202e" * 1000)).category in ("worker", "validation")
