# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A malformed message fails alone: the connection, the slots and the other answers remain."""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pika
import pytest
import services
from fleet_parts import (
    CHAT_MODEL,
    EMBED_MODEL,
    RawTable,
    ScriptedOllama,
    Slow,
    WorkerProcess,
    channel_to,
    eventually,
    raw_tables,
)
from fleet_parts import set_up_broker as in_order
from fleet_worker._fleet.lanes import lane
from history import ANY

from .requesters import Asker, Record
from .test_requests_that_hurt import CHAT, EMBED, still_works

Start = Callable[..., WorkerProcess]
BODY = json.dumps({"messages": [{"role": "user", "content": "x"}]}).encode()
SHARED_LANE = {"type": "chat", "model": CHAT_MODEL, "style": "shared"}
SHARED = lane("chat", CHAT_MODEL, style="shared").queue


@pytest.fixture(autouse=True)
def odd_tables() -> Iterator[None]:
    with raw_tables():
        yield


def nested(kind: bytes, depth: int) -> bytes:
    inner = b""
    for _level in range(depth):
        inner = kind + struct.pack(">I", len(inner)) + inner
    return inner


TABLES = {
    "timestamp in milliseconds": b"\x01xT" + struct.pack(">Q", 1764312000000),
    "timestamp of 64 bits": b"\x01xT" + struct.pack(">Q", 2**64 - 1),
    "array nested 5000 deep": b"\x01x" + nested(b"A", 5000),
    "name that is not UTF-8": b"\x02\xff\xfeV",
    "ten thousand headers": b"".join(b"\x05%05dV" % number for number in range(10_000)),
}


def test_headers_that_pika_cannot_read_leave_the_connection_open(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    worker = start(shared_broker, scripted.url).wait_ready()
    asker = Asker(shared_broker, CHAT, errors=[ANY])
    for table in TABLES.values():
        asker._properties = {"headers": RawTable(table)}
        asker.ask()
    asker.wait()
    assert len(asker.answers) == len(TABLES)
    asker.close()
    still_works(shared_broker, worker)


def test_fields_that_an_answer_repeats_leave_the_connection_open(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    """The type goes into a header, whose frame has room for 128 KiB; half a surrogate pair is not UTF-8."""
    worker = start(shared_broker, scripted.url, lanes=[{"type": "chat", "model": CHAT_MODEL}, SHARED_LANE]).wait_ready()
    asker, shared = (Asker(shared_broker, queue, errors=[ANY]) for queue in (CHAT, SHARED))
    asker.ask(request_type="t" * 200_000)
    for _slot in range(3):
        shared.ask(model="smollm2\ud800135m")
    asker.wait()
    shared.wait()
    for one in (asker, shared):
        one.close()
    still_works(shared_broker, worker)


def test_delivery_count_of_a_requester_is_ignored(shared_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    """RabbitMQ 4 hands the header on with the first delivery, as a shovel may have kept it."""
    worker = start(shared_broker, scripted.url).wait_ready()
    asker = Asker(shared_broker, CHAT, headers={"x-delivery-count": 20})
    asker.ask()
    asker.wait()
    properties, _body = asker.only()
    assert properties.type == "llm.fleet.response"
    assert "x-legion-fleet-redelivered" not in properties.headers
    asker.close()
    still_works(shared_broker, worker)


@pytest.fixture
def broker_3() -> Iterator[Any]:
    with services.rabbitmq("3") as running:
        in_order(running)
        yield running


def test_invented_direct_reply_queue_leaves_the_connection_open(
    broker_3: Any, scripted: ScriptedOllama, start: Start
) -> None:
    """RabbitMQ 3.10 closes the connection of a publisher to a reply queue of an unknown node."""
    worker = start(broker_3, scripted.url).wait_ready()
    with channel_to(broker_3) as channel:
        for number in range(6):
            process = b"\x83Xv" + struct.pack(">H", 11) + b"reply@1234%d" % (number // 2) + bytes(12)
            reply_to = ".".join(
                ["amq.rabbitmq.reply-to", base64.b64encode(process).decode(), base64.b64encode(bytes(16)).decode()]
            )
            properties = pika.BasicProperties(
                type="llm.fleet.request", reply_to=reply_to, correlation_id=f"c-{number}", message_id=f"m-{number}"
            )
            channel.basic_publish("llm.request", CHAT, BODY, properties, mandatory=True)
        # An honest one, whose name the broker makes.
        record = Record()
        channel.basic_consume(
            "amq.rabbitmq.reply-to",
            lambda _channel, _method, properties, _body: record.received(properties),
            auto_ack=True,
        )
        for number in range(2):
            properties = pika.BasicProperties(
                type="llm.fleet.request", reply_to="amq.rabbitmq.reply-to", correlation_id=f"honest-{number}"
            )
            record.sent(f"honest-{number}")
            channel.basic_publish("llm.request", CHAT, BODY, properties, mandatory=True)

        def answered() -> bool:
            channel.connection.process_data_events(0)
            return record.verdict().answered == 2

        eventually(answered, "the honest answers", 60, worker)
    eventually(lambda: worker.log.count("reply=unacceptable") == 6, "each of them is settled", 60, worker)
    assert worker.log.count("event=reply_to_made_up") == 3, "once for each node"
    assert worker.status()["counters"]["connections"] == 1


def test_unreadable_lane_does_not_disturb_other_lanes(lent_broker: Any, scripted: ScriptedOllama, start: Start) -> None:
    slow = Slow(60)
    scripted.behave = slow
    other = lane("embed", EMBED_MODEL, style="shared").queue
    lanes = [{"type": "chat", "model": CHAT_MODEL}, {"type": "embed", "model": EMBED_MODEL, "style": "shared"}]
    lent_broker.ctl("set_permissions", lent_broker.username, ".*", ".*", f"^(?!{other.replace('.', '[.]')}$).*$")
    try:
        worker = start(lent_broker, scripted.url, lanes=lanes)
        worker.wait_log(f"event=lane_lost lane={other}", 60)
        asker = Asker(lent_broker, CHAT)
        asker.ask()
        slow.wait_for(1)
        for number in (2, 3):
            eventually(lambda number=number: worker.log.count("event=lane_lost") >= number, "the next try", 60, worker)
        slow.go_on.set()
        asker.wait()
        asker.close()
    finally:
        lent_broker.ctl("set_permissions", lent_broker.username, ".*", ".*", ".*")
    status = worker.status()
    assert len(scripted.calls) == 1, "the request was never given back"
    assert status["counters"]["connections"] == 1
    assert "event=channel_closed" not in worker.log
    worker.wait_log("event=ready", 60)


def test_unread_log_delays_no_answer(
    shared_broker: Any, scripted: ScriptedOllama, start: Start, tmp_path: Path
) -> None:
    directory = tmp_path / "worker-0"
    directory.mkdir()
    os.mkfifo(directory / "log")
    reader = os.open(directory / "log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        worker = start(shared_broker, scripted.url, directory=directory, log={"level": "debug"}).wait_ready()
        asker = Asker(shared_broker, EMBED)
        for number in range(300):
            asker.ask(input=str(number), request_type="embed")
        asker.wait()
        asker.close()
        assert sum(outcomes(worker).values()) == 300
        worker.terminate()
        assert worker.wait_end() == 0, "nobody reads, and the worker still leaves"
    finally:
        os.close(reader)
        (directory / "log").unlink()  # whoever opens it now to read it would wait for ever
        (directory / "log").touch()


def outcomes(worker: WorkerProcess) -> dict[str, int]:
    counters = worker.status()["counters"]
    return {name: count for name, count in counters.items() if name.startswith("outcome:")}


def test_correlation_id_of_300_characters_returns_in_the_body(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    worker = start(shared_broker, scripted.url).wait_ready()
    with channel_to(shared_broker) as channel:
        channel.queue_declare("llm.fleet.reply.long")
        body = json.dumps({"input": "x", "model": EMBED_MODEL, "correlation_id": "c" * 300}).encode()
        properties = pika.BasicProperties(type="llm.fleet.request", reply_to="llm.fleet.reply.long")
        channel.basic_publish("llm.request", EMBED, body, properties, mandatory=True)
        found = eventually(lambda: channel.basic_get("llm.fleet.reply.long", auto_ack=True)[2], "an answer", 60, worker)
    assert json.loads(found)["correlation_id"] == "c" * 300
