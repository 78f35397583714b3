# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deltas between Ollama and broker: together when they come fast, bounded when nothing is taken, given up in order."""

from __future__ import annotations

from typing import Any

import pytest
from fleet_worker._ollama.streams import Event
from fleet_worker.domain.publication import Publication
from fleet_worker.inference import deltas
from fleet_worker.inference.deltas import MAX_WAITING, DeltaPublisher
from fleet_worker.inference.paced_publisher import UNCONFIRMED

from ..manual_loop import ManualLoop
from .stream_wire import ANSWER, StreamWire, headers


class Wire(StreamWire):
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.deltas = DeltaPublisher(self.loop, self.publish, self.go)
        self.deltas.use(self.write)
        self.deltas.start_over()

    def say(self, *words: str) -> None:
        for word in words:
            self.deltas.add(Event("delta", {}, text=word))

    @property
    def texts(self) -> list[str]:
        return [delta.content for delta in self.sent]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


def test_finish_counts_the_deltas_that_it_sends(wire: Wire) -> None:
    wire.say("a")
    wire.deltas.finish(ANSWER)
    assert wire.deltas.count == 1


def test_deltas_first_goes_at_once_and_the_next_go_together(wire: Wire) -> None:
    wire.say("a")
    wire.loop.turn()
    wire.say("b", "c")
    wire.loop.turn()
    assert wire.texts == ["a"]
    wire.loop.turn(deltas.INTERVAL)
    assert wire.texts == ["a", "bc"]
    assert [delta.sequence for delta in wire.sent] == [0, 1]


def test_deltas_that_come_while_one_is_sent_wait_for_the_interval(wire: Wire) -> None:
    publish = wire.publish

    def publish_slowly(reply: Any, done: Any) -> None:
        publish(reply, done)
        if len(wire.sent) < 4:
            wire.say("x")  # as the handler's thread may, at any moment

    wire.deltas = DeltaPublisher(wire.loop, publish_slowly, wire.go)
    wire.deltas.use(wire.write)
    wire.deltas.start_over()
    wire.say("a")
    wire.loop.turn()
    assert wire.texts == ["a"]
    wire.loop.turn(deltas.INTERVAL)
    assert wire.texts == ["a", "x"]


def test_deltas_unconfirmed_are_bounded(wire: Wire) -> None:
    for _number in range(3 * UNCONFIRMED):
        wire.say("x")
        wire.loop.turn(1)
    assert len(wire.sent) == len(wire.unconfirmed) == UNCONFIRMED
    wire.confirm()
    assert len(wire.sent) == UNCONFIRMED + 1
    assert wire.texts[-1] == "x" * (2 * UNCONFIRMED)


def test_deltas_with_a_broker_that_takes_nothing_cost_bounded_memory(wire: Wire) -> None:
    for _number in range(UNCONFIRMED):
        wire.say("x")
        wire.loop.turn(1)
    for _number in range(300):
        wire.say("y" * 1000)
        wire.loop.turn(1)
        assert wire.deltas._size <= MAX_WAITING
    while wire.unconfirmed:
        wire.confirm()
        wire.loop.turn(1)
    # What was sent is the beginning of the answer, without holes, and the answer says that there was more.
    assert wire.texts == ["x"] * UNCONFIRMED
    assert headers(wire.deltas.finish(ANSWER))["x-legion-fleet-deltas"] == UNCONFIRMED + 1
    assert len(wire.sent) == UNCONFIRMED


def test_finish_sends_the_waiting_pieces_before_the_answer(wire: Wire) -> None:
    wire.say("a")
    wire.loop.turn()
    wire.say("b")
    answer = wire.deltas.finish(ANSWER)
    assert wire.texts == ["a", "b"]
    assert headers(answer) == {
        "x-legion-hostname": "gpu-01",
        "x-legion-fleet-attempt": wire.sent[0].attempt,
        "x-legion-fleet-deltas": 2,
    }
    wire.loop.turn(1)
    wire.confirm()
    assert len(wire.sent) == 2


def test_delta_that_is_too_large_is_missed_and_the_next_goes(wire: Wire) -> None:
    wire.deltas.use(lambda delta: None if delta.content == "large" else wire.write(delta))
    for word in ("a", "large", "b"):
        wire.say(word)
        wire.loop.turn(1)
    assert [(delta.content, delta.sequence) for delta in wire.sent] == [("a", 0), ("b", 2)]
    assert headers(wire.deltas.finish(ANSWER))["x-legion-fleet-deltas"] == 3


def test_delta_that_is_returned_reports_the_requester_gone(wire: Wire) -> None:
    wire.say("a")
    wire.loop.turn()
    wire.confirm(Publication.RETURNED)
    assert wire.gone == 1


@pytest.mark.parametrize("publication", [Publication.REFUSED, Publication.LOST])
def test_delta_that_is_lost_is_left_out(wire: Wire, publication: Publication) -> None:
    wire.say("a")
    wire.loop.turn()
    wire.confirm(publication)
    wire.say("b")
    wire.loop.turn(1)
    assert (wire.texts, wire.gone) == (["a", "b"], 0)


def test_delta_that_no_broker_takes_ends_the_deltas_and_not_the_answer(wire: Wire) -> None:
    """Each further one would cost the channel of everybody again."""
    wire.say("a")
    wire.loop.turn()
    wire.say("b")
    wire.confirm(Publication.UNACCEPTABLE)
    wire.say("c")
    wire.loop.turn(1)
    assert wire.texts == ["a"]
    assert headers(wire.deltas.finish(ANSWER))["x-legion-fleet-deltas"] == 1


@pytest.mark.parametrize("text", [["a", "list"], None, 7])
def test_delta_that_cannot_be_written_ends_the_deltas_and_not_the_answer(wire: Wire, text: Any) -> None:
    wire.deltas._waiting = [Event("delta", {}, text=text)]
    wire.deltas._pace._look()
    wire.say("b")
    wire.loop.turn(1)
    assert wire.sent == []
    assert headers(wire.deltas.finish(ANSWER))["x-legion-fleet-deltas"] == 1, "the requester sees that one is missing"


def test_start_over_begins_another_attempt(wire: Wire) -> None:
    wire.say("a")
    wire.loop.turn()
    wire.say("never sent")
    wire.deltas.start_over()
    wire.say("b")
    wire.loop.turn(1)
    assert wire.texts == ["a", "b"]
    assert [delta.sequence for delta in wire.sent] == [0, 0]
    assert wire.sent[0].attempt != wire.sent[1].attempt
    assert headers(wire.deltas.finish(ANSWER))["x-legion-fleet-attempt"] == wire.sent[1].attempt


def test_finish_without_a_stream_leaves_the_answer_as_it_is() -> None:
    deltas = DeltaPublisher(ManualLoop(), lambda _reply, _done: None, lambda: None)
    assert deltas.wanted is False and deltas.count is None
    assert deltas.finish(ANSWER) is ANSWER
    assert deltas.finish(None) is None
