# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guard for a gateway without keys: web pages of other people must not use it by a browser of its host.

Such a gateway listens to its own host alone, and a browser of that host runs the scripts of every page that somebody
opens there. A script may send a request to any address (the browser only hides the answer), and a page whose name is
made to mean 127.0.0.1 after it was loaded (DNS rebinding) may read the answer, too. The first comes with a foreign
``Origin``, the second with a foreign ``Host``.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection
from typing import Optional

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ..domain.errors import GatewayError
from .listing import refused

#: Host and port of a Host header, or of an Origin behind its scheme.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]/@\s]+)(?::([0-9]{1,5}))?")


class ForeignPages:
    """Refuses requests that a page of another origin makes a browser send.

    :param hosts: names of this host beside its own and ``localhost``, as a proxy before it may hand on.
    :param origins: pages that may use it; ``*`` for all.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], origins: Collection[str]) -> None:
        self._app = app
        self._hosts = {host.lower() for host in (*hosts, "localhost", socket.gethostname(), socket.getfqdn())}
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
            return
        response = await refused(Request(scope), problem)
        await response(scope, receive, send)

    def _problem(self, scope: Scope) -> Optional[GatewayError]:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if host and not self._is_ours(host):
            return GatewayError(
                403,
                "foreign_host",
                f"Without keys, this gateway answers by the names of its own host, not by {host[:100]!r};"
                " allowed_hosts adds a name",
            )
        if origin and not self._may_ask(origin, host):
            return GatewayError(
                403,
                "foreign_origin",
                f"Without keys, this gateway answers no page of {origin[:100]!r}; cors_origins allows one",
            )
        return None

    def _is_ours(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].strip("[]").lower().rstrip(".")
        if name in self._hosts or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)  # a rebound name would be sent as the name
        except ValueError:
            return False
        return True

    def _may_ask(self, origin: str, host: str) -> bool:
        if origin in self._origins or "*" in self._origins:
            return True
        scheme, separator, rest = origin.partition("://")
        if not separator:
            return False  # "null", of a page that hides where it is from
        # No web page has another scheme: it is an editor's, or another program's of this host.
        return scheme not in ("http", "https") or rest.lower() == host.lower()
