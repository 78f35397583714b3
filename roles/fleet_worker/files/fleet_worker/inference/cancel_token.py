# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cancellation of the work on a request, from any thread."""

from __future__ import annotations

import threading
from typing import Callable

from .._ollama.calls import Call
from ..domain.verdicts import Verdict


class CancelToken:
    """Cancels the work on a request from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancel: Callable[[], None] = lambda: None
        self.stopped = False
        #: Whether the requester is gone, so that no other node needs to answer either.
        self.abandoned = False

    @property
    def verdict(self) -> Verdict:
        """The verdict for a cancelled request: requeue it for another node, unless nobody waits for the answer."""
        return Verdict.ACK if self.abandoned else Verdict.REQUEUE

    def begin_call(self, seconds: float) -> Call:
        """Return a call to Ollama that this token can cancel.

        :param seconds: the time limit of the whole call.
        """
        call = Call(read_timeout=seconds, total_timeout=seconds)
        self.cancel_by(call.cancel)
        return call

    def cancel_by(self, cancel: Callable[[], None]) -> None:
        """Set the function that ends the current work. If the token is stopped already, call the function at once."""
        with self._lock:
            self._cancel = cancel
            stopped = self.stopped
        if stopped:
            cancel()

    def abandon(self) -> None:
        """End the work, and do not requeue the request: the requester is gone."""
        self.abandoned = True
        self.stop()

    def stop(self) -> None:
        """End the current work, and all later work on the request."""
        with self._lock:
            self.stopped = True
            cancel = self._cancel
        cancel()
