# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identity, the deadline and the settlement of a delivery."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fleet_worker.domain.delivery import delivery_count
from fleet_worker.domain.verdicts import Verdict

from ..deliveries import Channel, delivery, lane_settings

NOW = 1_800_000_000.0


def left(**properties: Any) -> float:
    headers = properties.pop("headers", None)
    return delivery(received=NOW, headers=headers, lane=lane_settings(deadline=1000.0), **properties).seconds_left()


@pytest.mark.parametrize(
    "properties, seconds",
    [
        ({}, 1000),
        ({"expiration": "30000"}, 30),
        ({"expiration": "30000", "timestamp": int(NOW) - 10}, 20),
        # A queue that the broker let it wait in to the end.
        ({"expiration": "30000", "timestamp": int(NOW) - 30}, 0),
        # Clocks that differ: slightly, and so much that the timestamp means nothing.
        ({"expiration": "30000", "timestamp": int(NOW) + 3}, 30),
        ({"expiration": "30000", "timestamp": int(NOW) - 3600}, 30),
        ({"expiration": "30000", "timestamp": int(NOW) + 3600}, 30),
        ({"expiration": "5000000"}, 1000),
        ({"expiration": "soon"}, 1000),
        ({"expiration": "-5"}, 1000),
        ({"expiration": "9" * 30}, 1000),
        ({"headers": {"x-legion-fleet-deadline": int((NOW + 7) * 1000)}, "expiration": "30000"}, 7),
        ({"headers": {"x-legion-fleet-deadline": int((NOW - 7) * 1000)}}, -7),
        ({"headers": {"x-legion-fleet-deadline": "soon"}}, 1000),
        ({"headers": {"x-legion-fleet-deadline": True}}, 1000),
        ({"headers": {"x-legion-fleet-deadline": float("nan")}}, 1000),
        ({"headers": {"x-legion-fleet-deadline": float("inf")}}, 1000),
        ({"headers": {"x-legion-fleet-deadline": float("-inf")}}, 1000),
        ({"headers": {"x-legion-fleet-deadline": 10**400}}, 1000),
        ({"headers": {"x-legion-fleet-deadline": 1e308}}, 1000),
        # Digits to Python, and none to anybody else.
        ({"expiration": "\u00b2"}, 1000),
        ({"expiration": "\u0663\u0660"}, 1000),
        ({"expiration": "30000", "timestamp": 10**400}, 30),
        ({"expiration": "30000", "timestamp": True}, 30),
        ({"expiration": "30000", "timestamp": 2**64 - 1}, 30),
    ],
)
def test_how_long_a_request_is_of_use(properties: dict[str, Any], seconds: float) -> None:
    assert left(**properties) == pytest.approx(seconds, abs=0.5)


def test_identity_of_a_request_that_a_lane_has_given_on_stays_the_same() -> None:
    own = delivery(b"x", lane=lane_settings(style="node", node="gpu-01"), message_id="m-1", expiration="1000")
    given_on = delivery(b"x", message_id="m-1", headers={"x-first-death-reason": "expired", "x-death": []})
    assert own.identity is not None
    assert own.identity == given_on.identity


def test_time_passes() -> None:
    one = delivery(expiration="1000")
    before = one.seconds_left()
    time.sleep(0.02)
    assert one.seconds_left() <= before - 0.015


@pytest.mark.parametrize(
    "headers, redelivered, count",
    [
        (None, False, 0),
        ({"x-delivery-count": 20}, False, 0),
        (None, True, 1),
        ({"x-delivery-count": 0}, True, 1),
        ({"x-delivery-count": 3}, True, 3),
        ({"x-delivery-count": "x"}, True, 1),
        ({"x-delivery-count": -1}, True, 1),
        ({"x-delivery-count": True}, True, 1),
    ],
)
def test_how_often_a_request_was_given_out(headers: Any, redelivered: bool, count: int) -> None:
    assert delivery_count(headers, redelivered) == count


def test_a_redelivery_is_the_same_request() -> None:
    first = delivery({"a": 1}, message_id="m-1")
    again = delivery({"a": 1}, message_id="m-1", count=2, tag=9)
    assert first.identity is not None
    assert first.identity == again.identity


@pytest.mark.parametrize(
    "other",
    [
        {"message_id": "m-2"},
        {"message_id": None},
        {"correlation_id": "c-2"},
        {"reply_to": "llm.fleet.reply.b"},
        {"body": {"a": 2}},
        {"lane": lane_settings("generate")},
    ],
)
def test_identity_depends_on_each_field_that_changes_the_answer(other: dict[str, Any]) -> None:
    common: dict[str, Any] = {"body": {"a": 1}, "message_id": "m-1"}
    assert delivery(**common).identity != delivery(**{**common, **other}).identity


def test_identity_without_any_id_is_none() -> None:
    assert delivery(correlation_id=None, message_id=None).identity is None


@pytest.mark.parametrize(
    "timestamp, waited",
    [(None, None), (0, 10), (10, 0), (13, 0), (-8 * 24 * 3600, None), (4102444800, None), (2**63 - 1, None)],
)
def test_waited_is_known_for_plausible_timestamps_only(timestamp: Any, waited: Any) -> None:
    stamped = timestamp if timestamp is None or timestamp > 10**9 else int(NOW) - 10 + timestamp
    assert delivery(received=NOW, timestamp=stamped).waited == waited


@pytest.mark.parametrize(
    "deaths, can",
    [
        (None, True),
        ([], True),
        ([{"queue": "q", "reason": "rejected", "count": 2}], True),
        ([1], False),
        ([{"queue": "q"}, 1], False),
        ([{"count": "x"}], False),
        ([{"count": True}], False),
        ("x", False),
        ({"a": 1}, False),
    ],
)
def test_reject_with_deaths_that_no_broker_wrote_acknowledges(deaths: Any, can: bool) -> None:
    channel = Channel()
    assert delivery(headers={"x-death": deaths}, channel=channel).reject()
    assert channel.settled == [("reject", 1, False) if can else ("ack", 1)]


def test_requeue_with_such_deaths_and_no_delivery_left_acknowledges() -> None:
    limit = lane_settings().lane.delivery_limit
    for count, settled in ((limit - 1, ("nack", 1, True)), (limit, ("ack", 1))):
        channel = Channel()
        assert delivery(headers={"x-death": [1]}, count=count, channel=channel).requeue()
        assert channel.settled == [settled]


@pytest.mark.parametrize(
    "verdict, settled",
    [(Verdict.ACK, ("ack", 1)), (Verdict.REJECT, ("reject", 1, False)), (Verdict.REQUEUE, ("nack", 1, True))],
)
def test_settle_by_verdict_says_it_once_for_all_copies(verdict: Verdict, settled: Any) -> None:
    channel = Channel()
    one = delivery(channel=channel)
    copy = one.without_body()
    assert copy.settle(verdict) and not one.is_live
    assert not any(each.settle(again) for each in (one, copy) for again in Verdict)
    assert channel.settled == [settled]


def test_settle_after_the_channel_is_gone_says_nothing() -> None:
    channel = Channel()
    one = delivery(channel=channel)
    channel.is_open = False
    assert not one.is_live and not any(one.settle(verdict) for verdict in Verdict)
    assert channel.settled == []
