# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The answers of the gateway itself: the models of the fleet, and refusals."""

from __future__ import annotations

import json
import math
import time
from datetime import datetime, timezone
from typing import Any, Optional

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .. import __version__
from ..domain.errors import GatewayError, document
from ..domain.fleet_view import FleetView, ServedModel
from ..settings.config import Config
from ..settings.keys import ApiKeys
from ..transit.exchange import Exchange
from .body import document_of, model_of, received
from .keyholder import keyholder

_CAPABILITIES = {"chat": "completion", "generate": "completion", "embed": "embedding"}

#: A digest for all models, because nodes do not announce digests. Ollama's command line fails without twelve digits.
NO_DIGEST = "0" * 64

#: The most bytes of a question about one model.
SHOW_BYTES = 64 * 1024

#: The most seconds for which a list waits for the first announcement of a node. Clients show an empty list at once.
LIST_SECONDS = 5.0


class Listing:
    """Lists the models of the fleet in the formats of the interfaces."""

    def __init__(self, view: FleetView, exchange: Exchange, keys: Optional[ApiKeys], config: Config) -> None:
        self._view = view
        self._exchange = exchange
        self._keys = keys
        self._config = config

    async def tags(self, request: Request) -> Response:
        """``GET /api/tags`` and ``/api/ps``."""
        return JSONResponse({"models": [_as_ollama(model) for model in await self._models(request)]})

    async def show(self, request: Request) -> Response:
        """``POST /api/show``."""
        keyholder(request.scope, self._keys)  # before the body, which a stranger may make as large as he likes
        limits = self._config.limits
        limits = limits.model_copy(update={"body_bytes": min(limits.body_bytes, SHOW_BYTES)})
        wanted = model_of(document_of(await received(request.scope, request.receive, limits)))
        model = await self._found(request, wanted)
        return JSONResponse({**_as_ollama(model), "capabilities": _capabilities(model), "model_info": {}})

    async def models(self, request: Request) -> Response:
        """``GET /v1/models``, in Anthropic's format for its clients."""
        models = await self._models(request)
        if "anthropic-version" in request.headers:
            data = [
                {"type": "model", "id": model.name, "display_name": model.name, "created_at": _time(model.since)}
                for model in models
            ]
            ends = {"first_id": models[0].name, "last_id": models[-1].name} if models else {}
            return JSONResponse({"data": data, "has_more": False, **ends})
        return JSONResponse({"object": "list", "data": [_as_openai(model) for model in models]})

    async def model(self, request: Request) -> Response:
        """``GET /v1/models/{id}``."""
        return JSONResponse(_as_openai(await self._found(request, request.path_params["name"])))

    async def version(self, request: Request) -> Response:
        """``GET /api/version``: needs no key, but refuses a wrong key, because clients test keys with this path."""
        if {"authorization", "x-api-key"} & set(request.headers):
            keyholder(request.scope, self._keys)
        return JSONResponse({"version": __version__})

    async def _models(self, request: Request) -> list[ServedModel]:
        """Return the models that the key may use.

        :raises GatewayError: 503 without a broker, because nobody knows then what the fleet serves.
        """
        key = keyholder(request.scope, self._keys)
        models = await self._exchange.announced(lambda: self._view.models() or None, time.monotonic() + LIST_SECONDS)
        if models is None:
            self._exchange.need_broker()
        return [model for model in models or () if key.allows(model.name)]

    async def _found(self, request: Request, wanted: str) -> ServedModel:
        """Return a model in any spelling of its name.

        :raises GatewayError: 404 if no node has it or the key may not use it, 503 if no node serves it now.
        """
        key = keyholder(request.scope, self._keys)
        if not key.allows(wanted):
            raise GatewayError(404, "model_not_found", f"no node serves the model {wanted[:200]!r}")
        until = time.monotonic() + self._config.deadline
        model = await self._exchange.announced(lambda: self._view.model_of(wanted), until)
        if model is None:
            raise self._exchange.missing(wanted, key)
        return model


async def managed(_request: Request) -> Response:
    """Refuse a request that would change nodes."""
    raise GatewayError(
        403, "managed", "The models of this fleet are managed by Ansible; ask its operators for another one"
    )


async def refused(request: Request, error: Exception) -> Response:
    """Return the response for an error of the gateway."""
    if not isinstance(error, GatewayError):
        raise error
    headers = {} if error.retry_after is None else {"retry-after": str(math.ceil(error.retry_after))}
    return Response(
        json.dumps(document(error, request.url.path)), error.status, headers=headers, media_type="application/json"
    )


def _as_ollama(model: ServedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": _time(model.since),
        "size": 0,
        "digest": NO_DIGEST,
        "details": {"format": "", "family": "", "families": None, "parameter_size": "", "quantization_level": ""},
    }


def _as_openai(model: ServedModel) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": int(model.since), "owned_by": "library"}


def _capabilities(model: ServedModel) -> list[str]:
    return sorted({_CAPABILITIES[call] for call in model.calls if call in _CAPABILITIES})


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
