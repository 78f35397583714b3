# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cancel_by the work on a request, from any thread."""

from __future__ import annotations

import threading
from typing import Callable

from .._ollama.calls import Call
from ..domain.verdicts import Verdict


class CancelToken:
    """Ends the work on a request from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancel: Callable[[], None] = lambda: None
        self.stopped = False
        #: Nobody waits for the answer, here or elsewhere.
        self.abandoned = False

    @property
    def verdict(self) -> Verdict:
        """The verdict for a cancelled request: requeue it for another node, unless nobody waits for the answer."""
        return Verdict.ACK if self.abandoned else Verdict.REQUEUE

    def begin_call(self, seconds: float) -> Call:
        """Return the terms of the next call to Ollama, which this token ends.

        :param seconds: for the whole call.
        """
        call = Call(read_timeout=seconds, total_timeout=seconds)
        self.cancel_by(call.cancel)
        return call

    def cancel_by(self, cancel: Callable[[], None]) -> None:
        """Set what ends the work from now on. If the work was stopped before, end this at once."""
        with self._lock:
            self._cancel = cancel
            stopped = self.stopped
        if stopped:
            cancel()

    def abandon(self) -> None:
        """End the work for good: the requester is gone."""
        self.abandoned = True
        self.stop()

    def stop(self) -> None:
        """End the work under way, and what would follow it."""
        with self._lock:
            self.stopped = True
            cancel = self._cancel
        cancel()
