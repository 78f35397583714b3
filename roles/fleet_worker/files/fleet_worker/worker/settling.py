# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a request: publish the answer, wait for its confirm, and only then acknowledge the request.

If the connection breaks before the confirm, the request stays unsettled. The broker redelivers the request, and the
result cache has the answer. Everything here runs on the I/O thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Callable, Optional

from .._fleet.messages import Reply
from ..domain.delivery import Delivery
from ..domain.publication import Done, Publication
from ..domain.verdicts import Result, Verdict, marked
from ..observe.recorder import RequestRecorder


class ReplySettler:
    """Publishes answers, and settles deliveries.

    :param publish: publishes an answer, and calls back with the result.
    :param unacceptable: returns the result for a request whose answer the broker does not accept.
    :param used_up: returns the result for a request that cannot return to its queue any more, with the number of its
        earlier deliveries.
    :param settled: called with each delivery that is settled, or whose channel is gone, so that the broker may send
        another one.
    :param done: called at the end of each request.
    """

    def __init__(
        self,
        publish: Callable[[Reply, Done], None],
        recorder: RequestRecorder,
        unacceptable: Callable[[Delivery], Result],
        used_up: Callable[[Delivery, int], Result],
        settled: Callable[[Delivery], None],
        done: Callable[[], None],
    ) -> None:
        self._publish = publish
        self._recorder = recorder
        self._unacceptable = unacceptable
        self._used_up = used_up
        self._settled = settled
        self._done = done

    def answer(self, request: Delivery, deliveries: Sequence[Delivery], result: Result) -> None:
        """Publish the answer of a result, if it has one, and settle the deliveries after the confirm.

        :param request: the delivery with the body of the request, also if it cannot be settled any more.
        """
        count = max(delivery.count for delivery in deliveries)
        if result.verdict is Verdict.REQUEUE and all(delivery.is_last for delivery in deliveries):
            result = self._used_up(request, count)
        if result.reply is None:
            self.conclude(deliveries, result)
            return
        self._publish(marked(result.reply, count), partial(self._on_published, request, deliveries, result))

    def conclude(
        self, deliveries: Sequence[Delivery], result: Result, publication: Optional[Publication] = None
    ) -> None:
        """Settle the deliveries of a request.

        :param publication: the result of publishing the answer; None without an answer.
        """
        if publication is not Publication.LOST:
            for delivery in deliveries:
                self.settle(delivery, result.verdict)
        self._recorder.settled(deliveries[-1], result, publication)
        self._done()

    def give_back(self, delivery: Delivery) -> None:
        """Return a request that has not started to its queue. After its last delivery, the requester gets an error."""
        if delivery.is_last and delivery.is_live:
            self.answer(delivery, [delivery], self._used_up(delivery, delivery.count))
        else:
            self.settle(delivery, Verdict.REQUEUE)

    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        """Settle a single delivery, such as a copy, without an end of its request."""
        delivery.settle(verdict)
        self._settled(delivery)

    def _on_published(
        self, request: Delivery, deliveries: Sequence[Delivery], result: Result, publication: Publication
    ) -> None:
        if publication is Publication.UNACCEPTABLE and result.is_answer:
            # The broker may accept a short reply with an error.
            self._recorder.count_reply(publication)
            self.answer(request, deliveries, self._unacceptable(request))
            return
        self.conclude(deliveries, result, publication)
