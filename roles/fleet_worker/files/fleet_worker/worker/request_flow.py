# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a request through the worker: admission, start, completion, answer.

A request may take some steps twice: it may give its slot up and need one again, or the broker may redeliver it. For the
I/O thread.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Optional, Union

from ..amqp.session import BrokerSession
from ..domain.delivery import Delivery, LaneSettings
from ..domain.verdicts import Result, Verdict
from ..inference.in_flight import Admission, InFlightRequest, InFlightRequests
from ..inference.model_trust import ModelTrust
from ..inference.runner import RequestRunner
from ..inference.tries import Later
from ..logs.defects import contained
from ..observe.counts import CountedEvent
from ..observe.recorder import RequestRecorder
from ..scheduling.actions import Start
from .dispatcher import Dispatcher
from .settling import ReplySettler
from .waiting_room import WaitingRoom

#: The result of a waiting request when the worker drains, or its lane is removed.
GIVEN_BACK = Result(Verdict.REQUEUE, "given_back")

#: The result of a request that its requester cancelled while the request had no slot.
CANCELLED = Result(Verdict.ACK, "requester_gone")

#: The result of a request that met a defect of the worker: a requeued request would meet the defect again.
DEFECT = Result(Verdict.REJECT, "defect")


class RequestFlow:
    """Passes each request to its next step.

    :param dispatcher: decides when a request starts.
    :param settler: publishes answers, and settles deliveries.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        session: BrokerSession,
        requests: InFlightRequests,
        runner: RequestRunner,
        settler: ReplySettler,
        waiting_room: WaitingRoom,
        trust: ModelTrust,
        recorder: RequestRecorder,
    ) -> None:
        self._dispatcher = dispatcher
        self._session = session
        self._requests = requests
        self._runner = runner
        self._settler = settler
        self._waiting_room = waiting_room
        self._trust = trust
        self._recorder = recorder
        self._leaving = False

    # Admission

    def delivered(self, delivery: Delivery) -> None:
        """Take a request from a consumer."""
        if self._admit_delivery(delivery):
            self._dispatcher.delivered(delivery)

    def got(self, lane: LaneSettings, delivery: Optional[Delivery], more: int) -> None:
        """Take the answer to a get, which is ``None`` for an empty queue."""
        if delivery is None or self._admit_delivery(delivery):
            self._dispatcher.got(lane, delivery, more)
        else:
            self._dispatcher.answered(lane)

    def _admit_delivery(self, delivery: Delivery) -> bool:
        """Return whether a new delivery needs a slot."""
        self._recorder.arrived(delivery)
        self._dispatcher.taken(delivery)
        return contained(lambda: self._is_new(delivery), partial(self._reject, delivery), lane=delivery.lane.queue)

    def _reject(self, delivery: Delivery, _error: Exception) -> bool:
        self._settler.conclude([delivery], DEFECT)
        return False

    def _is_new(self, delivery: Delivery) -> bool:
        """Return whether a request is new. A duplicate gets the known answer, or shares the coming one."""
        if self._session.is_cancelled(delivery):
            self._settler.conclude([delivery], CANCELLED)
            return False
        admitted = self._requests.admit(delivery)
        if admitted.result is not None:
            self._recorder.count(CountedEvent.ANSWERED_AGAIN)
            self._settler.answer(delivery, [delivery], admitted.result)
        elif admitted.admission is not Admission.NEW:
            self._recorder.count(CountedEvent.JOINED)
            if admitted.admission is Admission.COPY:
                self._settler.settle(delivery, Verdict.ACK)
        return admitted.admission is Admission.NEW

    # Start

    def start_batch(self, action: Start) -> None:
        """Start a batch. Even after a defect, each request is handled or rejected, and the slot becomes free."""
        contained(lambda: self._begin_requests(action), partial(self._reject_all, action), model=action.model)

    def _reject_all(self, action: Start, _error: Exception) -> None:
        try:
            self._requests.remove_all_of(action.items)
            for item in action.items:
                self._settler.conclude(item.deliveries if isinstance(item, InFlightRequest) else [item], DEFECT)
        finally:
            self._runner.run([], self.finish_request, partial(self._dispatcher.finished, action.model))

    def _begin_requests(self, action: Start) -> None:
        # A request that waited for a slot again may have ended meanwhile.
        requests = [item for item in action.items if isinstance(item, InFlightRequest) and item in self._requests]
        deliveries = [item for item in action.items if not isinstance(item, InFlightRequest)]
        # The broker redelivers a delivery whose channel is gone. A duplicate may have started while this one was held.
        requests += (self._requests.begin(each) for each in deliveries if each.is_live and self._is_new(each))
        for each in deliveries:
            if not each.is_live:
                self._dispatcher.settled(each)
        for request in requests:
            request.has_slot = True
        if requests:
            self._recorder.started(action.model, len(requests))
        self._runner.run(requests, self.finish_request, partial(self._dispatcher.finished, action.model))

    # Completion

    def finish_request(self, request: InFlightRequest, result: Union[Result, Later]) -> None:
        """End the work on a request. Even after a defect, the answer is sent and the deliveries are settled."""
        if request not in self._requests:
            return  # the request was overdue, and has been answered
        queue = request.lane.queue
        if isinstance(result, Later):
            if contained(partial(self._let_wait, request, result), lambda _error: False, lane=queue):
                return
            result = CANCELLED if request.stop.abandoned else GIVEN_BACK
        result = self._requests.finish(request, result)
        contained(partial(self._learn_from, request, result), lambda _error: None, lane=queue)
        live = [delivery for delivery in request.deliveries if delivery.is_live]
        for gone in request.deliveries:
            if not gone.is_live:
                self._dispatcher.settled(gone)
        if live:
            self._settler.answer(request.delivery, live, result)
        elif result.is_answer and result.repeatable and self._session.is_connected:
            # The broker has requeued the request, and will redeliver it. Answer now, so that the requester waits less.
            self._settler.answer(request.delivery, request.deliveries[-1:], result)
        else:
            self._recorder.abandoned(request.deliveries[-1], result)

    def _let_wait(self, request: InFlightRequest, later: Later) -> bool:
        """Let a request wait for its next attempt; return False while the worker drains, and without a requester."""
        if self._leaving or request.stop.abandoned:
            return False
        request.has_slot = False
        if later.alone:
            self._recorder.count(CountedEvent.TRIED_ALONE)
            self._dispatcher.again(request, alone=True)
        else:
            self._recorder.count(CountedEvent.BUSY)
            self._waiting_room.admit(request, request.lane.loaded, later)
        return True

    def _learn_from(self, request: InFlightRequest, result: Result) -> None:
        self._waiting_room.leave(request)
        self._trust.judge(request.lane, result)

    def give_back(self, item: Any) -> None:
        """Return a delivery, or a request that has given its slot up, to its queue."""
        if isinstance(item, InFlightRequest):
            self.finish_request(item, GIVEN_BACK)
        else:
            self._settler.give_back(item)

    def cancel_request(self, correlation_id: str) -> None:
        """Cancel a request whose requester is gone."""
        for request in self._requests.abandon(correlation_id):
            self._recorder.count(CountedEvent.CANCELLED)
            if not request.has_slot:  # no work ends, which would end the request
                self.finish_request(request, CANCELLED)

    def leave(self) -> None:
        """Let no request wait for its next attempt any more."""
        self._leaving = True
        for request in self._waiting_room.pausing():
            self.finish_request(request, GIVEN_BACK)
