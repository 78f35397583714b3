# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model of one quorum queue of RabbitMQ 3.10 and 4.0: the replicated state machine, without replication.

Written after ``rabbit_fifo.erl`` of v3.10.8 and v4.0.5, and held against both brokers by
``tests/integration/fleet/test_broker_model.py``. Commands come in with a time, and change the state; deliveries go out
through ``take_deliveries``. There is no clock, no I/O and no chance in here.

What a worker must know of such a queue, and what this file therefore says exactly:

- A message counts how often it was *returned*: by a nack with requeue, by a channel or connection that ended, or by
  the channel itself for a consumer that is no more. It does not matter whether the client ever saw the delivery.
- The count after a return is compared with the delivery limit. Above the limit the message is dead-lettered or dropped.
- What is returned goes out again before everything that was never delivered. Only a nack to a queue without a limit,
  which there is in 3.10 alone, puts the message behind all others.
- A cancelled consumer keeps what it has. Its deliveries can still be settled.
- A queue that expires does so when it has no consumer, and neither a get nor the end of a consumer for so long. A
  delivery that a get, or a cancelled consumer, has not settled counts as a consumer.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

#: Redeliveries after which RabbitMQ 4.0 drops a message of a queue that sets no limit (rabbit_quorum_queue.erl).
DEFAULT_LIMIT = 20

#: From this priority on RabbitMQ 4.0 takes a message for an urgent one. It lets two of them pass for each other one.
URGENT = 5
WEIGHT = 2

#: A queue that was full takes messages again when it has no more than this part of its limit (``?LOW_LIMIT``).
LOW = 0.8


class Series(enum.Enum):
    """The series of RabbitMQ that the model knows."""

    V3_10 = "3"
    V4_0 = "4"


@dataclass
class Entry:
    """A message in the queue.

    :ivar message: what was published; opaque here.
    :ivar count: how often it was returned.
    :ivar failures: how often a channel or connection ended with it, or a client rejected it.
    :ivar inherited: the failures in the queue that it was dead-lettered from. RabbitMQ 4.0 shows them as its count
        until it is returned here.
    :ivar expiry: when it expires, seconds; None for never.
    """

    message: Any
    number: int
    count: int = 0
    failures: int = 0
    inherited: int = 0
    expiry: Optional[float] = None
    urgent: bool = False


@dataclass
class DeadLetter:
    """A message that left the queue unanswered: ``rejected``, ``expired`` or ``delivery_limit``."""

    reason: str
    entry: Entry


@dataclass
class _Consumer:
    key: Hashable
    credit: int
    priority: int
    once: bool = False
    cancelled: bool = False
    suspected: bool = False
    next_id: int = 0
    checked_out: dict[int, Entry] = field(default_factory=dict)


class _Ready:
    """The messages that were never delivered. RabbitMQ 4.0 prefers urgent ones, two to one; 3.10 knows no priority."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._urgent: deque[Entry] = deque()
        self._normal: deque[Entry] = deque()
        self._taken = 0

    def __len__(self) -> int:
        return len(self._urgent) + len(self._normal)

    def put(self, entry: Entry) -> None:
        (self._urgent if entry.urgent and self._series is Series.V4_0 else self._normal).append(entry)

    def _next(self) -> deque[Entry]:
        if self._urgent and self._normal and self._taken == WEIGHT:
            older = self._urgent[0].number < self._normal[0].number
            return self._urgent if older else self._normal
        return self._urgent or self._normal

    def peek(self) -> Optional[Entry]:
        line = self._next()
        return line[0] if line else None

    def take(self) -> Entry:
        line = self._next()
        self._taken = 0 if self._taken == WEIGHT else self._taken + 1
        return line.popleft()

    def clear(self) -> None:
        self._urgent.clear()
        self._normal.clear()


class QuorumQueue:
    """One quorum queue. Times are seconds.

    :param arguments: those of AMQP 0-9-1; as the lanes have them.
    """

    def __init__(self, name: str, arguments: Mapping[str, Any], series: Series, now: float) -> None:
        self.name = name
        self.arguments = dict(arguments)
        self.series = series
        self.expires: Optional[float] = _seconds(arguments.get("x-expires"))
        self._ttl = _seconds(arguments.get("x-message-ttl"))
        self._max_length: Optional[int] = arguments.get("x-max-length")
        default = DEFAULT_LIMIT if series is Series.V4_0 else None
        self.limit: Optional[int] = arguments.get("x-delivery-limit", default)
        self.dead_letter_exchange: Optional[str] = arguments.get("x-dead-letter-exchange")
        self._ready = _Ready(series)
        self._returned: deque[Entry] = deque()
        self._consumers: OrderedDict[Hashable, _Consumer] = OrderedDict()
        #: Consumers that have credit, by priority and turn; as the broker one that is served is put at the end.
        self._turn: list[tuple[int, _Consumer]] = []
        self._numbers = 0
        #: Channels that have published, and whether they have learnt that the queue is full.
        self._enqueuers: dict[Hashable, bool] = {}
        self._below = True
        self.last_active = now
        self._deliveries: list[tuple[Hashable, int, Entry]] = []
        self._dead: list[DeadLetter] = []

    # Observations

    @property
    def ready(self) -> int:
        """Messages that wait."""
        return len(self._ready) + len(self._returned)

    @property
    def unsettled(self) -> int:
        """Messages that are with a consumer."""
        return sum(len(consumer.checked_out) for consumer in self._consumers.values())

    @property
    def consumer_count(self) -> int:
        """Consumers as the broker counts them: also a cancelled one, or a get, that has not settled everything."""
        return len(self._consumers)

    @staticmethod
    def shown_count(entry: Entry) -> int:
        """What the broker says of a message: in ``x-delivery-count``, and by ``redelivered`` when it is not 0."""
        return entry.count or entry.inherited

    @property
    def entries(self) -> list[Entry]:
        """Everything that is in the queue, with or without a consumer."""
        out = [entry for consumer in self._consumers.values() for entry in consumer.checked_out.values()]
        return [*self._returned, *self._ready._urgent, *self._ready._normal, *out]

    def take_deliveries(self) -> list[tuple[Hashable, int, Entry]]:
        """Return what has gone out since the last call: consumer, number of the delivery within it, message."""
        taken, self._deliveries = self._deliveries, []
        return taken

    def take_dead(self) -> list[DeadLetter]:
        """Return what has left the queue for a dead-letter exchange, or for nowhere, since the last call."""
        taken, self._dead = self._dead, []
        return taken

    # Commands

    def enqueue(
        self,
        message: Any,
        now: float,
        *,
        enqueuer: Hashable = None,
        expiration: Optional[float] = None,
        priority: Optional[int] = None,
        inherited: int = 0,
    ) -> bool:
        """Take a message; return False when the queue is full and refuses it.

        :param enqueuer: the channel that publishes: each learns on its own that the queue is full.
        :param expiration: seconds that the message itself may wait.
        """
        if self._enqueuers.setdefault(enqueuer, self._is_over_limit()):
            return False
        limits = [limit for limit in (self._ttl, expiration) if limit is not None]
        self._numbers += 1
        self._ready.put(
            Entry(
                message,
                self._numbers,
                expiry=now + min(limits) if limits else None,
                urgent=(priority or 0) >= URGENT,
                inherited=inherited,
            )
        )
        self._checkout(now)
        return True

    def consume(self, key: Hashable, prefetch: int, priority: int, now: float) -> None:
        """Begin a consumer. A prefetch of 0 is no limit, for which RabbitMQ takes 2000."""
        self._put(_Consumer(key, prefetch or 2000, priority))
        self._checkout(now)

    def cancel(self, key: Hashable, now: float) -> None:
        """End a consumer. It keeps what it has."""
        consumer = self._consumers.get(key)
        if consumer is not None:
            consumer.cancelled = consumer.once = True
            consumer.credit = 0
            self._drop_turn(consumer)
            self._forget_if_done(consumer, now)
        self._checkout(now)

    def get(self, key: Hashable, now: float) -> Optional[tuple[int, Entry, int]]:
        """Take one message: the number of the delivery, the message, and how many wait behind it."""
        self.last_active = now
        self._expire(now)
        entry = self._take()
        if entry is None:
            return None
        consumer = _Consumer(key, 0, 0, once=True)
        consumer.checked_out[0] = entry
        consumer.next_id = 1
        self._consumers[key] = consumer
        self._measure()
        return 0, entry, self.ready

    def settle(self, key: Hashable, numbers: Iterable[int], now: float) -> None:
        """Acknowledge."""
        consumer = self._consumers.get(key)
        if consumer is not None:
            for number in numbers:
                self._complete(consumer, number)
            self._turn_again(consumer, now)
        self._checkout(now)

    def discard(self, key: Hashable, numbers: Iterable[int], now: float) -> None:
        """Reject without requeue."""
        consumer = self._consumers.get(key)
        if consumer is not None:
            for number in numbers:
                entry = self._complete(consumer, number)
                if entry is not None:
                    entry.failures += 1
                    self._dead.append(DeadLetter("rejected", entry))
            self._turn_again(consumer, now)
        self._checkout(now)

    def requeue(self, key: Hashable, numbers: Iterable[int], now: float) -> None:
        """Return messages: nack or reject with requeue, and what a channel got for a consumer that it has no more."""
        consumer = self._consumers.get(key)
        if consumer is not None:
            wanted = [number for number in numbers if number in consumer.checked_out]
            if self.series is Series.V3_10:
                wanted.sort()
            if self.limit is None:
                self._append(consumer, wanted, now)
                return
            for number in wanted:
                self._return_one(consumer, number)
            self._turn_again(consumer, now)
        self._checkout(now)

    def _append(self, consumer: _Consumer, numbers: list[int], now: float) -> None:
        """Return messages of a queue without a limit: each by itself, and behind all others."""
        for number in numbers:
            entry = self._complete(consumer, number)
            if entry is not None:
                self._numbers += 1
                entry.count, entry.number = entry.count + 1, self._numbers
                self._ready.put(entry)
                self._turn_again(consumer, now)
                self._checkout(now)

    def down(self, belongs: Callable[[Hashable], bool], now: float) -> None:
        """The channel of some consumers has ended: everything that they have is returned."""
        for consumer in self._in_order(belongs):
            self._return_all(consumer)
            self._drop_turn(consumer)
            del self._consumers[consumer.key]
            self.last_active = now
        self._checkout(now)

    def suspect(self, belongs: Callable[[Hashable], bool], now: float) -> None:
        """The node of some consumers cannot be reached: what they have is returned, and they get nothing for now."""
        for consumer in self._in_order(belongs):
            if consumer.suspected or consumer.cancelled:
                continue
            consumer.suspected = True
            self._drop_turn(consumer)
            self._return_all(consumer)
        self.last_active = now
        self._checkout(now)

    def unsuspect(self, belongs: Callable[[Hashable], bool], now: float) -> None:
        """That node is there again, and its consumers get messages again."""
        for consumer in self._consumers.values():
            if belongs(consumer.key) and consumer.suspected:
                consumer.suspected = False
                self._take_turn(consumer)
        self._checkout(now)

    def purge(self, now: float) -> int:
        """Drop what waits; return how many messages that were."""
        count = self.ready
        self._ready.clear()
        self._returned.clear()
        self._checkout(now)
        return count

    def tick(self, now: float) -> bool:
        """Let time pass: drop what has expired at the head. Return whether the queue itself has expired."""
        self._checkout(now)
        if self.expires is None or now <= self.last_active + self.expires:
            return False
        return all(consumer.suspected for consumer in self._consumers.values())

    def next_expiry(self) -> Optional[float]:
        """Return when the message at the head expires."""
        entry = self._returned[0] if self._returned else self._ready.peek()
        return None if entry is None else entry.expiry

    # Internals

    def _in_order(self, belongs: Callable[[Hashable], bool]) -> list[_Consumer]:
        """Return consumers in the order of their keys, which Erlang's maps have: gets by number, others by tag.

        RabbitMQ 4.0 has numbers for keys of consumers, by their age, and sorts gets behind them.
        """
        chosen = [consumer for consumer in self._consumers.values() if belongs(consumer.key)]
        gets = [consumer for consumer in chosen if isinstance(_tag(consumer), int)]
        others = [consumer for consumer in chosen if not isinstance(_tag(consumer), int)]
        gets.sort(key=_tag)
        if self.series is Series.V4_0:
            return [*others, *gets]
        return [*gets, *sorted(others, key=_tag)]

    def _put(self, consumer: _Consumer) -> None:
        self._consumers[consumer.key] = consumer
        self._take_turn(consumer)

    def _take_turn(self, consumer: _Consumer) -> None:
        if consumer.credit <= 0 or consumer.suspected or consumer.cancelled:
            return
        if any(waiting is consumer for _priority, waiting in self._turn):
            return
        index = len(self._turn)
        while index and self._turn[index - 1][0] < consumer.priority:
            index -= 1
        self._turn.insert(index, (consumer.priority, consumer))

    def _drop_turn(self, consumer: _Consumer) -> None:
        self._turn = [entry for entry in self._turn if entry[1] is not consumer]

    def _turn_again(self, consumer: _Consumer, now: float) -> None:
        if consumer.once:
            self._forget_if_done(consumer, now)
        else:
            self._take_turn(consumer)

    def _forget_if_done(self, consumer: _Consumer, now: float) -> None:
        if not consumer.checked_out and self._consumers.get(consumer.key) is consumer:
            del self._consumers[consumer.key]
            self.last_active = now

    def _complete(self, consumer: _Consumer, number: int) -> Optional[Entry]:
        entry = consumer.checked_out.pop(number, None)
        if entry is not None and not consumer.once:
            consumer.credit += 1
        return entry

    def _return_one(self, consumer: _Consumer, number: int) -> None:
        entry = consumer.checked_out[number]
        self._complete(consumer, number)
        entry.count += 1
        if self.limit is not None and entry.count > self.limit:
            self._dead.append(DeadLetter("delivery_limit", entry))
            if self.series is Series.V3_10 and not consumer.once:
                consumer.credit += (
                    1  # counted twice in return/5 of 3.10: such a consumer gets one more than it asked for
                )
        else:
            self._returned.append(entry)

    def _return_all(self, consumer: _Consumer) -> None:
        for number in sorted(consumer.checked_out):
            consumer.checked_out[number].failures += 1
            self._return_one(consumer, number)

    def _take(self) -> Optional[Entry]:
        if self._returned:
            return self._returned.popleft()
        return self._ready.take() if len(self._ready) else None

    def _expire(self, now: float) -> None:
        while True:
            expiry = self.next_expiry()
            if expiry is None or now < expiry:
                return
            entry = self._take()
            if entry is not None:
                self._dead.append(DeadLetter("expired", entry))

    def _checkout(self, now: float) -> None:
        """Deliver the messages that can be delivered."""
        self._expire(now)
        while self._turn and self.ready:
            _priority, consumer = self._turn.pop(0)
            entry = self._take()
            if entry is None:
                break
            consumer.checked_out[consumer.next_id] = entry
            self._deliveries.append((consumer.key, consumer.next_id, entry))
            consumer.next_id += 1
            consumer.credit -= 1
            self._take_turn(consumer)
            self._expire(now)
        self._measure()

    def _is_over_limit(self) -> bool:
        return self._max_length is not None and self.ready > self._max_length

    def _measure(self) -> None:
        """Tell those who publish that the queue is full, or has room again."""
        if self._max_length is None:
            return
        was_below, self._below = self._below, self.ready <= int(self._max_length * LOW)
        if self._is_over_limit():
            self._enqueuers = dict.fromkeys(self._enqueuers, True)
        elif self._below and not was_below:
            self._enqueuers = dict.fromkeys(self._enqueuers, False)


def _tag(consumer: _Consumer) -> Any:
    """Return the last part of a consumer's key: the number of a get, or a consumer tag."""
    return consumer.key[-1] if isinstance(consumer.key, tuple) else consumer.key


def _seconds(milliseconds: Any) -> Optional[float]:
    return None if milliseconds is None else milliseconds / 1000
