# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Between the scheduler, which knows no clock and no I/O, and the parts that do what it decides.

Each event goes in with the time of its arrival, and each action that comes out is carried out at once. For the I/O
thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Callable, Optional

from ..amqp.consumers import Consumers
from ..domain.delivery import Delivery, LaneSettings
from ..inference.in_flight import InFlightRequest
from ..runtime.alarm import Alarm
from ..scheduling.actions import Action, Cancel, Consume, Get, Start
from ..scheduling.scheduler import Scheduler


class Dispatcher:
    """Hands events to the scheduler, and carries out its actions. The events are those of :class:`Scheduler`.

    :param loop: of the I/O thread.
    :param lanes: those that the scheduler knows.
    """

    def __init__(
        self,
        loop: Any,
        scheduler: Scheduler,
        consumers: Consumers,
        lanes: Iterable[LaneSettings],
    ) -> None:
        self._scheduler = scheduler
        self._consumers = consumers
        self._lanes = {lane.queue: lane for lane in lanes}
        self._alarm = Alarm(loop, self._tick_scheduler)
        self._start: Callable[[Start], None]
        self._give_back: Callable[[Any], None]
        self._freed: Callable[[], None]

    def connect(
        self, start: Callable[[Start], None], give_back: Callable[[Any], None], freed: Callable[[], None]
    ) -> None:
        """Say who carries out what concerns requests; called once, before the first event.

        :param start: starts requests.
        :param give_back: returns a delivery, or a request that had given its slot up, to its queue.
        :param freed: called when a slot has become free.
        """
        self._start, self._give_back, self._freed = start, give_back, freed

    # Lanes

    def assign(self, lanes: Iterable[LaneSettings]) -> None:
        """Exactly these lanes there are from now on."""
        self._lanes = {lane.queue: lane for lane in lanes}
        self._apply_actions(self._scheduler.assign([lane.rule for lane in self._lanes.values()], time.monotonic()))

    def open(self, queues: Iterable[str]) -> None:
        """Requests can be taken from exactly these lanes from now on."""
        self._apply_actions(self._scheduler.open(queues, time.monotonic()))

    def declared(self, queues: Iterable[str]) -> None:
        """The queues of these lanes are there from now on."""
        self._scheduler.declared(queues, time.monotonic())

    def lost(self, lane: LaneSettings) -> None:
        """The broker has ended the consumers of a lane by itself."""
        self._apply_actions(self._scheduler.lost(lane.queue, time.monotonic()))

    def silent(self, lane: LaneSettings, asked: bool) -> None:
        """The broker does not answer for a lane."""
        self._apply_actions(self._scheduler.silent(lane.queue, time.monotonic(), asked=asked))

    def cancelled(self, lane: LaneSettings, hot: bool) -> None:
        """The broker has confirmed the end of a consumer."""
        self._apply_actions(self._scheduler.cancelled(lane.queue, hot, time.monotonic()))

    # Requests

    def delivered(self, delivery: Delivery) -> None:
        """A consumer has got a request that is new."""
        self._apply_actions(self._scheduler.delivered(delivery.lane.queue, delivery, time.monotonic()))

    def got(self, lane: LaneSettings, delivery: Optional[Delivery], more: int) -> None:
        """A lane was asked for a request, and had a new one, or None."""
        self._apply_actions(self._scheduler.got(lane.queue, delivery, time.monotonic(), more=more))

    def answered(self, lane: LaneSettings) -> None:
        """A lane was asked for a request, and the one that it had needs no slot."""
        self._apply_actions(self._scheduler.answered(lane.queue, time.monotonic()))

    def taken(self, delivery: Delivery) -> None:
        """A request has come out of a lane, in whatever way."""
        self._scheduler.taken(delivery.lane.queue)

    def settled(self, delivery: Delivery) -> None:
        """The broker may send another request instead of this one."""
        self._scheduler.settled(delivery.lane.queue)

    def again(self, request: InFlightRequest, *, alone: bool = False) -> None:
        """A request that has given its slot up wants one again."""
        self._apply_actions(self._scheduler.again(request.lane.queue, request, time.monotonic(), alone=alone))

    def finished(self, model: str) -> None:
        """The slot is free that requests of a model had."""
        self._apply_actions(self._scheduler.finished(model, time.monotonic()))
        self._freed()

    # Broker and process

    def block(self, blocked: bool) -> None:
        """While answers cannot be sent nothing is started."""
        self._apply_actions(self._scheduler.block(blocked, time.monotonic()))

    def consumers_lost(self) -> None:
        """The consumers are gone. What is held stays if it can still be settled, or was in flight before."""
        self._scheduler.reset(lambda item: isinstance(item, InFlightRequest) or item.is_live, time.monotonic())

    def connection_lost(self) -> None:
        """All channels are gone. What is held stays if it was in flight before."""
        self._scheduler.reset(lambda item: isinstance(item, InFlightRequest), time.monotonic())

    def drain(self) -> None:
        """Take nothing any more, and give back what was not started."""
        self._apply_actions(self._scheduler.drain(time.monotonic()))

    def _tick_scheduler(self) -> None:
        self._apply_actions(self._scheduler.tick(time.monotonic()))

    def _apply_actions(self, actions: Iterable[Action]) -> None:
        """Do what the scheduler says, and wake it when it wants to be woken."""
        for action in actions:
            if isinstance(action, Start):
                self._start(action)
            elif isinstance(action, Get):
                self._consumers.get(self._lanes[action.queue])
            elif isinstance(action, Consume):
                self._consumers.consume(self._lanes[action.queue], action.prefetch, hot=action.hot)
            elif isinstance(action, Cancel):
                self._consumers.cancel(action.queue, hot=action.hot)
            else:
                self._give_back(action.item)
        self._alarm.set(self._scheduler.wake_at())
