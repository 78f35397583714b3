# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The channel that answers go by: mandatory and confirmed, so that what became of each of them is known.

A publish that the broker does not accept (too large, forbidden) costs the channel, and with it the confirms of
everything else that was under way there. That is why answers have a channel of their own, and why after such an end
they are sent one at a time until the backlog is gone: the one that costs the channel again is the culprit, and is given
up.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Any, Callable, Optional

from pika.exceptions import ChannelClosedByBroker

from ._fleet.broker import BrokerSettings, channel_error
from ._fleet.dialects.base import DIRECT_REPLY_TO
from ._fleet.errors import BrokerError, BrokerForbiddenError
from ._fleet.messages import Reply
from ._fleet.pika_messages import to_pika

#: How often an answer that is refused is sent. A full reply queue may have room a moment later.
TRIES = 3


class Publication(enum.Enum):
    """What became of an answer."""

    CONFIRMED = "confirmed"
    #: No queue of that name: the requester is gone.
    RETURNED = "returned"
    #: The broker does not take it.
    REFUSED = "refused"
    #: The connection is gone; whether the broker has it is not known.
    LOST = "lost"


Done = Callable[[Publication], None]


class _Answer:
    def __init__(self, reply: Reply, done: Done, tries: int) -> None:
        self.reply = reply
        self.done = done
        self.tries_left = tries
        self.returned = False


class Publisher:
    """Publishes answers over one channel.

    :param forbidden: called when the broker does not let us publish at all: nothing can be answered then.
    """

    def __init__(self, settings: BrokerSettings, *, forbidden: Callable[[BrokerError], None]) -> None:
        self._settings = settings
        self._forbidden = forbidden
        self._connection: Any = None
        self._channel: Any = None
        self._tag = 0
        self._unconfirmed: dict[int, _Answer] = {}
        self._queue: deque[_Answer] = deque()
        self._one_at_a_time = False

    @property
    def pending(self) -> int:
        """Answers that are not settled."""
        return len(self._unconfirmed) + len(self._queue)

    def open(self, connection: Any, ready: Callable[[], None]) -> None:
        """Open the channel."""
        self._connection = connection
        self._channel = None
        self._tag = 0

        def opened(channel: Any) -> None:
            channel.add_on_return_callback(self._on_returned)
            channel.confirm_delivery(self._on_confirmed, callback=lambda _frame: usable(channel))

        def usable(channel: Any) -> None:
            self._channel = channel
            ready()
            self._send()

        channel = connection.channel(on_open_callback=opened)
        channel.add_on_close_callback(self._on_closed)

    def publish(self, reply: Reply, done: Done, tries: int = TRIES) -> None:
        """Publish an answer; ``done`` is called once, with what became of it.

        :param tries: how often, when it is refused.
        """
        if self._connection is None:
            done(Publication.LOST)
            return
        self._queue.append(_Answer(reply, done, tries))
        self._send()

    def connection_lost(self) -> None:
        """The connection is gone, and nothing of what was under way will be confirmed."""
        self._connection = self._channel = None
        self._one_at_a_time = False
        lost = [*self._unconfirmed.values(), *self._queue]
        self._unconfirmed.clear()
        self._queue.clear()
        for answer in lost:
            answer.done(Publication.LOST)

    def _send(self) -> None:
        while self._queue and self._channel is not None and not (self._one_at_a_time and self._unconfirmed):
            answer = self._queue.popleft()
            answer.tries_left -= 1
            answer.returned = False
            self._tag += 1
            self._unconfirmed[self._tag] = answer
            reply = answer.reply
            # RabbitMQ delivers a mandatory message to a direct reply queue, and returns it as unroutable all the same.
            mandatory = not reply.routing_key.startswith(DIRECT_REPLY_TO)
            self._channel.basic_publish(
                reply.exchange, reply.routing_key, reply.message.body, to_pika(reply.message), mandatory=mandatory
            )
        if not self._queue and not self._unconfirmed:
            self._one_at_a_time = False

    def _on_returned(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        # The broker returns a message before it confirms it.
        for answer in self._unconfirmed.values():
            if answer.reply.message.properties.message_id == properties.message_id:
                answer.returned = True

    def _on_confirmed(self, frame: Any) -> None:
        method = frame.method
        positive = type(method).__name__ == "Ack"
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in self._unconfirmed if tag <= method.delivery_tag]
        for tag in tags:
            answer = self._unconfirmed.pop(tag, None)
            if answer is None:
                continue
            if positive:
                answer.done(Publication.RETURNED if answer.returned else Publication.CONFIRMED)
            else:
                self._again(answer)
        self._send()

    def _again(self, answer: _Answer) -> None:
        if answer.tries_left > 0:
            self._queue.append(answer)
        else:
            answer.done(Publication.REFUSED)

    def _on_closed(self, channel: Any, error: BaseException) -> None:
        if self._connection is None or not isinstance(error, ChannelClosedByBroker):
            return
        reason = channel_error(error.reply_code, error.reply_text, self._settings)
        if isinstance(reason, BrokerForbiddenError):
            self._forbidden(reason)
            return
        interrupted, self._unconfirmed = list(self._unconfirmed.values()), {}
        culprit: Optional[_Answer] = interrupted[0] if len(interrupted) == 1 else None
        if culprit is not None:
            culprit.done(Publication.REFUSED)
            interrupted = []
        self._queue.extendleft(reversed(interrupted))
        self._one_at_a_time = True
        self.open(self._connection, lambda: None)
