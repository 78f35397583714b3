# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A broker and an Ollama without any I/O, for trying the policy of the scheduler in simulated time.

It is as unkind as a real one: everything it is asked takes a while, what was on its way when a consumer is cancelled
still arrives, and a queue that expires is deleted with what is in it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from typing import Any, Callable, Optional

from fleet_worker.domain.lane_rule import ALONE, LaneRule
from fleet_worker.scheduling.actions import Cancel, Consume, Get, GiveBack, Start
from fleet_worker.scheduling.scheduler import Scheduler


class Request:
    def __init__(self, queue: str, arrived: float) -> None:
        self.queue = queue
        self.arrived = arrived
        self.started: float = -1.0
        self.given_back = 0
        #: When it first ends it gives its slot up: for how long, and whether it is to be alone then.
        self.again: Optional[tuple[float, bool]] = None
        #: Until when it waits to be alone; 0 when it does not.
        self.alone_until = 0.0


class _Consumer:
    def __init__(self, queue: str, prefetch: int) -> None:
        self.queue = queue
        self.prefetch = prefetch
        self.unacknowledged = 0
        self.cancelled = False


class Simulation:
    """One worker before a broker.

    :param latency: seconds that the broker takes for anything.
    :param work: how long a request takes.
    """

    def __init__(
        self,
        rules: list[LaneRule],
        slots: int,
        *,
        latency: float = 0.001,
        work: Callable[[Request], float] = lambda _request: 0.1,
        starvation: float = 10.0,
    ) -> None:
        self.now = 0.0
        self.rules = {rule.queue: rule for rule in rules}
        self.scheduler = Scheduler(rules, slots, starvation=starvation)
        self.latency = latency
        self.work = work
        self.queues: dict[str, deque[Request]] = {rule.queue: deque() for rule in rules}
        self.touched = {rule.queue: 0.0 for rule in rules}
        self.finished: list[Request] = []
        self.started: list[Request] = []
        self.batches: list[int] = []
        self.running: Counter[str] = Counter()
        self.alone: set[str] = set()
        self.expired: list[str] = []
        self.opened: set[str] = set()
        #: The queues with consumers of other nodes, which keep them alive.
        self.consumed_elsewhere: set[str] = set()
        self.actions: list[Any] = []
        self.max_held = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._consumers: dict[tuple[str, bool], _Consumer] = {}
        self._source: dict[Request, Any] = {}
        self.scheduler.declared(self.queues, 0.0)

    # Events for the worker

    def open(self, queues: Any = None) -> None:
        self.opened = set(self.queues if queues is None else queues)
        self.perform(self.scheduler.open(self.opened, self.now))

    def assign(self, queues: Any) -> None:
        """Have the worker serve these lanes only; the broker keeps all queues."""
        self.perform(self.scheduler.assign([rule for rule in self.rules.values() if rule.queue in queues], self.now))

    def publish(self, queue: str) -> Request:
        request = Request(queue, self.now)
        self.queues[queue].append(request)
        self._deliver(queue)
        return request

    def end_consumer(self, queue: str) -> None:
        """Have the broker end the latest consumer of a lane by itself, as RabbitMQ 4.3 does after its timeout."""
        keys = [key for key in self._consumers if key[0] == queue]
        if keys:
            self._consumers.pop(keys[-1]).cancelled = True
            self.at(self.now + self.latency, lambda: self._lose(queue))

    def _lose(self, queue: str) -> None:
        self.perform(self.scheduler.lost(queue, self.now))
        # The worker closes the lane, declares its queue again, and opens the lane.
        for opened in (self.opened - {queue}, self.opened):
            self.perform(self.scheduler.open(opened, self.now))

    def drain(self) -> None:
        self.perform(self.scheduler.drain(self.now))

    def at(self, moment: float, act: Callable[[], Any]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), lambda: act() and None))

    def run(self, until: float) -> None:
        """Let time pass."""
        while True:
            wake_at = self.scheduler.wake_at()
            times = [self._events[0][0]] if self._events else []
            times += [max(wake_at, self.now)] if wake_at is not None else []
            moment = min(times, default=until)
            if moment > until:
                break
            self.now = moment
            self._expire()
            if self._events and self._events[0][0] <= moment:
                heapq.heappop(self._events)[2]()
            elif wake_at is not None:
                self.perform(self.scheduler.tick(self.now))
                again = self.scheduler.wake_at()
                if again is not None and again <= self.now:
                    raise AssertionError(f"the scheduler was woken at {self.now}, and wants to be again for nothing")
            else:
                break
        self.now = until
        self._expire()

    # Actions of the worker

    def perform(self, actions: list[Any]) -> None:
        self.actions += actions
        for action in actions:
            if isinstance(action, Start):
                self._start(action)
            elif isinstance(action, Consume):
                self.at(self.now + self.latency, lambda action=action: self._consume(action))
            elif isinstance(action, Cancel):
                self.at(self.now + self.latency, lambda action=action: self._cancel(action))
            elif isinstance(action, Get):
                self.at(self.now + self.latency, lambda action=action: self._get(action))
            elif isinstance(action, GiveBack):
                action.item.given_back += 1
                action.item.alone_until = 0.0
                self._release(action.item)
                self.queues[action.item.queue].appendleft(action.item)
        self.max_held = max(self.max_held, self.scheduler.held)
        if self.scheduler.running > self.scheduler.slots:
            raise AssertionError("more is running than there are slots")

    def _start(self, action: Start) -> None:
        rule = self.rules[action.items[0].queue]
        if len(action.items) > rule.batch or {request.queue for request in action.items} != {rule.queue}:
            raise AssertionError(f"these are not a batch: {action.items}")
        for request in action.items:
            if request.started >= 0:
                raise AssertionError("a request was started twice")
            if self.running[rule.model] and (self.now < request.alone_until or rule.model in self.alone):
                raise AssertionError("a request that is to be alone is not")
            request.started = self.now
        if self.now < action.items[0].alone_until:
            self.alone.add(rule.model)
        self.started += action.items
        self.batches.append(len(action.items))
        self.running[rule.model] += 1
        if rule.limit is not None and self.running[rule.model] > rule.limit:
            raise AssertionError("more of a model is running than may")
        self.at(self.now + self.work(action.items[0]), lambda: self._finish(action))

    def _finish(self, action: Start) -> None:
        self.running[action.model] -= 1
        self.alone.discard(action.model)
        for request in action.items:
            if request.again is not None:
                self._give_up_slot(request)
            else:
                self.finished.append(request)
                self._release(request)
        self.perform(self.scheduler.finished(action.model, self.now))

    def _give_up_slot(self, request: Request) -> None:
        pause, alone = request.again or (0.0, False)
        request.again, request.started = None, -1.0
        self.at(self.now + pause, lambda: self._again(request, alone))

    def _again(self, request: Request, alone: bool) -> None:
        # A request that cannot start, because the broker blocks the worker, waits to be alone no longer than this.
        request.alone_until = self.now + ALONE if alone else 0.0
        self.perform(self.scheduler.again(request.queue, request, self.now, alone=alone))

    def _release(self, request: Request) -> None:
        consumer = self._source.pop(request)
        self.scheduler.settled(request.queue)
        if consumer is not None:
            consumer.unacknowledged -= 1
            self.at(self.now + self.latency, lambda: self._deliver(request.queue))

    # Actions of the broker

    def _consume(self, action: Consume) -> None:
        key = (action.queue, action.hot)
        if key in self._consumers:
            raise AssertionError(f"{key} is consumed twice")
        self._consumers[key] = _Consumer(action.queue, action.prefetch)
        self._touch(action.queue)
        self._deliver(action.queue)

    def _cancel(self, action: Cancel) -> None:
        consumer = self._consumers.pop((action.queue, action.hot), None)
        if consumer is not None:  # otherwise the broker has ended the consumer before
            consumer.cancelled = True
        self._touch(action.queue)
        # The answer comes after what was on its way.
        self.at(
            self.now + 2 * self.latency,
            lambda: self.perform(self.scheduler.cancelled(action.queue, action.hot, self.now)),
        )

    def _get(self, action: Get) -> None:
        self._touch(action.queue)
        queue = self.queues[action.queue]
        consumed = action.keeps_alive and (
            action.queue in self.consumed_elsewhere or any(key[0] == action.queue for key in self._consumers)
        )
        request = queue.popleft() if queue and not consumed else None
        if request is not None:
            self._source[request] = None
        more = len(queue)
        self.at(
            self.now + self.latency,
            lambda: self._arrive(request, lambda: self.scheduler.got(action.queue, request, self.now, more=more)),
        )

    def _arrive(self, request: Optional[Request], hear: Callable[[], list[Any]]) -> None:
        if request is not None:
            self.scheduler.taken(request.queue)
        self.perform(hear())

    def _deliver(self, queue: str) -> None:
        waiting = self.queues[queue]
        for consumer in [consumer for consumer in self._consumers.values() if consumer.queue == queue]:
            while waiting and consumer.unacknowledged < consumer.prefetch:
                request = waiting.popleft()
                consumer.unacknowledged += 1
                self._source[request] = consumer
                self.at(
                    self.now + self.latency,
                    lambda request=request: self._arrive(
                        request, lambda: self.scheduler.delivered(queue, request, self.now)
                    ),
                )

    def _touch(self, queue: str) -> None:
        self._expire()
        self.touched[queue] = self.now

    def _expire(self) -> None:
        for queue, rule in self.rules.items():
            if any(consumer.queue == queue for consumer in self._consumers.values()):
                self.touched[queue] = self.now
            if rule.expires is not None and self.now - self.touched[queue] >= rule.expires:
                self.expired.append(queue)
                self.queues[queue].clear()
                self.touched[queue] = self.now
