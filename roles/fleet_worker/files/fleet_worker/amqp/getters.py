# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The channels that fetch single requests from lanes (basic.get).

There are several channels, because a channel of pika runs one get at a time.

If the leader of a queue does not answer the broker, the broker answers neither a get from this queue nor anything else
on that channel, for up to a minute. So a getter reports an overdue get after ``PATIENCE``, and another channel replaces
its own.

A channel that runs no more gets is closed after its last delivery is settled. The broker would requeue an unsettled
one, and allows 2,047 channels.

If the broker refuses a get, it closes the channel and requeues all deliveries of the channel. So the first get from
each lane uses a separate channel. After its first delivery such a channel runs no more gets, and another one is opened.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Optional

from pika import spec
from pika.exceptions import ChannelClosedByBroker

from ..domain.delivery import Delivery, LaneSettings
from ..domain.settlement import Settlement
from .reconnecting import ReconnectingConnection

#: Seconds until a get is overdue. A healthy broker needs milliseconds, a busy one less than this.
PATIENCE = 5.0

#: Creates a delivery from the arguments of pika's callback; ``None`` if the message was rejected.
Receive = Callable[[LaneSettings, Any, Any, Any, bytes], Optional[Delivery]]


@dataclass(frozen=True)
class GetRequest:
    """A get from a lane.

    :ivar answered: called with the request or ``None``, and the number of requests in the queue.
    :ivar refused: called if the broker refuses the get.
    :ivar overdue: called if the broker does not answer in time.
    :ivar late: called instead of ``answered`` if the broker answers afterwards.
    :ivar consumed: called instead of ``answered``, without a get, if the queue has consumers; None for a get in any
        case.
    """

    lane: LaneSettings
    answered: Callable[[Optional[Delivery], int], None]
    refused: Callable[[ChannelClosedByBroker], None]
    overdue: Callable[[], None]
    late: Callable[[Optional[Delivery]], None]
    consumed: Optional[Callable[[], None]] = None


class _Getter:
    """A channel, with its current get, the time of its start, and the settlements of its deliveries."""

    def __init__(self) -> None:
        self.channel: Any = None
        self.asked: Optional[GetRequest] = None
        self.since = 0.0
        self.overdue = False
        self.settlements: list[Settlement] = []

    def note(self, delivery: Delivery) -> None:
        """Note a delivery of the channel."""
        self.settlements = [one for one in self.settlements if one.is_open]
        self.settlements.append(delivery.settlement)


class Getters:
    """Some channels, and the gets that wait for a free one.

    :param link: the connection to the broker.
    :param receive: creates deliveries.
    :param once: whether a channel runs no more gets after its first delivery.
    """

    def __init__(self, link: ReconnectingConnection, number: int, receive: Receive, *, once: bool = False) -> None:
        self._link = link
        self._number = number
        self._receive = receive
        self._once = once
        self._idle: list[_Getter] = []
        self._busy: set[_Getter] = set()
        #: The getters with an overdue get.
        self._late: set[_Getter] = set()
        #: The getters that run no more gets, until their deliveries are settled.
        self._retired: list[_Getter] = []
        self._checking = False
        self._questions: deque[GetRequest] = deque()

    def open(self) -> None:
        """Open the channels of a new connection. Forget the gets over the last connection."""
        self._idle.clear()
        self._busy.clear()
        self._late.clear()
        self._retired.clear()
        self._checking = False
        self._questions.clear()
        for _number in range(self._number):
            self._open()

    def ask(self, question: GetRequest) -> None:
        """Fetch one request from a lane."""
        self.close_retired()
        self._questions.append(question)
        self._ask()

    def unanswered(self) -> list[tuple[str, float]]:
        """Return the queue and the time of each get without an answer, on the monotonic clock."""
        busy = self._busy | self._late
        return [(getter.asked.lane.queue, getter.since) for getter in busy if getter.asked is not None]

    def close_retired(self) -> None:
        """Close the channels without unsettled deliveries that run no more gets."""
        for getter in self._retired[:]:
            if not any(settlement.is_open for settlement in getter.settlements):
                self._retired.remove(getter)
                if getter.channel.is_open:
                    getter.channel.close()

    def _open(self) -> None:
        if not self._link.is_open:
            return  # pika still passes on answers while the worker closes the connection
        getter = _Getter()

        def opened(channel: Any) -> None:
            getter.channel = channel
            self._idle.append(getter)
            self._ask()

        channel = self._link.channel(on_open_callback=opened)
        channel.add_callback(lambda _frame: self._answered(getter, None, 0), [spec.Basic.GetEmpty], one_shot=False)
        channel.add_on_close_callback(lambda _channel, error: self._closed(getter, error))

    def _ask(self) -> None:
        while self._questions and self._idle:
            getter = self._idle.pop()
            if getter.channel.is_open:
                getter.asked = question = self._questions.popleft()
                getter.since = time.monotonic()
                self._busy.add(getter)
                self._check_later()

                def received(channel: Any, method: Any, properties: Any, body: bytes, getter: _Getter = getter) -> None:
                    if getter.asked is not None:
                        delivery = self._receive(getter.asked.lane, channel, method, properties, body)
                        self._answered(getter, delivery, method.message_count)

                get = partial(getter.channel.basic_get, question.lane.queue, received)
                if question.consumed is None:
                    get()
                else:
                    found = partial(self._found, getter, get)
                    getter.channel.queue_declare(question.lane.queue, passive=True, callback=found)

    def _found(self, getter: _Getter, get: Callable[[], None], frame: Any) -> None:
        """Get from a queue without consumers."""
        if not frame.method.consumer_count and not getter.overdue:
            if getter.channel.is_open:
                get()
            return
        question = self._free(getter)
        if getter.overdue:
            self._retire(getter)
            return
        self._idle.append(getter)
        if question is not None and question.consumed is not None:
            question.consumed()
        self._ask()

    def _check_later(self) -> None:
        """Check the oldest get when it becomes overdue."""
        if self._busy and not self._checking:
            self._checking = True
            oldest = min(getter.since for getter in self._busy)
            self._link.call_later(max(0.0, oldest + PATIENCE - time.monotonic()), self._check_overdue)

    def _check_overdue(self) -> None:
        self._checking = False
        now = time.monotonic()
        overdue = [getter for getter in self._busy if now >= getter.since + PATIENCE]
        for getter in overdue:
            # The channel keeps its get, and its unsettled deliveries.
            self._busy.discard(getter)
            getter.overdue = True
            self._late.add(getter)
            if getter.asked is not None:
                getter.asked.overdue()
        self._check_later()
        for _getter in overdue:
            self._open()  # last, because the broker may allow no further channel

    def _answered(self, getter: _Getter, delivery: Optional[Delivery], more: int) -> None:
        question = self._free(getter)
        if delivery is not None:
            getter.note(delivery)
        if getter.overdue:
            self._retire(getter)
            if question is not None:
                question.late(delivery)
            return
        if delivery is not None and self._once:
            self._retire(getter)
            self._open()
        else:
            self._idle.append(getter)
        if question is not None:
            question.answered(delivery, more)
        self._ask()

    def _free(self, getter: _Getter) -> Optional[GetRequest]:
        """Note that the get of a getter has ended; return the get."""
        question, getter.asked = getter.asked, None
        self._busy.discard(getter)
        self._late.discard(getter)
        return question

    def _retire(self, getter: _Getter) -> None:
        """Let a getter run no more gets."""
        self._retired.append(getter)
        self.close_retired()

    def _closed(self, getter: _Getter, error: BaseException) -> None:
        if not isinstance(error, ChannelClosedByBroker) or not self._link.is_open:
            return
        question = self._free(getter)
        if not getter.overdue and (question is not None or not self._once):
            self._open()
        if question is not None:
            question.refused(error)
