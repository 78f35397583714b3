# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An answer that may be the reason why the broker closes connections is sent alone, and then dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fleet_worker._fleet.messages import Message, Properties, Reply
from fleet_worker.amqp.suspects import CONNECTIONS, MEMORY, Suspects


def answer(correlation_id: Any = "c-1", *, queue: str = "reply.a", exchange: str = "", body: bytes = b"{}") -> Reply:
    return Reply(exchange, queue, Message(Properties(correlation_id=correlation_id), {}, body))


def verdict(suspects: Suspects, reply: Reply) -> tuple[bool, bool]:
    return suspects.is_suspect(reply), suspects.is_guilty(reply)


def test_answer_that_was_never_unconfirmed_is_no_suspect() -> None:
    suspects = Suspects()
    assert verdict(suspects, answer()) == (False, False)
    suspects.accuse([answer("c-2")])
    assert verdict(suspects, answer()) == (False, False)


def test_answer_is_suspect_after_one_connection_and_guilty_after_the_last() -> None:
    suspects = Suspects()
    for number in range(1, CONNECTIONS + 2):
        suspects.accuse([answer()])
        assert verdict(suspects, answer()) == (True, number >= CONNECTIONS)


def test_answer_that_stands_twice_in_one_connection_counts_once() -> None:
    """Two deliveries of one request, each with its own answer."""
    suspects = Suspects()
    suspects.accuse([answer(body=b"1"), answer(body=b"2")])
    assert verdict(suspects, answer(body=b"3")) == (True, False)


def test_answer_that_is_confirmed_begins_without_a_count() -> None:
    suspects = Suspects()
    suspects.clear(answer())
    suspects.accuse([answer(), answer("c-2")])
    suspects.clear(answer())
    assert verdict(suspects, answer()) == (False, False)
    assert verdict(suspects, answer("c-2")) == (True, False)
    suspects.accuse([answer()])
    assert verdict(suspects, answer()) == (True, False)


@pytest.mark.parametrize("other", [answer("c-2"), answer(queue="reply.b"), answer(exchange="llm"), answer(None)])
def test_answer_to_another_request_shares_no_count(other: Reply) -> None:
    suspects = Suspects()
    for _connection in range(CONNECTIONS):
        suspects.accuse([answer()])
    assert verdict(suspects, other) == (False, False)
    suspects.clear(other)
    assert verdict(suspects, answer()) == (True, True)


def test_memory_forgets_the_suspect_that_was_accused_the_longest_time_ago() -> None:
    suspects = Suspects()
    for number in range(MEMORY):
        suspects.accuse([answer(number)])
    suspects.accuse([answer(0)])
    suspects.accuse([answer("new")])
    assert verdict(suspects, answer(0)) == (True, True), "a second connection refreshes a suspect"
    assert verdict(suspects, answer(1)) == (False, False)
    assert verdict(suspects, answer(2)) == verdict(suspects, answer("new")) == (True, False)


def test_suspect_of_a_later_delivery_with_other_headers_is_the_same() -> None:
    suspects = Suspects()
    suspects.accuse([answer()])
    again = answer()
    assert suspects.is_suspect(replace(again, message=replace(again.message, headers={"x-attempt": "2"})))
