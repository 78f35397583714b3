# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A proxy between a client and an S3 server that injects network and server failures into chosen requests."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Callable, Optional
from urllib.parse import urlsplit

from loopback_http import LoopbackServer, QuietHandler, serving

PIECE = 65536


@dataclass(frozen=True)
class Fault:
    """The fault of one request.

    :param status: answer with this status and S3 error code, or with this body, and ask nobody.
    :param cut_after: send so many bytes of the body, then cut the connection; 0 cuts before the first header.
    :param flip: change this byte of the body.
    :param rate: bytes a second at most.
    :param before: call this first.
    """

    status: Optional[int] = None
    code: str = ""
    body: Optional[bytes] = None
    headers: tuple[tuple[str, str], ...] = ()
    cut_after: Optional[int] = None
    flip: Optional[int] = None
    rate: Optional[float] = None
    before: Optional[Callable[[], None]] = None


class Request:
    """A request, for the rules."""

    def __init__(self, handler: BaseHTTPRequestHandler, number: int) -> None:
        self.method = handler.command
        self.path = handler.path
        self.range = handler.headers.get("Range")
        self.number = number

    @property
    def of_blob(self) -> bool:
        return "/blobs/" in self.path and "list-type" not in self.path

    @property
    def content_from(self) -> Optional[int]:
        """The offset of a request for the content of a blob; None for other requests."""
        return int(self.range[len("bytes=") :].split("-")[0]) if self.of_blob and self.is_get and self.range else None

    @property
    def is_get(self) -> bool:
        return self.method == "GET"


Rule = Callable[[Request], Optional[Fault]]


class Proxy(LoopbackServer):
    """Passes requests on, except those for which the rule returns a fault."""

    def __init__(self, upstream: str) -> None:
        super().__init__(Handler)
        self.upstream = urlsplit(upstream).netloc
        self.rule: Rule = lambda request: None
        self.requests: list[Request] = []
        self.lock = threading.Lock()


class Handler(QuietHandler):
    """One connection to the proxy."""

    server: Proxy

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            request = Request(self, len(self.server.requests))
            self.server.requests.append(request)
            fault = self.server.rule(request) or Fault()
        if fault.before:
            fault.before()
        if fault.status:
            self.refuse(fault)
        elif fault.cut_after == 0:
            self.close_connection = True
        else:
            self.forward(body, fault)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def refuse(self, fault: Fault) -> None:
        body = fault.body
        if body is None:
            body = f"<Error><Code>{fault.code}</Code><Message>made up</Message></Error>".encode()
        self.send_response(fault.status or 500)
        for name, value in fault.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def forward(self, body: bytes, fault: Fault) -> None:
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        with contextlib.closing(upstream):
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    upstream.putheader(name, value)
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.pass_on(answer, fault)

    def pass_on(self, answer: http.client.HTTPResponse, fault: Fault) -> None:
        sent = 0
        while True:
            piece = bytearray(answer.read(PIECE))
            if not piece:
                return
            if fault.flip is not None and sent <= fault.flip < sent + len(piece):
                piece[fault.flip - sent] ^= 1
            if fault.cut_after is not None and sent + len(piece) >= fault.cut_after:
                self.wfile.write(piece[: fault.cut_after - sent])
                self.wfile.flush()
                self.close_connection = True
                return
            self.wfile.write(piece)
            sent += len(piece)
            if fault.rate:
                time.sleep(len(piece) / fault.rate)


@contextlib.contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """A running proxy."""
    with serving(Proxy(upstream)) as made:
        yield made
