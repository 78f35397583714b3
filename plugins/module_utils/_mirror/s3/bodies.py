# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Bodies of requests: what a server may want beside them, and what it answers when it does not take them."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from typing import Any, Callable

from ..._ollama.errors import MissingDependencyError

#: How servers ask for a checksum: a bucket with Object Lock takes nothing without one.
_WANTS_CHECKSUM = re.compile(r"content-?md5|x-amz-checksum", re.IGNORECASE)
_CHECKSUM_CODES = {"MissingContentMD5", "InvalidRequest"}


class BodySender:
    """Sends bodies to one server, each as it turned out to want them. Safe for use by several threads.

    A checksum costs processor time, and some servers refuse one, so that it is sent where it is asked for.
    """

    def __init__(self) -> None:
        self._wants_checksum = False

    def send(self, call: Callable[..., Any], content: bytes, **which: Any) -> Any:
        """Make a call of the SDK with a body, and return its answer.

        :raises Exception: what the SDK raises.
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
            # A server that does not want a body may hang up on it before its answer is read. Asked first, it says why.
            return call(Body=io.BytesIO(content), **which, **more)
        answer = call(Body=content, **which, **_checksum(content))
        self._wants_checksum = True
        return answer


def _asks_for_checksum(response: Any) -> bool:
    error = response.get("Error", {})
    asks = _WANTS_CHECKSUM.search(f"{error.get('Code')} {error.get('Message')}") is not None
    return asks or error.get("Code") in _CHECKSUM_CODES


def _checksum(content: bytes) -> dict[str, str]:
    # It guards against accidents on the way, not against anybody.
    return {"ContentMD5": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode("ascii")}
