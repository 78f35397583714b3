# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a request: its answer is published and confirmed, and only then is the request acknowledged.

An answer whose confirm is lost with the connection leaves its request unsettled: the broker gives the request out
again, and the answer is still known. Everything here runs on the I/O thread.
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
    """Answers requests, and settles them.

    :param publish: publishes an answer, and calls back with what became of it.
    :param unacceptable: returns the result of a request whose answer no broker accepts.
    :param settled: called with each delivery that was settled: the broker may send another one instead.
    :param done: called when a request is over.
    """

    def __init__(
        self,
        publish: Callable[[Reply, Done], None],
        recorder: RequestRecorder,
        unacceptable: Callable[[Delivery], Result],
        settled: Callable[[Delivery], None],
        done: Callable[[], None],
    ) -> None:
        self._publish = publish
        self._recorder = recorder
        self._unacceptable = unacceptable
        self._settled = settled
        self._done = done

    def answer(self, deliveries: Sequence[Delivery], result: Result) -> None:
        """Publish the answer to a request, if there is one; when that is confirmed, settle its deliveries."""
        if result.reply is None:
            self._conclude(deliveries, result, None)
            return
        count = max(delivery.count for delivery in deliveries)
        self._publish(marked(result.reply, count), partial(self._conclude, deliveries, result))

    def conclude(self, deliveries: Sequence[Delivery], result: Result) -> None:
        """Settle the deliveries of a request that gets no answer."""
        self._conclude(deliveries, result, None)

    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        """Settle a delivery whose request is not over, or is none of its own."""
        if delivery.settle(verdict):
            self._settled(delivery)

    def _conclude(self, deliveries: Sequence[Delivery], result: Result, publication: Optional[Publication]) -> None:
        if publication is Publication.UNACCEPTABLE and result.outcome == "answered":
            # A short reply with the error, which the broker may accept.
            self._recorder.count_reply(publication)
            self.answer(deliveries, self._unacceptable(deliveries[0]))
            return
        if publication is not Publication.LOST:
            for delivery in deliveries:
                self.settle(delivery, result.verdict)
        self._recorder.settled(deliveries[-1], result, publication)
        self._done()
