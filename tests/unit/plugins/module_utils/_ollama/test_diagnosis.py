# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What both clients make of foreign answers and failed connections."""

from __future__ import annotations

import http.client
import socket
import ssl

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama import diagnosis
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.diagnosis import TlsFault


@pytest.mark.parametrize(
    "content, shown",
    [
        (b"<html><head><title> Sign in\n to Wi-Fi </title></head>", "the page 'Sign in to Wi-Fi'"),
        (b"<title>Caf&eacute;\x1b[31m</title>", "the page 'Caf\u00e9\\x1b[31m'"),
        (b"<h1>404</h1> page not found", "'404 page not found'"),
        (b'{"message":"no Route matched"}', '\'{"message":"no Route matched"}\''),
        (b"", "nothing"),
        (b"<br>", "nothing"),
    ],
)
def test_excerpt_foreign_answer_is_one_printable_line(content, shown):
    assert diagnosis.excerpt(content) == shown


@pytest.mark.parametrize(
    "content",
    [
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"<title>400 The plain HTTP request was sent to HTTPS port</title>",
        b"Reason: You're speaking plain HTTP to an SSL-enabled server port.",
        b"Bad Request\nThis combination of host and port requires TLS.\n",
    ],
)
def test_wants_tls_words_of_known_servers_recognised(content):
    assert diagnosis.wants_tls(content)


def test_wants_tls_other_page_not_recognised():
    assert not diagnosis.wants_tls(b"<title>400 Bad Request</title>")


@pytest.mark.parametrize(
    "location, leads_to, at",
    [
        (
            "https://s3.example.com/models/x?X-Amz-Signature=1",
            "https://s3.example.com/models/x",
            "https://s3.example.com",
        ),
        ("http://[::1]:9000/x", "http://[::1]:9000/x", "http://[::1]:9000"),
        ("/login", "/login", None),
        ("", "nowhere", None),
        ("https://host:x/", "https://host:x/", None),
        ("https://host/\x1b", "https://host/\\x1b", None),
    ],
)
def test_redirect_location_is_shown_without_query_and_escapes(location, leads_to, at):
    assert diagnosis.redirect_target(location) == leads_to
    assert diagnosis.origin(location) == at


def test_answered_by_names_server_and_proxy():
    headers = {"server": "nginx/1.18", "via": "1.1 proxy\x1b"}
    assert diagnosis.answered_by(headers) == " (Server: nginx/1.18, Via: 1.1 proxy\\x1b)"
    assert diagnosis.answered_by({}) == ""


def chained(outer, inner):
    outer.__context__ = inner
    return outer


@pytest.mark.parametrize(
    "error, shown",
    [
        (chained(ValueError("secret"), ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (TimeoutError("timed out"), "no answer in time"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (http.client.RemoteDisconnected("x"), "the server closed the connection"),
        (OSError("Tunnel connection failed: 407 Authenticate\x1b"), "the proxy answered 407 Authenticate\\x1b"),
        (ValueError("Invalid header value b'secret\\n'"), "ValueError"),
    ],
)
def test_reason_shows_no_text_but_the_systems(error, shown):
    assert diagnosis.reason(diagnosis.causes(error)) == shown


def tls(words, **attributes):
    error = ssl.SSLError(1, f"[SSL] {words}")
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    "error, fault",
    [
        (tls("wrong version number", reason="WRONG_VERSION_NUMBER"), TlsFault.NOT_SPOKEN),
        (tls("x", verify_message="self-signed certificate"), TlsFault.UNTRUSTED),
        (tls("x", reason="TLSV13_ALERT_CERTIFICATE_REQUIRED"), TlsFault.CLIENT_CERTIFICATE),
        (tls("unsupported protocol"), TlsFault.OTHER),
    ],
)
def test_tls_failure_says_which_side_must_change(error, fault):
    found = diagnosis.tls_failure(diagnosis.causes(chained(RuntimeError(), error)))
    assert found is not None
    assert found.fault is fault


def test_tls_failure_closed_connection_is_none():
    assert diagnosis.tls_failure([ssl.SSLEOFError(8, "EOF occurred")]) is None
    assert diagnosis.tls_failure([ConnectionResetError()]) is None


def test_no_http_recognises_a_tls_alert():
    alert = http.client.BadStatusLine("\x15\x03\x01\x00\x02")
    assert diagnosis.no_http([alert]) is alert
    assert diagnosis.is_tls_record(alert)
    assert not diagnosis.is_tls_record(http.client.BadStatusLine("SSH-2.0-OpenSSH"))
    assert diagnosis.no_http([http.client.IncompleteRead(b"")]) is None
