# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The errors of a call to an Ollama server.

``retry.py`` distinguishes three groups. The call was not run: the server was unreachable or busy. The outcome is
unknown: the connection broke, or the server was silent for too long. The server answered with an error.
"""

from __future__ import annotations

from typing import Any

from .errors import CollectionError


class OllamaError(CollectionError):
    """The base of all errors of a call to an Ollama server.

    :ivar answer: the server's answer, for a caller that passes answers on unchanged; else None.
    """

    code = "ollama_error"
    answer: object = None


# Invalid calls


class InvalidServerError(OllamaError):
    """The address, the TLS settings, the headers or the proxy of the server cannot be used as given."""

    code = "invalid_server"


class UnsupportedByServerError(OllamaError):
    """The server is too old for the request; ``details["needs"]`` is the first version that supports it."""

    code = "unsupported_by_server"


class UnsendableRequestError(OllamaError):
    """The request cannot be written as JSON in UTF-8: half a surrogate pair, NaN, nested too deeply."""

    code = "unsendable_request"


# Calls that were not run


class ServerUnreachableError(OllamaError):
    """No connection was established: refused, no route, unknown host, timeout, or closed before use."""

    code = "ollama_unreachable"


class TlsError(ServerUnreachableError):
    """The TLS handshake failed: unknown authority, wrong name, client certificate refused."""

    code = "tls_error"


# Calls with an unknown outcome


class ConnectionLostError(OllamaError):
    """The connection broke after the request was sent and before the answer was complete."""

    code = "connection_lost"


class ReadTimeoutError(OllamaError):
    """The server stayed silent for longer than the read timeout."""

    code = "ollama_timeout"


# Calls that the caller ended


class DeadlineExceededError(OllamaError):
    """The call, with its retries, exceeded its total time."""

    code = "deadline_exceeded"


class CallCancelledError(OllamaError):
    """Another thread cancelled the call."""

    code = "cancelled"


# Errors in the server's answer


class ApiError(OllamaError):
    """The server answered with an error.

    :ivar status: the HTTP status; 200 for an error in a line of a stream.
    :ivar server_message: the server's own text.
    """

    code = "ollama_error"

    def __init__(self, message: str, *, status: int, server_message: str, remedy: str = "", **details: Any) -> None:
        super().__init__(message, remedy=remedy, status=status, server_message=server_message, **details)
        self.status = status
        self.server_message = server_message


class ModelNotFoundError(ApiError):
    """The server, or the registry that it asked, does not have the model."""

    code = "model_not_found"


class InvalidRequestError(ApiError):
    """Status 400. For embed this also covers failures of the model runner (Ollama gives those the same status)."""

    code = "invalid_request"


class AccessDeniedError(ApiError):
    """Status 401 or 403: a proxy wants credentials, Ollama refuses the Host header, a cloud model needs a sign-in."""

    code = "access_denied"


class ServerBusyError(ApiError):
    """Status 503 or 429: the queue of requests is full, or a proxy has no server behind it. The call was not run."""

    code = "server_busy"


class DigestMismatchError(ApiError):
    """The received bytes do not have the announced digest."""

    code = "digest_mismatch"


class UnexpectedAnswerError(OllamaError):
    """The answer is not from Ollama's API: a proxy's page, another service, a broken document."""

    code = "not_ollama"


class IncompleteResponseError(OllamaError):
    """An answer ended without ``done: true`` (or a progress stream without ``success``).

    :ivar partial: the received part, in the form of a complete answer.
    """

    code = "incomplete_response"

    def __init__(self, message: str, *, partial: dict[str, Any], remedy: str = "", **details: Any) -> None:
        super().__init__(message, remedy=remedy, **details)
        self.partial = partial


# Upload sources


class UploadSourceError(OllamaError):
    """The source of an upload vanished, cannot be read, or does not have the announced length."""

    code = "upload_source"
