# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe of direct reply queues: the first answer to each node of a broker's cluster uses a separate connection.

The name of a direct reply queue contains its node. RabbitMQ 3.10 closes the connection of a client that publishes to a
node that does not run in the cluster. A requester can invent such a name, and a node of the cluster can stop. So the
first answer to a node uses a connection that nothing else depends on. After the broker has taken the answer, the node
is known, and later answers use the normal channel.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from functools import partial
from typing import Any, Callable, Optional

from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker

from .._fleet.broker import ENDED_FOR_AN_ERROR
from .._fleet.direct_reply import reply_node
from .._fleet.messages import Reply
from .._fleet.pika_messages import to_pika
from ..logs.log import Log
from .connection import Connection

LOG = Log()

#: The most seconds for connection, channel and confirm together.
PATIENCE = 20.0

#: The seconds for which answers to a refused node are dropped. A stopped node has the same name after its start, and an
#: invented node costs one connection in this time.
REFUSED_FOR = 60.0

#: The most remembered nodes. A cluster has a few, but requesters can invent any number.
MEMORY = 1000

#: Called with whether the broker has taken an answer, ``None`` if the probe could not find out; and with whether the
#: probe has published the answer, so that the broker may have taken it.
Probed = Callable[[Optional[bool], bool], None]


class ReplyProbe:
    """Finds out which nodes accept answers, one after the other.

    :param loop: the loop of the I/O thread.
    :param connect: creates a connection, like :class:`Connection`.
    :param clock: seconds of the monotonic clock.
    """

    def __init__(
        self, loop: Any, connect: Callable[..., Any] = Connection, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._loop = loop
        self._connect = connect
        self._clock = clock
        #: Whether each probed node accepts answers, and the time of its probe.
        self._known: OrderedDict[str, tuple[bool, float]] = OrderedDict()
        self._waiting: deque[tuple[Any, Reply, Probed]] = deque()
        self._current: Optional[_Attempt] = None

    def is_needed(self, reply: Reply) -> bool:
        """Return whether the node of an answer is unknown or refused."""
        node = reply_node(reply.routing_key)
        return node is not None and self._finding(node) is not True

    def doubt(self, reply: Reply) -> None:
        """Forget the node of an answer, because the broker has closed a connection, perhaps for this answer."""
        self._known.pop(reply_node(reply.routing_key) or "", None)

    def publish(self, parameters: Any, reply: Reply, probed: Probed) -> None:
        """Publish an answer to such a node.

        :param parameters: pika's parameters of the connection.
        :param probed: called once; with ``None`` also if another answer has shown meanwhile that the node exists.
        """
        self._waiting.append((parameters, reply, probed))
        self._next()

    def abandon(self) -> None:
        """Forget the waiting answers without a callback, because the broker has requeued their requests."""
        self._waiting.clear()
        if self._current is not None:
            self._current.forget()
            self._current = None

    def _next(self) -> None:
        while self._waiting and self._current is None:
            parameters, reply, probed = self._waiting.popleft()
            known = self._finding(reply_node(reply.routing_key) or "")
            if known is None:
                self._current = _Attempt(self._loop, reply, partial(self._ended, reply, probed))
                self._current.start(self._connect, parameters)
            else:
                probed(None if known else False, False)

    def _finding(self, node: str) -> Optional[bool]:
        """Return whether a node accepts answers; ``None`` for an unknown node."""
        taken, since = self._known.get(node, (None, 0.0))
        return None if taken is False and self._clock() - since >= REFUSED_FOR else taken

    def _ended(self, reply: Reply, probed: Probed, taken: Optional[bool], published: bool) -> None:
        self._current = None
        if taken is not None:
            node = reply_node(reply.routing_key) or ""
            self._known[node] = taken, self._clock()
            if len(self._known) > MEMORY:
                self._known.popitem(last=False)
            # First, because the callback may publish the next piece of an answer whose earlier pieces wait here.
            self._hand_over(node, taken)
        probed(taken, published)
        self._next()

    def _hand_over(self, node: str, known: bool) -> None:
        """End the wait of all answers to a node that is known now."""
        waiting, self._waiting = self._waiting, deque()
        ready: list[Probed] = []
        for parameters, reply, probed in waiting:
            if reply_node(reply.routing_key) == node:
                ready.append(probed)
            else:
                self._waiting.append((parameters, reply, probed))
        for probed in ready:
            probed(None if known else False, False)


class _Attempt:
    """One answer over one connection.

    :param ended: called as :data:`Probed`.
    """

    def __init__(self, loop: Any, reply: Reply, ended: Probed) -> None:
        self._loop = loop
        self._reply = reply
        self._ended: Optional[Probed] = ended
        self._published = False
        self._connection: Any = None
        self._timer: Any = None

    def start(self, connect: Callable[..., Any], parameters: Any) -> None:
        self._timer = self._loop.call_later(PATIENCE, partial(self._end, None))
        self._connection = connect(
            parameters,
            self._loop,
            on_open_callback=self._on_open,
            on_open_error_callback=lambda _connection, _error: self._end(None),
            on_close_callback=self._on_close,
        )

    def forget(self) -> None:
        """End the attempt without a callback."""
        self._ended = lambda _taken, _published: None
        self._end(None)

    def _on_open(self, connection: Any) -> None:
        if self._ended is None:
            connection.close()  # the attempt has been forgotten
            return
        channel = connection.channel(
            on_open_callback=lambda channel: channel.confirm_delivery(
                self._on_confirmed, callback=lambda _frame: self._publish(channel)
            )
        )
        channel.add_on_close_callback(self._on_channel_close)

    def _publish(self, channel: Any) -> None:
        reply = self._reply
        self._published = True
        channel.basic_publish(reply.exchange, reply.routing_key, reply.message.body, to_pika(reply.message))

    def _on_confirmed(self, frame: Any) -> None:
        self._end(True if type(frame.method).__name__ == "Ack" else None)

    def _on_channel_close(self, _channel: Any, error: BaseException) -> None:
        if isinstance(error, ChannelClosedByBroker):  # otherwise the callback of the connection reports the reason
            self._end(None)

    def _on_close(self, _connection: Any, error: BaseException) -> None:
        ended = isinstance(error, ConnectionClosedByBroker) and error.reply_code >= ENDED_FOR_AN_ERROR
        if ended:
            LOG.warning("reply_to_made_up", queue=self._reply.routing_key, reason="no such node of the broker runs")
        self._end(False if ended else None)

    def _end(self, taken: Optional[bool]) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        self._loop.remove_timeout(self._timer)
        if self._connection is not None and self._connection.is_open:
            self._connection.close()
        ended(taken, self._published)
