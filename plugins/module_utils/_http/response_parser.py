# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A parser of HTTP/1 responses with their bodies, from bytes in any pieces, without I/O."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Optional

from .errors import HttpError
from .response_head import FIELDS, MAX_HEAD, HeadParser, HttpHead

#: The largest body in bytes, received and decompressed; far above any response of Ollama.
MAX_BODY = 1024 * 1024 * 1024

#: The size of a chunk. Extensions may follow it on the same line; they are ignored.
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n\0]*)?")
_TRAILERS = re.compile(FIELDS)


class ResponseParser:
    """Parses the bytes of one response.

    :param bodiless: whether the request was ``HEAD``.
    :ivar head: None until it is complete.
    :ivar reusable: whether the connection can serve another request; valid once the response is complete.
    """

    def __init__(self, *, bodiless: bool = False) -> None:
        self.head: Optional[HttpHead] = None
        self.reusable = False
        self._heads = HeadParser(bodiless=bodiless)
        #: Received bytes that are not in the body yet.
        self._seen = self._heads.rest
        self._body = bytearray()
        self._complete = False

    @property
    def status(self) -> int:
        """The status; 0 until the head is complete."""
        return 0 if self.head is None else self.head.status

    @property
    def reason(self) -> str:
        return "" if self.head is None else self.head.reason

    @property
    def headers(self) -> Mapping[str, str]:
        """All headers, looked up without regard to case."""
        return {} if self.head is None else self.head.fields

    def feed(self, data: bytes) -> bool:
        """Take received bytes; return whether the response is complete.

        :raises HttpError: when it is not an HTTP/1 response. Do not feed more bytes after that.
        """
        if self._complete:
            self.reusable = self.reusable and not data  # the server sent more than one response
            return True
        head = self.head
        if head is not None:
            self._seen += data
        else:
            head = self.head = self._heads.feed(data)
            if head is None:
                return False
            self.reusable = head.keeps_open
            self._bound(head.body_length or 0)
        if head.body_length is not None:
            self._complete = self._take_length(head.body_length)
        elif head.chunked:
            self._complete = self._take_chunks()
        else:
            self._bound(len(self._seen))
            self._body = self._seen
        return self._complete

    def end(self) -> bool:
        """Process the end of the connection; return whether the response is complete."""
        self.reusable = False
        head = self.head
        return self._complete or (head is not None and head.body_length is None and not head.chunked)

    def body(self) -> bytes:
        """Return the body of a complete response, decompressed if necessary.

        :raises HttpError: when the body cannot be decompressed.
        """
        coding = "" if self.head is None else self.head.coding
        return bytes(self._body) if coding in ("", "identity") else _decompressed(self._body, coding)

    def _take_length(self, length: int) -> bool:
        if len(self._seen) < length:
            return False
        self._body = self._seen
        if len(self._seen) > length:
            del self._body[length:]
            self.reusable = False  # the server sent more than one response
        return True

    def _take_chunks(self) -> bool:
        """Move complete chunks to the body; return whether the last one has arrived."""
        seen, at = self._seen, 0
        while True:
            end = seen.find(b"\r\n", at, at + MAX_HEAD)
            if end < 0:
                if len(seen) - at >= MAX_HEAD:
                    raise HttpError("the size of a chunk has no end")
                break
            match = _CHUNK.fullmatch(seen, at, end)
            if match is None:
                raise HttpError(f"the size of a chunk is {bytes(seen[at : min(end, at + 20)])!r}")
            size = int(match[1], 16)
            if not size:
                if self._take_trailers(end):
                    return True
                break
            self._bound(len(self._body) + size)
            if len(seen) < end + size + 4:
                break
            if seen[end + size + 2 : end + size + 4] != b"\r\n":
                raise HttpError("a chunk is longer than its size")
            with memoryview(seen) as view:
                self._body += view[end + 2 : end + 2 + size]
            at = end + size + 4
        del seen[:at]
        return False

    def _take_trailers(self, start: int) -> bool:
        """Look for the empty line after the last chunk, and ignore the trailers before it."""
        end = self._seen.find(b"\r\n\r\n", start, start + MAX_HEAD)
        if end < 0:
            if len(self._seen) - start >= MAX_HEAD:
                raise HttpError("its trailers have no end")
            return False
        if _TRAILERS.fullmatch(self._seen, start, end) is None:
            raise HttpError("a line of its trailers is not a header")
        self.reusable = self.reusable and len(self._seen) == end + 4
        return True

    @staticmethod
    def _bound(size: int) -> None:
        if size > MAX_BODY:
            raise HttpError(f"its body has more than {MAX_BODY} bytes")


def _decompressed(content: bytearray, coding: str) -> bytes:
    if coding not in ("gzip", "deflate"):
        raise HttpError(f"it has the content encoding {coding}, which was not asked for")
    try:
        inflating = zlib.decompressobj(wbits=47)  # a zlib or gzip header
        body = inflating.decompress(content, MAX_BODY + 1)
    except zlib.error as error:
        raise HttpError(f"it is not valid {coding}: {error}") from error
    if not inflating.eof or len(body) > MAX_BODY:
        raise HttpError("its compressed body is cut short, or too large")
    return body
