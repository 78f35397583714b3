# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""uvicorn, with limits that it lacks: the time in which a client has to send the head of a request, and to read."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Iterator
from typing import Any, Optional

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..settings import credentials
from ..settings.config import Config
from .listener import BACKLOG

#: Seconds after which the gateway closes an idle connection.
KEEP_ALIVE = 75


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol with limits for the client.

    A transport that is closed waits for a client that does not read, without a limit, and so would a drain.

    :cvar head_seconds: the longest time of a request's head.
    :cvar unread_seconds: the longest time for which the client reads nothing.
    """

    head_seconds: float
    unread_seconds: float
    _alarm: Optional[asyncio.TimerHandle] = None
    _unread: Optional[asyncio.TimerHandle] = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: Java's client offers ``h2c`` with each request, and is served without it."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._rest()
        elif self._alarm is None:
            self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._has_read()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        if self._unread is None:
            self._unread = self.loop.call_later(self.unread_seconds, self.transport.abort)

    def _has_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._rest()
        self._has_read()
        super().connection_lost(exc)

    def _watch(self) -> None:
        self._alarm = self.loop.call_later(self.head_seconds, self._too_slow)

    def _rest(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _too_slow(self) -> None:
        self._alarm = None
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and not self.transport.is_closing():
            self.transport.abort()


def protocol(head_seconds: float, unread_seconds: float) -> type[BoundedProtocol]:
    """Return the protocol with these limits."""
    return type("Protocol", (BoundedProtocol,), {"head_seconds": head_seconds, "unread_seconds": unread_seconds})


def keep_uvicorn_quiet() -> None:
    """Limit uvicorn's log to warnings, without those about an answer that stays without its end on purpose."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    # The gateway's own line about the request has the error.
    return record.getMessage() != "ASGI callable returned without completing response."


class Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: the service handles signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(config: Config, app: Any) -> Server:
    """Return a server for an application.

    :raises CredentialError: if the key of the certificate is missing.
    """
    tls: dict[str, Any] = {}
    if config.tls is not None:
        tls = {
            "ssl_certfile": config.tls.cert,
            "ssl_keyfile": str(credentials.path_of(config.tls.key_credential)),
            "ssl_version": ssl.PROTOCOL_TLS_SERVER,
        }
    return Server(
        uvicorn.Config(
            app,
            http=protocol(config.limits.head_seconds, config.limits.unread_seconds),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            limit_concurrency=config.limits.connections,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=int(config.drain_timeout),
            h11_max_incomplete_event_size=config.limits.head_bytes,
            backlog=BACKLOG,
            **tls,
        )
    )
