# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event with the outcome of a broadcast: one short channel, and one log line for each reason of a refusal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fleet_worker._fleet.broadcasts import DONE, FAILED, IMPORT, NodeReport, Order
from fleet_worker._fleet.broker import BrokerSettings
from fleet_worker.updates import outcome_publisher
from fleet_worker.updates.outcome_publisher import OutcomePublisher
from pika.exceptions import ChannelClosedByBroker, ChannelClosedByClient

from ..fake_pika import FakeChannel, FakeConnection

ORDER = Order(IMPORT, "m:1")


class Events:
    """A publisher over an open connection, its messages and its log lines."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.connection = FakeConnection(None, None)
        self.connection.is_open = True
        self.publisher = OutcomePublisher(self.connection, BrokerSettings(addresses=()))  # type: ignore[arg-type]
        self.sent: list[tuple[Any, ...]] = []
        self.logged: list[str] = []
        monkeypatch.setattr(
            outcome_publisher.LOG, "warning", lambda _event, **fields: self.logged.append(fields["error"])
        )

    def publish(self, state: str = DONE) -> FakeChannel:
        self.publisher.publish(ORDER, NodeReport("gpu-01", state))
        ((_opened, channel),) = self.connection.opening
        channel.basic_publish = lambda *message: self.sent.append(message)  # type: ignore[attr-defined]
        self.connection.open_channels()
        return channel


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    return Events(monkeypatch)


@pytest.mark.parametrize("state", [DONE, FAILED])
def test_outcome_is_published_and_its_channel_closed(events: Events, state: str) -> None:
    channel = events.publish(state)
    ((exchange, key, body, properties),) = events.sent
    assert (exchange, key) == ("llm.registry", f"llm.registry.import_{state}")
    assert json.loads(body)["node"] == "gpu-01" and properties.type
    assert not channel.is_open


def test_outcome_without_a_connection_opens_no_channel(events: Events) -> None:
    events.connection.is_open = False
    events.publisher.publish(ORDER, NodeReport("gpu-01", DONE))
    assert events.connection.opening == []


def test_refusal_is_logged_once_for_each_reason(events: Events) -> None:
    for _outcome in range(2):
        events.publish().end()
    assert len(events.logged) == 1 and "ACCESS_REFUSED" in events.logged[0]
    channel = events.publish()
    channel.closed[0](channel, ChannelClosedByBroker(404, "NOT_FOUND - no exchange"))
    assert len(events.logged) == 2 and "NOT_FOUND" in events.logged[1]


def test_channel_that_the_worker_closes_is_not_a_refusal(events: Events) -> None:
    channel = events.publish()
    channel.closed[0](channel, ChannelClosedByClient(0, "Normal shutdown"))
    assert events.logged == []
