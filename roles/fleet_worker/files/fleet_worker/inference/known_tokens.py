# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The used tokens. Each token is valid for one request only."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Optional

#: The most remembered tokens. A request has one token, and a worker serves at most some hundred requests a second.
MAX_TOKENS = 100_000


class KnownTokens:
    """Remembers the request of each used token. For any number of threads.

    A redelivery has the same token, and is the same request. Another request with the same token is a replay. This
    worker does not know the tokens that other workers have seen.

    This class forgets a token after its expiry. If the clock then goes back, the forgotten token would be valid again.
    So until the clock has caught up, tokens that expire before the latest forgotten one are refused.
    """

    def __init__(self, most: int = MAX_TOKENS) -> None:
        self._most = most
        self._lock = threading.Lock()
        #: The request and the expiry of each token, in order of arrival.
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()
        #: The latest expiry of a forgotten token.
        self._forgotten_until = 0.0

    def refusal(self, token_id: str, request: str, expires: float) -> Optional[str]:
        """Use a token for a request; return the reason if the token is not valid for this request, or ``None``.

        :param request: an identifier of the request.
        :param expires: the expiry of the token, in seconds since 1970.
        """
        now = time.time()
        with self._lock:
            if token_id not in self._known and now < self._forgotten_until and expires <= self._forgotten_until:
                return "the token may have been used before the clock of this worker went back; send a new one"
            first, _ends = self._known.setdefault(token_id, (request, expires))
            self._forget(now)
            return None if first == request else "the token was used for another request before"

    def _forget(self, now: float) -> None:
        while self._known:
            oldest = next(iter(self._known))
            ends = self._known[oldest][1]
            if ends <= now:
                self._forgotten_until = max(self._forgotten_until, ends)
            elif len(self._known) <= self._most:
                return
            del self._known[oldest]
