# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's control queue, which receives cancellations (``_fleet/control.py``).

A worker without the permission for this queue works without cancellations. Then requests of lost requesters end at
their deadlines. Everything here runs on the I/O thread.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any, Callable

from pika.exceptions import ChannelClosedByBroker

from .._fleet.broker import BrokerSettings, channel_error
from .._fleet.control import cancelled_id, control_queue_of
from .._fleet.messages import Message
from .._fleet.pika_messages import from_pika
from ..logs.defects import contained
from ..logs.log import Log
from .reconnecting import ReconnectingConnection

LOG = Log()

#: Seconds until the worker declares a refused queue again. The broker also refuses the queue while it has not noticed
#: the end of the worker's last connection.
RETRY = 30.0
#: Seconds until the worker declares a deleted queue again. Meanwhile the worker misses cancellations.
RETRY_DELETED = 1.0

#: The seconds and the number of remembered cancelled ids, for requests that still wait in their lanes.
REMEMBERED = 900.0
MAX_REMEMBERED = 10_000


class ControlQueue:
    """Receives cancellations.

    :param link: the connection to the broker.
    :param node: the name of the node.
    :param cancel: called with the correlation id of each cancelled request.
    """

    def __init__(
        self, link: ReconnectingConnection, settings: BrokerSettings, node: str, cancel: Callable[[str], None]
    ) -> None:
        self._link = link
        self._settings = settings
        self._queue = control_queue_of(node)
        self._cancel = cancel
        self._refusal = ""
        self._cancelled: OrderedDict[str, float] = OrderedDict()

    def open(self) -> None:
        """Declare and consume the queue over a new connection."""

        def opened(channel: Any) -> None:
            channel.queue_declare(
                self._queue, exclusive=True, auto_delete=True, callback=lambda _frame: self._consume(channel)
            )

        channel = self._link.channel(on_open_callback=opened)
        channel.add_on_close_callback(self._on_closed)
        channel.add_on_cancel_callback(lambda _frame: self._on_deleted(channel))

    def is_cancelled(self, correlation_id: object) -> bool:
        """Return whether the request with this id was cancelled recently."""
        now = time.monotonic()
        while self._cancelled and next(iter(self._cancelled.values())) < now - REMEMBERED:
            self._cancelled.popitem(last=False)
        return correlation_id in self._cancelled

    def _consume(self, channel: Any) -> None:
        channel.basic_consume(self._queue, self._arrived, auto_ack=True)

    def _arrived(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        contained(lambda: self._take(from_pika(properties, body)), lambda _error: None, queue=self._queue)

    def _take(self, message: Message) -> None:
        correlation_id = cancelled_id(message)
        if correlation_id is not None:
            self._cancelled.pop(correlation_id, None)
            self._cancelled[correlation_id] = time.monotonic()
            if len(self._cancelled) > MAX_REMEMBERED:
                self._cancelled.popitem(last=False)
            self._cancel(correlation_id)

    def _on_deleted(self, channel: Any) -> None:
        """Declare the queue again after the broker has ended its consumer, because the queue was deleted."""
        LOG.warning("control_queue_lost", queue=self._queue)
        channel.close()
        self._link.call_later(RETRY_DELETED, self.open)

    def _on_closed(self, _channel: Any, error: BaseException) -> None:
        if not self._link.is_connected or not isinstance(error, ChannelClosedByBroker):
            return
        reason = str(channel_error(error.reply_code, error.reply_text, self._settings))
        if reason != self._refusal:  # log a reason once, and not every half minute
            self._refusal = reason
            LOG.warning("control_queue_refused", queue=self._queue, error=reason)
        self._link.call_later(RETRY, self.open)
