# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The cause of a failed connection or of a response from the wrong server, for any HTTP service.

The clients of Ollama and of S3 can reach the same wrong servers: a web page, a login portal, a redirect to https, a
port with TLS. This module finds the cause, and each client raises its own errors.
"""

from __future__ import annotations

import html
import http.client
import re
import socket
import ssl
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple, Optional
from urllib.parse import urlsplit

from .text import printable

#: Responses of web servers to a plain request at a TLS port: Go, nginx, Apache and Tomcat.
_WANTS_TLS = re.compile(
    rb"HTTP request to an HTTPS server|HTTP request was sent to HTTPS port|HTTP to an SSL-enabled server port"
    rb"|combination of host and port requires TLS",
    re.IGNORECASE,
)

#: Start of a TLS record (alert or handshake), as http.client shows it in the error for a bad status line.
_TLS_RECORD = re.compile(r"^'?[\x15\x16]\x03|^'?\\x1[56]\\x03")

#: The message of http.client for a proxy that refused the tunnel.
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3} .*)", re.DOTALL)

#: Seconds for the probe whether a port speaks TLS.
_PROBE_TIMEOUT = 5.0

#: Headers that name the responding program or proxy.
_NAMING_HEADERS = ("Server", "Via")


def excerpt(content: bytes) -> str:
    """Describe an unexpected response in a few words: the title of a page, or its first words."""
    text = content[:4096].decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    if title:
        return f"the page '{printable(' '.join(html.unescape(title.group(1)).split()))}'"
    words = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    return f"'{printable(words)}'" if words else "nothing"


def wants_tls(content: bytes) -> bool:
    """Return whether a response says that the server requires TLS."""
    return _WANTS_TLS.search(content, 0, 4096) is not None


def redirect_target(location: str) -> str:
    """Return the target of a redirect, without the query, which may contain a signature."""
    return printable(location.partition("?")[0]) or "nowhere"


def origin(location: str) -> Optional[str]:
    """Return scheme, host and port of an absolute http or https URL; ``None`` for anything else."""
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host or not location.isprintable():
        return None
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"


def answered_by(headers: Mapping[str, str]) -> str:
    """Return the responding program for a message, as in " (Server: nginx, Via: 1.1 proxy)"; empty if unknown.

    :param headers: a case-insensitive mapping, or one with names in lower case.
    """
    named = ((name, headers.get(name) or headers.get(name.lower())) for name in _NAMING_HEADERS)
    found = ", ".join(f"{name}: {printable(value, 80)}" for name, value in named if value)
    return f" ({found})" if found else ""


def without_credentials(url: Optional[str]) -> str:
    """Return the URL of a proxy without user and password."""
    scheme, separator, rest = (url or "").rpartition("://")
    return printable(scheme + separator + rest.rpartition("@")[2])


def causes(error: BaseException) -> list[BaseException]:
    """Return an error and all errors that it wraps, outermost first: as cause, context, reason or argument."""
    seen: list[BaseException] = []
    todo: list[Any] = [error]
    while todo:
        current = todo.pop(0)
        if isinstance(current, BaseException) and not any(current is other for other in seen):
            seen.append(current)
            todo += [current.__cause__, current.__context__, getattr(current, "reason", None), *current.args]
    return seen


def first(found: Iterable[BaseException], kind: Any) -> Any:
    """Return the first error of a class, or of a tuple of classes; ``None`` if there is none."""
    return next((cause for cause in found if isinstance(cause, kind)), None)


def reason(found: list[BaseException]) -> str:
    """Return why a connection failed, for a message.

    For an unknown exception the reason is its type, because its text may contain sent data.

    :param found: as :func:`causes` returns them.
    """
    system = next((cause for cause in found if isinstance(cause, OSError) and cause.strerror), None)
    if system is not None:
        return printable(system.strerror)
    tunnel = next((match for cause in found for match in (_TUNNEL.search(str(cause)),) if match), None)
    if tunnel is not None:
        return f"the proxy answered {printable(tunnel.group(1), 80)}"
    if any(isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__ for cause in found):
        return "no answer in time"
    # urllib3 raises a ProtocolError without a system error for a cut between two chunks.
    closed = (http.client.RemoteDisconnected, http.client.IncompleteRead)
    if first(found, closed) is not None or any(type(cause).__name__ == "ProtocolError" for cause in found):
        return "the server closed the connection"
    return type(found[-1]).__name__


def no_http(found: Iterable[BaseException]) -> Optional[http.client.HTTPException]:
    """Return the error for a server that does not speak HTTP; ``None`` if there is no such error."""
    error = first(found, http.client.HTTPException)
    cut = isinstance(error, (ConnectionError, http.client.IncompleteRead))
    return None if cut else error


def is_tls_record(error: http.client.HTTPException) -> bool:
    """Return whether the unparsable response is a TLS record."""
    line = getattr(error, "line", None)
    return isinstance(line, str) and _TLS_RECORD.match(line) is not None


def was_closed(found: Iterable[BaseException]) -> bool:
    """Return whether the server accepted the connection, and closed it without a response."""
    return any(
        isinstance(cause, (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected)) for cause in found
    )


def speaks_tls(url: str) -> bool:
    """Connect to the server of an http URL again, and return whether it answers a TLS handshake.

    Some servers silently close a connection on which they expect TLS.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        return False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # nothing is sent
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), _PROBE_TIMEOUT) as opened:
            context.wrap_socket(opened, server_hostname=host).close()
    except ssl.SSLError as error:
        # An alert proves TLS: the server wants another version, or a certificate.
        return "ALERT" in (error.reason or "")
    except (OSError, ValueError):
        return False
    return True


class TlsFault(Enum):
    """The cause of a failed TLS handshake."""

    NOT_SPOKEN = "the server does not speak TLS on this port"
    UNTRUSTED = "the server's certificate is not accepted"
    CLIENT_CERTIFICATE = "the server wants a client certificate, or rejected the one it received"
    OTHER = "the TLS handshake failed"


class TlsFailure(NamedTuple):
    """A failed TLS handshake.

    :param text: the message of OpenSSL.
    """

    fault: TlsFault
    text: str


def tls_failure(found: Iterable[BaseException]) -> Optional[TlsFailure]:
    """Return why TLS failed; ``None`` for any other failure.

    A connection closed in the middle of the handshake does not count as a TLS failure.

    :param found: as :func:`causes` returns them.
    """
    found = list(found)
    error = first(found, ssl.SSLError)
    if error is None and any(type(cause).__name__ == "SSLError" for cause in found):
        error = found[-1]  # urllib3 1.26 compares host names itself, and raises its own error
    if error is None or isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return None
    text = f"{getattr(error, 'reason', None) or ''} {error}"
    verify_message = getattr(error, "verify_message", "")
    shown = printable(verify_message or error)
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
        return TlsFailure(TlsFault.NOT_SPOKEN, shown)
    if verify_message or "CERTIFICATE_VERIFY_FAILED" in text or "doesn't match" in text:
        return TlsFailure(TlsFault.UNTRUSTED, shown)
    if "CERTIFICATE_REQUIRED" in text or "HANDSHAKE_FAILURE" in text or "UNKNOWN_CA" in text:
        return TlsFailure(TlsFault.CLIENT_CERTIFICATE, shown)
    return TlsFailure(TlsFault.OTHER, shown)
