# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Which failed calls are made again, and after how long."""

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

#: The call was not run: it can be made again whatever it does.
_NOT_RUN = (ServerUnreachableError, ServerBusyError)
#: The call may have been run, or still run: it is made again only if running twice is the same as running once.
_MAYBE_RUN = (ConnectionLostError, ReadTimeoutError)


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff: 0.5 s, doubled each time, 16 s at most; the values of lex-ollama 0.3.1.

    :ivar retries: how often a failed call is made again; 2 means three tries in all.
    :ivar base: seconds before the first retry, before jitter.
    :ivar cap: the longest wait in seconds.
    :ivar chance: returns a number in [0, 1); what the waits are spread by.
    """

    retries: int = 2
    base: float = 0.5
    cap: float = 16.0
    chance: Callable[[], float] = random.random

    def retries_after(self, error: OllamaError, *, failures: int, repeatable: bool) -> bool:
        """Whether a call that has now failed ``failures`` times is made again.

        :param repeatable: whether running the call twice has the effect of running it once.
        """
        if failures > self.retries or isinstance(error, TlsError):
            return False
        return isinstance(error, _NOT_RUN) or (repeatable and isinstance(error, _MAYBE_RUN))

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after the given number of failures (1 or more).

        Between half of the exponential value and all of it, so that a fleet does not come back in step.
        """
        full = min(self.cap, self.base * 2.0 ** (failures - 1))
        return full * (0.5 + 0.5 * self.chance())
