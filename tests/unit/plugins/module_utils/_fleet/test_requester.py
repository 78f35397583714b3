# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions over a connection: each way in which one can end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._fleet import broker_connection, reply_channel
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.broker import Address, BrokerSettings
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.broker_connection import (
    BrokerConnection,
    QueueState,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects import dialect_named
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.base import Dialect
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.errors import (
    BrokerError,
    BrokerUnreachableError,
    ExchangeMissingError,
    FleetBackpressureError,
    FleetPublishTimeoutError,
    FleetTimeoutError,
    InvalidQuestionError,
    NoFleetQueueError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.exchange_listener import listen
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.lanes import lane
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.messages import (
    Message,
    Properties,
    Question,
    Success,
)
from ansible_collections.legionio.ollama.plugins.module_utils._fleet.requester import MAX_REQUEST, Requester, RoundTrip
from pika.exceptions import StreamLostError

from .memory_broker import MemoryBroker

SETTINGS = BrokerSettings((Address("one", 5672),), vhost="/", username="u", password="p")
LANE = lane("chat", "m:1")
TYPED = dialect_named("typed")


def ask(question: Any = None, dialect: Dialect = TYPED, *, seconds: float = 5.0, **options: Any) -> RoundTrip:
    made = question or Question("chat", "m:1", {"messages": [{"role": "user", "content": "Hello?"}]}, 5.0)
    with BrokerConnection(SETTINGS) as connection:
        requester = Requester(connection, direct=options.pop("direct", False))
        return requester.ask(made, dialect, exchange="llm.request", routing_key=LANE.queue, seconds=seconds, **options)


def good_morning(message: Message) -> Iterator[Message]:
    """Answer as a worker does."""
    if message.properties.reply_to is None:
        return
    request = TYPED.read(message, json.loads(message.body), LANE)
    result = {"message": {"role": "assistant", "content": "Good morning."}, "done_reason": "stop"}
    from ansible_collections.legionio.ollama.plugins.module_utils._fleet.dialects.base import ReplyIdentity

    yield TYPED.write(request, Success(result, 0.0, 1.0), ReplyIdentity("gpu-01")).message


def test_ask_answered_returns_the_answer_of_the_right_request(memory_broker: MemoryBroker) -> None:
    def answers(message: Message) -> Iterator[Message]:
        for answer in good_morning(message):
            yield Message(Properties(**{**vars(answer.properties), "correlation_id": "req_other"}), {}, b"{}")
            yield answer
            yield Message(answer.properties, answer.headers, b"late")

    memory_broker.answers = answers
    trip = ask()
    assert (trip.answer.text, trip.answer.node, trip.stream) == ("Good morning.", "gpu-01", None)
    ((exchange, key, message),) = memory_broker.published
    assert (exchange, key) == ("llm.request", LANE.queue) and message.properties.correlation_id == trip.correlation_id
    assert message.properties.reply_to is not None and message.properties.reply_to.startswith("llm.fleet.reply.")


def test_ask_direct_uses_no_queue(memory_broker: MemoryBroker) -> None:
    memory_broker.answers = good_morning
    assert ask(direct=True).answer.text == "Good morning."
    assert memory_broker.published[0][2].properties.reply_to == "amq.rabbitmq.reply-to"


@pytest.mark.parametrize(
    "takes, error, text",
    [
        ("return", NoFleetQueueError, "No queue takes a request"),
        ("refuse", FleetBackpressureError, "it is full"),
        ("silence", FleetPublishTimeoutError, "did not confirm"),
    ],
)
def test_ask_message_not_taken_says_why(
    memory_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, takes: str, error: type[Exception], text: str
) -> None:
    monkeypatch.setattr(reply_channel, "CONFIRM_TIMEOUT", 0.05)
    memory_broker.takes = takes
    with pytest.raises(error, match=text):
        ask()


def test_ask_without_an_answer_tells_how_the_queue_is(memory_broker: MemoryBroker) -> None:
    memory_broker.queues[LANE.queue] = (3, 1)
    with pytest.raises(FleetTimeoutError, match="1 consumers and 3 requests waiting"):
        ask(seconds=0.05)
    del memory_broker.queues[LANE.queue]
    with pytest.raises(FleetTimeoutError, match=f"from the lane {LANE.queue}. Read the log"):
        ask(seconds=0.05)


def test_ask_without_an_answer_is_a_timeout_if_the_state_of_the_queue_is_secret(memory_broker: MemoryBroker) -> None:
    """RabbitMQ 4.3 tells the state of a queue only to users that may configure the queue."""
    memory_broker.hidden = {LANE.queue: 403}
    with pytest.raises(FleetTimeoutError, match="No answer came"):
        ask(seconds=0.05)


def test_ask_connection_lost_meanwhile_is_the_error(memory_broker: MemoryBroker) -> None:
    def lose(message: Message) -> Iterator[Message]:
        if message.properties.reply_to is not None:
            memory_broker.connection.lose(StreamLostError("gone"))
        return iter(())

    memory_broker.answers = lose
    with pytest.raises(BrokerError):
        ask()


@pytest.mark.parametrize(
    "question, dialect, text",
    [
        (
            Question("chat", "m:1", {"messages": [{"role": "user", "content": "x" * MAX_REQUEST}]}, 5.0),
            "typed",
            "are allowed",
        ),
        (Question("chat", "m:1", {"messages": []}, 5.0, stream=True), "0.3.1", "has no streams"),
    ],
)
def test_ask_question_that_cannot_be_sent_is_refused(
    memory_broker: MemoryBroker, question: Question, dialect: str, text: str
) -> None:
    with pytest.raises(InvalidQuestionError, match=text):
        ask(question, dialect_named(dialect))
    assert memory_broker.published == []


def test_connection_first_broker_unreachable_takes_the_next(memory_broker: MemoryBroker) -> None:
    memory_broker.unreachable = {"one"}
    two = BrokerSettings((Address("one", 5672), Address("two", 5672)), vhost="/", username="u", password="p")
    with BrokerConnection(two) as connection:
        assert connection.server_properties["version"] == "4.0.5"
        assert connection.server_properties["copyright"] == "�"
    with pytest.raises(BrokerUnreachableError, match="one:5672"):
        ask()


def test_connection_step_without_an_answer_ends_in_time(
    memory_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_connection, "STEP_TIMEOUT", 0.05)
    memory_broker.refuses_to = {"open a channel"}
    with pytest.raises(BrokerError, match=r"longer than 0\.05 s to open a channel"):
        ask()


def test_queue_state_missing_queue_leaves_the_connection_usable(memory_broker: MemoryBroker) -> None:
    memory_broker.queues["llm.seen"] = (1, 0)
    with BrokerConnection(SETTINGS) as connection:
        assert connection.queue_state("llm.unseen") is None
        assert connection.queue_state("llm.seen") == QueueState(messages=1, consumers=0)


@pytest.mark.parametrize("code", [403, 405])
def test_queue_state_refused_leaves_the_connection_usable(memory_broker: MemoryBroker, code: int) -> None:
    memory_broker.hidden = {"llm.secret": code}
    memory_broker.queues["llm.seen"] = (1, 0)
    with BrokerConnection(SETTINGS) as connection:
        with pytest.raises(BrokerError):
            connection.queue_state("llm.secret")
        assert connection.queue_state("llm.seen") == QueueState(messages=1, consumers=0)


def test_ask_reply_queue_deleted_meanwhile_is_the_error(memory_broker: MemoryBroker) -> None:
    memory_broker.refuses_to = {"consume"}
    with pytest.raises(BrokerError, match="cancelled the consumer of the queue llm"):
        ask()


def test_listen_cancelled_by_the_broker_is_an_error(memory_broker: MemoryBroker) -> None:
    """Without its queue, a listener would hear nothing any more, and take the whole fleet for gone."""
    memory_broker.refuses_to = {"consume"}
    with BrokerConnection(SETTINGS) as connection, pytest.raises(BrokerError, match="cancelled the consumer"):
        listen(connection, [("llm.registry", "#")], 5.0, lambda _message: None)


def test_listen_takes_what_comes_and_names_a_missing_exchange(memory_broker: MemoryBroker) -> None:
    memory_broker.answers = lambda _message: iter(
        [Message(Properties(), {}, b"one"), Message(Properties(), {}, b"two")]
    )
    heard: list[Message] = []
    with BrokerConnection(SETTINGS) as connection:
        listen(connection, [("llm.registry", "#")], 0.05, heard.append)
        assert [message.body for message in heard] == [b"one", b"two"]
        with pytest.raises(ExchangeMissingError, match="'gone'"):
            listen(connection, [("gone", "#")], 0.05, heard.append)
