# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was tried for a request, and when the request is tried again.

A request that has to wait gives its slot up, so that the requests of other models are served meanwhile.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Optional, Union

from .._fleet.messages import Outcome
from .._ollama.retry import RetryPolicy
from ..domain.verdicts import Verdict

#: How often a request is tried again whose connection to Ollama broke: it may be what breaks it.
LOST_TRIES = 2

#: Pauses of a request that Ollama was too busy for: 0.25 to 0.5 s at first, doubled each time, 10 s at most.
BUSY = RetryPolicy(base=0.5, cap=10.0)

#: Seconds before a request is tried again whose runner ended: Ollama has to notice that its runner is gone.
RUNNER_PAUSE = 0.5


@dataclass(frozen=True)
class Later:
    """A request gives its slot up, and wants one again.

    :ivar seconds: until then.
    :ivar reason: what it waits for.
    :ivar alone: whether no other request of its model may run beside it.
    """

    seconds: float
    reason: str
    alone: bool = False


#: What the work on a request came to: an answer or an error, a verdict without either, or another try.
Conclusion = Union[Outcome, Verdict, Later]


class Tries:
    """What was tried for one request. For one thread at a time.

    :ivar runner_ended: whether the runner that served it ended in the middle.
    """

    def __init__(self) -> None:
        self.runner_ended = False
        self._busy = 0
        self._busy_since: Optional[float] = None

    def busy(self, reason: str, patience: float, seconds_left: float) -> Optional[Later]:
        """Ollama was too busy for the request; return when it is tried again, None when it has waited long enough.

        :param patience: seconds for which the request waits in all.
        :param seconds_left: until nobody waits for its answer any more.
        """
        now = time.monotonic()
        if self._busy_since is None:
            self._busy_since = now
        self._busy += 1
        pause = BUSY.delay(self._busy)
        return Later(pause, reason) if pause < min(self._busy_since + patience - now, seconds_left) else None

    def runner_end(self, reason: str, seconds_left: float) -> Optional[Later]:
        """The runner ended under the request; return when it is tried again, None when that happened before.

        The request is tried again alone. If the runner ends once more, only this request can be the reason.
        """
        again = None if self.runner_ended or seconds_left <= RUNNER_PAUSE else Later(0.0, reason, alone=True)
        self.runner_ended = True
        return again
