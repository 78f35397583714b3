# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile requests: the worker settles each, and survives."""

from __future__ import annotations

import json
import uuid
from typing import Any, Callable

import pika
import pytest
from depth import rounds
from fleet_parts import CHAT_MODEL, EMBED_MODEL, ScriptedOllama, WorkerProcess, answer, channel_to, eventually
from fleet_worker._fleet.lanes import lane
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .requesters import Asker, Record

CHAT = lane("chat", CHAT_MODEL).queue
EMBED = lane("embed", EMBED_MODEL).queue
Start = Callable[..., WorkerProcess]


def waiting(broker: Any, queue: str) -> int:
    with channel_to(broker) as channel:
        count: int = channel.queue_declare(queue, passive=True).method.message_count
        return count


def still_works(broker: Any, worker: WorkerProcess) -> None:
    asker = Asker(broker, CHAT)
    asker.ask()
    asker.wait()
    assert asker.only()[1]["message"]["content"] == "Good morning."
    asker.close()
    eventually(lambda: not worker.status()["in_flight"], "nothing in flight")
    assert waiting(broker, CHAT) == 0
    assert "event=defect" not in worker.log
    assert worker.status()["counters"]["connections"] == 1


@pytest.mark.every_version
def test_body_of_20_mib_is_refused_and_never_reaches_ollama(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    """RabbitMQ 4 refuses it itself (max_message_size is 16 MiB); 3 hands it on, and the requester gets an error."""
    worker = start(shared_broker, scripted.url).wait_ready()
    body = json.dumps({"messages": [{"role": "user", "content": "x" * 20 * 1024 * 1024}]}).encode()
    with channel_to(shared_broker) as channel:
        reply_to = "llm.fleet.reply." + uuid.uuid4().hex[:16]
        channel.queue_declare(reply_to)
        properties = pika.BasicProperties(type="llm.fleet.request", reply_to=reply_to, correlation_id="c-1")
        record = Record(errors=["payload_too_large"])
        try:
            channel.basic_publish("llm.request", CHAT, body, properties, mandatory=True)
            taken = True
            record.sent("c-1")
        except pika.exceptions.ChannelClosedByBroker:
            taken = False
        if taken:
            _method, replied, answer = eventually(lambda: got(channel, reply_to), "an answer", 60)
            record.received(replied)
            assert replied.type == "llm.fleet.error"
            assert json.loads(answer)["error"]["code"] == "payload_too_large"
    assert scripted.calls == []
    still_works(shared_broker, worker)


def got(channel: Any, queue: str) -> Any:
    found = channel.basic_get(queue, auto_ack=True)
    return None if found[0] is None else found


@pytest.mark.parametrize("reply_to", [CHAT, EMBED, "llm.fleet.inference.smollm2-135m"])
@pytest.mark.parametrize("where", ["property", "body"])
def test_lane_as_reply_queue_starts_no_loop(
    where: str, reply_to: str, shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    worker = start(shared_broker, scripted.url).wait_ready()
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}]}
    properties: dict[str, Any] = {"type": "llm.fleet.request", "correlation_id": "c-1"}
    (properties if where == "property" else body)["reply_to"] = reply_to
    with channel_to(shared_broker) as channel:
        channel.basic_publish("llm.request", CHAT, json.dumps(body).encode(), pika.BasicProperties(**properties))
    worker.wait_log("outcome=reply_to_refused")
    assert scripted.calls == []
    still_works(shared_broker, worker)


def test_body_that_contradicts_the_properties_is_logged_and_loses(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    """The property wins over the body, and the contradiction is logged; a model of its own choice is not served."""
    worker = start(shared_broker, scripted.url).wait_ready()
    asker = Asker(shared_broker, CHAT)
    asker.ask(correlation_id="another", reply_to="llm.fleet.reply.another")
    asker.wait()
    properties, _body = asker.only()
    assert properties.correlation_id == asker.asked[0]
    line = worker.wait_log("contradictions=")
    assert "reply_to" in line and "correlation_id" in line
    other = Asker(shared_broker, CHAT, headers={"x-legion-llm-model": CHAT_MODEL}, errors=["model_not_loaded"])
    other.ask(model="llama3:70b")
    other.wait()
    assert other.only()[1]["error"]["code"] == "model_not_loaded"
    still_works(shared_broker, worker)


@pytest.mark.every_version
def test_header_that_would_kill_the_queue_is_not_dead_lettered(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    """RabbitMQ 3.10 loses a lane for good when it dead-letters deaths that no broker wrote."""
    worker = start(shared_broker, scripted.url).wait_ready()
    with channel_to(shared_broker) as channel:
        for deaths in ([1], [1, 2], ["x"], [{"a": 1}, 1]) * 3:
            properties = pika.BasicProperties(type="llm.fleet.request", headers={"x-death": deaths})
            channel.basic_publish("llm.request", CHAT, b"not JSON", properties, mandatory=True)
    eventually(lambda: worker.log.count("event=request ") == 12, "all are settled", 30, worker)
    assert worker.log.count("event=not_dead_lettered") == 12
    still_works(shared_broker, worker)


# Wrong types in every field.

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "request_type",
    "model",
    "messages",
    "prompt",
    "input",
    "text",
    "options",
    "keep_alive",
    "format",
    "tools",
    "think",
    "images",
    "system",
    "truncate",
    "dimensions",
    "stream",
    "message_context",
    "reply_to",
    "correlation_id",
    "provider",
    "protocol_version",
    "params",
]
BODIES = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6) | JSON
#: What AMQP can carry in a header.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1),
    st.text(max_size=20),
    st.lists(st.integers(0, 9), max_size=2),
    st.dictionaries(st.text(min_size=1, max_size=5), st.integers(0, 9), max_size=2),
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "x-legion-llm-model",
            "x-legion-llm-request-type",
            "x-legion-llm-schema-version",
            "x-legion-fleet-deadline",
            "x-legion-llm-stream",
            "reply_to",
            "correlation_id",
            "x-delivery-count",
            "x-legion-correlation-id",
            "x-death",
        ]
    ),
    VALUES,
    max_size=4,
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["llm.fleet.request", "task", "", "llm.fleet.response", "\u20ac"]),
        "correlation_id": st.text(max_size=20),
        "message_id": st.text(max_size=20),
        "content_encoding": st.sampled_from(["identity", "gzip", "encrypted/cs", ""]),
        "content_type": st.text(max_size=10),
        "priority": st.integers(0, 255),
        "timestamp": st.integers(0, 2**63 - 1),
        "app_id": st.text(max_size=10),
    },
)


def test_wrong_types_in_every_field_do_not_end_the_worker(
    shared_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    def behave(path: str, body: dict[str, Any]) -> Any:
        fits = isinstance(body.get("input", ""), (str, list)) and (path != "/api/embed" or "input" in body)
        return answer(path, body) if fits else (400, {"error": "invalid input type"})

    scripted.behave = behave
    broker = shared_broker
    worker = start(broker, scripted.url, concurrency=1).wait_ready()
    with channel_to(broker) as channel:
        reply_to = "llm.fleet.reply." + uuid.uuid4().hex[:16]
        channel.queue_declare(reply_to)
        sent: list[int] = []

        @settings(
            max_examples=rounds(quick=50, deep=1500),
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        @given(st.sampled_from([CHAT, EMBED]), BODIES, HEADERS, PROPERTIES, st.booleans())
        def send(queue: str, body: Any, headers: Any, properties: Any, named: bool) -> None:
            chosen = {**properties, "headers": headers, **({"reply_to": reply_to} if named else {})}
            channel.basic_publish("llm.request", queue, json.dumps(body).encode(), pika.BasicProperties(**chosen))
            sent.append(1)

        send()
    asker = Asker(broker, EMBED)
    asker.ask(input="x")
    asker.wait(within=60)

    def settled() -> bool:
        counters = worker.status()["counters"]
        outcomes = sum(number for name, number in counters.items() if name.startswith("outcome:"))
        # What came twice with the same identity, while the first was held or at work, shares its outcome.
        return bool(outcomes + counters.get("joined", 0) >= len(sent) + 1)

    eventually(settled, "everything is settled", 60, worker)
    assert waiting(broker, CHAT) == waiting(broker, EMBED) == 0
    still_works(broker, worker)
