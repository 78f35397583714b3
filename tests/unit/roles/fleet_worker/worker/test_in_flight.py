# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request under way keeps of its further deliveries."""

from __future__ import annotations

from typing import Any

from fleet_worker.worker.worker import InFlightRequest

from ..deliveries import Channel, delivery


def job(channel: Channel) -> InFlightRequest:
    return InFlightRequest(delivery({"a": 1}, channel=channel, message_id="m-1"), None, lambda *_arguments: None)


def again(channel: Channel, tag: int) -> Any:
    return delivery({"a": 1}, channel=channel, message_id="m-1", tag=tag, count=1)


def test_join_of_copies_keeps_none_of_them() -> None:
    channel = Channel()
    under_way = job(channel)
    assert [under_way.join(again(channel, tag)) for tag in range(2, 252)] == [False] * 250
    assert len(under_way.deliveries) == 1


def test_join_after_a_lost_channel_keeps_the_new_delivery_without_its_body() -> None:
    lost, channel = Channel(), Channel()
    under_way = job(lost)
    body = under_way.deliveries[0].message.body
    lost.is_open = False
    assert under_way.join(again(channel, 2)) and not under_way.join(again(channel, 3))
    first, second = under_way.deliveries
    assert (first.message.body, second.message.body) == (body, b"")
    assert second.ack() and channel.settled == [("ack", 2)]


def test_join_after_many_lost_channels_keeps_the_newest_alone() -> None:
    channel = Channel()
    under_way = job(channel)
    for tag in range(2, 50):
        channel.is_open = False
        channel = Channel()
        assert under_way.join(again(channel, tag))
    assert [kept.is_live for kept in under_way.deliveries] == [False, True]
    assert under_way.deliveries[1].ack() and channel.settled == [("ack", 49)]
