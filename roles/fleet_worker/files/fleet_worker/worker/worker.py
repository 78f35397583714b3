# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker: what happens when, from a connection to the last acknowledgement.

Read it in this order: a connection opens, lanes are declared, both channels open, lanes are consumed (first half of the
class); a request arrives, is started in the pool, its answer is published and confirmed, the request is acknowledged
(second half); everything stops (the end).

Everything here runs on the I/O thread, except what the pool runs. The pool hands back through
``add_callback_threadsafe``, and nothing else crosses.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Optional, Union

from .._fleet.broker import BrokerSettings
from .._fleet.errors import (
    BrokerError,
    BrokerLoginRefusedError,
    BrokerTlsError,
    BrokerVhostError,
    FleetError,
    InvalidBrokerError,
)
from .._fleet.messages import Reply
from .._fleet.registry import Trouble
from .._ollama.text import printable
from ..amqp.consumers import Consumers
from ..amqp.control_queue import ControlQueue
from ..amqp.declaration import Declaration
from ..amqp.publisher import ConfirmingPublisher
from ..amqp.reconnecting import ReconnectingConnection
from ..amqp.registry_publisher import NO_TROUBLE, UNDECIDED, RegistryPublisher
from ..domain.delivery import Delivery, LaneSettings
from ..domain.publication import Done, Publication
from ..domain.verdicts import Result, Verdict, marked
from ..inference.cancel_token import CancelToken
from ..inference.circuit_breaker import CircuitBreaker
from ..inference.deltas import DeltaPublisher
from ..inference.handler import RequestHandler
from ..inference.health import OllamaState
from ..inference.model_trust import ModelTrust
from ..inference.result_cache import ResultCache
from ..inference.task import Task
from ..inference.tries import Conclusion, Later
from ..logs.log import Log
from ..observe.metrics import Metrics
from ..observe.rates import Rates
from ..runtime.systemd import Notifier
from ..runtime.thread_pool import ThreadPool
from ..runtime.watchdog import Watchdog
from ..scheduling.scheduler import Action, Cancel, Consume, Get, GiveBack, Scheduler, Start
from .waiting_room import WaitingRoom

LOG = Log()

#: Seconds until a lane that the broker refused, or took away, is declared again; and a channel opened again.
RETRY_LANE = 30.0
RETRY_CHANNEL = 1.0

#: Seconds that systemd is asked for at a time while a drain goes on, and that are left after it to say goodbye.
EXTENSION = 30.0
GOODBYE = 5.0

#: Why a lane is not served that is about to be.
BEING_DECLARED = "being declared"

#: Refusals that no retry mends. Before the worker was ever ready they are errors of the configuration; later they are
#: taken for changes under way, such as a new password.
HOPELESS = (InvalidBrokerError, BrokerLoginRefusedError, BrokerVhostError, BrokerTlsError)


#: What becomes of a request that waits when the worker, or its lane, goes.
GIVEN_BACK = Result(Verdict.REQUEUE, "given_back")

#: What becomes of a request whose requester has cancelled it before it began.
CANCELLED = Result(Verdict.ACK, "requester_gone")


class InFlightRequest:
    """A request that is being served, with each of its deliveries: a redelivery joins the work under way."""

    def __init__(self, delivery: Delivery, loop: Any, publish: Callable[..., None]) -> None:
        self.deliveries = [delivery]
        self.stop = CancelToken()
        #: Ends a request at its own time that is served together with others.
        self.alarm: Any = None
        self.deltas = DeltaPublisher(loop, publish, gone=self.stop.abandon)
        self.task = Task(delivery, self.stop, self.deltas)
        self.started = time.monotonic()

    @property
    def lane(self) -> LaneSettings:
        return self.deliveries[0].lane

    def join(self, delivery: Delivery) -> bool:
        """Take another delivery of the same request; return False when it is a mere copy.

        As long as an earlier delivery can still be settled, it alone keeps the request from being lost. A copy that
        were kept beside it would take memory, and a place among those that the broker sends before it waits.
        """
        if any(earlier.is_live for earlier in self.deliveries):
            return False
        # The first one has the body that is worked on. The others are only settled.
        self.deliveries[1:] = [delivery.without_body()]
        return True

    @property
    def model(self) -> str:
        """The full name of its model, in lower case."""
        return self.lane.model_key


class Worker:
    """Consumes lanes, and has their requests served.

    :param loop: pika's loop, which runs in the I/O thread.
    :param exchanges: each lane is bound to each of them.
    :param slots: requests that may run at the same time.
    :param starvation: seconds after which a lane is served out of turn.
    :param results: answers that were made, for requests that come again.
    :param breaker: keeps count of the models that Ollama cannot run.
    :param announcer: tells the registry how the lanes are.
    :param metrics: is told what becomes of requests.
    :param batch_bytes: of the texts that go to Ollama as one array, at most.
    :param ended: called once, when everything is over, with the error if it was one.
    :param watchdog: is fed while this object's loop turns.
    """

    def __init__(
        self,
        loop: Any,
        *,
        settings: BrokerSettings,
        lanes: Sequence[LaneSettings],
        exchanges: Sequence[str],
        slots: int,
        starvation: float,
        batch_bytes: int,
        results: ResultCache,
        breaker: CircuitBreaker,
        drain_timeout: float,
        server: RequestHandler,
        pool: ThreadPool,
        notifier: Notifier,
        announcer: RegistryPublisher,
        metrics: Metrics,
        ended: Callable[[Optional[FleetError]], None],
        watchdog: Watchdog,
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._lanes = {lane.queue: lane for lane in lanes}
        self._exchanges = exchanges
        self._batch_bytes = batch_bytes
        self._drain_timeout = drain_timeout
        self._server = server
        self._pool = pool
        self._notifier = notifier
        self._announcer = announcer
        self._metrics = metrics
        self._ended = ended
        self._watchdog = watchdog
        self._scheduler = Scheduler([lane.rule for lane in lanes], slots, starvation=starvation)
        self._alarm: Any = None
        self._alarm_at: Optional[float] = None
        self._link = ReconnectingConnection(loop, settings, opened=self._opened, lost=self._lost, failed=self._failed)
        self._publisher = ConfirmingPublisher(loop, settings, forbidden=self._useless)
        self._intake = Consumers(
            settings,
            delivered=self._delivered,
            got=self._got,
            cancelled=self._cancelled,
            lane_lost=self._lane_lost,
            closed=self._consumers_closed,
        )
        self._results = results
        self._jobs: list[InFlightRequest] = []
        self._by_identity: dict[str, InFlightRequest] = {}
        self._connection: Any = None
        self._publisher_ready = False
        #: Why a lane cannot be consumed for the broker's part; a lane without an entry can.
        self._refusals: dict[str, str] = {}
        self._ollama: Optional[OllamaState] = None
        self._was_ready = False
        self._blocked = False
        self._drain_ends: Optional[float] = None
        self._leaving = False
        self._began = time.time()
        self._last_model = ""
        self._rates = Rates()
        self.counters: Counter[str] = Counter()
        self._trust = ModelTrust(loop, breaker, server.probe, self.counters, self._update)
        self._control = ControlQueue(loop, settings, server.node, self._abandon)
        self._waiting_room = WaitingRoom(loop, self._start_again, self._update)

    # Coming up.

    def start(self) -> None:
        """Begin."""
        self._link.start()
        self._tick()

    def health_changed(self, state: OllamaState) -> None:
        """Ollama was asked how it is."""
        if state.up and not (self._ollama and self._ollama.up):
            LOG.info("ollama_up", models=len(state.models))
        elif not state.up:
            LOG.warning("ollama_not_asked" if state.own_fault else "ollama_down", reason=state.reason)
        self._ollama = state
        self._update()

    def _opened(self, connection: Any) -> None:
        LOG.info("connected", broker=self._link.address)
        self.counters["connections"] += 1
        self._connection = connection
        connection.add_on_connection_blocked_callback(lambda _connection, _frame: self._block(True))
        connection.add_on_connection_unblocked_callback(lambda _connection, _frame: self._block(False))
        self._declare(self._lanes.values())
        self._publisher.open(connection, self._publisher_opened)
        self._intake.open(connection, self._update)
        self._announcer.open(connection, self._update)
        self._control.open(connection)

    def _declare(self, lanes: Iterable[LaneSettings]) -> None:
        chosen = list(lanes)
        self._refusals.update({lane.queue: BEING_DECLARED for lane in chosen})
        Declaration(
            self._connection, [lane.lane for lane in chosen], self._exchanges, self._settings, self._declared
        ).start()

    def _declared(self, results: dict[str, Optional[BrokerError]]) -> None:
        results = {queue: error for queue, error in results.items() if queue in self._lanes}
        refused = {queue: error for queue, error in results.items() if error is not None}
        for queue, error in refused.items():
            LOG.error("lane_refused", lane=queue, error=str(error))
            self._refusals[queue] = str(error)
        if refused and not self._was_ready:
            self._end(next(iter(refused.values())))
            return
        declared = results.keys() - refused.keys()
        for queue in declared:
            self._refusals.pop(queue, None)
        self._scheduler.declared(declared, time.monotonic())
        if refused:
            self._redeclare_later(refused, RETRY_LANE)
        self._update()

    def set_lanes(self, lanes: Sequence[LaneSettings]) -> None:
        """Serve exactly these lanes from now on. What runs goes on; what is held for others is given back."""
        wanted = {lane.queue: lane for lane in lanes}
        added, removed = wanted.keys() - self._lanes.keys(), self._lanes.keys() - wanted.keys()
        if wanted == self._lanes:
            return
        LOG.info("lanes_changed", lanes=len(wanted), added=",".join(sorted(added)), removed=",".join(sorted(removed)))
        self._lanes = wanted
        self._refusals = {queue: reason for queue, reason in self._refusals.items() if queue in wanted}
        self._perform(self._scheduler.assign([lane.rule for lane in lanes], time.monotonic()))
        if self._connection is None:
            self._refusals.update(dict.fromkeys(added, "no connection"))
        elif added:
            self._declare([wanted[queue] for queue in added])
        self._update()

    def _redeclare_later(self, queues: Iterable[str], seconds: float) -> None:
        connection, chosen = self._connection, list(queues)

        def again() -> None:
            if connection is self._connection and connection.is_open and not self._leaving:
                self._declare([self._lanes[queue] for queue in chosen if queue in self._lanes])

        self._loop.call_later(seconds, again)

    def _publisher_opened(self) -> None:
        self._publisher_ready = True
        self._update()

    def _update(self) -> None:
        """Serve exactly the lanes that can be served now; be ready once everything has come up."""
        usable = self._intake.is_open and self._publisher_ready
        queues = [queue for queue in self._lanes if usable and not self._reason(queue)]
        self._perform(self._scheduler.open(queues, time.monotonic()))
        if usable and not self._refusals:
            self._link.confirmed_useful()
            if self._ollama is not None and self._ollama.up and not self._was_ready:
                self._was_ready = True
                LOG.info("ready", lanes=len(self._lanes))
                self._notifier.ready()
        self._announcer.update({lane: self._trouble(queue) for queue, lane in self._lanes.items()})
        self._notifier.status(self.summary())

    def _reason(self, queue: str) -> str:
        """Say why a lane is not served; empty when it is."""
        if queue in self._refusals:
            return self._refusals[queue]
        if self._ollama is None:
            return "Ollama has not answered yet"
        if not self._ollama.up:
            return self._ollama.why_down
        lane = self._lanes[queue]
        if not self._ollama.has(lane.model_key):
            return f"Ollama does not have the model {lane.lane.model}"
        return self._broken(queue) or self._waiting_room.reason(self._model_of(queue))

    def _model_of(self, queue: str) -> str:
        return self._lanes[queue].model_key

    def _broken(self, queue: str) -> str:
        """Say why the model of a lane is given up for now; empty when it is not."""
        return self._trust.reason(self._model_of(queue))

    def _trouble(self, queue: str) -> Optional[Trouble]:
        """Say for the registry how a lane is."""
        reason = self._reason(queue)
        if not reason:
            return NO_TROUBLE
        if self._ollama is None or reason == BEING_DECLARED:
            return UNDECIDED
        if queue in self._refusals:
            return Trouble("lane_refused", reason)
        if self._broken(queue):
            return Trouble("model_broken", reason)
        if self._waiting_room.reason(self._model_of(queue)):
            return NO_TROUBLE  # it has requests of the lane, and takes more in a moment
        return Trouble("model_not_loaded" if self._ollama.up else "ollama_unavailable", reason)

    # What goes wrong with the broker.

    def _failed(self, error: FleetError) -> None:
        LOG.error("cannot_connect", error=str(error))
        if isinstance(error, HOPELESS) and not self._was_ready:
            self._end(error)
            return
        self._notifier.status(str(error))

    def _lost(self, error: BrokerError) -> None:
        self._connection = None
        self._publisher_ready = False
        self._refusals = dict.fromkeys(self._lanes, f"no connection: {error.message}")
        self._scheduler.reset(lambda item: isinstance(item, InFlightRequest), time.monotonic())
        self._block(False)
        self._publisher.connection_lost(error)
        self._announcer.connection_lost()
        self._control.connection_lost()
        if not self._leaving:
            LOG.warning("connection_lost", error=str(error), in_flight=len(self._jobs))
            self._update()

    def _useless(self, error: BrokerError) -> None:
        """Answers cannot be published, so nothing can be served over this connection."""
        LOG.error("cannot_answer", error=str(error))
        self._link.give_up(error)

    def _consumers_closed(self, error: BrokerError) -> None:
        """The broker has closed the channel of the consumers, and has back what was unacknowledged there."""
        LOG.error("channel_closed", error=str(error), in_flight=len(self._jobs))
        self._scheduler.reset(lambda item: isinstance(item, InFlightRequest) or item.is_live, time.monotonic())
        self._scheduler.declared(self._lanes, time.monotonic())
        self._update()
        connection = self._connection

        def again() -> None:
            if connection is not None and connection is self._connection and connection.is_open and not self._leaving:
                self._intake.open_consumers(self._update)

        self._loop.call_later(RETRY_CHANNEL, again)

    def _lane_lost(self, lane: LaneSettings, reason: str, pause: float) -> None:
        """The queue of a lane was deleted or may not be read, or the broker has waited too long for an acknowledgement.

        In the last case (RabbitMQ 4.3) the consumer gets nothing until what it had is settled, which it will be.

        :param pause: seconds until the lane is declared again.
        """
        LOG.warning("lane_lost", lane=lane.queue, reason=reason, pause=pause)
        actions = self._scheduler.lost(lane.queue, time.monotonic())
        if lane.queue in self._lanes and lane.queue not in self._refusals:
            self._refusals[lane.queue] = f"{reason}; it is tried again in {pause:.0f} s"
            self._redeclare_later([lane.queue], pause)
        self._perform(actions)
        self._update()

    def _block(self, blocked: bool) -> None:
        """The broker takes no messages while it is short of memory or disk."""
        if blocked != self._blocked:
            LOG.warning("broker_blocked" if blocked else "broker_unblocked")
        self._blocked = blocked
        self._announcer.block(blocked)
        self._perform(self._scheduler.block(blocked, time.monotonic()))

    # A request.

    def _delivered(self, delivery: Delivery) -> None:
        if not self._known(delivery):
            self._perform(self._scheduler.delivered(delivery.lane.queue, delivery, time.monotonic()))

    def _got(self, lane: LaneSettings, delivery: Optional[Delivery], more: int) -> None:
        if delivery is None or not self._known(delivery):
            self._perform(self._scheduler.got(lane.queue, delivery, time.monotonic(), more=more))
        else:
            self._perform(self._scheduler.answered(lane.queue, time.monotonic()))

    def _known(self, delivery: Delivery) -> bool:
        """Whether a request that has just come needs no slot: it was answered already, or is being served."""
        self.counters["deliveries"] += 1
        self.counters["redeliveries"] += bool(delivery.count)
        self._scheduler.taken(delivery.lane.queue)
        try:
            return self._served_before(delivery)
        except Exception:
            # A defect of ours. The request must not come back to meet it again and again.
            LOG.exception("defect", lane=delivery.lane.queue)
            self._settle([delivery], Result(Verdict.REJECT, "defect"), None)
            return True

    def _settle_one(self, delivery: Delivery, verdict: Verdict) -> None:
        if delivery.settle(verdict):
            self._scheduler.settled(delivery.lane.queue)

    def _served_before(self, delivery: Delivery) -> bool:
        """Answer a request that was answered before with the same; have one that is being served share its answer."""
        identity = delivery.identity
        if self._control.is_cancelled(delivery.message.properties.correlation_id):
            self._settle([delivery], CANCELLED, None)
            return True
        result = self._results.get(identity)
        job = self._by_identity.get(identity or "")
        if result is not None:
            self.counters["answered_again"] += 1
            self._answer([delivery], result)
        elif job is not None:
            self.counters["joined"] += 1
            if not job.join(delivery):
                self._settle_one(delivery, Verdict.ACK)
        return result is not None or job is not None

    def _abandon(self, correlation_id: str) -> None:
        """Nobody waits for the answer to a request any more."""
        for job in self._jobs:
            if job.deliveries[0].message.properties.correlation_id == correlation_id:
                self.counters["cancelled"] += 1
                job.stop.abandon()

    def _cancelled(self, lane: LaneSettings, hot: bool) -> None:
        self._perform(self._scheduler.cancelled(lane.queue, hot, time.monotonic()))

    def _perform(self, actions: Iterable[Action]) -> None:
        """Do what the scheduler says, and wake it when it wants to be woken."""
        for action in actions:
            if isinstance(action, Start):
                self._guarded_start(action)
            elif isinstance(action, Get):
                self._intake.get(self._lanes[action.queue])
            elif isinstance(action, Consume):
                self._intake.consume(self._lanes[action.queue], action.prefetch, hot=action.hot)
            elif isinstance(action, Cancel):
                self._intake.cancel(action.queue, hot=action.hot)
            elif isinstance(action, GiveBack) and isinstance(action.item, InFlightRequest):
                self._finished(action.item, GIVEN_BACK)
            elif isinstance(action, GiveBack):
                self._settle_one(action.item, Verdict.REQUEUE)
        wake_at = self._scheduler.wake_at()
        if wake_at != self._alarm_at:
            if self._alarm is not None:
                self._loop.remove_timeout(self._alarm)
            self._alarm_at, self._alarm = wake_at, None
            if wake_at is not None:
                self._alarm = self._loop.call_later(max(0.0, wake_at - time.monotonic()), self._wake)

    def _wake(self) -> None:
        self._alarm = self._alarm_at = None
        self._perform(self._scheduler.tick(time.monotonic()))

    def _guarded_start(self, action: Start) -> None:
        """Start requests. Whatever happens, each of them is served or rejected, and their slot becomes free."""
        try:
            self._start(action)
        except Exception:
            # A defect of ours. The requests must not come back to meet it again and again.
            LOG.exception("defect", model=action.model)
            for job in [job for job in self._jobs if job in action.items or job.deliveries[0] in action.items]:
                self._forget(job)
            for item in action.items:
                deliveries = item.deliveries if isinstance(item, InFlightRequest) else [item]
                self._settle(deliveries, Result(Verdict.REJECT, "defect"), None)
            self._loop.add_callback_threadsafe(partial(self._slot_free, action.model))

    def _start(self, action: Start) -> None:
        jobs = [item for item in action.items if isinstance(item, InFlightRequest)]
        for delivery in [item for item in action.items if not isinstance(item, InFlightRequest)]:
            # Without its channel the broker has it back since, and gives it out again. Or it has a twin that was held
            # beside it and started before.
            if delivery.is_live and not self._served_before(delivery):
                job = InFlightRequest(delivery, self._loop, self._publish_delta)
                jobs.append(job)
                if delivery.identity is not None:
                    self._by_identity[delivery.identity] = job
        self._jobs += [job for job in jobs if job not in self._jobs]
        if len(jobs) > 1:
            self.counters["batched"] += len(jobs)
            for job in jobs:
                # What is served as one has one time, the longest; each request is answered at its own.
                self._quiet(job)
                job.alarm = self._loop.call_later(
                    max(0.0, job.deliveries[0].seconds_left()), partial(self._overdue, job)
                )
        if jobs:
            self.counters["model_switches"] += self._last_model not in ("", action.model)
            self._last_model = action.model
            first = jobs[0]
            if len(jobs) > 1 or not self._server.begin(first.task, partial(self._served, first, action.model)):
                self._pool.submit(partial(self._serve, jobs, action.model))
        else:
            self._loop.add_callback_threadsafe(partial(self._slot_free, action.model))

    def _start_again(self, job: InFlightRequest) -> None:
        """The pause of a request is over that had given its slot up."""
        self._perform(self._scheduler.again(job.lane.queue, job, time.monotonic()))

    def _quiet(self, job: InFlightRequest) -> None:
        """Take the alarm of a request back, which would keep the request in memory until then."""
        if job.alarm is not None:
            self._loop.remove_timeout(job.alarm)
            job.alarm = None

    def _overdue(self, job: InFlightRequest) -> None:
        """The time of a request is over that is served together with others."""
        if job in self._jobs:
            self._finished(job, self._server.expired(job.deliveries[0]))

    def _served(self, job: InFlightRequest, model: str, result: Union[Result, Later, None]) -> None:
        """What was begun without a thread is over, or needs one."""
        if result is None:
            self._pool.submit(partial(self._serve, [job], model))
            return
        try:
            self._finished(job, result)
        finally:
            self._slot_free(model)

    def _serve(self, jobs: list[InFlightRequest], model: str) -> None:
        """Serve what was started as one; in a thread of the pool."""
        try:
            known: dict[Task, Conclusion] = {}
            if len(jobs) > 1:
                known = self._server.embed_together([job.task for job in jobs], self._batch_bytes)
            for job in jobs:
                result = self._server.serve(job.task, known.get(job.task))
                self._loop.add_callback_threadsafe(partial(self._finished, job, result))
        finally:
            self._loop.add_callback_threadsafe(partial(self._slot_free, model))

    def _publish_delta(self, reply: Reply, done: Done) -> None:
        self.counters["deltas"] += 1
        # Once: behind those that have followed it, it would be of no use.
        self._publisher.publish(reply, done, tries=1)

    def _finished(self, job: InFlightRequest, result: Union[Result, Later]) -> None:
        """The work on a request is over. Whatever is raised here, its answer is sent and its deliveries are settled."""
        if job not in self._jobs:
            return  # its time was over before
        if isinstance(result, Later):
            try:
                self._wait(job, result)
                return
            except Exception:
                LOG.exception("defect", lane=job.lane.queue)
                result = GIVEN_BACK
        self._forget(job)
        self._quiet(job)
        try:
            self._waiting_room.leave(job)
            fields = {**result.fields, "deltas": job.deltas.count}
            result = replace(result, reply=job.deltas.finish(result.reply), fields=fields)
            if result.outcome == "answered" and result.repeatable:
                self._results.put(job.deliveries[0].identity, result)
            self._trust.judge(job.lane, result)
        except Exception:
            LOG.exception("defect", lane=job.lane.queue)
        live = [delivery for delivery in job.deliveries if delivery.is_live]
        if live:
            self._answer(live, result)
        elif result.outcome == "answered" and result.repeatable and self._connection is not None:
            # The broker has the request, and gives it out again. Who waits for the answer has it sooner this way.
            self._answer(job.deliveries[-1:], result)
        else:
            self._over(job.deliveries[-1], result, Publication.LOST.value)

    def _forget(self, job: InFlightRequest) -> None:
        """A request is not being served any more."""
        self._jobs.remove(job)
        identity = job.deliveries[0].identity
        if identity is not None and self._by_identity.get(identity) is job:
            del self._by_identity[identity]

    def _wait(self, job: InFlightRequest, later: Later) -> None:
        """A request gives its slot up, and wants one again."""
        if self._drain_ends is not None:
            self._finished(job, GIVEN_BACK)
        elif later.alone:
            self.counters["tried_alone"] += 1
            self._perform(self._scheduler.again(job.lane.queue, job, time.monotonic(), alone=True))
        else:
            self.counters["busy"] += 1
            self._waiting_room.admit(job, job.model, later)

    def _slot_free(self, model: str) -> None:
        self._perform(self._scheduler.finished(model, time.monotonic()))
        self._look_at_drain()

    def _answer(self, deliveries: list[Delivery], result: Result) -> None:
        """Publish the answer; when it is confirmed, settle the request."""
        if result.reply is None:
            self._settle(deliveries, result, None)
            return
        count = max(delivery.count for delivery in deliveries)
        self._publisher.publish(marked(result.reply, count), partial(self._settle, deliveries, result))

    def _settle(self, deliveries: list[Delivery], result: Result, publication: Optional[Publication]) -> None:
        if publication is Publication.UNACCEPTABLE and result.outcome == "answered":
            # The requester is told in few words, which the broker may take.
            self.counters[f"reply:{publication.value}"] += 1
            self._answer(deliveries, self._server.unacceptable(deliveries[0]))
            return
        if publication is not Publication.LOST:
            for delivery in deliveries:
                self._settle_one(delivery, result.verdict)
        self.counters[f"outcome:{result.outcome}"] += 1
        if publication is not None:
            self.counters[f"reply:{publication.value}"] += 1
        self._over(deliveries[-1], result, None if publication is None else publication.value)
        self._look_at_drain()

    def _over(self, delivery: Delivery, result: Result, reply: Optional[str]) -> None:
        """A request has come to its end here: log it and count it. What is raised by that costs the request nothing.

        :param reply: what became of the answer, if there was one.
        """
        try:
            self._record(delivery, result, reply)
        except Exception:
            LOG.exception("defect", lane=delivery.lane.queue)

    def _record(self, delivery: Delivery, result: Result, reply: Optional[str]) -> None:
        queue = delivery.lane.queue
        fields = {
            "waited": delivery.waited,
            "here": time.monotonic() - delivery.received_monotonic,
            **result.fields,
        }
        answered = result.outcome == "answered" and reply not in (
            Publication.REFUSED.value,
            Publication.UNACCEPTABLE.value,
        )
        log = LOG.info if answered else LOG.warning
        log("request", lane=queue, outcome=result.outcome, reply=reply, **fields)
        self._metrics.ended(queue, "connection_lost" if reply == Publication.LOST.value else result.outcome, fields)
        self._rates.add(
            answered=answered, tokens=fields.get("output_tokens") or 0, inference=fields.get("seconds") or 0.0
        )

    # The end.

    def drain(self) -> None:
        """Take nothing any more, finish and answer what runs, and end. A second time: end at once."""
        if self._drain_ends is not None:
            LOG.warning("stopped", in_flight=len(self._jobs))
            self._end(None)
            return
        LOG.info("draining", in_flight=len(self._jobs), held=self._scheduler.held)
        self._drain_ends = time.monotonic() + self._drain_timeout
        self._notifier.stopping()
        self._announcer.leave()
        self._perform(self._scheduler.drain(time.monotonic()))
        for job in self._waiting_room.pausing():
            self._finished(job, GIVEN_BACK)
        self._look_at_drain()

    def _look_at_drain(self) -> None:
        if self._drain_ends is None or self._leaving:
            return
        done = not self._jobs and not self._publisher.pending
        if done or self._connection is None or time.monotonic() > self._drain_ends + GOODBYE:
            self._end(None)
            return
        if time.monotonic() > self._drain_ends:
            for job in self._jobs:
                job.stop.stop()  # their requests are given back
        self._notifier.status(self.summary())
        self._notifier.extend(EXTENSION)

    def _end(self, error: Optional[FleetError]) -> None:
        """Close the connection, by which the broker has back whatever is not acknowledged."""
        if self._leaving:
            return
        self._leaving = True
        for job in self._jobs:
            job.stop.stop()
        self._loop.call_later(GOODBYE, partial(self._ended, error))  # a broker that hangs does not say goodbye
        self._link.close(partial(self._ended, error))

    # For people and for systemd.

    def _tick(self) -> None:
        self._loop.call_later(self._watchdog.seconds, self._tick)
        self._watchdog.feed()
        self._look_at_drain()

    def summary(self) -> str:
        """Return how the worker is, in a line."""
        waiting = len(self._waiting_room.pausing())
        running = f"{len(self._jobs) - waiting} running, {self._scheduler.held} held"
        if waiting:
            running += f", {waiting} waiting for a busy Ollama"
        if self._drain_ends is not None:
            return f"draining: {running}, {max(0.0, self._drain_ends - time.monotonic()):.0f} s left"
        if self._connection is None:
            return f"not connected to {self._link.address}; {running}"
        reasons = Counter(reason for reason in map(self._reason, self._lanes) if reason)
        served = len(self._lanes) - sum(reasons.values())
        text = f"{served} of {len(self._lanes)} lanes served ({self._scheduler.mode.value}), {running}"
        if self._blocked:
            text += "; the broker has an alarm and takes no answers"
        return "; ".join([text, *(f"{count} paused: {reason}" for reason, count in reasons.most_common(1))])

    def snapshot(self) -> dict[str, Any]:
        """Return how the worker is, in detail; plain JSON."""
        now = time.monotonic()
        return {
            "summary": self.summary(),
            "thread_trouble": self._watchdog.trouble,
            "ready": self._was_ready,
            "connected": self._connection is not None,
            "blocked": self._blocked,
            "draining": self._drain_ends is not None,
            "ollama_up": self._ollama is not None and self._ollama.up,
            "broker": self._link.address,
            "since": self._began,
            "slots": self._scheduler.slots,
            "held": self._scheduler.held,
            "lanes": [
                {
                    "queue": queue,
                    "model": lane.lane.model,
                    "type": lane.lane.type,
                    "style": lane.lane.style,
                    "context_window": lane.lane.context_window,
                    "state": "degraded" if self._broken(queue) else self._scheduler.mode_of(queue),
                    "reason": self._reason(queue),
                    "running": sum(job.lane is lane for job in self._jobs),
                }
                for queue, lane in self._lanes.items()
            ],
            "in_flight": [
                {
                    "lane": job.lane.queue,
                    "correlation_id": _shown(job.deliveries[0].message.properties.correlation_id),
                    "seconds": round(now - job.started, 3),
                }
                for job in self._jobs
            ],
            "rates": {"1m": self._rates.over(60), "5m": self._rates.over(300)},
            "counters": dict(
                sorted(
                    [
                        *self.counters.items(),
                        *((f"registry_events:{name}", count) for name, count in self._announcer.counters.items()),
                    ]
                )
            ),
        }


def _shown(identifier: Optional[str]) -> Optional[str]:
    """Return an identifier of a requester as it may be shown. pika hands on as bytes what is not UTF-8."""
    return None if identifier is None else printable(identifier)
