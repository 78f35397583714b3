# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Request bodies: the checksums that some servers want, and the errors of servers that refuse a body."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from typing import Any, Callable

from ..._ollama.errors import MissingDependencyError

#: The words with which servers ask for a checksum. A bucket with Object Lock needs one with every object.
_WANTS_CHECKSUM = re.compile(r"content-?md5|x-amz-checksum", re.IGNORECASE)
_CHECKSUM_CODES = {"MissingContentMD5", "InvalidRequest"}


class BodySender:
    """Sends request bodies to one server, with checksums once the server has asked for one. Safe for several threads.

    A checksum costs processor time, and some servers refuse one.
    """

    def __init__(self) -> None:
        self._wants_checksum = False

    def send(self, call: Callable[..., Any], content: bytes, **which: Any) -> Any:
        """Make a call of the SDK with a body, and return its answer.

        :raises Exception: the SDK's error.
        """
        try:
            from botocore.exceptions import ClientError, ConnectionClosedError
        except ImportError as error:
            raise MissingDependencyError("boto3", "talk to the S3 mirror") from error

        checked = self._wants_checksum
        more = _checksum(content) if checked else {}
        try:
            return call(Body=content, **which, **more)
        except ClientError as error:
            if checked or not _asks_for_checksum(error.response):
                raise
        except ConnectionClosedError:
            # A server that refuses a body may hang up before its answer is read. With a file as the body, the SDK sends
            # Expect: 100-continue, and the server explains why.
            return call(Body=io.BytesIO(content), **which, **more)
        answer = call(Body=content, **which, **_checksum(content))
        self._wants_checksum = True
        return answer


def _asks_for_checksum(response: Any) -> bool:
    error = response.get("Error", {})
    asks = _WANTS_CHECKSUM.search(f"{error.get('Code')} {error.get('Message')}") is not None
    return asks or error.get("Code") in _CHECKSUM_CODES


def _checksum(content: bytes) -> dict[str, str]:
    # The checksum protects against accidents on the way, not against attacks.
    return {"ContentMD5": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode("ascii")}
