# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any, Callable, Optional

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.client import OllamaClient
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.retry import RetryPolicy


class Connection:
    """The server's side of one connection, with just enough HTTP to be exact about every byte."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._file = sock.makefile("rb")

    def request(self, read_body: bool = True) -> tuple[str, str, dict[str, str], bytes]:
        """Return method, path, headers (names in lower case) and body of the next request; all empty at the end."""
        line = self._file.readline().decode().split()
        if not line:
            return "", "", {}, b""
        headers = {}
        while True:
            name, _colon, value = self._file.readline().decode().strip().partition(":")
            if not name:
                break
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", 0)) if read_body else 0
        body = self._file.read(length)
        if len(body) < length:  # the client went away
            return "", "", {}, b""
        return line[0], line[1], headers, body

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, document: Any, status: str = "200 OK", headers: str = "") -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send(f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def begin_stream(self) -> None:
        self.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")

    def line(self, document: Any) -> None:
        data = (document if isinstance(document, bytes) else json.dumps(document).encode()) + b"\n"
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end_stream(self) -> None:
        self.send(b"0\r\n\r\n")

    def stream(self, *documents: Any) -> None:
        self.begin_stream()
        for document in documents:
            self.line(document)
        self.end_stream()

    def wait_for_end(self, timeout: float = 60.0) -> bool:
        """Whether the client ended the connection within the time."""
        self.sock.settimeout(timeout)
        try:
            return self._file.read(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True


class ScriptedServer:
    """Serves each connection by a function, in a thread of its own."""

    def __init__(self, script: Callable[[Connection], object], tls: Optional[ssl.SSLContext] = None) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        self._sockets: list[socket.socket] = []
        self.connections = 0
        self.port: int = self._listener.getsockname()[1]
        self.address = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _address = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(sock)
            if self._tls:
                sock = stack.enter_context(self._tls.wrap_socket(sock, server_side=True))
            connection = Connection(sock)
            stack.callback(connection._file.close)
            self._script(connection)

    def refuse(self) -> None:
        """Take no further connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def close(self) -> None:
        self.refuse()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class Lab:
    """Servers and clients that end with the test."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def server(self, script: Callable[[Connection], object], tls: Optional[ssl.SSLContext] = None) -> ScriptedServer:
        server = ScriptedServer(script, tls)
        self._stack.callback(server.close)
        return server

    def client(self, server: Any, **settings: Any) -> OllamaClient:
        """A client that retries without waiting, unless told otherwise."""
        settings.setdefault("retries", RetryPolicy(retries=2, base=0.0))
        client = OllamaClient(server if isinstance(server, str) else server.address, **settings)
        self._stack.callback(client.close)
        return client

    def answering(self, *answers: Any) -> tuple[OllamaClient, list[tuple[str, str, Any]]]:
        """A client of a server that gives the answers in turn: a document, (status, document), or None to hang up.

        Returned with it: method, path and decoded body of each request that came.
        """
        left, requests = list(answers), []

        def script(connection: Connection) -> None:
            while True:
                method, path, _headers, body = connection.request()
                if not method:
                    return
                requests.append((method, path, json.loads(body) if body else None))
                answer = left.pop(0)
                if answer is None:
                    return
                status, document = answer if isinstance(answer, tuple) else ("200 OK", answer)
                connection.answer(document, status)

        return self.client(self.server(script)), requests

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    for name in (
        "OLLAMA_HOST",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    lab = Lab()
    yield lab
    lab.close()
