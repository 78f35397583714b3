# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guard for a gateway without keys: foreign web pages must not use the gateway through a browser on its host.

Such a gateway listens only to its own host. But a browser on that host runs the scripts of every opened page. A script
may send requests to any address, although the browser hides the answers. If an attacker changes the address of the
page's own name to 127.0.0.1 (DNS rebinding), the script can also read the answers. Requests of the first kind have a
foreign ``Origin``, requests of the second kind a foreign ``Host``.
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
    """Refuses requests that a browser sends for a page of another origin.

    :param hosts: further names of this host, for example those that a proxy forwards.
    :param origins: origins of pages that may use the gateway; ``*`` for all.
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
            ipaddress.ip_address(name)  # with DNS rebinding, Host is a name and not an address
        except ValueError:
            return False
        return True

    def _may_ask(self, origin: str, host: str) -> bool:
        if origin in self._origins or "*" in self._origins:
            return True
        scheme, separator, rest = origin.partition("://")
        if not separator:
            return False  # "null", from a page without an origin of its own
        # Web pages have no other scheme; an editor or another program on this host has.
        return scheme not in ("http", "https") or rest.lower() == host.lower()
