# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's connection to the broker: requests go out by it, answers and registry events come in.

It is made again whenever it is lost. The reply queue belongs to the connection, so that whatever was under way when it
was lost is over, and its clients get an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Callable, Optional

from .._fleet.broker import Address, BrokerSettings
from .._fleet.errors import FleetError
from .._fleet.messages import Message
from .._ollama.retry import RetryPolicy
from ..logs.log import Log
from .canceller import Canceller
from .lane_depths import LaneDepths
from .open_connection import OpenConnection, connected
from .own_queues import Heard, registry_queue, reply_queue
from .request_publisher import Refused, RequestPublisher

LOG = Log()

#: The pauses between two tries to connect: 0.25 to 0.5 s at first, doubled each time, 10 s at most.
PAUSES = RetryPolicy(base=0.5, cap=10.0)

#: One of so many failed tries is logged.
LOGGED = 20

#: Seconds for a connection to end.
CLOSING = 5.0


class FleetLink:
    """Keeps a connection, and the parts that use it. For one event loop.

    :param exchange: that the lanes are bound to.
    :param heard: called with each message that comes to the reply queue.
    :param told: called with each registry event.
    :param changed: called with no arguments when the connection has come or gone.
    """

    def __init__(
        self, settings: BrokerSettings, exchange: str, *, heard: Heard, told: Heard, changed: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._heard = heard
        self._told = told
        self._changed = changed
        self._publisher = RequestPublisher(exchange)
        self._canceller = Canceller()
        self._depths = LaneDepths()
        self._connection: Optional[OpenConnection] = None
        self._closing = False
        self.reply_queue = ""
        self.trouble = "not connected yet"

    @property
    def is_up(self) -> bool:
        """Whether requests can be published."""
        return self._publisher.is_open

    async def run(self) -> None:
        """Connect, and connect again when the connection is lost, until :meth:`close`."""
        failures = 0
        while not self._closing:
            for address in self._settings.addresses:
                if await self._connect(address, is_logged=failures % LOGGED == 0):
                    failures = 0
                    await self._until_lost()
                    break
            if not self._closing:
                failures += 1
                await asyncio.sleep(PAUSES.delay(min(failures, LOGGED)))

    def publish(self, message: Message, routing_key: str, refused: Refused) -> None:
        """Send a request.

        :param refused: called with the reason when it is not on its way after all.
        """
        self._publisher.publish(message, routing_key, refused)

    def cancel(self, nodes: Iterable[str], correlation_id: str) -> None:
        """Take a request back from every node that may have it."""
        self._canceller.cancel(nodes, correlation_id)

    def depths(self, queues: Iterable[str]) -> Mapping[str, int]:
        """Return how many requests wait in queues at the broker, as far as that is known."""
        return self._depths.latest(queues)

    async def close(self) -> None:
        """End the connection."""
        self._closing = True
        connection = self._connection
        if connection is not None and connection.is_open:
            connection.close()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(connection.lost), CLOSING)

    async def _connect(self, address: Address, *, is_logged: bool) -> bool:
        """Connect to an address; return whether that has worked."""
        try:
            self._connection = connection = await connected(self._settings, address)
            self.reply_queue = await reply_queue(connection, self._heard)
            await registry_queue(connection, self._told)
            await self._publisher.open(connection)
            await self._canceller.open(connection)
            self._depths.use(connection)
        except FleetError as error:
            self.trouble = error.message
            if is_logged:
                LOG.error("cannot_connect", error=str(error))
        except asyncio.TimeoutError:
            self.trouble = f"{address} does not answer in time"
        else:
            self.trouble = ""
            LOG.info("connected", broker=str(address))
            self._changed()
            return True
        self._drop()
        return False

    async def _until_lost(self) -> None:
        if self._connection is not None:
            self.trouble = await self._connection.lost
        self._drop()
        if not self._closing:
            LOG.warning("connection_lost", error=self.trouble)
        self._changed()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self.reply_queue = ""
        self._publisher.drop()
        self._canceller.drop()
        self._depths.drop()
        if connection is not None:
            connection.close()
