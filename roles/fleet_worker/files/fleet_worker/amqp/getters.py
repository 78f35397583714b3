# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels that lanes are asked by, for one request at a time (basic.get).

There are several, because pika waits for the answer to one question before it sends the next one on a channel.

A broker answers no question to a queue whose leader does not answer the broker, for up to a minute, and nothing else on
that channel. So a getter reports a question without an answer after ``PATIENCE``, and another channel takes its place.

A broker that refuses a question closes the channel, and takes back every delivery that came by it. So lanes that were
never asked before have channels of their own: such a channel is left to its first delivery, and another one is opened.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Optional

from pika import spec
from pika.exceptions import ChannelClosedByBroker

from ..domain.delivery import Delivery, LaneSettings
from .reconnecting import ReconnectingConnection

#: Seconds for which an answer is waited for. A broker in order needs milliseconds, and a busy one less than this.
PATIENCE = 5.0

#: Makes a delivery of what pika gives to a callback; None when the message was rejected.
Receive = Callable[[LaneSettings, Any, Any, Any, bytes], Optional[Delivery]]


@dataclass(frozen=True)
class GetRequest:
    """A question to a lane.

    :ivar answered: called with the request, or None, and how many requests the lane still has.
    :ivar refused: called when the broker refuses the question.
    :ivar overdue: called when the broker does not answer for now.
    :ivar late: called instead of ``answered`` when the broker answers after that.
    """

    lane: LaneSettings
    answered: Callable[[Optional[Delivery], int], None]
    refused: Callable[[ChannelClosedByBroker], None]
    overdue: Callable[[], None]
    late: Callable[[Optional[Delivery]], None]


class _Getter:
    """A channel, and the question whose answer it waits for since when."""

    def __init__(self) -> None:
        self.channel: Any = None
        self.asked: Optional[GetRequest] = None
        self.since = 0.0
        self.overdue = False


class Getters:
    """A number of channels, and the questions that wait for one.

    :param link: the connection to the broker.
    :param receive: makes deliveries.
    :param once: whether a channel that a delivery came by is asked no more.
    """

    def __init__(self, link: ReconnectingConnection, number: int, receive: Receive, *, once: bool = False) -> None:
        self._link = link
        self._number = number
        self._receive = receive
        self._once = once
        self._idle: list[_Getter] = []
        self._busy: set[_Getter] = set()
        self._looking = False
        self._questions: deque[GetRequest] = deque()

    def open(self) -> None:
        """Open the channels of a new connection. Questions to the one before are forgotten."""
        self._idle.clear()
        self._busy.clear()
        self._looking = False
        self._questions.clear()
        for _number in range(self._number):
            self._open()

    def ask(self, question: GetRequest) -> None:
        """Ask a lane for one request."""
        self._questions.append(question)
        self._ask()

    def _open(self) -> None:
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
                self._look_later()

                def received(channel: Any, method: Any, properties: Any, body: bytes, getter: _Getter = getter) -> None:
                    if getter.asked is not None:
                        delivery = self._receive(getter.asked.lane, channel, method, properties, body)
                        self._answered(getter, delivery, method.message_count)

                getter.channel.basic_get(question.lane.queue, received)

    def _look_later(self) -> None:
        """Look when the oldest question is overdue, if it has no answer by then."""
        if self._busy and not self._looking:
            self._looking = True
            oldest = min(getter.since for getter in self._busy)
            self._link.call_later(max(0.0, oldest + PATIENCE - time.monotonic()), self._look_for_overdue)

    def _look_for_overdue(self) -> None:
        self._looking = False
        now = time.monotonic()
        for getter in [getter for getter in self._busy if now >= getter.since + PATIENCE]:
            # It stays with its question, and the deliveries that came by it before.
            self._busy.discard(getter)
            getter.overdue = True
            self._open()
            if getter.asked is not None:
                getter.asked.overdue()
        self._look_later()

    def _answered(self, getter: _Getter, delivery: Optional[Delivery], more: int) -> None:
        question, getter.asked = getter.asked, None
        self._busy.discard(getter)
        if getter.overdue:
            if question is not None:
                question.late(delivery)
            return
        if delivery is not None and self._once:
            self._open()
        else:
            self._idle.append(getter)
        if question is not None:
            question.answered(delivery, more)
        self._ask()

    def _closed(self, getter: _Getter, error: BaseException) -> None:
        if not isinstance(error, ChannelClosedByBroker) or not self._link.is_open:
            return
        question, getter.asked = getter.asked, None
        self._busy.discard(getter)
        if not getter.overdue and (question is not None or not self._once):
            self._open()
        if question is not None:
            question.refused(error)
