# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The signature of a request between neighbours, which proves that the sender knows the secret of the fleet.

The signature is an HMAC-SHA-256 over method, target, range, host and time. An eavesdropper can repeat a signed request
within the allowed clock skew, but only gets the same bytes again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from typing import Callable

#: The allowed clock skew in seconds, the same as for S3.
SKEW = 15 * 60

#: The fewest characters of a secret: 32 hexadecimal digits are 128 bits.
SHORTEST_SECRET = 32

_SCHEME = "LEGIONIO-HMAC"
_VALUE = re.compile(_SCHEME + r" ([0-9]{1,12}):([0-9a-f]{64})")


class RequestSigner:
    """Signs requests with the secret of the fleet, and checks the signatures of other nodes.

    :param clock: returns seconds since 1970.
    """

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret.encode()
        self._clock = clock

    def signed(self, target: str, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a GET with its signature.

        :param headers: with names in lower case. ``host`` is required; ``range`` is signed if present.
        """
        now = str(int(self._clock()))
        return {**headers, "authorization": f"{_SCHEME} {now}:{self._mac(target, headers, now)}"}

    def accepts(self, target: str, headers: Mapping[str, str]) -> bool:
        """Return whether a GET was signed with the secret within the allowed clock skew."""
        found = _VALUE.fullmatch(headers.get("authorization") or "")
        if found is None or abs(self._clock() - int(found[1])) > SKEW:
            return False
        return hmac.compare_digest(self._mac(target, headers, found[1]), found[2])

    def _mac(self, target: str, headers: Mapping[str, str], now: str) -> str:
        parts = ("GET", target, headers.get("range") or "", headers.get("host") or "", now)
        return hmac.new(self._secret, "\n".join(parts).encode(), hashlib.sha256).hexdigest()
