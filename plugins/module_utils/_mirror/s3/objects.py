# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""What the headers of an answer say of an object, read in one place, with or without the SDK.

Servers and proxies leave headers out, weaken them or write nonsense. A header that can be done without is done without:
the size is in the manifest too, and whether the bytes are right the digest says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import NamedTuple, Optional

from ..._ollama.digests import parse_digest
from ..._ollama.errors import InvalidDigestError

#: Metadata of an object that we wrote: the SHA-256 of its content, in hexadecimal digits.
DIGEST_METADATA = "sha256"
_DIGEST_HEADER = f"x-amz-meta-{DIGEST_METADATA}"

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(r"\w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)")
_NUMBER = re.compile(r"[0-9]{1,18}")
_STRONG_ETAG = re.compile(r'"?([\x21\x23-\x7e]+)"?')

#: Encodings in which content is other bytes than it was. ``aws-chunked`` is what some servers keep of an upload.
_HARMLESS_ENCODINGS = {"", "identity", "aws-chunked", "utf-8"}


class ObjectState(NamedTuple):
    """What a mirror says of an object, without its content.

    :param size: in bytes.
    :param etag: changes when the object does; it is no digest of the content. Empty when the server does not say it.
    :param modified: ``None`` when the server does not say it.
    :param digest: as recorded when we wrote it; ``None`` when somebody else did, or nobody asked.
    """

    key: str
    size: int
    etag: str
    modified: Optional[datetime]
    digest: Optional[str] = None


class ByteRange(NamedTuple):
    """What a Content-Range header says.

    :param first: and ``last``, of the bytes that were sent; ``None`` when none are.
    :param size: of the whole object; ``None`` when the server does not know it.
    """

    first: Optional[int]
    last: Optional[int]
    size: Optional[int]


def state_of(key: str, headers: Mapping[str, str]) -> Optional[ObjectState]:
    """Return what headers say of an object; ``None`` when not even its size.

    :param headers: of an answer to HEAD, or to GET for a range, with names in lower case.
    """
    told = byte_range(headers)
    size = content_length(headers) if told is None else told.size
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
    """Return the digest that is recorded with an object; ``None`` for what is none.

    Other tools write the digits in upper case, or "sha256:" before them.
    """
    hexadecimal = (text or "").strip().lower()
    try:
        return parse_digest(hexadecimal if hexadecimal.startswith("sha256") else f"sha256:{hexadecimal}")
    except InvalidDigestError:
        return None


def content_length(headers: Mapping[str, str]) -> Optional[int]:
    """Return how many bytes an answer has; ``None`` when the server does not say it."""
    text = headers.get("content-length", "").strip()
    return int(text) if _NUMBER.fullmatch(text) else None


def byte_range(headers: Mapping[str, str]) -> Optional[ByteRange]:
    """Return which bytes of an object an answer has; ``None`` when the server does not say it."""
    found = _RANGE.fullmatch(headers.get("content-range", "").strip())
    if found is None:
        return None
    first, last, size = (int(text) if text and text != "*" else None for text in found.groups())
    return ByteRange(first, last, size)


def compression(headers: Mapping[str, str]) -> str:
    """Return how the content of an answer is encoded, when it is other bytes than the object has; else nothing."""
    encoding = headers.get("content-encoding", "").strip().lower()
    coded = [part for part in (part.strip() for part in encoding.split(",")) if part not in _HARMLESS_ENCODINGS]
    return ", ".join(coded)


def if_match(etag: str) -> dict[str, str]:
    """Return the header that asks for an object only while it has an ETag; none for an ETag that cannot match.

    A weak ETag never matches (RFC 9110, 13.1.1). Some lists have ETags without quotes.
    """
    found = None if etag.startswith("W/") else _STRONG_ETAG.fullmatch(etag)
    return {"If-Match": f'"{found.group(1)}"'} if found else {}


def _moment(text: str) -> Optional[datetime]:
    """Return the moment that a header names; ``None`` when it is not written as it should be (RFC 9110, 5.6.7)."""
    found = _DATE.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        return None
    year, month, day = int(found[3]), 1 + _MONTHS.index(found[2]), int(found[1])
    try:
        return datetime(year, month, day, int(found[4]), int(found[5]), int(found[6]), tzinfo=timezone.utc)
    except ValueError:
        return None
