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
A lane without the second consumer gets nothing from the broker while a request of it runs, or waits without a slot.
While slots are free the worker asks such a lane every ``PEEK``.

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

Embeddings are cheaper together: of a lane with a batch size, up to so many requests start as one and take one slot.
What is held makes one; and when a lane was asked, and the broker said how many more are there, they are fetched before
the batch starts. A first request waits for nobody. While its model is busy, those that follow wait for each other, for
``HOLD`` at most, until there are as many as may start as one or what runs is over (as Nagle's algorithm has it, RFC
896): who was answered together asks again at nearly the same time, and would be served one by one from then on.

A request that has to wait for Ollama gives its slot up and asks for one again. One that is tried again because the
process that ran its model ended can ask to be alone: then nothing else of its model runs beside it, so that it is known
who ended the process. It waits for that for ``ALONE`` at most, and is alone for as long at most.

A model may have a limit of its own, below the slots. When a request is held because its model is full, only the
consumers of that model's lanes are cancelled, until there is room.

How many requests can be held: in push, the prefetch of all consumers less what runs, and what looks at lanes bring,
that is lanes + 3 x slots - 2, or lanes + 2 x slots x batch + slots - 2 with batches; in pull no more are taken than
there is room for, except one a lane in each third of its expiry.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional, Union

from ..domain.lane_rule import ALONE, STARVATION, LaneRule

#: Seconds for which a request may be held in push. Short against an inference, long against a burst that fits.
HOLD = 0.05

#: Seconds that pull lasts at least, and between two sweeps in them that found nothing: changing over costs more.
DWELL = 0.1
SWEEP = 0.02

#: Seconds between two looks, in push, at a lane whose consumer has all that it may have.
PEEK = 0.1


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
    """Run requests of one lane as one; answered by :meth:`Scheduler.finished` with the model."""

    model: str
    items: tuple[Any, ...]


@dataclass(frozen=True)
class GiveBack:
    """Return a request that was not started to its queue. Only when the worker leaves, or the lane is withdrawn."""

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
        #: Whether its consumer was taken away because its model is full.
        self.throttled = False
        #: Whether it is withdrawn, and only kept until the broker has answered everything.
        self.leaving = False
        #: Answers to gets that are still to come.
        self.getting = 0
        #: Requests that were taken from it and are not settled: its consumer may bring no more than its prefetch.
        self.unsettled = 0
        #: Whether the sweep under way has found it empty.
        self.empty = False
        #: When it was last looked into, and when the broker was last reminded of it; None while it is not declared.
        self.visited = 0.0
        self.touched: Optional[float] = None


@dataclass(frozen=True)
class _Held:
    lane: _Lane
    item: Any
    since: float
    #: Until when it starts only if nothing else of its model runs.
    alone_until: float = 0.0


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
        self._running: Counter[str] = Counter()
        #: Models of which one request runs alone, with the end of that, and those of which one waits to.
        self._runs_alone: dict[str, float] = {}
        self._wants_alone: set[str] = set()
        #: Whether lanes without a limit may be throttled, for a model that is to be alone.
        self._any_throttled = False
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
        self._index()

    @property
    def running(self) -> int:
        """Slots that are taken."""
        return sum(self._running.values())

    @property
    def held(self) -> int:
        """Requests that were taken and not started."""
        return len(self._held)

    def mode_of(self, queue: str) -> str:
        """Return how requests of a lane come: ``push``, ``pull`` or ``paused``."""
        lane = self._lanes[queue]
        return "push" if lane.consumed else "pull" if lane.open else "paused"

    # Events.

    def assign(self, rules: Iterable[LaneRule], now: float) -> list[Action]:
        """Exactly these lanes there are from now on. A new one is closed at first, the others stay as they are.

        What is held for a lane that is withdrawn is given back: another node may still have it.
        """
        wanted = {rule.queue: rule for rule in rules}
        actions: list[Action] = []
        for queue, lane in self._lanes.items():
            if queue not in wanted:
                actions += self._cancel(lane, now)
                lane.leaving, lane.open, lane.touched = True, False, None
        for queue, rule in wanted.items():
            lane = self._lanes.setdefault(queue, _Lane(rule))
            lane.rule, lane.leaving = rule, False
        self._index()
        return actions + self._next(now)

    def open(self, queues: Iterable[str], now: float) -> list[Action]:
        """Exactly these lanes can be served from now on."""
        wanted = set() if self._draining else set(queues)
        actions: list[Action] = []
        for queue, lane in self._lanes.items():
            if lane.open and queue not in wanted:
                lane.open = lane.throttled = False
                actions += self._cancel(lane, now)
            elif not lane.open and queue in wanted and not lane.leaving:
                lane.open, lane.empty = True, False
                lane.visited = lane.touched = now
                if self.mode is Mode.PUSH:
                    actions.append(self._consume(lane))
        return actions + self._next(now)

    def taken(self, queue: str) -> None:
        """A request has come out of a lane, in whatever way."""
        lane = self._lanes.get(queue)
        if lane is not None:
            lane.unsettled += 1

    def settled(self, queue: str) -> None:
        """The broker may send another request instead of one that has come out of a lane."""
        lane = self._lanes.get(queue)
        if lane is not None:
            lane.unsettled = max(0, lane.unsettled - 1)  # some were taken before a reset

    def delivered(self, queue: str, item: Any, now: float) -> list[Action]:
        """A consumer has got a request."""
        lane = self._lanes.get(queue)
        if lane is None:
            return [GiveBack(item)]
        self._touch(lane, now)
        actions: list[Action] = []
        if self.mode is Mode.PUSH and lane.consumed and self._deserves_heat(lane):
            actions += self._heat(lane)
        self._held.append(_Held(lane, item, now))
        return actions + self._next(now)

    def got(self, queue: str, item: Optional[Any], now: float, *, more: int = 0) -> list[Action]:
        """A lane was asked for a request; None when it had none.

        :param more: how many are left in its queue.
        """
        lane = self._lanes.get(queue)
        if lane is None:
            return [] if item is None else [GiveBack(item)]
        lane.getting = max(0, lane.getting - 1)
        self._touch(lane, now)
        actions: list[Action] = []
        if item is None:
            lane.empty = True
        else:
            self._begin_sweep()
            self._held.append(_Held(lane, item, now))
            if self.mode is Mode.PULL and lane.open and not lane.getting and self._free > 0 and not self._full(lane):
                actions += self._fill(lane, more)
        return actions + self._next(now)

    def answered(self, queue: str, now: float) -> list[Action]:
        """A lane was asked for a request, and what it had needs no slot."""
        lane = self._lanes.get(queue)
        if lane is None:
            return []
        lane.getting = max(0, lane.getting - 1)
        self._touch(lane, now)
        self._begin_sweep()
        return self._next(now)

    def cancelled(self, queue: str, hot: bool, now: float) -> list[Action]:
        """The broker has confirmed the end of a consumer: nothing comes from it any more."""
        self._cancelling[(queue, hot)] -= 1
        self._cancelling += Counter()  # forget what is down to nothing
        actions: list[Action] = []
        if hot and self._next_hot is not None and self._next_hot.consumed and self.mode is Mode.PUSH:
            # Not with all slots taken meanwhile: what is left of the one consumer would add up with the other's.
            actions = self._heat(self._next_hot) if self._free > 0 and not self._full(self._next_hot) else []
        return actions + self._next(now)

    def finished(self, model: str, now: float) -> list[Action]:
        """What was started is over."""
        self._running[model] -= 1
        self._running += Counter()
        self._runs_alone.pop(model, None)
        return self._next(now)

    def again(self, queue: str, item: Any, now: float, *, alone: bool = False) -> list[Action]:
        """A request that was started, and has given its slot up, wants one again.

        :param item: what is started then.
        :param alone: whether nothing else of its model is to run beside it.
        """
        lane = self._lanes.get(queue)
        if lane is None or lane.leaving or self._draining:
            return [GiveBack(item)]
        self._held.append(_Held(lane, item, now, now + ALONE if alone else 0.0))
        self._note_alone(now)
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
        lane = self._lanes.get(queue)
        if lane is not None:
            lane.consumed = False
            if self._hot is lane:
                self._hot = None
        return self._next(now)

    def declared(self, queues: Iterable[str], now: float) -> None:
        """The queues of these lanes are there from now on, and expire if nobody asks for anything."""
        for queue in queues:
            if queue in self._lanes and not self._lanes[queue].leaving:
                self._lanes[queue].touched = now

    def reset(self, alive: Callable[[Any], bool], now: float) -> None:
        """The consumers are gone with their channel, and no lane can be served for now; what runs goes on.

        :param alive: whether a request that is held can still be settled; the others are forgotten, because the broker
            has them back.
        """
        self._held = [held for held in self._held if alive(held.item)]
        self._note_alone(now)
        self._hot = self._next_hot = None
        self._cancelling.clear()
        for lane in self._lanes.values():
            lane.open = lane.consumed = lane.empty = lane.throttled = False
            lane.getting, lane.unsettled, lane.touched = 0, 0, None
        self._enter_pull(now)

    def drain(self, now: float) -> list[Action]:
        """Take nothing any more, and give back what was not started."""
        self._draining = True
        return self.open((), now)

    def wake_at(self) -> Optional[float]:
        """Return when :meth:`tick` has something to do if nothing else happens; None when it has nothing."""
        times = [
            lane.touched + lane.rule.expires / 3
            for lane in self._expiring
            if lane.rule.expires is not None and lane.touched is not None and not lane.consumed and not lane.getting
        ]
        if not self._draining:
            times += self._runs_alone.values()
            times += [held.alone_until for held in self._held if held.alone_until] if self._wants_alone else []
            if self._free > 0:
                until = [self._gathers_until(lane) for lane in self._batching if not self._filling(lane)]
                times += [when for when in until if when is not None]
            if self.mode is Mode.PUSH:
                staying = [held for held in self._held if not held.lane.leaving]
                times += [held.since + HOLD for held in staying if not self._waits_for_room(held.lane)][:1]
                times += [lane.visited + PEEK for lane in self._to_peek_at()]
            if self.mode is Mode.PULL and self._free > 0 and self._swept():
                times.append(self._next_sweep)
        return min(times, default=None)

    # Policy.

    def _index(self) -> None:
        """Find the lanes that need a look at each event: mostly none, of hundreds."""
        lanes = self._lanes.values()
        self._expiring = [lane for lane in lanes if lane.rule.expires is not None]
        self._leaving = [lane for lane in lanes if lane.leaving]
        self._batching = [lane for lane in lanes if lane.rule.batch > 1]
        limited = {lane.rule.model for lane in lanes if lane.rule.limit is not None}
        self._limited = [lane for lane in lanes if lane.throttled or lane.rule.model in limited]

    @property
    def _free(self) -> int:
        return 0 if self._blocked else self.slots - self.running

    def _full(self, lane: _Lane) -> bool:
        """Whether the model of a lane has all the slots that it may have."""
        model = lane.rule.model
        if model in self._wants_alone or model in self._runs_alone:
            return True
        return lane.rule.limit is not None and self._running[model] >= lane.rule.limit

    def _may_start(self, held: _Held) -> bool:
        if self._goes(held.lane):
            return False
        if held.alone_until:
            return not self._running[held.lane.rule.model]
        return not self._full(held.lane)

    def _note_alone(self, now: float) -> None:
        """See which models have a request that is alone, or waits to be; neither lasts for longer than it may."""
        self._runs_alone = {model: until for model, until in self._runs_alone.items() if now < until}
        self._held = [replace(held, alone_until=0.0) if 0 < held.alone_until <= now else held for held in self._held]
        self._wants_alone = {held.lane.rule.model for held in self._held if held.alone_until}

    def _waits_for_room(self, lane: _Lane) -> bool:
        """Whether nothing is to be done about a lane's held requests until its model has room."""
        return self._full(lane) and not lane.consumed

    def _touch(self, lane: _Lane, now: float) -> None:
        lane.visited = now
        if not lane.leaving:
            lane.touched = now

    def _next(self, now: float) -> list[Action]:
        """Return everything that can be done now."""
        if self._wants_alone or self._runs_alone:
            self._note_alone(now)
        actions = self._give_back()
        actions += self._start(now)
        if self._draining:
            pass
        elif self.mode is Mode.PUSH:
            actions += self._look_at_held(now)
        elif self._free > 0:
            actions += self._ask(now)
        return actions + self._keep_alive(now)

    def _give_back(self) -> list[Action]:
        """Return what will not be started here, and forget the lanes that nothing comes from any more."""
        gone = [held for held in self._held if self._goes(held.lane) and not self._still_comes(held.lane)]
        if gone:
            self._held = [held for held in self._held if held not in gone]
            self._wants_alone = {held.lane.rule.model for held in self._held if held.alone_until}
        for lane in [lane for lane in self._leaving if not self._still_comes(lane)]:
            del self._lanes[lane.rule.queue]
            self._index()
        return [GiveBack(held.item) for held in gone]

    def _goes(self, lane: _Lane) -> bool:
        """Whether nothing of a lane is started any more."""
        return self._draining or lane.leaving

    def _still_comes(self, lane: _Lane) -> bool:
        """Whether the broker may still send requests of a lane.

        It would send what is given back too early at once to the consumer that is being cancelled. Each time costs the
        request one of its few deliveries.
        """
        queue = lane.rule.queue
        return lane.getting > 0 or self._cancelling[(queue, False)] > 0 or self._cancelling[(queue, True)] > 0

    def _start(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while self._held and self._free > 0:
            gathering = self._gathering(now)
            ready = [
                held
                for held in self._held
                if self._may_start(held) and not self._filling(held.lane) and held.lane not in gathering
            ]
            if not ready:
                break
            best = min(ready, key=lambda held: self._rank(held.lane, held.since, now))
            batch = self._held_of(best.lane)[: best.lane.rule.batch]
            if best.lane.rule.batch == 1 or best.alone_until:
                batch = [best]
            for held in batch:
                self._held.remove(held)
            self._last_model = best.lane.rule.model
            if best.alone_until:
                self._runs_alone[self._last_model] = now + ALONE
                self._note_alone(now)
            self._running[self._last_model] += 1
            actions.append(Start(self._last_model, tuple(held.item for held in batch)))
        return actions

    def _held_of(self, lane: _Lane) -> list[_Held]:
        """Return what is held of a lane, the oldest first."""
        return [held for held in self._held if held.lane is lane]

    def _filling(self, lane: _Lane) -> bool:
        """Whether more of a batch is on its way: about a millisecond each."""
        return lane.getting > 0 and 1 < lane.rule.batch > len(self._held_of(lane))

    def _gathering(self, now: float) -> list[_Lane]:
        """Return the lanes of which what is held waits for more, since their model is busy anyway."""
        until = [(lane, self._gathers_until(lane)) for lane in self._batching]
        return [lane for lane, when in until if when is not None and now < when]

    def _gathers_until(self, lane: _Lane) -> Optional[float]:
        """Return when what is held of a lane has waited long enough for more; None when it does not wait."""
        if not self._running[lane.rule.model] or self._full(lane):
            return None
        held = self._held_of(lane)
        return held[0].since + HOLD if 0 < len(held) < lane.rule.batch else None

    def _fill(self, lane: _Lane, more: int) -> list[Action]:
        """Fetch what else there is for a batch."""
        number = min(more, lane.rule.batch - len(self._held_of(lane)))
        lane.getting += max(0, number)
        return [Get(lane.rule.queue) for _number in range(number)]

    def _look_at_held(self, now: float) -> list[Action]:
        """In push: leave to other nodes what cannot start here soon."""
        late = [held.lane for held in self._held if now >= held.since + HOLD and not held.lane.leaving]
        if any(not self._full(lane) for lane in late):
            return self._enter_pull(now)
        actions: list[Action] = []
        crowded = {lane.rule.model for lane in late}
        self._any_throttled = self._any_throttled or bool(self._wants_alone or self._runs_alone)
        for lane in list(self._lanes.values()) if self._any_throttled else self._limited:
            if lane.consumed and lane.rule.model in crowded:
                actions += self._cancel(lane, now)
                lane.throttled = True
            elif lane.throttled and not self._full(lane) and not self._cancelling[(lane.rule.queue, False)]:
                actions.append(self._consume(lane))
        self._any_throttled = self._any_throttled and any(lane.throttled for lane in self._lanes.values())
        return actions + self._peek(now)

    def _to_peek_at(self) -> list[_Lane]:
        """Return the lanes of which more may wait than their consumers may bring, no more than there are free slots."""
        if self._free <= 0 or self._held:
            return []
        lanes = [
            lane
            for lane in self._lanes.values()
            if lane.unsettled and lane.consumed and lane is not self._hot and not lane.getting and not self._full(lane)
        ]
        wanted = self._free - sum(lane.getting > 0 for lane in self._lanes.values()) if lanes else 0
        return sorted(lanes, key=lambda lane: lane.visited)[: max(0, wanted)]

    def _peek(self, now: float) -> list[Action]:
        """In push: ask the lanes whose consumers have all that they may have."""
        actions: list[Action] = []
        for lane in self._to_peek_at():
            if now >= lane.visited + PEEK:
                lane.getting += 1
                actions.append(Get(lane.rule.queue))
        return actions

    def _ask(self, now: float) -> list[Action]:
        """Ask the lanes that deserve it most, for no more than there are free slots."""
        if self._swept():
            if now >= self._pull_began + DWELL and not self._cancelling:
                return self._enter_push()
            if now < self._next_sweep:
                return []
            self._begin_sweep()
        # What waits for more will take a slot, too, and the more is for no other.
        gathering = self._gathering(now)
        wanted = self._free - sum(lane.getting > 0 or lane in gathering for lane in self._lanes.values())
        candidates = [lane for lane in self._lanes.values() if lane.open and not lane.getting and not lane.empty]
        candidates.sort(key=lambda lane: (*self._rank(lane, lane.visited, now), lane.rule.queue))
        actions: list[Action] = []
        for lane in candidates:
            more = lane in gathering
            if more or (wanted > 0 and self._has_room(lane)):
                wanted -= not more
                lane.getting += 1
                actions.append(Get(lane.rule.queue))
        self._next_sweep = now + SWEEP
        return actions

    def _has_room(self, lane: _Lane) -> bool:
        """Whether the model of a lane could start one more, besides what is on its way."""
        if lane.rule.limit is None:
            return not self._full(lane)
        model = lane.rule.model
        coming = sum(other.getting > 0 for other in self._lanes.values() if other.rule.model == model)
        held = sum(held.lane.rule.model == model for held in self._held)
        return self._running[model] + coming + held < lane.rule.limit

    def _rank(self, lane: _Lane, since: float, now: float) -> tuple[bool, bool, int, float]:
        """Return a key by which the lane, or a request of it, that deserves a slot most comes first."""
        starving = now - since >= self._starvation
        related = lane.rule.model == self._last_model
        # Among those that starve only the time counts.
        return (not starving, not (related or starving), 0 if starving else -lane.rule.priority, since)

    def _swept(self) -> bool:
        """Whether every lane that could be served was found empty since the last request came out of one."""
        lanes = [lane for lane in self._lanes.values() if lane.open and not self._full(lane)]
        return bool(lanes) and all(lane.empty and not lane.getting for lane in lanes)

    def _begin_sweep(self) -> None:
        for lane in self._lanes.values():
            lane.empty = False

    def _enter_push(self) -> list[Action]:
        self.mode = Mode.PUSH
        lanes = [lane for lane in self._lanes.values() if lane.open]
        lanes.sort(key=lambda lane: (-lane.rule.priority, lane.rule.queue))
        for lane in lanes:
            lane.throttled = self._full(lane)
        self._any_throttled = any(lane.throttled for lane in lanes)
        return [self._consume(lane) for lane in lanes if not lane.throttled]

    def _enter_pull(self, now: float) -> list[Action]:
        self.mode = Mode.PULL
        self._pull_began = now
        self._begin_sweep()
        for lane in self._lanes.values():
            lane.throttled = False
        # The hot lane first: it is the one that brings the most.
        lanes = sorted(self._lanes.values(), key=lambda lane: lane is not self._hot)
        return [action for lane in lanes for action in self._cancel(lane, now)]

    def _consume(self, lane: _Lane) -> Consume:
        lane.consumed, lane.throttled = True, False
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
        if lane.rule.limit is not None and self._running[lane.rule.model] + 1 >= lane.rule.limit:
            return False  # its model will be full with what has just come
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
        slots = self.slots if lane.rule.limit is None else min(self.slots, lane.rule.limit)
        return [Consume(lane.rule.queue, prefetch=2 * slots * lane.rule.batch - 1, hot=True)]

    def _cool(self) -> list[Action]:
        if self._hot is None:
            return []
        queue = self._hot.rule.queue
        self._hot = None
        self._cancelling[(queue, True)] += 1
        return [Cancel(queue, hot=True)]

    def _keep_alive(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for lane in self._expiring:
            expires = lane.rule.expires
            if expires is None or lane.touched is None or lane.consumed or lane.getting:
                continue
            if now >= lane.touched + expires / 3:
                lane.getting += 1
                actions.append(Get(lane.rule.queue))
        return actions
