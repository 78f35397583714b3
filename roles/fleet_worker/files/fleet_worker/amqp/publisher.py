# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The channel for answers. All answers are mandatory and confirmed, so that the worker learns the result of each.

If the broker does not accept an answer (too large, forbidden), it closes the channel, and the confirms of all other
answers on the channel are lost. So answers have a separate channel. After such an end, they are sent one at a time
until the backlog is gone. An answer that closes the channel again is the culprit, and is dropped. An answer can also
make the broker close the whole connection: ``reply_probe.py`` prevents the known case, and ``suspects.py`` finds the
culprit in other cases.

If a confirm does not arrive within ``CONFIRM_PATIENCE``, the answer is published again over another channel, with a
mark that it may be a duplicate.

A callback may publish again, so callbacks run only when the state of the publisher is consistent.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import Any, Callable, Optional

from pika.exceptions import ChannelClosedByBroker

from .._fleet.broker import ENDED_FOR_AN_ERROR, BrokerSettings, channel_error
from .._fleet.direct_reply import is_direct
from .._fleet.errors import BrokerError, BrokerForbiddenError
from .._fleet.messages import Reply
from .._fleet.pika_messages import confirmed_tags, to_pika
from .._ollama.retry import RetryPolicy
from ..domain.publication import Done, Publication
from ..domain.verdicts import marked
from ..logs.defects import contained
from ..logs.log import Log
from .reconnecting import ReconnectingConnection
from .reply_probe import ReplyProbe
from .suspects import Suspects

LOG = Log()

#: The attempts for a refused answer. A full reply queue has room again after its requester has read some messages.
TRIES = 4

#: The pauses between attempts: 0.25 to 0.5 s, doubled each time, and random so that answers do not arrive in step.
PAUSES = RetryPolicy(base=0.5, cap=2.0)


#: The most seconds to wait for a confirm. The election of a queue's new leader takes less, and requesters wait longer.
CONFIRM_PATIENCE = 30.0


class _Answer:
    def __init__(self, reply: Reply, done: Done, tries: int) -> None:
        self.reply = reply
        self.done = done
        self.sent = 0.0
        self.tries_left = tries
        self.refusals = 0
        self.returned = False


class ConfirmingPublisher:
    """Publishes answers over one channel.

    :param loop: the loop of the I/O thread.
    :param link: the connection to the broker.
    :param forbidden: called if the worker may not publish at all, so that it cannot answer any request.
    :param probe: publishes answers that could make the broker close the connection.
    """

    def __init__(
        self,
        loop: Any,
        link: ReconnectingConnection,
        settings: BrokerSettings,
        *,
        forbidden: Callable[[BrokerError], None],
        probe: Optional[ReplyProbe] = None,
    ) -> None:
        self._loop = loop
        self._link = link
        self._probe = ReplyProbe(loop) if probe is None else probe
        self._settings = settings
        self._forbidden = forbidden
        self._suspects = Suspects()
        self._channel: Any = None
        #: The number of opened channels. Only the latest one counts.
        self._opened = 0
        self._tag = 0
        self._unconfirmed: dict[int, _Answer] = {}
        self._queue: deque[_Answer] = deque()
        #: The refused answers that wait for their next attempt.
        self._resting: list[_Answer] = []
        #: The answers that the probe publishes over another connection.
        self._probing: list[_Answer] = []
        self._one_at_a_time = False
        #: Whether the only unconfirmed answer was sent alone.
        self._sent_alone = False
        self._blocked = False
        self._alarm: Any = None

    @property
    def pending(self) -> int:
        """The number of answers without a result."""
        return len(self._unconfirmed) + len(self._queue) + len(self._resting) + len(self._probing)

    def open(self, ready: Callable[[], None]) -> None:
        """Open the channel."""
        self._channel = None
        self._tag = 0
        self._opened += 1
        number = self._opened

        def opened(channel: Any) -> None:
            channel.add_on_return_callback(self._on_returned)
            channel.confirm_delivery(partial(self._heard, channel), callback=lambda _frame: usable(channel))

        def usable(channel: Any) -> None:
            if number == self._opened:
                self._channel = channel
                ready()
                self._send()

        channel = self._link.channel(on_open_callback=opened)
        channel.add_on_close_callback(partial(self._on_closed, number))

    def publish(self, reply: Reply, done: Done, tries: int = TRIES) -> None:
        """Publish an answer; call ``done`` once with the result.

        :param tries: the attempts for a refused answer.
        """
        answer = _Answer(reply, done, tries)
        if not self._link.is_connected:
            _report(answer, Publication.LOST)
        elif self._probe.is_needed(reply):
            self._probing.append(answer)
            self._probe.publish(self._link.parameters, reply, partial(self._probed, answer))
        else:
            self._queue.append(answer)
            self._send()

    def _probed(self, answer: _Answer, taken: Optional[bool], published: bool) -> None:
        """Handle the result of the probe: the broker has taken the answer, or has closed the other connection."""
        self._probing.remove(answer)
        if taken is None:
            if published:  # the broker may have taken the answer, although no confirm has arrived
                answer.reply = marked(answer.reply, 1)
            self._queue.append(answer)
            self._send()
        else:
            _report(answer, Publication.CONFIRMED if taken else Publication.UNACCEPTABLE)

    def connection_lost(self, reason: Optional[BrokerError] = None, *, explained: bool = False) -> None:
        """Give the unconfirmed answers up after a lost connection.

        :param reason: the reason, with the broker's code (``amqp_code``) if the broker has closed the connection.
        :param explained: whether the broker has closed the connection for a lane, not for an answer.
        """
        code = None if reason is None else reason.details.get("amqp_code")
        if isinstance(code, int) and code >= ENDED_FOR_AN_ERROR:
            if not explained:
                self._suspects.accuse(answer.reply for answer in self._unconfirmed.values())
            for answer in self._unconfirmed.values():
                self._probe.doubt(answer.reply)
        self._channel = None
        self._one_at_a_time = False
        self._probe.abandon()
        lost = [*self._unconfirmed.values(), *self._queue, *self._resting, *self._probing]
        for kept in (self._unconfirmed, self._queue, self._resting, self._probing):
            kept.clear()
        for answer in lost:
            _report(answer, Publication.LOST)

    def _send(self) -> None:
        while self._queue and self._channel is not None and self._channel.is_open:
            answer = self._queue[0]
            reply = answer.reply
            guilty = self._suspects.is_guilty(reply)
            alone = self._one_at_a_time or self._suspects.is_suspect(reply)
            if self._unconfirmed and (alone or self._sent_alone) and not guilty:
                return
            self._queue.popleft()
            if guilty:
                LOG.error("answer_given_up", queue=reply.routing_key, reason="the broker ends the connection for it")
                _report(answer, Publication.UNACCEPTABLE)
            elif self._put(reply):
                answer.tries_left -= 1
                answer.returned = False
                answer.sent = time.monotonic()
                self._tag += 1
                self._unconfirmed[self._tag] = answer
                self._sent_alone = alone
                self._set_alarm()
            else:
                _report(answer, Publication.UNACCEPTABLE)
        if not self._queue and not self._unconfirmed:
            self._one_at_a_time = False

    def _put(self, reply: Reply) -> bool:
        """Pass an answer to pika; return whether pika has taken it. If not, no part of it was sent."""
        # RabbitMQ delivers a mandatory message to a direct reply queue, and still returns it as unroutable.
        mandatory = not is_direct(reply.routing_key)

        def publish() -> bool:
            self._channel.basic_publish(
                reply.exchange, reply.routing_key, reply.message.body, to_pika(reply.message), mandatory=mandatory
            )
            return True

        return contained(publish, lambda _error: False, "cannot_publish", queue=reply.routing_key)

    def _on_returned(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        # The broker returns a message before it confirms it.
        for answer in self._unconfirmed.values():
            if answer.reply.message.properties.message_id == properties.message_id:
                answer.returned = True

    def block(self, blocked: bool) -> None:
        """Note whether the broker blocks messages. It confirms nothing meanwhile."""
        self._blocked = blocked
        if not blocked:
            for answer in self._unconfirmed.values():
                answer.sent = time.monotonic()

    def _set_alarm(self) -> None:
        if self._alarm is None and self._unconfirmed:
            self._alarm = self._loop.call_later(CONFIRM_PATIENCE, self._check_overdue)

    def _check_overdue(self) -> None:
        """Publish the answers with overdue confirms again."""
        self._alarm = None
        channel = self._channel
        oldest = min((answer.sent for answer in self._unconfirmed.values()), default=None)
        if oldest is None:
            return
        waited = time.monotonic() - oldest
        if self._blocked or channel is None or not self._link.is_open or waited < CONFIRM_PATIENCE:
            self._set_alarm()
            return
        LOG.warning("confirms_missing", answers=len(self._unconfirmed), remedy="they are published again")
        again, self._unconfirmed = list(self._unconfirmed.values()), {}
        for answer in again:
            answer.reply = marked(answer.reply, 1)
        self._queue.extendleft(reversed(again))
        # A late confirm on the old channel must not count as a confirm on the new one.
        self.open(lambda: None)
        if channel.is_open:
            channel.close()

    def _heard(self, channel: Any, frame: Any) -> None:
        if channel is self._channel:
            self._on_confirmed(frame)

    def _on_confirmed(self, frame: Any) -> None:
        tags, positive = confirmed_tags(frame, self._unconfirmed)
        for tag in tags:
            # One by one, so that an answer stays pending until its request is settled, and a drain waits for it.
            answer = self._unconfirmed.pop(tag, None)
            if answer is None:
                continue
            self._suspects.clear(answer.reply)
            if positive:
                _report(answer, Publication.RETURNED if answer.returned else Publication.CONFIRMED)
            elif answer.tries_left > 0:
                self._resting.append(answer)
                answer.refusals += 1
                self._loop.call_later(PAUSES.delay(answer.refusals), lambda answer=answer: self._again(answer))
            else:
                _report(answer, Publication.REFUSED)
        self._send()

    def _again(self, answer: _Answer) -> None:
        if answer in self._resting:
            self._resting.remove(answer)
            self._queue.append(answer)
            self._send()

    def _on_closed(self, number: int, _channel: Any, error: BaseException) -> None:
        if not self._link.is_connected or not isinstance(error, ChannelClosedByBroker):
            return
        if number != self._opened:
            return  # another channel has replaced this one, and its confirms count from 1
        self._channel = None
        reason = channel_error(error.reply_code, error.reply_text, self._settings)
        if isinstance(reason, BrokerForbiddenError):
            self._forbidden(reason)
            return
        interrupted, self._unconfirmed = list(self._unconfirmed.values()), {}
        culprit = interrupted.pop() if len(interrupted) == 1 else None
        for answer in interrupted:  # the broker may have delivered it before it closed the channel
            answer.reply = marked(answer.reply, 1)
        self._queue.extendleft(reversed(interrupted))
        self._one_at_a_time = True
        if self._link.is_open:
            self.open(lambda: None)
        if culprit is not None:
            _report(culprit, Publication.UNACCEPTABLE)


def _report(answer: _Answer, publication: Publication) -> None:
    """Call back. An exception of the callback does not harm other requests."""
    contained(lambda: answer.done(publication), lambda _error: None)
