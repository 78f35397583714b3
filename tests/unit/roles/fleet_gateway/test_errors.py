# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors in the shape of the interface that was asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fleet_gateway._fleet.messages import Failure
from fleet_gateway.domain.errors import GatewayError, document, event, of_failure

ERROR = GatewayError(429, "queue_full", "Too many")


@pytest.mark.parametrize(
    "path, shape",
    [
        ("/api/chat", {"error": "Too many"}),
        ("/api/tags", {"error": "Too many"}),
        (
            "/v1/chat/completions",
            {"error": {"message": "Too many", "type": "rate_limit_error", "param": None, "code": "queue_full"}},
        ),
        (
            "/v1/models",
            {"error": {"message": "Too many", "type": "rate_limit_error", "param": None, "code": "queue_full"}},
        ),
        ("/v1/messages", {"type": "error", "error": {"type": "rate_limit_error", "message": "Too many"}}),
        ("/v1/messages/count_tokens", {"type": "error", "error": {"type": "rate_limit_error", "message": "Too many"}}),
    ],
)
def test_document_has_the_shape_of_the_interface(path: str, shape: Any) -> None:
    assert document(ERROR, path) == shape


@pytest.mark.parametrize(
    "path, content_type, beginning",
    [
        ("/api/chat", "application/x-ndjson", b'{"error"'),
        ("/v1/chat/completions", "text/event-stream", b'data: {"error"'),
        ("/v1/responses", "text/event-stream", b'event: error\ndata: {"type": "error"'),
        ("/v1/messages", "text/event-stream", b'event: error\ndata: {"type": "error"'),
    ],
)
def test_event_ends_a_stream_in_its_own_words(path: str, content_type: str, beginning: bytes) -> None:
    ended = event(ERROR, path, content_type)
    assert ended.startswith(beginning) and ended.endswith(b"\n")
    assert json.loads(ended.splitlines()[1 if b"event:" in ended else 0].removeprefix(b"data: "))


@pytest.mark.parametrize(
    "failure, status",
    [
        (Failure("unsupported_type", "x"), 400),
        (Failure("payload_too_large", "x"), 413),
        (Failure("model_not_loaded", "x"), 404),
        (Failure("ollama_unavailable", "x"), 503),
        (Failure("inference_timeout", "x"), 504),
        (Failure("inference_failed", "x"), 500),
        (Failure("inference_failed", "x", final=True), 400),
    ],
)
def test_of_failure_has_the_status_that_clients_expect(failure: Failure, status: int) -> None:
    assert of_failure(failure).status == status
