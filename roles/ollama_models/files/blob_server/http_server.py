# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP server of the blobs: two requests, both signed, both GET.

``/v1/blobs/sha256-<hex>/pieces`` returns the available pieces of a blob, and ``/v1/blobs/sha256-<hex>`` with a range
returns available bytes. The server refuses all other requests before it reads the store.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Callable, Optional

from ._mirror.peers.piece_list import LONGEST_PIECE
from ._mirror.peers.signature import RequestSigner
from ._mirror.transfer.bandwidth import Bandwidth
from ._ollama.errors import CollectionError
from .connections import Connections
from .library import Library, SharedBlob

if TYPE_CHECKING:
    from ssl import SSLContext

#: Seconds for which a connection may be silent, or wait for its next request.
SILENCE = 30.0

#: Seconds for the first request of a connection. Only a signed request gives its connection the longer time.
FIRST_REQUEST = 10.0

#: Bytes of an answer that are sent before the limits are looked at again, and the seconds for them: 1 KiB a second. A
#: receiver that limits itself to 64 KiB a second takes 2 KiB a second with each of 32 threads, in lumps of 64 KiB. A
#: slower receiver would hold one of the few uploads for hours.
PART = 256 * 1024
PART_SECONDS = 256.0

#: Seconds in which a receiver must take some bytes.
SILENT_RECEIVER = 45.0

#: Connections beside those that send bytes: of neighbours that only look, or keep one for the next piece.
_LOOKS = 512

_BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

_TARGET = re.compile(r"/v1/blobs/sha256-([0-9a-f]{64})(/pieces)?")
_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{1,15})")


class BlobServer(ThreadingHTTPServer):
    """Serves one library.

    :param uploads: the most concurrent answers with bytes; further requests get the answer that the node is busy.
    :param rate: the bytes a second of all answers together; ``None`` for no limit.
    :param busy: returns whether the node has more important work; the server then sends no bytes.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        library: Library,
        signer: RequestSigner,
        *,
        uploads: int,
        rate: Optional[int],
        busy: Callable[[], bool] = lambda: False,
        tls: Optional[SSLContext] = None,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.library = library
        self.signer = signer
        self.busy = busy
        self.bandwidth = Bandwidth(rate)
        self.uploads = threading.BoundedSemaphore(uploads)
        self._tls = tls
        self.connections = Connections(uploads + _LOOKS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without the DNS lookup of http.server, which can take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection on a separate thread, unless there are too many connections."""
        client = self.connections.enter(client_address)
        if client is None:
            with contextlib.suppress(OSError):
                if self._tls is None:
                    request.setblocking(False)
                    request.send(_BUSY)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client)
        except BaseException:
            self.connections.leave(client)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        try:
            with contextlib.suppress(OSError):
                request.settimeout(FIRST_REQUEST)
                # Ends the connection to a client that takes no byte at all, or that was switched off.
                request.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SILENT_RECEIVER * 1000))
                # Or a slow receiver could have more unsent bytes than it takes in the time for a part.
                request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, PART)
                # The handshake runs on this thread, so a client that does not finish it delays no other client.
                wrapped = self._tls.wrap_socket(request, server_side=True) if self._tls else request
                super().process_request_thread(wrapped, client_address)
        finally:
            self.connections.leave(client_address)

    def service_actions(self) -> None:
        """End the connections whose clients are late; called twice a second."""
        self.connections.cut()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log no broken connections, because neighbours come and go."""


class _Handler(BaseHTTPRequestHandler):
    server: BlobServer
    protocol_version = "HTTP/1.1"
    server_version = "legionio-blobs"
    sys_version = ""
    timeout = SILENCE
    disable_nagle_algorithm = True
    _trusted = False

    def handle_one_request(self) -> None:
        """Wait for a request, and answer it."""
        self._allow(SILENCE if self._trusted else FIRST_REQUEST)
        super().handle_one_request()

    def do_GET(self) -> None:
        """Answer a request."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        if not self.server.signer.accepts(self.path, headers):
            self._say(401)
            return
        self._trusted = True
        self.server.connections.trust(self.client_address)
        self._allow(SILENCE)
        found = _TARGET.fullmatch(self.path)
        if found is None:
            self._say(404)
            return
        try:
            blob = self.server.library.find(f"sha256:{found[1]}")
        except CollectionError as error:
            self.log_error("%s", error)
            self._say(500)
            return
        if blob is None:
            self._say(404)
            return
        with contextlib.closing(blob):
            if found[2]:
                self._send_marks(blob)
            else:
                self._send_range(blob, headers.get("range", ""))

    def _send_marks(self, blob: SharedBlob) -> None:
        self.send_response(200)
        self.send_header("X-Blob-Size", str(blob.size))
        body = b""
        if blob.marks is None:
            self.send_header("X-Blob-State", "whole")
        else:
            body = blob.marks.marks
            self.send_header("X-Blob-State", "partial")
            self.send_header("X-Piece-Size", str(blob.marks.piece_size))
            self.send_header("X-Importer", re.sub(r"[^0-9a-f]", "", blob.marks.importer))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_range(self, blob: SharedBlob, asked: str) -> None:
        found = _RANGE.fullmatch(asked)
        start, stop = (int(found[1]), int(found[2]) + 1) if found else (0, 0)
        if stop - start > LONGEST_PIECE or not blob.has(start, stop):
            self._say(416)
            return
        if self.server.busy() or not self.server.uploads.acquire(blocking=False):
            self._say(503)
            return
        try:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{blob.size}")
            self.send_header("Content-Length", str(stop - start))
            self.end_headers()
            self.wfile.flush()
            # The system calls a connection writable only when much of the unsent bytes has gone.
            self.connection.settimeout(PART_SECONDS)
            self._send(blob.descriptor, start, stop)
            self.connection.settimeout(SILENCE)
        finally:
            self.server.uploads.release()

    def _send(self, descriptor: int, start: int, stop: int) -> None:
        with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
            while start < stop:
                if self.server.busy():
                    # The neighbour asks another one for the rest.
                    self.close_connection = True
                    return
                self._allow(PART_SECONDS)
                count = self.connection.sendfile(file, start, min(PART, stop - start))
                if not count:
                    self.close_connection = True
                    return
                start += count
                debt = self.server.bandwidth.spend(count)
                if debt:
                    self._allow(debt + PART_SECONDS)
                    time.sleep(debt)

    def _allow(self, seconds: float) -> None:
        self.server.connections.allow(self.client_address, self.connection, seconds)

    def _say(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if status == 503:
            self.send_header("Retry-After", "1")
        if status == 401:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_error(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives it
        """Log errors for administrators, but not the timeout of a silent connection."""
        if not format.startswith("Request timed out"):
            super().log_error(format, *args)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Log only refusals of strangers, because a fleet sends a hundred requests a second."""
        if code == 401:
            self.log_error("refused %s, which did not sign with the fleet's secret", self.client_address[0])
