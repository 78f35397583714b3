# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Range requests that the SDK signs, without the other steps of the SDK.

A GET through the SDK costs about 1.5 ms of processor time, mostly for steps that repeat for each request: validation,
endpoint rules, events, retry bookkeeping. For a thousand small blobs that is more than all other work together, and
Python threads cannot share it. So the SDK makes the first request, and this module watches it. The requests that follow
are built like the first one, signed by the SDK's signer with its current credentials, and sent over the SDK's
connections, with its proxies and certificates. If the answer does not have the content, the SDK repeats the request:
the SDK handles redirects, busy servers and expired credentials, and its errors are translated.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Optional

from .layout import url_path
from .objects import content_length
from .range_response import RangeResponse

_OPERATION = "s3.GetObject"

#: The names of signature version 4. This module repeats no other version, because older ones sign the path differently.
_SIGNATURES = ("v4", "s3v4")


class _UrlTemplate(NamedTuple):
    """The common parts of all requests: the beginning of the URL, and the parameters of the signature."""

    base: str  # the whole URL, until learn() cuts the key off
    signer: Any
    signing_name: str
    region: str
    signature_version: str
    user_agent: str


class SignedRanges:
    """An :class:`ObjectReader` of ranges, with requests like those of the SDK's client.

    Before :meth:`watch` and the first :meth:`learn`, and for every other read, it returns ``None``.
    """

    def __init__(self) -> None:
        self._session: Any = None
        self._seen = threading.local()
        self._model: Optional[_UrlTemplate] = None

    def watch(self, client: Any) -> None:
        """Watch the requests of a client, and use its connections."""
        self._session = getattr(getattr(client, "_endpoint", None), "http_session", None)
        client.meta.events.register_last(f"before-sign.{_OPERATION}", self._watch)

    def learn(self, key: str) -> None:
        """Use the last request of this thread, which got an answer, as the template of all others.

        :param key: the key of that request.
        """
        if self._model is None:
            seen: Optional[_UrlTemplate] = getattr(self._seen, "last", None)
            path = url_path(key)
            if seen and seen.base.endswith(f"/{path}"):
                self._model = seen._replace(base=seen.base[: -len(path)])

    def get(self, key: str, limit: int) -> None:
        """Leave whole objects to the SDK."""

    def head(self, key: str) -> None:
        """Leave HEAD requests to the SDK."""

    def page(self, prefix: str, token: str, after: str) -> None:
        """Leave lists to the SDK."""

    def range(self, key: str, asked: Mapping[str, str]) -> Optional[RangeResponse]:
        """Ask for a byte range of an object; return ``None`` if the SDK must make the request.

        :param asked: the headers ``Range`` and, if the object must have a known ETag, ``If-Match``.
        """
        model = self._model
        if model is None or self._session is None:
            return None
        try:
            from botocore.awsrequest import AWSRequest
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            return None

        headers = {**asked, "User-Agent": model.user_agent}
        request = AWSRequest(method="GET", url=model.base + url_path(key), headers=headers, stream_output=True)
        try:
            model.signer.get_auth_instance(model.signing_name, model.region, model.signature_version).add_auth(request)
            answer = self._session.send(request.prepare())
        except (BotoCoreError, ClientError):  # the SDK meets the same error, and explains it
            return None
        kind = answer.headers.get("Content-Type") or ""
        if answer.status_code in (200, 206) and not kind.startswith("text/html"):
            raw = answer.raw
            return RangeResponse(SdkBody(raw, content_length(raw.headers)), raw.status, raw.headers)
        answer.raw.close()
        return None

    def _watch(
        self,
        *,
        request: Any,
        signing_name: str,
        region_name: str,
        signature_version: Any,
        request_signer: Any,
        **_more: Any,
    ) -> None:
        # The signer does the same: the context holds a redirect to another region and rules of the endpoint.
        context = request.context.get("signing", {})
        if signature_version in _SIGNATURES:
            self._seen.last = _UrlTemplate(
                request.url,
                request_signer,
                context.get("signing_name", signing_name),
                context.get("region", region_name),
                signature_version,
                request.headers.get("User-Agent", ""),
            )


class SdkBody:
    """The body of an answer of the SDK, received without a copy if urllib3 allows it."""

    def __init__(self, raw: Any, length: Optional[int]) -> None:
        """
        :param raw: urllib3's answer.
        :param length: bytes of the body; ``None`` if the server does not report them.
        """
        from http.client import HTTPResponse

        self._raw = raw
        self._left = length
        # urllib3 copies received bytes, and http.client does not. All versions of urllib3 have this attribute.
        answer = getattr(raw, "_fp", None)
        self._receive: Callable[[memoryview], int] = (
            answer.readinto if isinstance(answer, HTTPResponse) else self._read_and_copy
        )

    def readinto(self, view: memoryview) -> int:
        """Receive bytes, and return how many; 0 at the end, even if the end comes too early."""
        count = self._receive(view)
        if self._left is not None:
            self._left -= count
        return count

    def close(self) -> None:
        """Release the connection for the next request if the whole body was read, else close it."""
        if self._left != 0:  # a body of unknown length may have more bytes
            self._raw.close()
        self._raw.release_conn()

    def _read_and_copy(self, view: memoryview) -> int:
        piece = self._raw.read(len(view))
        view[: len(piece)] = piece
        return len(piece)
