# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guard against requests with two lengths: ``Content-Length``, and the chunks of ``Transfer-Encoding``.

A proxy in front of the gateway may read one length, and h11 reads the other. Then the rest of the body is the next
request for one of them (request smuggling). RFC 9112 (6.1) lets a server refuse such a request, and requires that the
connection ends.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ..domain.errors import GatewayError
from .listing import refused

_LENGTHS = {b"content-length", b"transfer-encoding"}


class TwoLengths:
    """Refuses requests with two lengths, and ends their connections."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not {name for name, _value in scope["headers"]} >= _LENGTHS:
            await self._app(scope, receive, send)
            return
        problem = GatewayError(400, "ambiguous_length", "A request has Content-Length or Transfer-Encoding, not both")
        response = await refused(Request(scope), problem)
        response.headers["connection"] = "close"
        await response(scope, receive, send)
