# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The HTTP transport of the client: its interface, and its implementation with one pooled ``requests`` session.

The transport uses ``requests`` instead of Ansible's ``open_url`` because the daemon shares it, and needs pooled,
streamed and cancellable connections. It works with requests 2.28 (Debian 12) and newer.
"""

from __future__ import annotations

import http.client
import http.cookiejar
import os
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Protocol, Union
from urllib.parse import urlsplit

try:
    import requests
    import requests.utils
    from requests.adapters import HTTPAdapter
    from urllib3 import Timeout
    from urllib3.exceptions import HTTPError, ProxyError
    from urllib3.exceptions import TimeoutError as SilenceError

    _MISSING: Optional[ImportError] = None
except ImportError as _error:
    HTTPAdapter = object  # type: ignore[assignment, misc]
    _MISSING = _error

from .api_errors import (
    ConnectionLostError,
    InvalidServerError,
    OllamaError,
    ReadTimeoutError,
    ServerUnreachableError,
    TlsError,
    UnexpectedAnswerError,
)
from .calls import Call
from .diagnosis import (
    TlsFailure,
    TlsFault,
    causes,
    first,
    is_tls_record,
    no_http,
    reason,
    tls_failure,
    without_credentials,
)
from .errors import MissingDependencyError
from .hosts import ServerAddress
from .sockets import POOL_CLASSES, on_behalf_of
from .text import printable

#: Idle connections to keep. Each thread beyond this number opens a new connection for each request.
POOL_SIZE = 64
_CHUNK = 65536


class SizedBody(Protocol):
    """A request body in pieces, of known length."""

    def __len__(self) -> int: ...  # pragma: no cover

    def __iter__(self) -> Iterator[Union[bytes, memoryview]]: ...


@dataclass(frozen=True)
class HttpRequest:
    """A request to a path below the server's address."""

    method: str
    path: str
    body: Union[bytes, SizedBody, None] = None
    headers: Mapping[str, str] = field(default_factory=dict)


class ResponseHead(Protocol):
    """The head of a response. Header names are case-insensitive."""

    @property
    def status(self) -> int: ...

    @property
    def reason(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


class HttpResponse(ResponseHead, Protocol):
    """A response whose head has arrived, and whose body can be read."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives; raise the errors of :meth:`Transport.send`."""

    def close(self) -> None:
        """Release the response. If it was not read to its end, close its connection at once."""


class Transport(Protocol):
    """The sender of requests. Many threads may use it at the same time."""

    def send(self, request: HttpRequest, call: Call) -> HttpResponse:
        """Send the request once, without retry, within the timeouts of the call.

        :raises ServerUnreachableError: if the request could not be sent.
        :raises ConnectionLostError: if the connection broke after the request was sent.
        :raises ReadTimeoutError: if the server was silent for too long after the request.
        :raises UnexpectedAnswerError: if the server does not speak HTTP.
        :raises OllamaError: if the call is cancelled or its deadline passes.
        """

    def close(self) -> None:
        """Close the idle connections."""


@dataclass(frozen=True)
class TlsSettings:
    """The verification of the server, and the client's own certificate.

    :ivar ca_path: a file with the certificates of trusted authorities, or a directory in OpenSSL's format.
    :ivar client_cert: a file with the certificate, and with the private key if ``client_key`` is None.
    """

    validate_certs: bool = True
    ca_path: Optional[str] = None
    client_cert: Optional[str] = None
    client_key: Optional[str] = None

    def check(self) -> None:
        """Load the files, because a later error would look like a connection failure.

        :raises InvalidServerError: for a file that cannot be used.
        """
        if self.client_key and not self.client_cert:
            raise InvalidServerError(
                "client_key is set without client_cert", remedy="Set client_cert to the certificate of the key"
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca_path and self.validate_certs:
            try:
                if os.path.isdir(self.ca_path):
                    os.listdir(self.ca_path)
                else:
                    context.load_verify_locations(cafile=self.ca_path)
            except OSError as error:
                raise _unusable("The CA certificates", self.ca_path, error) from error
        if self.client_cert:
            try:
                # With an empty password OpenSSL does not ask for one on the terminal.
                context.load_cert_chain(self.client_cert, self.client_key, password="")
            except (OSError, ValueError) as error:
                raise _unusable("The client certificate", self.client_cert, error) from error


def _unusable(what: str, path: str, error: Exception) -> InvalidServerError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InvalidServerError(
        f"{what} in {path} cannot be used: {reason}",
        remedy="Give a readable file in PEM format, with an unencrypted key that belongs to the certificate",
        path=path,
    )


class _OwningAdapter(HTTPAdapter):
    """An adapter whose connections are owned by calls, see ``sockets.py``."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOL_CLASSES

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = POOL_CLASSES
        return manager


class RequestsTransport:
    """One pooled session of ``requests``.

    Many threads may use it at the same time, because the session does not change after construction. The transport
    ignores cookies, redirects and netrc files. It reads the proxies and certificates of the environment once.

    Without a proxy, requests go directly to the session's connection pool. The session's own work for each request
    (cookies, hooks, the URL, environment) costs more than everything else together.

    :raises MissingDependencyError: if ``requests`` is not installed.
    :raises InvalidServerError: for unusable TLS files, or a proxy that is not HTTP.
    """

    def __init__(self, address: ServerAddress, tls: Optional[TlsSettings] = None) -> None:
        if _MISSING is not None:
            raise MissingDependencyError("requests", "talk to the Ollama server") from _MISSING
        tls = tls or TlsSettings()
        self._address = address
        self._proxy = _proxy_of(address)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        if address.scheme == "https":
            tls.check()
            self._session.verify = _verification(tls)
            if tls.client_cert:
                self._session.cert = (tls.client_cert, tls.client_key) if tls.client_key else tls.client_cert
        self._adapter = _OwningAdapter(pool_maxsize=POOL_SIZE)
        self._session.mount("http://", self._adapter)
        self._session.mount("https://", self._adapter)
        self._pool: Any = None
        self._prefix = ""
        self._checked: set[tuple[str, str]] = set()

    def send(self, request: HttpRequest, call: Call) -> HttpResponse:
        call.sent = False
        try:
            with on_behalf_of(call):
                raw = self._through_the_proxy(request, call) if self._proxy else self._straight(request, call)
        except Exception as error:  # each library has its own errors
            explained = self.explain(error, call)
            if explained is error:
                raise  # keeps its cause
            raise explained from error
        return _Response(self, raw, request.method, call)

    def _straight(self, request: HttpRequest, call: Call) -> Any:
        """Send over a connection of the pool, and return urllib3's response."""
        pool = self._pool
        if pool is None:
            url = requests.Request("GET", self._address.url).prepare()
            parts = urlsplit(url.url or "")
            pool = self._adapter.poolmanager.connection_from_host(parts.hostname, parts.port, parts.scheme)
            self._adapter.cert_verify(  # type: ignore[no-untyped-call]
                pool, url.url, self._session.verify, self._session.cert
            )
            self._prefix = url.path_url.rstrip("/")
            self._pool = pool
        headers = dict(request.headers)
        for header in headers.items():
            if header not in self._checked:
                requests.utils.check_header_validity(header)
                self._checked.add(header)
        body = request.body or None
        if body is not None:
            headers["Content-Length"] = str(len(body))
        return pool.request(
            request.method,
            self._prefix + request.path,
            body=body,
            headers=headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=Timeout(connect=call.connect_timeout, read=call.read_timeout),
            preload_content=False,
            decode_content=False,
        )

    def _through_the_proxy(self, request: HttpRequest, call: Call) -> Any:
        prepared = requests.Request(
            request.method, self._address.url + request.path, headers=dict(request.headers), data=request.body or None
        ).prepare()
        return self._session.send(
            prepared,
            stream=True,
            timeout=(call.connect_timeout, call.read_timeout),
            allow_redirects=False,
            verify=self._session.verify,
            cert=self._session.cert,
            proxies={self._address.scheme: self._proxy or ""},
        ).raw

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
        self._session.close()

    def explain(self, error: Exception, call: Call) -> Exception:
        """Return the typed error for an error of a library, or any other error unchanged."""
        call.detach()
        try:
            call.check()
        except OllamaError as ending:
            return ending  # ending the call broke the connection
        if not isinstance(error, (OSError, HTTPError, http.client.HTTPException)):  # RequestException is an OSError
            return error
        found = causes(error)
        server = host = self._address.url
        if self._proxy:
            server += f" (through the proxy {without_credentials(self._proxy)})"
        tls = tls_failure(found)
        if tls is not None:
            return _tls_error(tls, server, host)
        if isinstance(error, (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL)):
            return InvalidServerError(f"The request to {server} is not valid: {error}", host=host)
        if first(found, (socket.timeout, SilenceError)) is not None or isinstance(error, requests.exceptions.Timeout):
            return _silence(call, server, host)
        foreign = no_http(found)
        if foreign is not None and is_tls_record(foreign):
            return UnexpectedAnswerError(f"{server} speaks TLS", remedy="Write https:// instead of http://", host=host)
        if foreign is not None:
            return UnexpectedAnswerError(
                f"The server at {server} does not speak HTTP: {printable(foreign)}",
                remedy="Correct host and port, or write https:// if the server uses TLS",
                host=host,
            )
        why = reason(found)
        if not call.sent:
            if first(found, ProxyError) is not None:
                why = f"the proxy refused or failed: {why}"
            return ServerUnreachableError(
                f"No connection to {server}: {why}",
                remedy="Check that the server runs, and that no firewall blocks it",
                host=host,
            )
        return ConnectionLostError(
            f"The connection to {server} broke before the answer was complete: {why}",
            remedy="Read the server's log: the server stopped or crashed, or a device in between cut the connection",
            host=host,
        )


class _Response:
    """A response over a connection that a call owns."""

    def __init__(self, transport: RequestsTransport, raw: Any, method: str, call: Call) -> None:
        self._transport = transport
        self._raw = raw
        self._method = method
        self._call = call
        self.status: int = raw.status
        self.reason: str = raw.reason or http.client.responses.get(raw.status, "")
        self.headers: Mapping[str, str] = raw.headers

    def chunks(self) -> Iterator[bytes]:
        received = 0
        try:
            for chunk in _arriving(self._raw):
                self._call.check()  # a socket that was shut down may still have a megabyte in its buffers
                received += len(chunk)
                yield chunk
            self._call.check()  # a socket that was shut down can look like the regular end
            missing = self._announced() - received
            if missing > 0:  # urllib3 1.26 does not check it
                raise http.client.IncompleteRead(b"", missing)
        except (OSError, HTTPError, http.client.HTTPException) as error:
            self._let_go()
            raise self._transport.explain(error, self._call) from error
        except (ValueError, OverflowError) as error:  # a chunk with a negative or huge size
            self._let_go()
            foreign = http.client.BadStatusLine(f"a chunk of invalid size: {error}")
            raise self._transport.explain(foreign, self._call) from error

    def close(self) -> None:
        self._let_go()
        self._call.detach()

    def _let_go(self) -> None:
        # A response that was read to its end has already returned its connection to the pool, and closes nothing.
        self._raw.close()
        self._raw.release_conn()

    def _announced(self) -> int:
        length = self.headers.get("Content-Length", "")
        bodiless = self._method == "HEAD" or "Content-Encoding" in self.headers
        return int(length) if length.isdigit() and not bodiless else 0


def _arriving(raw: Any) -> Iterable[bytes]:
    """Yield the pieces of a body as they arrive."""
    if raw.chunked or raw.length_remaining is not None:
        yield from raw.stream(_CHUNK, decode_content=True)
        return
    # Without chunks and length (HTTP/1.0), read() would wait for all requested bytes. urllib3 1.26 has no read1(), so
    # read single bytes.
    read, size = (raw.read1, _CHUNK) if hasattr(raw, "read1") else (raw.read, 1)
    while True:
        piece = read(size, decode_content=True)
        if not piece:
            return
        yield piece


def _proxy_of(address: ServerAddress) -> Optional[str]:
    if address.is_loopback:
        return None
    proxies = requests.utils.get_environ_proxies(address.url, no_proxy=None)
    proxy = requests.utils.select_proxy(address.url, proxies)
    if proxy is not None and urlsplit(proxy if "://" in proxy else "http://" + proxy).scheme not in ("http", "https"):
        raise InvalidServerError(
            f"The environment names the proxy {without_credentials(proxy)}, which is neither http nor https",
            remedy="Set HTTPS_PROXY or HTTP_PROXY to an HTTP proxy, or add the server to NO_PROXY",
            host=address.url,
        )
    return proxy


def _verification(tls: TlsSettings) -> Union[bool, str]:
    if not tls.validate_certs:
        return False
    return tls.ca_path or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True


def _silence(call: Call, server: str, host: str) -> OllamaError:
    if not call.sent:
        return ServerUnreachableError(
            f"{server} accepts connections, but does not take the request within {call.connect_timeout:g} seconds",
            remedy="Check that host and port are those of an Ollama server",
            host=host,
        )
    return ReadTimeoutError(
        f"{server} sent nothing for {call.read_timeout:g} seconds",
        remedy="Raise timeout (the server is silent while it loads a model or makes a long answer), or read its log",
        host=host,
        timeout=call.read_timeout,
    )


def _tls_error(failure: TlsFailure, server: str, host: str) -> TlsError:
    if failure.fault is TlsFault.NOT_SPOKEN:
        return TlsError(f"{server} does not speak TLS", remedy="Write http:// instead of https://", host=host)
    if failure.fault is TlsFault.UNTRUSTED:
        return TlsError(
            f"The certificate of {server} is not accepted: {failure.text}",
            remedy="Set ca_path to the authority that signed the certificate, and use a host name of the certificate",
            host=host,
        )
    if failure.fault is TlsFault.CLIENT_CERTIFICATE:
        return TlsError(
            f"{server} wants a client certificate, or rejected the one it received: {failure.text}",
            remedy="Set client_cert and client_key to a pair that the server accepts",
            host=host,
        )
    return TlsError(f"No encrypted connection to {server}: {failure.text}", remedy="Check its TLS settings", host=host)
