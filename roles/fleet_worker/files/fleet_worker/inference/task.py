# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data of one request on its way through this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Union

from .._fleet.dialects.base import Dialect
from .._fleet.messages import Failure, Request
from ..domain.delivery import Delivery
from ..domain.verdicts import Result, Verdict
from .cancel_token import CancelToken
from .deltas import DeltaPublisher
from .tries import Tries

#: The seconds before a deadline that are reserved for sending the answer.
ANSWER_RESERVE = 0.05


@dataclass(frozen=True)
class ParsedRequest:
    """A parsed request.

    :ivar fields: the log fields of the request.
    :ivar failure: the reason if the request must not reach Ollama.
    :ivar verdict: the verdict for an answered request.
    """

    dialect: Dialect
    request: Request
    fields: dict[str, Any]
    failure: Optional[Failure]
    verdict: Verdict

    @property
    def wants_deltas(self) -> bool:
        """Whether the requester wants deltas, and can receive them."""
        return self.request.stream and self.request.reply_to is not None and self.dialect.write_delta is not None


def used_up(count: int) -> Failure:
    """Return the failure of a request in its last delivery.

    One more requeue would exceed the delivery limit, and the broker would drop the request silently.

    :param count: the number of earlier deliveries.
    """
    return Failure("inference_failed", f"{count} deliveries of this request came to no end")


class Task:
    """A request to answer. The handler reads it once, even if it needs several attempts.

    :param stop: cancels the work on the request.
    :param deltas: publishes the deltas, if the requester wants them.
    :ivar tries: the attempts so far.
    :ivar reading: the parsed request, or the result of a request that must not be answered; ``None`` at first.
    """

    def __init__(self, delivery: Delivery, stop: CancelToken, deltas: DeltaPublisher) -> None:
        self.delivery = delivery
        self.stop = stop
        self.deltas = deltas
        self.tries = Tries()
        self.reading: Union[ParsedRequest, Result, None] = None

    @property
    def queue(self) -> str:
        """The queue of the request's lane."""
        return self.delivery.lane.queue

    @property
    def model(self) -> str:
        """The model of the lane."""
        return self.delivery.lane.lane.model

    @property
    def seconds_left(self) -> float:
        """The seconds until it is too late to send an answer; negative afterwards."""
        return self.delivery.seconds_left() - ANSWER_RESERVE

    @property
    def call_seconds(self) -> float:
        """The time limit of a call to Ollama in seconds, more than 0."""
        return max(ANSWER_RESERVE, self.seconds_left)

    def hopeless(self) -> Optional[Failure]:
        """Return the failure of a request that must not reach Ollama any more; ``None`` for other requests."""
        if self.delivery.is_last:
            return used_up(self.delivery.count)
        if self.seconds_left <= 0:
            return Failure("inference_timeout", "the request had expired before its turn came")
        return None
