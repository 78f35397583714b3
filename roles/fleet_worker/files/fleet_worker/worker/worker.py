# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker: passes each event to the part that handles it.

Events come from the broker (``amqp/session.py``), from Ollama's health, and from the process. Other files make the
decisions: the state of a lane (``lane_board.py``), the start of a request (``dispatcher.py``), the flow of a request
(``request_flow.py``), and the progress of a drain (``drain.py``).

Everything here runs on the I/O thread. Threads of the pool reach this thread only through ``add_callback_threadsafe``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Callable, Optional

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
from ..inference.circuit_breaker import CircuitBreaker
from ..inference.handler import RequestHandler
from ..inference.health import OllamaState
from ..inference.in_flight import InFlightRequests
from ..inference.model_trust import ModelTrust
from ..inference.result_cache import ResultCache
from ..inference.runner import RequestRunner
from ..logs.log import Log
from ..observe.counts import CountedEvent
from ..observe.recorder import RequestRecorder
from ..observe.worker_status import WorkerStatus
from ..runtime.thread_pool import ThreadPool
from ..runtime.watchdog import Watchdog
from ..scheduling.scheduler import Scheduler
from .dispatcher import Dispatcher
from .drain import GOODBYE, Drain, DrainPhase
from .lane_board import LaneBoard
from .request_flow import RequestFlow
from .settings import WorkerSettings
from .settling import ReplySettler
from .status_report import StatusReport
from .waiting_room import WaitingRoom

LOG = Log()

#: Seconds until the worker declares a refused lane again.
RETRY_LANE = 30.0

#: Seconds by which the worker extends systemd's stop timeout at a time during a drain.
EXTENSION = 30.0

#: Refusals that a retry does not fix. Before the worker has been ready, they mean a wrong configuration. Later they may
#: be changes in progress, such as a new password.
HOPELESS = (InvalidBrokerError, BrokerLoginRefusedError, BrokerVhostError, BrokerTlsError)


class Worker:
    """Takes requests from lanes, and answers them.

    The process passes the parts that belong to it. The worker creates its own parts from its settings.

    :param loop: pika's loop, which runs in the I/O thread.
    :param handler: answers requests with Ollama.
    :param pool: the threads that may wait for Ollama.
    :param recorder: counts events and outcomes.
    :param watchdog: is fed while the loop runs; its notifier sends the status to systemd.
    :param ended: called once at the end, with the error if there was one.
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
        self._session = BrokerSession(loop, settings.broker, settings.exchanges, settings.registry, self)
        self._requests = InFlightRequests(loop, ResultCache(keep=settings.duplicate_window), self._publish_delta)
        self._dispatcher = Dispatcher(loop, self._scheduler, self._session.consumers, settings.lanes)
        trust = ModelTrust(loop, CircuitBreaker(settings.breaker), handler.probe, recorder.count, self._review_lanes)
        self._waiting_room = WaitingRoom(loop, self._dispatcher.again, self._review_lanes)
        self._board = LaneBoard(settings.lanes, trust.reason, self._waiting_room.reason)
        self._drain = Drain(settings.drain_timeout)
        settler = ReplySettler(
            self._publish_answer,
            recorder,
            handler.unacceptable,
            handler.used_up,
            self._dispatcher.settled,
            self._continue_drain,
        )
        self._flow = RequestFlow(
            self._dispatcher,
            self._session,
            self._requests,
            RequestRunner(loop, pool, handler, settings.batch_bytes),
            settler,
            self._waiting_room,
            trust,
            recorder,
        )
        self._dispatcher.connect(self._flow.start_batch, self._flow.give_back, freed=self._continue_drain)
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

    # Process

    def start(self) -> None:
        """Start the worker."""
        self._session.start()
        self._feed_watchdog()

    def health_changed(self, state: OllamaState) -> None:
        """Use a new state of Ollama."""
        if state.up and not self._board.ollama_is_up:
            LOG.info("ollama_up", models=len(state.models))
        elif not state.up:
            LOG.warning("ollama_not_asked" if state.own_fault else "ollama_down", reason=state.reason)
        self._board.ollama_is(state)
        self._review_lanes()

    def set_lanes(self, lanes: Sequence[LaneSettings]) -> None:
        """Replace the set of lanes. Running requests continue; held requests of removed lanes are returned."""
        if {lane.queue: lane for lane in lanes} == self._board.lanes:
            return
        before = self._board.lanes
        # The queue of such a lane is there, but the broker does not know the new routing keys yet.
        bound_anew = [lane for lane in lanes if lane.queue in before and before[lane.queue].lane.keys != lane.lane.keys]
        added, removed = self._board.assign(lanes)
        named = {"added": added, "removed": removed}
        LOG.info("lanes_changed", lanes=len(lanes), **{name: _queues(which) for name, which in named.items()})
        self._dispatcher.assign(lanes)
        if not self._session.is_connected:
            self._board.disconnected(added, "no connection")
        elif added or bound_anew:
            self._declare_lanes([*added, *bound_anew])
        self._review_lanes()

    def status(self) -> WorkerStatus:
        """Return the status of the worker."""
        return self._report.status(ready=self._ready)

    def _feed_watchdog(self) -> None:
        self._loop.call_later(self._watchdog.seconds, self._feed_watchdog)
        self._watchdog.feed()
        self._continue_drain()

    def _review_lanes(self) -> None:
        """Open exactly the serveable lanes, and report readiness once all parts are up."""
        usable = self._session.state is SessionState.USABLE
        self._dispatcher.open(self._board.serveable() if usable else ())
        if usable and self._board.all_declared:
            self._session.confirm_useful()
            if self._board.ollama_is_up and not self._ready:
                self._ready = True
                LOG.info("ready", lanes=len(self._board.lanes))
                self._notifier.ready()
        self._session.registry.update(self._board.registry_view())
        self._notifier.status(self._report.summary())

    # Broker session

    def session_opened(self) -> None:
        self._recorder.count(CountedEvent.CONNECTIONS)
        self._declare_lanes(self._board.lanes.values())

    def session_changed(self) -> None:
        self._review_lanes()

    def session_failed(self, error: FleetError) -> None:
        LOG.error("cannot_connect", error=str(error))
        if isinstance(error, HOPELESS) and not self._ready:
            self._close_session(error)
            return
        self._notifier.status(str(error))

    def session_lost(self, error: BrokerError) -> None:
        if self._drain.phase is not DrainPhase.ENDED:
            LOG.warning("connection_lost", error=str(error), in_flight=len(self._requests))
        self._board.disconnected(self._board.lanes.values(), f"no connection: {error.message}")
        self._dispatcher.connection_lost()

    def consumers_lost(self, error: BrokerError) -> None:
        LOG.error("channel_closed", error=str(error), in_flight=len(self._requests))
        self._dispatcher.consumers_lost()
        self._dispatcher.declared(self._board.lanes)
        self._review_lanes()

    def broker_blocked(self, blocked: bool) -> None:
        self._dispatcher.block(blocked)

    def lane_lost(self, lane: LaneSettings, reason: str, pause: float) -> None:
        """Pause a lane whose queue was deleted or may not be read, or whose acknowledgement took too long.

        In the last case (RabbitMQ 4.3), the consumer gets nothing until its deliveries are settled. The worker settles
        them when their requests end.
        """
        LOG.warning("lane_lost", lane=lane.queue, reason=reason, pause=pause)
        if self._board.lost(lane.queue, f"{reason}; it is tried again in {pause:.0f} s"):
            self._declare_lanes_later([lane.queue], pause)
        self._dispatcher.lost(lane)
        self._review_lanes()

    def lane_silent(self, lane: LaneSettings, asked: bool) -> None:
        """Note that the broker does not answer for a lane. The worker serves the other lanes meanwhile."""
        LOG.warning("lane_silent", lane=lane.queue)
        self._dispatcher.silent(lane, asked)

    def _declare_lanes(self, lanes: Iterable[LaneSettings]) -> None:
        """Declare lanes, those at once for which the broker has not ended the connection lately."""
        chosen = []
        for lane in lanes:
            rest = self._session.rest(lane.queue)
            if rest is None:
                chosen.append(lane)
            else:
                LOG.error("lane_broken", lane=lane.queue, reason=rest.reason, pause=round(rest.seconds, 1))
                self._board.broken(lane, f"{rest.reason}; it is tried again in {rest.seconds:.0f} s")
                self._declare_lanes_later([lane.queue], rest.seconds)
        self._declare_now(chosen)

    def _declare_now(self, lanes: Sequence[LaneSettings]) -> None:
        self._board.being_declared(lanes)
        self._session.declare(lanes, self._lanes_declared)

    def _declare_lanes_later(self, queues: Iterable[str], seconds: float) -> None:
        chosen = list(queues)

        def declare_again() -> None:
            if self._session.state is not SessionState.CLOSED:
                lanes = self._board.lanes
                self._declare_now([lanes[queue] for queue in chosen if queue in lanes])

        self._session.call_later(seconds, declare_again)

    def _lanes_declared(self, results: dict[str, Optional[BrokerError]]) -> None:
        declared, refused = self._board.declared(results)
        for queue, error in refused.items():
            LOG.error("lane_refused", lane=queue, error=str(error))
        if refused and not self._ready:
            self._close_session(next(iter(refused.values())))
            return
        self._dispatcher.declared(declared)
        if refused:
            self._declare_lanes_later(refused, RETRY_LANE)
        self._review_lanes()

    # Requests

    def delivered(self, delivery: Delivery) -> None:
        self._flow.delivered(delivery)

    def got(self, lane: LaneSettings, delivery: Optional[Delivery], more: int) -> None:
        self._flow.got(lane, delivery, more)

    def consumer_cancelled(self, queue: str, hot: bool) -> None:
        self._dispatcher.cancelled(queue, hot)

    def request_cancelled(self, correlation_id: str) -> None:
        self._flow.cancel_request(correlation_id)

    def _publish_answer(self, reply: Reply, done: Done) -> None:
        self._session.publisher.publish(reply, done)

    def _publish_delta(self, reply: Reply, done: Done) -> None:
        self._recorder.count(CountedEvent.DELTAS)
        # No retry: a delta is useless after the deltas that follow it.
        self._session.publisher.publish(reply, done, tries=1)

    # Shutdown

    def drain(self) -> None:
        """Take no more requests, finish and answer the running ones, and end. A second call ends at once."""
        if self._drain.has_begun:
            LOG.warning("stopped", in_flight=len(self._requests))
            self._close_session(None)
            return
        LOG.info("draining", in_flight=len(self._requests), held=self._scheduler.held)
        self._drain.begin()
        self._notifier.stopping()
        self._session.registry.leave()
        self._dispatcher.drain()
        self._flow.leave()
        self._continue_drain()

    def _continue_drain(self) -> None:
        if self._drain.phase in (DrainPhase.RUNNING, DrainPhase.ENDED):
            return
        idle = not self._requests and not self._session.publisher.pending
        if self._drain.is_over(idle=idle, connected=self._session.is_connected):
            self._close_session(None)
            return
        if self._drain.phase is DrainPhase.OVERDUE:
            self._requests.stop_all()  # their threads return them to the queue
        self._notifier.status(self._report.summary())
        self._notifier.extend(EXTENSION)

    def _close_session(self, error: Optional[FleetError]) -> None:
        """Close the connection. The broker then requeues all unacknowledged requests."""
        if not self._drain.end():
            return
        self._requests.stop_all()
        self._loop.call_later(GOODBYE, partial(self._ended, error))  # a broker that hangs never confirms the close
        self._session.close(partial(self._ended, error))


def _queues(lanes: Iterable[LaneSettings]) -> str:
    return ",".join(sorted(lane.queue for lane in lanes))
