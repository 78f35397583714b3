# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripted server on a loopback port."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence

from loopback_http import LoopbackServer, QuietHandler, serving

from .answer import Answer, error, xml
from .bucket import Bucket
from .oddities import Instead, Oddity
from .request import Request
from .service import Manners, Service

#: Requests of one run, after which the client is taken to be in a loop.
LIMIT = 500


class Scene:
    """One bucket, and its server with some oddities.

    :ivar requests: all that came.
    :ivar statuses: those of the answers.
    """

    def __init__(self, bucket: Bucket, oddities: Sequence[Oddity] = ()) -> None:
        self.bucket = bucket
        self.oddities = tuple(oddities)
        self.requests: list[Request] = []
        self.statuses: set[int] = set()
        self._met: Counter[int] = Counter()
        manners = Manners()
        for oddity in self.oddities:
            oddity.manners(manners)
        self._service = Service(bucket, manners)
        self._lock = threading.Lock()

    @property
    def endless(self) -> bool:
        """Whether the client asked so often that it seems to loop."""
        return len(self.requests) > LIMIT

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request."""
        with self._lock:
            answer = self._answer(request)
            self.statuses.add(answer.status)
            return answer

    def _answer(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.endless:
            return Answer(500, cut=0)
        present = [
            oddity for number, oddity in enumerate(self.oddities) if request.of(oddity.place) and self._due(number)
        ]
        for oddity in present:
            instead = oddity.instead() if isinstance(oddity, Instead) else None
            if instead is not None:
                return instead
        return self._odd(request, present)

    def _due(self, number: int) -> bool:
        self._met[number] += 1
        times = self.oddities[number].times
        return times is None or self._met[number] <= times

    def _odd(self, request: Request, present: Sequence[Oddity]) -> Answer:
        if request.of("listing") and request.bucket == self.bucket.name:
            answer = self._listed(request, present)
        else:
            answer = self._service.answer(request)
        for oddity in present:
            answer = oddity.answer(request, answer)
        return answer

    def _listed(self, request: Request, present: Sequence[Oddity]) -> Answer:
        try:
            page = self._service.page(request)
        except ValueError:
            return error(400, "InvalidArgument", "The continuation token provided is incorrect")
        for oddity in present:
            page = oddity.page(page)
        return xml(200, page.text())


class Server(LoopbackServer):
    """A server that plays one scene after the other."""

    def __init__(self) -> None:
        super().__init__(Handler)
        self.scene = Scene(Bucket())


class Handler(QuietHandler):
    """One connection."""

    server: Server

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self._body(headers))
        answer = self.server.scene.answer(request)
        self.wfile.write(answer.on_the_wire(self.command))
        self.close_connection = self.close_connection or answer.hangs_up

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked" or "aws-chunked" in headers.get("content-encoding", ""):
            return self._chunks()
        return self.rfile.read(int(headers.get("content-length") or 0))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """A running server."""
    with serving(Server()) as made:
        yield made
