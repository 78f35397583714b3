# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The headers that describe an object, with or without the SDK.

Servers and proxies leave headers out, weaken them or send invalid values. A missing header is tolerated if possible:
the manifest has the size too, and the digest shows whether the bytes are right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import NamedTuple, Optional

from ..._ollama.digests import parse_digest
from ..._ollama.errors import InvalidDigestError

#: The metadata field that this collection writes: the SHA-256 of the object's content in hexadecimal digits.
DIGEST_METADATA = "sha256"
_DIGEST_HEADER = f"x-amz-meta-{DIGEST_METADATA}"

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(r"\w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)")
_NUMBER = re.compile(r"[0-9]{1,18}")
_STRONG_ETAG = re.compile(r'"?([\x21\x23-\x7e]+)"?')

#: Values of Content-Encoding that leave the bytes as they are. Some servers keep ``aws-chunked`` of an upload.
_HARMLESS_ENCODINGS = {"", "identity", "aws-chunked", "utf-8"}


class ObjectState(NamedTuple):
    """The description of an object, without its content.

    :param size: in bytes.
    :param etag: changes when the object changes, but is not a digest of the content. Empty if the server sends none.
    :param modified: when the object was written; ``None`` if the server does not send it.
    :param digest: the digest that this collection recorded; ``None`` if another tool wrote the object, or if the
        description comes from a list.
    """

    key: str
    size: int
    etag: str
    modified: Optional[datetime]
    digest: Optional[str] = None


class ByteRange(NamedTuple):
    """The content of a Content-Range header.

    :param first: the first byte that was sent; ``None`` if none was.
    :param last: the last byte that was sent; ``None`` if none was.
    :param size: bytes of the whole object; ``None`` if the server does not know it.
    """

    first: Optional[int]
    last: Optional[int]
    size: Optional[int]


def state_of(key: str, headers: Mapping[str, str]) -> Optional[ObjectState]:
    """Return the description of an object by its headers; ``None`` if they lack its size.

    :param headers: the headers of an answer to HEAD, or to GET for a range, with names in lower case.
    """
    span = byte_range(headers)
    size = content_length(headers) if span is None else span.size
    if size is None:
        return None
    modified = _moment(headers.get("last-modified", ""))
    return ObjectState(
        key, size, headers.get("etag", "").strip(), modified, recorded_digest(headers.get(_DIGEST_HEADER))
    )


def digest_metadata(digest: str) -> dict[str, str]:
    """Return the metadata that record a digest."""
    return {DIGEST_METADATA: digest.split(":", 1)[1]}


def recorded_digest(text: Optional[str]) -> Optional[str]:
    """Return the digest that is recorded with an object; ``None`` if the text is not a digest.

    Other tools write the digits in upper case, or "sha256:" before them.
    """
    hexadecimal = (text or "").strip().lower()
    try:
        return parse_digest(hexadecimal if hexadecimal.startswith("sha256") else f"sha256:{hexadecimal}")
    except InvalidDigestError:
        return None


def content_length(headers: Mapping[str, str]) -> Optional[int]:
    """Return the length of an answer in bytes; ``None`` if the server does not send a valid length."""
    text = headers.get("content-length", "").strip()
    return int(text) if _NUMBER.fullmatch(text) else None


def byte_range(headers: Mapping[str, str]) -> Optional[ByteRange]:
    """Return the byte range of an answer; ``None`` if the server does not send a valid range."""
    found = _RANGE.fullmatch(headers.get("content-range", "").strip())
    if found is None:
        return None
    first, last, size = (int(text) if text and text != "*" else None for text in found.groups())
    return ByteRange(first, last, size)


def compression(headers: Mapping[str, str]) -> str:
    """Return the encoding of an answer whose bytes differ from those of the object; empty if they do not differ."""
    encoding = headers.get("content-encoding", "").strip().lower()
    coded = [part for part in (part.strip() for part in encoding.split(",")) if part not in _HARMLESS_ENCODINGS]
    return ", ".join(coded)


def if_match(etag: str) -> dict[str, str]:
    """Return the header that requests an object only while it has an ETag; no header if the ETag cannot match.

    A weak ETag never matches (RFC 9110, 13.1.1). Some lists have ETags without quotes.
    """
    found = None if etag.startswith("W/") else _STRONG_ETAG.fullmatch(etag)
    return {"If-Match": f'"{found.group(1)}"'} if found else {}


def _moment(text: str) -> Optional[datetime]:
    """Return the time in a header; ``None`` if it does not have the form of RFC 9110, 5.6.7."""
    found = _DATE.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        return None
    year, month, day = int(found[3]), 1 + _MONTHS.index(found[2]), int(found[1])
    try:
        return datetime(year, month, day, int(found[4]), int(found[5]), int(found[6]), tzinfo=timezone.utc)
    except ValueError:
        return None
