# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Signature version 4, for requests without a body.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Optional

_ALGORITHM = "AWS4-HMAC-SHA256"
_NOTHING = hashlib.sha256(b"").hexdigest()


class Signer:
    """Signs requests to S3 with fixed credentials. Safe for use by several threads."""

    def __init__(self, access_key: str, secret_key: str, session_token: Optional[str], region: str) -> None:
        self._access_key = access_key
        self._secret = f"AWS4{secret_key}".encode()
        self._token = {"x-amz-security-token": session_token} if session_token else {}
        self._region = region
        self._key = ("", b"")  # cached for a day: the key takes four of a signature's five hashes

    def signed(
        self, method: str, host: str, path: str, query: str, headers: Mapping[str, str], now: Optional[float] = None
    ) -> dict[str, str]:
        """Return the headers of a request, including the signature.

        :param path: the quoted path, as it is sent.
        :param query: the quoted query, sorted by name, as it is sent.
        :param headers: headers with names in lower case.
        :param now: seconds since the epoch; by default the current time.
        """
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        sent = {
            "host": host,
            "x-amz-content-sha256": _NOTHING,
            "x-amz-date": moment,
            **self._token,
            **headers,
        }
        names = sorted(sent)
        lines = "".join(f"{name}:{sent[name]}\n" for name in names)
        signed_names = ";".join(names)
        request = f"{method}\n{path}\n{query}\n{lines}\n{signed_names}\n{_NOTHING}"
        day = moment[:8]
        scope = f"{day}/{self._region}/s3/aws4_request"
        text = f"{_ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.new(self._key_of(day), text.encode(), hashlib.sha256).hexdigest()
        sent["authorization"] = (
            f"{_ALGORITHM} Credential={self._access_key}/{scope}, SignedHeaders={signed_names}, Signature={signature}"
        )
        return sent

    def _key_of(self, day: str) -> bytes:
        known, key = self._key
        if known != day:
            key = self._secret
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key = (day, key)
        return key
