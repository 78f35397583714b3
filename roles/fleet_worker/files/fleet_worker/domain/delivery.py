# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A delivery of a request: the message, its lane, and its settlement."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Optional

from .._fleet.dialects.protocol.identity import identifies_itself
from .._fleet.encrypted_bodies import IV
from .._fleet.lanes import Lane
from .._fleet.messages import Message
from .._ollama.names import ModelName
from .._ollama.numbers import whole
from ..logs.log import Log
from .deadline import Arrival, seconds_in_queue, seconds_left
from .lane_rule import LaneRule
from .lane_terms import USUAL, LaneTerms
from .settlement import Settlement
from .verdicts import Verdict

LOG = Log()


@dataclass(frozen=True)
class LaneSettings:
    """A lane, with the settings that this worker has for it.

    :ivar deadline: seconds a request may take.
    :ivar priority: among the lanes of this worker; higher goes first.
    :ivar consumer_priority: among the consumers of the queue; None leaves it to the broker.
    :ivar batch: requests that may go to Ollama as one.
    :ivar limit: slots that all lanes of the model may take together; None for all.
    :ivar terms: what it decides about its requests.
    """

    lane: Lane
    deadline: float
    priority: int
    consumer_priority: Optional[int] = None
    batch: int = 1
    limit: Optional[int] = None
    terms: LaneTerms = USUAL

    @property
    def queue(self) -> str:
        return self.lane.queue

    @cached_property
    def model_key(self) -> str:
        """What all spellings of its model have in common (:attr:`ModelName.key`)."""
        return ModelName.parse(self.lane.model).key

    @property
    def rule(self) -> LaneRule:
        """What the scheduler knows of the lane."""
        expires = self.lane.arguments.get("x-expires")
        # Options that load a model anew are pinned by the lane, so a model and its context window are what is loaded.
        loaded = f"{self.model_key} {self.lane.context_window or ''}"
        return LaneRule(
            self.queue,
            loaded,
            self.priority,
            expires=None if expires is None else expires / 1000,
            batch=self.batch,
            limit=self.limit,
        )


@dataclass(frozen=True, eq=False)
class Delivery:
    """One delivery of a request.

    :ivar settlement: settles it, once, on the channel it came by.
    :ivar count: how often the broker has given the request out before.
    :ivar received: seconds since 1970, and seconds of the monotonic clock.
    """

    lane: LaneSettings
    settlement: Settlement
    message: Message
    count: int = 0
    received: float = field(default_factory=time.time)
    received_monotonic: float = field(default_factory=time.monotonic)

    @cached_property
    def identity(self) -> Optional[str]:
        """What tells this request from every other one, over all of its deliveries; None when nothing does.

        An id alone would do for requesters that keep to the rules. One that reuses ids must not get the answer to
        another request, hence everything that an answer depends on.
        """
        # A lane of the node alone gives a request on to its heir, and the broker takes the expiration off it then.
        lane = self.lane.lane.heir or self.lane.queue
        if identifies_itself(self.message):
            # Also of a copy that LegionIO has put into the queue again, and that has lost its properties.
            where = repr((lane, self.message.headers.get(IV))).encode("utf-8", "backslashreplace")
            return hashlib.sha256(where + b"\0" + self.message.body).hexdigest()
        properties = {**vars(self.message.properties), "expiration": None}
        if not (properties["message_id"] or properties["correlation_id"]):
            return None
        # What the broker itself adds (x-delivery-count, x-death) differs from delivery to delivery.
        headers = sorted(
            (name, str(value))
            for name, value in self.message.headers.items()
            if not name.startswith("x-") or name.startswith("x-legion-")
        )
        about = repr((lane, properties, headers)).encode("utf-8", "backslashreplace")
        return hashlib.sha256(about + b"\0" + self.message.body).hexdigest()

    @property
    def is_live(self) -> bool:
        """Whether it can still be settled. If its channel is gone, the broker gives the request out again."""
        return self.settlement.is_open

    def ack(self) -> bool:
        """Have the broker forget the request; return whether that could be said."""
        return self.settlement.ack()

    def reject(self) -> bool:
        """Have the broker dead-letter the request, or drop it; return whether that could be said."""
        return self.settlement.reject() if self._may_be_dead_lettered() else self.settlement.ack()

    def requeue(self) -> bool:
        """Have the broker give the request out again; return whether that could be said."""
        # What is given out no more is dead-lettered.
        return self.settlement.requeue() if not self.is_last or self._may_be_dead_lettered() else self.settlement.ack()

    def settle(self, verdict: Verdict) -> bool:
        """Do with it what the verdict says; return whether that could be said."""
        if verdict is Verdict.ACK:
            return self.ack()
        return self.reject() if verdict is Verdict.REJECT else self.requeue()

    def _may_be_dead_lettered(self) -> bool:
        if self.is_live and not self.can_be_dead_lettered:
            LOG.warning("not_dead_lettered", lane=self.lane.queue, reason="the requester wrote a header x-death")
        return self.can_be_dead_lettered

    def without_body(self) -> Delivery:
        """Return what is needed to settle it, and no more."""
        return replace(self, message=replace(self.message, body=b""))

    @property
    def waited(self) -> Optional[float]:
        """Seconds in the queue; None if unknown (:func:`.deadline.seconds_in_queue`)."""
        return seconds_in_queue(self.message, self._arrival)

    @property
    def can_be_dead_lettered(self) -> bool:
        """Whether the broker survives to dead-letter it.

        The queue leader of RabbitMQ 3.10 adds to the header ``x-death`` without a look at what a requester wrote there.
        If that is not what a broker writes it dies, dies again when it reads its log anew, and is given up after a few
        times: the lane is lost for good (seen with 3.10.8; 4 takes any).
        """
        deaths = self.message.headers.get("x-death")
        return deaths is None or (
            isinstance(deaths, list)
            and all(isinstance(death, dict) and _is_number(death.get("count", 0)) for death in deaths)
        )

    @property
    def is_last(self) -> bool:
        """Whether the broker gives it out no more: when it is given back, it is dropped or dead-lettered."""
        return self.count >= self.lane.lane.delivery_limit

    def seconds_left(self) -> float:
        """Return the seconds until the deadline of the request (:func:`.deadline.seconds_left`)."""
        return seconds_left(self.message, self._arrival, self.lane.deadline)

    @cached_property
    def _arrival(self) -> Arrival:
        return Arrival(self.received, self.received_monotonic)


def delivery_count(headers: Any, redelivered: bool) -> int:
    """Return how often the broker has given a request out before.

    Quorum queues count in the header ``x-delivery-count``. On a first delivery RabbitMQ 4.0 leaves the header as the
    requester, or a shovel, wrote it. On a redelivery RabbitMQ 3.10 and 4.0 both replace the header.
    """
    if not redelivered:
        return 0
    return max(1, whole((headers or {}).get("x-delivery-count")) or 1)


def _is_number(value: Any) -> bool:
    """Whether it is an integer; to Python a truth value is one, too."""
    return isinstance(value, int) and not isinstance(value, bool)
