# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The times of the messages of one answer, while Ollama still works on the answer.

A thread of the pool adds data, and the I/O thread publishes messages. The first message is published at once. The next
messages follow at an interval, as long as the broker must confirm fewer than ``UNCONFIRMED`` messages.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any, Callable, Optional, Protocol

from .._fleet.dialects.headers import ATTEMPT, DELTAS
from .._fleet.messages import Reply
from ..domain.publication import Done, Publication

#: The most unconfirmed messages of one answer.
UNCONFIRMED = 8


class MessageSource(Protocol):
    """The source of the messages of one answer. The I/O thread calls all methods."""

    def waits(self) -> bool:
        """Return whether data waits."""

    def fills_a_message(self) -> bool:
        """Return whether the waiting data fills a message."""

    def take(self) -> Optional[Reply]:
        """Return the next message; ``None`` without data, or if the source drops the data."""

    def missed(self, publication: Publication) -> None:
        """Note that a message was lost."""


class PacedPublisher:
    """Publishes the messages of one answer.

    :param loop: the loop of the I/O thread.
    :param publish: publishes a message, on the I/O thread.
    :param gone: called if the requester is gone.
    :param interval: seconds between two messages.
    """

    def __init__(
        self,
        loop: Any,
        publish: Callable[[Reply, Done], None],
        gone: Callable[[], None],
        source: MessageSource,
        interval: float,
    ) -> None:
        self._loop = loop
        self._publish = publish
        self._gone = gone
        self._source = source
        self._interval = interval
        self._lock = threading.Lock()
        self._look_asked = False  # guarded by the lock
        # Only for the I/O thread
        self._unconfirmed = 0
        self._not_before = 0.0
        self._finished = False

    # Any thread

    def ask_for_look(self) -> None:
        """Ask the I/O thread to send waiting data."""
        if self._first_to_ask():
            self._loop.add_callback_threadsafe(self._look)

    def _first_to_ask(self) -> bool:
        with self._lock:
            first, self._look_asked = not self._look_asked, True
        return first

    # I/O thread

    def finish(self) -> None:
        """Send the rest without limits, and nothing afterwards."""
        if not self._finished:
            while self._send_one():
                pass
            self._finished = True

    def _look(self) -> None:
        """Send waiting data, unless it is too early or too many messages are unconfirmed."""
        wait = self._not_before - time.monotonic()
        if wait > 0 and not self._finished:
            self._loop.call_later(wait, self._look)
            return
        with self._lock:
            self._look_asked = False
        if not self._finished:
            self._send()

    def _send(self) -> None:
        """Send waiting data. Later data is sent after the interval, unless it fills a message."""
        while self._unconfirmed < UNCONFIRMED:
            if not self._send_one():
                return
            if not self._source.fills_a_message():
                if self._source.waits():
                    self.ask_for_look()
                return

    def _send_one(self) -> bool:
        """Send the next message; return whether the source had one."""
        reply = self._source.take()
        if reply is None:
            return False
        self._not_before = time.monotonic() + self._interval
        self._unconfirmed += 1
        self._publish(reply, self._published)
        return True

    def _published(self, publication: Publication) -> None:
        self._unconfirmed -= 1
        if publication is not Publication.CONFIRMED:
            self._source.missed(publication)
        if self._finished:
            return
        if publication is Publication.RETURNED:
            self._gone()
        elif self._source.waits() and self._first_to_ask():
            self._look()


def with_count(answer: Optional[Reply], attempt: str, number: int) -> Optional[Reply]:
    """Return the answer with the number of an attempt's messages."""
    if answer is None or not attempt:
        return answer
    headers = {**answer.message.headers, ATTEMPT: attempt, DELTAS: number}
    return replace(answer, message=replace(answer.message, headers=headers))
