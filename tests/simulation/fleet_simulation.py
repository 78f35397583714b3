# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet in virtual time, made up from one seed: workers, requesters, a broker, and what goes wrong.

A *plan* is everything that a seed decides: who serves what, who asks when, and which faults come when. It is plain
data, so that a plan that fails can be made smaller and run again. A *run* executes a plan; the same plan
always has the same outcome.
"""

from __future__ import annotations

import json
import logging
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Optional

from fleet_worker._fleet.dialects.headers import REDELIVERED
from fleet_worker._fleet.lanes import Lane, lane
from fleet_worker._fleet.registry import EXCHANGE as REGISTRY_EXCHANGE
from fleet_worker._fleet.topology import DEAD_LETTER_QUEUE, REQUEST_EXCHANGES
from fleet_worker.domain.lane_rule import STARVATION
from history import Happened, History, Rules, Verdict, error_code, judge
from kept_things import sizes
from model_broker import CHANNEL_TICK, CONSUMER_TIMEOUT, Latency, ModelBroker, Published, ServerChannel
from model_connection import Network
from model_ollama import ModelOllama
from pika import BasicProperties
from quorum_queue import Entry, Series
from virtual_clock import Clock
from worker_host import WorkerHost, request_body, virtual_edges

#: Seconds of virtual time in which requests are sent and faults come.
BUSY = 120.0

#: Seconds for which the fleet is left alone afterwards: until nothing is left to be done, and at least and at most so
#: long. The most is longer than the longest deadline, the longest wait for a broker and two waits for a confirm.
QUIET_LEAST = 60.0
QUIET_MOST = 400.0

#: Seconds that a request may take; shorter than in production, so that a run is, too.
DEADLINE = 60.0

#: Alarms of one worker that may be set at the end of a run, where nothing is left to be done.
MANY_ALARMS = 400

#: Bounds of the expirations of requests that do not wait for long, in seconds.
HURRIED = (5.0, 40.0)

#: Seconds after which some brokers take a delivery back: shorter than a request may take here.
IMPATIENT = 20.0

#: Channels of a connection at the end of a run, besides those with unsettled deliveries, and one for the first get of
#: each lane; and elements that any collection of a worker may hold then. Answers are kept for a while; the settlements
#: of a getter until its next delivery, and there are no more of them than requests were unsettled at once.
MANY_CHANNELS = 10
MANY_KEPT = 16
KEPT_LONGER = {"ResultCache._kept", "_Getter.settlements"}

MODELS = ("llama:1b", "mini:latest", "qwen:7b")

REPLY_QUEUE = "llm.fleet.reply.0123456789abcdef"


@dataclass(frozen=True)
class Ask:
    """A request that is sent."""

    at: float
    lane: int
    expiration: Optional[float] = None
    #: Seconds after which the requester sends the same once more.
    again: Optional[float] = None

    def __str__(self) -> str:
        expiration = "" if self.expiration is None else f" expiration {self.expiration:.1f}"
        again = "" if self.again is None else f" again after {self.again:.1f}"
        return f"ask lane {self.lane}{expiration}{again}"


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    :ivar kind: name of a method of :class:`Faults`.
    :ivar target: number of the worker, or of the lane; of a model that is broken, of both.
    :ivar seconds: how long it lasts.
    """

    at: float
    kind: str
    target: int = 0
    seconds: float = 1.0


@dataclass(frozen=True)
class Plan:
    """Everything that a seed decides."""

    seed: int
    series: Series
    lanes: tuple[tuple[str, str, str], ...]
    serves: tuple[tuple[int, ...], ...]
    slots: tuple[int, ...]
    seconds: tuple[tuple[float, float], ...]
    asks: tuple[Ask, ...]
    faults: tuple[Fault, ...]
    consumer_timeout: float = CONSUMER_TIMEOUT

    def __str__(self) -> str:
        lines = [f"seed {self.seed}, RabbitMQ {self.series.value}, consumer timeout {self.consumer_timeout:.0f} s"]
        lines += [f"  lane {number}: {' '.join(one)}" for number, one in enumerate(self.lanes)]
        for number, (served, slots, (least, most)) in enumerate(zip(self.serves, self.slots, self.seconds)):
            lines.append(f"  worker {number}: lanes {list(served)}, {slots} slots, {least:.2f} to {most:.2f} s")
        lines += [f"  {one.at:8.3f} {one}" for one in self.asks]
        lines += [f"  {one.at:8.3f} {one.kind} {one.target} for {one.seconds:.2f} s" for one in self.faults]
        return "\n".join(lines)


#: The faults that are drawn, each with how often. Those that end a delivery are fewer than a shared lane survives.
KINDS = {
    "kill": 3,
    "pause": 3,
    "cut": 3,
    "reset": 2,
    "stall": 3,
    "drain": 2,
    "restart_broker": 1,
    "kill_broker": 1,
    "elect": 3,
    "stand_still": 2,
    "orphan": 2,
    "suspect": 1,
    "ollama_dies": 3,
    "ollama_busy": 2,
    "ollama_slow": 2,
    "runner_ends": 2,
    "clock_jumps": 2,
    "reload": 2,
    "alarm": 1,
    "doubled_confirms": 1,
    "lost_confirms": 1,
    "reply_queue_stalls": 2,
    "reply_queue_full": 1,
    "slow_broker": 2,
}

#: What the history calls it when the broker takes deliveries back that nobody has settled in time.
TIMED_OUT = "consumer timeout"

#: Faults by which the broker takes deliveries back, each of which costs every one of them a count.
COSTLY = {
    TIMED_OUT,
    *("kill", "pause", "cut", "reset", "drain", "restart_broker", "kill_broker", "suspect", "reload", "stall"),
    *("stand_still", "orphan"),
}

#: Faults that every worker notices.
WIDE = {
    *("restart_broker", "kill_broker", "elect", "stand_still", "alarm", "doubled_confirms", "lost_confirms"),
    *("reply_queue_stalls", "reply_queue_full", "slow_broker"),
}

#: What a worker says in the error for a request that it was given for the last time, and the code by which the history
#: knows that error: other faults explain it than another ``inference_failed``.
LAST_WORDS = "deliveries of this request came to no end"
USED_UP = "deliveries_used_up"

#: Seconds for which a fault has effects after its end: until both ends of a connection have missed two heartbeats, and
#: the worker has waited for its next try.
LONG = 60.0
AFTERMATH = {
    **dict.fromkeys(("ollama_dies", "ollama_busy", "ollama_slow", "runner_ends", "clock_jumps"), 0.0),
    # A worker that has failed to probe a model leaves it alone for 30 s, and then for 60 s.
    "model_broken": 100.0,
}

#: Codes of errors that faults explain, and by which faults.
ERRORS = {
    "ollama_unavailable": {"ollama_dies", "ollama_busy"},
    "inference_failed": {"a runner has ended", "a model has failed"},
    "inference_timeout": {"ollama_slow"},
}


def make_plan(seed: int, *, faults: bool = True, crowd: int = 1) -> Plan:
    """Make up a plan.

    :param faults: whether anything goes wrong in it.
    :param crowd: by what there are more requests than usually, if the workers can do so many.
    """
    chance = random.Random(seed)
    series = chance.choice([Series.V3_10, Series.V4_0])
    lanes = tuple(
        (chance.choice(["chat", "chat", "embed"]), model, chance.choice(["model", "shared"]))
        for model in chance.sample(MODELS, chance.randint(1, 3))
    )
    workers = chance.choice([1, 2, 2, 3, 4])
    everything = tuple(range(len(lanes)))
    serves = [everything] + [
        tuple(sorted(chance.sample(everything, chance.randint(1, len(lanes))))) for _worker in range(workers - 1)
    ]
    slots = tuple(chance.choice([1, 1, 2, 4]) for _worker in range(workers))
    quickest = chance.choice([0.01, 0.1, 0.5])
    seconds = tuple((quickest, quickest * chance.choice([1, 3, 20])) for _worker in range(workers))
    # No more work than two thirds of the slots can do in the time.
    capacity = sum(slots) * BUSY / (sum(low + (high - low) / 3 for low, high in seconds) / workers)
    number = min(crowd * chance.randint(10, 80), int(capacity * 0.6) + 1)
    asks = []
    while len(asks) < number:
        at, where = chance.uniform(1.0, BUSY * 0.8), chance.randrange(len(lanes))
        for _burst in range(min(chance.choice([1, 1, 2, 5, 12]), number - len(asks))):
            expiration = chance.choice([None, None, None, 100.0])
            again = chance.uniform(0.0, 30.0) if chance.random() < 0.03 else None
            asks.append(Ask(at + chance.uniform(0.0, 0.05), where, expiration, again))
    drawn = (
        []
        if not faults
        else [_make_fault(chance, workers, len(lanes)) for _one in range(chance.choice([0, 1, 2, 4, 8, 16]))]
    )
    # Last, so that a seed keeps what it has decided up to here.
    if chance.random() < 0.3:
        asks = [replace(one, expiration=chance.uniform(*HURRIED)) if chance.random() < 0.2 else one for one in asks]
    if faults and chance.random() < 0.2:
        for _one in range(chance.randint(1, 2)):
            target, lasts = chance.randrange(workers * len(lanes)), chance.uniform(20.0, 60.0)
            drawn.append(Fault(chance.uniform(0.0, BUSY * 0.8), "model_broken", target, lasts))
    timeout = IMPATIENT if faults and chance.random() < 0.1 else CONSUMER_TIMEOUT
    return Plan(
        seed, series, lanes, tuple(serves), slots, seconds,
        tuple(sorted(asks, key=lambda one: one.at)), tuple(sorted(drawn, key=lambda one: one.at)), timeout,
    )  # fmt: skip


def _make_fault(chance: random.Random, workers: int, lanes: int) -> Fault:
    kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
    seconds = chance.choice([0.05, 0.5, 3.0, 15.0, 45.0]) * chance.uniform(0.5, 1.5)
    if kind == "reply_queue_full":
        seconds = min(seconds, 1.0)  # a worker gives an answer up that is refused four times
    target = chance.randrange(lanes) if kind in ("elect", "stand_still", "orphan") else chance.randrange(workers)
    return Fault(chance.uniform(0.0, BUSY), kind, target, seconds)


@dataclass
class Outcome:
    """The outcome of a plan.

    :ivar problems: what must not be; empty when the plan is survived.
    :ivar counters: of everything that happened, for those who look whether a fault did anything.
    :ivar most_returned: how often the broker had given the most unlucky request out before.
    """

    plan: Plan
    verdict: Verdict
    problems: list[str]
    counters: Counter[str] = field(default_factory=Counter)
    events: int = 0
    most_returned: int = 0
    history: History = field(default_factory=History)


class _Alarms(logging.Handler):
    """Takes what the daemon says of its own defects."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            text = logging.Formatter().formatException(record.exc_info)
            self.lines.append(f"{record.getMessage()}: {text}")


class Run:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.chance = random.Random(plan.seed + 1)
        self.clock = Clock()
        latency = Latency(
            (0.0002, self.chance.choice([0.0, 0.002, 0.02])), (0.0003, self.chance.choice([0.0, 0.003, 0.05]))
        )
        self.broker = ModelBroker(self.clock, plan.series, random.Random(plan.seed + 2), latency)
        self.history = History()
        self.lanes: list[Lane] = [lane(kind, model, style=style) for kind, model, style in plan.lanes]
        self.hosts: list[WorkerHost] = []
        self.refusing_until = 0.0
        self.most_returned = 0
        self._set_up_broker()
        for number, served in enumerate(plan.serves):
            self._set_up_host(number, served)
        self.faults = Faults(self)
        for ask in enumerate(plan.asks):
            self._plan_ask(*ask)
        for fault in plan.faults:
            self.clock.at(fault.at, lambda fault=fault: self.faults.make(fault))

    # Setup

    def _set_up_broker(self) -> None:
        for name in (*REQUEST_EXCHANGES, REGISTRY_EXCHANGE, "ollama.dlx"):
            self.broker.exchanges[name] = set()
        self.broker.exchanges["ollama.dlx"].add(("#", DEAD_LETTER_QUEUE))
        self.broker.sinks[DEAD_LETTER_QUEUE] = lambda _published: True
        self.broker.sinks[REPLY_QUEUE] = self._answered
        self.broker.on_dead = self._dead
        self.broker.on_delivered = self._delivered
        self.broker.on_settled = self._settled
        self.broker.on_returned = self._returned
        self.broker.on_timeout = self._timed_out
        self.broker.consumer_timeout = self.plan.consumer_timeout
        self.broker.channel_tick = min(CHANNEL_TICK, self.plan.consumer_timeout / 2)

    def _set_up_host(self, number: int, served: tuple[int, ...]) -> None:
        name = f"gpu-{number}"
        config = {
            "node": name,
            "broker": {"addresses": ["broker:5672"]},
            "ollama": {"exclusive": False},
            "lanes": self.lane_configs(served),
            "exchanges": list(REQUEST_EXCHANGES),
            "concurrency": self.plan.slots[number],
            "drain_timeout": 20.0,
        }
        host = WorkerHost(self.clock, name, Network(self.broker), None, config)  # type: ignore[arg-type]
        host.ollama = ModelOllama(
            host.process, random.Random(self.plan.seed + 10 + number), self.plan.seconds[number], list(MODELS)
        )
        host.ollama.on_failure = lambda reason: self.history.record(
            Happened.FAULT, at=self.clock.now, where=name, detail=reason
        )
        self.hosts.append(host)
        self.clock.at(0.01 * number, host.start)

    def lane_configs(self, served: tuple[int, ...]) -> list[dict[str, Any]]:
        return [
            {"type": kind, "model": model, "style": style, "deadline": DEADLINE}
            for kind, model, style in (self.plan.lanes[number] for number in served)
        ]

    # Requesters

    def _plan_ask(self, number: int, ask: Ask) -> None:
        self.clock.at(ask.at, lambda: self._ask(number, ask))
        if ask.again is not None:
            self.clock.at(ask.at + ask.again, lambda: self._ask(number, ask))

    def _ask(self, number: int, ask: Ask) -> None:
        asked = self.lanes[ask.lane]
        name = f"r{number}"
        properties = BasicProperties(
            type="llm.fleet.request",
            reply_to=REPLY_QUEUE,
            correlation_id=name,
            message_id=name,
            delivery_mode=2,
            expiration=None if ask.expiration is None else str(int(ask.expiration * 1000)),
        )
        body = request_body(name, asked.type == "embed")
        targets = self.broker.route(REQUEST_EXCHANGES[0], asked.queue)
        if not self.broker.up or not targets:
            self.clock.after(1.0, lambda: self._ask(number, ask))  # the requester gets the error, and asks later
            return

        def taken(accepted: bool) -> None:
            if accepted:
                self.history.record(Happened.SENT, name, self.clock.now, asked.queue, seconds=ask.expiration or 0.0)
            else:
                self.clock.after(1.0, lambda: self._ask(number, ask))

        self.broker.publish(Published(REQUEST_EXCHANGES[0], asked.queue, properties, body), targets, "requester", taken)

    def _answered(self, published: Published) -> bool:
        if self.refusing_until > self.clock.now:
            return False
        properties = published.properties
        headers = properties.headers or {}
        marked = bool(headers.get(REDELIVERED))
        code = error_code(headers)
        if code and LAST_WORDS in json.loads(published.body)["error"]["message"]:
            code = USED_UP
        self.history.record(
            Happened.RECEIVED,
            str(properties.correlation_id),
            self.clock.now,
            detail=code,
            marked=marked,
        )
        return True

    # Observations of the broker

    def _dead(self, queue: str, reason: str, entry: Entry) -> None:
        name = str(entry.message.properties.correlation_id)
        abandoned = reason == "queue_deleted" and not self._was_looked_after(queue)
        what = Happened.EXPIRED if reason == "expired" or abandoned else Happened.DROPPED
        self.history.record(what, name, self.clock.now, queue, reason)

    def _was_looked_after(self, queue: str) -> bool:
        """Whether a worker could have kept a queue from expiring: one that ran and was connected for all that time."""
        lane = next(one for one in self.lanes if one.queue == queue)
        since = self.clock.now - lane.arguments["x-expires"] / 1000
        if self.broker.alarm or self.broker.alarm_changed > since:
            return False
        for host in self.hosts:
            connection = host.server_connection if host.running else None
            serves = any(one.queue == queue for one in host.status().lanes) if host.running else False
            whole = connection is not None and connection.whole and not host.process.paused
            if serves and whole and max(connection.since, host.process.running_since) < since:
                return True
        return False

    def _delivered(self, channel: ServerChannel, entry: Entry) -> None:
        self.most_returned = max(self.most_returned, entry.count)
        name = str(entry.message.properties.correlation_id)
        self.history.record(Happened.DELIVERED, name, self.clock.now, self._who(channel), f"count {entry.count}")

    def _settled(self, channel: ServerChannel, how: str, entry: Entry) -> None:
        name = str(entry.message.properties.correlation_id)
        what = Happened.ACKED if how == "settle" else Happened.RETURNED
        self.history.record(what, name, self.clock.now, self._who(channel), how)

    def _returned(self, entry: Entry) -> None:
        """Where its consumer has gone meanwhile, a channel returns a request itself (docs/operations.md)."""
        name = str(entry.message.properties.correlation_id)
        self.history.record(Happened.RETURNED, name, self.clock.now, detail="its consumer was cancelled")

    def _timed_out(self, channel: ServerChannel) -> None:
        """Nobody breaks anything for that, but it costs what a lost connection does."""
        self.history.record(Happened.FAULT, at=self.clock.now, where=self._who(channel), detail=TIMED_OUT, seconds=LONG)

    def _who(self, channel: ServerChannel) -> str:
        process = getattr(channel.connection.client, "_process", None)
        return "" if process is None else process.name

    # Run

    def run(self) -> Outcome:
        """Let time pass, and return the outcome of the plan."""
        alarms = _Alarms()
        logger = logging.getLogger("fleet_worker")
        state = random.getstate()
        random.seed(self.plan.seed)
        logger.addHandler(alarms)
        try:
            with virtual_edges(self.clock):
                self.clock.run(BUSY)
                self.faults.mend_all()
                self.clock.run(BUSY + QUIET_LEAST)
                while self._problems() and self.clock.now < BUSY + QUIET_MOST:
                    self.clock.run(self.clock.now + 20.0)
                problems = self._problems()
        finally:
            logger.removeHandler(alarms)
            random.setstate(state)
        verdict = judge(self.history.events, self.rules())
        for host in self.hosts:
            if host.running:
                told = host.status().counts.document()
                self.broker.counters.update({name: told.get(name, 0) for name in ("probes", "model_pauses")})
        problems = [str(finding) for finding in verdict.findings] + problems
        problems += [
            f"the daemon has met a defect of its own: {line}" for line in (alarms.lines + self.clock.raised)[:3]
        ]
        return Outcome(
            self.plan, verdict, problems, self.broker.counters, self.clock.events, self.most_returned, self.history
        )

    def rules(self) -> Rules:
        """Return what the history of this plan is judged by."""
        longest = max(most for _least, most in self.plan.seconds)
        return Rules(
            errors=ERRORS,
            too_late="inference_timeout",
            used_up=USED_UP,
            # A queue that hears of the end of all workers one after the other gives a request to each of them first.
            costly={kind: len(self.hosts) if kind in WIDE else 1 for kind in COSTLY},
            delivery_limits={one.queue: one.delivery_limit for one in self.lanes},
            # Every other lane can be served once after the time at which this one is next in turn.
            starved_after=STARVATION + len(self.lanes) * longest + 10.0,
        )

    def _problems(self) -> list[str]:
        """Say what is not as it has to be once everything is mended and done."""
        problems = []
        for name, queue in sorted(self.broker.queues.items()):
            if queue.queue.ready or queue.queue.unsettled:
                problems.append(f"{queue.queue.ready} wait and {queue.queue.unsettled} are held in {name}")
        for host in self.hosts:
            if not host.running or host.process.paused:
                problems.append(f"{host.name} does not run")
                continue
            found = host.status()
            if found.held or found.in_flight or host.unconfirmed:
                problems.append(f"{host.name} holds something for ever: {found.summary}")
            paused = [one for one in found.lanes if one.state == "paused"]
            problems += [f"{host.name} does not serve {one.queue}: {one.reason}" for one in paused]
            problems += self._kept_by(host)
            alarms = self.clock.count(host.process)
            if alarms > MANY_ALARMS:
                problems.append(f"{host.name} has {alarms} alarms set")
        return problems

    def _kept_by(self, host: WorkerHost) -> list[str]:
        """Say what a worker keeps though it has nothing to do."""
        problems = []
        channels = host.open_channels()
        if channels > MANY_CHANNELS + len(self.lanes):
            problems.append(f"{host.name} has {channels} channels open")
        answers = sum(1 if one.again is None else 2 for one in self.plan.asks)
        for place, size in sizes(host.service).items():
            if size > MANY_KEPT + (answers if place in KEPT_LONGER else 0):
                problems.append(f"{host.name} keeps {size} in {place}")
        return problems


class Faults:
    """Makes faults, and mends what does not mend itself."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._clock = run.clock
        self._broker = run.broker

    def make(self, fault: Fault) -> None:
        """Make a fault."""
        host = self._run.hosts[fault.target % len(self._run.hosts)]
        self._run.history.record(
            Happened.FAULT,
            at=self._clock.now,
            where="" if fault.kind in WIDE else host.name,
            detail=fault.kind,
            seconds=fault.seconds + AFTERMATH.get(fault.kind, LONG),
        )
        self._broker.counters[fault.kind] += 1
        getattr(self, "_" + fault.kind)(host, fault)

    def mend_all(self) -> None:
        """End every fault that would go on."""
        for queue in self._broker.queues.values():
            queue.deaf_until = 0.0
        self._broker.up = True
        self._broker.doubled_confirms = self._broker.lost_confirms = 0.0
        self._broker.set_alarm(False)
        for number, host in enumerate(self._run.hosts):
            host.ollama.up, host.ollama.slower, host.ollama.busy_until = True, 1.0, 0.0
            host.ollama.broken_until.clear()
            host.network.cut = False
            if host.process.paused:
                host.process.go_on()
            if not host.running:
                host.start()
            host.reload(self._run.lane_configs(self._run.plan.serves[number]))

    def _kill(self, host: WorkerHost, fault: Fault) -> None:
        if host.running:
            host.kill()
            self._clock.after(fault.seconds, lambda: self._start(host))

    def _start(self, host: WorkerHost) -> None:
        if not host.running:
            host.start()

    def _drain(self, host: WorkerHost, fault: Fault) -> None:
        if host.running and not host.process.paused:
            host.drain()
            self._clock.after(fault.seconds, lambda: self._start_when_ended(host))

    def _start_when_ended(self, host: WorkerHost) -> None:
        if host.running:
            self._clock.after(1.0, lambda: self._start_when_ended(host))
        else:
            host.start()

    def _pause(self, host: WorkerHost, fault: Fault) -> None:
        process = host.process
        if process.alive and not process.paused:
            process.pause()
            self._clock.after(fault.seconds, process.go_on)

    def _cut(self, host: WorkerHost, fault: Fault) -> None:
        """The wire is silent, and new connections come to nothing for a while."""
        connection = host.server_connection if host.running else None
        if connection is not None:
            connection.whole = False
        host.network.cut = True
        self._clock.after(fault.seconds, lambda: setattr(host.network, "cut", False))

    def _stall(self, host: WorkerHost, fault: Fault) -> None:
        """Everything on the wire is late."""
        connection = host.server_connection if host.running else None
        if connection is not None:
            connection.stall(fault.seconds)

    def _reset(self, host: WorkerHost, _fault: Fault) -> None:
        connection = host.server_connection if host.running else None
        if connection is not None:
            connection.lose()

    def _restart_broker(self, _host: WorkerHost, fault: Fault) -> None:
        self._broker.restart(fault.seconds, orderly=True)

    def _kill_broker(self, _host: WorkerHost, fault: Fault) -> None:
        self._broker.restart(fault.seconds, orderly=False)

    def _elect(self, _host: WorkerHost, fault: Fault) -> None:
        self._broker.elect(self._run.lanes[fault.target % len(self._run.lanes)].queue, fault.seconds)

    def _stand_still(self, _host: WorkerHost, fault: Fault) -> None:
        """The node that leads half of the lanes."""
        for led in self._run.lanes[fault.target % 2 :: 2]:
            self._broker.stand_still(led.queue, fault.seconds)

    def _orphan(self, _host: WorkerHost, fault: Fault) -> None:
        self._broker.orphan(self._run.lanes[fault.target % len(self._run.lanes)].queue, fault.seconds)

    def _suspect(self, host: WorkerHost, fault: Fault) -> None:
        connection = host.server_connection if host.running else None
        if connection is not None:
            self._broker.suspect(connection, fault.seconds)

    def _ollama_dies(self, host: WorkerHost, fault: Fault) -> None:
        host.ollama.stop()
        self._clock.after(fault.seconds, host.ollama.start)

    def _ollama_busy(self, host: WorkerHost, fault: Fault) -> None:
        host.ollama.busy_until = self._clock.now + fault.seconds

    def _ollama_slow(self, host: WorkerHost, fault: Fault) -> None:
        host.ollama.slower = 10.0
        self._clock.after(fault.seconds, lambda: setattr(host.ollama, "slower", 1.0))

    def _runner_ends(self, host: WorkerHost, fault: Fault) -> None:
        host.ollama.runner_ends = 1 + int(fault.seconds) % 3

    def _model_broken(self, host: WorkerHost, fault: Fault) -> None:
        """An Ollama cannot load a model."""
        broken = self._run.lanes[fault.target // len(self._run.hosts) % len(self._run.lanes)]
        host.ollama.broken_until[broken.model] = self._clock.now + fault.seconds

    def _clock_jumps(self, host: WorkerHost, fault: Fault) -> None:
        host.process.skew += fault.seconds * self._run.chance.choice([-60.0, -1.0, 1.0, 60.0])

    def _reload(self, host: WorkerHost, fault: Fault) -> None:
        """A worker serves one lane less for a while; the first worker serves every lane, and keeps them."""
        number = self._run.hosts.index(host)
        served = self._run.plan.serves[number]
        if number == 0 or not host.running or host.process.paused:
            return
        host.reload(self._run.lane_configs(served[1:] or served))
        self._clock.after(fault.seconds, lambda: self._reload_all(host, served))

    def _reload_all(self, host: WorkerHost, served: tuple[int, ...]) -> None:
        if host.running:
            host.reload(self._run.lane_configs(served))

    def _alarm(self, _host: WorkerHost, fault: Fault) -> None:
        self._broker.set_alarm(True)
        self._clock.after(fault.seconds, lambda: self._broker.set_alarm(False))

    def _doubled_confirms(self, _host: WorkerHost, fault: Fault) -> None:
        self._broker.doubled_confirms = 0.5
        self._clock.after(fault.seconds, lambda: setattr(self._broker, "doubled_confirms", 0.0))

    def _lost_confirms(self, _host: WorkerHost, fault: Fault) -> None:
        """Some confirms never come, as after the death of a node that has taken the answer."""
        self._broker.lost_confirms = 0.5
        self._clock.after(fault.seconds, lambda: setattr(self._broker, "lost_confirms", 0.0))

    def _reply_queue_stalls(self, _host: WorkerHost, fault: Fault) -> None:
        """The queue of the answers has no leader for a while: its confirms are late."""
        self._broker.sinks_stalled_until = self._clock.now + fault.seconds

    def _reply_queue_full(self, _host: WorkerHost, fault: Fault) -> None:
        self._run.refusing_until = self._clock.now + fault.seconds

    def _slow_broker(self, _host: WorkerHost, fault: Fault) -> None:
        before = self._broker.latency
        self._broker.latency = Latency((0.001, 0.1), (0.01, 1.0))

        def mend() -> None:
            self._broker.latency = before

        self._clock.after(fault.seconds, mend)


def run_plan(plan: Plan) -> Outcome:
    """Run a plan."""
    return Run(plan).run()


def shrink(plan: Plan, fails: Callable[[Plan], bool], tries: int = 300) -> Plan:
    """Return the smallest plan found that still fails: faults, requests and workers are left out, by halves first.

    :param tries: runs, at most.
    """
    budget = [tries]

    def still(candidate: Plan) -> bool:
        budget[0] -= 1
        return budget[0] >= 0 and fails(candidate)

    for name in ("faults", "asks"):
        plan = _fewer(plan, name, still)
    return plan


def _fewer(plan: Plan, name: str, still: Callable[[Plan], bool]) -> Plan:
    """Leave out as much as possible of one part of a plan (delta debugging, Zeller 1999)."""
    step = max(1, len(getattr(plan, name)) // 2)
    while True:
        index, removed = 0, False
        while index < len(getattr(plan, name)):
            parts = getattr(plan, name)
            candidate = replace(plan, **{name: parts[:index] + parts[index + step :]})
            if still(candidate):
                plan, removed = candidate, True
            else:
                index += step
        if step == 1 and not removed:
            return plan
        step = max(1, step // 2)
