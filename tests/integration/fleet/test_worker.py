# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker process with a real broker and a scripted Ollama."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any, Callable, Optional

import pika
import pytest
from fleet_parts import (
    CHAT_MODEL,
    EMBED_MODEL,
    ScriptedOllama,
    Slow,
    WorkerProcess,
    asking,
    channel_to,
    eventually,
)
from fleet_worker._fleet.broker import BrokerSettings
from fleet_worker._fleet.dialects import dialect_named
from fleet_worker._fleet.errors import FleetAnswerError
from fleet_worker._fleet.lanes import lane
from fleet_worker._fleet.messages import Question
from fleet_worker._fleet.requester import Requester
from fleet_worker._fleet.topology import worker_permissions

CHAT = lane("chat", CHAT_MODEL).queue
EMBED = lane("embed", EMBED_MODEL).queue
MESSAGES = [{"role": "user", "content": "Hello"}]
Start = Callable[..., WorkerProcess]


def ask(requester: Requester, call: str = "chat", queue: str = "", dialect: str = "typed", **arguments: Any) -> Any:
    model = EMBED_MODEL if call == "embed" else CHAT_MODEL
    default = {"chat": {"messages": MESSAGES}, "generate": {"prompt": "x"}, "embed": {"input": ["x"]}}[call]
    question = Question(call, model, arguments or default, 30)
    key = queue or lane(call, model).queue
    return requester.ask(question, dialect_named(dialect), exchange="llm.request", routing_key=key, seconds=30)


class Raw:
    """Publishes any message, and reads the answers."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.reply_to = "llm.fleet.reply." + uuid.uuid4().hex[:16]
        channel.queue_declare(self.reply_to, auto_delete=True)

    def send(self, body: Any, queue: str = CHAT, **properties: Any) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        properties = {"type": "llm.fleet.request", "reply_to": self.reply_to, "correlation_id": "c-1", **properties}
        self.channel.basic_publish("llm.request", queue, content, pika.BasicProperties(**properties), mandatory=True)

    def reply(self, within: float = 60.0) -> tuple[pika.BasicProperties, dict[str, Any]]:
        got = eventually(lambda: self.get(self.reply_to), "a reply", within)
        return got[1], json.loads(got[2])

    def get(self, queue: str) -> Optional[tuple[Any, Any, bytes]]:
        got: tuple[Any, Any, bytes] = self.channel.basic_get(queue, auto_ack=True)
        return None if got[0] is None else got


@pytest.fixture
def raw(clean_broker: Any) -> Iterator[Raw]:
    with channel_to(clean_broker) as channel:
        yield Raw(channel)


def waiting(broker: Any, queue: str) -> int:
    with channel_to(broker) as channel:
        count: int = channel.queue_declare(queue, passive=True).method.message_count
        return count


# Serving.


@pytest.mark.parametrize("dialect", ["typed", "0.3.1"])
def test_request_of_every_type_is_answered_in_both_dialects(
    dialect: str, clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    lanes = [
        {"type": "chat", "model": CHAT_MODEL},
        {"type": "generate", "model": CHAT_MODEL},
        {"type": "embed", "model": EMBED_MODEL},
        {"type": "chat", "model": CHAT_MODEL, "style": "shared"},
        {"type": "embed", "model": EMBED_MODEL, "style": "offering"},
    ]
    start(clean_broker, scripted.url, lanes=lanes).wait_ready()
    assert ask(requester, "chat", dialect=dialect).answer.text == "Good morning."
    assert ask(requester, "generate", dialect=dialect).answer.text == "Once there was"
    assert ask(requester, "embed", dialect=dialect).answer.embeddings == [[0.5, -0.5]]
    shared = lane("chat", CHAT_MODEL, style="shared").queue
    assert ask(requester, "generate", shared, dialect).answer.text == "Once there was"
    offering = lane("embed", EMBED_MODEL, style="offering", node="gpu-01").queue
    assert ask(requester, "embed", offering, dialect).answer.node == "gpu-01"


@pytest.mark.every_version
def test_request_with_direct_reply_to_is_answered(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    start(clean_broker, scripted.url).wait_ready()
    with asking(BrokerSettings.from_url(clean_broker.amqp_url), direct=True) as direct:
        assert ask(direct).answer.text == "Good morning."


def test_request_reaches_ollama_with_the_settings_of_its_lane(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    lanes = [
        {"type": "chat", "model": CHAT_MODEL},
        {"type": "chat", "model": CHAT_MODEL, "style": "shared", "context_window": 4096},
    ]
    start(clean_broker, scripted.url, lanes=lanes).wait_ready()
    options = {"seed": 1, "num_ctx": 99, "num_gpu": 1}
    ask(requester, messages=MESSAGES, options=options)
    ask(requester, queue=lane("chat", CHAT_MODEL, style="shared", context_window=4096).queue, messages=MESSAGES)
    path, body = scripted.calls[0]
    assert path == "/api/chat"
    assert body == {"model": CHAT_MODEL, "messages": MESSAGES, "options": {"seed": 1}, "stream": False}
    assert scripted.calls[1][1]["options"] == {"num_ctx": 4096}


def test_runner_options_reach_ollama_if_they_are_allowed(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    start(clean_broker, scripted.url, allow_runner_options=True).wait_ready()
    ask(requester, messages=MESSAGES, options={"num_ctx": 99})
    assert scripted.calls[0][1]["options"] == {"num_ctx": 99}


def test_worker_runs_as_many_requests_as_it_has_slots(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Raw
) -> None:
    slow = scripted.behave = Slow(20)
    worker = start(clean_broker, scripted.url, concurrency=3).wait_ready()
    for number in range(8):
        raw.send({"messages": MESSAGES}, correlation_id=f"c-{number}")
    slow.wait_for(3)
    time.sleep(0.3)
    assert len(scripted.calls) == 3
    assert len(worker.status()["in_flight"]) == 3
    slow.go_on.set()
    assert {raw.reply()[0].correlation_id for _number in range(8)} == {f"c-{number}" for number in range(8)}
    eventually(lambda: waiting(clean_broker, CHAT) == 0 and not worker.status()["in_flight"], "everything acknowledged")


def test_worker_with_a_backlog_starts_embeddings_first(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Raw
) -> None:
    """After a restart, for example: the worker does not take waiting requests in their order of arrival."""
    worker = start(clean_broker, scripted.url, concurrency=1).wait_ready()
    worker.terminate()
    worker.wait_end()
    raw.send({"messages": MESSAGES}, correlation_id="chat")
    raw.send({"input": "x"}, EMBED, correlation_id="embed")
    start(clean_broker, scripted.url, concurrency=1).wait_ready()
    assert [raw.reply()[0].correlation_id for _number in range(2)] == ["embed", "chat"]


# What is not served.


def test_request_without_a_reply_queue_runs_and_is_acknowledged(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Raw
) -> None:
    worker = start(clean_broker, scripted.url).wait_ready()
    raw.send({"messages": MESSAGES}, reply_to=None)
    worker.wait_log('unanswered="no reply_to"')
    assert len(scripted.calls) == 1
    assert waiting(clean_broker, CHAT) == 0


@pytest.mark.every_version
def test_answer_to_a_lost_requester_is_returned_and_counted(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Raw
) -> None:
    worker = start(clean_broker, scripted.url).wait_ready()
    raw.send({"messages": MESSAGES}, reply_to="llm.fleet.reply.gone")
    assert "reply=returned" in worker.wait_log("event=request")
    assert worker.status()["counters"]["reply:returned"] == 1
    assert waiting(clean_broker, CHAT) == 0


@pytest.mark.parametrize("reply_to", [CHAT, "llm.request.ollama.chat.another", "orders"])
@pytest.mark.every_version
def test_request_with_a_forbidden_reply_queue_is_dead_lettered(
    reply_to: str, clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Raw
) -> None:
    worker = start(clean_broker, scripted.url).wait_ready()
    raw.send({"messages": MESSAGES}, reply_to=reply_to)
    assert f"reply_to={reply_to}" in worker.wait_log("outcome=reply_to_refused")
    eventually(lambda: raw.get("ollama.dlx.queue"), "the request in the dead-letter queue")
    assert scripted.calls == []


@pytest.mark.parametrize("kind", ["llm.fleet.response", "llm.fleet.error", "llm.fleet.delta"])
def test_answer_in_a_lane_is_never_answered(
    kind: str, clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Raw
) -> None:
    worker = start(clean_broker, scripted.url).wait_ready()
    raw.send({"messages": MESSAGES}, type=kind)
    worker.wait_log("outcome=is_an_answer")
    assert scripted.calls == []
    assert raw.get(raw.reply_to) is None


@pytest.mark.parametrize(
    "body, properties, code",
    [
        (b"\xff", {}, "unsupported_type"),
        (b"gcm:a:b", {"content_encoding": "encrypted/cs"}, "undecryptable"),
        (b'{"a": "' + b"x" * 3000 + b'"}', {}, "payload_too_large"),
    ],
)
def test_unreadable_request_is_answered_and_dead_lettered(
    body: bytes, properties: Any, code: str, clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Raw
) -> None:
    start(clean_broker, scripted.url, max_request_bytes=2048).wait_ready()
    raw.send(body, **properties)
    replied, document = raw.reply()
    assert (replied.type, document["error"]["code"]) == ("llm.fleet.error", code)
    dead = eventually(lambda: raw.get("ollama.dlx.queue"), "the request in the dead-letter queue")
    assert dead[2] == body
    assert scripted.calls == []


@pytest.fixture
def dead_letters(clean_broker: Any) -> Iterator[None]:
    """The policy of docs/operations.md that has shared lanes dead-letter."""
    policy = json.dumps({"dead-letter-exchange": "ollama.dlx"})
    pattern = r"^llm\.fleet\.(embed|inference|offering)\."
    clean_broker.ctl("set_policy", "--apply-to", "queues", "llm-shared", pattern, policy)
    yield
    clean_broker.ctl("clear_policy", "llm-shared")


@pytest.mark.usefixtures("dead_letters")
@pytest.mark.every_version
def test_shared_lane_with_a_policy_dead_letters(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Raw
) -> None:
    lanes = [{"type": "chat", "model": CHAT_MODEL, "style": "shared"}]
    start(clean_broker, scripted.url, lanes=lanes).wait_ready()
    raw.send(b"no JSON", lane("chat", CHAT_MODEL, style="shared").queue)
    assert raw.reply()[1]["error"]["code"] == "unsupported_type"
    assert eventually(lambda: raw.get("ollama.dlx.queue"), "the request in the dead-letter queue")[2] == b"no JSON"


@pytest.mark.every_version
def test_request_that_has_expired_never_starts(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Raw
) -> None:
    slow = scripted.behave = Slow(20)
    start(clean_broker, scripted.url, concurrency=1).wait_ready()
    raw.send({"messages": MESSAGES}, correlation_id="first")
    slow.wait_for()
    raw.send(
        {"messages": MESSAGES},
        correlation_id="late",
        headers={"x-legion-fleet-deadline": int(time.time() * 1000) + 500},
    )
    time.sleep(0.8)
    slow.go_on.set()
    assert raw.reply()[0].correlation_id == "first"
    properties, document = raw.reply()
    assert (properties.correlation_id, document["error"]["code"]) == ("late", "inference_timeout")
    assert len(scripted.calls) == 1


def test_request_at_its_deadline_ends_at_ollama(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Raw
) -> None:
    slow = scripted.behave = Slow(60)
    lanes = [{"type": "chat", "model": CHAT_MODEL, "deadline": 0.5}]
    start(clean_broker, scripted.url, lanes=lanes).wait_ready()
    began = time.monotonic()
    raw.send({"messages": MESSAGES})
    _properties, document = raw.reply()
    assert document["error"]["code"] == "inference_timeout"
    assert time.monotonic() - began < 30
    slow.go_on.set()
    assert scripted.cancelled.wait(30)


@pytest.mark.parametrize(
    "behave, code",
    [
        (lambda _path, _body: (500, {"error": "the runner fell over"}), "inference_failed"),
        (lambda _path, _body: (404, {"error": "model 'x' not found"}), "model_not_loaded"),
        (lambda _path, _body: (200, {"message": {"content": "Good"}, "done": False}), "inference_failed"),
    ],
)
def test_request_that_ollama_fails_gets_its_error_code(
    behave: Any, code: str, clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    scripted.behave = behave
    start(clean_broker, scripted.url).wait_ready()
    with pytest.raises(FleetAnswerError) as caught:
        ask(requester)
    assert caught.value.details["fleet_code"] == code


def test_answer_that_is_too_large_becomes_an_error(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    def long(path: str, body: dict[str, Any]) -> Any:
        return 200, {"message": {"role": "assistant", "content": "x" * 5000}, "done": True}

    scripted.behave = long
    start(clean_broker, scripted.url, max_reply_bytes=4096).wait_ready()
    with pytest.raises(FleetAnswerError, match="4096 are allowed") as caught:
        ask(requester)
    assert caught.value.details["fleet_code"] == "payload_too_large"


@pytest.mark.every_version
def test_request_near_its_delivery_limit_is_answered_with_an_error(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Raw
) -> None:
    lanes = [{"type": "chat", "model": CHAT_MODEL, "style": "shared"}]
    worker = start(clean_broker, scripted.url, lanes=lanes).wait_ready()
    queue = lane("chat", CHAT_MODEL, style="shared").queue
    worker.terminate()
    worker.wait_end()
    raw.send({"messages": MESSAGES}, queue)
    for _time in range(3):
        method, _properties, _body = eventually(lambda: got(raw.channel, queue), "the request")
        raw.channel.basic_nack(method.delivery_tag, requeue=True)
    start(clean_broker, scripted.url, lanes=lanes).wait_ready()
    properties, document = raw.reply()
    assert document["error"]["code"] == "inference_failed"
    assert properties.headers["x-legion-fleet-redelivered"] == 3
    assert scripted.calls == []


def got(channel: Any, queue: str) -> Any:
    found = channel.basic_get(queue)
    return None if found[0] is None else found


# The same request again.


def test_request_sent_twice_runs_once(clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Raw) -> None:
    slow = scripted.behave = Slow(20)
    worker = start(clean_broker, scripted.url).wait_ready()
    raw.send({"messages": MESSAGES}, message_id="m-1")
    slow.wait_for()
    raw.send({"messages": MESSAGES}, message_id="m-1")
    eventually(lambda: worker.status()["counters"].get("joined") == 1, "the second has joined the first")
    slow.go_on.set()
    first = raw.reply()[1]
    raw.send({"messages": MESSAGES}, message_id="m-1")
    assert raw.reply()[1] == first
    assert len(scripted.calls) == 1
    assert waiting(clean_broker, CHAT) == 0
    raw.send({"messages": MESSAGES}, message_id="m-2")
    assert raw.reply()
    assert len(scripted.calls) == 2


# Coming up.


@pytest.mark.every_version
def test_least_permissions_are_enough(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    rights = worker_permissions(
        [lane("chat", CHAT_MODEL), lane("embed", EMBED_MODEL)], ["llm.request", "llm.fleet"], "gpu-01"
    )
    clean_broker.ctl("add_user", "least", "least-password")
    try:
        clean_broker.ctl("set_permissions", "least", rights["configure"], rights["write"], rights["read"])
        served = start(clean_broker, scripted.url, password="least-password", broker_username="least").wait_ready()
        assert ask(requester).answer.text == "Good morning."
        served.terminate()
        served.wait_end()
        # One right less, and the lane that needs it is named.
        other = {"type": "chat", "model": "another"}
        worker = start(
            clean_broker, scripted.url, password="least-password", broker_username="least", lanes=[other], node="b"
        )
        assert worker.wait_end() == 78
        assert "The lane llm.request.ollama.chat.another cannot be used" in worker.log
    finally:
        clean_broker.ctl("delete_user", "least")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"password": "wrong"}, "refuses the login of the user 'lab'"),
        ({"broker_vhost": "nowhere"}, "has no virtual host 'nowhere'"),
        ({"exchanges": ["llm.nowhere"]}, "The exchange 'llm.nowhere' does not exist"),
        ({"broker_tls": {"ca_path": "/no/such.pem"}}, "The TLS files for the broker cannot be used"),
    ],
)
def test_permanent_error_at_the_start_ends_the_worker_with_one_message(
    settings: dict[str, Any], message: str, clean_broker: Any, scripted: ScriptedOllama, start: Start
) -> None:
    worker = start(clean_broker, scripted.url, **settings)
    assert worker.wait_end() == 78
    assert message in worker.log.splitlines()[-1]
    assert "Traceback" not in worker.log


@pytest.mark.every_version
def test_queue_with_other_arguments_is_reported_with_both_values(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Raw
) -> None:
    raw.channel.queue_declare(CHAT, durable=True, arguments={"x-queue-type": "quorum"})
    worker = start(clean_broker, scripted.url)
    assert worker.wait_end() == 78
    last = worker.log.splitlines()[-1]
    assert f"The queue {CHAT} exists with other arguments" in last
    assert "x-dead-letter-exchange" in last and "ollama.dlx" in last and "Found: PRECONDITION_FAILED" in last


def test_second_worker_for_one_ollama_is_refused(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    first = start(clean_broker, scripted.url, ollama={"exclusive": True}).wait_ready()
    second = start(clean_broker, scripted.url.replace("127.0.0.1", "localhost"), ollama={"exclusive": True})
    assert second.wait_end() == 78
    assert "Another worker on this machine serves the Ollama at" in second.log.splitlines()[-1]
    assert ask(requester).answer.text == "Good morning."
    first.kill()
    start(clean_broker, scripted.url, ollama={"exclusive": True}).wait_ready()


def test_worker_without_a_broker_keeps_trying(scripted: ScriptedOllama, start: Start) -> None:
    class Nowhere:
        host, port, username, password = "127.0.0.1", 1, "a", "b"

    worker = start(Nowhere, scripted.url)
    worker.wait_told("STATUS=The broker 127.0.0.1:1 cannot be reached: Connection refused")
    eventually(lambda: worker.log.count("cannot_connect") >= 2, "a second try")
    assert "READY=1" not in worker.told
    worker.terminate()
    assert worker.wait_end() == 0


def test_worker_without_ollama_waits_and_reports_it(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    scripted.stop()
    worker = start(clean_broker, scripted.url)
    worker.wait_log("event=ollama_down")
    eventually(
        lambda: any(re.match(r"STATUS=0 of 2 lanes served .*Ollama is down: .*refused", word) for word in worker.told),
        "the reason in the status line",
        worker=worker,
    )
    assert "READY=1" not in worker.told
    state = worker.status()
    assert not state["ready"]
    assert {one["state"] for one in state["lanes"]} == {"paused"}
    scripted.start()
    worker.wait_ready()
    assert ask(requester).answer.text == "Good morning."


def test_lane_without_its_model_is_paused_until_it_arrives(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Raw
) -> None:
    scripted.models = [EMBED_MODEL]
    worker = start(clean_broker, scripted.url, ollama={"interval": 0.5}).wait_ready()
    raw.send({"messages": MESSAGES})
    raw.send({"input": "x"}, EMBED, correlation_id="c-2")
    assert raw.reply()[0].correlation_id == "c-2"
    reasons = {one["queue"]: one["reason"] for one in worker.status()["lanes"]}
    assert reasons == {CHAT: f"Ollama does not have the model {CHAT_MODEL}", EMBED: ""}
    assert waiting(clean_broker, CHAT) == 1
    scripted.models = [CHAT_MODEL, EMBED_MODEL]
    assert raw.reply()[0].correlation_id == "c-1"


def test_status_is_for_people_and_for_programs(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    worker = start(clean_broker, scripted.url).wait_ready()
    ask(requester)
    command = [sys.executable, "-m", "fleet_worker", "status", "--config", str(worker.config_path)]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    shown = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=30)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("2 of 2 lanes served (push), 0 running, 0 held")
    assert re.search(r"^last 1m +[0-9.]+ +0.00 ", shown.stdout, re.MULTILINE)
    assert re.search(rf"^{re.escape(CHAT)} +push +0 +1 +{CHAT_MODEL} +-$", shown.stdout, re.MULTILINE)
    told = json.loads(subprocess.check_output([*command, "--json"], env=environment, timeout=30))
    assert told["counters"]["outcome:answered"] == 1
    assert told["connected"] is True


def test_log_has_requester_model_and_seconds_and_never_the_prompt(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, requester: Requester
) -> None:
    worker = start(clean_broker, scripted.url, log={"format": "json", "level": "debug"}).wait_ready()
    answered = ask(requester, messages=[{"role": "user", "content": "TOPSECRET"}])
    worker.wait_log('"event": "request"')
    lines = [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line["event"] == "request"]
    assert line["correlation_id"] == answered.correlation_id
    assert (line["lane"], line["model"], line["outcome"], line["reply"]) == (CHAT, CHAT_MODEL, "answered", "confirmed")
    assert (line["input_tokens"], line["output_tokens"]) == (3, 2)
    assert 0 <= line["seconds"] < 60
    assert "TOPSECRET" not in worker.log and "Good morning" not in worker.log
    assert clean_broker.password not in worker.log


def test_answer_to_an_old_requester_uses_the_legacy_exchange(
    clean_broker: Any, scripted: ScriptedOllama, start: Start, raw: Raw
) -> None:
    raw.channel.exchange_declare("agent", "topic", durable=True)
    raw.channel.queue_bind(raw.reply_to, "agent", raw.reply_to)
    start(clean_broker, scripted.url, legacy_reply_exchange="agent").wait_ready()
    raw.send({"messages": MESSAGES}, type=None)
    got = eventually(lambda: raw.get(raw.reply_to), "a reply")
    assert got[0].exchange == "agent"
    raw.send({"messages": MESSAGES})
    assert eventually(lambda: raw.get(raw.reply_to), "a reply")[0].exchange == ""
