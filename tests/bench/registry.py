# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry that `ollama pull` can read: manifests of its own, and blobs that it redirects to an S3 server.

Ollama wants the redirect, and to another host (server/download.go of v0.32.5).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Callable


class Registry(ThreadingHTTPServer):
    """Serves one model.

    :param sizes: of its blobs, by digest.
    :param locate: returns the URL of a blob.
    """

    daemon_threads = True

    def __init__(self, manifest: bytes, sizes: Mapping[str, int], locate: Callable[[str], str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.manifest = manifest
        self.sizes = sizes
        self.locate = locate
        self.name = f"127.0.0.1:{self.server_address[1]}/library/bench:latest"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Registry

    def log_message(self, *_arguments: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        last = self.path.rsplit("/", 1)[-1]
        if "/manifests/" in self.path:
            self._answer(200, len(self.server.manifest))
            if self.command == "GET":
                self.wfile.write(self.server.manifest)
        elif last not in self.server.sizes:
            self._answer(404, 0)
        elif self.command == "HEAD":
            self._answer(200, self.server.sizes[last])
        else:
            self._answer(307, 0, self.server.locate(last))

    do_HEAD = do_GET

    def _answer(self, status: int, length: int, location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        if location:
            self.send_header("Location", location)
        self.end_headers()


@contextlib.contextmanager
def registry(manifest: bytes, sizes: Mapping[str, int], locate: Callable[[str], str]) -> Iterator[Registry]:
    """A registry for a while."""
    with Registry(manifest, sizes, locate) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()
