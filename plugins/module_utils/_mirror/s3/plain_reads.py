# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Reads from a mirror without the SDK, for settings that name the server and the credentials.

Importing the SDK, reading its description of S3 and building a client takes 0.4 s of processor time, twice as much as
the rest of a run in which nothing changes. A GET through the SDK takes 1.5 ms, mostly for steps that repeat for each
request; for a thousand small blobs, that is more than all other work together. So if the settings name the server and
the credentials, and the environment changes neither, this module sends the read requests. It sends each request once.
If the answer does not have the content, the SDK repeats the request: the SDK handles redirects, busy servers and skewed
clocks, and its errors are translated.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Optional
from urllib.parse import quote, urlsplit

from ..._http.endpoint import BlockingResponse, Endpoint
from .client import CONNECT_TIMEOUT, DEFAULT_REGION, READ_TIMEOUT
from .layout import url_path
from .object_list import ListPage, read_page
from .objects import compression
from .range_response import RangeResponse
from .settings import S3Settings
from .sigv4 import Signer

if TYPE_CHECKING:
    from ssl import SSLContext

#: Variables of the SDK that change nothing if endpoint, keys and authorities are given, or that this module reads too.
#: Any other variable of the SDK may change the requests.
_HARMLESS = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_EC2_METADATA_DISABLED",
}
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")

#: Statuses after which all requests go to the SDK: the server wants something that only the SDK can give.
_NEVER_AGAIN = {301, 302, 307, 308, 400, 401, 403, 501}

#: The largest page of a list in bytes. A page has 1,000 keys of at most 1,024 bytes, and quoting can triple them.
_MAX_PAGE = 8 * 1024 * 1024

_USER_AGENT = "legionio.ollama"

_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")


class PlainReads:
    """Reads of one bucket without the SDK: the fastest :class:`ObjectReader`. Safe for use by several threads.

    A method returns ``None`` if the SDK must make the request.
    """

    def __init__(self, settings: S3Settings, environ: Optional[Mapping[str, str]] = None) -> None:
        """:param environ: the environment variables; by default, those of this process."""
        self._endpoint: Optional[Endpoint] = None
        if not _plain(settings, os.environ if environ is None else environ):
            return
        url = urlsplit(settings.endpoint_url or "")
        secure = url.scheme == "https"
        usual = 443 if secure else 80
        host = url.hostname or ""
        self._host = f"[{host}]" if ":" in host else host
        if url.port not in (None, usual):
            self._host += f":{url.port}"
        self._base = f"{url.path.rstrip('/')}/{settings.bucket}"
        region = settings.asked_region or DEFAULT_REGION
        self._signer = Signer(settings.access_key or "", settings.secret_key or "", settings.session_token, region)
        with contextlib.suppress(OSError):  # the SDK explains what is wrong with a certificate
            self._endpoint = Endpoint(
                host,
                url.port or usual,
                connect_timeout=CONNECT_TIMEOUT,
                silence=READ_TIMEOUT,
                tls=_tls(settings) if secure else None,
            )

    @property
    def possible(self) -> bool:
        """Whether this reader can make requests."""
        return self._endpoint is not None

    def get(self, key: str, limit: int) -> Optional[bytes]:
        """Return the content of a small object, at most ``limit`` bytes of it."""
        answer = self._ask("GET", f"/{url_path(key)}")
        return None if answer is None else _read(answer, limit)

    def range(self, key: str, asked: Mapping[str, str]) -> Optional[RangeResponse]:
        """Ask for a byte range of an object.

        :param asked: the headers ``Range`` and, if the object must have a known ETag, ``If-Match``.
        """
        headers = {name.lower(): value for name, value in asked.items()}
        answer = self._ask("GET", f"/{url_path(key)}", headers=headers)
        return None if answer is None else RangeResponse(answer, answer.status, answer.headers)

    def head(self, key: str) -> Optional[Mapping[str, str]]:
        """Return the headers that describe an object, by their names in lower case."""
        answer = self._ask("HEAD", f"/{url_path(key)}")
        if answer is None:
            return None
        answer.close()
        return answer.headers

    def page(self, prefix: str, token: str, after: str) -> Optional[ListPage]:
        """Return a page of the list of the objects whose keys begin with a prefix.

        :param token: the page's continuation token; empty for the first page.
        :param after: the key after which the page begins, or empty.
        """
        asked = {"encoding-type": "url", "list-type": "2", "prefix": prefix}
        if token:
            asked["continuation-token"] = token
        if after:
            asked["start-after"] = after
        query = "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in sorted(asked.items()))
        answer = self._ask("GET", "", query)
        content = None if answer is None else _read(answer, _MAX_PAGE)
        return None if content is None else read_page(content)

    def _ask(
        self, method: str, path: str, query: str = "", headers: Optional[Mapping[str, str]] = None
    ) -> Optional[BlockingResponse]:
        endpoint = self._endpoint
        if endpoint is None:
            return None
        path = self._base + path
        sent = self._signer.signed(method, self._host, path, query, headers or {})
        # These two are not signed, since proxies may change them.
        sent["accept-encoding"] = "identity"
        sent["user-agent"] = _USER_AGENT
        try:
            answer = endpoint.ask(method, f"{path}?{query}" if query else path, sent)
        except OSError:
            return None
        good = answer.status == 200 or (answer.status == 206 and headers is not None and "range" in headers)
        if good and not _odd(answer.headers):
            return answer
        if answer.status in _NEVER_AGAIN:
            self._endpoint = None
        answer.close()
        return None


def _odd(headers: Mapping[str, str]) -> bool:
    """Return whether an answer may not be the mirror's content: a web page, or an answer that a proxy compressed."""
    return headers.get("content-type", "").startswith("text/html") or bool(compression(headers))


def _plain(settings: S3Settings, environ: Mapping[str, str]) -> bool:
    """Return whether the settings alone decide how the SDK would send a request."""
    if not (settings.endpoint_url and settings.access_key and settings.secret_key) or settings.profile:
        return False
    if settings.addressing_style not in ("auto", "path") or not _BUCKET.fullmatch(settings.bucket):
        return False
    if settings.endpoint_url.startswith("https:") and settings.validate_certs and not settings.ca_path:
        return False  # the SDK has its own list of trusted authorities
    if any(name.startswith("AWS_") and name not in _HARMLESS for name in environ):
        return False
    if any(name.lower() in _PROXIES for name in environ):
        return False
    files = (
        environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
        environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
    )
    return all(_empty(os.path.expanduser(file)) for file in files)


def _empty(path: str) -> bool:
    try:
        return os.stat(path).st_size == 0
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _tls(settings: S3Settings) -> SSLContext:
    """Return the TLS settings, with the authorities that the settings trust.

    :raises OSError: if the authorities' certificates cannot be read.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.validate_certs:
        folder = os.path.isdir(settings.ca_path or "")
        context.load_verify_locations(**{"capath" if folder else "cafile": settings.ca_path})
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _read(answer: BlockingResponse, limit: int) -> Optional[bytes]:
    try:
        return answer.read(limit)
    except OSError:
        return None
    finally:
        answer.close()
