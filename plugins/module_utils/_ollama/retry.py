# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The retry policy: which failed calls are repeated, and after how many seconds."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from .api_errors import (
    ConnectionLostError,
    OllamaError,
    ReadTimeoutError,
    ServerBusyError,
    ServerUnreachableError,
    TlsError,
)

#: Errors of calls that were not run. Every such call may be repeated.
_NOT_RUN = (ServerUnreachableError, ServerBusyError)
#: Errors of calls that may have been run, or still run. Only a repeatable call is repeated.
_MAYBE_RUN = (ConnectionLostError, ReadTimeoutError)


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff: 0.5 s, doubled each time, 16 s at most; the values of lex-ollama 0.3.1.

    :ivar retries: how often a failed call is repeated; 2 means three tries in all.
    :ivar base: seconds before the first retry, before jitter.
    :ivar cap: the longest wait in seconds.
    :ivar chance: returns a random number in [0, 1), for the jitter.
    """

    retries: int = 2
    base: float = 0.5
    cap: float = 16.0
    chance: Callable[[], float] = random.random

    def retries_after(self, error: OllamaError, *, failures: int, repeatable: bool) -> bool:
        """Return whether a call that has failed ``failures`` times is repeated.

        :param repeatable: whether running the call twice has the effect of running it once.
        """
        if failures > self.retries or isinstance(error, TlsError):
            return False
        return isinstance(error, _NOT_RUN) or (repeatable and isinstance(error, _MAYBE_RUN))

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after the given number of failures (1 or more).

        The jitter shortens the exponential value by up to half, so that a fleet does not repeat its calls all at once.
        """
        # No cap is so long that it needs a larger exponent, and a number of failures may be larger than a float takes.
        full = min(self.cap, self.base * 2.0 ** min(failures - 1, 60))
        return full * (0.5 + 0.5 * self.chance())
