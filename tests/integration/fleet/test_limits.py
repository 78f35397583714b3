# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Costly requests of one requester do not affect other requesters."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any, Callable

import pika
import pytest
from fleet_parts import CHAT_MODEL, ScriptedOllama, Slow, WorkerProcess, answer, channel_to, eventually
from fleet_worker._fleet.lanes import lane

CHAT = lane("chat", CHAT_MODEL).queue
#: The head of a PNG of one pixel, which is all that is looked at.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
MESSAGES = [{"role": "user", "content": "Hello"}]
Start = Callable[..., WorkerProcess]


class Asker:
    """Publishes requests, and reads the answers."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._reply_to = "llm.fleet.reply." + uuid.uuid4().hex[:16]
        channel.queue_declare(self._reply_to, auto_delete=True)

    def send(self, request_id: str, **body: Any) -> None:
        properties = pika.BasicProperties(
            type="llm.fleet.request", reply_to=self._reply_to, correlation_id=request_id, message_id=request_id
        )
        self._channel.basic_publish("llm.request", CHAT, json.dumps(body).encode(), properties, mandatory=True)

    def reply(self) -> tuple[Any, dict[str, Any]]:
        def got() -> Any:
            method, properties, body = self._channel.basic_get(self._reply_to, auto_ack=True)
            return method and (properties, json.loads(body))

        found: tuple[Any, dict[str, Any]] = eventually(got, "a reply", 60)
        return found


@pytest.fixture
def asker(clean_broker: Any) -> Iterator[Asker]:
    with channel_to(clean_broker) as channel:
        yield Asker(channel)


def test_worker_with_copies_of_a_long_request_answers_others_meanwhile(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, asker: Asker
) -> None:
    slow = Slow(120)

    def behave(path: str, body: Any) -> Any:
        return (slow if body["messages"][0]["content"] == "long" else answer)(path, body)

    scripted.behave = behave
    worker = start(clean_broker, scripted.url, concurrency=2).wait_ready()
    eventually(lambda: "push" in worker.status()["summary"], "requests are sent by the broker")
    for _copy in range(30):
        asker.send("long", messages=[{"role": "user", "content": "long"}])
    slow.wait_for()
    asker.send("short", messages=MESSAGES)
    assert asker.reply()[0].correlation_id == "short"
    eventually(lambda: worker.status()["counters"].get("joined") == 29, "all copies have joined the first", 60)
    slow.go_on.set()
    properties, body = asker.reply()
    assert (properties.correlation_id, body["message"]["content"]) == ("long", "Good morning.")
    eventually(lambda: not worker.status()["in_flight"], "nothing is left over")
    assert len(scripted.calls) == 2


def test_worker_applies_the_settings_of_its_lane_and_names_ignored_options(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, asker: Asker
) -> None:
    terms = {"keep_alive": "10m", "option_ranges": {"num_predict": [1, 64]}}
    start(clean_broker, scripted.url, lanes=[{"type": "chat", "model": CHAT_MODEL, **terms}]).wait_ready()
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    content = [{"type": "text", "text": "What is this?"}, picture]
    asker.send(
        "c-1",
        messages=[{"role": "user", "content": content}],
        options={"num_predict": 64, "num_ctx": 10**6},
        keep_alive=0,
        truncate=False,
        temperature=0,
    )
    properties, _body = asker.reply()
    assert properties.headers["x-legion-fleet-ignored"] == "temperature, options.num_ctx, keep_alive"
    ((_path, sent),) = scripted.calls
    assert sent == {
        "model": CHAT_MODEL,
        "messages": [
            {"role": "user", "content": "What is this?"},
            {"role": "user", "content": "", "images": [PIXEL]},
        ],
        "options": {"num_predict": 64},
        "keep_alive": "10m",
        "truncate": False,
        "stream": False,
    }


HARMFUL: dict[str, tuple[dict[str, Any], str]] = {
    "an option beyond the lane's range": ({"options": {"num_predict": 65}}, "unsupported_type"),
    "a schema": ({"format": {"type": "string", "minLength": 1_000_000}}, "payload_too_large"),
    "a program": ({"template": "{{ range 1000000000 }}x{{ end }}"}, "unsupported_type"),
    "very many values": ({"message_context": {"a": [{}] * 200_000}}, "payload_too_large"),
}


def test_worker_refuses_harmful_requests_before_ollama(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, asker: Asker
) -> None:
    lanes = [{"type": "chat", "model": CHAT_MODEL, "option_ranges": {"num_predict": [1, 64]}}]
    start(clean_broker, scripted.url, lanes=lanes).wait_ready()
    for what, (body, _code) in HARMFUL.items():
        asker.send(what, messages=MESSAGES, **body)
    codes = {}
    for _reply in HARMFUL:
        properties, error = asker.reply()
        codes[properties.correlation_id] = error["error"]["code"]
    assert codes == {what: code for what, (_body, code) in HARMFUL.items()}
    assert scripted.calls == []
