# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first answer to a direct reply queue of each node of the broker's cluster, over a connection of its own.

The name of a direct reply queue says which node it is on. RabbitMQ 3.10 ends the connection of whoever publishes to a
node that is not in its cluster, and a requester can make such a name up. So the first answer to a node goes over a
connection that nothing else depends on. When the broker takes the answer, the node is known, and further answers to it
go over the channel of all the others.

Everything here runs on the I/O thread.
"""

from __future__ import annotations

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

#: Seconds for connection, channel and confirm together.
PATIENCE = 20.0

#: Nodes that are remembered. A cluster has a few; requesters can make up any number.
MEMORY = 1000

#: Called with whether the broker has taken an answer; None when that could not be found out.
Probed = Callable[[Optional[bool]], None]


class ReplyProbe:
    """Finds out which nodes can be answered to, one after the other.

    :param loop: of the I/O thread.
    :param connect: makes a connection, as :class:`Connection` does.
    """

    def __init__(self, loop: Any, connect: Callable[..., Any] = Connection) -> None:
        self._loop = loop
        self._connect = connect
        #: Whether each node could be answered to.
        self._known: OrderedDict[str, bool] = OrderedDict()
        self._waiting: deque[tuple[Any, Reply, Probed]] = deque()
        self._current: Optional[_Attempt] = None

    def is_needed(self, reply: Reply) -> bool:
        """Return whether the node that the answer goes to is unknown or suspect."""
        node = reply_node(reply.routing_key)
        return node is not None and self._known.get(node) is not True

    def publish(self, parameters: Any, reply: Reply, probed: Probed) -> None:
        """Publish an answer to such a node.

        :param parameters: of the connection to make, pika's.
        :param probed: called once; with None also when another answer has shown meanwhile that the node is there.
        """
        self._waiting.append((parameters, reply, probed))
        self._next()

    def abandon(self) -> None:
        """Forget the answers that wait, since the broker has their requests back. Nobody is called any more."""
        self._waiting.clear()
        if self._current is not None:
            self._current.forget()
            self._current = None

    def _next(self) -> None:
        while self._waiting and self._current is None:
            parameters, reply, probed = self._waiting.popleft()
            known = self._known.get(reply_node(reply.routing_key) or "")
            if known is None:
                self._current = _Attempt(self._loop, reply, partial(self._ended, reply, probed))
                self._current.start(self._connect, parameters)
            else:
                probed(None if known else False)

    def _ended(self, reply: Reply, probed: Probed, taken: Optional[bool]) -> None:
        self._current = None
        if taken is not None:
            self._known[reply_node(reply.routing_key) or ""] = taken
            if len(self._known) > MEMORY:
                self._known.popitem(last=False)
        probed(taken)
        self._next()


class _Attempt:
    """One answer over one connection."""

    def __init__(self, loop: Any, reply: Reply, ended: Callable[[Optional[bool]], None]) -> None:
        self._loop = loop
        self._reply = reply
        self._ended: Optional[Callable[[Optional[bool]], None]] = ended
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
        """End it, and call nobody."""
        self._ended = lambda _taken: None
        self._end(None)

    def _on_open(self, connection: Any) -> None:
        if self._ended is None:
            connection.close()  # nobody waits any more
            return
        channel = connection.channel(
            on_open_callback=lambda channel: channel.confirm_delivery(
                self._on_confirmed, callback=lambda _frame: self._publish(channel)
            )
        )
        channel.add_on_close_callback(self._on_channel_close)

    def _publish(self, channel: Any) -> None:
        reply = self._reply
        channel.basic_publish(reply.exchange, reply.routing_key, reply.message.body, to_pika(reply.message))

    def _on_confirmed(self, frame: Any) -> None:
        self._end(True if type(frame.method).__name__ == "Ack" else None)

    def _on_channel_close(self, _channel: Any, error: BaseException) -> None:
        if isinstance(error, ChannelClosedByBroker):  # else the connection has ended, and says why
            self._end(None)

    def _on_close(self, _connection: Any, error: BaseException) -> None:
        ended = isinstance(error, ConnectionClosedByBroker) and error.reply_code >= ENDED_FOR_AN_ERROR
        if ended:
            LOG.warning("reply_to_made_up", queue=self._reply.routing_key, reason="the broker has no such node")
        self._end(False if ended else None)

    def _end(self, taken: Optional[bool]) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        self._loop.remove_timeout(self._timer)
        if self._connection is not None and self._connection.is_open:
            self._connection.close()
        ended(taken)
