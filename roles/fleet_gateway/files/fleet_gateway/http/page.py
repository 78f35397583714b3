# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page at ``/``: static files that are the same for everybody, and the state that they show."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Optional

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..domain.errors import GatewayError
from ..settings.config import PAGE_DISABLED, PAGE_OPEN
from ..settings.keys import ApiKeys, KeyConfig
from .keyholder import keyholder
from .page_state import PageState

FOLDER = Path(__file__).resolve().parents[1] / "page"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

#: The page loads only its own files and data of its own gateway. A name never runs as code: the page has no inline
#: scripts, and text cannot become HTML (Trusted Types, in browsers that support them).
SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script';"
        " trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class _File(NamedTuple):
    content: bytes
    headers: Mapping[str, str]


class StatusPage:
    """Serves the page. If the page is disabled, serves only the text that Ollama's clients expect at ``/``.

    :param access: ``page`` of the configuration.
    :param keys: ``None`` if the gateway has no keys.
    :raises OSError: if a file of the page is missing.
    """

    def __init__(self, state: PageState, access: str, keys: Optional[ApiKeys]) -> None:
        self._state = state
        self._access = access
        self._keys = keys
        self._files = {
            path.name: _File(path.read_bytes(), _headers(path))
            for path in sorted(FOLDER.iterdir())
            if path.suffix in _TYPES
        }

    def routes(self) -> list[Route]:
        """Return the routes of the page."""
        if self._access == PAGE_DISABLED:
            return [Route("/", running)]
        return [Route("/", self._index), Route("/page/state", self._state_document), Route("/page/{name}", self._file)]

    async def _index(self, request: Request) -> Response:
        # Ollama's own command line asks for / first, to see whether a server is there. A browser wants HTML.
        if "text/html" not in request.headers.get("accept", ""):
            return await running(request)
        return self._answer(request, "index.html")

    async def _file(self, request: Request) -> Response:
        return self._answer(request, request.path_params["name"])

    def _answer(self, request: Request, name: str) -> Response:
        file = self._files.get(name)
        if file is None:
            raise GatewayError(404, "not_found", "There is no such path")
        if request.headers.get("if-none-match") == file.headers["etag"]:
            return Response(status_code=304, headers=dict(file.headers))
        return Response(file.content, headers=dict(file.headers))

    async def _state_document(self, request: Request) -> Response:
        document = self._state.document(self._viewer(request))
        return JSONResponse(document, headers={**SECURITY, "cache-control": "no-store"})

    def _viewer(self, request: Request) -> Optional[KeyConfig]:
        """Return the key of the viewer; ``None`` for a viewer who needs no key.

        :raises GatewayError: 401 without a known key, 403 with an expired key.
        """
        without_key = not {"authorization", "x-api-key"} & set(request.headers)
        if self._access == PAGE_OPEN and self._keys is not None and without_key:
            return None
        return keyholder(request.scope, self._keys)


async def running(_request: Request) -> Response:
    """``GET /`` and ``HEAD /`` of a client of Ollama."""
    return PlainTextResponse("Ollama is running", headers={"vary": "accept"})


def _headers(path: Path) -> dict[str, str]:
    tag = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    # The browser asks for the file each time, and gets 304 until another release runs.
    return {
        **SECURITY,
        "content-type": _TYPES[path.suffix],
        "cache-control": "no-cache",
        "etag": f'"{tag}"',
        "vary": "accept",
    }
