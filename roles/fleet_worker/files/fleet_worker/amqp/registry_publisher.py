# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registry events, with which the worker announces the lanes that it serves.

No other part waits for these events or fails with them. They have a separate channel, which the broker may close. At
most ``WINDOW`` events are unconfirmed. Only the latest event of each lane waits, so the number of lanes limits the
backlog of a slow broker. The worker sends no events while the broker has an alarm.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Optional, Union

from pika.exceptions import ChannelClosedByBroker

from .. import __version__
from .._fleet.broker import BrokerSettings, channel_error
from .._fleet.lanes import Lane
from .._fleet.messages import Reply
from .._fleet.pika_messages import to_pika
from .._fleet.registry import AVAILABLE, DEGRADED, EXCHANGE, HEARTBEAT, UNAVAILABLE, Offering, Trouble
from ..domain.delivery import LaneSettings
from ..logs.defects import contained
from ..logs.log import Log
from .reconnecting import ReconnectingConnection

LOG = Log()

#: The most unconfirmed events. A round trip to the broker takes a millisecond, so 1,000 lanes take less than a second.
WINDOW = 16

#: Seconds until the worker opens another channel after the broker has closed one.
RETRY = 60.0

#: States of a lane: available, undecided (not published), or any other trouble.
NO_TROUBLE = None
UNDECIDED = Trouble("undecided", "")

#: The queue and the model of a lane. A reload may change all other settings of the lane, and the node stays the same.
_Key = tuple[str, str]


@dataclass(frozen=True)
class RegistrySettings:
    """The announced properties of the node.

    :ivar node: the name of the node.
    :ivar slots: the most requests that the node runs at the same time.
    :ivar interval: seconds between two events of a lane without a change; ``None`` to publish no events.
    :ivar instance: the name of the node in events of version 2; ``None`` to publish no such events.
    """

    node: str
    slots: int
    interval: Optional[float] = None
    instance: Optional[str] = None


class RegistryPublisher:
    """Publishes the registry events of one worker.

    :param link: the connection to the broker.
    """

    def __init__(
        self, loop: Any, link: ReconnectingConnection, settings: BrokerSettings, registry: RegistrySettings
    ) -> None:
        self._loop = loop
        self._link = link
        self._settings = settings
        self._node = registry.node
        self._slots = registry.slots
        self._interval = registry.interval
        self._instance = registry.instance
        self._channel: Any = None
        self._timer: Any = None
        self._ready: Callable[[], None] = lambda: None
        self._blocked = False
        self._leaving = False
        self._refusal = ""
        self._tag = 0
        self._unconfirmed: set[int] = set()
        #: Each lane in its last event over this connection, with the trouble.
        self._published: dict[_Key, tuple[LaneSettings, Optional[Trouble]]] = {}
        #: The same for events of version 2, which are published only after a change, and whether the lane left.
        self._published_version2: dict[_Key, tuple[Lane, Optional[Trouble], bool]] = {}
        #: The waiting events, oldest first.
        self._waiting: dict[_Key, tuple[LaneSettings, str]] = {}
        self.counters: Counter[str] = Counter()

    def open(self, ready: Callable[[], None]) -> None:
        """Open the channel of a new connection.

        :param ready: called when the channel can publish.
        """
        if self._interval is not None:
            self._ready = ready
            self._open()

    def connection_lost(self) -> None:
        """Forget a lost connection and its unconfirmed events."""
        self._forget()

    def block(self, blocked: bool) -> None:
        """Note whether the broker blocks messages."""
        self._blocked = blocked
        self._send()

    def update(self, lanes: Mapping[LaneSettings, Optional[Trouble]]) -> None:
        """Announce the lanes, with the trouble of each."""
        if self._channel is None or self._leaving:
            return
        kept = {_key(lane) for lane in lanes}
        for key in [key for key in self._published if key not in kept]:
            self._announce(self._published.pop(key)[0], UNAVAILABLE)
        for lane, trouble in lanes.items():
            if trouble != UNDECIDED and self._published.get(_key(lane)) != (lane, trouble):
                self._published[_key(lane)] = lane, trouble
                self._announce(lane, AVAILABLE if trouble is NO_TROUBLE else DEGRADED)
        self._send()

    def leave(self) -> None:
        """Announce that all lanes are unavailable, because the worker drains."""
        published, self._published = self._published, {}
        self._leaving = True
        self._waiting.update({key: (lane, UNAVAILABLE) for key, (lane, _trouble) in published.items()})
        self._send()

    def _open(self) -> None:
        def opened(channel: Any) -> None:
            channel.confirm_delivery(self._on_confirmed, callback=lambda _frame: usable(channel))

        def usable(channel: Any) -> None:
            self._channel = channel
            self._ready()
            # A random delay, so that nodes that reconnect at the same time do not publish in step.
            self._beat_later(random.uniform(0.5, 1.0))  # noqa: S311 - nothing to guess

        channel = self._link.channel(on_open_callback=opened)
        channel.add_on_close_callback(self._on_closed)

    def _beat_later(self, intervals: float = 1.0) -> None:
        if self._interval is not None:
            self._timer = self._loop.call_later(intervals * self._interval, self._beat)

    def _beat(self) -> None:
        for key, (lane, trouble) in self._published.items():
            if key in self._waiting:
                self.counters["skipped"] += 1  # the last event still waits
            else:
                self._waiting[key] = lane, HEARTBEAT if trouble is NO_TROUBLE else DEGRADED
        self._send()
        self._beat_later()

    def _announce(self, lane: LaneSettings, event: str) -> None:
        self.counters["skipped"] += self._waiting.pop(_key(lane), None) is not None
        self._waiting[_key(lane)] = lane, event

    def _send(self) -> None:
        while self._waiting and self._channel is not None and self._channel.is_open and not self._blocked:
            if len(self._unconfirmed) >= WINDOW and not self._leaving:  # a drain does not wait
                return
            lane, event = self._waiting.pop(next(iter(self._waiting)))
            counted = contained(partial(self._publish, lane, event), lambda _error: "skipped", lane=lane.queue)
            self.counters[counted] += 1

    def _publish(self, lane: LaneSettings, event: str) -> str:
        """Publish an event of a lane; return the name of its counter."""
        offering = Offering(lane.lane, self._node, self._slots, lane.consumer_priority or 0, __version__)
        _lane, trouble = self._published.get(_key(lane), (lane, NO_TROUBLE))
        for message in (offering.event(event, trouble), *self._version2(offering, event, trouble)):
            # Not mandatory, because a fleet without listeners has no bound queue.
            self._channel.basic_publish(
                message.exchange, message.routing_key, message.message.body, to_pika(message.message)
            )
            self._tag += 1
            self._unconfirmed.add(self._tag)
        return event

    def _version2(self, offering: Offering, event: str, trouble: Optional[Trouble]) -> list[Reply]:
        """Return the events of version 2 for an event; none without a change."""
        if self._instance is None:
            return []
        key, leaves = _key(offering), event == UNAVAILABLE
        news = (offering.lane, trouble, leaves)
        if self._published_version2.get(key) == news:
            return []
        self._published_version2[key] = news
        if leaves:
            del self._published_version2[key]
        self.counters["version2"] += 1
        return [offering.version2_event(self._instance, trouble, leaves=leaves)]

    def _on_confirmed(self, frame: Any) -> None:
        method = frame.method
        tags = {method.delivery_tag}
        if method.multiple:
            tags = {tag for tag in self._unconfirmed if tag <= method.delivery_tag}
        self._unconfirmed -= tags
        if type(method).__name__ == "Nack":
            self.counters["refused"] += len(tags)
        self._send()

    def _on_closed(self, _channel: Any, error: BaseException) -> None:
        if not self._link.is_connected or not isinstance(error, ChannelClosedByBroker):
            return
        self._forget()
        self.counters["refused"] += 1
        reason = channel_error(error.reply_code, error.reply_text, self._settings)
        if str(reason) != self._refusal:  # log a reason once, and not every minute
            self._refusal = str(reason)
            LOG.warning("registry_refused", exchange=EXCHANGE, error=self._refusal)
        self._timer = self._link.call_later(RETRY, self._open)

    def _forget(self) -> None:
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = None
        self._channel = None
        self._tag = 0
        for kept in (self._unconfirmed, self._published, self._published_version2, self._waiting):
            kept.clear()


def _key(offered: Union[LaneSettings, Offering]) -> _Key:
    return offered.lane.queue, offered.lane.model
