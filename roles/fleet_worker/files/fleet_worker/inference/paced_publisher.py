# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When each message of an answer goes that is sent in several, while Ollama is still at work.

A thread of the pool adds what is to be sent; the I/O thread sends it. The first message goes at once, and those that
follow go an interval apart, as long as fewer than ``UNCONFIRMED`` are on their way.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any, Callable, Optional, Protocol

from .._fleet.dialects.headers import ATTEMPT, DELTAS
from .._fleet.messages import Reply
from ..domain.publication import Done, Publication

#: Messages of one answer that the broker has not confirmed, at most.
UNCONFIRMED = 8


class MessageSource(Protocol):
    """Where the messages of one answer come from. All of it is called on the I/O thread."""

    def waits(self) -> bool:
        """Whether something waits to be sent."""

    def fills_a_message(self) -> bool:
        """Whether so much waits that the next message can hold no more."""

    def take(self) -> Optional[Reply]:
        """Return the next message; None when nothing waits, and when what has waited is left out."""

    def missed(self, publication: Publication) -> None:
        """Note that a message does not arrive."""


class PacedPublisher:
    """Publishes the messages of one answer.

    :param loop: of the I/O thread.
    :param publish: publishes a message; on the I/O thread.
    :param gone: called when there is nobody to send messages to.
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
        self._look_asked = False  # under the lock
        # Of the I/O thread.
        self._unconfirmed = 0
        self._not_before = 0.0
        self._finished = False

    # Any thread

    def ask_for_look(self) -> None:
        """Have the I/O thread look at what waits."""
        if self._first_to_ask():
            self._loop.add_callback_threadsafe(self._look)

    def _first_to_ask(self) -> bool:
        with self._lock:
            first, self._look_asked = not self._look_asked, True
        return first

    # I/O thread

    def finish(self) -> None:
        """Send what is left, however much is on its way, and nothing after it."""
        if not self._finished:
            while self._send_one():
                pass
            self._finished = True

    def _look(self) -> None:
        """Send what waits, unless it is too early or too much is on its way."""
        wait = self._not_before - time.monotonic()
        if wait > 0 and not self._finished:
            self._loop.call_later(wait, self._look)
            return
        with self._lock:
            self._look_asked = False
        if not self._finished:
            self._send()

    def _send(self) -> None:
        """Send what waits. What comes meanwhile is sent after the interval, unless it fills a message by itself."""
        while self._unconfirmed < UNCONFIRMED:
            if not self._send_one():
                return
            if not self._source.fills_a_message():
                if self._source.waits():
                    self.ask_for_look()
                return

    def _send_one(self) -> bool:
        """Send the next message; return whether there was one."""
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
    """Return the answer that follows the messages of an attempt, which says how many they were."""
    if answer is None or not attempt:
        return answer
    headers = {**answer.message.headers, ATTEMPT: attempt, DELTAS: number}
    return replace(answer, message=replace(answer.message, headers=headers))
