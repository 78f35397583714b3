# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels that lanes are asked by, for one request at a time (basic.get).

There are several, because pika waits for the answer to one question before it sends the next one on a channel.

A broker that refuses a question closes the channel, and takes back every delivery that came by it. So lanes that were
never asked before have channels of their own: such a channel is left to its first delivery, and another one is opened.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Optional

from pika import spec
from pika.exceptions import ChannelClosedByBroker

from ..domain.delivery import Delivery, LaneSettings
from .reconnecting import ReconnectingConnection

#: Makes a delivery of what pika gives to a callback; None when the message was rejected.
Receive = Callable[[LaneSettings, Any, Any, Any, bytes], Optional[Delivery]]


@dataclass(frozen=True)
class GetRequest:
    """A question to a lane.

    :ivar answered: called with the request, or None, and how many requests the lane still has.
    :ivar refused: called when the broker refuses the question.
    """

    lane: LaneSettings
    answered: Callable[[Optional[Delivery], int], None]
    refused: Callable[[ChannelClosedByBroker], None]


class _Getter:
    """A channel, and the question whose answer it waits for."""

    def __init__(self) -> None:
        self.channel: Any = None
        self.asked: Optional[GetRequest] = None


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
        self._questions: deque[GetRequest] = deque()

    def open(self) -> None:
        """Open the channels of a new connection. Questions to the one before are forgotten."""
        self._idle.clear()
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

                def received(channel: Any, method: Any, properties: Any, body: bytes, getter: _Getter = getter) -> None:
                    if getter.asked is not None:
                        delivery = self._receive(getter.asked.lane, channel, method, properties, body)
                        self._answered(getter, delivery, method.message_count)

                getter.channel.basic_get(question.lane.queue, received)

    def _answered(self, getter: _Getter, delivery: Optional[Delivery], more: int) -> None:
        question, getter.asked = getter.asked, None
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
        if question is not None or not self._once:
            self._open()
        if question is not None:
            question.refused(error)
