# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An answer, and its transfer over the wire."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from xml.sax.saxutils import escape

#: How a body ends: by Content-Length, in chunks, or by hanging up.
LENGTH, CHUNKED, CLOSE = "length", "chunked", "close"


@dataclass(frozen=True)
class Answer:
    """One answer.

    :param headers: all but those that frame the body.
    :param length: of the body that a GET would have, for an answer to HEAD.
    :param framing: how the body ends.
    :param interim: statuses of answers that come before this one.
    :param cut: the number of bytes after which the server closes the connection.
    :param version: of HTTP.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    length: int | None = None
    framing: str = LENGTH
    interim: tuple[int, ...] = ()
    cut: int | None = None
    version: str = "1.1"
    reason: str = "Made up"
    framed: tuple[tuple[str, str], ...] = field(default=())

    def with_headers(self, *headers: tuple[str, str]) -> Answer:
        """Return the answer with further headers, which replace those of the same name."""
        names = {name.lower() for name, _value in headers}
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in names)
        return replace(self, headers=kept + headers)

    def header(self, name: str) -> str | None:
        """Return the value of a header."""
        return next((value for known, value in self.headers if known.lower() == name.lower()), None)

    def framing_headers(self, method: str) -> tuple[tuple[str, str], ...]:
        """Return the headers that frame the body."""
        if self.framing == CHUNKED:
            return (("Transfer-Encoding", "chunked"),)
        if self.framing == CLOSE:
            return (("Connection", "close"),)
        if self.status in (204, 304):
            return ()
        length = self.length if self.length is not None and method == "HEAD" else len(self.body)
        return (("Content-Length", str(length)),)

    def on_the_wire(self, method: str) -> bytes:
        """Return all bytes of the answer."""
        before = b"".join(b"HTTP/1.1 %d Made up\r\n\r\n" % status for status in self.interim)
        lines = [f"HTTP/{self.version} {self.status} {self.reason}".rstrip()]
        lines += [f"{name}: {value}" for name, value in (*self.headers, *(self.framed or self.framing_headers(method)))]
        head = "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n"
        body = b"" if method == "HEAD" or self.status in (204, 304) else self.body
        if self.framing == CHUNKED and method != "HEAD":
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
        whole = before + head + body
        return whole if self.cut is None else whole[: self.cut]

    @property
    def hangs_up(self) -> bool:
        """Whether the server ends the connection after this answer."""
        told = {value.lower() for name, value in (*self.headers, *self.framed) if name.lower() == "connection"}
        return self.cut is not None or self.framing == CLOSE or self.version == "1.0" or "close" in told


def xml(status: int, text: str) -> Answer:
    """Return an answer of XML."""
    return Answer(
        status, (("Content-Type", "application/xml"),), f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
    )


def error(status: int, code: str, message: str = "made up") -> Answer:
    """Return an error in the format of S3."""
    return xml(status, f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>")
