# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP of the metrics."""

from __future__ import annotations

import gzip

import pytest
from fleet_worker.observe.metrics_http import answer
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

REGISTRY = CollectorRegistry()
Counter("a", "one", registry=REGISTRY).inc()
Counter("b", "two", registry=REGISTRY).inc()


def asked(request: str) -> tuple[str, dict[str, str], bytes]:
    found = answer(request.encode("latin-1"), REGISTRY)
    assert found is not None
    head, _end, body = found.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    return line, dict(field.split(": ", 1) for field in fields), body


def test_get_metrics_returns_all_of_them() -> None:
    line, headers, body = asked("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    assert line == "HTTP/1.1 200 OK"
    assert headers["Connection"] == "close"
    assert int(headers["Content-Length"]) == len(body)
    assert b"a_total 1.0" in body and b"b_total 1.0" in body


def test_get_with_openmetrics_and_gzip_is_what_prometheus_asks_for() -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5"
    _line, headers, body = asked(f"GET /metrics HTTP/1.1\r\nAccept: {accept}\r\nAccept-Encoding: gzip\r\n\r\n")
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert gzip.decompress(body).endswith(b"# EOF\n")


def test_get_with_names_returns_these() -> None:
    body = asked("GET /metrics?name[]=a_total HTTP/1.1\r\n\r\n")[2]
    assert b"a_total" in body and b"b_total" not in body


@pytest.mark.parametrize(
    "request_, status",
    [
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ("GET /other HTTP/1.1\r\n\r\n", "404"),
        ("GET\r\n\r\n", "400"),
        ("\x16\x03\x01\r\n\r\n", "400"),
        ("GET /metrics HTTP/1.1\r\nAccept: text/plain;version=x\r\n\r\n", "200"),
        ("GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=9;escaping=\nX: y\r\n\r\n", "400"),
        ("GET /metrics?" + "a&" * 2000 + " HTTP/1.1\r\n\r\n", "400"),
    ],
)
def test_odd_request_gets_a_status(request_: str, status: str) -> None:
    assert asked(request_)[0].split(" ")[1] == status


def test_head_has_no_body() -> None:
    line, headers, body = asked("HEAD /metrics HTTP/1.1\r\n\r\n")
    assert (line, body) == ("HTTP/1.1 200 OK", b"")
    assert int(headers["Content-Length"]) > 0


@given(st.binary(max_size=200))
def test_any_bytes_are_answered_or_waited_for(received: bytes) -> None:
    found = answer(received + b"\r\n\r\n", REGISTRY)
    assert found is not None and found.startswith(b"HTTP/1.1 ")
    assert (answer(received, REGISTRY) is None) == (b"\r\n\r\n" not in received)
