# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result cache: recent answers, so that a redelivered request gets the same answer without more work.

The broker redelivers a request if the connection breaks between the end of the work and the acknowledgement. A
requester may also send a request twice.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Callable, Optional

from ..domain.verdicts import Result

#: The default time in seconds. A reconnect to a restarted broker takes less.
KEEP = 600.0
#: The most answers, and the most bytes of their bodies.
MAX_COUNT = 1000
MAX_BYTES = 64 * 1024 * 1024


class ResultCache:
    """The latest answers by the identity of their requests. For one thread.

    :param keep: the seconds after which an answer is removed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, keep: float = KEEP) -> None:
        self._keep = keep
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Result]] = OrderedDict()
        self._bytes = 0

    def put(self, identity: Optional[str], result: Result) -> None:
        """Keep an answer, unless its request has no identity or it is too large."""
        if identity is None or _size(result) > MAX_BYTES // 8:
            return
        self._drop(identity)
        self._kept[identity] = (self._clock(), result)
        self._bytes += _size(result)
        while len(self._kept) > MAX_COUNT or self._bytes > MAX_BYTES:
            self._drop(next(iter(self._kept)))

    def get(self, identity: Optional[str]) -> Optional[Result]:
        """Return the kept answer to a request, or ``None``."""
        while self._kept and self._clock() - next(iter(self._kept.values()))[0] > self._keep:
            self._drop(next(iter(self._kept)))
        return None if identity is None or identity not in self._kept else self._kept[identity][1]

    def __len__(self) -> int:
        return len(self._kept)

    def _drop(self, identity: str) -> None:
        if identity in self._kept:
            _since, result = self._kept.pop(identity)
            self._bytes -= _size(result)


def _size(result: Result) -> int:
    return len(result.reply.message.body) if result.reply is not None else 0
