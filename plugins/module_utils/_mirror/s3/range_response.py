# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The answer to a request for a byte range, and the check that it has the requested bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..errors import MirrorError, ObjectChangedError
from .error_translation import compressed
from .object_stream import Body
from .objects import byte_range, compression, content_length
from .settings import S3Settings


class RangeResponse(NamedTuple):
    """The answer of a server to a request for a byte range.

    :param status: 206, or 200 from a server that sends the whole object.
    :param headers: by their names in lower case.
    """

    body: Body
    status: int
    headers: Mapping[str, str]


def check_range(response: RangeResponse, start: int, stop: int, size: int, settings: S3Settings, url: str) -> None:
    """Make sure that an answer has the bytes from ``start`` up to ``stop``, as far as its headers name them.

    :param size: the object's size in bytes, as the caller knows it.
    :param url: the object, as messages name it.
    :raises ObjectChangedError: if the object has another size.
    :raises MirrorError: if the answer has other bytes.
    """
    status, headers = response.status, response.headers
    span, length = byte_range(headers), content_length(headers)
    if compression(headers) and length != stop - start:
        raise compressed(headers, settings, f"read {url}")
    # Without Content-Range, an answer with status 200 is the whole object.
    found = span.size if span else (length if status == 200 else size)
    if found not in (None, size):
        raise ObjectChangedError(
            f"Could not read {url}: it had {size} bytes, and {settings.where} sends {found} now",
            remedy="Run again; if this persists, publish the model again",
            endpoint=settings.where,
            bucket=settings.bucket,
        )
    first, last = (span.first, span.last) if span else (0, size - 1) if status == 200 else (start, stop - 1)
    if (first, last) != (start, stop - 1) or length not in (None, stop - start):
        sent = f"bytes {first} to {last}" if span else "all of it" if status == 200 else f"{length} bytes"
        raise MirrorError(
            f"Could not read {url}: asked for bytes {start} to {stop - 1}, {settings.where} sent {sent}"
            f"{sender(headers)}",
            remedy="Use an S3 server that honours the Range header; a proxy in front of it must honour it too",
            endpoint=settings.where,
            bucket=settings.bucket,
        )


def sender(headers: Mapping[str, str]) -> str:
    """Return which server or proxy sent an answer, for the end of a message; empty if its headers do not say it."""
    from ..._ollama.diagnosis import answered_by

    return answered_by(headers)
