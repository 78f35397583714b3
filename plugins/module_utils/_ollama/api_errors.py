# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The errors that a call to an Ollama server can end with.

They fall into three families: nothing was run (the server was not reached, or refused for now), it is not known
whether something was run (the connection broke, or silence lasted too long), and the server answered with an error.
``retry.py`` decides by these families.
"""

from __future__ import annotations

from typing import Any

from .errors import CollectionError


class OllamaError(CollectionError):
    """Every error of a call to an Ollama server.

    :ivar answer: what the server answered, for a caller that hands answers on as they came; else None.
    """

    code = "ollama_error"
    answer: object = None


# Invalid calls


class InvalidServerError(OllamaError):
    """The address, the TLS settings, the headers or the proxy of the server cannot be used as given."""

    code = "invalid_server"


class UnsupportedByServerError(OllamaError):
    """The server is too old for what was asked; ``details["needs"]`` is the first version that has it."""

    code = "unsupported_by_server"


class UnsendableRequestError(OllamaError):
    """What was asked cannot be written as JSON in UTF-8: half a surrogate pair, NaN, nested too deeply."""

    code = "unsendable_request"


# Nothing was run


class ServerUnreachableError(OllamaError):
    """No connection was established: refused, no route, unknown host, timeout, or closed before use."""

    code = "ollama_unreachable"


class TlsError(ServerUnreachableError):
    """The TLS handshake failed: unknown authority, wrong name, client certificate refused."""

    code = "tls_error"


# Outcome unknown


class ConnectionLostError(OllamaError):
    """The connection broke after the request was sent and before the answer was complete."""

    code = "connection_lost"


class ReadTimeoutError(OllamaError):
    """The server stayed silent for longer than the read timeout."""

    code = "ollama_timeout"


# Ended by the caller


class DeadlineExceededError(OllamaError):
    """The total time of the call is over, retries included."""

    code = "deadline_exceeded"


class CallCancelledError(OllamaError):
    """Another thread cancelled the call."""

    code = "cancelled"


# Errors in the server's answer


class ApiError(OllamaError):
    """The server answered with an error.

    :ivar status: the HTTP status; 200 when the error came as a line of a stream that had begun.
    :ivar server_message: the text of the server, word for word.
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
    """Status 503 or 429: the queue of requests is full, or nothing is there behind a proxy. Nothing was run."""

    code = "server_busy"


class DigestMismatchError(ApiError):
    """The bytes that arrived do not have the digest that was announced."""

    code = "digest_mismatch"


class UnexpectedAnswerError(OllamaError):
    """The answer is not of Ollama's API: a proxy's page, another service, a truncated or foreign document."""

    code = "not_ollama"


class IncompleteResponseError(OllamaError):
    """An answer ended without ``done: true`` (or a progress stream without ``success``).

    :ivar partial: what had arrived, in the form of a complete answer.
    """

    code = "incomplete_response"

    def __init__(self, message: str, *, partial: dict[str, Any], remedy: str = "", **details: Any) -> None:
        super().__init__(message, remedy=remedy, **details)
        self.partial = partial


# Upload sources


class UploadSourceError(OllamaError):
    """The file or iterator behind an upload vanished, cannot be read, or has another length than was announced."""

    code = "upload_source"
