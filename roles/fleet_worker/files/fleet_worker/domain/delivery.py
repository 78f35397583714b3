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
    """A lane, with the settings of this worker.

    :ivar deadline: the most seconds of a request.
    :ivar priority: the priority among the lanes of this worker; higher is first.
    :ivar consumer_priority: the priority among the consumers of the queue; None for the broker's default.
    :ivar batch: the most requests that may share one call to Ollama.
    :ivar limit: the most slots of all lanes of the model together; None for all slots.
    :ivar terms: the settings for the requests of the lane.
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
        """The key of the model, which all spellings of its name share (:attr:`ModelName.key`)."""
        return ModelName.parse(self.lane.model).key

    @cached_property
    def loaded(self) -> str:
        """The key of the loaded model: the model with its context window.

        The lane fixes all other options that reload a model.
        """
        return f"{self.model_key} {self.lane.context_window or ''}"

    @property
    def rule(self) -> LaneRule:
        """The part of the settings that the scheduler knows."""
        expires = self.lane.arguments.get("x-expires")
        return LaneRule(
            self.queue,
            self.loaded,
            self.priority,
            expires=None if expires is None else expires / 1000,
            batch=self.batch,
            limit=self.limit,
            consumer_priority=self.consumer_priority,
        )


@dataclass(frozen=True, eq=False)
class Delivery:
    """One delivery of a request.

    :ivar settlement: settles the delivery, once, on its own channel.
    :ivar count: the number of earlier deliveries of the request.
    :ivar received: the time of the delivery.
    """

    lane: LaneSettings
    settlement: Settlement
    message: Message
    count: int = 0
    received: float = field(default_factory=time.time)
    received_monotonic: float = field(default_factory=time.monotonic)

    @cached_property
    def identity(self) -> Optional[str]:
        """An identifier that only the deliveries of this request share; None if the request has no id.

        The id alone would be enough if all requesters used unique ids. A requester that reuses ids must not get the
        answer to another request, so the identifier covers everything that an answer depends on.
        """
        # The lane of a single node passes requests on to its heir, and the broker then removes their expiration.
        lane = self.lane.lane.heir or self.lane.queue
        if identifies_itself(self.message):
            # Also for a copy that LegionIO has published again, without its properties.
            where = repr((lane, self.message.headers.get(IV))).encode("utf-8", "backslashreplace")
            return hashlib.sha256(where + b"\0" + self.message.body).hexdigest()
        properties = {**vars(self.message.properties), "expiration": None}
        if not (properties["message_id"] or properties["correlation_id"]):
            return None
        # The broker's own headers (x-delivery-count, x-death) differ among the deliveries of a request.
        headers = sorted(
            (name, str(value))
            for name, value in self.message.headers.items()
            if not name.startswith("x-") or name.startswith("x-legion-")
        )
        about = repr((lane, properties, headers)).encode("utf-8", "backslashreplace")
        return hashlib.sha256(about + b"\0" + self.message.body).hexdigest()

    @property
    def is_live(self) -> bool:
        """Whether the delivery can still be settled. After a lost channel, the broker redelivers the request."""
        return self.settlement.is_open

    def ack(self) -> bool:
        """Acknowledge the request; return whether the channel could send the command."""
        return self.settlement.ack()

    def reject(self) -> bool:
        """Reject the request, which the broker dead-letters or drops; return whether the channel could send it."""
        return self.settlement.reject() if self._may_be_dead_lettered() else self.settlement.ack()

    def requeue(self) -> bool:
        """Requeue the request; return whether the channel could send the command."""
        # The broker would dead-letter the request after its last delivery.
        return self.settlement.requeue() if not self.is_last or self._may_be_dead_lettered() else self.settlement.ack()

    def settle(self, verdict: Verdict) -> bool:
        """Settle the delivery by a verdict; return whether the channel could send the command."""
        if verdict is Verdict.ACK:
            return self.ack()
        return self.reject() if verdict is Verdict.REJECT else self.requeue()

    def _may_be_dead_lettered(self) -> bool:
        if self.is_live and not self.can_be_dead_lettered:
            LOG.warning("not_dead_lettered", lane=self.lane.queue, reason="the requester wrote a header x-death")
        return self.can_be_dead_lettered

    def without_body(self) -> Delivery:
        """Return a copy for settling, without the body."""
        return replace(self, message=replace(self.message, body=b""))

    @property
    def waited(self) -> Optional[float]:
        """The seconds in the queue; None if unknown (:func:`.deadline.seconds_in_queue`)."""
        return seconds_in_queue(self.message, self._arrival)

    @property
    def can_be_dead_lettered(self) -> bool:
        """Whether the broker can dead-letter the request without harm.

        The queue leader of RabbitMQ 3.10 adds to the header ``x-death`` without checking a requester's value. If the
        value is malformed, the leader crashes, crashes again while it reads its log, and is not restarted after a few
        crashes: the lane is lost for good (seen with 3.10.8; 4 accepts any value).
        """
        deaths = self.message.headers.get("x-death")
        return deaths is None or (
            isinstance(deaths, list)
            and all(isinstance(death, dict) and _is_number(death.get("count", 0)) for death in deaths)
        )

    @property
    def is_last(self) -> bool:
        """Whether this is the last delivery: after a requeue, the broker drops or dead-letters the request."""
        return self.count >= self.lane.lane.delivery_limit

    def seconds_left(self) -> float:
        """Return the seconds until the deadline of the request (:func:`.deadline.seconds_left`)."""
        return seconds_left(self.message, self._arrival, self.lane.deadline)

    @cached_property
    def _arrival(self) -> Arrival:
        return Arrival(self.received, self.received_monotonic)


def delivery_count(headers: Any, redelivered: bool) -> int:
    """Return the number of earlier deliveries of a request.

    Quorum queues count in the header ``x-delivery-count``. On a first delivery, RabbitMQ 4.0 leaves the header of the
    requester, or of a shovel, unchanged. On a redelivery, RabbitMQ 3.10 and 4.0 replace the header.
    """
    if not redelivered:
        return 0
    return max(1, whole((headers or {}).get("x-delivery-count")) or 1)


def _is_number(value: Any) -> bool:
    """Whether a value is an integer and not a bool, which Python counts as an integer, too."""
    return isinstance(value, int) and not isinstance(value, bool)
