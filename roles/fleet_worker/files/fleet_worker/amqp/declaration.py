# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lanes are declared and bound, one after the other, each refusal told apart.

A refusal closes the channel, which is why this has channels of its own. Everything here runs on the I/O thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Optional

from pika.exceptions import ChannelClosedByBroker

from .._fleet.broker import BrokerSettings, channel_error
from .._fleet.errors import BrokerError
from .._fleet.lanes import Lane
from .._fleet.topology import declare_error
from .reconnecting import ReconnectingConnection

Done = Callable[[dict[str, Optional[BrokerError]]], None]


class Declaration:
    """Declares lanes once, over one connection.

    :param done: called with each queue, and None or why it cannot be used. Not called when the connection breaks.
    """

    def __init__(
        self,
        link: ReconnectingConnection,
        lanes: Sequence[Lane],
        exchanges: Sequence[str],
        settings: BrokerSettings,
        done: Done,
    ) -> None:
        self._link = link
        self._waiting = list(lanes)
        self._exchanges = exchanges
        self._settings = settings
        self._done = done
        self._results: dict[str, Optional[BrokerError]] = {}
        self._lane: Optional[Lane] = None
        self._channel: Any = None

    def start(self) -> None:
        self._open()

    def _open(self) -> None:
        channel = self._link.channel(on_open_callback=self._on_open)
        channel.add_on_close_callback(self._on_closed)

    def _on_open(self, channel: Any) -> None:
        self._channel = channel
        self._next()

    def _next(self) -> None:
        if not self._waiting:
            self._lane = None
            self._channel.close()
            self._done(self._results)
            return
        self._lane = self._waiting.pop(0)
        self._channel.queue_declare(
            self._lane.queue, durable=True, auto_delete=False, arguments=self._lane.arguments, callback=self._declared
        )

    def _declared(self, _frame: Any) -> None:
        self._bind(0)

    def _bind(self, index: int) -> None:
        lane = self._lane
        if lane is None or not self._channel.is_open:
            return  # also when the worker leaves: pika still hands on what the broker answers while it closes
        bindings = [(exchange, key) for exchange in self._exchanges for key in lane.keys]
        if index == len(bindings):
            self._results[lane.queue] = None
            self._next()
            return
        exchange, key = bindings[index]
        self._channel.queue_bind(lane.queue, exchange, key, callback=lambda _frame: self._bind(index + 1))

    def _on_closed(self, _channel: Any, error: BaseException) -> None:
        lane = self._lane
        if lane is None or not isinstance(error, ChannelClosedByBroker):
            return
        refused = channel_error(error.reply_code, error.reply_text, self._settings)
        self._results[lane.queue] = declare_error(error.reply_code, error.reply_text, lane, refused)
        self._open()
