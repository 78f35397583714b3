# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Base class of HTTP servers inside a test: quiet, on a free loopback port, in threads of the test process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar


class QuietHandler(BaseHTTPRequestHandler):
    """One connection, which a client may end at any moment."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().handle_one_request()


class LoopbackServer(ThreadingHTTPServer):
    """A server on a free loopback port; `url` says which."""

    daemon_threads = True
    request_queue_size = 128  # a connection that finds no room waits for a second

    def __init__(self, handler: type[QuietHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


AnyServer = TypeVar("AnyServer", bound=LoopbackServer)


@contextlib.contextmanager
def serving(made: AnyServer) -> Iterator[AnyServer]:
    """Run a server inside the context."""
    with made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()
