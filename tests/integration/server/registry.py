# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry that Ollama pulls from and pushes to, under every name at once.

It is also the proxy that the server under test uses, and answers for every host itself: for plain HTTP by the
host of the request, for TLS with a certificate made for it. So names such as `smollm2:135m` (registry.ollama.ai) or
`registry.example.com:5000/team/model` work as they are, without a network. What Ollama expects of a registry: manifests
and uploads as the distribution specification has them, and blobs by a redirect (307) to another host.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import re
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import trustme

_CDN = "http://cdn.example.com"


class Registry:
    """Manifests by (host, repository, tag), blobs by digest, and the ways in which it can misbehave.

    :ivar rate: bytes a second that a blob is sent or received with; None for as fast as possible.
    :ivar hold_after: bytes of a blob after which nothing more is sent until `resume` is set.
    :ivar failures: statuses that the next requests for manifests get instead of an answer.
    :ivar requests: method and path of everything that was asked.
    """

    def __init__(self, folder: Path) -> None:
        self.manifests: dict[tuple[str, str, str], bytes] = {}
        self.blobs: dict[str, Path] = {}
        self.rate: Optional[float] = None
        self.hold_after: Optional[int] = None
        self.resume = threading.Event()
        self.failures: list[int] = []
        self.requests: list[str] = []
        self.sent = 0
        self._folder = folder
        self._authority = trustme.CA()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self.ca_path = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca_path))
        handler = type("Bound", (_Handler,), {"registry": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """What a server under test needs in its environment to find this registry."""
        proxy = f"http://{self.address}"
        return {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": "", "SSL_CERT_FILE": str(self.ca_path)}

    def offer(self, host: str, repository: str, tag: str, store: Path, parts: tuple[str, str]) -> str:
        """Offer a model of a store under another name, and return the digest of its manifest."""
        raw = (store / "manifests/registry.ollama.ai/library" / parts[0] / parts[1]).read_bytes()
        manifest = json.loads(raw)
        for layer in [manifest["config"], *manifest["layers"]]:
            self.blobs[layer["digest"]] = store / "blobs" / layer["digest"].replace(":", "-")
        self.manifests[host, repository, tag] = raw
        return "sha256:" + hashlib.sha256(raw).hexdigest()

    def context(self, host: str) -> ssl.SSLContext:
        if host not in self._contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._authority.issue_cert(host).configure_cert(context)
            self._contexts[host] = context
        return self._contexts[host]

    def new_upload(self) -> Path:
        _handle, name = tempfile.mkstemp(dir=self._folder)
        return Path(name)

    def close(self) -> None:
        self.resume.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # a connection that finds no room waits for a second

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: the tests kill servers in the middle of a request."""


class _Handler(http.server.BaseHTTPRequestHandler):
    registry: Registry
    protocol_version = "HTTP/1.1"
    _tls_host = ""

    def do_CONNECT(self) -> None:
        host = self.path.partition(":")[0]
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.connection = self.registry.context(host).wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self._tls_host = host
        self.close_connection = False

    def _serve(self) -> None:
        host, path = self._tls_host, self.path
        absolute = re.fullmatch(r"http://([^/]+)(/.*)", path)
        if absolute:
            host, path = absolute.group(1), absolute.group(2)
        self.registry.requests.append(f"{self.command} {host}{path}")
        bare, _question, query = path.partition("?")
        blob = re.fullmatch(r"(?:/v2/(.+))?/blobs/(sha256:[0-9a-f]{64})", bare)
        manifest = re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", bare)
        if manifest:
            self._manifest(host, manifest.group(1), manifest.group(2))
        elif blob:
            self._blob(blob.group(2), redirect=blob.group(1) is not None)
        elif "/blobs/uploads/" in bare:
            self._upload(bare, query)
        else:
            self._answer(404)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = _serve

    def _manifest(self, host: str, repository: str, tag: str) -> None:
        if self.registry.failures:
            self._answer(self.registry.failures.pop(0), b"failing")
        elif self.command == "PUT":
            self.registry.manifests[host, repository, tag] = self._body()
            self._answer(201)
        elif (host, repository, tag) in self.registry.manifests:
            self._answer(200, self.registry.manifests[host, repository, tag])
        else:
            self._answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')

    def _blob(self, digest: str, *, redirect: bool) -> None:
        path = self.registry.blobs.get(digest)
        if path is None:
            self._answer(404)
        elif self.command == "HEAD":
            self.send_response(200)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
        elif redirect:
            self._answer(307, headers={"Location": f"{_CDN}/blobs/{digest}"})
        else:
            self._send_file(path)

    def _send_file(self, path: Path) -> None:
        size = path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(asked.group(1)), int(asked.group(2))) if asked else (0, size - 1)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        registry = self.registry
        with path.open("rb") as file, contextlib.suppress(OSError):
            file.seek(first)
            left = last - first + 1
            while left:
                if registry.hold_after is not None and file.tell() >= registry.hold_after:
                    registry.resume.wait()
                piece = file.read(min(left, 65536))
                self.wfile.write(piece)
                registry.sent += len(piece)
                left -= len(piece)
                if registry.rate:
                    time.sleep(len(piece) / registry.rate)

    def _upload(self, bare: str, query: str) -> None:
        name = bare.rpartition("/")[2]
        path = self.registry._folder / name if name else self.registry.new_upload()
        body = self._body()
        if body:
            with path.open("ab") as file:
                file.write(body)
        digest = re.search(r"digest=(sha256(?::|%3A)[0-9a-f]{64})", query)
        if self.command == "PUT" and digest:
            expected = digest.group(1).replace("%3A", ":")
            real = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
            if real != expected:
                self._answer(400, b"digest mismatch")
                return
            self.registry.blobs[real] = path
            self._answer(201)
            return
        scheme_host = re.match(r"https?://[^/]+", self.path)
        prefix = scheme_host.group(0) if scheme_host else f"https://{self._tls_host}"
        self._answer(202, headers={"Location": f"{prefix}{bare.rpartition('/')[0]}/{path.name}"})

    def _body(self) -> bytes:
        body, left = bytearray(), int(self.headers.get("Content-Length") or 0)
        while left:
            piece = self.rfile.read(min(left, 65536))
            if not piece:
                break
            body += piece
            left -= len(piece)
            if self.registry.rate:
                time.sleep(len(piece) / self.registry.rate)
        return bytes(body)

    def _answer(self, status: int, body: bytes = b"", headers: Optional[dict[str, str]] = None) -> None:
        if self.command in ("POST", "PATCH") and not headers:
            self._body()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass


@contextlib.contextmanager
def running_registry() -> Iterator[Registry]:
    """A registry without models, on a free port."""
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Path(folder))
        try:
            yield registry
        finally:
            registry.close()
