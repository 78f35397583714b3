# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One request on its way through this package, and what the work on a request can come to."""

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

#: Seconds kept from the end of a deadline, for the answer.
ANSWER_RESERVE = 0.05


@dataclass(frozen=True)
class Reading:
    """What a request says, once it was read.

    :ivar fields: what the log says of the request.
    :ivar failure: why Ollama must not be asked.
    :ivar verdict: on the request when it is answered.
    """

    dialect: Dialect
    request: Request
    fields: dict[str, Any]
    failure: Optional[Failure]
    verdict: Verdict

    @property
    def wants_deltas(self) -> bool:
        """Whether the requester wants the answer in pieces, and can get them."""
        return self.request.stream and self.request.reply_to is not None and self.dialect.write_delta is not None


class Task:
    """A request that is to be answered. It is read once, however often it is tried.

    :param stop: ends the work on the request.
    :param deltas: where pieces of the answer go, when the requester wants them.
    :ivar tries: what was tried so far.
    :ivar reading: the parsed request, or the result of one that is never answered; None until it is read.
    """

    def __init__(self, delivery: Delivery, stop: CancelToken, deltas: DeltaPublisher) -> None:
        self.delivery = delivery
        self.stop = stop
        self.deltas = deltas
        self.tries = Tries()
        self.reading: Union[Reading, Result, None] = None

    @property
    def queue(self) -> str:
        """The queue that the request came from."""
        return self.delivery.lane.queue

    @property
    def model(self) -> str:
        """The model of the lane."""
        return self.delivery.lane.lane.model

    @property
    def seconds_left(self) -> float:
        """Seconds until it is too late to begin with the answer; negative afterwards."""
        return self.delivery.seconds_left() - ANSWER_RESERVE

    @property
    def call_seconds(self) -> float:
        """Seconds that Ollama gets for a call, more than 0."""
        return max(ANSWER_RESERVE, self.seconds_left)

    def hopeless(self) -> Optional[Failure]:
        """Return why Ollama is not even asked; None when it is."""
        if self.delivery.is_last:
            # One more requeue would exceed the delivery limit, and the broker would drop the request silently.
            return Failure("inference_failed", f"{self.delivery.count} deliveries of this request came to no end")
        if self.seconds_left <= 0:
            return Failure("inference_timeout", "the request had expired before its turn came")
        return None
