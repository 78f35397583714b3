# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker: it hands each event to the part that it concerns, and carries out what the scheduler says.

Events come from the broker (``amqp/session.py``), from Ollama's health, from the requests that are over, and from the
process. What is decided about a request is decided elsewhere: whether it is known (``inference/in_flight.py``), when it
starts (``scheduling/scheduler.py``), where it runs (``inference/runner.py``), and when it is acknowledged
(``settling.py``). How a lane is says ``lane_board.py``, and how far the worker is with leaving says ``drain.py``.

Everything here runs on the I/O thread. Threads of the pool hand back through ``add_callback_threadsafe``, and nothing
else crosses.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Callable, Optional, Union

from .._fleet.errors import (
    BrokerError,
    BrokerLoginRefusedError,
    BrokerTlsError,
    BrokerVhostError,
    FleetError,
    InvalidBrokerError,
)
from .._fleet.messages import Reply
from ..amqp.session import BrokerSession, SessionState
from ..domain.delivery import Delivery, LaneSettings
from ..domain.publication import Done
from ..domain.verdicts import Result, Verdict
from ..inference.circuit_breaker import CircuitBreaker
from ..inference.handler import RequestHandler
from ..inference.health import OllamaState
from ..inference.in_flight import Admission, InFlightRequest, InFlightRequests
from ..inference.model_trust import ModelTrust
from ..inference.result_cache import ResultCache
from ..inference.runner import RequestRunner
from ..inference.tries import Later
from ..logs.log import Log
from ..observe.counts import CountedEvent
from ..observe.recorder import RequestRecorder
from ..observe.worker_status import WorkerStatus
from ..runtime.alarm import Alarm
from ..runtime.thread_pool import ThreadPool
from ..runtime.watchdog import Watchdog
from ..scheduling.scheduler import Action, Cancel, Consume, Get, GiveBack, Scheduler, Start
from .drain import GOODBYE, Drain, DrainPhase
from .lane_board import LaneBoard
from .settings import WorkerSettings
from .settling import ReplySettler
from .status_report import StatusReport
from .waiting_room import WaitingRoom

LOG = Log()

#: Seconds until a lane that the broker refused is declared again.
RETRY_LANE = 30.0

#: Seconds that systemd is asked for at a time while a drain goes on.
EXTENSION = 30.0

#: Refusals that no retry mends. Before the worker was ever ready they are errors of the configuration; later they are
#: taken for changes under way, such as a new password.
HOPELESS = (InvalidBrokerError, BrokerLoginRefusedError, BrokerVhostError, BrokerTlsError)

#: What becomes of a request that waits when the worker, or its lane, goes.
GIVEN_BACK = Result(Verdict.REQUEUE, "given_back")

#: What becomes of a request whose requester has cancelled it before it began.
CANCELLED = Result(Verdict.ACK, "requester_gone")

#: What becomes of a request that met a defect of ours: it must not come back to meet it again and again.
DEFECT = Result(Verdict.REJECT, "defect")


class Worker:
    """Takes requests out of lanes, and has them answered.

    What belongs to the process is given; what belongs to the worker alone it makes from its settings. Longer than most
    classes, because it is the one place where broker, scheduler and inference meet.

    :param loop: pika's loop, which runs in the I/O thread.
    :param handler: answers requests with Ollama.
    :param pool: the threads that may wait for Ollama.
    :param recorder: keeps the books.
    :param watchdog: is fed while the loop turns; its notifier tells systemd how the worker is.
    :param ended: called once everything is over, with the error if it was one.
    """

    def __init__(
        self,
        loop: Any,
        settings: WorkerSettings,
        handler: RequestHandler,
        pool: ThreadPool,
        recorder: RequestRecorder,
        watchdog: Watchdog,
        ended: Callable[[Optional[FleetError]], None],
    ) -> None:
        self._loop = loop
        self._recorder = recorder
        self._watchdog = watchdog
        self._notifier = watchdog.notifier
        self._ended = ended
        self._ready = False
        self._scheduler = Scheduler(
            [lane.rule for lane in settings.lanes], settings.registry.slots, starvation=settings.starvation
        )
        self._alarm = Alarm(loop, self._scheduler_is_due)
        self._session = BrokerSession(loop, settings.broker, settings.exchanges, settings.registry, self)
        self._requests = InFlightRequests(loop, ResultCache(keep=settings.duplicate_window), self._publish_delta)
        self._runner = RequestRunner(loop, pool, handler, settings.batch_bytes)
        self._settler = ReplySettler(
            self._publish_answer, recorder, handler.unacceptable, self._delivery_settled, self._continue_drain
        )
        self._trust = ModelTrust(loop, CircuitBreaker(settings.breaker), handler.probe, recorder.count, self._update)
        self._waiting_room = WaitingRoom(loop, self._start_again, self._update)
        self._board = LaneBoard(settings.lanes, self._trust.reason, self._waiting_room.reason)
        self._drain = Drain(settings.drain_timeout)
        self._report = StatusReport(
            self._session,
            self._board,
            self._scheduler,
            self._requests,
            self._waiting_room,
            self._drain,
            recorder,
            watchdog,
        )

    # The process.

    def start(self) -> None:
        """Begin."""
        self._session.start()
        self._tick()

    def health_changed(self, state: OllamaState) -> None:
        """Ollama was asked how it is."""
        if state.up and not self._board.ollama_is_up:
            LOG.info("ollama_up", models=len(state.models))
        elif not state.up:
            LOG.warning("ollama_not_asked" if state.own_fault else "ollama_down", reason=state.reason)
        self._board.ollama_is(state)
        self._update()

    def set_lanes(self, lanes: Sequence[LaneSettings]) -> None:
        """Have exactly these lanes from now on. What runs goes on; what is held for others is given back."""
        if {lane.queue: lane for lane in lanes} == self._board.lanes:
            return
        added, removed = self._board.assign(lanes)
        named = {"added": added, "removed": removed}
        LOG.info("lanes_changed", lanes=len(lanes), **{name: _queues(which) for name, which in named.items()})
        self._apply(self._scheduler.assign([lane.rule for lane in lanes], time.monotonic()))
        if not self._session.is_connected:
            self._board.disconnected(added, "no connection")
        elif added:
            self._declare(added)
        self._update()

    def status(self) -> WorkerStatus:
        """Return how the worker is."""
        return self._report.status(ready=self._ready)

    def _tick(self) -> None:
        self._loop.call_later(self._watchdog.seconds, self._tick)
        self._watchdog.feed()
        self._continue_drain()

    def _update(self) -> None:
        """Take requests from exactly the lanes that can be served now; be ready once everything has come up."""
        usable = self._session.state is SessionState.USABLE
        self._apply(self._scheduler.open(self._board.serveable() if usable else (), time.monotonic()))
        if usable and self._board.all_declared:
            self._session.confirm_useful()
            if self._board.ollama_is_up and not self._ready:
                self._ready = True
                LOG.info("ready", lanes=len(self._board.lanes))
                self._notifier.ready()
        self._session.registry.update(self._board.registry_view())
        self._notifier.status(self._report.summary())

    # The session with the broker.

    def session_opened(self) -> None:
        self._recorder.count(CountedEvent.CONNECTIONS)
        self._declare(self._board.lanes.values())

    def session_changed(self) -> None:
        self._update()

    def session_failed(self, error: FleetError) -> None:
        LOG.error("cannot_connect", error=str(error))
        if isinstance(error, HOPELESS) and not self._ready:
            self._end(error)
            return
        self._notifier.status(str(error))

    def session_lost(self, error: BrokerError) -> None:
        if self._drain.phase is not DrainPhase.ENDED:
            LOG.warning("connection_lost", error=str(error), in_flight=len(self._requests))
        self._board.disconnected(self._board.lanes.values(), f"no connection: {error.message}")
        self._scheduler.reset(lambda item: isinstance(item, InFlightRequest), time.monotonic())

    def consumers_lost(self, error: BrokerError) -> None:
        LOG.error("channel_closed", error=str(error), in_flight=len(self._requests))
        self._scheduler.reset(lambda item: isinstance(item, InFlightRequest) or item.is_live, time.monotonic())
        self._scheduler.declared(self._board.lanes, time.monotonic())
        self._update()

    def broker_blocked(self, blocked: bool) -> None:
        self._apply(self._scheduler.block(blocked, time.monotonic()))

    def lane_lost(self, lane: LaneSettings, reason: str, pause: float) -> None:
        """The queue of a lane was deleted or may not be read, or the broker has waited too long for an acknowledgement.

        In the last case (RabbitMQ 4.3) the consumer gets nothing until what it had is settled, which it will be.
        """
        LOG.warning("lane_lost", lane=lane.queue, reason=reason, pause=pause)
        actions = self._scheduler.lost(lane.queue, time.monotonic())
        if self._board.lost(lane.queue, f"{reason}; it is tried again in {pause:.0f} s"):
            self._declare_later([lane.queue], pause)
        self._apply(actions)
        self._update()

    def _declare(self, lanes: Iterable[LaneSettings]) -> None:
        chosen = list(lanes)
        self._board.being_declared(chosen)
        self._session.declare(chosen, self._lanes_declared)

    def _declare_later(self, queues: Iterable[str], seconds: float) -> None:
        chosen = list(queues)

        def declare_again() -> None:
            if self._session.state is not SessionState.CLOSED:
                lanes = self._board.lanes
                self._declare([lanes[queue] for queue in chosen if queue in lanes])

        self._session.call_later(seconds, declare_again)

    def _lanes_declared(self, results: dict[str, Optional[BrokerError]]) -> None:
        declared, refused = self._board.declared(results)
        for queue, error in refused.items():
            LOG.error("lane_refused", lane=queue, error=str(error))
        if refused and not self._ready:
            self._end(next(iter(refused.values())))
            return
        self._scheduler.declared(declared, time.monotonic())
        if refused:
            self._declare_later(refused, RETRY_LANE)
        self._update()

    # What the scheduler decides.

    def delivered(self, delivery: Delivery) -> None:
        if not self._is_known(delivery):
            self._apply(self._scheduler.delivered(delivery.lane.queue, delivery, time.monotonic()))

    def got(self, lane: LaneSettings, delivery: Optional[Delivery], more: int) -> None:
        if delivery is None or not self._is_known(delivery):
            self._apply(self._scheduler.got(lane.queue, delivery, time.monotonic(), more=more))
        else:
            self._apply(self._scheduler.answered(lane.queue, time.monotonic()))

    def consumer_cancelled(self, lane: LaneSettings, hot: bool) -> None:
        self._apply(self._scheduler.cancelled(lane.queue, hot, time.monotonic()))

    def _scheduler_is_due(self) -> None:
        self._apply(self._scheduler.tick(time.monotonic()))

    def _apply(self, actions: Iterable[Action]) -> None:
        """Do what the scheduler says, and wake it when it wants to be woken."""
        lanes, consumers = self._board.lanes, self._session.consumers
        for action in actions:
            if isinstance(action, Start):
                self._start_guarded(action)
            elif isinstance(action, Get):
                consumers.get(lanes[action.queue])
            elif isinstance(action, Consume):
                consumers.consume(lanes[action.queue], action.prefetch, hot=action.hot)
            elif isinstance(action, Cancel):
                consumers.cancel(action.queue, hot=action.hot)
            elif isinstance(action, GiveBack) and isinstance(action.item, InFlightRequest):
                self._finish(action.item, GIVEN_BACK)
            elif isinstance(action, GiveBack):
                self._settler.settle(action.item, Verdict.REQUEUE)
        self._alarm.set(self._scheduler.wake_at())

    def _delivery_settled(self, delivery: Delivery) -> None:
        self._scheduler.settled(delivery.lane.queue)

    # A request.

    def _is_known(self, delivery: Delivery) -> bool:
        """Whether a request that has just come needs no slot: it was answered before, or is in flight."""
        self._recorder.arrived(delivery)
        self._scheduler.taken(delivery.lane.queue)
        try:
            return not self._is_new(delivery)
        except Exception:
            LOG.exception("defect", lane=delivery.lane.queue)
            self._settler.conclude([delivery], DEFECT)
            return True

    def _is_new(self, delivery: Delivery) -> bool:
        """Whether nothing is known of a request. A duplicate is answered, or shares the answer to come."""
        if self._session.is_cancelled(delivery):
            self._settler.conclude([delivery], CANCELLED)
            return False
        admitted = self._requests.admit(delivery)
        if admitted.result is not None:
            self._recorder.count(CountedEvent.ANSWERED_AGAIN)
            self._settler.answer([delivery], admitted.result)
        elif admitted.admission is not Admission.NEW:
            self._recorder.count(CountedEvent.JOINED)
            if admitted.admission is Admission.COPY:
                self._settler.settle(delivery, Verdict.ACK)
        return admitted.admission is Admission.NEW

    def _start_guarded(self, action: Start) -> None:
        """Start requests. Whatever happens, each of them is handled or rejected, and their slot becomes free."""
        try:
            self._start(action)
        except Exception:
            LOG.exception("defect", model=action.model)
            self._requests.remove_all_of(action.items)
            for item in action.items:
                self._settler.conclude(item.deliveries if isinstance(item, InFlightRequest) else [item], DEFECT)
            self._loop.add_callback_threadsafe(partial(self._free_slot, action.model))

    def _start(self, action: Start) -> None:
        requests = [item for item in action.items if isinstance(item, InFlightRequest)]
        deliveries = [item for item in action.items if not isinstance(item, InFlightRequest)]
        # A delivery without its channel comes again. Another one may have a twin that was held and started before.
        requests += (self._requests.begin(each) for each in deliveries if each.is_live and self._is_new(each))
        free = partial(self._free_slot, action.model)
        if requests:
            self._recorder.started(action.model, len(requests))
            self._runner.run(requests, self._finish, free)
        else:
            self._loop.add_callback_threadsafe(free)

    def _start_again(self, request: InFlightRequest) -> None:
        """The pause of a request is over that had given its slot up."""
        self._apply(self._scheduler.again(request.lane.queue, request, time.monotonic()))

    def _free_slot(self, model: str) -> None:
        self._apply(self._scheduler.finished(model, time.monotonic()))
        self._continue_drain()

    def _publish_answer(self, reply: Reply, done: Done) -> None:
        self._session.publisher.publish(reply, done)

    def _publish_delta(self, reply: Reply, done: Done) -> None:
        self._recorder.count(CountedEvent.DELTAS)
        # Once: behind those that have followed it, it would be of no use.
        self._session.publisher.publish(reply, done, tries=1)

    def request_cancelled(self, correlation_id: str) -> None:
        number = self._requests.abandon(correlation_id)
        if number:
            self._recorder.count(CountedEvent.CANCELLED, number)

    def _finish(self, request: InFlightRequest, result: Union[Result, Later]) -> None:
        """The work on a request is over. Whatever is raised here, its answer is sent and its deliveries are settled."""
        if request not in self._requests:
            return  # its time was over before
        if isinstance(result, Later):
            try:
                self._let_wait(request, result)
                return
            except Exception:
                LOG.exception("defect", lane=request.lane.queue)
                result = GIVEN_BACK
        result = self._requests.finish(request, result)
        try:
            self._waiting_room.leave(request)
            self._trust.judge(request.lane, result)
        except Exception:
            LOG.exception("defect", lane=request.lane.queue)
        live = [delivery for delivery in request.deliveries if delivery.is_live]
        if live:
            self._settler.answer(live, result)
        elif result.outcome == "answered" and result.repeatable and self._session.is_connected:
            # The broker has the request, and gives it out again. Who waits for the answer has it sooner this way.
            self._settler.answer(request.deliveries[-1:], result)
        else:
            self._recorder.abandoned(request.deliveries[-1], result)

    def _let_wait(self, request: InFlightRequest, later: Later) -> None:
        """A request gives its slot up, and wants one again."""
        if self._drain.has_begun:
            self._finish(request, GIVEN_BACK)
        elif later.alone:
            self._recorder.count(CountedEvent.TRIED_ALONE)
            self._apply(self._scheduler.again(request.lane.queue, request, time.monotonic(), alone=True))
        else:
            self._recorder.count(CountedEvent.BUSY)
            self._waiting_room.admit(request, request.lane.model_key, later)

    # The end.

    def drain(self) -> None:
        """Take nothing any more, finish and answer what runs, and end. A second time: end at once."""
        if self._drain.has_begun:
            LOG.warning("stopped", in_flight=len(self._requests))
            self._end(None)
            return
        LOG.info("draining", in_flight=len(self._requests), held=self._scheduler.held)
        self._drain.begin()
        self._notifier.stopping()
        self._session.registry.leave()
        self._apply(self._scheduler.drain(time.monotonic()))
        for request in self._waiting_room.pausing():
            self._finish(request, GIVEN_BACK)
        self._continue_drain()

    def _continue_drain(self) -> None:
        if self._drain.phase in (DrainPhase.RUNNING, DrainPhase.ENDED):
            return
        idle = not self._requests and not self._session.publisher.pending
        if self._drain.is_over(idle=idle, connected=self._session.is_connected):
            self._end(None)
            return
        if self._drain.phase is DrainPhase.OVERDUE:
            self._requests.stop_all()  # they are given back
        self._notifier.status(self._report.summary())
        self._notifier.extend(EXTENSION)

    def _end(self, error: Optional[FleetError]) -> None:
        """Close the connection, by which the broker has back whatever is not acknowledged."""
        if not self._drain.end():
            return
        self._requests.stop_all()
        self._loop.call_later(GOODBYE, partial(self._ended, error))  # a broker that hangs does not say goodbye
        self._session.close(partial(self._ended, error))


def _queues(lanes: Iterable[LaneSettings]) -> str:
    return ",".join(sorted(lane.queue for lane in lanes))
