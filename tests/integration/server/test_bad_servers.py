# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unreachable and wrong servers: one clear message each, the same for every module of the group."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
import services
import trustme

MODULES: dict[str, dict[str, Any]] = {
    "ollama_model_info": {},
    "ollama_model": {"name": "smollm2:135m"},
    "ollama_blob": {"path": __file__},
    "ollama_inference": {"name": "smollm2:135m", "prompt": "x"},
}


class Page(http.server.BaseHTTPRequestHandler):
    """Give the same answer to every request."""

    status, body = 200, b""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.body)

    do_GET = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, *_arguments: Any) -> None:
        pass


def serving(status: int, body: bytes, tls: Optional[ssl.SSLContext] = None) -> http.server.ThreadingHTTPServer:
    handler = type("Answer", (Page,), {"status": status, "body": body})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Iterator[str]:
    server = serving(*request.param)
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", MODULES)
def test_module_without_a_server_fails(module: Any, name: str) -> None:
    result = module(name, host="127.0.0.1:1", retries=0, **MODULES[name])
    assert result["failed"] and result["error_code"] == "ollama_unreachable"
    assert (
        "No connection to 127.0.0.1 port 1 (127.0.0.1: Connection refused). Check that the server runs" in result["msg"]
    )


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(
    "page",
    [(200, b"<html><head><title>Welcome</title>"), (502, b"<html><title>502 Bad Gateway</title>")],
    indirect=True,
)
def test_module_with_a_web_page_as_answer_says_not_ollama(module: Any, page: str, name: str) -> None:
    result = module(name, host=page, **MODULES[name])
    assert result["failed"], result
    assert result["error_code"] == "not_ollama", result
    assert page in result["msg"]


@pytest.mark.parametrize("page", [(500, json.dumps({"error": "out of memory"}).encode())], indirect=True)
def test_inference_that_fails_returns_the_servers_message(module: Any, page: str) -> None:
    result = module("ollama_inference", host=page, name="m", prompt="x")
    assert result["failed"] and (result["error_code"], result["status"]) == ("ollama_error", 500)
    assert result["server_message"] == "out of memory" and "out of memory" in result["msg"]


@pytest.mark.parametrize("page", [(200, b'{"response": "half", "done": false}\n')], indirect=True)
def test_inference_with_an_unfinished_stream_fails(module: Any, page: str) -> None:
    result = module("ollama_inference", host=page, name="m", prompt="x")
    assert result["failed"] and result["error_code"] == "incomplete_response"


def test_tls_only_the_right_authority_is_accepted(module: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = serving(200, b'{"version": "0.24.0", "models": []}', context)
    host = f"https://127.0.0.1:{server.server_address[1]}"
    right, wrong = tmp_path / "right.pem", tmp_path / "wrong.pem"
    authority.cert_pem.write_to_path(str(right))
    trustme.CA().cert_pem.write_to_path(str(wrong))
    for options in ({}, {"ca_path": str(wrong)}):
        result = module("ollama_model_info", host=host, **options)
        assert result["failed"] and result["error_code"] == "tls_error"
        assert "is not accepted" in result["msg"] and "ca_path" in result["msg"]
    assert module("ollama_model_info", host=host, ca_path=str(right))["version"] == "0.24.0"
    assert module("ollama_model_info", host=host, validate_certs=False)["version"] == "0.24.0"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "options, code",
    [
        ({"host": "ftp://gpu"}, "invalid_server"),
        ({"host": "no-such-host.invalid", "retries": 0}, "ollama_unreachable"),
        ({"host": "https://127.0.0.1:1", "ca_path": "/nope"}, "invalid_server"),
    ],
)
def test_module_with_impossible_settings_fails(module: Any, options: dict[str, Any], code: str) -> None:
    result = module("ollama_model_info", **options)
    assert result["failed"] and result["error_code"] == code


def test_password_in_the_address_is_never_shown(module: Any, ollama: services.OllamaServer) -> None:
    for host in (
        ollama.url.replace("//", "//me:hunter%402@"),
        "http://me:hunter%402@127.0.0.1:1",
        "ftp://me:hunter%402@gpu",
    ):
        result = module("ollama_model_info", host=host, retries=0, headers={"X-Token": "hunter3"})
        text = json.dumps(result)
        assert "hunter%402" not in text and "hunter@2" not in text and "hunter3" not in text
