# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requesters that keep a fleet busy while its brokers die, and lose no answer by that: one for each lane.

Each has a connection of its own to a node of the cluster, asks for another answer whenever one has come, and keeps its
answers in a quorum queue. It publishes a request again that the broker has not confirmed, and goes to another node when
its own is silent, as a requester must that wants every answer. All of them live in one thread.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any, Callable, Optional

import pika
import pika.adapters.select_connection
from history import Happened, History, error_code

#: Seconds without a sign of life, or without a confirm, after which a requester goes to another node.
SILENCE = 8.0

#: Seconds between two looks for that.
LOOK = 0.5

#: The header of an answer whose request was delivered before.
REDELIVERED = "x-legion-fleet-redelivered"

EXCHANGE = "llm.request"


class LaneRequester:
    """Keeps a number of requests in one lane.

    :param loop: pika's.
    :param nodes: parameters of connections, in the order in which they are tried.
    :param width: how many requests are without an answer at a time.
    :param happened: called with what happened, the request, and of an answer the code of the error that it is, and
        whether it is marked.
    """

    def __init__(
        self,
        loop: Any,
        nodes: Sequence[pika.ConnectionParameters],
        queue: str,
        width: int,
        happened: Callable[[Happened, str, str, bool], None],
    ) -> None:
        self._loop, self._nodes, self._queue, self._width, self._happened = loop, nodes, queue, width, happened
        self._reply_to = f"llm.fleet.reply.{uuid.uuid4().hex[:16]}"
        self._index = -1
        self._connection: Any = None
        self._channel: Any = None
        self._tag = 0
        self._heard = 0.0
        #: Requests without an answer, and of these those without a confirm, by their delivery tag.
        self.open: set[str] = set()
        self._unconfirmed: dict[int, str] = {}
        self._to_repeat: list[str] = []
        self._answer_ids: set[Optional[str]] = set()
        #: When each answer came, and the request was sent that it is for.
        self.answers: list[tuple[float, float]] = []
        self._sent: dict[str, float] = {}
        self.asking = True

    def start(self) -> None:
        """Connect, and ask for ever."""
        self._connect()
        self._loop.call_later(LOOK, self._look)

    def stop(self) -> None:
        """Ask for no more; what is open is still waited for."""
        self.asking = False

    def leave(self) -> None:
        """Delete the queue of the answers."""
        if self._channel is not None and self._channel.is_open:
            self._channel.queue_delete(self._reply_to)

    # Connection

    def _connect(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.close()  # it may never hear of it
        self._index = (self._index + 1) % len(self._nodes)
        self._channel, self._tag, self._heard = None, 0, time.monotonic()
        self._to_repeat += self._unconfirmed.values()
        self._unconfirmed.clear()
        made: list[Any] = []

        def current(act: Callable[..., None]) -> Callable[..., None]:
            return lambda *given: act(*given) if made and made[0] is self._connection else None

        made.append(
            pika.SelectConnection(
                self._nodes[self._index],
                on_open_callback=current(lambda connection: connection.channel(on_open_callback=self._opened)),
                on_open_error_callback=current(lambda *_gone: self._connect_later()),
                on_close_callback=current(lambda *_gone: self._connect_later()),
                custom_ioloop=self._loop,
            )
        )
        self._connection = made[0]

    def _connect_later(self) -> None:
        self._connection, self._channel = None, None
        self._loop.call_later(0.2, lambda: self._connect() if self._connection is None else None)

    def _look(self) -> None:
        """Go to another node when nothing comes from this one though something should."""
        waits = self._channel is None or bool(self._unconfirmed)
        if self._connection is not None and waits and time.monotonic() - self._heard > SILENCE:
            self._connect()
        self._loop.call_later(LOOK, self._look)

    def _opened(self, channel: Any) -> None:
        def consuming(_frame: Any) -> None:
            self._channel, self._heard = channel, time.monotonic()
            repeated, self._to_repeat = self._to_repeat, []
            for request in repeated:
                self._publish(request)
            self._fill()

        def declared(_frame: Any) -> None:
            channel.basic_consume(self._reply_to, self._answered, callback=consuming)

        channel.add_on_close_callback(lambda channel, _why: self._channel_lost(channel))
        channel.confirm_delivery(lambda frame: self._confirmed(channel, frame))
        channel.queue_declare(self._reply_to, durable=True, arguments={"x-queue-type": "quorum"}, callback=declared)

    def _channel_lost(self, channel: Any) -> None:
        if channel is self._channel and self._connection is not None and self._connection.is_open:
            self._connect()

    # Requests

    def _fill(self) -> None:
        while self.asking and len(self.open) < self._width and self._channel is not None and self._channel.is_open:
            request = f"req_{uuid.uuid4()}"
            self.open.add(request)
            self._publish(request)

    def _publish(self, request: str) -> None:
        if self._channel is None or not self._channel.is_open:
            self._to_repeat.append(request)
            return
        properties = pika.BasicProperties(
            type="llm.fleet.request",
            reply_to=self._reply_to,
            correlation_id=request,
            message_id=f"req_{uuid.uuid4()}",
            delivery_mode=2,
        )
        body = json.dumps({"messages": [{"role": "user", "content": "Hello"}]}).encode()
        # Before, since a broker can have taken what it did not confirm.
        self._happened(Happened.SENT, request, "", False)
        self._sent.setdefault(request, time.monotonic())
        if not self._unconfirmed:
            self._heard = time.monotonic()
        self._tag += 1
        self._unconfirmed[self._tag] = request
        self._channel.basic_publish(EXCHANGE, self._queue, body, properties, mandatory=True)

    def _confirmed(self, channel: Any, frame: Any) -> None:
        if channel is not self._channel:
            return
        self._heard = time.monotonic()
        method = frame.method
        tags = [
            tag
            for tag in self._unconfirmed
            if tag == method.delivery_tag or (method.multiple and tag < method.delivery_tag)
        ]
        for tag in tags:
            request = self._unconfirmed.pop(tag)
            if isinstance(method, pika.spec.Basic.Nack):
                self._loop.call_later(0.5, lambda request=request: self._publish(request))

    def _answered(self, channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        self._heard = time.monotonic()
        channel.basic_ack(method.delivery_tag)
        if method.redelivered and properties.message_id in self._answer_ids:
            return  # taken before, and the acknowledgement was lost
        self._answer_ids.add(properties.message_id)
        request = properties.correlation_id
        headers = properties.headers or {}
        self._happened(Happened.RECEIVED, request, error_code(headers), bool(headers.get(REDELIVERED)))
        if request in self.open:
            self.open.discard(request)
            self.answers.append((time.monotonic(), self._sent.pop(request)))
        self._fill()


class LaneRequesters:
    """All requesters of a drill, in a thread of their own.

    :param hosts: the addresses of the nodes; each requester begins at another.
    :param queues: the lanes.
    :param width: how many requests each lane has at a time.
    :ivar history: what happened to all requests.
    """

    def __init__(
        self, hosts: Sequence[tuple[str, int]], username: str, password: str, queues: Sequence[str], width: int
    ) -> None:
        self.history = History()
        self._loop = pika.adapters.select_connection.IOLoop()
        nodes = [
            pika.ConnectionParameters(
                host, port, credentials=pika.PlainCredentials(username, password), heartbeat=10, socket_timeout=3,
                stack_timeout=5,
            )
            for host, port in hosts
        ]  # fmt: skip
        self.lanes = {
            queue: LaneRequester(
                self._loop, nodes[number % len(nodes) :] + nodes[: number % len(nodes)], queue, width, self._happened
            )
            for number, queue in enumerate(queues)
        }
        self._thread = threading.Thread(target=self._loop.start, daemon=True)
        self._errors: list[BaseException] = []

    def __enter__(self) -> LaneRequesters:
        for lane in self.lanes.values():
            lane.start()
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._for_each(LaneRequester.leave)
        self._loop.add_callback_threadsafe(lambda: self._loop.call_later(0.3, self._loop.stop))
        self._thread.join(20)

    def _for_each(self, act: Callable[[LaneRequester], None]) -> None:
        """Do something with each requester, in the thread of the loop."""
        done = threading.Event()

        def do() -> None:
            for lane in self.lanes.values():
                act(lane)
            done.set()

        self._loop.add_callback_threadsafe(do)
        done.wait(20)

    def _happened(self, what: Happened, request: str, code: str, marked: bool) -> None:
        self.history.record(what, request, time.monotonic(), detail=code, marked=marked)

    def fault(self, name: str, since: float) -> None:
        """Note that something was broken on purpose, from a time until now."""
        self.history.record(Happened.FAULT, at=since, detail=name, seconds=time.monotonic() - since)

    def finish(self, within: float) -> int:
        """Ask for no more, and wait for what is open; return how many have no answer then."""
        self._for_each(LaneRequester.stop)
        deadline = time.monotonic() + within
        while self.missing() and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.missing()

    def missing(self) -> int:
        """Return how many requests have no answer yet."""
        return sum(len(lane.open) for lane in self.lanes.values())

    def count(self, since: float, until: float) -> int:
        """Return how many answers came in a time."""
        return sum(since <= at < until for lane in self.lanes.values() for at, _sent in list(lane.answers))
