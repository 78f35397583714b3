# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An answer that arrives in pieces: complete and in order, restarted before the client sees it, or given up."""

from __future__ import annotations

import asyncio
from typing import Any, Optional, Union

import pytest
from fleet_gateway._fleet.dialects.carried import AnswerPiece, Ending
from fleet_gateway._fleet.messages import Failure
from fleet_gateway.domain.errors import GatewayError
from fleet_gateway.transit.pending import PendingAnswer, UnreadBytes


def piece(number: int, body: bytes = b"x", attempt: str = "a") -> AnswerPiece:
    return AnswerPiece(attempt, number, body, 200 if number == 0 else 0, "text/event-stream")


def end(pieces: Optional[int] = None, attempt: Optional[str] = None, **others: Any) -> Ending:
    return Ending("gpu-01", pieces=pieces, attempt=attempt, **others)


WHOLE = end(body=b"all", status=200)


def taken(arriving: list[Union[AnswerPiece, Ending, int]], unread: UnreadBytes) -> Union[list[bytes], str]:
    """Return what is handed on when these arrive; a number says how many are taken at that moment."""

    async def test() -> Union[list[bytes], str]:
        answer = PendingAnswer(unread)
        got: list[bytes] = []
        try:
            for part in arriving:
                if isinstance(part, int):
                    got += [(await asyncio.wait_for(answer.next(), 1)).body for _one in range(part)]
                else:
                    answer.arrive(part)
            while True:
                part = await asyncio.wait_for(answer.next(), 0.05)
                got.append(part.body)
                if isinstance(part, Ending):
                    return got
        except GatewayError as error:
            return error.code

    return asyncio.run(test())


@pytest.mark.parametrize(
    "arriving, result",
    [
        ([WHOLE], [b"all"]),
        ([piece(0, b"1"), piece(1, b"2"), end(2, "a")], [b"1", b"2", b""]),
        ([piece(0, b"1"), 1, piece(1, b"2"), end(2, "a")], [b"1", b"2", b""]),
        # Another attempt, before and after something was seen of the first.
        ([piece(0, b"1"), piece(0, b"2", "b"), end(1, "b")], [b"2", b""]),
        ([piece(0, b"1"), 1, piece(0, b"2", "b"), end(1, "b")], "answer_lost"),
        ([piece(0, b"1"), WHOLE], [b"all"]),
        ([piece(0, b"1"), 1, WHOLE], "answer_lost"),
        # A piece that was published again because its confirm was late.
        ([piece(0, b"1"), 1, piece(1, b"2"), piece(0, b"1"), piece(1, b"2"), end(2, "a")], [b"1", b"2", b""]),
        # Pieces that are lost.
        ([piece(1), end(2, "a")], "answer_lost"),
        ([piece(0), piece(2)], "answer_lost"),
        ([piece(0), end(2, "a")], "answer_lost"),
        ([end(2, "a")], "answer_lost"),
        ([piece(0, b"1"), end(0, "a", failure=Failure("inference_failed", "x"))], [b"1", b""]),
        # More than all answers together may have waiting.
        ([piece(0, b"x" * 600), piece(1, b"x" * 600)], "slow_client"),
        ([piece(0, b"x" * 600), 1, piece(1, b"x" * 600), end(2, "a")], [b"x" * 600, b"x" * 600, b""]),
    ],
)
def test_next_hands_on_what_is_whole(arriving: Any, result: Any) -> None:
    unread = UnreadBytes(1000, 1000)
    assert taken(arriving, unread) == result
    assert unread.held == 0


def test_large_answer_waits_for_a_client_that_reads() -> None:
    unread = UnreadBytes(1000, 10_000, patience=60)
    pieces = [piece(number, b"x" * 600) for number in range(10)]
    assert taken([*pieces, end(10, "a")], unread) == [b"x" * 600] * 10 + [b""]
    assert unread.held == 0


def test_large_answer_does_not_wait_for_a_client_that_takes_nothing() -> None:
    assert taken([piece(0, b"x" * 600), piece(1, b"x" * 600)], UnreadBytes(1000, 10_000, patience=0)) == "slow_client"


def test_answers_share_the_room_beyond_their_own() -> None:
    unread = UnreadBytes(1000, 3000)
    first, second, third = PendingAnswer(unread), PendingAnswer(unread), PendingAnswer(unread)
    for answer, size in ((first, 2500), (second, 400), (third, 1200), (second, 500)):
        answer.arrive(piece(0 if answer is not second or size == 400 else 1, b"x" * size))
    with pytest.raises(GatewayError, match="slowly"):
        asyncio.run(third.next())
    assert unread.held == 3400
    first.discard()
    second.discard()
    assert unread.held == 0
