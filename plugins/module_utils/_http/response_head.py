# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The head of an HTTP/1 response (RFC 9112), parsed from received bytes without I/O.

``http.client`` parses a head like that of an e-mail, which costs more than all other work on a small response. It is
also lenient about the end of the body. A reader that finds another end than the sender takes a part of this response
for the next one. So this parser refuses every head that is not strictly valid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http.client import responses
from typing import Optional

from .errors import HttpError

#: The largest head, in bytes. Servers send 100 to 1,000.
MAX_HEAD = 65536

#: The most interim responses (1xx) before the final one. Servers send one or two.
MAX_INTERIM = 16

#: Fields, each on one line: no continuation line, no space before the colon, no lone CR or LF, no NUL.
FIELDS = rb"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*)*"
_STATUS = rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([^\r\n\0]*))?"
_STATUS_LINE = re.compile(_STATUS + rb"(?=\r\n|\Z)")
_HEAD = re.compile(_STATUS + rb"(" + FIELDS + rb")")
#: Fields that decide about the body or the connection. Only connection may occur more than once.
_DECISIVE = re.compile(
    rb"\r\n(connection|content-encoding|content-length|content-range|etag|transfer-encoding):[ \t]*([^\r\n]*)",
    re.IGNORECASE,
)
_LENGTH = re.compile(rb"[0-9]{1,15}")


class Fields(Mapping[str, str]):
    """The fields of a head, looked up without regard to case. Commas join the values of one name."""

    def __init__(self, lines: bytes) -> None:
        """:param lines: the lines of the fields; each begins with CR and LF."""
        self._values: dict[str, str] = {}
        for line in lines.decode("latin-1").split("\r\n")[1:]:
            name, _colon, value = line.partition(":")
            name, value = name.lower(), value.strip(" \t")
            earlier = self._values.get(name)
            self._values[name] = value if earlier is None else f"{earlier}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class HttpHead:
    """The head of a response: its status, its fields, and the length of its body by RFC 9112, section 6.3.

    :ivar status: 100 to 599.
    :ivar length: the content-length in bytes; None without one.
    :ivar body_length: bytes of the body; None when the body is chunked, or ends with the connection.
    :ivar chunked: whether the body comes in chunks.
    :ivar coding: the content encoding in lower case; empty without one.
    :ivar keeps_open: whether the connection can serve another request after the body.
    """

    __slots__ = ("_lines", "_reason", "body_length", "chunked", "coding", "keeps_open", "length", "status")

    def __init__(self, content: bytes, *, bodiless: bool = False) -> None:
        """:param content: the head without its empty line. :param bodiless: whether the request was ``HEAD``.

        :raises HttpError: when the content is not a head, or contradicts itself.
        """
        match = _HEAD.fullmatch(content)
        if match is None:
            if _STATUS_LINE.match(content) is None:
                raise HttpError(f"it begins with {content[:100]!r}")
            raise HttpError("a line of its head is not a header")
        self.status = int(match[2])
        self._reason: bytes = match[3] or b""
        self._lines: bytes = match[4]
        found = [(name.lower(), value.rstrip(b" \t").lower()) for name, value in _DECISIVE.findall(self._lines)]
        values = dict(found)
        if len(found) > len(values):
            names = [name for name, _value in found]
            for name in values:
                if name != b"connection" and names.count(name) > 1:
                    raise HttpError(f"it has {name.decode()} more than once")
            values[b"connection"] = b",".join(value for name, value in found if name == b"connection")
        self.coding = values.get(b"content-encoding", b"").decode("latin-1")
        self.keeps_open = match[1] == b"1" and b"close" not in values.get(b"connection", b"")
        self.chunked = False
        self.length: Optional[int] = None
        self.body_length: Optional[int] = None
        self._find_end(values.get(b"content-length"), values.get(b"transfer-encoding"), match[1] == b"1", bodiless)

    @property
    def reason(self) -> str:
        return self._reason.decode("latin-1") or responses.get(self.status, "")

    @property
    def fields(self) -> Fields:
        """All fields. Each access parses them again, because most callers need only the decisive ones."""
        return Fields(self._lines)

    def _find_end(self, length: Optional[bytes], coding: Optional[bytes], newest: bool, bodiless: bool) -> None:
        if coding is not None and (length is not None or not newest):
            raise HttpError("it has a transfer-encoding beside a content-length, or in HTTP/1.0")
        if coding is not None and coding != b"chunked":
            raise HttpError(f"its transfer encoding is {coding[:100]!r}")
        if length is not None and not _LENGTH.fullmatch(length):
            raise HttpError(f"its length is {length[:100]!r}")
        self.length = None if length is None else int(length)
        if (self.status < 200 or self.status == 204) and (coding is not None or self.length):
            raise HttpError(f"it has a body, which status {self.status} does not allow")
        if bodiless or self.status < 200 or self.status in (204, 304):
            self.body_length = 0
        elif coding is not None:
            self.chunked = True
        elif self.length is not None:
            self.body_length = self.length
        else:
            self.keeps_open = False


class HeadParser:
    """Collects bytes until the head of the response is complete; skips interim responses.

    :param bodiless: whether the request was ``HEAD``.
    :ivar rest: the received bytes that follow the head.
    """

    def __init__(self, *, bodiless: bool = False) -> None:
        self.rest = bytearray()
        self._bodiless = bodiless
        self._interim = 0

    def feed(self, data: bytes) -> Optional[HttpHead]:
        """Take received bytes; return the head once it is complete. Do not call it after that.

        :raises HttpError: when the bytes are not an HTTP/1 response.
        """
        seen = self.rest
        seen += data
        while True:
            if not b"HTTP/1.".startswith(seen[:7]):
                raise HttpError(f"it begins with {bytes(seen[:20])!r}")
            end = seen.find(b"\r\n\r\n", 0, MAX_HEAD)
            if end < 0:
                if len(seen) >= MAX_HEAD:
                    raise HttpError(f"its head has more than {MAX_HEAD} bytes")
                return None
            head = HttpHead(bytes(seen[:end]), bodiless=self._bodiless)
            del seen[: end + 4]
            if head.status >= 200:
                return head
            if head.status == 101:
                raise HttpError("it switches to another protocol, which the request did not ask for")
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise HttpError(f"more than {MAX_INTERIM} interim answers precede it")
