# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides which lanes are consumed, and which request runs next. Pure policy: events in, actions out, no clock, no I/O.

In *push*, with little work, the broker sends requests by itself. In *pull*, with more work than slots, the worker
fetches one request for each free slot: from a starving lane first, then from a lane of the last model, then by
priority. The policy never returns a request in order to run another one, because each return costs a request one of its
few deliveries. docs/scheduling.md explains the policy and its numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable, Optional

from ..domain.lane_rule import ALONE, STARVATION, LaneRule
from .actions import Action, Get, GiveBack, Mode, Start
from .batches import Batches
from .consumers import ConsumerPlan
from .held_requests import HeldRequest, HeldRequests
from .lanes import LaneEntry, LaneTable
from .slots import Slots

#: The most seconds for which a request is held in push: much shorter than an inference, longer than a burst that fits.
HOLD = 0.05

#: The least seconds of pull, and the seconds between two sweeps without a request, because a change to push costs more.
DWELL = 0.1
SWEEP = 0.02

#: Seconds between two gets, in push, from a lane whose consumer has its full prefetch.
PEEK = 0.1


class Scheduler:
    """The policy of one worker. Times are seconds of a monotonic clock.

    This class is long because it has one method for each event of a worker, and each event may start any request. The
    lanes, slots, batches, held requests and consumers have their own classes.

    :param slots: the most requests that run at the same time.
    :param starvation: the seconds of waiting after which a lane is next in turn.
    """

    def __init__(self, lanes: Iterable[LaneRule], slots: int, *, starvation: float = STARVATION) -> None:
        self.mode = Mode.PULL
        self._starvation = starvation
        self._lanes = LaneTable(lanes)
        self._held = HeldRequests()
        self._slots = Slots(slots)
        self._consumers = ConsumerPlan(self._slots)
        self._batches = Batches(self._lanes, self._held, self._slots)
        #: Whether lanes without a limit may be throttled: a request of their model must run alone, or their consumers
        #: must begin again.
        self._any_throttled = False
        self._pull_began = 0.0
        self._next_sweep = 0.0
        self._draining = False

    @property
    def slots(self) -> int:
        """The most requests that run at the same time."""
        return self._slots.number

    @property
    def running(self) -> int:
        """The number of taken slots."""
        return self._slots.taken

    @property
    def held(self) -> int:
        """The number of requests that wait for a slot."""
        return len(self._held)

    def is_silent(self, queue: str) -> bool:
        """Whether the broker does not answer for a lane."""
        return self._lanes[queue].is_silent

    def mode_of(self, queue: str) -> str:
        """Return how requests of a lane arrive: ``push``, ``pull`` or ``paused``."""
        lane = self._lanes[queue]
        return "push" if lane.consumed else "pull" if lane.open else "paused"

    # Events

    def assign(self, rules: Iterable[LaneRule], now: float) -> list[Action]:
        """Replace the set of lanes. New lanes start closed; existing lanes keep their state.

        If a lane has a new priority or prefetch, its consumers end, and begin again like those of a throttled lane.
        The held requests of a removed lane return to the queue, because another node may still serve the lane.
        """
        wanted = {rule.queue: rule for rule in rules}
        actions: list[Action] = []
        for lane in self._lanes:
            rule = wanted.get(lane.rule.queue)
            if rule is None:
                actions += self._consumers.cancel(lane, now)
                lane.leaving, lane.open, lane.throttled, lane.touched = True, False, False, None
            elif lane.consumed and rule.of_consumers != lane.rule.of_consumers:
                actions += self._consumers.cancel(lane, now)
                lane.throttled = self._any_throttled = True
        self._lanes.replace(wanted.values())
        return actions + self._next(now)

    def open(self, queues: Iterable[str], now: float) -> list[Action]:
        """Replace the set of lanes whose requests the worker can handle."""
        wanted = set() if self._draining else set(queues)
        actions: list[Action] = []
        for lane in self._lanes:
            if lane.open and lane.rule.queue not in wanted:
                lane.open = lane.throttled = False
                actions += self._consumers.cancel(lane, now)
            elif not lane.open and lane.rule.queue in wanted and not lane.leaving:
                lane.open, lane.empty = True, False
                lane.visited = lane.touched = now
                if self.mode is Mode.PUSH:
                    actions.append(self._consumers.consume(lane))
        return actions + self._next(now)

    def taken(self, queue: str) -> None:
        """A request has arrived from a lane, by a consumer or a get."""
        self._lanes.count_taken(queue)

    def settled(self, queue: str) -> None:
        """A request is settled, so the broker may send another request of its lane."""
        self._lanes.count_settled(queue)

    def delivered(self, queue: str, item: Any, now: float, *, shares: bool = True) -> list[Action]:
        """A consumer has received a request.

        :param shares: whether the request may start in a batch.
        """
        lane = self._lanes.get(queue)
        if lane is None:
            return [GiveBack(item)]
        lane.touch(now)
        actions: list[Action] = []
        if self.mode is Mode.PUSH and lane.consumed and self._consumers.deserves_heat(lane):
            actions += self._consumers.heat(lane)
        self._held.add(HeldRequest(lane, item, now, shares=shares))
        return actions + self._next(now)

    def got(self, queue: str, item: Optional[Any], now: float, *, more: int = 0, shares: bool = True) -> list[Action]:
        """A get was answered.

        :param item: the request; None if the lane was empty.
        :param more: the number of requests in the queue.
        :param shares: whether the request may start in a batch.
        """
        lane = self._lanes.get(queue)
        if lane is None:
            return [] if item is None else [GiveBack(item)]
        # Such a get was not meant to bring a request, and another node may be able to answer it.
        unwanted = lane.keeping_alive and not lane.open
        lane.count_answer()
        lane.touch(now)
        actions: list[Action] = []
        if item is None:
            lane.empty = True
        else:
            self._begin_sweep()
            self._held.add(HeldRequest(lane, item, now, shares=shares, unwanted=unwanted))
            has_room = self._slots.free > 0 and not self._slots.full(lane)
            # The others may be of the same kind; those that cannot share a call stay in the queue, for other nodes.
            if self.mode is Mode.PULL and lane.open and not lane.getting and has_room and shares:
                actions += self._batches.fill(lane, more)
        return actions + self._next(now)

    def answered(self, queue: str, now: float) -> list[Action]:
        """A get brought a request that needs no slot."""
        lane = self._lanes.get(queue)
        if lane is None:
            return []
        lane.count_answer()
        lane.touch(now)
        self._begin_sweep()
        return self._next(now)

    def silent(self, queue: str, now: float, *, asked: bool) -> list[Action]:
        """The broker does not answer for a lane: neither a get nor the start of a consumer.

        A get from a silent lane does not reserve a slot. No lane has a consumer meanwhile: the broker starts one
        consumer after the other, and all others would wait for the consumer of the silent lane.

        :param asked: whether a get is not answered, which may still bring a request later.
        """
        lane = self._lanes.get(queue)
        if lane is None:
            return []
        if asked:
            lane.count_answer()
        lane.note_silence(now)
        actions = self._enter_pull(now) if self.mode is Mode.PUSH else []
        return actions + self._next(now)

    def cancelled(self, queue: str, hot: bool, now: float) -> list[Action]:
        """A cancelled consumer has ended, and brings no more requests."""
        waiting = self._consumers.note_cancelled(queue, hot)
        actions: list[Action] = []
        # Only if a slot is free: otherwise the prefetched requests of the two hot consumers would add up.
        if waiting is not None and self.mode is Mode.PUSH and self._slots.free > 0 and not self._slots.full(waiting):
            actions = self._consumers.heat(waiting)
        return actions + self._next(now)

    def finished(self, model: str, now: float) -> list[Action]:
        """A started batch has ended."""
        self._slots.finish(model)
        return self._next(now)

    def again(self, queue: str, item: Any, now: float, *, alone: bool = False) -> list[Action]:
        """A started request that has given its slot up needs one again.

        :param item: the request.
        :param alone: whether no other request of the model may run at the same time.
        """
        lane = self._lanes.get(queue)
        if lane is None or lane.leaving or self._draining:
            return [GiveBack(item)]
        self._held.add(HeldRequest(lane, item, now, now + ALONE if alone else 0.0))
        self._slots.note_alone(self._held, now)
        return self._next(now)

    def tick(self, now: float) -> list[Action]:
        """The time of :meth:`wake_at` has come."""
        return self._next(now)

    def block(self, blocked: bool, now: float) -> list[Action]:
        """Start no requests while the broker blocks answers."""
        self._slots.blocked = blocked
        return self._next(now)

    def lost(self, queue: str, now: float) -> list[Action]:
        """The broker has ended a consumer of a lane, or refuses to read its queue.

        The other consumer must end, too: the lane gets new ones when it is opened again.
        """
        lane = self._lanes.get(queue)
        actions = [] if lane is None else self._consumers.cancel(lane, now)
        return actions + self._next(now)

    def declared(self, queues: Iterable[str], now: float) -> None:
        """The queues of these lanes are declared, and expire without use."""
        for queue in queues:
            lane = self._lanes.get(queue)
            if lane is not None and not lane.leaving:
                lane.touched = now

    def reset(self, alive: Callable[[Any], bool], now: float) -> None:
        """The channel and its consumers are lost, and no lane is open for now. Running requests continue.

        :param alive: returns whether a held request can still be settled. The scheduler forgets the other requests,
            because the broker has requeued them.
        """
        self._held.keep(lambda held: alive(held.item))
        self._slots.note_alone(self._held, now)
        self._consumers.reset()
        self._lanes.forget_channel()
        self._enter_pull(now)

    def drain(self, now: float) -> list[Action]:
        """Take no more requests, and return the requests that have not started."""
        self._draining = True
        return self.open((), now)

    def wake_at(self) -> Optional[float]:
        """Return the time of the next :meth:`tick`; None if none is needed."""
        alive = [lane.keep_alive_at() for lane in self._lanes.expiring]
        times = [when for when in alive if when is not None]
        if not self._draining:
            times += self._slots.alone_ends(self._held)
            if self._slots.free > 0:
                times += self._batches.ends()
            if self.mode is Mode.PUSH:
                staying = [held for held in self._held if not self._goes_back(held)]
                times += [held.since + HOLD for held in staying if not self._waits_for_room(held.lane)][:1]
                times += [lane.visited + PEEK for lane in self._to_peek_at()]
            if self.mode is Mode.PULL and self._slots.free > 0 and self._swept():
                times.append(self._next_sweep)
        return min(times, default=None)

    # Policy

    def _waits_for_room(self, lane: LaneEntry) -> bool:
        """Whether the held requests of a lane wait until their model has room."""
        return self._slots.full(lane) and not lane.consumed

    def _next(self, now: float) -> list[Action]:
        """Return all actions that are possible now."""
        if self._slots.anybody_alone:
            self._slots.note_alone(self._held, now)
        actions = self._give_back()
        actions += self._start(now)
        if self._draining:
            pass
        elif self.mode is Mode.PUSH:
            actions += self._look_at_held(now)
        elif self._slots.free > 0:
            actions += self._ask(now)
        return actions + self._keep_alive(now)

    def _give_back(self) -> list[Action]:
        """Return the requests that will not start on this node, and forget removed lanes without open commands."""
        gone = self._held.keep(lambda held: not self._goes_back(held) or self._consumers.may_still_bring(held.lane))
        if gone:
            self._slots.note_waits(self._held)
        for lane in [lane for lane in self._lanes.leaving if not self._consumers.may_still_bring(lane)]:
            self._lanes.remove(lane)
        return [GiveBack(held.item) for held in gone]

    def _ends(self, lane: LaneEntry) -> bool:
        """Whether no more requests of a lane will start."""
        return self._draining or lane.leaving

    def _goes_back(self, held: HeldRequest) -> bool:
        """Whether a held request does not start on this node."""
        return self._ends(held.lane) or (held.unwanted and not held.lane.open)

    def _start(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while self._held and self._slots.free > 0:
            gathering = self._batches.gathering(now)
            ready = [
                held
                for held in self._held
                if not self._goes_back(held)
                and self._slots.may_start(held)
                and not (held.shares and (held.lane in gathering or self._batches.filling(held.lane)))
            ]
            if not ready:
                break
            best = min(ready, key=lambda held: self._rank(held.lane, held.since, now))
            batch = self._held.batch_of(best.lane)[: best.lane.rule.batch]
            if best.lane.rule.batch == 1 or best.alone_until or not best.shares:
                batch = [best]
            self._held.remove(batch)
            self._slots.start(best, now)
            if best.alone_until:
                self._slots.note_alone(self._held, now)
            actions.append(Start(best.lane.rule.model, tuple(held.item for held in batch)))
        return actions

    def _look_at_held(self, now: float) -> list[Action]:
        """In push: leave requests to other nodes that cannot start on this node soon."""
        late = [held.lane for held in self._held if now >= held.since + HOLD and not self._goes_back(held)]
        if any(not self._slots.full(lane) for lane in late):
            return self._enter_pull(now)
        actions: list[Action] = []
        crowded = {lane.rule.model for lane in late}
        self._any_throttled = self._any_throttled or self._slots.anybody_alone
        for lane in list(self._lanes) if self._any_throttled else self._lanes.limited:
            if lane.consumed and lane.rule.model in crowded:
                actions += self._consumers.cancel(lane, now)
                lane.throttled = True
            elif lane.throttled and not self._slots.full(lane) and not self._consumers.is_cancelling(lane):
                actions.append(self._consumers.consume(lane))
        self._any_throttled = self._any_throttled and any(lane.throttled for lane in self._lanes)
        return actions + self._peek(now)

    def _to_peek_at(self) -> list[LaneEntry]:
        """Return lanes that may hold more requests than their consumers may bring: at most one per free slot."""
        if self._slots.free <= 0 or self._held:
            return []
        lanes = [
            lane
            for lane in self._lanes.unsettled.values()
            if lane.consumed and lane is not self._consumers.hot and not lane.getting and not self._slots.full(lane)
        ]
        if not lanes:
            return []
        wanted = self._slots.free - sum([lane.getting > 0 for lane in self._lanes])
        return sorted(lanes, key=lambda lane: lane.visited)[: max(0, wanted)]

    def _peek(self, now: float) -> list[Action]:
        """In push: get from the lanes whose consumers have their full prefetch."""
        actions: list[Action] = []
        for lane in self._to_peek_at():
            if now >= lane.visited + PEEK:
                lane.getting += 1
                actions.append(Get(lane.rule.queue))
        return actions

    def _ask(self, now: float) -> list[Action]:
        """Get from the lanes that are next in turn, at most one request per free slot."""
        silent = any(lane.open and lane.is_silent for lane in self._lanes)
        if self._swept():
            if now >= self._pull_began + DWELL and not self._consumers.cancelling and not silent:
                return self._enter_push()
            if now < self._next_sweep:
                return []
            self._begin_sweep()
        # A lane that gathers a batch will need a slot, which no other lane may take.
        gathering = self._batches.gathering(now)
        wanted = self._slots.free - sum(
            (lane.getting > 0 and not lane.is_silent) or lane in gathering for lane in self._lanes
        )
        candidates = [
            lane
            for lane in self._lanes
            if lane.open and not lane.getting and not lane.empty and now >= (lane.silent_until or 0.0)
        ]
        candidates.sort(key=lambda lane: (*self._rank(lane, lane.visited, now), lane.rule.queue))
        actions: list[Action] = []
        for lane in candidates:
            more = lane in gathering or lane.is_silent
            if more or (wanted > 0 and self._has_room(lane)):
                wanted -= not more
                lane.getting += 1
                actions.append(Get(lane.rule.queue))
        self._next_sweep = now + (PEEK if silent else SWEEP)
        return actions

    def _has_room(self, lane: LaneEntry) -> bool:
        """Whether the model of a lane has room for one more request, besides the unanswered gets."""
        if lane.rule.limit is None:
            return not self._slots.full(lane)
        model = lane.rule.model
        coming = sum(other.getting > 0 for other in self._lanes if other.rule.model == model)
        held = sum(held.lane.rule.model == model for held in self._held)
        return self._slots.running(model) + coming + held < lane.rule.limit

    def _rank(self, lane: LaneEntry, since: float, now: float) -> tuple[bool, bool, int, float]:
        """Return a sort key: the lane or request that is next in turn comes first."""
        starving = now - since >= self._starvation
        related = lane.rule.model == self._slots.last_model
        # Among starving lanes only the time counts.
        return (not starving, not (related or starving), 0 if starving else -lane.rule.priority, since)

    def _swept(self) -> bool:
        """Whether every lane that could be served was found empty since the last request arrived."""
        lanes = [lane for lane in self._lanes if lane.open and not self._slots.full(lane)]
        return bool(lanes) and all((lane.empty and not lane.getting) or lane.is_silent for lane in lanes)

    def _begin_sweep(self) -> None:
        for lane in self._lanes:
            lane.empty = False

    def _enter_push(self) -> list[Action]:
        self.mode = Mode.PUSH
        lanes = [lane for lane in self._lanes if lane.open]
        lanes.sort(key=lambda lane: (-lane.rule.priority, lane.rule.queue))
        for lane in lanes:
            lane.throttled = self._slots.full(lane)
        self._any_throttled = any(lane.throttled for lane in lanes)
        return [self._consumers.consume(lane) for lane in lanes if not lane.throttled]

    def _enter_pull(self, now: float) -> list[Action]:
        self.mode = Mode.PULL
        self._pull_began = now
        self._begin_sweep()
        for lane in self._lanes:
            lane.throttled = False
        # The hot lane first, because it gets the most requests.
        lanes = sorted(self._lanes, key=lambda lane: lane is not self._consumers.hot)
        return [action for lane in lanes for action in self._consumers.cancel(lane, now)]

    def _keep_alive(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for lane in self._lanes.expiring:
            at = lane.keep_alive_at()
            if at is not None and now >= at:
                lane.getting += 1
                lane.keeping_alive = not lane.open
                actions.append(Get(lane.rule.queue, keeps_alive=not lane.open))
        return actions
