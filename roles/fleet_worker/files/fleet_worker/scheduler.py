# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lanes are consumed, and which request runs next. Pure policy: events in, actions out, no clock and no I/O.

A worker may have 200 lanes, a few slots, and a GPU that holds one model at a time. Three things cost: a consumer that
is begun or cancelled (0.8 ms a lane, in sequence), a request that waits here while another node is free, and a model
that has to be loaded because requests of two models take turns. Nothing is ever given back in order to run something
else: each time it is, a request loses one of the few deliveries that the broker allows it.

*Push*, when there is little to do: every lane has one consumer with a prefetch of 1, and a request starts the moment it
arrives. When it arrives while more slots are free, and its model is the one that ran last or nothing else runs, its
lane gets a second consumer that can keep all slots busy; one lane at a time. What arrives beyond the slots is held.

*Pull*, when there is more to do than slots: once the oldest held request has waited for ``HOLD``, all consumers are
cancelled, so that other nodes get what this one cannot do. From then on a slot that becomes free takes what is held,
and then one request at a time from the lane that deserves it most: one that was not looked at for ``starvation``
seconds, else one of the model that ran last, else by priority. When a whole sweep has found every lane empty, it is
push again.

A worker starts in pull, also after a reconnect: whatever has piled up is taken in that order, and not in the order in
which consumers happen to be served.

A queue that expires (``x-expires``) is kept alive by a consumer or a get, and by nothing else: not by being declared
again, not by an unacknowledged request. So while such a lane has no consumer, it is asked for a request in time,
whatever else happens; what that brings is held, and runs when a slot is free, even if the lane is paused.

How many requests can be held: in push, the prefetch of all consumers less what runs, that is lanes + 2 x slots - 2;
in pull no more are taken than there are free slots, except one a lane in each third of its expiry.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

#: Seconds for which a request may be held in push. Short against an inference, long against a burst that fits.
HOLD = 0.05

#: Seconds that pull lasts at least, and between two sweeps in them that found nothing: changing over costs more.
DWELL = 0.1
SWEEP = 0.02

#: Seconds after which a lane is looked at, and a held request started, out of turn.
STARVATION = 10.0


@dataclass(frozen=True)
class LaneRule:
    """What the policy knows of a lane.

    :ivar model: requests of one model run best after each other.
    :ivar priority: higher goes first.
    :ivar expires: seconds after which the broker deletes the queue when nobody has asked for a request.
    """

    queue: str
    model: str
    priority: int = 0
    expires: Optional[float] = None


@dataclass(frozen=True)
class Consume:
    """Begin to consume a lane; ``hot`` is the second consumer."""

    queue: str
    prefetch: int
    hot: bool = False


@dataclass(frozen=True)
class Cancel:
    """Stop consuming; answered by :meth:`Scheduler.cancelled`."""

    queue: str
    hot: bool = False


@dataclass(frozen=True)
class Get:
    """Ask a lane for one request; answered by :meth:`Scheduler.got`."""

    queue: str


@dataclass(frozen=True)
class Start:
    """Run a request; answered by :meth:`Scheduler.finished`."""

    item: Any


@dataclass(frozen=True)
class GiveBack:
    """Return a request that was not started to its queue. Only when the worker leaves."""

    item: Any


Action = Union[Consume, Cancel, Get, Start, GiveBack]


class Mode(enum.Enum):
    """How requests come: asked for one by one, or sent by the broker."""

    PULL = "pull"
    PUSH = "push"


class _Lane:
    def __init__(self, rule: LaneRule) -> None:
        self.rule = rule
        self.open = False
        self.consumed = False
        self.getting = False
        #: Whether the sweep under way has found it empty.
        self.empty = False
        #: When it was last looked into, and when the broker was last reminded of it.
        self.visited = 0.0
        self.touched = 0.0


@dataclass(frozen=True)
class _Held:
    lane: _Lane
    item: Any
    since: float


class Scheduler:
    """The policy of one worker. Times are seconds of any clock that only goes forward.

    :param slots: requests that may run at the same time.
    :param starvation: seconds after which a lane is served out of turn.
    """

    def __init__(self, lanes: Iterable[LaneRule], slots: int, *, starvation: float = STARVATION) -> None:
        self._lanes = {rule.queue: _Lane(rule) for rule in lanes}
        self.slots = slots
        self._starvation = starvation
        self.mode = Mode.PULL
        self.running = 0
        self._held: list[_Held] = []
        self._hot: Optional[_Lane] = None
        self._next_hot: Optional[_Lane] = None
        #: Consumers that were cancelled, until the broker has said so.
        self._cancelling: Counter[tuple[str, bool]] = Counter()
        self._last_model: Optional[str] = None
        self._pull_began = 0.0
        self._next_sweep = 0.0
        self._blocked = False
        self._draining = False

    @property
    def held(self) -> int:
        """Requests that were taken and not started."""
        return len(self._held)

    def mode_of(self, queue: str) -> str:
        """Return how requests of a lane come: ``push``, ``pull`` or ``paused``."""
        lane = self._lanes[queue]
        return "push" if lane.consumed else "pull" if lane.open else "paused"

    # Events.

    def open(self, queues: Iterable[str], now: float) -> list[Action]:
        """Exactly these lanes can be served from now on."""
        wanted = set() if self._draining else set(queues)
        actions: list[Action] = []
        for queue, lane in self._lanes.items():
            if lane.open and queue not in wanted:
                lane.open = False
                actions += self._cancel(lane, now)
            elif not lane.open and queue in wanted:
                lane.open, lane.empty = True, False
                lane.visited = lane.touched = now
                if self.mode is Mode.PUSH:
                    actions.append(self._consume(lane))
        return actions + self._next(now)

    def delivered(self, queue: str, item: Any, now: float) -> list[Action]:
        """A consumer has got a request."""
        lane = self._lanes[queue]
        lane.visited = lane.touched = now
        actions: list[Action] = []
        if self.mode is Mode.PUSH and lane.consumed and self._deserves_heat(lane):
            actions += self._heat(lane)
        self._held.append(_Held(lane, item, now))
        return actions + self._next(now)

    def got(self, queue: str, item: Optional[Any], now: float) -> list[Action]:
        """A lane was asked for a request; None when it had none."""
        lane = self._lanes[queue]
        lane.getting = False
        lane.visited = lane.touched = now
        if item is None:
            lane.empty = True
        else:
            self._begin_sweep()
            self._held.append(_Held(lane, item, now))
        return self._next(now)

    def answered(self, queue: str, now: float) -> list[Action]:
        """A lane was asked for a request, and what it had needs no slot."""
        self._lanes[queue].getting = False
        self._lanes[queue].visited = self._lanes[queue].touched = now
        self._begin_sweep()
        return self._next(now)

    def cancelled(self, queue: str, hot: bool, now: float) -> list[Action]:
        """The broker has confirmed the end of a consumer: nothing comes from it any more."""
        self._cancelling[(queue, hot)] -= 1
        self._cancelling += Counter()  # forget what is down to nothing
        actions: list[Action] = []
        if hot and self._next_hot is not None and self._next_hot.consumed and self.mode is Mode.PUSH:
            # Not with all slots taken meanwhile: what is left of the one consumer would add up with the other's.
            actions = self._heat(self._next_hot) if self._free > 0 else []
        return actions + self._next(now)

    def finished(self, now: float) -> list[Action]:
        """A request that ran is over."""
        self.running -= 1
        return self._next(now)

    def tick(self, now: float) -> list[Action]:
        """The time has come that :meth:`wake_at` named."""
        return self._next(now)

    def block(self, blocked: bool, now: float) -> list[Action]:
        """While answers cannot be sent nothing is started."""
        self._blocked = blocked
        return self._next(now)

    def lost(self, queue: str, now: float) -> list[Action]:
        """The broker has ended the consumers of a lane by itself."""
        lane = self._lanes[queue]
        lane.consumed = False
        if self._hot is lane:
            self._hot = None
        return self._next(now)

    def declared(self, queues: Iterable[str], now: float) -> None:
        """The queues of these lanes are there from now on, and expire if nobody asks for anything."""
        for queue in queues:
            self._lanes[queue].touched = now

    def reset(self, alive: Callable[[Any], bool], now: float) -> None:
        """The consumers are gone with their channel, and no lane can be served for now; what runs goes on.

        :param alive: whether a request that is held can still be settled; the others are forgotten, because the broker
            has them back.
        """
        self._held = [held for held in self._held if alive(held.item)]
        self._hot = None
        self._cancelling.clear()
        for lane in self._lanes.values():
            lane.open = lane.consumed = lane.getting = lane.empty = False
            lane.touched = 0.0
        self._enter_pull(now)

    def drain(self, now: float) -> list[Action]:
        """Take nothing any more, and give back what was not started."""
        self._draining = True
        return self.open((), now)

    def wake_at(self) -> Optional[float]:
        """Return when :meth:`tick` has something to do if nothing else happens; None when it has nothing."""
        times = [
            lane.touched + lane.rule.expires / 3
            for lane in self._lanes.values()
            if lane.rule.expires is not None and not lane.consumed and not lane.getting and lane.touched
        ]
        if not self._draining:
            if self.mode is Mode.PUSH and self._held:
                times.append(self._held[0].since + HOLD)
            if self.mode is Mode.PULL and self._free > 0 and self._swept():
                times.append(self._next_sweep)
        return min(times, default=None)

    # Policy.

    @property
    def _free(self) -> int:
        return 0 if self._blocked else self.slots - self.running

    def _next(self, now: float) -> list[Action]:
        """Return everything that can be done now."""
        actions = self._start(now)
        if self._draining:
            actions += [GiveBack(held.item) for held in self._held]
            self._held.clear()
        elif self.mode is Mode.PUSH:
            if self._held and now >= self._held[0].since + HOLD:
                actions += self._enter_pull(now)
        elif self._free > 0:
            actions += self._ask(now)
        return actions + self._keep_alive(now)

    def _start(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while self._held and self._free > 0 and not self._draining:
            best = min(self._held, key=lambda held: self._rank(held.lane, held.since, now))
            self._held.remove(best)
            self.running += 1
            self._last_model = best.lane.rule.model
            actions.append(Start(best.item))
        return actions

    def _ask(self, now: float) -> list[Action]:
        """Ask the lanes that deserve it most, for no more requests than there are free slots."""
        if self._swept():
            if now >= self._pull_began + DWELL and not self._cancelling:
                return self._enter_push()
            if now < self._next_sweep:
                return []
            self._begin_sweep()
        wanted = self._free - sum(lane.getting for lane in self._lanes.values())
        candidates = [lane for lane in self._lanes.values() if lane.open and not lane.getting and not lane.empty]
        candidates.sort(key=lambda lane: (*self._rank(lane, lane.visited, now), lane.rule.queue))
        actions: list[Action] = []
        for lane in candidates[: max(0, wanted)]:
            lane.getting = True
            actions.append(Get(lane.rule.queue))
        self._next_sweep = now + SWEEP
        return actions

    def _rank(self, lane: _Lane, since: float, now: float) -> tuple[bool, bool, int, float]:
        """Return a key by which the lane, or a request of it, that deserves a slot most comes first."""
        starving = now - since >= self._starvation
        related = lane.rule.model == self._last_model
        # Among those that starve only the time counts.
        return (not starving, not (related or starving), 0 if starving else -lane.rule.priority, since)

    def _swept(self) -> bool:
        """Whether every lane was found empty since the last request came out of one."""
        lanes = [lane for lane in self._lanes.values() if lane.open]
        return bool(lanes) and all(lane.empty and not lane.getting for lane in lanes)

    def _begin_sweep(self) -> None:
        for lane in self._lanes.values():
            lane.empty = False

    def _enter_push(self) -> list[Action]:
        self.mode = Mode.PUSH
        lanes = [lane for lane in self._lanes.values() if lane.open]
        lanes.sort(key=lambda lane: (-lane.rule.priority, lane.rule.queue))
        return [self._consume(lane) for lane in lanes]

    def _enter_pull(self, now: float) -> list[Action]:
        self.mode = Mode.PULL
        self._pull_began = now
        self._begin_sweep()
        # The hot lane first: it is the one that brings the most.
        lanes = sorted(self._lanes.values(), key=lambda lane: lane is not self._hot)
        return [action for lane in lanes for action in self._cancel(lane, now)]

    def _consume(self, lane: _Lane) -> Consume:
        lane.consumed = True
        return Consume(lane.rule.queue, prefetch=1)

    def _cancel(self, lane: _Lane, now: float) -> list[Action]:
        actions: list[Action] = []
        if self._hot is lane:
            actions += self._cool()
        if lane.consumed:
            lane.consumed = False
            lane.touched = now
            self._cancelling[(lane.rule.queue, False)] += 1
            actions.append(Cancel(lane.rule.queue))
        return actions

    def _deserves_heat(self, lane: _Lane) -> bool:
        """Whether more requests of a lane that has just got one should come at once."""
        if lane.rule.model == self._last_model:
            return self._free > 0
        # A burst for a model that is not loaded: without this it would run one by one until the first is done.
        return self._free > 1 and self.running == 0

    def _heat(self, lane: _Lane) -> list[Action]:
        """Give a lane the second consumer, when the lane that has it is rid of it."""
        if self._hot is lane:
            return []
        if self._hot is not None or any(hot for _queue, hot in self._cancelling):
            self._next_hot = lane
            return self._cool()
        self._hot, self._next_hot = lane, None
        return [Consume(lane.rule.queue, prefetch=2 * self.slots - 1, hot=True)]

    def _cool(self) -> list[Action]:
        if self._hot is None:
            return []
        queue = self._hot.rule.queue
        self._hot = None
        self._cancelling[(queue, True)] += 1
        return [Cancel(queue, hot=True)]

    def _keep_alive(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for lane in self._lanes.values():
            expires = lane.rule.expires
            if expires is None or lane.consumed or lane.getting or not lane.touched:
                continue
            if now >= lane.touched + expires / 3:
                lane.getting = True
                actions.append(Get(lane.rule.queue))
        return actions
