# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules through what stands between them and a real server: a reverse proxy that wants to know who asks, and a
proxy of the environment."""

from __future__ import annotations

import hashlib
import http.client
import http.server
import os
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlsplit

import ollama as official
import pytest
import services
import trustme
from registry import Registry

TOKEN = "Bearer s3cret-token"
NAME = "registry.example.com:5000/team/smollm2:135m"


class Gateway:
    """Sends on what it is asked, to one server whatever the request names, and answers as that does, piece by piece.

    :ivar requests: method and target of each request, as they arrived.
    """

    def __init__(self, target: str, *, tls: Optional[ssl.SSLContext] = None, token: Optional[str] = None) -> None:
        self.requests: list[str] = []
        handler = type("Bound", (_Handler,), {"gateway": self, "target": target, "token": token})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if tls:
            # The handshake belongs to the thread of the connection: one that fails must not end the server.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    gateway: Gateway
    target: str
    token: Optional[str]
    protocol_version = "HTTP/1.1"

    def _send_on(self) -> None:
        self.gateway.requests.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.token and self.headers.get("Authorization") != self.token:
            page = b"<html><head><title>401 Authorization Required</title></head></html>"
            self.send_response(401)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else page)
            return
        path = urlsplit(self.path)._replace(scheme="", netloc="").geturl()
        upstream = http.client.HTTPConnection(urlsplit(self.target).netloc)
        headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
        upstream.request(self.command, path, body or None, headers)
        answer = upstream.getresponse()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        while piece := answer.read1(65536):
            self.wfile.write(piece)
        upstream.close()

    do_GET = do_HEAD = do_POST = do_DELETE = _send_on

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The options with which a reverse proxy lets a client in."""
    folder = tmp_path_factory.mktemp("tls")
    client = authority.issue_cert("playbook@example.com")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    client.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
    client.private_key_pem.write_to_path(str(folder / "client.key"))
    return {
        "ca_path": str(folder / "ca.pem"),
        "client_cert": str(folder / "client.pem"),
        "client_key": str(folder / "client.key"),
    }


@pytest.fixture
def guarded(authority: trustme.CA, own_server: services.OllamaServer) -> Iterator[Gateway]:
    """A reverse proxy with a private certificate, that wants one of its clients, and a token."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    gateway = Gateway(own_server.url, tls=context, token=TOKEN)
    yield gateway
    gateway.close()


def test_every_module_works_through_a_guarded_proxy(
    module: Any,
    guarded: Gateway,
    files: dict[str, str],
    own_server: services.OllamaServer,
    registry: Registry,
    tmp_path: Path,
) -> None:
    entry: dict[str, Any] = {"host": guarded.url, "headers": {"Authorization": TOKEN}, **files}
    assert module("ollama_model_info", **entry)["models"]

    module("ollama_model", name=NAME, state="absent", **entry)  # the server is that of other tests too
    pulled = module("ollama_model", name=NAME, insecure=True, **entry)
    assert pulled["changed"] is True, pulled
    direct = official.Client(own_server.url)
    assert NAME in {model.model for model in direct.list().models}
    assert module("ollama_model", name=NAME, state="absent", **entry)["changed"] is True

    answer = module("ollama_inference", name="smollm2:135m", prompt="Hi", options={"num_predict": 3}, **entry)
    assert answer["usage"]["output_tokens"] == 3, answer

    (tmp_path / "blob").write_bytes(os.urandom(300_000))
    for changed in (True, False):
        assert module("ollama_blob", path=str(tmp_path / "blob"), **entry)["changed"] is changed
    digest = hashlib.sha256((tmp_path / "blob").read_bytes()).hexdigest()
    assert (own_server.models_path / "blobs" / f"sha256-{digest}").exists()


def test_each_guard_is_named_by_its_error(module: Any, guarded: Gateway, files: dict[str, str]) -> None:
    headers = {"Authorization": TOKEN}
    no_token = module("ollama_model_info", host=guarded.url, **files)
    assert no_token["failed"] and no_token["error_code"] == "access_denied", no_token
    assert "401" in no_token["msg"] and "headers" in no_token["msg"]
    no_certificate = module("ollama_model_info", host=guarded.url, headers=headers, ca_path=files["ca_path"])
    assert no_certificate["failed"] and no_certificate["error_code"] == "tls_error", no_certificate
    assert "client certificate" in no_certificate["msg"] and "client_cert" in no_certificate["msg"]
    no_authority = module("ollama_model_info", host=guarded.url, headers=headers, **{**files, "ca_path": None})
    assert no_authority["failed"] and "ca_path" in no_authority["msg"], no_authority


@pytest.fixture
def proxy(own_server: services.OllamaServer) -> Iterator[Gateway]:
    gateway = Gateway(own_server.url)
    yield gateway
    gateway.close()


def test_proxy_of_the_environment_is_used_except_for_no_proxy(module: Any, proxy: Gateway) -> None:
    host = "http://ollama.invalid:11434"
    environment = {"http_proxy": proxy.url, "HTTP_PROXY": proxy.url, "no_proxy": "", "NO_PROXY": ""}
    listed = module("ollama_model_info", host=host, environment=environment)
    assert {"smollm2:135m", "all-minilm:latest"} <= {model["name"] for model in listed["models"]}
    assert f"GET {host}/api/tags" in proxy.requests
    asking = {"name": "smollm2:135m", "prompt": "Hi", "options": {"num_predict": 3}}
    answer = module("ollama_inference", host=host, environment=environment, **asking)
    assert answer["usage"]["output_tokens"] == 3, answer

    asked = len(proxy.requests)
    for exception in ("ollama.invalid", ".invalid", "*"):
        around = {**environment, "no_proxy": exception, "NO_PROXY": exception}
        result = module("ollama_model_info", host=host, environment=around, retries=0)
        assert result["failed"] and result["error_code"] == "ollama_unreachable", result
    assert len(proxy.requests) == asked, "what is excepted goes around the proxy"


def test_requests_to_this_machine_use_no_proxy(module: Any, proxy: Gateway, own_server: services.OllamaServer) -> None:
    environment = {"http_proxy": proxy.url, "HTTP_PROXY": proxy.url, "no_proxy": "", "NO_PROXY": ""}
    assert module("ollama_model_info", host=own_server.url, environment=environment)["models"]
    assert proxy.requests == []
