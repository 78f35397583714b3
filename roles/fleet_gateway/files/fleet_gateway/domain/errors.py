# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of the gateway, and their format in each of the three interfaces."""

from __future__ import annotations

import json
from typing import Any, Optional

from .._fleet.messages import Failure
from .._ollama.carried_paths import ANTHROPIC, CARRIED_PATHS, EVENT_STREAM, OPENAI

_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
#: Statuses of workers' errors for which HTTP clients expect another status.
_STATUSES = {422: 400}


class GatewayError(Exception):
    """A request that Ollama does not answer.

    :ivar status: the status of HTTP.
    :ivar code: a word for programs.
    :ivar retry_after: seconds after which the same request may succeed; ``None`` if waiting does not help.
    """

    def __init__(self, status: int, code: str, message: str, *, retry_after: Optional[float] = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


def of_failure(failure: Failure) -> GatewayError:
    """Return the error of HTTP for a worker's failure."""
    status = _STATUSES.get(failure.status, failure.status)
    if failure.code == "inference_failed" and failure.final:
        status = 400
    return GatewayError(status, failure.code, failure.message, retry_after=1 if failure.status == 503 else None)


def interface_of(path: str) -> str:
    """Return the interface of a path; other paths have errors in Ollama's format."""
    known = CARRIED_PATHS.get(path)
    if known is not None:
        return known.interface
    if path.startswith("/v1/messages/"):
        return ANTHROPIC
    return OPENAI if path.startswith("/v1/") else "ollama"


def document(error: GatewayError, path: str) -> dict[str, Any]:
    """Return the body of an error."""
    interface = interface_of(path)
    if interface == ANTHROPIC:
        kind = _ANTHROPIC_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": error.message}}
    if interface == OPENAI:
        kind = _OPENAI_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
        return {"error": {"message": error.message, "type": kind, "param": None, "code": error.code}}
    return {"error": error.message}


def event(error: GatewayError, path: str, content_type: str) -> bytes:
    """Return an error as an event of the interface, for a stream that has begun."""
    content = json.dumps(document(error, path)).encode()
    if not content_type.startswith(EVENT_STREAM):
        return content + b"\n"
    if path == "/v1/responses":
        said = {"type": "error", "code": error.code, "message": error.message, "param": None}
        return b"event: error\ndata: " + json.dumps(said).encode() + b"\n\n"
    if interface_of(path) == ANTHROPIC:
        return b"event: error\ndata: " + content + b"\n\n"
    return b"data: " + content + b"\n\n"
