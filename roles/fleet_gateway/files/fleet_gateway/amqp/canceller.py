# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cancellations of requests, at the nodes that may have them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from pika.exceptions import ChannelClosedByBroker

from .._fleet.control import cancellation
from .._fleet.pika_messages import to_pika
from ..logs.log import Log
from .open_connection import OpenConnection

LOG = Log()


class Canceller:
    """Sends cancellations on a channel of its own: the broker closes that channel if the gateway may not send them."""

    def __init__(self) -> None:
        self._channel: Any = None

    async def open(self, connection: OpenConnection) -> None:
        """Use a new connection.

        :raises FleetError: if the broker opens no channel.
        :raises asyncio.TimeoutError: if the broker does not answer.
        """
        self._channel = channel = await connection.channel()

        def closed(_channel: Any, error: BaseException) -> None:
            if isinstance(error, ChannelClosedByBroker):
                LOG.warning(
                    "cannot_cancel", error=str(connection.error_of(error)), remedy="let it write to amq.default"
                )

        channel.add_on_close_callback(closed)

    def cancel(self, nodes: Iterable[str], correlation_id: str) -> None:
        """Cancel a request at every node that may have it."""
        if self._channel is None or not self._channel.is_open:
            return
        for node in nodes:
            reply = cancellation(node, correlation_id)
            with suppress(Exception):  # without the cancellation, the request ends at its deadline
                self._channel.basic_publish(reply.exchange, reply.routing_key, b"", to_pika(reply.message))

    def drop(self) -> None:
        """Forget the lost connection."""
        self._channel = None
