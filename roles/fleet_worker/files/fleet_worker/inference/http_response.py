# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An answer of HTTP/1 made of the bytes that have come, whatever pieces they come in. No I/O.

Only what an answer to a POST can be, and no more of the headers than it takes to find its end: ``http.client`` reads
them as those of an e-mail, which costs more than everything else that is done for an answer.
"""

from __future__ import annotations

import io
import re
import zlib
from http.client import parse_headers, responses
from typing import Any, Callable, Optional

from .._ollama.api_errors import UnexpectedAnswerError

#: Bytes that the head of an answer may have, and its body. Far above what Ollama sends, and below what hurts.
MAX_HEAD = 65536
MAX_BODY = 1024 * 1024 * 1024

#: Interim answers (1xx) before the answer, at most. Servers send one or two.
MAX_INTERIM = 16

#: Headers, each on one line: no value that goes on in the next line, no space before the colon, no lone line feed. Who
#: reads such a head in another way than its sender finds another end of the body.
_HEADERS = re.compile(rb"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*)*")
#: What says where a body ends and what it is, in one look.
_DECISIVE = re.compile(
    rb"\r\n(connection|content-encoding|content-length|transfer-encoding):[ \t]*([^\r\n]*)", re.IGNORECASE
)
#: Headers that an answer has once at most.
_SINGLE = (b"content-encoding", b"content-length", b"transfer-encoding")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([0-9]{3})(?: ([^\r\n]*))?(?=\r\n|\Z)")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)
_LENGTH = re.compile(rb"[0-9]{1,15}")


class ResponseParser:
    """Takes the bytes of one answer.

    :ivar reusable: whether the connection can serve another request; to be asked when the answer is complete.
    """

    def __init__(self) -> None:
        self.status = 0
        self.reason = ""
        self.reusable = False
        self._head = b""
        self._interim = 0
        self._decisive: dict[bytes, bytes] = {}
        self._seen = bytearray()
        self._body = bytearray()
        self._length = 0
        #: Looks for the rest of the body, and returns whether it is there; None before the head is.
        self._take: Optional[Callable[[], bool]] = None

    @property
    def headers(self) -> Any:
        """All headers, looked up without regard to case; only who explains an error wants them."""
        return parse_headers(io.BytesIO(self._head.partition(b"\r\n")[2] + b"\r\n\r\n"))

    def feed(self, data: bytes) -> bool:
        """Take what has come; return whether the answer is complete.

        :raises ValueError: when it is no answer of HTTP/1.
        """
        self._seen += data
        while self._take is None:
            if not self._take_head():
                return False
        return self._take()

    def end(self) -> bool:
        """The other side sends no more; return whether what it has sent is a complete answer."""
        self.reusable = False
        return self._take == self._take_everything

    def body(self) -> bytes:
        """Return the body.

        :raises UnexpectedAnswerError: when it is compressed, which was not asked for, and cannot be understood.
        """
        if b"content-encoding" not in self._decisive:
            return bytes(self._body)
        coding = self._decisive[b"content-encoding"].decode("latin-1")
        if coding == "identity":
            return bytes(self._body)
        if coding not in ("gzip", "deflate"):
            raise UnexpectedAnswerError(f"The answer has the content encoding {coding}, which was not asked for")
        try:
            inflating = zlib.decompressobj(wbits=47)  # with the head of either
            body = inflating.decompress(self._body, MAX_BODY + 1)
        except zlib.error as error:
            raise UnexpectedAnswerError(f"The answer is not the {coding} that it says it is: {error}") from error
        if not inflating.eof or len(body) > MAX_BODY:
            raise UnexpectedAnswerError("The answer is compressed, and cut short or too large")
        return body

    def _take_head(self) -> bool:
        if not b"HTTP/1.".startswith(self._seen[:7]):
            raise ValueError(f"it begins with {bytes(self._seen[:20])!r}")
        end = self._seen.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            if len(self._seen) >= MAX_HEAD:
                raise ValueError(f"its head has more than {MAX_HEAD} bytes")
            return False
        head = bytes(self._seen[:end])
        del self._seen[: end + 4]
        match = _STATUS.match(head)
        if match is None:
            raise ValueError(f"it begins with {head[:100]!r}")
        self.status = int(match[2])
        if self.status == 101:
            raise ValueError("it changes the protocol, which nobody has asked for")
        if _HEADERS.fullmatch(head, match.end()) is None:
            raise ValueError("a line of its head is no header")
        if self.status < 200:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise ValueError(f"more than {MAX_INTERIM} interim answers precede it")
            return True  # another answer follows
        self.reason = (match[3] or b"").decode("latin-1") or responses.get(self.status, "")
        self._head = head
        found = [(name.lower(), value.strip().lower()) for name, value in _DECISIVE.findall(head, match.end())]
        self._decisive = dict(found)
        if len(found) > len(self._decisive):
            names = [name for name, _value in found]
            for name in _SINGLE:
                if names.count(name) > 1:
                    raise ValueError(f"it has {name.decode()} more than once")
            # Of several lists of what concerns the connection, each one counts.
            self._decisive[b"connection"] = b",".join(value for name, value in found if name == b"connection")
        self._find_end(newest=match[1] == b"1")
        return True

    def _find_end(self, newest: bool) -> None:
        """See from the headers where the body ends (RFC 9112, section 6.3).

        :raises ValueError: when the headers contradict each other, which can make an answer out of a part of another.
        """
        self.reusable = newest and b"close" not in self._decisive.get(b"connection", b"")
        coding, length = self._decisive.get(b"transfer-encoding"), self._decisive.get(b"content-length")
        if coding is not None and (length is not None or not newest):
            raise ValueError("it has a transfer-encoding beside a content-length, or in HTTP/1.0")
        if self.status in (204, 304):
            self._take = self._take_length
        elif coding is not None:
            if coding != b"chunked":
                raise ValueError(f"its transfer encoding is {coding[:100]!r}")
            self._take = self._take_chunks
        elif length is not None:
            if not _LENGTH.fullmatch(length):
                raise ValueError(f"its length is {length[:100]!r}")
            self._length = int(length)
            self._bound(self._length)
            self._take = self._take_length
        else:
            self.reusable = False
            self._take = self._take_everything

    def _take_length(self) -> bool:
        if len(self._seen) < self._length:
            return False
        self._body = self._seen
        if len(self._seen) > self._length:
            del self._body[self._length :]
            self.reusable = False  # it says more than it was asked
        return True

    def _take_everything(self) -> bool:
        self._bound(len(self._seen))
        self._body = self._seen
        return False

    def _take_chunks(self) -> bool:
        """Move to the body what is there of it in whole chunks."""
        at = 0
        while True:
            end = self._seen.find(b"\r\n", at, at + MAX_HEAD)
            if end < 0:
                if len(self._seen) - at >= MAX_HEAD:
                    raise ValueError("the size of a chunk has no end")
                break
            match = _CHUNK.fullmatch(self._seen, at, end)
            if match is None:
                raise ValueError(f"the size of a chunk is {bytes(self._seen[at : min(end, at + 20)])!r}")
            size = int(match[1], 16)
            if not size:
                # What may follow are trailers, of which nothing is wanted, up to an empty line.
                last = self._seen.find(b"\r\n\r\n", end, end + MAX_HEAD)
                if last >= 0:
                    self.reusable &= len(self._seen) == last + 4
                    return True
                if len(self._seen) - end >= MAX_HEAD:
                    raise ValueError("its trailers have no end")
                break
            self._bound(len(self._body) + size)
            if len(self._seen) < end + size + 4:
                break
            if self._seen[end + size + 2 : end + size + 4] != b"\r\n":
                raise ValueError("a chunk is longer than its size")
            with memoryview(self._seen) as view:
                self._body += view[end + 2 : end + 2 + size]
            at = end + size + 4
        del self._seen[:at]
        return False

    @staticmethod
    def _bound(size: int) -> None:
        if size > MAX_BODY:
            raise ValueError(f"its body has more than {MAX_BODY} bytes")
