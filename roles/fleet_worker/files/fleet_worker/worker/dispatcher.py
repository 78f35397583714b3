# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The link between the scheduler, which has no clock and no I/O, and the parts that carry out its decisions.

The dispatcher passes each event with its time to the scheduler, and carries out the resulting actions at once. For the
I/O thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Any, Callable, Optional

from .._fleet.dialects.carried import is_carried
from ..amqp.consumers import Consumers
from ..domain.delivery import Delivery, LaneSettings
from ..domain.settlement import Settlement
from ..inference.in_flight import InFlightRequest
from ..logs.defects import contained
from ..runtime.alarm import Alarm
from ..scheduling.actions import Action, Cancel, Consume, Get, Start
from ..scheduling.scheduler import Scheduler


class Dispatcher:
    """Passes the events of :class:`Scheduler` on, and carries out its actions.

    :param loop: the loop of the I/O thread.
    :param lanes: the lanes that the scheduler knows.
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
        #: The settlements of the requests that the scheduler counts as unsettled.
        self._unsettled: set[Settlement] = set()
        self._alarm = Alarm(loop, self._tick_scheduler)
        self._start: Callable[[Start], None]
        self._give_back: Callable[[Any], None]
        self._freed: Callable[[], None]

    def connect(
        self, start: Callable[[Start], None], give_back: Callable[[Any], None], freed: Callable[[], None]
    ) -> None:
        """Set the functions that carry out actions on requests. To be called once, before the first event.

        :param start: starts requests, and frees their slot in any case, also if it raises.
        :param give_back: returns a delivery, or a request that has given its slot up, to its queue.
        :param freed: called when a slot becomes free.
        """
        self._start, self._give_back, self._freed = start, give_back, freed

    # Lanes

    def assign(self, lanes: Iterable[LaneSettings]) -> None:
        """Replace the set of lanes."""
        self._lanes = {lane.queue: lane for lane in lanes}
        self._consumers.update(self._lanes)
        self._apply_actions(self._scheduler.assign([lane.rule for lane in self._lanes.values()], time.monotonic()))

    def open(self, queues: Iterable[str]) -> None:
        """Replace the set of lanes that the worker may take requests from."""
        self._apply_actions(self._scheduler.open(queues, time.monotonic()))

    def declared(self, queues: Iterable[str]) -> None:
        """Note that the queues of these lanes exist."""
        self._scheduler.declared(queues, time.monotonic())

    def lost(self, lane: LaneSettings) -> None:
        """Note that the broker has ended a consumer of a lane, or refuses to read its queue."""
        self._apply_actions(self._scheduler.lost(lane.queue, time.monotonic()))

    def silent(self, lane: LaneSettings, asked: bool) -> None:
        """Note that the broker does not answer for a lane."""
        self._apply_actions(self._scheduler.silent(lane.queue, time.monotonic(), asked=asked))

    def cancelled(self, queue: str, hot: bool) -> None:
        """Note that a cancelled consumer brings no more requests."""
        self._apply_actions(self._scheduler.cancelled(queue, hot, time.monotonic()))

    # Requests

    def delivered(self, delivery: Delivery) -> None:
        """Note a new request of a consumer."""
        shares = not is_carried(delivery.message.properties)
        self._apply_actions(self._scheduler.delivered(delivery.lane.queue, delivery, time.monotonic(), shares=shares))

    def got(self, lane: LaneSettings, delivery: Optional[Delivery], more: int) -> None:
        """Note the answer to a get: a new request, or ``None``."""
        shares = delivery is None or not is_carried(delivery.message.properties)
        self._apply_actions(self._scheduler.got(lane.queue, delivery, time.monotonic(), more=more, shares=shares))

    def answered(self, lane: LaneSettings) -> None:
        """Note the answer to a get: a request that needs no slot."""
        self._apply_actions(self._scheduler.answered(lane.queue, time.monotonic()))

    def taken(self, delivery: Delivery) -> None:
        """Note that a request was taken from a lane, by a consumer or a get."""
        self._unsettled.add(delivery.settlement)
        self._scheduler.taken(delivery.lane.queue)

    def settled(self, delivery: Delivery) -> None:
        """Note a delivery that is settled, or whose channel is gone, so that the broker may send another one.

        A delivery from before the loss of all channels does not count.
        """
        if delivery.settlement in self._unsettled:
            self._unsettled.remove(delivery.settlement)
            self._scheduler.settled(delivery.lane.queue)

    def again(self, request: InFlightRequest, *, alone: bool = False) -> None:
        """Queue a request again that has given its slot up."""
        self._apply_actions(self._scheduler.again(request.lane.queue, request, time.monotonic(), alone=alone))

    def finished(self, model: str) -> None:
        """Free the slot of a model's batch."""
        self._apply_actions(self._scheduler.finished(model, time.monotonic()))
        self._freed()

    # Broker and process

    def block(self, blocked: bool) -> None:
        """Start no requests while the broker blocks answers."""
        self._apply_actions(self._scheduler.block(blocked, time.monotonic()))

    def consumers_lost(self) -> None:
        """Forget the consumers. Held requests stay if they can still be settled, or were in flight before."""
        self._unsettled.clear()
        self._scheduler.reset(lambda item: isinstance(item, InFlightRequest) or item.is_live, time.monotonic())

    def connection_lost(self) -> None:
        """Forget all channels. Held requests stay if they were in flight before."""
        self._unsettled.clear()
        self._scheduler.reset(lambda item: isinstance(item, InFlightRequest), time.monotonic())

    def drain(self) -> None:
        """Take no more requests, and return the requests that have not started."""
        self._apply_actions(self._scheduler.drain(time.monotonic()))

    def _tick_scheduler(self) -> None:
        self._apply_actions(self._scheduler.tick(time.monotonic()))

    def _apply_actions(self, actions: Iterable[Action]) -> None:
        """Carry out actions, and set the next wake-up of the scheduler."""
        for action in actions:
            # The scheduler counts on each action, so a defect in one action must not lose the others.
            contained(partial(self._apply, action), lambda _error: None)
        self._alarm.set(self._scheduler.wake_at())

    def _apply(self, action: Action) -> None:
        if isinstance(action, Start):
            self._start(action)
        elif isinstance(action, Get):
            self._consumers.get(self._lanes[action.queue], keeps_alive=action.keeps_alive)
        elif isinstance(action, Consume):
            self._consumers.consume(self._lanes[action.queue], action.prefetch, hot=action.hot)
        elif isinstance(action, Cancel):
            self._consumers.cancel(action.queue, hot=action.hot)
        else:
            self._give_back(action.item)
