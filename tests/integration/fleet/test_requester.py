# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requester, with a real broker and scripted workers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
from typing import Any, Callable

import pika
import pytest
from fleet_parts import ODD_TABLE, asking, channel_to, eventually, raw_tables
from fleet_worker._fleet.broker import Address, BrokerSettings, BrokerTlsSettings
from fleet_worker._fleet.broker_connection import BrokerConnection, QueueState
from fleet_worker._fleet.dialects import dialect_named
from fleet_worker._fleet.errors import (
    BrokerForbiddenError,
    BrokerLoginRefusedError,
    BrokerTlsError,
    BrokerUnreachableError,
    BrokerVhostError,
    ExchangeMissingError,
    FleetAnswerError,
    FleetBackpressureError,
    FleetTimeoutError,
    InvalidQuestionError,
    NoFleetQueueError,
)
from fleet_worker._fleet.messages import Question
from fleet_worker._fleet.requester import Requester

QUESTION = Question("chat", "m:1", {"messages": [{"role": "user", "content": "Hi"}]}, 20)
TYPED, PLAIN = dialect_named("typed"), dialect_named("0.3.1")


@pytest.fixture
def settings(clean_broker: Any) -> BrokerSettings:
    return BrokerSettings.from_url(clean_broker.amqp_url)


def ask(requester: Requester, queue: str, exchange: str = "", seconds: float = 20.0, dialect: Any = TYPED) -> Any:
    return requester.ask(QUESTION, dialect, exchange=exchange, routing_key=queue, seconds=seconds)


class RubyWorker:
    """A worker like lex-ollama 0.3.10 with legion-llm 0.8.33: it reads the body, and only the body."""

    def __init__(
        self, broker: Any, queue: str, reply: Callable[[dict[str, Any]], tuple[dict[str, Any], dict[str, Any]]]
    ) -> None:
        self._broker, self._queue, self._reply = broker, queue, reply
        self.requests: list[tuple[pika.BasicProperties, dict[str, Any]]] = []
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> RubyWorker:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        with channel_to(self._broker) as channel:
            channel.queue_declare(self._queue, auto_delete=True)
            self._ready.set()
            for method, properties, body in channel.consume(self._queue, inactivity_timeout=0.05):
                if self._stop.is_set():
                    return
                if method is None:
                    continue
                document = json.loads(body)
                self.requests.append((properties, document))
                answer, extra = self._reply(document)
                channel.basic_publish(
                    "",
                    document["reply_to"],
                    json.dumps(answer).encode(),
                    pika.BasicProperties(correlation_id=document["correlation_id"], **extra),
                )
                channel.basic_ack(method.delivery_tag)


def typed_response(_request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    body = {
        "message_context": {},
        "request_type": "chat",
        "routing": {"provider": "ollama", "model": "m:1", "tier": "fleet"},
        "tokens": {"input": 3, "output": 4, "total": 7},
        "audit": {"fleet:execute": {"outcome": "success"}},
        "message": {"role": "assistant", "content": "Good morning."},
    }
    return body, {"type": "llm.fleet.response", "headers": {"x-legion-hostname": "ruby-01"}}


def test_answer_names_its_node(clean_broker: Any, settings: BrokerSettings) -> None:
    with RubyWorker(clean_broker, "ruby", typed_response) as worker, asking(settings) as requester:
        for _time in range(3):
            answered = ask(requester, "ruby")
            assert (answered.answer.text, answered.answer.node) == ("Good morning.", "ruby-01")
            assert (answered.answer.input_tokens, answered.answer.output_tokens) == (3, 4)
            assert 0 < answered.seconds < 60
    properties, body = worker.requests[-1]
    assert properties.correlation_id == body["correlation_id"] == answered.correlation_id
    assert properties.reply_to == body["reply_to"]
    assert body["reply_to"].startswith("llm.fleet.reply.") and len(body["reply_to"]) == len("llm.fleet.reply.") + 16


def test_answer_with_a_header_that_pika_cannot_read_is_accepted(clean_broker: Any, settings: BrokerSettings) -> None:
    def odd(request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        return typed_response(request)[0], {"type": "llm.fleet.response", "headers": ODD_TABLE}

    with raw_tables(), RubyWorker(clean_broker, "ruby", odd), asking(settings) as requester:
        for _time in range(2):
            assert ask(requester, "ruby").answer.text == "Good morning."


def test_answer_with_an_error_raises_it(clean_broker: Any, settings: BrokerSettings) -> None:
    error = {"code": "ollama_unavailable", "message": "it is down", "retriable": True, "category": "worker"}

    def reply(_request: dict[str, Any]) -> Any:
        return {"error": error, "worker_node": "ruby-01"}, {"type": "llm.fleet.error"}

    with (
        RubyWorker(clean_broker, "ruby", reply),
        asking(settings) as requester,
        pytest.raises(FleetAnswerError, match="ruby-01 reports ollama_unavailable: it is down") as caught,
    ):
        ask(requester, "ruby")
    assert caught.value.details["retriable"] is True


def test_answer_to_another_request_is_ignored(clean_broker: Any, settings: BrokerSettings) -> None:
    def reply(request: dict[str, Any]) -> Any:
        with channel_to(clean_broker) as channel:
            stray = pika.BasicProperties(correlation_id="req_of_another", type="llm.fleet.response")
            channel.basic_publish("", request["reply_to"], b'{"message": {"content": "wrong"}}', stray)
        return typed_response(request)

    with RubyWorker(clean_broker, "ruby", reply), asking(settings) as requester:
        assert ask(requester, "ruby").answer.text == "Good morning."


@pytest.mark.parametrize("exchange", ["", "llm.request"])
@pytest.mark.every_version
def test_request_to_a_missing_lane_raises_at_once(exchange: str, settings: BrokerSettings) -> None:
    with asking(settings) as requester:
        began = time.monotonic()
        with pytest.raises(NoFleetQueueError, match="No queue takes a request"):
            ask(requester, "llm.request.ollama.chat.none", exchange)
        assert time.monotonic() - began < 60


@pytest.mark.every_version
def test_request_to_a_full_lane_raises_at_once(clean_broker: Any, settings: BrokerSettings) -> None:
    with channel_to(clean_broker) as channel:
        arguments = {"x-queue-type": "quorum", "x-max-length": 0, "x-overflow": "reject-publish"}
        channel.queue_declare("llm.full", durable=True, arguments=arguments)
        for _time in range(20):  # a quorum queue notices a moment late that it is full
            with asking(settings) as requester, contextlib.suppress(FleetTimeoutError):
                with pytest.raises(FleetBackpressureError, match="it is full"):
                    ask(requester, "llm.full", seconds=0.1)
                return
    raise AssertionError("a full queue takes everything")


def test_request_without_an_answer_raises_with_the_state_of_its_queue(
    clean_broker: Any, settings: BrokerSettings
) -> None:
    with channel_to(clean_broker) as channel, asking(settings) as requester:
        channel.queue_declare("llm.quiet", auto_delete=True)
        with pytest.raises(
            FleetTimeoutError, match=r"within 0\.5 s .* its queue has 0 consumers and 1 requests waiting"
        ):
            ask(requester, "llm.quiet", seconds=0.5)
        method, properties, _body = channel.basic_get("llm.quiet")
        assert method is not None
        assert properties.expiration == "20000"
        # The next question finds the requester in order.
        with pytest.raises(NoFleetQueueError):
            ask(requester, "llm.none")


def test_request_to_a_missing_exchange_names_it(settings: BrokerSettings) -> None:
    with asking(settings) as requester:
        for _time in range(2):
            with pytest.raises(ExchangeMissingError, match=r"The exchange 'llm\.nowhere' does not exist"):
                ask(requester, "a", "llm.nowhere")


def test_request_that_is_too_large_is_not_sent(settings: BrokerSettings) -> None:
    with asking(settings) as requester, pytest.raises(InvalidQuestionError, match="1048576 are allowed"):
        requester.ask(
            Question("generate", "m", {"prompt": "x" * 1048576}, 5), TYPED, exchange="", routing_key="q", seconds=5
        )


def test_queue_state_leaves_the_queue_unchanged(clean_broker: Any, settings: BrokerSettings) -> None:
    with channel_to(clean_broker) as channel, BrokerConnection(settings) as connection:
        channel.queue_declare("llm.seen", auto_delete=True)
        channel.basic_publish("", "llm.seen", b"{}")
        assert connection.queue_state("llm.seen") == QueueState(messages=1, consumers=0)
        assert connection.queue_state("llm.unseen") is None
        assert connection.queue_state("llm.seen") == QueueState(messages=1, consumers=0)
        channel.queue_delete("llm.seen")


@pytest.mark.every_version
def test_refusals_of_the_broker_raise_different_errors(settings: BrokerSettings) -> None:
    host = settings.addresses[0].host
    for changes, kind, text in (
        ({"password": "wrong"}, BrokerLoginRefusedError, "refuses the login of the user 'lab'"),
        ({"username": "nobody"}, BrokerLoginRefusedError, "'nobody'"),
        ({"vhost": "nowhere"}, BrokerVhostError, "has no virtual host 'nowhere'"),
        ({"addresses": (Address(host, 1),)}, BrokerUnreachableError, "Connection refused"),
        ({"addresses": (Address("no.such.host.invalid", 5672),)}, BrokerUnreachableError, "its name is unknown"),
        ({"tls": BrokerTlsSettings()}, BrokerTlsError, "The encryption of the connection"),
    ):
        with pytest.raises(kind, match=text), asking(dataclasses.replace(settings, **changes)):
            raise AssertionError(f"connected with {changes}")


def test_connection_uses_the_second_address_if_the_first_fails(clean_broker: Any, settings: BrokerSettings) -> None:
    addresses = (Address(settings.addresses[0].host, 1), *settings.addresses)
    with BrokerConnection(dataclasses.replace(settings, addresses=addresses)) as connection:
        assert connection.queue_state("llm.unseen") is None


@pytest.mark.every_version
def test_user_without_the_right_to_publish_gets_an_error(clean_broker: Any, settings: BrokerSettings) -> None:
    clean_broker.ctl("add_user", "reader", "reader")
    try:
        clean_broker.ctl("set_permissions", "reader", "^llm.fleet.reply", "^llm.fleet.reply", ".*")
        reader = dataclasses.replace(settings, username="reader", password="reader")
        with asking(reader) as requester, pytest.raises(BrokerForbiddenError, match="'reader'"):
            ask(requester, "a", "llm.request")
    finally:
        clean_broker.ctl("delete_user", "reader")


@pytest.mark.every_version
def test_direct_reply_to_needs_no_right_to_declare(clean_broker: Any, settings: BrokerSettings) -> None:
    clean_broker.ctl("add_user", "asker", "asker")
    try:
        clean_broker.ctl("set_permissions", "asker", "^$", "^(amq.default|llm.request)$", "^$")
        asker = dataclasses.replace(settings, username="asker", password="asker")
        with channel_to(clean_broker) as channel, asking(asker, direct=True) as requester:
            channel.queue_declare("llm.direct", auto_delete=True)

            answered = threading.Event()

            def serve(served: Any, method: Any, properties: Any, body: bytes) -> None:
                assert "reply_to" not in json.loads(body)
                answer = pika.BasicProperties(correlation_id=properties.correlation_id)
                served.basic_publish("", properties.reply_to, b'{"status": 200, "result": {"response": "Hi"}}', answer)
                served.basic_ack(method.delivery_tag)
                answered.set()

            def run() -> None:
                with channel_to(clean_broker) as served:
                    served.basic_consume("llm.direct", serve)
                    deadline = time.monotonic() + 60
                    while not answered.is_set() and time.monotonic() < deadline:
                        served.connection.process_data_events(1)

            thread = threading.Thread(target=run)
            thread.start()
            assert ask(requester, "llm.direct", dialect=PLAIN).answer.text == "Hi"
            thread.join()
            with asking(asker) as other, pytest.raises(BrokerForbiddenError):
                ask(other, "llm.direct")
    finally:
        clean_broker.ctl("delete_user", "asker")


def test_requester_at_its_end_leaves_no_queue(clean_broker: Any, settings: BrokerSettings) -> None:
    with RubyWorker(clean_broker, "ruby", typed_response), asking(settings) as requester:
        ask(requester, "ruby")
    eventually(lambda: not any("llm.fleet.reply" in queue for queue in clean_broker.queues()), "its queue is gone")
