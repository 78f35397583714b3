# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that cost the channel or the connection are found and given up, and cost nobody else an answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Callable

import pytest
from fleet_worker._fleet.broker import BrokerSettings
from fleet_worker._fleet.dialects.headers import REDELIVERED
from fleet_worker._fleet.errors import BrokerError
from fleet_worker._fleet.messages import Message, Properties, Reply
from fleet_worker.amqp import publisher
from fleet_worker.amqp.publisher import CONFIRM_PATIENCE, PAUSES, ConfirmingPublisher
from fleet_worker.domain.publication import Publication
from pika.exceptions import ChannelClosedByBroker, ChannelWrongStateError

from ..manual_loop import ManualLoop

ENDED = BrokerError("501 FRAME_ERROR", amqp_code=501)
DIRECT = "amq.rabbitmq.reply-to.g1h2AA1yZXBseUA5MjQ4ODg0AAADIgAAAABrCqep.UOVzIlU0e0LHRLKcQA3huw=="


class Channel:
    def __init__(self) -> None:
        self.is_open = True
        self.sent: list[str] = []
        self.headers: list[dict[str, Any]] = []
        self.raises: dict[str, Exception] = {}

    def add_on_close_callback(self, callback: Callable[..., None]) -> None:
        self.closed = callback

    def add_on_return_callback(self, callback: Callable[..., None]) -> None:
        self.returned = callback

    def confirm_delivery(self, confirmed: Callable[..., None], callback: Callable[..., None]) -> None:
        self.confirmed = confirmed
        callback(None)

    def close(self) -> None:
        self.is_open = False

    def basic_publish(self, _exchange: str, key: str, _body: bytes, properties: Any, mandatory: bool) -> None:
        if not self.is_open:
            raise ChannelWrongStateError("closed")
        if key in self.raises:
            raise self.raises[key]
        self.sent.append(key)
        self.headers.append(properties.headers)


class Connection:
    """A connection, and what keeps it, whose channels open at once."""

    parameters = None

    def __init__(self) -> None:
        self.is_open = self.is_connected = True
        self.channels: list[Channel] = []

    def channel(self, on_open_callback: Callable[[Any], None]) -> Channel:
        self.channels.append(Channel())
        self.opened = on_open_callback
        return self.channels[-1]


class Wire:
    """A publisher before a broker that does what a test says."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.connection = Connection()
        self.publisher = ConfirmingPublisher(
            self.loop,
            self.connection,  # type: ignore[arg-type]
            BrokerSettings(addresses=()),
            forbidden=lambda _reason: self.told.append(("", "forbidden")),
        )
        self.told: list[tuple[str, str]] = []
        self.connect()

    def connect(self) -> None:
        self.connection.is_open = self.connection.is_connected = True
        self.publisher.open(lambda: None)
        self.open()

    def open(self) -> None:
        self.connection.opened(self.channel)

    @property
    def channel(self) -> Channel:
        return self.connection.channels[-1]

    def publish(self, *keys: str, tries: int = 3) -> None:
        for key in keys:
            reply = Reply("", key, Message(Properties(correlation_id="c", message_id=key), {}, b"{}"))
            self.publisher.publish(
                reply, lambda publication, key=key: self.told.append((key, publication.value)), tries
            )

    def know_node(self) -> None:
        """Have the node of the direct reply queue accept an answer over another connection."""
        self.publisher._probe._ended(Reply("", DIRECT, Message(Properties(), {}, b"")), lambda *_told: None, True, True)

    def confirm(self, tag: int, method: str = "Ack", multiple: bool = False) -> None:
        kind = type(method, (), {"delivery_tag": tag, "multiple": multiple})
        self.channel.confirmed(type("Frame", (), {"method": kind()})())

    def close_channel(self, code: int = 406) -> None:
        channel = self.channel
        channel.is_open = False
        channel.closed(channel, ChannelClosedByBroker(code, "PRECONDITION_FAILED"))

    def end_connection(self, reason: Any = ENDED, *, explained: bool = False) -> None:
        self.channel.is_open = self.connection.is_open = self.connection.is_connected = False
        self.publisher.connection_lost(reason, explained=explained)


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_publish_of_what_pika_refuses_costs_that_answer_alone(wire: Wire) -> None:
    wire.channel.raises["odd"] = UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
    wire.publish("a", "odd", "b")
    assert wire.told == [("odd", "unacceptable")]
    assert wire.channel.sent == ["a", "b"]
    wire.confirm(2)
    assert wire.told[-1] == ("b", "confirmed"), "the tags are those of the broker, which never saw the odd one"


def test_confirm_whose_callback_raises_settles_the_others(wire: Wire) -> None:
    def raises(_publication: Publication) -> None:
        raise RuntimeError("a defect")

    wire.publisher.publish(Reply("", "odd", Message(Properties(message_id="odd"), {}, b"")), raises)
    wire.publish("a")
    wire.confirm(2, multiple=True)
    wire.publish("b")
    wire.confirm(3)
    assert wire.told == [("a", "confirmed"), ("b", "confirmed")]


def test_channel_that_is_closed_is_not_published_on_by_a_callback(wire: Wire) -> None:
    """A delta that is too large: its callback sends the next one at once."""
    publication: list[Publication] = []

    def again(what: Publication) -> None:
        publication.append(what)
        wire.publish("next")

    wire.publisher.publish(Reply("", "large", Message(Properties(message_id="large"), {}, b"")), again)
    wire.close_channel()
    assert publication == [Publication.UNACCEPTABLE]
    assert wire.channel.sent == [] and wire.told == []
    wire.open()
    wire.confirm(1)
    assert wire.told == [("next", "confirmed")]


def test_channel_that_is_closed_is_not_opened_on_a_connection_that_ends(wire: Wire) -> None:
    wire.publish("a", "b")
    wire.connection.is_open = False
    wire.close_channel()
    assert len(wire.connection.channels) == 1
    wire.end_connection(None)
    assert wire.told == [("a", "lost"), ("b", "lost")]


def test_answer_that_costs_two_connections_is_given_up(wire: Wire) -> None:
    wire.publish("a", "evil", "b")
    wire.end_connection()
    wire.connect()
    wire.publish("a", "evil", "b", "c")
    assert wire.channel.sent == ["a"], "each suspect goes alone"
    wire.confirm(1)
    assert wire.channel.sent == ["a", "evil"]
    wire.end_connection()
    wire.connect()
    wire.told.clear()
    wire.publish("a", "evil", "b", "c")
    assert wire.told == [("evil", "unacceptable")]
    for tag in (1, 2, 3):
        wire.confirm(tag)
    assert wire.told[1:] == [("a", "confirmed"), ("b", "confirmed"), ("c", "confirmed")]


def test_connections_that_end_for_a_lane_make_no_suspects(wire: Wire) -> None:
    for _number in range(5):
        wire.publish("a", "b")
        assert wire.channel.sent == ["a", "b"], "nothing goes alone, and nothing is given up"
        wire.end_connection(explained=True)
        wire.connect()


def test_answer_that_costs_two_connections_does_not_convict_the_other_requests_of_its_node(wire: Wire) -> None:
    wire.know_node()
    for _number in range(2):
        wire.publish(DIRECT)
        wire.end_connection()
        wire.connect()
        wire.know_node()
    wire.told.clear()
    other = Reply("", DIRECT, Message(Properties(correlation_id="other", message_id="other"), {}, b"{}"))
    wire.publisher.publish(other, lambda publication: wire.told.append(("other", publication.value)))
    wire.confirm(1)
    assert wire.told == [("other", "confirmed")]


def test_connections_that_break_by_themselves_make_no_suspects(wire: Wire) -> None:
    for _number in range(5):
        wire.publish("a", "b")
        assert wire.channel.sent == ["a", "b"]
        wire.end_connection(BrokerError("unreachable"))
        wire.connect()


@pytest.mark.parametrize("taken, told, sent", [(True, ["confirmed"], 0), (False, ["unacceptable"], 0), (None, [], 1)])
def test_answer_to_a_direct_reply_queue_of_an_unknown_node_goes_over_another_connection(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, taken: Any, told: list[str], sent: int
) -> None:
    probed: list[Callable[[Any, bool], None]] = []
    monkeypatch.setattr(wire.publisher._probe, "publish", lambda _parameters, _reply, done: probed.append(done))
    wire.publish(DIRECT)
    assert wire.channel.sent == [] and wire.publisher.pending == 1
    probed[0](taken, True)
    assert [what for _key, what in wire.told] == told
    assert len(wire.channel.sent) == sent == wire.publisher.pending


@pytest.mark.parametrize("published, mark", [(True, 1), (False, None)])
def test_answer_that_a_probe_may_have_published_is_marked_when_it_is_published_again(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, published: bool, mark: Any
) -> None:
    probed: list[Callable[[Any, bool], None]] = []
    monkeypatch.setattr(wire.publisher._probe, "publish", lambda _parameters, _reply, done: probed.append(done))
    wire.publish(DIRECT)
    probed[0](None, published)
    assert wire.channel.sent == [DIRECT] and (wire.channel.headers[0] or {}).get(REDELIVERED) == mark


def test_stop_of_a_known_node_ends_one_connection(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    probed: list[Callable[[Any], None]] = []
    monkeypatch.setattr(wire.publisher._probe, "publish", lambda _parameters, _reply, done: probed.append(done))
    wire.know_node()
    wire.publish(DIRECT)
    assert wire.channel.sent == [DIRECT]
    wire.end_connection()
    wire.connect()
    wire.publish(DIRECT)
    assert wire.channel.sent == [] and len(probed) == 1


def test_answer_that_is_probed_is_lost_with_the_connection(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire.publisher._probe, "publish", lambda *_probe: None)
    wire.publish(DIRECT)
    wire.end_connection(None)
    assert wire.told == [(DIRECT, "lost")] and wire.publisher.pending == 0


def test_answer_that_is_refused_is_tried_again_after_a_pause(wire: Wire) -> None:
    wire.publish("full", tries=2)
    wire.confirm(1, "Nack")
    assert wire.channel.sent == ["full"] and wire.publisher.pending == 1
    wire.loop.turn(PAUSES.cap)
    assert wire.channel.sent == ["full", "full"]
    wire.confirm(2, "Nack")
    assert wire.told == [("full", "refused")] and wire.publisher.pending == 0


def test_answer_that_is_refused_again_and_again_is_tried_after_growing_pauses(wire: Wire) -> None:
    pauses: list[float] = []
    call_later = wire.loop.call_later
    wire.loop.call_later = lambda seconds, callback: pauses.append(seconds) or call_later(seconds, callback)  # type: ignore[func-returns-value, method-assign]
    wire.publish("full")
    for number in range(1, 5):
        wire.confirm(number, "Nack")
        wire.loop.turn(PAUSES.cap)
    assert wire.told == [("full", "refused")]
    pauses = [seconds for seconds in pauses if seconds < CONFIRM_PATIENCE]  # the other alarm is for the confirms
    assert pauses == sorted(pauses) and pauses[0] >= 0.25 and pauses[-1] >= 0.5


def test_answer_that_rests_is_lost_with_the_connection(wire: Wire) -> None:
    wire.publish("full")
    wire.confirm(1, "Nack")
    wire.end_connection(None)
    wire.connect()
    wire.loop.turn(PAUSES.cap)
    assert wire.told == [("full", "lost")] and wire.channel.sent == []


def test_answers_confirmed_together_are_pending_until_each_callback(wire: Wire) -> None:
    """A worker that leaves closes the connection when nothing is pending, and must have settled every request."""
    pending: list[int] = []
    for key in ("a", "b"):
        reply = Reply("", key, Message(Properties(message_id=key), {}, b"{}"))
        wire.publisher.publish(reply, lambda _publication: pending.append(wire.publisher.pending))
    wire.confirm(2, multiple=True)
    assert pending == [1, 0]


def test_returned_answer_differs_from_a_confirmed_one(wire: Wire) -> None:
    wire.publish("gone", "there")
    wire.channel.returned(None, None, Properties(message_id="gone"), b"")
    wire.confirm(2, multiple=True)
    assert wire.told == [("gone", "returned"), ("there", "confirmed")]


def test_channel_that_is_forbidden_ends_what_is_of_no_use(wire: Wire) -> None:
    wire.publish("a")
    wire.close_channel(403)
    assert wire.told == [("", "forbidden")]
    wire.publish("b")
    assert wire.channel.sent == ["a"]


@pytest.fixture
def timed(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """A publisher whose time is that of its loop."""
    monkeypatch.setattr(publisher, "time", SimpleNamespace(monotonic=lambda: wire.loop.now))
    return wire


def test_confirm_that_does_not_come_has_its_answers_published_again_over_another_channel(timed: Wire) -> None:
    timed.publish("a", "b", "c")
    timed.confirm(2)
    old = timed.channel
    timed.loop.turn(CONFIRM_PATIENCE)
    assert not old.is_open
    timed.open()
    assert timed.channel.sent == ["a", "c"]
    assert all(headers[REDELIVERED] for headers in timed.channel.headers), "they may have been there before"
    old.confirmed(type("Frame", (), {"method": type("Ack", (), {"delivery_tag": 3, "multiple": True})()})())
    assert timed.told == [("b", "confirmed")], "a late confirm of the old channel says nothing about the new one"
    timed.confirm(2, multiple=True)
    assert timed.told[1:] == [("a", "confirmed"), ("c", "confirmed")] and not timed.publisher.pending


def test_channel_that_the_broker_closes_while_another_replaces_it_is_not_taken_for_that_one(timed: Wire) -> None:
    """pika reports the broker's close, although the worker has closed the channel, too."""
    timed.publish("a")
    old = timed.channel
    timed.loop.turn(CONFIRM_PATIENCE)
    old.closed(old, ChannelClosedByBroker(406, "PRECONDITION_FAILED"))
    assert len(timed.connection.channels) == 2, "no third channel, which would count its confirms from 1 again"
    timed.open()
    timed.publish("b")
    timed.confirm(1)
    assert timed.told == [("a", "confirmed")]
    old.closed(old, ChannelClosedByBroker(406, "PRECONDITION_FAILED"))
    timed.confirm(2)
    assert timed.told[1:] == [("b", "confirmed")] and timed.publisher.pending == 0


def test_confirm_that_comes_late_but_in_time_costs_no_channel(timed: Wire) -> None:
    timed.publish("a")
    timed.loop.turn(CONFIRM_PATIENCE - 1)
    timed.publish("b")
    timed.confirm(1)
    timed.loop.turn(2)
    assert timed.channel.is_open and len(timed.connection.channels) == 1
    timed.loop.turn(CONFIRM_PATIENCE)
    assert len(timed.connection.channels) == 2, "b has waited long enough now"


def test_confirm_during_an_alarm_is_waited_for_until_the_alarm_is_over(timed: Wire) -> None:
    timed.publish("a")
    timed.publisher.block(True)
    timed.loop.turn(10 * CONFIRM_PATIENCE)
    timed.publisher.block(False)
    timed.loop.turn(CONFIRM_PATIENCE - 1)
    assert len(timed.connection.channels) == 1
    timed.loop.turn(CONFIRM_PATIENCE)
    assert len(timed.connection.channels) == 2


def test_answers_beside_one_that_closes_the_channel_are_marked_when_they_are_published_again(wire: Wire) -> None:
    wire.publish("a", "large")
    wire.close_channel()
    wire.open()
    again = [answer.reply for answer in wire.publisher._unconfirmed.values()]
    assert again and all("x-legion-fleet-redelivered" in reply.message.headers for reply in again)
