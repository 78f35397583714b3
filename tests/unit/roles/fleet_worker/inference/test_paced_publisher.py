# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The times of the messages of one answer: the first at once, then the interval, and few unconfirmed ones."""

from __future__ import annotations

from typing import Optional

import pytest
from fleet_worker._fleet.messages import Reply
from fleet_worker.domain.publication import Publication
from fleet_worker.inference.paced_publisher import UNCONFIRMED, PacedPublisher, with_count

from .stream_wire import ANSWER, StreamWire, headers

INTERVAL = 0.25


class Source(StreamWire):
    """A source with a number of waiting messages, and its publisher.

    :ivar fills: whether the waiting data fills a message.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.waiting = 0
        self.fills = False
        self.lost: list[Publication] = []
        self.publisher = PacedPublisher(self.loop, self.publish, self.go, self, INTERVAL)

    def waits(self) -> bool:
        return self.waiting > 0

    def fills_a_message(self) -> bool:
        return self.fills and self.waits()

    def take(self) -> Optional[Reply]:
        if not self.waiting:
            return None
        self.waiting -= 1
        return self.write("message")

    def missed(self, publication: Publication) -> None:
        self.lost.append(publication)

    def add(self, number: int = 1) -> None:
        self.waiting += number
        self.publisher.ask_for_look()


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    return Source(monkeypatch)


def test_message_first_goes_at_once_and_the_next_after_the_interval(source: Source) -> None:
    source.add()
    source.loop.turn()
    assert len(source.sent) == 1
    source.add()
    source.loop.turn()
    source.loop.turn(INTERVAL * 0.9)
    assert len(source.sent) == 1
    source.loop.turn(INTERVAL * 0.1)
    assert len(source.sent) == 2


def test_look_is_asked_for_once_until_it_has_happened(source: Source) -> None:
    for _piece in range(3):
        source.add()
    assert len(source.loop.soon) == 1
    source.loop.turn()
    assert len(source.sent) == 1 and source.waiting == 2
    source.loop.turn()
    source.loop.turn(INTERVAL)
    assert len(source.sent) == 2, "the rest is looked at again by itself"


def test_data_that_fills_messages_goes_without_the_interval_up_to_the_unconfirmed(source: Source) -> None:
    source.fills = True
    source.add(UNCONFIRMED + 3)
    source.loop.turn()
    assert len(source.sent) == UNCONFIRMED
    source.loop.turn(INTERVAL)
    source.confirm()
    assert len(source.sent) == UNCONFIRMED + 1


@pytest.mark.parametrize("publication", [Publication.LOST, Publication.RETURNED])
def test_message_that_is_not_confirmed_is_missed(source: Source, publication: Publication) -> None:
    source.add()
    source.loop.turn()
    source.confirm(publication)
    assert source.lost == [publication]
    assert source.gone == (publication is Publication.RETURNED)


def test_finish_sends_the_rest_without_limits_and_nothing_afterwards(source: Source) -> None:
    source.add(UNCONFIRMED + 3)
    source.publisher.finish()
    assert len(source.sent) == UNCONFIRMED + 3
    source.loop.turn()
    assert source.loop.later == [], "nothing is looked at again"
    source.add()
    source.publisher.finish()
    source.loop.turn(INTERVAL)
    source.confirm()
    source.confirm(Publication.RETURNED)
    assert len(source.sent) == UNCONFIRMED + 3 and source.gone == 0
    assert source.lost == [Publication.RETURNED], "the answer says that a message is missing"


def test_count_is_written_for_an_attempt_with_messages_only() -> None:
    assert with_count(None, "a", 2) is None
    assert with_count(ANSWER, "", 2) is ANSWER
    counted = headers(with_count(ANSWER, "a", 2))
    assert counted == {**headers(ANSWER), "x-legion-fleet-attempt": "a", "x-legion-fleet-deltas": 2}
