# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records the outcome of requests in the log, the counts, the metrics and the rates. For the I/O thread."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Optional

from ..domain.delivery import Delivery
from ..domain.publication import Publication
from ..domain.verdicts import Result
from ..logs.defects import contained
from ..logs.log import Log
from .counts import CountedEvent, Counts
from .metrics import Metrics, amount
from .rates import Rates

LOG = Log()

#: Publications that leave the requester without an answer. After a lost one, a redelivery gets the answer again.
_NOT_TAKEN = (Publication.REFUSED, Publication.UNACCEPTABLE, Publication.LOST)


class RequestRecorder:
    """The records of one worker.

    :param metrics: the metrics for Prometheus.
    :param clock: seconds of the monotonic clock.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._rates = Rates(clock)
        self._counts = Counts()
        self._answered: Counter[str] = Counter()
        self._last_model = ""

    def count(self, event: CountedEvent, number: int = 1) -> None:
        """Count an event. With 0, the event appears in the counts before its first occurrence."""
        self._counts.events[event] += number

    def count_reply(self, publication: Publication) -> None:
        """Count a published answer that does not end its request."""
        self._counts.replies[publication] += 1

    def arrived(self, delivery: Delivery) -> None:
        """Count a delivery."""
        self.count(CountedEvent.DELIVERIES)
        self.count(CountedEvent.REDELIVERIES, int(bool(delivery.count)))

    def started(self, model: str, requests: int) -> None:
        """Count the requests of a started batch."""
        if requests > 1:
            self.count(CountedEvent.BATCHED, requests)
        self.count(CountedEvent.MODEL_SWITCHES, int(self._last_model not in ("", model)))
        self._last_model = model

    def settled(self, delivery: Delivery, result: Result, publication: Optional[Publication]) -> None:
        """Record a finished request.

        :param publication: the result of publishing the reply; None without a reply.
        """
        if publication is not None:
            self._counts.replies[publication] += 1
        self._record_end(delivery, result, publication)

    def abandoned(self, delivery: Delivery, result: Result) -> None:
        """Record a request that the broker has requeued, so that its result is useless."""
        self._record_end(delivery, result, Publication.LOST)

    def counts(self, registry_events: Counter[str]) -> Counts:
        """Return the counts of this moment, together with those of the registry."""
        kept = self._counts
        return replace(
            kept,
            events=kept.events.copy(),
            outcomes=kept.outcomes.copy(),
            replies=kept.replies.copy(),
            registry_events=registry_events.copy(),
        )

    def answered(self, queue: str) -> int:
        """Return the number of requests of a lane whose answers the broker has taken."""
        return self._answered[queue]

    def rates(self, spans: Sequence[tuple[str, int]] = (("1m", 60), ("5m", 300))) -> dict[str, dict[str, Any]]:
        """Return the recent throughput.

        :param spans: the name and the seconds of each span.
        """
        return {name: self._rates.over(seconds) for name, seconds in spans}

    def _record_end(self, delivery: Delivery, result: Result, publication: Optional[Publication]) -> None:
        outcome = "connection_lost" if publication is Publication.LOST else result.outcome
        self._counts.outcomes[outcome] += 1
        # An exception in the records must not harm the request.
        log = partial(self._log_end, delivery, result, publication, outcome)
        contained(log, lambda _error: None, lane=delivery.lane.queue)

    def _log_end(self, delivery: Delivery, result: Result, publication: Optional[Publication], outcome: str) -> None:
        """Record a finished request in the log, the metrics and the rates.

        :param outcome: the outcome for counts and metrics. The log has that of the work, and the result of publishing.
        """
        queue = delivery.lane.queue
        fields = {"waited": delivery.waited, "here": self._clock() - delivery.received_monotonic, **result.fields}
        answered = result.is_answer and publication not in _NOT_TAKEN
        self._answered[queue] += answered
        log = LOG.info if answered else LOG.warning
        reply = None if publication is None else publication.value
        log("request", lane=queue, outcome=result.outcome, reply=reply, **fields)
        self._metrics.ended(queue, outcome, fields)
        tokens, seconds = (amount(fields.get(name)) or 0.0 for name in ("output_tokens", "seconds"))
        self._rates.add(answered=answered, tokens=int(tokens), inference=seconds)
