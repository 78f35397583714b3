# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Ollama's responses: the document of a success, the typed error of a failure or of a server that is not Ollama."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Optional

from .api_errors import (
    AccessDeniedError,
    ApiError,
    DigestMismatchError,
    InvalidRequestError,
    ModelNotFoundError,
    OllamaError,
    ServerBusyError,
    UnexpectedAnswerError,
    UnsupportedByServerError,
)
from .diagnosis import answered_by, excerpt, redirect_target, wants_tls
from .documents import read_object
from .features import OLDEST
from .streams import error_text
from .text import printable
from .transport import HttpResponse, ResponseHead

#: The largest body, in bytes. Ollama sends tens of megabytes at most, for a large batch of embeddings.
MAX_ANSWER = 1024 * 1024 * 1024
#: Characters of the server's message that an error repeats: the message can quote a whole template or schema.
SHOWN_ERROR = 500
#: Error lines about a missing model. Converters report missing files, tensors and programs in similar words.
_NOT_FOUND = re.compile(
    r"(?:^|manifest: )file does not exist|\bmodel\b[^:]* not found|no such model",
    re.IGNORECASE,
)
_MISMATCH = re.compile(r"digest mismatch, expected \"?(sha256:[0-9a-f]{64})\"?, got \"?(sha256:[0-9a-f]{64})\"?")


def read(response: HttpResponse, url: str) -> bytes:
    """Return the whole body.

    :raises UnexpectedAnswerError: when the body is larger than :data:`MAX_ANSWER`.
    """
    content = bytearray()
    for chunk in response.chunks():
        content += chunk
        if len(content) > MAX_ANSWER:
            raise UnexpectedAnswerError(f"The answer of {url} has more than {MAX_ANSWER} bytes", host=url)
    return bytes(content)


def document(content: bytes, url: str) -> dict[str, Any]:
    """Return the JSON object of a successful response.

    :raises UnexpectedAnswerError: for any other content.
    """
    found = read_object(content)
    if found is None:
        raise UnexpectedAnswerError(
            f"The server at {url} is not Ollama: it sent {excerpt(content)}",
            remedy="Correct the address; if there is a proxy in between, check its rules",
            host=url,
        )
    return found


def error(response: ResponseHead, content: bytes, url: str, body: Mapping[str, Any]) -> OllamaError:
    """Return the error for a response with a status of 300 or more.

    :param body: the body of the request, which has the name of the model.
    """
    status, reason = response.status, response.reason
    found = read_object(content)
    if status in (429, 503):
        text = error_text(found["error"]) if found and "error" in found else excerpt(content)
        return ServerBusyError(
            f"{url} is busy: {printable(text)}",
            status=status,
            server_message=text,
            remedy="Try again later, send fewer requests at a time, or raise OLLAMA_MAX_QUEUE",
            host=url,
        )
    if found is not None and "error" in found:
        return _api_error(status, error_text(found["error"]), url, body)
    if 300 <= status < 400:
        return UnexpectedAnswerError(
            f"{url} redirects to {redirect_target(response.headers.get('Location', ''))}",
            remedy="The client follows no redirects: set host to the target of the redirect",
            host=url,
            status=status,
        )
    text = excerpt(content)
    if status == 404 and content.strip() == b"404 page not found":
        return UnsupportedByServerError(
            f"{url} does not have this part of the API",
            remedy=f"Upgrade the server to Ollama {OLDEST} or newer, or correct the path in host",
            host=url,
            status=status,
            needs=OLDEST,
        )
    if status in (401, 403):
        return _denied(status, text, url)
    if wants_tls(content):
        return UnexpectedAnswerError(f"{url} speaks TLS", remedy="Write https:// instead of http://", host=url)
    return UnexpectedAnswerError(
        f"The server at {url} is not Ollama: {status} {printable(reason)} with {text}{answered_by(response.headers)}",
        remedy="Correct the address; if there is a proxy in between, read its log and check that Ollama runs behind it",
        host=url,
        status=status,
        server_message=text,
    )


def late_error(text: str, url: str, model: Optional[str]) -> OllamaError:
    """Return the error for an ``error`` in a document with status 200, such as a line of a stream."""
    return _api_error(200, text, url, {"model": model})


def _api_error(status: int, text: str, url: str, body: Mapping[str, Any]) -> ApiError:
    name = body.get("model") or body.get("source")
    common: dict[str, Any] = {"status": status, "server_message": text, "host": url}
    if name is not None:
        common["name"] = str(name)
    mismatch = _MISMATCH.search(text)
    if mismatch:
        return DigestMismatchError(
            f"{url} refused the blob: its digest is {mismatch.group(2)} instead of {mismatch.group(1)}",
            remedy="The data changed or was damaged on the way: check the source, and upload the blob again",
            **common,
            expected=mismatch.group(1),
            digest=mismatch.group(2),
        )
    if name is not None and (status == 404 or (status == 200 and _NOT_FOUND.search(text))):
        return ModelNotFoundError(
            f"The model {name!r} was not found by {url}: {printable(text, SHOWN_ERROR)}",
            remedy="Correct the name, or pull or import the model first",
            **common,
        )
    if status in (401, 403):
        return _denied(status, text, url)
    kind = InvalidRequestError if status == 400 else ApiError
    about = f" for the model {name!r}" if name is not None else ""
    remedy = "Correct the request" if status == 400 else "Read the log of the Ollama server"
    if "no space left on device" in text:
        remedy = "Free space on the disk of the server's models directory; the server keeps the transferred bytes"
    return kind(f"{url} answered with an error{about}: {printable(text, SHOWN_ERROR)}", remedy=remedy, **common)


def _denied(status: int, text: str, url: str) -> AccessDeniedError:
    return AccessDeniedError(
        f"{url} denies access ({status}): {printable(text, SHOWN_ERROR)}",
        remedy="Set headers to the credentials that the server requires, or, without a proxy, host to a name that "
        "Ollama accepts: localhost, an IP address, or a name that it listens on",
        status=status,
        server_message=text,
        host=url,
    )
