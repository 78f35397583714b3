# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model of RabbitMQ as a client sees it: connections, channels, exchanges, confirms, and queues that take their time.

The queues are those of ``quorum_queue.py``. What is modelled around them is what decides about the order of events:

- A channel is a process with a mailbox. For a consume, a cancel, a get or a declaration it waits for the queue, and
  reads nothing meanwhile, neither of the client nor of the queue.
- A queue takes commands in their order, each a while after it was sent. While it has no leader it takes none.
- A delivery of a queue is on its way to the channel for a while. When it arrives for a consumer that the channel has
  cancelled since, the channel returns it, and the queue counts that (rabbit_fifo_client.erl, issue 3729): the client
  never sees such a delivery.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Callable, Optional

from pika import BasicProperties, spec
from quorum_queue import DeadLetter, Entry, QuorumQueue, Series
from virtual_clock import Clock

#: Seconds between two looks of a queue at itself (quorum_tick_interval), and of a channel at what it has delivered
#: (channel_tick_interval).
QUEUE_TICK = 5.0
CHANNEL_TICK = 60.0

#: Seconds for which a channel waits for a leader (rabbit_fifo_client: net_ticktime, which is 60, and 5). Then a get
#: ends the connection with 541, as seen with 3.10.8 and 4.0.5.
UNANSWERED = 65.0

#: Seconds after which the broker takes a delivery back that nobody acknowledges (consumer_timeout).
CONSUMER_TIMEOUT = 1800.0

Sink = Callable[["Published"], bool]


@dataclass(frozen=True)
class Published:
    """A message as it was published."""

    exchange: str
    routing_key: str
    properties: BasicProperties
    body: bytes


@dataclass(frozen=True)
class Latency:
    """How long things take, seconds: the least, and what chance adds to that.

    :ivar wire: from client to broker, or back.
    :ivar queue: until a queue has taken a command, and until a delivery of it is at the channel.
    """

    wire: tuple[float, float] = (0.0002, 0.0)
    queue: tuple[float, float] = (0.0005, 0.0)


class ChannelError(Exception):
    """The broker closes the channel."""

    def __init__(self, code: int, text: str, method: Any) -> None:
        super().__init__(text)
        self.code, self.text, self.method = code, text, method


class Always(partial[Any]):
    """A command that a queue takes also when it was deleted since."""


class QueueProcess:
    """A queue, and the commands that are on their way to it."""

    def __init__(self, broker: ModelBroker, queue: QuorumQueue) -> None:
        self.broker = broker
        self.queue = queue
        self.deleted = False
        #: The connection that alone may use it, and with which it goes.
        self.owner: Optional[ServerConnection] = None
        self.leaderless_until = 0.0
        self.deaf_until = 0.0
        self.orphaned_until = 0.0
        #: Commands that wait for a leader.
        self._stalled: deque[tuple[Callable[[], Any], Callable[[Any], Any]]] = deque()
        self._last = 0.0
        self._alarm: Any = None
        if queue.expires is not None:
            self._tick()

    def command(self, act: Callable[[], Any], answer: Callable[[Any], Any] = lambda _result: None) -> None:
        """Have the queue do something, in the order of the commands; then answer on the way back."""
        clock = self.broker.clock
        arrives = max(self._last, clock.now + self.broker.delay(self.broker.latency.queue))
        self._last = arrives
        clock.at(arrives, lambda: self._take(act, answer))

    def _take(self, act: Callable[[], Any], answer: Callable[[Any], Any]) -> None:
        if self._stalled or self.leaderless_until > self.broker.clock.now:
            self._stalled.append((act, answer))
            if len(self._stalled) == 1:
                self.broker.clock.at(self.leaderless_until, self._go_on)
            return
        self._apply(act, answer)

    def _go_on(self) -> None:
        """There is a leader again, unless there has been another fault: take what has come, in its order."""
        if self.leaderless_until > self.broker.clock.now:
            self.broker.clock.at(self.leaderless_until, self._go_on)
            return
        stalled, self._stalled = self._stalled, deque()
        for act, answer in stalled:
            self._apply(act, answer)

    def _apply(self, act: Callable[[], Any], answer: Callable[[Any], Any]) -> None:
        clock = self.broker.clock
        result = act() if not self.deleted or isinstance(act, Always) else None
        self.flush()
        clock.after(self.broker.delay(self.broker.latency.queue), lambda: answer(result))

    def flush(self) -> None:
        """Pass on the deliveries of the queue, and what has died in it."""
        for key, number, entry in self.queue.take_deliveries():
            channel = self.broker.channels.get(key[0])  # type: ignore[index]
            if channel is not None:
                channel.hear(partial(channel.delivered, self, key[1], number, entry))  # type: ignore[index]
        for dead in self.queue.take_dead():
            self.broker.dead_letter(self, dead)
        expiry = self.queue.next_expiry()
        if self._alarm is not None and self._alarm.callback is not None:
            self._alarm.callback = None
        if expiry is not None:
            self._alarm = self.broker.clock.at(expiry + 0.001, self._expire)

    def _expire(self) -> None:
        if not self.deleted and self.leaderless_until <= self.broker.clock.now:
            self.queue.tick(self.broker.clock.now)
            self.flush()

    def _tick(self) -> None:
        if self.deleted:
            return
        if self.leaderless_until <= self.broker.clock.now and self.queue.tick(self.broker.clock.now):
            self.broker.delete_queue(self.queue.name)
            return
        self.flush()
        self.broker.clock.after(self.broker.queue_tick, self._tick)


class ServerChannel:
    """The process of the broker that serves one channel."""

    def __init__(self, connection: ServerConnection, number: int) -> None:
        self.connection = connection
        self.broker = connection.broker
        self.number = number
        self.id = (connection.id, number, self.broker.next_number())
        self.open = True
        self._mailbox: deque[Callable[[], None]] = deque()
        self._waiting = False
        self._prefetch = 0
        self._consumers: dict[str, QueueProcess] = {}
        self._tags = 0
        self._gets = 0
        #: The deliveries: delivery tag, and then queue, consumer, number of the delivery, when, and the message.
        self.unacked: dict[int, tuple[QueueProcess, Hashable, int, float, Entry]] = {}
        self._confirming = False
        self._published = 0
        self.broker.channels[self.id] = self
        self.broker.clock.after(self.broker.channel_tick, self._tick)

    # Mailbox

    def hear(self, act: Callable[[], None]) -> None:
        """Take a message of a queue, after its way here."""
        self.broker.clock.after(self.broker.delay(self.broker.latency.queue), lambda: self.take(act))

    def take(self, act: Callable[[], None]) -> None:
        """Take a message."""
        self._mailbox.append(act)
        self._work()

    def _work(self) -> None:
        while self._mailbox and not self._waiting and self.open:
            act = self._mailbox.popleft()
            try:
                act()
            except ChannelError as error:
                self.fail(error)

    def _wait_for(self, queue: QueueProcess, act: Callable[[], Any], answer: Callable[[Any], None]) -> None:
        """Do nothing else until a queue has answered."""
        self._waiting = True
        if queue.deaf_until > self.broker.clock.now:
            self.broker.counters["questions that a leader never answers"] += 1
            self.broker.clock.after(UNANSWERED, self._give_up)
            return

        def answered(result: Any) -> None:
            self._waiting = False
            if self.open:
                try:
                    answer(result)
                except ChannelError as error:
                    self.fail(error)
                self._work()

        queue.command(act, answered)

    def _give_up(self) -> None:
        """A leader has not answered: that ends the connection, and says nothing of whether the leader has done it."""
        if self.open:
            self.connection.close(541, "INTERNAL_ERROR - Cannot get a message from queue: timeout")

    def _ends_for(self, queue: QueueProcess, text: str = " - Cannot get a message from queue '{}': noproc") -> bool:
        """Whether a queue has no leader process, so that a get, a consume or a cancel ends the connection.

        Seen with 3.10.8 and 4.0.5, after rabbitmqctl eval had stopped the Ra server of a queue.

        :param text: what follows the name of the code; RabbitMQ names the queue of a get only.
        """
        if queue.orphaned_until <= self.broker.clock.now:
            return False
        self.broker.counters["connections that end for a queue without a process"] += 1
        self.connection.close(541, "INTERNAL_ERROR" + text.format(queue.queue.name))
        return True

    def send(self, method: Any, content: Optional[Published] = None) -> None:
        self.connection.send(self.number, method, content)

    # Methods of a client

    def method(self, method: Any, content: Optional[tuple[BasicProperties, bytes]]) -> None:
        handler = getattr(self, "_" + method.NAME.lower().replace(".", "_"), None)
        if handler is None:
            raise NotImplementedError(method.NAME)
        if content is None:
            handler(method)
        else:
            handler(method, *content)

    def _basic_qos(self, method: Any) -> None:
        self._prefetch = method.prefetch_count
        self.send(spec.Basic.QosOk())

    def _confirm_select(self, _method: Any) -> None:
        self._confirming = True
        self.send(spec.Confirm.SelectOk())

    def _exchange_declare(self, method: Any) -> None:
        self.broker.exchanges.setdefault(method.exchange, set())
        self.send(spec.Exchange.DeclareOk())

    def _queue_declare(self, method: Any) -> None:
        name, arguments = method.queue, dict(method.arguments or {})
        existing = self.broker.queues.get(name)
        if existing is None:
            if method.passive:
                raise ChannelError(404, f"NOT_FOUND - no queue '{name}' in vhost '/'", method)
            existing = self.broker.declare_queue(name, arguments)
            existing.owner = self.connection if method.exclusive else None
        elif existing.owner not in (None, self.connection):
            raise ChannelError(405, f"RESOURCE_LOCKED - cannot obtain exclusive access to queue '{name}'", method)
        elif not method.passive and existing.queue.arguments != arguments:
            raise ChannelError(
                406, f"PRECONDITION_FAILED - inequivalent arg for queue '{name}' in vhost '/': received", method
            )
        queue = existing
        if queue.orphaned_until > self.broker.clock.now:
            self.send(spec.Queue.DeclareOk(name, 0, 0))  # rabbit_quorum_queue:stat
            return
        self._wait_for(
            queue,
            lambda: (queue.queue.ready, queue.queue.consumer_count),
            lambda counts: self.send(spec.Queue.DeclareOk(name, *(counts or (0, 0)))),
        )

    def _queue_bind(self, method: Any) -> None:
        self._must_exist(method)
        if method.exchange not in self.broker.exchanges:
            raise ChannelError(404, f"NOT_FOUND - no exchange '{method.exchange}' in vhost '/'", method)
        self.broker.exchanges[method.exchange].add((method.routing_key, method.queue))
        self.send(spec.Queue.BindOk())

    def _queue_purge(self, method: Any) -> None:
        queue = self._must_exist(method)
        self._wait_for(
            queue, lambda: queue.queue.purge(self.broker.clock.now), lambda count: self.send(spec.Queue.PurgeOk(count))
        )

    def _queue_delete(self, method: Any) -> None:
        queue = self.broker.queues.get(method.queue)
        count = 0 if queue is None else queue.queue.ready
        self.broker.delete_queue(method.queue)
        self.send(spec.Queue.DeleteOk(count))

    def _basic_consume(self, method: Any) -> None:
        queue, tag = self._must_exist(method), method.consumer_tag
        if self._ends_for(queue, ""):
            return
        priority = (method.arguments or {}).get("x-priority", 0)
        prefetch = self._prefetch

        def consumed(_result: Any) -> None:
            self._consumers[tag] = queue
            self.send(spec.Basic.ConsumeOk(tag))

        self._wait_for(
            queue, lambda: queue.queue.consume((self.id, tag), prefetch, priority, self.broker.clock.now), consumed
        )

    def _basic_cancel(self, method: Any) -> None:
        tag = method.consumer_tag
        queue = self._consumers.pop(tag, None)

        def cancelled(_result: Any) -> None:
            if not method.nowait:
                self.send(spec.Basic.CancelOk(tag))

        if queue is None:
            cancelled(None)
            return
        if self._ends_for(queue, ""):
            return
        self._wait_for(queue, lambda: queue.queue.cancel((self.id, tag), self.broker.clock.now), cancelled)

    def _basic_get(self, method: Any) -> None:
        queue = self._must_exist(method)
        if self._ends_for(queue):
            return
        self._gets += 1
        consumer = self._gets

        def got(result: Any) -> None:
            if result is None:
                self.send(spec.Basic.GetEmpty())
                return
            number, entry, more = result
            tag = self._give_out(queue, consumer, number, entry)
            self.send(
                spec.Basic.GetOk(
                    tag, QuorumQueue.shown_count(entry) > 0, entry.message.exchange, entry.message.routing_key, more
                ),
                _counted(entry, always=self.broker.series is Series.V3_10),
            )

        self._wait_for(queue, lambda: queue.queue.get((self.id, consumer), self.broker.clock.now), got)

    def _basic_ack(self, method: Any) -> None:
        self._settle(method, QuorumQueue.settle, method.multiple)

    def _basic_reject(self, method: Any) -> None:
        self._settle(method, QuorumQueue.requeue if method.requeue else QuorumQueue.discard, False)

    def _basic_nack(self, method: Any) -> None:
        self._settle(method, QuorumQueue.requeue if method.requeue else QuorumQueue.discard, method.multiple)

    def _settle(self, method: Any, how: Callable[..., None], multiple: bool) -> None:
        tags = [method.delivery_tag]
        if multiple:
            tags = [tag for tag in self.unacked if tag <= method.delivery_tag or not method.delivery_tag]
        if any(tag not in self.unacked for tag in tags):
            raise ChannelError(406, f"PRECONDITION_FAILED - unknown delivery tag {method.delivery_tag}", method)
        together: dict[tuple[QueueProcess, Hashable], list[int]] = {}
        for tag in tags:
            queue, consumer, number, _since, entry = self.unacked.pop(tag)
            self.broker.on_settled(self, how.__name__, entry)
            together.setdefault((queue, consumer), []).append(number)
        # In the order of Erlang's terms: of one queue, gets before consumers.
        for (queue, consumer), numbers in sorted(
            together.items(), key=lambda item: (item[0][0].queue.name, isinstance(item[0][1], str), item[0][1])
        ):
            queue.command(partial(self._apply, how, queue, consumer, numbers))

    def _apply(self, how: Callable[..., None], queue: QueueProcess, consumer: Hashable, numbers: list[int]) -> None:
        how(queue.queue, (self.id, consumer), numbers, self.broker.clock.now)

    def _basic_publish(self, method: Any, properties: BasicProperties, body: bytes) -> None:
        if method.exchange and method.exchange not in self.broker.exchanges:
            raise ChannelError(404, f"NOT_FOUND - no exchange '{method.exchange}' in vhost '/'", method)
        published = Published(method.exchange, method.routing_key, properties, body)
        self._published += 1
        number = self._published
        targets = self.broker.route(method.exchange, method.routing_key)
        if not targets and method.mandatory:
            self.send(spec.Basic.Return(312, "NO_ROUTE", method.exchange, method.routing_key), published)
        self.broker.publish(published, targets, self.id, partial(self._taken, number))

    def _taken(self, number: int, accepted: bool) -> None:
        """Every queue has answered to a message."""
        self.take(partial(self._confirm, number, accepted))

    def _confirm(self, number: int, accepted: bool) -> None:
        if self._confirming:
            copies = self.broker.copies_of_confirm()
            for _copy in range(copies):
                self.send(spec.Basic.Ack(number) if accepted else spec.Basic.Nack(number))

    def _channel_close(self, _method: Any) -> None:
        self.send(spec.Channel.CloseOk())
        self.end()

    def _channel_closeok(self, _method: Any) -> None:
        self.connection.channels.pop(self.number, None)

    # Events

    def delivered(self, queue: QueueProcess, consumer: str, number: int, entry: Entry) -> None:
        """A queue has delivered a message."""
        if consumer not in self._consumers:
            self.broker.counters["returned for a cancelled consumer"] += 1
            self.broker.on_returned(entry)
            queue.command(partial(self._apply, QuorumQueue.requeue, queue, consumer, [number]))
            return
        tag = self._give_out(queue, consumer, number, entry)
        self.send(
            spec.Basic.Deliver(
                consumer, tag, QuorumQueue.shown_count(entry) > 0, entry.message.exchange, entry.message.routing_key
            ),
            _counted(entry),
        )

    def _give_out(self, queue: QueueProcess, consumer: Hashable, number: int, entry: Entry) -> int:
        self._tags += 1
        self.unacked[self._tags] = (queue, consumer, number, self.broker.clock.now, entry)
        self.broker.on_delivered(self, entry)
        return self._tags

    def queue_gone(self, queue: QueueProcess) -> None:
        """A queue was deleted, and its consumers with it."""
        for tag in [tag for tag, consumed in self._consumers.items() if consumed is queue]:
            del self._consumers[tag]
            self.send(spec.Basic.Cancel(tag))

    def fail(self, error: ChannelError) -> None:
        """Close the channel for what a client has done."""
        if self.open:
            self.end()
            self.send(spec.Channel.Close(error.code, error.text, *divmod(error.method.INDEX, 0x10000)))

    def end(self) -> None:
        """The channel ends, and the queues have back what it has not settled."""
        if not self.open:
            return
        self.open = False
        self.broker.channels.pop(self.id, None)
        for queue in self.broker.queues.values():
            queue.command(partial(self._down, queue))

    def _down(self, queue: QueueProcess) -> None:
        queue.queue.down(lambda key: key[0] == self.id, self.broker.clock.now)  # type: ignore[index]

    def _must_exist(self, method: Any) -> QueueProcess:
        queue = self.broker.queues.get(method.queue)
        if queue is None:
            raise ChannelError(404, f"NOT_FOUND - no queue '{method.queue}' in vhost '/'", method)
        return queue

    def _tick(self) -> None:
        if not self.open:
            return
        if self.unacked:
            queue, _consumer, _number, since, _entry = next(iter(self.unacked.values()))
            timeout = self.broker.consumer_timeout
            own = queue.queue.arguments.get("x-consumer-timeout")
            if own is not None and self.broker.series is Series.V4_0:
                timeout = min(timeout, own / 1000)
            if self.broker.clock.now - since > timeout:
                text = "PRECONDITION_FAILED - delivery acknowledgement on channel timed out"
                self.broker.counters["consumer timeouts"] += 1
                self.broker.on_timeout(self)
                self.fail(ChannelError(406, text, spec.Basic.Ack()))
                return
        self.broker.clock.after(self.broker.channel_tick, self._tick)


class ServerConnection:
    """The broker's end of a connection.

    :param client: what takes frames: ``take(channel, method, content)``, and ``lost()`` when the other end is gone.
    """

    def __init__(self, broker: ModelBroker, client: Any, heartbeat: float) -> None:
        self.broker = broker
        self.client = client
        self.id = broker.next_number()
        self.channels: dict[int, ServerChannel] = {}
        self.open = True
        #: Whether bytes go through, in both directions. Neither end learns when they do not.
        self.whole = True
        self.heartbeat = heartbeat
        self.since = self._heard = broker.clock.now
        #: What has come since this connection was blocked, for publishing during an alarm; None when it is not.
        self._held_back: Optional[list[tuple[int, Any, Any]]] = None
        self._arrives = [0.0, 0.0]
        broker.connections.append(self)
        if heartbeat:
            broker.clock.after(heartbeat / 2, self._beat)

    # Wire

    def _carry(self, direction: int, act: Callable[[], None]) -> None:
        if self.whole and self.open:
            clock = self.broker.clock
            arrives = max(self._arrives[direction], clock.now + self.broker.delay(self.broker.latency.wire))
            self._arrives[direction] = arrives
            clock.at(arrives, act)

    def from_client(self, channel: int, method: Any, content: Optional[tuple[BasicProperties, bytes]] = None) -> None:
        """A client sends a frame; None for the method is a heartbeat."""
        self._carry(0, lambda: self._receive(channel, method, content))

    def send(self, channel: int, method: Any, content: Optional[Published] = None) -> None:
        """Send a frame to the client."""
        self._carry(1, lambda: self.client.take(channel, method, content))

    def _receive(self, number: int, method: Any, content: Optional[tuple[BasicProperties, bytes]]) -> None:
        if not self.open:
            return
        self._heard = self.broker.clock.now
        if self._held_back is None and self.broker.alarm and getattr(method, "NAME", "") == "Basic.Publish":
            self._held_back = []
        if self._held_back is not None:
            self._held_back.append((number, method, content))
            return
        if method is None:
            return
        if number == 0:
            if method.NAME == "Connection.Close":
                self.send(0, spec.Connection.CloseOk())
                self.end()
            return
        if method.NAME == "Channel.Open":
            self.channels[number] = ServerChannel(self, number)
            self.send(number, spec.Channel.OpenOk())
            return
        channel = self.channels.get(number)
        if channel is None:
            return
        if not channel.open:
            if method.NAME == "Channel.CloseOk":
                del self.channels[number]
            return
        channel.take(partial(channel.method, method, content))

    def _beat(self) -> None:
        if not self.open:
            return
        self.send(0, None)
        if self._held_back is None and self.broker.clock.now - self._heard > 2 * self.heartbeat:
            self.broker.counters["heartbeats missed"] += 1
            self.lose()
            return
        self.broker.clock.after(self.heartbeat / 2, self._beat)

    # Closing

    def close(self, code: int, text: str) -> None:
        """The broker closes the connection, and says so."""
        self.send(0, spec.Connection.Close(code, text, 0, 0))
        self.end()

    def lose(self) -> None:
        """The broker's end is gone; the client learns it from its own end of the wire, if that is whole."""
        if self.open:
            if self.whole:
                self._carry(1, self.client.lost)
            self.end()

    def stall(self, seconds: float) -> None:
        """Everything that is sent from now on arrives when this is over."""
        self._arrives = [max(arrives, self.broker.clock.now + seconds) for arrives in self._arrives]

    def unblock(self) -> None:
        """The alarm is over: read what has come meanwhile."""
        held_back, self._held_back = self._held_back or [], None
        for frame in held_back:
            self._receive(*frame)

    def client_gone(self) -> None:
        """The client's end is gone."""
        if self.open and self.whole:
            self._carry(0, self.end)

    def end(self) -> None:
        """The connection ends here: all of its channels do."""
        if self.open:
            self.open = False
            self.broker.connections.remove(self)
            for channel in self.channels.values():
                channel.end()
            for name in [name for name, queue in self.broker.queues.items() if queue.owner is self]:
                self.broker.delete_queue(name)


class ModelBroker:
    """A broker with quorum queues.

    :param chance: of how long everything takes.
    :ivar up: whether connections can be made.
    :ivar counters: what has happened, for those who look whether a fault did anything.
    """

    def __init__(
        self,
        clock: Clock,
        series: Series,
        chance: Optional[random.Random] = None,
        latency: Optional[Latency] = None,
    ) -> None:
        self.clock = clock
        self.series = series
        self.latency = latency or Latency()
        self._chance = chance or random.Random(0)
        self.exchanges: dict[str, set[tuple[str, str]]] = {}
        self.queues: dict[str, QueueProcess] = {}
        self.channels: dict[Hashable, ServerChannel] = {}
        self.connections: list[ServerConnection] = []
        self.up = True
        self.consumer_timeout = CONSUMER_TIMEOUT
        self.channel_tick = CHANNEL_TICK
        self.queue_tick = QUEUE_TICK
        #: Queues without a queue: what is published to them is handed on at once.
        self.sinks: dict[str, Sink] = {}
        self.sinks_stalled_until = 0.0
        #: Whether an alarm stops everybody who publishes.
        self.alarm = False
        self.alarm_changed = 0.0
        #: The part of the confirms that come twice, and of those that never come.
        self.doubled_confirms = 0.0
        self.lost_confirms = 0.0
        self.counters: Counter[str] = Counter()
        #: Called with each message that leaves a queue without an acknowledgement: queue, reason, message.
        self.on_dead: Callable[[str, str, Entry], None] = lambda _queue, _reason, _entry: None
        #: Called with each message that a channel sends to its client, and with each that its client has settled.
        self.on_delivered: Callable[[ServerChannel, Entry], None] = lambda _channel, _entry: None
        self.on_settled: Callable[[ServerChannel, str, Entry], None] = lambda _channel, _how, _entry: None
        #: Called with each message that a channel returns, because it was sent to a consumer that is no more.
        self.on_returned: Callable[[Entry], None] = lambda _entry: None
        #: Called with each channel that is closed because its client has not settled a delivery in time.
        self.on_timeout: Callable[[ServerChannel], None] = lambda _channel: None
        self._numbers = 0

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def delay(self, bounds: tuple[float, float]) -> float:
        least, more = bounds
        return least + more * self._chance.random() ** 4 if more else least

    # Queues

    def declare_queue(self, name: str, arguments: dict[str, Any]) -> QueueProcess:
        queue = QueueProcess(self, QuorumQueue(name, arguments, self.series, self.clock.now))
        self.queues[name] = queue
        return queue

    def delete_queue(self, name: str) -> None:
        """A queue is deleted, or has expired: its messages are gone, and its consumers get a cancel."""
        queue = self.queues.pop(name, None)
        if queue is None:
            return
        queue.deleted = True
        for entry in queue.queue.entries:
            self.on_dead(name, "queue_deleted", entry)
        for bindings in self.exchanges.values():
            bindings -= {binding for binding in bindings if binding[1] == name}
        for channel in list(self.channels.values()):
            channel.hear(partial(channel.queue_gone, queue))

    def route(self, exchange: str, routing_key: str) -> list[str]:
        """Return the queues that a message goes to. The bindings of lanes have no wildcards."""
        if not exchange:
            return [routing_key] if routing_key in self.queues or routing_key in self.sinks else []
        bindings = self.exchanges.get(exchange, set())
        return sorted({queue for key, queue in bindings if key in (routing_key, "#")})

    def publish(
        self,
        published: Published,
        targets: list[str],
        enqueuer: Hashable,
        done: Callable[[bool], None],
        inherited: int = 0,
    ) -> None:
        """Put a message into its queues; then say whether all have taken it.

        :param inherited: as :class:`quorum_queue.Entry` has it.
        """
        answers: list[bool] = []

        def answered(accepted: Any) -> None:
            answers.append(accepted is not False)
            if len(answers) >= len(targets):
                done(all(answers))

        if not targets:
            self.clock.after(self.delay(self.latency.queue), lambda: done(True))
        for name in targets:
            if name in self.sinks:
                self.clock.at(
                    max(self.clock.now + self.delay(self.latency.queue), self.sinks_stalled_until),
                    partial(self._into_sink, self.sinks[name], published, answered),
                )
            else:
                queue = self.queues[name]
                queue.command(Always(self._enqueue, queue, published, enqueuer, inherited), answered)

    @staticmethod
    def _into_sink(sink: Sink, published: Published, answered: Callable[[bool], None]) -> None:
        answered(sink(published))

    def _enqueue(self, queue: QueueProcess, published: Published, enqueuer: Hashable, inherited: int) -> bool:
        if queue.deleted:  # meanwhile; the broker still confirms
            self.on_dead(queue.queue.name, "queue_deleted", Entry(published, 0))
            return True
        expiration = published.properties.expiration
        return queue.queue.enqueue(
            published,
            self.clock.now,
            enqueuer=enqueuer,
            expiration=None if expiration is None else int(expiration) / 1000,
            priority=published.properties.priority,
            inherited=inherited,
        )

    def dead_letter(self, queue: QueueProcess, dead: DeadLetter) -> None:
        """A message leaves a queue unacknowledged: to the dead-letter exchange if there is one."""
        self.on_dead(queue.queue.name, dead.reason, dead.entry)
        exchange = queue.queue.dead_letter_exchange
        if exchange is None or exchange not in self.exchanges:
            return
        old = dead.entry.message
        headers = {**(old.properties.headers or {}), "x-first-death-reason": dead.reason}
        properties = BasicProperties(**{**vars(old.properties), "headers": headers, "expiration": None})
        message = replace(old, exchange=exchange, properties=properties)
        inherited = dead.entry.failures if self.series is Series.V4_0 else 0
        targets = self.route(exchange, old.routing_key)
        self.publish(message, targets, "dead letters", lambda _taken: None, inherited)

    def copies_of_confirm(self) -> int:
        """How often a confirm is sent: once, unless a fault says something else."""
        if not (self.doubled_confirms or self.lost_confirms):
            return 1
        drawn = self._chance.random()
        if drawn < self.lost_confirms:
            self.counters["confirms lost"] += 1
            return 0
        if drawn < self.lost_confirms + self.doubled_confirms:
            self.counters["confirms doubled"] += 1
            return 2
        return 1

    # Faults

    def elect(self, name: str, seconds: float) -> None:
        """A queue is without a leader for a while."""
        queue = self.queues.get(name)
        if queue is not None:
            queue.leaderless_until = max(queue.leaderless_until, self.clock.now + seconds)

    def stand_still(self, name: str, seconds: float) -> None:
        """The node that leads a queue stands still until there is another leader. A command that a channel waits for,
        such as a get or a consumer, is never answered; all others are sent to the new leader again."""
        queue = self.queues.get(name)
        if queue is not None:
            queue.deaf_until = max(queue.deaf_until, self.clock.now + seconds)
            self.elect(name, seconds)

    def orphan(self, name: str, seconds: float) -> None:
        """The process of a queue's leader does not run: a declaration succeeds, and a get ends the connection."""
        queue = self.queues.get(name)
        if queue is not None:
            queue.orphaned_until = max(queue.orphaned_until, self.clock.now + seconds)
            self.elect(name, seconds)

    def suspect(self, connection: ServerConnection, seconds: float) -> None:
        """The leaders cannot reach the node of a connection for a while, though its client can."""
        ids = {channel.id for channel in connection.channels.values()}

        def belongs(key: Any) -> bool:
            return key[0] in ids

        for queue in list(self.queues.values()):
            queue.command(partial(self._suspected, queue, belongs))
            self.clock.after(seconds, lambda queue=queue: queue.command(partial(self._unsuspected, queue, belongs)))

    def _suspected(self, queue: QueueProcess, belongs: Callable[[Hashable], bool]) -> None:
        queue.queue.suspect(belongs, self.clock.now)

    def _unsuspected(self, queue: QueueProcess, belongs: Callable[[Hashable], bool]) -> None:
        queue.queue.unsuspect(belongs, self.clock.now)

    def restart(self, seconds: float, *, orderly: bool) -> None:
        """The node goes, and comes back: connections end, queues and their messages stay."""
        self.up = False
        for connection in list(self.connections):
            if orderly:
                connection.close(320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'")
            else:
                connection.lose()
        for queue in self.queues.values():
            queue.leaderless_until = max(queue.leaderless_until, self.clock.now + seconds)
        self.clock.after(seconds, self._come_up)

    def _come_up(self) -> None:
        self.up = True

    def set_alarm(self, on: bool) -> None:
        """Memory or disk run short: nothing is read of clients that still publish, until the alarm is over."""
        if on != self.alarm:
            self.alarm = on
            self.alarm_changed = self.clock.now
            for connection in list(self.connections):
                connection.send(0, spec.Connection.Blocked("low on memory") if on else spec.Connection.Unblocked())
                if not on:
                    connection.unblock()


def _counted(entry: Entry, *, always: bool = False) -> Published:
    """Return a message with the header in which the broker says how often it was returned.

    :param always: whether it says so of a message that never was.
    """
    message: Published = entry.message
    count = QuorumQueue.shown_count(entry)
    if not count and not always:
        return message
    headers = {**(message.properties.headers or {}), "x-delivery-count": count}
    return replace(message, properties=BasicProperties(**{**vars(message.properties), "headers": headers}))
