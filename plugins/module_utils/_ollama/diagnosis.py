# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The cause of a failed connection or a foreign answer, for any HTTP service.

A client of Ollama and a client of S3 meet the same strangers: a web page, a login portal, a redirect to https, a port
that speaks TLS when nobody expects it. This file finds the cause; each client words its own errors.
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

#: What web servers answer to a request without encryption at a port for TLS: Go, nginx, Apache and Tomcat.
_WANTS_TLS = re.compile(
    rb"HTTP request to an HTTPS server|HTTP request was sent to HTTPS port|HTTP to an SSL-enabled server port"
    rb"|combination of host and port requires TLS",
    re.IGNORECASE,
)

#: How a TLS record of the types alert and handshake begins, as http.client shows it in the error for a bad status line.
_TLS_RECORD = re.compile(r"^'?[\x15\x16]\x03|^'?\\x1[56]\\x03")

#: How http.client says that a proxy opened no way to the server.
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3} .*)", re.DOTALL)

#: Seconds for the question whether a port speaks TLS.
_PROBE_TIMEOUT = 5.0

#: Headers that name the program or the proxy that answered.
_NAMING_HEADERS = ("Server", "Via")


def excerpt(content: bytes) -> str:
    """Describe a foreign answer in a few words: the title of a page, or its first words."""
    text = content[:4096].decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    if title:
        return f"the page '{printable(' '.join(html.unescape(title.group(1)).split()))}'"
    words = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    return f"'{printable(words)}'" if words else "nothing"


def wants_tls(content: bytes) -> bool:
    """Return whether an answer complains that the request was not encrypted."""
    return _WANTS_TLS.search(content, 0, 4096) is not None


def redirect_target(location: str) -> str:
    """Return where a redirect leads, without the query, which may carry a signature."""
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
    """Return how the headers of an answer name what sent it, as in " (Server: nginx, Via: 1.1 proxy)"; else nothing.

    :param headers: looked up without regard to case, or with names in lower case.
    """
    named = ((name, headers.get(name) or headers.get(name.lower())) for name in _NAMING_HEADERS)
    found = ", ".join(f"{name}: {printable(value, 80)}" for name, value in named if value)
    return f" ({found})" if found else ""


def without_credentials(url: Optional[str]) -> str:
    """Return the URL of a proxy without user and password."""
    scheme, separator, rest = (url or "").rpartition("://")
    return printable(scheme + separator + rest.rpartition("@")[2])


def causes(error: BaseException) -> list[BaseException]:
    """Return an error and those it wraps, outermost first. The libraries wrap by cause, argument and attribute."""
    seen: list[BaseException] = []
    todo: list[Any] = [error]
    while todo:
        current = todo.pop(0)
        if isinstance(current, BaseException) and not any(current is other for other in seen):
            seen.append(current)
            todo += [current.__cause__, current.__context__, getattr(current, "reason", None), *current.args]
    return seen


def first(found: Iterable[BaseException], kind: Any) -> Any:
    """Return the first of some errors that is of a kind, or of one of several; ``None`` without any."""
    return next((cause for cause in found if isinstance(cause, kind)), None)


def reason(found: list[BaseException]) -> str:
    """Say why a connection failed.

    The system's own words are shown. Of any other exception only the type is: its text may contain what was sent.

    :param found: as :func:`causes` returns them.
    """
    system = next((cause for cause in found if isinstance(cause, OSError) and cause.strerror), None)
    if system is not None:
        return printable(system.strerror)
    tunnel = next((match for cause in found for match in (_TUNNEL.search(str(cause)),) if match), None)
    if tunnel is not None:
        return f"it answered {printable(tunnel.group(1), 80)}"
    if any(isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__ for cause in found):
        return "no answer in time"
    # A ProtocolError without an error of the system is what a cut between two chunks looks like to urllib3.
    closed = (http.client.RemoteDisconnected, http.client.IncompleteRead)
    if first(found, closed) is not None or any(type(cause).__name__ == "ProtocolError" for cause in found):
        return "the other side closed it"
    return type(found[-1]).__name__


def no_http(found: Iterable[BaseException]) -> Optional[http.client.HTTPException]:
    """Return the error that says that what answered does not speak HTTP; ``None`` when it does."""
    error = first(found, http.client.HTTPException)
    cut = isinstance(error, (ConnectionError, http.client.IncompleteRead))
    return None if cut else error


def is_tls_record(error: http.client.HTTPException) -> bool:
    """Return whether what does not speak HTTP has answered with TLS."""
    line = getattr(error, "line", None)
    return isinstance(line, str) and _TLS_RECORD.match(line) is not None


def was_closed(found: Iterable[BaseException]) -> bool:
    """Return whether the other side took the connection, and closed it without an answer."""
    return any(
        isinstance(cause, (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected)) for cause in found
    )


def speaks_tls(url: str) -> bool:
    """Connect to the server of an http URL once more, and return whether it answers to a TLS handshake.

    Some servers close a connection at which they expected TLS without a word.
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
        # An alert is an answer in TLS: the server wants another version, or a certificate.
        return "ALERT" in (error.reason or "")
    except (OSError, ValueError):
        return False
    return True


class TlsFault(Enum):
    """The cause of a failed TLS handshake."""

    NOT_SPOKEN = "the server speaks no TLS at this port"
    UNTRUSTED = "its certificate is not accepted"
    CLIENT_CERTIFICATE = "it wants a client certificate, or does not accept the one it got"
    OTHER = "TLS could not be agreed upon"


class TlsFailure(NamedTuple):
    """A failed TLS handshake.

    :param text: OpenSSL's own words.
    """

    fault: TlsFault
    text: str


def tls_failure(found: Iterable[BaseException]) -> Optional[TlsFailure]:
    """Return why TLS failed; ``None`` when TLS is not what failed.

    A connection closed in the middle of the handshake does not count as a TLS failure.

    :param found: as :func:`causes` returns them.
    """
    found = list(found)
    error = first(found, ssl.SSLError)
    if error is None and any(type(cause).__name__ == "SSLError" for cause in found):
        error = found[-1]  # urllib3 1.26 compares host names by itself, and has an error of its own for it
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
