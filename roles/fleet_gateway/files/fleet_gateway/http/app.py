# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application: the handler of each path."""

from __future__ import annotations

from typing import Any, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .._ollama.carried_paths import CARRIED_PATHS
from ..domain.errors import GatewayError
from ..observe.metrics import Metrics
from ..settings.config import Config
from .body import ClientGoneError
from .carried import CLIENT_GONE, CarriedEndpoint
from .foreign_pages import ForeignPages
from .listing import Listing, managed, refused
from .page import StatusPage
from .two_lengths import TwoLengths

#: Paths of Ollama's interface that would change a node.
_MANAGED = ("pull", "push", "create", "copy", "delete", "blobs/{digest:path}")

Snapshot = Callable[[], dict[str, Any]]


def application(
    config: Config, carried: CarriedEndpoint, listing: Listing, page: StatusPage, metrics: Metrics, snapshot: Snapshot
) -> Starlette:
    """Return the application.

    :param snapshot: returns the state of the gateway as plain JSON; ``ready`` says whether it can serve requests.
    """

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        state = snapshot()
        return JSONResponse({"ready": state["ready"], "reason": state["reason"]}, 200 if state["ready"] else 503)

    async def measured(request: Request) -> Response:
        _this_machine_only(request, config)
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    async def status(request: Request) -> Response:
        _this_machine_only(request, config)
        return JSONResponse(snapshot())

    routes = [
        *(Route(path, carried, methods=["POST"]) for path in CARRIED_PATHS),
        *page.routes(),
        Route("/api/tags", listing.tags),
        Route("/api/ps", listing.tags),
        Route("/api/show", listing.show, methods=["POST"]),
        Route("/api/version", listing.version),
        Route("/v1/models", listing.models),
        Route("/v1/models/", listing.models),
        Route("/v1/models/{name:path}", listing.model),
        *(Route(f"/api/{name}", managed, methods=["POST", "DELETE", "HEAD", "PUT"]) for name in _MANAGED),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", measured),
        Route("/status", status),
    ]
    middleware = [Middleware(TwoLengths)]
    if config.keys_file is None:
        middleware.append(Middleware(ForeignPages, hosts=config.allowed_hosts, origins=config.cors_origins))
    if config.cors_origins:
        middleware.append(
            Middleware(CORSMiddleware, allow_origins=config.cors_origins, allow_methods=["*"], allow_headers=["*"])
        )
    handlers = {GatewayError: refused, HTTPException: _no_route, ClientGoneError: _nobody}
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


async def _nobody(_request: Request, _error: Exception) -> Response:
    """Return a response that no client receives."""
    return Response(status_code=CLIENT_GONE)


async def _no_route(request: Request, error: Exception) -> Response:
    """Return the response for a path or a method that the gateway does not have."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        response = await refused(
            request, GatewayError(405, "method_not_allowed", f"{request.method} is not allowed for this path")
        )
    else:
        response = await refused(request, GatewayError(error.status_code, "not_found", "There is no such path"))
    response.headers.update(error.headers or {})
    return response


def _this_machine_only(request: Request, config: Config) -> None:
    # A listener for both families names a client of IPv4 like ::ffff:127.0.0.1.
    client = request.client.host.removeprefix("::ffff:") if request.client else ""
    server = str((request.scope.get("server") or ("",))[0]).removeprefix("::ffff:")
    # A proxy on this machine forwards requests of other machines.
    handed_on = any(name in request.headers for name in ("forwarded", "x-forwarded-for", "x-real-ip"))
    # A request of this machine to one of its own addresses comes from the same address.
    if not config.open_metrics and (handed_on or client not in ("127.0.0.1", "::1", server)):
        raise GatewayError(
            403, "not_here", "Only this machine may read /metrics and /status; open_metrics: true allows other machines"
        )
