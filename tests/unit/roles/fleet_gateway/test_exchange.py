# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exchange: the way of each request to a queue, of its answer back, and its end in every case."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from fleet_gateway._fleet.lanes import lane
from fleet_gateway._fleet.messages import Message
from fleet_gateway._fleet.registry import UNAVAILABLE, Offering
from fleet_gateway.amqp.request_publisher import FULL, LOST, UNACCEPTABLE, UNROUTABLE
from fleet_gateway.domain.errors import GatewayError
from fleet_gateway.domain.fleet_view import ServedLane
from fleet_gateway.settings.keys import ANYBODY
from fleet_gateway.transit.exchange import FIRST_GUESS, NO_NODE, CarriedCall
from fleet_gateway.transit.pending import PendingAnswer

from .known_keys import key
from .memory_front import MODEL, Front, run

PATH = "/api/chat"
LANE = "llm.request.ollama.chat.m.1"


def front(directory: Path, *, slots: int = 1, **settings: Any) -> Front:
    made = Front(directory, **settings)
    made.serve(slots=slots)
    return made


def home(directory: Path, **settings: Any) -> tuple[Front, str]:
    """Return a fleet of two nodes with lanes of their own, and the lane of the node of every conversation."""
    made = Front(directory, **settings)
    for node in ("a", "b"):
        made.serve(node)
        made.serve(node, style="node", node=node)
    place = made.exchange._homes.choose(lambda: b"c", lane_of(made).own)
    assert place is not None and place.lane is not None
    return made, place.lane.queue


def lane_of(made: Front) -> ServedLane:
    found = made.view.lane_of(PATH, MODEL)
    assert found is not None
    return found


def call(seconds: float = 20.0, conversation: Optional[bytes] = None, **others: Any) -> CarriedCall:
    return replace(CarriedCall(PATH, b"{}", MODEL, ANYBODY, time.monotonic() + seconds, lambda: conversation), **others)


def answer(made: Front, **settings: Any) -> AbstractAsyncContextManager[PendingAnswer]:
    return made.exchange.answer(call(**settings), lane_of(made))


async def whole(made: Front, **settings: Any) -> bytes:
    """Send a request, and return the first part of its answer."""
    async with answer(made, **settings) as pending:
        return (await pending.next()).body


async def refusal(made: Front, **settings: Any) -> GatewayError:
    """Return the error of a request."""
    with pytest.raises(GatewayError) as refused:
        await whole(made, **settings)
    return refused.value


def test_answer_has_the_deadline_the_priority_and_the_reply_queue(tmp_path: Path) -> None:
    async def test() -> None:
        made = front(tmp_path)
        async with answer(made, seconds=20, key=key(priority=7)) as pending:
            ((queue, message),) = made.session.sent
            properties = message.properties
            assert (queue, properties.priority, properties.reply_to) == (LANE, 7, made.session.reply_queue)
            assert 19_000 < int(properties.expiration or 0) <= 20_000
            assert (made.exchange.in_flight, made.exchange.running()) == (1, {LANE: 1})
            made.answer(message, b"done")
            assert (await pending.next()).body == b"done"
        assert (made.exchange.in_flight, made.exchange.running()) == (0, {})
        assert made.session.cancelled == []

    run(test())


def test_answers_go_to_their_own_requests(tmp_path: Path) -> None:
    async def test() -> None:
        made = front(tmp_path, slots=2)
        async with answer(made) as first, answer(made) as second:
            (_queue, one), (_queue, two) = made.session.sent
            made.answer(two, b"two")
            made.answer(one, b"one")
            assert [(await pending.next()).body for pending in (first, second)] == [b"one", b"two"]

    run(test())


def test_take_reply_to_an_unknown_request_changes_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        made = front(tmp_path)
        async with answer(made) as pending:
            ((_queue, message),) = made.session.sent
            for correlation_id in ("gw_other", None):
                other = replace(message, properties=replace(message.properties, correlation_id=correlation_id))
                made.exchange.take_reply(other)
            made.answer(message, b"done")
            assert (await pending.next()).body == b"done"

    run(test())


def test_take_reply_that_is_not_an_answer_fails_the_request(tmp_path: Path) -> None:
    async def test() -> None:
        made = front(tmp_path)
        asked = asyncio.ensure_future(refusal(made))
        message = await made.published()
        made.exchange.take_reply(Message(message.properties, {}, b"[]"))
        refused = await asked
        assert (refused.status, refused.code) == (502, "answer_unreadable")
        assert made.session.cancelled == [(("gpu-01",), message.properties.correlation_id)]

    run(test())


def test_connection_lost_fails_every_published_request_and_no_waiting_one(tmp_path: Path) -> None:
    async def test() -> None:
        made = front(tmp_path)
        published = [asyncio.ensure_future(refusal(made)) for _request in range(2)]
        waiting = asyncio.ensure_future(whole(made))
        await made.published(2)
        assert made.exchange.waiting == {LANE: 1}
        made.exchange.connection_lost()
        assert [(error.status, error.code) for error in await asyncio.gather(*published)] == [(503, "no_broker")] * 2
        made.answer(await made.published(3), b"done")
        assert await waiting == b"done"

    run(test())


def test_answer_that_is_left_early_is_cancelled_at_every_node_that_may_have_it(tmp_path: Path) -> None:
    async def test() -> None:
        made = front(tmp_path)
        made.serve("gpu-02")
        gone = Offering(lane("chat", MODEL), "gpu-02", 2).event(UNAVAILABLE).message
        made.exchange.take_registry_event(gone)
        with pytest.raises(ZeroDivisionError):
            async with answer(made):
                raise ZeroDivisionError
        ((_queue, message),) = made.session.sent
        assert made.session.cancelled == [(("gpu-01", "gpu-02"), message.properties.correlation_id)]
        assert (made.exchange.in_flight, made.exchange.running()) == (0, {})

    run(test())


def test_answer_that_is_left_early_gives_its_turn_to_the_next_request(tmp_path: Path) -> None:
    async def test() -> None:
        made = front(tmp_path)
        asked = [asyncio.ensure_future(refusal(made)) for _request in range(3)]
        await made.published(2)
        asked[0].cancel()
        await made.published(3)
        made.exchange.connection_lost()
        assert [error.code for error in await asyncio.gather(*asked[1:])] == ["no_broker"] * 2

    run(test())


def test_answer_whose_turn_does_not_come_before_the_deadline_is_not_sent(tmp_path: Path) -> None:
    async def test() -> None:
        made = front(tmp_path)
        async with answer(made), answer(made):
            late = await refusal(made, seconds=0.02)
            assert (late.status, late.code, made.exchange.waiting) == (504, "deadline_exceeded", {})
        assert len(made.session.sent) == 2
        over = await refusal(made, seconds=0.005)
        assert (over.status, len(made.session.sent), made.exchange.running()) == (504, 2, {})

    run(test())


def test_answer_beyond_the_waiting_ones_says_how_long_they_take(tmp_path: Path) -> None:
    async def test() -> None:
        made = front(tmp_path, slots=2, limits={"waiting": 4})
        asked = [asyncio.ensure_future(whole(made)) for _request in range(3 + 4)]
        message = await made.published(3)
        full = await refusal(made)
        assert (full.status, full.code) == (429, "queue_full")
        assert full.retry_after == 4 * FIRST_GUESS / 2
        made.answer(message)
        await made.published(4)
        asked.append(asyncio.ensure_future(whole(made)))
        await asyncio.sleep(0)
        quicker = (await refusal(made)).retry_after or 0
        assert 1 <= quicker < 4 * FIRST_GUESS / 2, "the first answer has taken less time"
        for request in asked:
            request.cancel()
        await asyncio.wait(asked)
        assert (made.exchange.waiting, made.exchange.running()) == ({}, {})

    run(test())


@pytest.mark.parametrize("is_up", [None, False])
def test_answer_without_a_broker_waits_for_no_turn(tmp_path: Path, is_up: Optional[bool]) -> None:
    async def test() -> None:
        made = front(tmp_path)
        running = [asyncio.ensure_future(whole(made)) for _request in range(2)]
        await made.published(2)
        if is_up is None:
            made.exchange._session = None
        made.session.is_up, made.session.trouble = False, "the disk is full"
        refused = await refusal(made, seconds=0.05)
        assert (refused.status, refused.code, refused.retry_after) == (503, "no_broker", 2)
        assert ("not connected yet" if is_up is None else "the disk is full") in refused.message
        for request in running:
            request.cancel()
        await asyncio.wait(running)
        assert made.exchange.running() == {}

    run(test())


@pytest.mark.parametrize(
    "why, status, code, retry",
    [
        (UNROUTABLE, 503, "no_node", NO_NODE),
        (FULL, 429, "queue_full", 5),
        (LOST, 503, "no_broker", 2),
        (UNACCEPTABLE, 502, "not_taken", None),
    ],
)
def test_answer_that_the_broker_refuses_has_the_error_of_the_reason(
    tmp_path: Path, why: str, status: int, code: str, retry: Optional[float]
) -> None:
    async def test() -> None:
        made = front(tmp_path)
        made.session.refusals[LANE] = why
        refused = await refusal(made)
        assert (refused.status, refused.code, refused.retry_after) == (status, code, retry)
        assert len(made.session.sent) == 1

    run(test())


@pytest.mark.parametrize("why", [UNROUTABLE, FULL])
def test_turn_that_its_node_cannot_take_goes_to_all_nodes_under_the_same_id(tmp_path: Path, why: str) -> None:
    async def test() -> None:
        made, own = home(tmp_path, conversations={"wait": 2.0})
        made.session.refusals[own] = why
        async with answer(made, conversation=b"c") as pending:
            (first, one), (second, two) = made.session.sent
            assert (first, second) == (own, LANE)
            assert one.properties.correlation_id == two.properties.correlation_id
            assert one.properties.expiration == "2000" and int(two.properties.expiration or 0) > 2000
            made.answer(two, b"done", node=own.split(".")[4])
            assert (await pending.next()).body == b"done"
        async with answer(made, conversation=b"c"):
            assert made.session.sent[2][0] not in (own, LANE), "a node that has missed a turn rests"

    run(test())


@pytest.mark.parametrize("why", [LOST, UNACCEPTABLE])
def test_turn_that_the_broker_does_not_take_is_not_repeated(tmp_path: Path, why: str) -> None:
    async def test() -> None:
        made, own = home(tmp_path)
        made.session.refusals[own] = why
        await refusal(made, conversation=b"c")
        assert [queue for queue, _message in made.session.sent] == [own]

    run(test())


def test_turn_whose_client_has_gone_is_not_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker may refuse a request after the client has left; a node would answer the second one for nobody."""

    async def test() -> None:
        made, own = home(tmp_path)
        later: list[Callable[[str], None]] = []
        publish = made.session.publish

        def record(message: Message, queue: str, refused: Callable[[str], None]) -> None:
            publish(message, queue, refused)
            later.append(refused)

        monkeypatch.setattr(made.session, "publish", record)
        with pytest.raises(ZeroDivisionError):
            async with answer(made, conversation=b"c"):
                raise ZeroDivisionError
        (refused,) = later
        refused(FULL)
        assert [queue for queue, _message in made.session.sent] == [own]

    run(test())


async def turns() -> None:
    """Let everything run that waits for nothing."""
    for _turn in range(100):
        await asyncio.sleep(0)


def test_lane_of_a_model_waits_for_its_announcement_while_the_connection_is_new(tmp_path: Path) -> None:
    async def test() -> None:
        made = Front(tmp_path, node_timeout=20)
        asked = asyncio.ensure_future(made.exchange.lane_of(PATH, MODEL, time.monotonic() + 20))
        await turns()
        assert not asked.done()
        made.serve()
        await turns()
        assert asked.done(), "the announcement does not wake the request"
        assert (await asked).queue == LANE

    run(test())


@pytest.mark.parametrize("reconnects", [False, True])
def test_lane_of_an_unknown_model_is_missing_at_once_if_the_connection_is_old(tmp_path: Path, reconnects: bool) -> None:
    async def test() -> None:
        made = front(tmp_path, node_timeout=20)
        made.exchange._new_since = time.monotonic() - 60
        if reconnects:
            made.exchange.connected()
        asked = asyncio.ensure_future(made.exchange.lane_of(PATH, "other", time.monotonic() + 1))
        await turns()
        assert asked.done() is not reconnects
        with pytest.raises(GatewayError) as refused:
            await asked
        assert (refused.value.status, refused.value.code) == (404, "model_not_found")

    run(test())


def test_lane_of_an_unknown_model_is_missing_at_the_deadline(tmp_path: Path) -> None:
    async def test() -> None:
        made = Front(tmp_path, node_timeout=600)
        with pytest.raises(GatewayError):
            await asyncio.wait_for(made.exchange.lane_of(PATH, MODEL, time.monotonic() + 0.02), 5)

    run(test())


def test_missing_model_that_a_node_had_may_come_again(tmp_path: Path) -> None:
    async def test() -> None:
        made = front(tmp_path)
        made.exchange.take_registry_event(Offering(lane("chat", MODEL), "gpu-01", 2).event(UNAVAILABLE).message)
        error = made.exchange.missing(MODEL)
        assert (error.status, error.code, error.retry_after) == (503, "no_node", NO_NODE)

    run(test())


def test_missing_model_names_the_models_of_the_key_and_no_long_text(tmp_path: Path) -> None:
    async def test() -> None:
        made = front(tmp_path)
        assert MODEL in made.exchange.missing("other").message
        assert MODEL in made.exchange.missing("other", key(models=["m:*"])).message
        hidden = made.exchange.missing("x" * 1000, key(models=["other"])).message
        assert MODEL not in hidden and "served are: none" in hidden and len(hidden) < 300
        made.session.is_up = False
        with pytest.raises(GatewayError) as refused:
            made.exchange.missing("other")
        assert refused.value.code == "no_broker"

    run(test())
