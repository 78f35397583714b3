# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces of a carried answer: whole and in order, bounded by waiting, and given up when one is lost."""

from __future__ import annotations

import threading
from typing import Callable, Optional

import pytest
from fleet_worker._fleet.dialects.carried import AnswerPiece
from fleet_worker._fleet.messages import Reply
from fleet_worker._ollama.api_errors import CallCancelledError
from fleet_worker.domain.publication import Publication
from fleet_worker.inference.carried_pieces import MAX_PIECE, MAX_WAITING, CarriedPieces
from fleet_worker.inference.paced_publisher import UNCONFIRMED

from .stream_wire import ANSWER, StreamWire, headers


class Wire(StreamWire):
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.pieces = CarriedPieces(self.loop, self.publish, self.go, self.write)

    def add(self, data: bytes, check: Callable[[], None] = lambda: None) -> None:
        self.pieces.add(data, 200, "text/event-stream", check)

    @property
    def text(self) -> bytes:
        return b"".join(piece.body for piece in self.sent)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


def test_add_the_first_piece_goes_at_once_and_the_others_together(wire: Wire) -> None:
    wire.add(b"one ")
    wire.loop.turn(0)
    wire.add(b"two ")
    wire.add(b"three")
    wire.loop.turn(0)
    assert wire.text == b"one "
    wire.loop.turn(1)
    assert [piece.body for piece in wire.sent] == [b"one ", b"two three"]
    assert [piece.sequence for piece in wire.sent] == [0, 1]
    assert len({piece.attempt for piece in wire.sent}) == 1


def test_finish_sends_what_is_left_and_counts_the_pieces(wire: Wire) -> None:
    wire.add(b"x" * (MAX_PIECE + 1))
    answer = wire.pieces.finish(ANSWER)
    assert [len(piece.body) for piece in wire.sent] == [MAX_PIECE, 1]
    assert headers(answer)["x-legion-fleet-deltas"] == 2
    assert headers(answer)["x-legion-fleet-attempt"] == wire.sent[0].attempt


def test_finish_without_a_piece_leaves_the_answer_alone(wire: Wire) -> None:
    assert wire.pieces.finish(ANSWER) is ANSWER
    assert wire.pieces.count is None


def test_add_waits_for_a_broker_that_takes_nothing_and_loses_nothing(wire: Wire) -> None:
    ended = threading.Event()

    def add() -> None:
        for _number in range(UNCONFIRMED + 8):
            wire.add(b"x" * MAX_PIECE)
        ended.set()

    thread = threading.Thread(target=add, daemon=True)
    thread.start()
    for _turn in range(100):
        wire.loop.turn(1)
        if len(wire.sent) == UNCONFIRMED and wire.loop.soon == []:
            break
        ended.wait(0.01)
    assert not ended.wait(0.1)
    assert len(wire.sent) == UNCONFIRMED
    while not ended.wait(0.005) or wire.unconfirmed:
        if wire.unconfirmed:
            wire.confirm(Publication.CONFIRMED)
        wire.loop.turn(1)
    thread.join()
    wire.pieces.finish(ANSWER)
    assert wire.text == b"x" * MAX_PIECE * (UNCONFIRMED + 8)


def test_add_that_waits_ends_when_its_call_is_ended(wire: Wire) -> None:
    def ended() -> None:
        raise CallCancelledError("The call was cancelled")

    with pytest.raises(CallCancelledError):
        wire.add(b"x" * (MAX_WAITING + 1), ended)


@pytest.mark.parametrize("publication", [Publication.REFUSED, Publication.UNACCEPTABLE, Publication.LOST])
def test_add_after_a_lost_piece_ends_the_work(wire: Wire, publication: Publication) -> None:
    wire.add(b"one")
    wire.loop.turn(0)
    wire.confirm(publication)
    with pytest.raises(CallCancelledError):
        wire.add(b"two")
    assert wire.gone == 0


def test_returned_piece_says_that_the_requester_is_gone(wire: Wire) -> None:
    wire.add(b"one")
    wire.loop.turn(0)
    wire.confirm(Publication.RETURNED)
    assert wire.gone == 1


def test_write_that_raises_loses_the_answer_and_nothing_else(wire: Wire) -> None:
    def broken(_piece: AnswerPiece) -> Optional[Reply]:
        raise ValueError("a defect")

    wire.pieces = CarriedPieces(wire.loop, wire.publish, wire.go, broken)
    wire.add(b"one")
    wire.loop.turn(0)
    with pytest.raises(CallCancelledError):
        wire.add(b"two")
