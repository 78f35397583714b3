# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carried paths from the request of HTTP to its response, over a fleet in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet_gateway._fleet.lanes import lane
from fleet_gateway._fleet.messages import Failure
from fleet_gateway._fleet.registry import UNAVAILABLE, Offering
from fleet_gateway.amqp.request_publisher import FULL, LOST, UNACCEPTABLE, UNROUTABLE
from fleet_gateway.observe.usage_store import read_usage
from fleet_gateway.settings.keys import ApiKeys, new_key

from .memory_front import CHAT, MODEL, Client, Front, run

LANE = "llm.request.ollama.chat.m.1"
KEY, HASH = new_key()


def ring(directory: Path, **limits: Any) -> ApiKeys:
    path = directory / "keys.yml"
    path.write_text(yaml.safe_dump({"keys": [{"name": "alice", "hash": HASH, **limits}]}))
    return ApiKeys(str(path))


def test_whole_answer_comes_back_as_it_was_and_is_counted(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        client = Client("/v1/chat/completions", CHAT)
        asked = front.ask(client)
        front.answer(await front.published(), b'{"x": 1}', 418)
        await asked
        assert (client.status, client.body, client.headers["content-length"]) == (418, b'{"x": 1}', "8")
        assert front.usage.tokens_today("anybody") == 5
        text = front.metrics.text().decode()
        assert 'fleet_gateway_requests_total{path="/v1/chat/completions",status="418"} 1.0' in text
        assert front.exchange.in_flight == 0 and front.exchange.running() == {}

    run(test())


def test_answer_whose_tokens_cannot_be_written_comes_back(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        front.usage._database.close()
        client = Client("/api/chat", CHAT)
        asked = front.ask(client)
        front.answer(await front.published())
        await asked
        assert (client.status, client.body) == (200, b"{}")
        assert front.usage.tokens_today("anybody") == 5

    run(test())


def test_stream_comes_back_piece_by_piece(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        client = Client("/api/chat", CHAT)
        asked = front.ask(client)
        message = await front.published()
        front.piece(message, 0, b"one\n")
        await asyncio.sleep(0.01)
        assert (client.status, client.body) == (200, b"one\n")
        front.piece(message, 1, b"two\n")
        front.end(message, 2)
        await asked
        assert client.body == b"one\ntwo\n"
        assert "content-length" not in client.headers

    run(test())


EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
LINE = b'{"message":{"content":"a"}}\n'
LAST = b'{"done":true,"prompt_eval_count":3,"eval_count":2}\n'


@pytest.mark.parametrize(
    "pieces, tokens, estimated",
    [
        ([], 0, None),
        ([EVENT * 2, EVENT], 3, 1),
        ([LINE, LINE + LINE[:9]], 2, 1),
        ([LINE, LAST], 5, 0),  # the stream has told its counts, but has not ended
    ],
)
@pytest.mark.parametrize("end", ["hang up", "other node", "failure", "deadline"])
def test_answer_that_ends_early_is_counted_as_far_as_it_came(
    tmp_path: Path, pieces: list[bytes], tokens: int, estimated: Any, end: str
) -> None:
    async def test() -> None:
        front = Front(tmp_path, deadline=0.1 if end == "deadline" else 60)
        front.serve()
        client = Client("/v1/chat/completions", CHAT)
        asked = front.ask(client)
        message = await front.published()
        for number, piece in enumerate(pieces):
            front.piece(message, number, piece)
        await asyncio.sleep(0.01)
        if end == "hang up":
            client.gone.set()
        elif end == "other node" and pieces:
            front.piece(message, 0, b"again", attempt="b")
        elif end != "deadline":
            front.fail(message, Failure("ollama_unavailable", "down"))
        await asked
        assert front.usage.tokens_today("anybody") == tokens
        assert [row["estimated"] for row in read_usage(str(tmp_path))] == ([] if estimated is None else [estimated])
        counted = f'direction="output",key="anybody",model="{MODEL}"}} {float(2 if pieces[-1:] == [LAST] else tokens)}'
        assert (counted in front.metrics.text().decode()) is bool(pieces)

    run(test())


def test_stream_whose_end_no_client_takes_is_counted_once(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path, limits={"unread_seconds": 0.05, "unread_bytes": 65536})
        front.serve()
        client = Client("/api/chat", CHAT)
        asked = front.ask(client)
        message = await front.published()
        front.piece(message, 0, LINE)
        await asyncio.sleep(0.01)
        client.stuck = True
        front.end(message, 1)
        await asked
        assert front.usage.tokens_today("anybody") == 5
        assert [row["requests"] for row in read_usage(str(tmp_path))] == [1]

    run(test())


def test_stream_that_begins_anew_ends_with_an_error(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        client = Client("/api/chat", CHAT)
        asked = front.ask(client)
        message = await front.published()
        front.piece(message, 0, b"one\n")
        await asyncio.sleep(0.01)
        front.piece(message, 0, b"one\n", attempt="b")
        await asked
        assert client.body.startswith(b'one\n{"error": "The answer is not complete')
        assert front.session.cancelled

    run(test())


def test_broken_answer_that_is_no_stream_stays_without_its_end(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        client = Client("/v1/chat/completions", CHAT)
        asked = front.ask(client)
        front.piece(await front.published(), 0, b'{"choices": [', content_type="application/json")
        await asyncio.sleep(0.01)
        front.exchange.connection_lost()
        await asked
        assert (client.body, client.is_complete) == (b'{"choices": [', False)
        assert 'status="503"' in front.metrics.text().decode()

    run(test())


@pytest.mark.parametrize(
    "content_type, part, event",
    [
        ("application/x-ndjson", b'{"message":{"con', b'{"error":'),
        ("text/event-stream; charset=utf-8", b'data: {"choi', b'\ndata: {"error":'),
        ("text/event-stream", b"data: {}\n", b'\ndata: {"error":'),
    ],
)
def test_error_in_a_stream_begins_a_line(tmp_path: Path, content_type: str, part: bytes, event: bytes) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        client = Client("/v1/chat/completions", CHAT)
        asked = front.ask(client)
        message = await front.published()
        front.piece(message, 0, b"first\n", content_type=content_type)
        front.piece(message, 1, part, content_type=content_type)
        await asyncio.sleep(0.01)
        front.exchange.connection_lost()
        await asked
        whole = part[: part.rfind(b"\n") + 1]
        assert client.body.startswith(b"first\n" + whole + event) and client.is_complete

    run(test())


def test_line_of_a_stream_that_comes_in_two_pieces_is_whole(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        client = Client("/api/chat", CHAT)
        asked = front.ask(client)
        message = await front.published()
        for number, part in enumerate((b"one\ntw", b"o", b"\nthr")):
            front.piece(message, number, part)
        front.end(message, 3)
        await asked
        assert (client.body, client.is_complete) == (b"one\ntwo\nthr", True)

    run(test())


def test_requests_at_the_end_of_the_drain_have_an_error_of_the_interface(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve(slots=2)
        whole, stream = Client("/v1/chat/completions", CHAT), Client("/v1/chat/completions", CHAT)
        asked = [front.ask(whole), front.ask(stream)]
        message = await front.published(2)
        front.piece(message, 0, b"data: {}\n\n", content_type="text/event-stream")
        await asyncio.sleep(0.01)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked)
        assert (whole.status, whole.headers["retry-after"]) == (503, "2")
        assert whole.document["error"]["code"] == "gateway_ends"
        assert b"gateway_ends" in stream.body and stream.is_complete
        assert 'path="/v1/chat/completions",status="503"} 2.0' in front.metrics.text().decode()
        assert len(front.session.cancelled) == 2

    run(test())


def test_messages_that_belong_to_nobody_or_are_none_harm_nobody(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        client = Client("/api/chat", CHAT)
        asked = front.ask(client)
        message = await front.published()
        front.exchange.take_reply(message)  # a request is not an answer
        await asked
        assert (client.status, client.document["error"]) == (502, "A node has sent something that is not an answer")
        front.answer(message)

    run(test())


@pytest.mark.parametrize(
    "why, status, retry",
    [(UNROUTABLE, 503, "5"), (FULL, 429, "5"), (LOST, 503, "2"), (UNACCEPTABLE, 502, None)],
)
def test_request_that_is_not_on_its_way_is_refused(tmp_path: Path, why: str, status: int, retry: Any) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        front.session.refusals[LANE] = why
        client = Client("/api/chat", CHAT)
        await front.ask(client)
        assert (client.status, client.headers.get("retry-after")) == (status, retry)

    run(test())


@pytest.mark.parametrize(
    "failure, status",
    [(Failure("ollama_unavailable", "down"), 503), (Failure("inference_failed", "no", final=True), 400)],
)
def test_failure_of_a_node_is_an_error_of_the_interface(tmp_path: Path, failure: Failure, status: int) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        client = Client("/v1/chat/completions", CHAT)
        asked = front.ask(client)
        front.fail(await front.published(), failure)
        await asked
        assert (client.status, client.document["error"]["message"]) == (status, failure.message)

    run(test())


def test_connection_that_is_lost_fails_what_is_under_way(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        client = Client("/api/chat", CHAT)
        asked = front.ask(client)
        await front.published()
        front.exchange.connection_lost()
        await asked
        assert (client.status, client.headers["retry-after"]) == (503, "2")
        front.session.is_up = False
        again = Client("/api/chat", CHAT)
        await front.ask(again)
        assert again.status == 503

    run(test())


def test_model_that_nobody_serves_is_named_with_those_that_are_served(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        unheard = Client("/api/chat", CHAT)
        await front.ask(unheard)
        assert (unheard.status, unheard.document["error"].endswith("none")) == (404, True)
        front.serve()
        other = Client("/api/chat", {**CHAT, "model": "other"})
        await front.ask(other)
        assert (other.status, MODEL in other.document["error"]) == (404, True)
        front.exchange.take_registry_event(Offering(lane("chat", MODEL), "gpu-01", 2).event(UNAVAILABLE).message)
        missed = Client("/api/chat", CHAT)
        await front.ask(missed)
        assert (missed.status, missed.headers["retry-after"]) == (503, "5")
        front.session.is_up = False
        no_broker = Client("/api/chat", {**CHAT, "model": "other"})
        await front.ask(no_broker)
        assert no_broker.status == 503

    run(test())


def test_request_that_the_broker_cannot_take_now_is_refused_without_a_turn(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve(slots=1)
        running = [front.ask(Client("/api/chat", CHAT)) for _number in range(2)]  # all that the lane may have
        await front.published(2)
        front.session.is_up, front.session.trouble = False, "the broker has an alarm and takes no messages"
        refused = Client("/api/chat", CHAT)
        await asyncio.wait_for(front.ask(refused), 5)
        assert (refused.status, refused.headers["retry-after"]) == (503, "2")
        assert "has an alarm" in refused.document["error"]
        for number in (1, 2):
            front.answer(await front.published(number))
        await asyncio.gather(*running)

    run(test())


def test_request_waits_for_what_nodes_say_while_the_gateway_is_new(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path, node_timeout=20)
        front.exchange._new_since -= 100
        front.exchange.connected()
        client = Client("/api/chat", CHAT)
        asked = front.ask(client)
        await asyncio.sleep(0.01)
        front.serve()
        front.answer(await front.published())
        await asked
        assert client.status == 200

    run(test())


def test_answer_that_does_not_come_in_time_is_an_error_and_taken_back(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path, deadline=0.05)
        front.serve(slots=1)
        clients = [Client("/api/chat", CHAT) for _number in range(3)]
        await asyncio.gather(*map(front.ask, clients))
        assert {client.status for client in clients} == {504}
        # Each that was sent is taken back. The third one has its turn only if it came 10 ms after the first.
        assert 2 <= len(front.session.sent) == len(front.session.cancelled) <= 3
        assert front.session.cancelled[0][0] == ("gpu-01",)

    run(test())


def test_request_beyond_those_that_may_wait_is_refused_with_a_time(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path, limits={"waiting": 1})
        front.serve(slots=1)
        clients = [Client("/api/chat", CHAT) for _number in range(4)]
        asked = [front.ask(client) for client in clients]
        await asyncio.wait({asked[3]})
        assert (clients[3].status, int(clients[3].headers["retry-after"]) >= 1) == (429, True)
        assert front.exchange.waiting == {LANE: 1}
        for number in range(3):
            front.answer(await front.published(number + 1))
        await asyncio.gather(*asked)
        assert [client.status for client in clients[:3]] == [200] * 3

    run(test())


def test_client_that_hangs_up_takes_its_request_back(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        client = Client("/api/chat", CHAT)
        asked = front.ask(client)
        message = await front.published()
        client.gone.set()
        await asked
        assert (client.status, front.session.cancelled[0][1]) == (0, message.properties.correlation_id)
        assert 'status="499"' in front.metrics.text().decode()
        silent = Client("/api/chat", CHAT)
        silent.hangs()
        silent.gone.set()
        await front.ask(silent)
        assert len(front.session.sent) == 1

    run(test())


def test_client_that_reads_nothing_ends_its_own_request(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path, limits={"unread_seconds": 0.05, "unread_bytes": 65536})
        front.serve()
        client = Client("/api/chat", CHAT)
        client.stuck = True
        asked = front.ask(client)
        front.piece(await front.published(), 0, b"one\n")
        await asked
        assert front.session.cancelled

    run(test())


def test_refused_body_that_has_come_is_refused_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        client = Client("/api/chat", {**CHAT, "x": [0] * 100_001})
        await asyncio.wait_for(front.ask(client), 5)
        assert (client.status, client.is_complete) == (413, True)

    run(test())


def test_body_out_of_bounds_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path, limits={"body_bytes": 1024, "body_seconds": 0.05})
        for client, status in [
            (Client("/api/chat", CHAT, content_length="2000"), 413),
            (Client("/api/chat", {**CHAT, "x": "y" * 2000}), 413),
            (Client("/api/chat", b"no JSON"), 400),
            (Client("/api/chat", b"[" * 1000), 400),
            (Client("/api/chat", b'{"a":' * 101 + b"1" + b"}" * 101), 400),
            (Client("/api/chat", b"7"), 400),
            (Client("/api/chat", {"model": 7}), 400),
            (Client("/api/chat", CHAT, content_length="3", transfer_encoding="chunked"), 400),
        ]:
            await front.ask(client)
            assert client.status == status, client.body
        large = Client("/api/chat", CHAT, content_length="2000")
        large.sends(b"x" * 500, b"x" * 500)
        await front.ask(large)
        assert (large.status, large.left) == (413, 0)
        waiting = Client("/api/chat", CHAT, content_length="2000", expect="100-continue")
        await front.ask(waiting)
        assert (waiting.status, waiting.left) == (413, 1)
        slow = Client("/api/chat", CHAT)
        slow.hangs()
        await front.ask(slow)
        assert (slow.status, slow.headers["connection"]) == (408, "close")

    run(test())


def test_key_decides_who_is_served(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path, keys=ring(tmp_path, models=["m:*"], concurrent=1))
        front.serve()
        for headers, status in [
            ({}, 401),
            ({"authorization": "Basic x"}, 401),
            ({"authorization": "Bearer flg_wrong"}, 401),
        ]:
            client = Client("/api/chat", CHAT, **headers)
            await front.ask(client)
            assert client.status == status
        other = Client("/api/chat", {**CHAT, "model": "x:1"}, x_api_key=KEY)
        await front.ask(other)
        assert other.status == 403
        first = Client("/api/chat", CHAT, authorization=f"bearer {KEY}")
        asked = front.ask(first)
        message = await front.published()
        second = Client("/api/chat", CHAT, x_api_key=KEY)
        await front.ask(second)
        assert second.status == 429
        front.answer(message)
        await asked
        assert first.status == 200

    run(test())


def test_key_that_has_expired_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        front = Front(tmp_path, keys=ring(tmp_path, expires="2020-01-01"))
        client = Client("/api/chat", CHAT, x_api_key=KEY)
        await front.ask(client)
        assert (client.status, "expired" in client.document["error"]) == (403, True)

    run(test())


def test_defect_is_an_error_and_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        front = Front(tmp_path)
        front.serve()
        monkeypatch.setattr(front.session, "publish", lambda *_arguments: 1 / 0)
        client = Client("/api/chat", CHAT)
        await front.ask(client)
        assert (client.status, client.document["error"]) == (500, "A defect of the gateway")
        assert front.exchange.in_flight == 0

    run(test())


# Conversations.


def own(node: str) -> str:
    return f"llm.request.ollama.node.{node}.chat.m.1"


def two_nodes(directory: Path, **settings: Any) -> Front:
    front = Front(directory, **settings)
    for node in ("a", "b"):
        front.serve(node)
        front.serve(node, style="node", node=node)
    return front


def test_turn_goes_to_the_lane_of_its_node_for_a_moment(tmp_path: Path) -> None:
    async def test() -> None:
        front = two_nodes(tmp_path, conversations={"wait": 0.5})
        for number in range(1, 4):
            client = Client("/api/chat", CHAT)
            asked = front.ask(client)
            message = await front.published(number)
            node = front.session.sent[-1][0].split(".")[4]
            assert message.properties.expiration == "500"
            front.answer(message, node=node)
            await asked
        assert len({routing_key for routing_key, _message in front.session.sent}) == 1
        assert front.session.sent[0][0] in (own("a"), own("b"))
        assert 'fleet_gateway_turns_total{place="home"} 3.0' in front.metrics.text().decode()

    run(test())


def test_turn_that_another_node_has_answered_lets_its_node_rest(tmp_path: Path) -> None:
    async def test() -> None:
        front = two_nodes(tmp_path)
        for number in range(1, 3):
            asked = front.ask(Client("/api/chat", CHAT))
            message = await front.published(number)
            front.answer(message, node="b" if front.session.sent[0][0] == own("a") else "a")
            await asked
        assert {routing_key for routing_key, _message in front.session.sent} == {own("a"), own("b")}
        text = front.metrics.text().decode()
        assert 'place="lane"} 1.0' in text and 'place="next"} 1.0' in text

    run(test())


@pytest.mark.parametrize("why", [UNROUTABLE, FULL])
def test_turn_whose_lane_takes_nothing_goes_to_all_nodes_at_once(tmp_path: Path, why: str) -> None:
    async def test() -> None:
        front = two_nodes(tmp_path, deadline=100)
        front.session.refusals = {own("a"): why, own("b"): why}
        client = Client("/api/chat", CHAT)
        asked = front.ask(client)
        message = await front.published(2)
        assert front.session.sent[1][0] == LANE
        assert 90_000 < int(message.properties.expiration or 0) <= 100_000
        front.answer(message, node="a")
        await asked
        assert client.status == 200

    run(test())


def test_turn_whose_connection_is_lost_fails(tmp_path: Path) -> None:
    async def test() -> None:
        front = two_nodes(tmp_path)
        front.session.refusals = {own("a"): LOST, own("b"): LOST}
        client = Client("/api/chat", CHAT)
        await front.ask(client)
        assert (client.status, len(front.session.sent)) == (503, 1)

    run(test())


def test_turn_goes_by_the_lane_of_all_when_the_setting_is_off(tmp_path: Path) -> None:
    async def test() -> None:
        front = two_nodes(tmp_path, conversations={"stay": False})
        asked = front.ask(Client("/api/chat", CHAT))
        front.answer(await front.published())
        await asked
        assert front.session.sent[0][0] == LANE

    run(test())
