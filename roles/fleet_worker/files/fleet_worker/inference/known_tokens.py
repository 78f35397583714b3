# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tokens that have come, so that each of them is good for one request alone."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

#: Tokens that are remembered. A request needs one, and a worker serves some hundred a second at most.
MAX_TOKENS = 100_000


class KnownTokens:
    """Remembers for which request a token was used. For any number of threads.

    A delivery that comes again brings its token again, and is the same request. Another request with the same token is
    a replay. The tokens of other workers are unknown here.
    """

    def __init__(self, most: int = MAX_TOKENS) -> None:
        self._most = most
        self._lock = threading.Lock()
        #: Request and end of each token, in the order in which they came.
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def admit(self, token_id: str, request: str, expires: float) -> bool:
        """Take the token of a request; return whether no other request has brought it.

        :param request: what tells the request from every other one.
        :param expires: when the token shows nothing any more, seconds since 1970.
        """
        with self._lock:
            first, _ends = self._known.setdefault(token_id, (request, expires))
            self._forget(time.time())
            return first == request

    def _forget(self, now: float) -> None:
        while self._known:
            oldest = next(iter(self._known))
            if len(self._known) <= self._most and self._known[oldest][1] > now:
                return
            del self._known[oldest]
