# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP for Prometheus: one GET without a body for each connection.

The server of prometheus_client starts a thread for every connection, and waits for its request without a limit. So a
few hundred silent clients would take all threads of the process. Here the limits of the listener apply.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Optional
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST, choose_encoder

_END = b"\r\n\r\n"


def answer(received: bytes, registry: CollectorRegistry) -> Optional[bytes]:
    """Return the answer to a request, or None while its head is incomplete.

    :param received: the bytes that the client has sent so far.
    """
    head, end, _rest = received.partition(_END)
    if not end:
        return None
    line, *fields = head.decode("latin-1").split("\r\n")
    method, _space, rest = line.partition(" ")
    target, _space, version = rest.rpartition(" ")
    if not version.startswith("HTTP/1.") or not all(field.isprintable() for field in (line, *fields)):
        return _response("400 Bad Request", b"This is not a request of HTTP/1.1\n")
    if method not in ("GET", "HEAD"):
        return _response("405 Method Not Allowed", b"Only GET and HEAD are allowed\n", {"Allow": "GET, HEAD"})
    path, _mark, query = target.partition("?")
    if path not in ("/", "/metrics"):
        return _response("404 Not Found", b"The metrics are at /metrics\n")
    headers = {name.strip().lower(): value.strip() for name, _colon, value in (one.partition(":") for one in fields)}
    try:
        names = parse_qs(query, max_num_fields=1000).get("name[]")
    except ValueError as error:
        return _response("400 Bad Request", f"{error}\n".encode())
    try:
        encoder, content_type = choose_encoder(headers.get("accept", ""))
    except Exception:  # noqa: BLE001 - an invalid version: the library has no error of its own for it
        encoder, content_type = generate_latest, CONTENT_TYPE_LATEST
    content = encoder(registry.restricted_registry(names) if names else registry)
    more = {"Content-Type": content_type}
    if "gzip" in [coding.partition(";")[0].strip() for coding in headers.get("accept-encoding", "").split(",")]:
        content = gzip.compress(content, 1)
        more["Content-Encoding"] = "gzip"
    return _response("200 OK", content, more, bodiless=method == "HEAD")


def _response(
    status: str, content: bytes, headers: Optional[Mapping[str, str]] = None, *, bodiless: bool = False
) -> bytes:
    fields = {
        "Content-Type": "text/plain; charset=utf-8",
        **(headers or {}),
        "Content-Length": str(len(content)),
        "Connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + (b"" if bodiless else content)
