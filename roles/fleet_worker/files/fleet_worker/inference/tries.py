# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attempts for a request, and the decision when the worker tries the request again.

A waiting request gives its slot up, so that requests for other models run meanwhile.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Optional, Union

from .._fleet.messages import Outcome
from .._ollama.retry import RetryPolicy
from ..domain.verdicts import Verdict

#: The most further attempts after broken connections to Ollama, because the request itself may break them.
LOST_TRIES = 2

#: The pauses after Ollama was too busy: 0.25 to 0.5 s at first, doubled each time, at most 10 s.
BUSY = RetryPolicy(base=0.5, cap=10.0)

#: The seconds of the pause after the end of a runner: Ollama must notice the end.
RUNNER_PAUSE = 0.5


@dataclass(frozen=True)
class Later:
    """A later attempt: the request gives its slot up, and needs one again.

    :ivar seconds: the seconds until the next attempt.
    :ivar reason: the reason for the pause.
    :ivar alone: whether no other request of the model may run during the next attempt.
    """

    seconds: float
    reason: str
    alone: bool = False


#: The conclusion of the work on a request: an answer or an error, a verdict without a reply, or a later attempt.
Conclusion = Union[Outcome, Verdict, Later]


class Tries:
    """The attempts for one request. For one thread at a time.

    :ivar runner_ended: whether a runner has ended during an attempt.
    """

    def __init__(self) -> None:
        self.runner_ended = False
        self._busy = 0
        self._busy_until: Optional[float] = None

    def busy(self, reason: str, patience: float, seconds_left: float) -> Optional[Later]:
        """Return the next attempt after Ollama was too busy; ``None`` if the request has waited long enough.

        :param patience: the most seconds of all pauses together, since the first time that Ollama was too busy.
        :param seconds_left: the seconds until the deadline.
        """
        now = time.monotonic()
        if self._busy_until is None:
            self._busy_until = now + patience
        self._busy += 1
        pause = BUSY.delay(self._busy)
        return Later(pause, reason) if pause < min(self._busy_until - now, seconds_left) else None

    def runner_end(self, reason: str, seconds_left: float) -> Optional[Later]:
        """Return the next attempt after the end of a runner; ``None`` after the second end.

        The request runs alone in the next attempt. If the runner ends again, only this request can be the reason.
        """
        again = None if self.runner_ended or seconds_left <= RUNNER_PAUSE else Later(0.0, reason, alone=True)
        self.runner_ended = True
        return again
