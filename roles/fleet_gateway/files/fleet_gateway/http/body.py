# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The body of a request: received within limits of size and time, and parsed as far as the gateway needs."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive, Scope

from .._fleet.json_size import MAX_VALUES, has_more_values
from .._ollama.json_text import NestedTooDeeplyError, read_json
from ..domain.errors import GatewayError
from ..runtime.interrupts import within
from ..settings.config import LimitsConfig

#: The most characters of a model's name. Names are kept in caches.
LONGEST_MODEL = 1000


class ClientGoneError(Exception):
    """The client has disconnected."""


async def received(scope: Scope, receive: Receive, limits: LimitsConfig) -> bytes:
    """Receive the whole body.

    :raises GatewayError: 413 if the body is too large, 408 if it arrives too slowly.
    :raises ClientGoneError: if the client disconnects before the end of the body.
    """
    announced = dict(scope["headers"]).get(b"content-length", b"")
    if announced.isdigit() and int(announced) > limits.body_bytes:
        raise _too_large(limits)
    try:
        with within(limits.body_seconds):
            return await _whole(receive, limits)
    except asyncio.TimeoutError:
        raise GatewayError(
            408, "request_timeout", f"The body did not come within {limits.body_seconds:g} seconds"
        ) from None


async def _whole(receive: Receive, limits: LimitsConfig) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        size += len(part)
        if size > limits.body_bytes:
            raise _too_large(limits)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large(limits: LimitsConfig) -> GatewayError:
    return GatewayError(413, "request_too_large", f"The body has more than the {limits.body_bytes} bytes allowed")


def document_of(body: bytes) -> dict[str, Any]:
    """Parse a body as a JSON object.

    :raises GatewayError: 400 if the body is anything else, 413 if it has too many values.
    """
    if has_more_values(body.decode("utf-8", "replace"), MAX_VALUES):
        raise GatewayError(413, "request_too_large", f"The body has more than the {MAX_VALUES} values allowed")
    try:
        found = read_json(body)
    except NestedTooDeeplyError as error:
        raise GatewayError(400, "invalid_json", f"The body {error}") from None
    except ValueError:
        raise GatewayError(400, "invalid_json", "The body is not JSON") from None
    if not isinstance(found, dict):
        raise GatewayError(400, "invalid_json", "The body is not a JSON object")
    return found


def model_of(document: dict[str, Any]) -> str:
    """Return the model that a request names.

    :raises GatewayError: 400 if the request names no model, 404 if no model can have such a long name.
    """
    # When Ollama's command line asks for the capabilities of a model, it sends an empty "model" and the name in "name".
    model = document.get("model") or document.get("name")
    if not isinstance(model, str) or not model.strip():
        raise GatewayError(400, "missing_required_parameter", "model is required, as a text")
    if len(model) > LONGEST_MODEL:
        raise GatewayError(
            404, "model_not_found", f"no node serves a model with a name of {len(model)} characters ({model[:200]!r})"
        )
    return model
