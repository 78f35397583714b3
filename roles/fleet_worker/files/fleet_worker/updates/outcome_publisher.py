# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry events with the outcome of each broadcast.

No other part waits for these events or fails with them: the sender of the broadcast has its report, and only programs
that watch the fleet need the event.
"""

from __future__ import annotations

from typing import Any

from pika.exceptions import ChannelClosedByBroker

from .._fleet.broadcasts import NodeReport, Order, outcome_message
from .._fleet.broker import BrokerSettings, channel_error
from .._fleet.pika_messages import to_pika
from .._fleet.registry import EXCHANGE
from ..amqp.reconnecting import ReconnectingConnection
from ..logs.log import Log

LOG = Log()


class OutcomePublisher:
    """Publishes each outcome on a separate channel, which the broker closes if the user lacks the permission.

    :param link: the connection to the broker.
    """

    def __init__(self, link: ReconnectingConnection, settings: BrokerSettings) -> None:
        self._link = link
        self._settings = settings
        self._refusal = ""

    def publish(self, order: Order, report: NodeReport) -> None:
        """Publish an outcome. Without a connection, do nothing."""
        if not self._link.is_open:
            return
        outcome = outcome_message(order, report)

        def opened(channel: Any) -> None:
            message = outcome.message
            channel.basic_publish(outcome.exchange, outcome.routing_key, message.body, to_pika(message))
            channel.close()

        self._link.channel(on_open_callback=opened).add_on_close_callback(self._closed)

    def _closed(self, _channel: Any, error: BaseException) -> None:
        if not isinstance(error, ChannelClosedByBroker):
            return
        refusal = str(channel_error(error.reply_code, error.reply_text, self._settings))
        if refusal != self._refusal:  # log a reason once, and not for each outcome
            self._refusal = refusal
            LOG.warning("registry_refused", exchange=EXCHANGE, error=refusal)
