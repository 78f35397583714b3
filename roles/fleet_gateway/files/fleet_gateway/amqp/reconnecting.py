# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reconnect: when the gateway connects to the broker again, and to which address."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Callable, Optional

from .._fleet.broker import Address, BrokerSettings
from .._fleet.errors import FleetError
from .._ollama.retry import RetryPolicy
from ..logs.log import Log
from .open_connection import OpenConnection, connected

LOG = Log()

#: The pauses between two rounds through the addresses: 0.25 to 0.5 s at first, doubled each time, at most 10 s. The
#: same pause follows a lost connection.
PAUSES = RetryPolicy(base=0.5, cap=10.0)

#: The log reports one in this number of failed rounds.
LOGGED = 20

#: Seconds to wait for the end of a connection that the gateway closes.
CLOSING = 5.0


class ReconnectingConnection:
    """One connection to the broker, and its successors. For one event loop.

    :param opened: prepares a new connection for its use; an error of it closes the connection.
    :param lost: called when the connection is lost, and after each failed attempt.
    :param changed: called when a prepared connection is in use, and when it is lost.
    :ivar trouble: the reason why there is no connection; empty while there is one.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        opened: Callable[[OpenConnection], Awaitable[None]],
        lost: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._opened = opened
        self._lost = lost
        self._changed = changed
        self._connection: Optional[OpenConnection] = None
        self._closing = False
        self.trouble = "not connected yet"

    async def run(self) -> None:
        """Connect, and reconnect after each loss, until :meth:`close`.

        Each round tries the addresses in their order, because the first one is the nearest.
        """
        failures = 0
        while not self._closing:
            for address in self._settings.addresses:
                connection = await self._connect(address, is_logged=failures % LOGGED == 0)
                if connection is not None:
                    failures = 0
                    await self._until_lost(connection)
                    break
            if not self._closing:
                failures += 1
                await asyncio.sleep(PAUSES.delay(min(failures, LOGGED)))

    async def close(self) -> None:
        """Close the connection, and do not reconnect."""
        self._closing = True
        connection = self._connection
        if connection is not None and connection.is_open:
            connection.close()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(connection.lost), CLOSING)

    async def _connect(self, address: Address, *, is_logged: bool) -> Optional[OpenConnection]:
        """Connect to an address, and prepare the connection; return ``None`` after a failure."""
        try:
            self._connection = connection = await connected(self._settings, address)
            await self._opened(connection)
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
            return connection
        self._drop()
        return None

    async def _until_lost(self, connection: OpenConnection) -> None:
        self.trouble = await connection.lost
        self._drop()
        if not self._closing:
            LOG.warning("connection_lost", error=self.trouble)
        self._changed()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._lost()
        if connection is not None:
            connection.close()
