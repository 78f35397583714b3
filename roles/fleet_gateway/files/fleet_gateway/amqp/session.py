# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The session with the broker: everything that the gateway sends and receives over its connection.

The reply queue belongs to the connection. So if the connection is lost, the answers to all sent requests are lost, too,
and their clients get an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Callable, Optional

from .._fleet.broker import BrokerSettings
from .._fleet.messages import Message
from .canceller import Canceller
from .lane_depths import LaneDepths
from .open_connection import OpenConnection
from .own_queues import OnMessage, consume_registry, consume_replies
from .reconnecting import ReconnectingConnection
from .request_publisher import OnRefused, RequestPublisher


class BrokerSession:
    """The parts that use the connection. For one event loop.

    :param exchange: the exchange that the lanes are bound to.
    :param on_reply: called with each message of the reply queue.
    :param on_registry_event: called with each registry event.
    :param changed: called without arguments when the session is up or down again.
    :ivar reply_queue: the name of the reply queue; empty without a connection.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        exchange: str,
        *,
        on_reply: OnMessage,
        on_registry_event: OnMessage,
        changed: Callable[[], None],
    ) -> None:
        self._on_reply = on_reply
        self._on_registry_event = on_registry_event
        self._publisher = RequestPublisher(exchange)
        self._canceller = Canceller()
        self._depths = LaneDepths()
        self._connection = ReconnectingConnection(settings, opened=self._use, lost=self._drop, changed=changed)
        self._open: Optional[OpenConnection] = None
        self.reply_queue = ""

    @property
    def is_up(self) -> bool:
        """Whether the gateway can publish requests, and the broker takes them."""
        return self._publisher.is_open and not self._blocked

    @property
    def trouble(self) -> str:
        """The reason why the session is down; empty while it is up."""
        if self._blocked:
            return f"the broker has an alarm and takes no messages ({self._blocked})"
        if self._connection.trouble or self.is_up:
            return self._connection.trouble
        return "the broker has closed the channel of the requests, and the gateway opens another one"

    @property
    def _blocked(self) -> str:
        return "" if self._open is None else self._open.blocked

    async def run(self) -> None:
        """Keep the session up until :meth:`close`."""
        await self._connection.run()

    def publish(self, message: Message, routing_key: str, refused: OnRefused) -> None:
        """Send a request.

        :param refused: called with the reason if the broker does not deliver the request to a queue.
        """
        self._publisher.publish(message, routing_key, refused)

    def cancel(self, nodes: Iterable[str], correlation_id: str) -> None:
        """Cancel a request at every node that may have it."""
        self._canceller.cancel(nodes, correlation_id)

    def depths(self, queues: Iterable[str]) -> Mapping[str, int]:
        """Return the number of waiting requests of each queue whose number is known."""
        return self._depths.latest(queues)

    async def close(self) -> None:
        """End the session for good."""
        await self._connection.close()

    async def _use(self, connection: OpenConnection) -> None:
        self._open = connection
        self.reply_queue = await consume_replies(connection, self._on_reply)
        await consume_registry(connection, self._on_registry_event)
        await self._publisher.open(connection)
        await self._canceller.open(connection)
        self._depths.use(connection)

    def _drop(self) -> None:
        self._open = None
        self.reply_queue = ""
        self._publisher.drop()
        self._canceller.drop()
        self._depths.drop()
