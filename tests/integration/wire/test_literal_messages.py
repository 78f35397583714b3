# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The literal messages on the wire, as a LegionIO requester sees them.

Nothing of the collection is imported here: requests are typed out as lex-ollama 0.3.1 and legion-llm 0.8.33 to 0.8.51
send them, with plain pika, and the answers of a real worker behind a real broker are compared whole. Only Ollama is a
script, because an answer can be compared whole only when every number in it is known.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Optional

import pika
import pytest

CHAT_MODEL = "smollm2:135m"
EMBED_MODEL = "all-minilm:latest"
NODE = "gpu-01"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"

METRICS = {
    "total_duration": 900,
    "load_duration": 100,
    "prompt_eval_count": 31,
    "prompt_eval_duration": 300,
    "eval_count": 12,
    "eval_duration": 500,
}
USAGE = {
    "input_tokens": 31,
    "output_tokens": 12,
    "total_duration": 900,
    "load_duration": 100,
    "prompt_eval_duration": 300,
    "eval_duration": 500,
}
CHAT = {
    "model": CHAT_MODEL,
    "created_at": "2026-04-09T08:00:01Z",
    "message": {"role": "assistant", "content": "Good morning."},
    "done": True,
    "done_reason": "stop",
    **METRICS,
}
GENERATE = {
    "model": CHAT_MODEL,
    "created_at": "2026-04-09T08:00:01Z",
    "response": "Once there was",
    "done": True,
    "done_reason": "length",
    **METRICS,
}
EMBED = {
    "model": EMBED_MODEL,
    "embeddings": [[0.25, -0.5, 0.125]],
    "total_duration": 18,
    "load_duration": 2,
    "prompt_eval_count": 4,
}


class ScriptedOllama(ThreadingHTTPServer):
    """Answers like an Ollama that has both models; a prompt of ``fail`` gets a 500 with a message."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedOllama

    def log_message(self, *_arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        models = [{"name": name, "model": name, "digest": "0" * 64, "size": 1} for name in (CHAT_MODEL, EMBED_MODEL)]
        self._answer(200, {"version": "0.24.0", "models": models})

    def do_HEAD(self) -> None:
        self._answer(200, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/show":
            return self._answer(200, {"capabilities": ["completion"], "details": {}})
        self.server.calls.append((self.path, body))
        if "fail" in json.dumps(body):
            return self._answer(500, {"error": "the runner fell over"})
        return self._answer(200, {"/api/chat": CHAT, "/api/generate": GENERATE, "/api/embed": EMBED}[self.path])

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class Reply:
    """A message as pika delivers it."""

    def __init__(self, properties: pika.BasicProperties, body: bytes) -> None:
        self.properties = properties
        self.headers: dict[str, Any] = dict(properties.headers or {})
        self.body: dict[str, Any] = json.loads(body)


class Requester:
    """A LegionIO process: one connection, one reply queue of the kind that legion-llm declares."""

    def __init__(self, amqp_url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
        self._channel = self._connection.channel()
        self.reply_to = "llm.fleet.reply." + uuid.uuid4().hex[:16]
        self._channel.queue_declare(self.reply_to, durable=False, auto_delete=True)

    def publish(self, key: str, body: dict[str, Any], exchange: str = "llm.request", **properties: Any) -> None:
        self._channel.basic_publish(exchange, key, json.dumps(body).encode(), pika.BasicProperties(**properties))

    def reply(self, queue: Optional[str] = None, within: float = 20.0) -> Reply:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            method, properties, body = self._channel.basic_get(queue or self.reply_to, auto_ack=True)
            if method is not None:
                return Reply(properties, body)
            self._connection.sleep(0.02)
        raise AssertionError(f"no reply within {within} s")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedOllama]:
    server = ScriptedOllama()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def worker(broker_with_topology: Any, scripted: ScriptedOllama, start_worker: Any) -> Any:
    lanes = [
        {"type": "chat", "model": CHAT_MODEL},
        {"type": "generate", "model": CHAT_MODEL},
        {"type": "embed", "model": EMBED_MODEL},
        {"type": "chat", "model": CHAT_MODEL, "style": "shared"},
        {"type": "embed", "model": EMBED_MODEL, "style": "shared"},
    ]
    with start_worker(
        broker_with_topology,
        node=NODE,
        ollama={"host": scripted.url},
        lanes=lanes,
        exchanges=["llm.request", "llm.fleet"],
    ) as running:
        yield running


@pytest.fixture
def requester(broker_with_topology: Any, worker: Any) -> Iterator[Requester]:
    requester = Requester(broker_with_topology.amqp_url)
    yield requester
    requester.close()


def set_properties(properties: pika.BasicProperties) -> dict[str, Any]:
    names = (
        "content_type content_encoding delivery_mode priority correlation_id reply_to expiration message_id timestamp"
        " type user_id app_id cluster_id"
    )
    return {name: value for name in names.split() if (value := getattr(properties, name)) is not None}


# Dialect 0.3.1.


def plain(
    requester: Requester, request_type: str, model: str, in_body: bool = True, **fields: Any
) -> tuple[str, Reply]:
    correlation_id = "fleet_" + uuid.uuid4().hex[:24]
    routing = {"reply_to": requester.reply_to, "correlation_id": correlation_id}
    body = {"request_type": request_type, "model": model, **fields}
    key = f"llm.request.ollama.{request_type}.{model.replace(':', '.')}"
    if in_body:
        requester.publish(key, {**body, **routing}, content_type="application/json", type="task", app_id="legion")
    else:
        requester.publish(key, body, content_type="application/json", **routing)
    return correlation_id, requester.reply()


@pytest.mark.parametrize("in_body", [True, False], ids=["body", "property"])
@pytest.mark.parametrize(
    "request_type, model, fields, result, usage",
    [
        ("chat", CHAT_MODEL, {"messages": [{"role": "user", "content": "Hello"}]}, CHAT, USAGE),
        ("generate", CHAT_MODEL, {"prompt": "Tell"}, GENERATE, USAGE),
        ("embed", EMBED_MODEL, {"input": "x"}, EMBED, None),
        ("embed", EMBED_MODEL, {"text": "x"}, EMBED, None),
    ],
)
@pytest.mark.every_version
def test_0_3_1_gets_its_answer_to_the_letter(
    requester: Requester, request_type: str, model: str, fields: Any, result: Any, usage: Any, in_body: bool
) -> None:
    correlation_id, reply = plain(requester, request_type, model, in_body, **fields)
    assert reply.body == {
        "correlation_id": correlation_id,
        "result": result,
        "usage": usage,
        "model": model,
        "provider": "ollama",
        "status": 200,
    }
    properties = set_properties(reply.properties)
    assert properties.pop("headers", None) is None
    assert re.fullmatch(UUID, properties.pop("message_id").rpartition("_")[2])
    assert properties.pop("app_id") not in ("", "legion", "lex-ollama")
    # What 0.3.1 leaves to its transport library: when, and that the message survives a restart of the broker or not.
    properties.pop("timestamp", None)
    properties.pop("delivery_mode", None)
    assert properties.pop("content_encoding", "identity") == "identity"
    assert properties == {
        "content_type": "application/json",
        "type": "task",
        "correlation_id": correlation_id,
        "priority": 0,
    }
    assert reply.headers == {"x-legion-hostname": NODE}


def test_0_3_1_streams_nothing_and_still_answers(requester: Requester) -> None:
    _sent, reply = plain(requester, "chat", CHAT_MODEL, messages=[{"role": "user", "content": "Hello"}], stream=True)
    assert reply.body["result"] == CHAT


def test_0_3_1_serves_an_unknown_type_as_chat(requester: Requester, scripted: ScriptedOllama) -> None:
    requester.publish(
        f"llm.request.ollama.chat.{CHAT_MODEL.replace(':', '.')}",
        {
            "request_type": "summarise",
            "messages": [{"role": "user", "content": "Hello"}],
            "reply_to": requester.reply_to,
            "correlation_id": "c-1",
        },
        content_type="application/json",
    )
    reply = requester.reply()
    assert (reply.body["result"], reply.body["correlation_id"]) == (CHAT, "c-1")
    assert scripted.calls[-1][0] == "/api/chat"


def test_0_3_1_learns_why_it_failed(requester: Requester) -> None:
    correlation_id, reply = plain(requester, "chat", CHAT_MODEL, messages=[{"role": "user", "content": "fail"}])
    error = reply.body.pop("error")
    assert reply.body == {
        "correlation_id": correlation_id,
        "result": None,
        "usage": None,
        "model": CHAT_MODEL,
        "provider": "ollama",
        "status": 500,
    }
    assert set(error) == {"code", "message", "retriable"}
    assert (error["code"], error["retriable"]) == ("inference_failed", True)
    assert "the runner fell over" in error["message"]


# Dialect typed (lex-ollama 0.3.2 to 0.3.10).

CONTEXT = {
    "conversation_id": "conv_81",
    "message_id": "msg_12",
    "parent_message_id": "msg_11",
    "message_seq": 12,
    "request_id": "req_77",
    "exchange_id": "exch_002",
}


def typed(
    requester: Requester,
    request_type: str,
    model: str,
    *,
    key: Optional[str] = None,
    exchange: str = "llm.request",
    headers: Optional[dict[str, Any]] = None,
    **fields: Any,
) -> tuple[str, Reply]:
    """Publish as legion-llm 0.8.36 does (transport of 2026-05: reply_to as property and in the body)."""
    correlation_id = f"req_{uuid.uuid4()}"
    requester.publish(
        key or f"llm.request.ollama.{request_type}.{model.replace(':', '.')}",
        {
            "request_type": request_type,
            "message_context": CONTEXT,
            "provider": "ollama",
            "model": model,
            "reply_to": requester.reply_to,
            "correlation_id": correlation_id,
            **fields,
        },
        exchange,
        content_type="application/json",
        content_encoding="identity",
        type="llm.fleet.request",
        message_id=f"req_{uuid.uuid4()}",
        correlation_id=correlation_id,
        reply_to=requester.reply_to,
        priority=5,
        expiration="30000",
        delivery_mode=1,
        timestamp=int(time.time()),
        app_id="legion-llm",
        headers={
            "legion_protocol_version": "2.0",
            "x-legion-llm-provider": "ollama",
            "x-legion-llm-model": model,
            "x-legion-llm-request-type": request_type,
            "x-legion-llm-schema-version": "1.0.0",
            "x-legion-llm-conversation-id": "conv_81",
            "x-legion-llm-message-id": "msg_12",
            "x-legion-llm-request-id": "req_77",
            **(headers or {}),
        },
    )
    return correlation_id, requester.reply()


def check_typed_envelope(
    reply: Reply, requester: Requester, correlation_id: str, kind: str, prefix: str, request_type: str, model: str
) -> None:
    properties = set_properties(reply.properties)
    assert re.fullmatch(prefix + UUID, properties.pop("message_id"))
    assert abs(properties.pop("timestamp") - time.time()) < 60
    assert properties.pop("app_id") not in ("", "lex-ollama", "legion-llm")
    # legion-llm 0.8.33 and later repeat the reply queue here; 0.6.25 to 0.8.32 do not. Persistent before, not after.
    assert properties.pop("reply_to", requester.reply_to) == requester.reply_to
    assert properties.pop("delivery_mode") in (1, 2)
    assert properties == {
        "content_type": "application/json",
        "content_encoding": "identity",
        "type": kind,
        "correlation_id": correlation_id,
        "priority": 0,
    }
    headers = dict(reply.headers)
    if kind == "llm.fleet.error":
        assert headers.pop("x-legion-fleet-error") == reply.body["error"]["code"]
    assert headers.pop("legion_protocol_version", "2.0") == "2.0"
    assert headers == {
        "x-legion-llm-provider": "ollama",
        "x-legion-llm-model": model,
        "x-legion-llm-request-type": request_type,
        "x-legion-llm-schema-version": "1.0.0",
        "x-legion-llm-conversation-id": "conv_81",
        "x-legion-llm-message-id": "msg_12",
        "x-legion-llm-request-id": "req_77",
        "x-legion-hostname": NODE,
    }


@pytest.mark.parametrize("exchange", ["llm.request", "llm.fleet"])
@pytest.mark.parametrize("lane", ["model", "shared"])
@pytest.mark.parametrize(
    "request_type, model, fields, own, tokens, stop",
    [
        (
            "chat",
            CHAT_MODEL,
            {"messages": [{"role": "user", "content": "Hello"}]},
            {"message": {"role": "assistant", "content": "Good morning."}},
            {"input": 31, "output": 12, "total": 43},
            "stop",
        ),
        (
            "generate",
            CHAT_MODEL,
            {"prompt": "Tell"},
            {"message": {"role": "assistant", "content": "Once there was"}},
            {"input": 31, "output": 12, "total": 43},
            "length",
        ),
        # The token count of an embedding is a deviation: the original always says 0.
        (
            "embed",
            EMBED_MODEL,
            {"input": "x"},
            {"embeddings": [[0.25, -0.5, 0.125]]},
            {"input": 4, "output": 0, "total": 4},
            None,
        ),
    ],
)
@pytest.mark.every_version
def test_typed_gets_its_answer_to_the_letter(
    requester: Requester,
    request_type: str,
    model: str,
    fields: Any,
    own: Any,
    tokens: Any,
    stop: Optional[str],
    lane: str,
    exchange: str,
) -> None:
    slug = model.replace(":", "-")
    shared = f"llm.fleet.embed.{slug}" if request_type == "embed" else f"llm.fleet.inference.{slug}"
    correlation_id, reply = typed(
        requester, request_type, model, key=shared if lane == "shared" else None, exchange=exchange, **fields
    )
    body = reply.body
    latency = body["routing"].pop("latency_ms")
    assert isinstance(latency, int)
    assert latency >= 0
    stamps = body.pop("timestamps")
    assert set(stamps) == {"received", "provider_start", "provider_end", "returned"}
    assert all(MOMENT.fullmatch(stamp) for stamp in stamps.values())
    assert stamps["received"] <= stamps["provider_start"] <= stamps["provider_end"] <= stamps["returned"]
    audit = body["audit"]["fleet:execute"]
    assert MOMENT.fullmatch(audit.pop("timestamp"))
    assert audit.pop("duration_ms") == latency
    # Only present with legion-llm 0.8.36 and later, where every reader tolerates them.
    assert body.pop("provider", "ollama") == "ollama"
    assert body.pop("model", model) == model
    assert body.pop("correlation_id", correlation_id) == correlation_id
    assert body == {
        "message_context": CONTEXT,
        "request_type": request_type,
        "routing": {"provider": "ollama", "model": model, "tier": "fleet", "strategy": "fleet_dispatch"},
        "tokens": tokens,
        "stop": {"reason": stop},
        "cost": {"estimated_usd": 0.0, "provider": "ollama", "model": model},
        "audit": {"fleet:execute": {"outcome": "success"}},
        "stream": False,
        **own,
    }
    check_typed_envelope(reply, requester, correlation_id, "llm.fleet.response", "resp_", request_type, model)


@pytest.mark.parametrize(
    "fields, request_type, code, category, retriable",
    [
        (
            {"messages": [{"role": "user", "content": "x"}], "stream": True},
            "chat",
            "unsupported_streaming",
            "validation",
            False,
        ),
        ({"messages": [{"role": "user", "content": "fail"}]}, "chat", "inference_failed", "worker", True),
        ({"messages": [{"role": "user", "content": "x"}]}, "summarise", "unsupported_type", "validation", False),
    ],
)
def test_typed_gets_its_errors_to_the_letter(
    requester: Requester, fields: Any, request_type: str, code: str, category: str, retriable: bool
) -> None:
    correlation_id, reply = typed(
        requester, request_type, CHAT_MODEL, key=f"llm.request.ollama.chat.{CHAT_MODEL.replace(':', '.')}", **fields
    )
    body = reply.body
    assert len(body["error"].pop("message")) > 10
    assert body["error"].pop("retry_after", None) is None
    for planned, empty in (("timestamps", None), ("enrichments", {}), ("audit", {})):
        assert planned == "timestamps" or body.pop(planned, empty) == empty
    body.pop("timestamps", None)
    assert body.pop("correlation_id", correlation_id) == correlation_id
    assert body == {
        "message_context": CONTEXT,
        "request_type": request_type,
        "error": {"code": code, "retriable": retriable, "category": category, "provider": "ollama"},
        "worker_node": NODE,
    }
    check_typed_envelope(reply, requester, correlation_id, "llm.fleet.error", "err_", request_type, CHAT_MODEL)


def test_embedding_is_embed_in_the_typed_dialect(requester: Requester) -> None:
    _sent, reply = typed(requester, "embeddings", EMBED_MODEL, key="llm.fleet.embed.all-minilm-latest", input="x")
    assert reply.body["embeddings"] == [[0.25, -0.5, 0.125]]


def test_ollama_gets_the_fields_that_lex_ollama_forwards(requester: Requester, scripted: ScriptedOllama) -> None:
    typed(
        requester,
        "chat",
        CHAT_MODEL,
        messages=[{"role": "user", "content": "Hello"}],
        options={"temperature": 0},
        tools=[{"type": "function", "function": {"name": "f"}}],
        keep_alive="5m",
        system="dropped, as lex-ollama does for chat",
        caller={"who": "me"},
    )
    path, body = scripted.calls[-1]
    assert body.pop("stream", False) is False
    assert (path, body) == (
        "/api/chat",
        {
            "model": CHAT_MODEL,
            "messages": [{"role": "user", "content": "Hello"}],
            "options": {"temperature": 0},
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "keep_alive": "5m",
        },
    )


def test_a_request_for_another_model_than_the_lanes_gets_no_other_model(
    requester: Requester, scripted: ScriptedOllama
) -> None:
    before = len(scripted.calls)
    _sent, reply = typed(
        requester,
        "chat",
        "somebody-elses:70b",
        key=f"llm.request.ollama.chat.{CHAT_MODEL.replace(':', '.')}",
        messages=[{"role": "user", "content": "Hello"}],
    )
    assert [body["model"] for _path, body in scripted.calls[before:]] in ([], [CHAT_MODEL])
    assert reply.properties.type in ("llm.fleet.response", "llm.fleet.error")


@pytest.mark.every_version
def test_a_direct_reply_queue_is_answered_and_not_taken_for_a_requester_that_is_gone(
    broker_with_topology: Any, worker: Path
) -> None:
    """RabbitMQ (3.10 and 4.0) returns a mandatory message to such a queue although it delivers it."""
    connection = pika.BlockingConnection(pika.URLParameters(broker_with_topology.amqp_url))
    channel = connection.channel()
    replies: list[pika.BasicProperties] = []
    channel.basic_consume(
        "amq.rabbitmq.reply-to", lambda _c, _m, properties, _b: replies.append(properties), auto_ack=True
    )
    correlation_id = f"req_{uuid.uuid4()}"
    channel.basic_publish(
        "llm.request",
        f"llm.request.ollama.chat.{CHAT_MODEL.replace(':', '.')}",
        json.dumps({"request_type": "chat", "messages": [{"role": "user", "content": "Hello"}]}).encode(),
        pika.BasicProperties(type="llm.fleet.request", correlation_id=correlation_id, reply_to="amq.rabbitmq.reply-to"),
    )
    deadline = time.monotonic() + 20
    while not replies:
        assert time.monotonic() < deadline, "no reply"
        connection.process_data_events(0.05)
    assert [properties.correlation_id for properties in replies] == [correlation_id]
    while not (lines := [line for line in worker.read_text().splitlines() if correlation_id in line]):
        assert time.monotonic() < deadline, "the worker has not logged the request"
        time.sleep(0.05)
    assert "reply=confirmed" in lines[-1]
    connection.close()
