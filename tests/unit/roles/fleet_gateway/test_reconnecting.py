# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's reconnect: the order of the addresses, the pauses, and what the log has of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Optional

import pytest
from fleet_gateway._fleet.broker import Address, BrokerSettings
from fleet_gateway._fleet.errors import FleetError
from fleet_gateway.amqp import reconnecting
from fleet_gateway.amqp.reconnecting import LOGGED, PAUSES, ReconnectingConnection

from .memory_front import run

SETTINGS = replace(
    BrokerSettings.from_url("amqp://user:secret@one"),
    addresses=(Address.parse("one", tls=False), Address.parse("two", tls=False)),
)


class OpenedConnection:
    """A connection that is open until a test loses it."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        return not self.lost.done()

    def close(self) -> None:
        if self.is_open:
            self.lost.set_result("closed")


class Attempts:
    """A broker whose addresses fail until they are up, and the pauses between the attempts.

    :ivar tried: the host of each attempt, and ``pause`` for each pause, in their order.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int = 100) -> None:
        self.up: set[str] = set()
        self.tried: list[str] = []
        self.pauses: list[float] = []
        self.changes = 0
        self.connections: list[OpenedConnection] = []
        self.refusal: Optional[Exception] = None
        self._most = most
        self._sleep = asyncio.sleep
        monkeypatch.setattr(reconnecting, "connected", self._connect)
        monkeypatch.setattr(reconnecting.asyncio, "sleep", self._pause)
        monkeypatch.setattr(reconnecting, "PAUSES", replace(PAUSES, chance=lambda: 0.0))
        self.reconnecting = ReconnectingConnection(
            SETTINGS, opened=self._prepare, lost=lambda: None, changed=self._changed
        )

    async def _prepare(self, _connection: Any) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def _connect(self, _settings: BrokerSettings, address: Address) -> OpenedConnection:
        self.tried.append(address.host)
        if address.host not in self.up:
            raise FleetError(f"{address.host} is down")
        self.connections.append(OpenedConnection())
        return self.connections[-1]

    async def _pause(self, seconds: float) -> None:
        self.tried.append("pause")
        self.pauses.append(seconds)
        if len(self.pauses) == self._most:
            await self.reconnecting.close()
        await self._sleep(0)

    def _changed(self) -> None:
        self.changes += 1

    async def connected(self, number: int) -> OpenedConnection:
        """Wait for a number of connections; return the last one."""
        while len(self.connections) < number:
            await self._sleep(0)
        await self._sleep(0)
        return self.connections[-1]


def test_run_address_that_fails_is_followed_by_the_next_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        attempts = Attempts(monkeypatch)
        attempts.up = {"two"}
        task = asyncio.ensure_future(attempts.reconnecting.run())
        await attempts.connected(1)
        assert attempts.tried == ["one", "two"]
        assert (attempts.reconnecting.trouble, attempts.changes) == ("", 1)
        await attempts.reconnecting.close()
        await task

    run(test())


def test_run_lost_connection_is_followed_by_a_pause_and_the_first_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        attempts = Attempts(monkeypatch)
        attempts.up = {"one", "two"}
        task = asyncio.ensure_future(attempts.reconnecting.run())
        (await attempts.connected(1)).lost.set_result("cut")
        await attempts.connected(2)
        assert attempts.tried == ["one", "pause", "one"]
        assert attempts.changes == 3
        await attempts.reconnecting.close()
        await task

    run(test())


def test_run_no_address_answers_pauses_grow_and_one_round_of_many_is_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        logged: list[str] = []
        monkeypatch.setattr(reconnecting.LOG, "error", lambda event, **_fields: logged.append(event))
        attempts = Attempts(monkeypatch, most=LOGGED + 1)
        await attempts.reconnecting.run()
        assert attempts.pauses[:7] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
        assert attempts.tried[:6] == ["one", "two", "pause", "one", "two", "pause"]
        assert logged == ["cannot_connect"] * 4  # both addresses, in the first round and in the twenty-first
        assert attempts.reconnecting.trouble == "two is down"

    run(test())


@pytest.mark.parametrize("error", [FleetError("the exchange is missing"), asyncio.TimeoutError()])
def test_run_connection_that_cannot_be_prepared_is_closed(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    async def test() -> None:
        attempts = Attempts(monkeypatch, most=1)
        attempts.up, attempts.refusal = {"one"}, error
        await attempts.reconnecting.run()
        assert attempts.tried == ["one", "two", "pause"]
        assert attempts.changes == 0
        assert not attempts.connections[0].is_open

    run(test())
