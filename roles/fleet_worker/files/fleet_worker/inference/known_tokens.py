# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tokens that have come, so that each of them is good for one request alone."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Optional

#: Tokens that are remembered. A request needs one, and a worker serves some hundred a second at most.
MAX_TOKENS = 100_000


class KnownTokens:
    """Remembers for which request a token was used. For any number of threads.

    A delivery that comes again brings its token again, and is the same request. Another request with the same token is
    a replay. The tokens of other workers are unknown here.

    A token is forgotten when it has expired. If the clock goes back after that, the token is good once more and nobody
    knows it; until the clock has caught up, tokens that end before then are refused.
    """

    def __init__(self, most: int = MAX_TOKENS) -> None:
        self._most = most
        self._lock = threading.Lock()
        #: Request and end of each token, in the order in which they came.
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()
        #: The latest end of a token that was forgotten because it had expired.
        self._forgotten_until = 0.0

    def refusal(self, token_id: str, request: str, expires: float) -> Optional[str]:
        """Take the token of a request; return why it is not good for this request, None when it is.

        :param request: what tells the request from every other one.
        :param expires: when the token shows nothing any more, seconds since 1970.
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
