# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon's own connection, and with it pika's, over a model of the broker instead of a socket.

Everything of pika is real: channels, what waits for what on them, confirms, the order of callbacks, heartbeats. Only
bytes are left out: a frame goes to the model, and comes from it, as the object that pika would make bytes of.
"""

from __future__ import annotations

from typing import Any, Optional

import pika.exceptions
from fleet_worker.amqp.connection import Connection
from fleet_worker.amqp.declaration import PATIENCE as FIRST_PATIENCE
from fleet_worker.amqp.getters import PATIENCE
from model_broker import ModelBroker, Published, ServerConnection
from pika import frame, spec

#: What the model negotiates, as RabbitMQ does by default.
CHANNEL_MAX, FRAME_MAX, HEARTBEAT = 2047, 131072, 60

#: Seconds after which a worker has another channel for what it still wants, by the question that is not answered.
_PATIENCE = {spec.Basic.Get: PATIENCE, spec.Queue.Declare: FIRST_PATIENCE / 2}


class Network:
    """Leads to a broker.

    :ivar cut: whether new connections come to nothing, too.
    """

    def __init__(self, broker: ModelBroker) -> None:
        self.broker = broker
        self.cut = False

    @property
    def reachable(self) -> bool:
        return self.broker.up and not self.cut


class ModelConnection(Connection):
    """A connection to a model. Its loop is a :class:`virtual_clock.VirtualLoop`, which knows the network."""

    def __init__(self, parameters: Any, loop: Any, **callbacks: Any) -> None:
        self._process = loop.process
        self._network: Network = loop.network
        self._server: Optional[ServerConnection] = None
        #: By channel: until when the worker waits for the answer to its question; and the channels with a late answer.
        self._asked: dict[int, float] = {}
        super().__init__(parameters, loop, **callbacks)

    # Network interface of pika

    def _adapter_connect_stream(self) -> None:
        self._loop.call_later(0.001, self._connect)

    def _connect(self) -> None:
        if self.is_closed:
            return
        if not self._network.reachable:
            self._on_stream_terminated(pika.exceptions.AMQPConnectionError("connection refused"))
            return
        heartbeat = self.params.heartbeat
        self._server = ServerConnection(
            self._network.broker, self, HEARTBEAT if heartbeat is None or callable(heartbeat) else heartbeat
        )
        self._on_stream_connected()

    def _adapter_disconnect_stream(self) -> None:
        self._gone(tell=True)
        self._loop.call_later(0.0, self._terminated)

    def _terminated(self) -> None:
        if not self.is_closed:
            self._on_stream_terminated(None)

    def _gone(self, *, tell: bool) -> None:
        server, self._server = self._server, None
        if server is not None and tell:
            server.client_gone()

    # Output

    def _send_frame(self, frame_value: Any) -> None:
        if self.is_closed:
            raise pika.exceptions.ConnectionWrongStateError("closed")
        self.bytes_sent += 8
        if isinstance(frame_value, frame.ProtocolHeader):
            self._hear(
                0, spec.Connection.Start(server_properties={"capabilities": _CAPABILITIES}, mechanisms="PLAIN EXTERNAL")
            )
        elif isinstance(frame_value, frame.Heartbeat):
            self._say(0, None, None)
        elif frame_value.channel_number == 0 and self._answer_handshake(frame_value.method):
            pass
        else:
            self._say(frame_value.channel_number, frame_value.method, None)

    def _send_message(self, channel_number: int, method_frame: Any, content: Any) -> None:
        self.bytes_sent += 8
        self._say(channel_number, method_frame, content)

    def given_up(self) -> set[int]:
        """Return the channels with an unanswered question whose time is over: the worker uses other ones since."""
        return {channel for channel, until in self._asked.items() if self._process.clock.now >= until}

    def _say(self, channel: int, method: Any, content: Any) -> None:
        patience = _PATIENCE.get(type(method))
        if patience is not None:
            self._asked[channel] = self._process.clock.now + patience
        if self._server is not None:
            self._server.from_client(channel, method, content)

    def _answer_handshake(self, method: Any) -> bool:
        if isinstance(method, spec.Connection.StartOk):
            self._hear(0, spec.Connection.Tune(CHANNEL_MAX, FRAME_MAX, HEARTBEAT))
        elif isinstance(method, spec.Connection.Open):
            self._hear(0, spec.Connection.OpenOk())
            if self._network.broker.alarm:
                self._hear(0, spec.Connection.Blocked("low on memory"))
        else:
            return isinstance(method, spec.Connection.TuneOk)
        return True

    def _hear(self, channel: int, method: Any) -> None:
        """Hear something of the broker that needs nobody behind the connection."""
        if self._server is not None:
            self._server.send(channel, method)

    # Input

    def take(self, channel: int, method: Any, content: Optional[Published]) -> None:
        """Take a frame from the broker; None for the method is a heartbeat."""
        server = self._server
        self._process.run(lambda: self._take(server, channel, method, content))

    def _take(self, server: Any, channel: int, method: Any, content: Optional[Published]) -> None:
        if server is None or self._server is not server:
            return  # of a connection that is gone since
        self.bytes_received += 8
        if method is None:
            self._process_frame(frame.Heartbeat())
            return
        self._asked.pop(channel, None)
        self._process_frame(frame.Method(channel, method))
        if content is not None and self._server is server:
            self._process_frame(frame.Header(channel, len(content.body), content.properties))
            if content.body:
                self._process_frame(frame.Body(channel, content.body))

    def lost(self) -> None:
        """The other end has closed the stream."""
        self._process.run(self._lost)

    def _lost(self) -> None:
        self._gone(tell=False)
        if not self.is_closed:
            self._on_stream_terminated(pika.exceptions.StreamLostError("Transport indicated EOF"))


_CAPABILITIES = {
    "publisher_confirms": True,
    "exchange_exchange_bindings": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
}
