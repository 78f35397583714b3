# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A session with the broker: its states, the callbacks to its owner, and what a lost connection takes away."""

from __future__ import annotations

from typing import Any

import pytest
from fleet_worker._fleet.broker import Address, BrokerSettings
from fleet_worker._fleet.messages import Message, Properties, Reply
from fleet_worker.amqp.registry_publisher import RegistrySettings
from fleet_worker.amqp.session import RETRY_CHANNEL, BrokerSession, SessionState
from fleet_worker.domain.publication import Publication

from ..deliveries import lane_settings
from ..fake_pika import FakeChannel, FakeConnection, install
from ..manual_loop import ManualLoop

LANE = lane_settings()
REPLY = Reply("", "llm.fleet.reply.a", Message(Properties(), {}, b"{}"))


class Owner:
    """A session, and what it has told its owner."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.loop = ManualLoop()
        self.session = BrokerSession(
            self.loop,
            BrokerSettings(addresses=(Address("127.0.0.1", 1),)),
            ["llm.request"],
            RegistrySettings("gpu-01", slots=1),
            self,  # type: ignore[arg-type]
        )
        self.session.start()

    def __getattr__(self, event: str) -> Any:
        return lambda *_arguments: self.told.append(event)

    @property
    def connection(self) -> FakeConnection:
        return FakeConnection.made[-1]

    def come_up(self) -> list[FakeChannel]:
        self.connection.open()
        channels = self.connection.open_channels()
        self.told.clear()
        return channels


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Owner:
    install(monkeypatch)
    return Owner()


def test_session_that_comes_up_is_usable_when_both_channels_are_open(owner: Owner) -> None:
    assert owner.session.state is SessionState.DISCONNECTED
    owner.connection.open()
    assert owner.session.state is SessionState.OPENING and owner.told == ["session_opened"]
    owner.connection.open_channels()
    assert owner.session.state is SessionState.USABLE
    assert owner.told == ["session_opened", "session_changed", "session_changed"]


def test_session_that_is_lost_says_so_and_loses_the_answers_under_way(owner: Owner) -> None:
    owner.come_up()
    lost: list[Publication] = []
    owner.session.publisher.publish(REPLY, lost.append)
    owner.connection.lose()
    assert owner.session.state is SessionState.DISCONNECTED and not owner.session.is_connected
    assert lost == [Publication.LOST]
    assert owner.told == ["session_lost", "broker_blocked", "session_changed"]
    owner.session.publisher.publish(REPLY, lost.append)
    assert lost == [Publication.LOST] * 2


def test_session_that_comes_again_is_usable_again(owner: Owner) -> None:
    owner.come_up()
    owner.connection.lose()
    owner.loop.turn(60.0)
    assert len(FakeConnection.made) == 2
    owner.come_up()
    assert owner.session.state is SessionState.USABLE


def test_session_whose_broker_has_an_alarm_is_blocked_until_it_is_over_or_the_connection_lost(owner: Owner) -> None:
    owner.come_up()
    block, unblock = owner.connection.blocked
    for end in (lambda: unblock(None, None), owner.connection.lose):
        block(None, None)
        assert owner.session.blocked
        end()
        assert not owner.session.blocked


def test_session_whose_consumers_are_closed_opens_them_again(owner: Owner) -> None:
    channels = owner.come_up()
    consumers = next(channel for channel in channels if channel is owner.session.consumers._channel)
    consumers.end()
    assert owner.told == ["consumers_lost"] and owner.session.state is SessionState.OPENING
    owner.loop.turn(RETRY_CHANNEL)
    owner.connection.open_channels()
    assert owner.session.state is SessionState.USABLE


def test_session_that_may_not_publish_gives_the_connection_up(owner: Owner) -> None:
    channels = owner.come_up()
    publisher = next(channel for channel in channels if channel is owner.session.publisher._channel)
    publisher.end()
    assert not owner.connection.is_open, "nothing can be answered over it"


def test_session_that_is_closed_opens_no_channel_and_tells_of_no_change(owner: Owner) -> None:
    channels = owner.come_up()
    next(channel for channel in channels if channel is owner.session.consumers._channel).end()
    closed: list[str] = []
    owner.session.close(lambda: closed.append("closed"))
    owner.loop.turn(RETRY_CHANNEL)
    assert owner.connection.opening == [] and owner.session.state is SessionState.CLOSED
    owner.connection.lose()
    assert closed == ["closed"] and "session_changed" not in owner.told


def test_declare_says_of_each_queue_what_the_broker_has_said(owner: Owner) -> None:
    owner.come_up()
    told: list[Any] = []
    owner.session.declare([LANE], told.append)
    owner.connection.open_channels()
    assert told == [{LANE.queue: None}]


def test_call_later_after_the_connection_is_lost_calls_nobody(owner: Owner) -> None:
    owner.come_up()
    called: list[str] = []
    owner.session.call_later(5.0, lambda: called.append("late"))
    owner.connection.lose()
    owner.loop.turn(5.0)
    assert called == []
