# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cable between a client and a broker that can be pulled: at any time, or at a stage of a request."""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import threading
from typing import Optional

#: A frame of AMQP 0-9-1 (section 4.2.3): type, channel, size, payload, and an octet at the end. Type 1 is a method,
#: whose payload begins with the numbers of its class and of itself.
_HEADER = struct.Struct(">BHI")
_METHOD_FRAME = 1
_METHOD = struct.Struct(">HH")


class Stage(enum.Enum):
    """How far a request has come when the cable is pulled: who sends which method, and whether that still arrives."""

    #: The broker has sent the request, and the worker has not got it (basic.deliver, basic.get-ok).
    DELIVERED = "delivered"
    #: The worker has sent the answer, and the broker does not get it (basic.publish).
    PUBLISHED = "answer published"
    #: The broker has the answer, and the worker does not hear of it (basic.ack of the broker).
    UNCONFIRMED = "answer unconfirmed"
    #: The worker has acknowledged the request, and the broker does not hear of it (basic.ack of the worker).
    ACKED = "request acknowledged"


#: Class and numbers of methods (AMQP 0-9-1, section 1.8).
_DELIVER, _GET_OK, _PUBLISH, _ACK = (60, 60), (60, 71), (60, 40), (60, 80)

#: Whether the broker is the sender, and the methods.
_METHODS = {
    Stage.DELIVERED: (True, {_DELIVER, _GET_OK}),
    Stage.PUBLISHED: (False, {_PUBLISH}),
    Stage.UNCONFIRMED: (True, {_ACK}),
    Stage.ACKED: (False, {_ACK}),
}

#: How the names of reply queues begin: other things are published, too, and over other channels.
_REPLY = b"llm.fleet.reply."


class Wire:
    """A TCP proxy whose wires can be cut without a sign to either side.

    :ivar port: on loopback, where the client has its end.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.whole = threading.Event()
        self.whole.set()
        #: Set when the cable was pulled at the stage that was waited for.
        self.pulled = threading.Event()
        self._stage: Optional[Stage] = None
        self._answers_go_by = 0
        self._out = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Lose every byte from now on, on the connections that there are; new ones are whole."""
        self.whole.clear()
        self.whole = threading.Event()
        self.whole.set()

    def pull(self) -> None:
        """Lose every byte from now on; new connections come to nothing, either."""
        self._out = True
        self.cut()

    def pull_at(self, stage: Stage) -> None:
        """Pull the cable when the next request comes to this stage."""
        with self._lock:
            self.pulled.clear()
            self._stage = stage

    def plug(self) -> None:
        """Put the cable back. What was lost stays lost: connections of before are dead without a sign."""
        with self._lock:
            self._stage = None
        self._out = False

    def close(self) -> None:
        with contextlib.suppress(OSError):  # closed before
            self._listening.shutdown(socket.SHUT_RDWR)  # closing it alone would let a thread go on accepting
        self._listening.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _address = self._listening.accept()
            except OSError:
                return
            self._sockets.append(near)
            if self._out:
                continue  # nobody answers
            try:
                far = socket.create_connection(self._target, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._sockets.append(far)
            for from_broker, source, sink in ((False, near, far), (True, far, near)):
                carrier = _Carrier(self, from_broker, source, sink, self.whole)
                threading.Thread(target=carrier.carry, daemon=True).start()

    def reached(self, from_broker: bool, channel: int, payload: bytes) -> bool:
        """Pull the cable if a method is the one that is waited for; return whether it was."""
        method = _METHOD.unpack_from(payload)
        if not from_broker and method == _PUBLISH:
            if _REPLY not in payload:
                return False
            self._answers_go_by = channel
        with self._lock:
            if self._stage is None or (from_broker, method in _METHODS[self._stage][1]) != (
                _METHODS[self._stage][0],
                True,
            ):
                return False
            if self._stage is Stage.UNCONFIRMED and channel != self._answers_go_by:
                return False
            self._stage = None
            self.pull()
            self.pulled.set()
            return True


class _Carrier:
    """Carries bytes in one direction, frame by frame as soon as a stage is waited for."""

    def __init__(
        self, wire: Wire, from_broker: bool, source: socket.socket, sink: socket.socket, whole: threading.Event
    ) -> None:
        self._wire, self._from_broker, self._whole = wire, from_broker, whole
        self._source, self._sink = source, sink
        self._left = b""
        #: A client begins with a header of eight octets, which is not a frame.
        self._skip = 0 if from_broker else 8

    def carry(self) -> None:
        try:
            while data := self._source.recv(65536):
                if not self._whole.is_set():
                    continue
                passed = self._before_the_stage(data)
                if passed:
                    self._sink.sendall(passed)
            if self._whole.is_set():
                self._sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _before_the_stage(self, data: bytes) -> bytes:
        """Return what is to be sent on: everything up to the frame at which the cable is pulled."""
        known = len(self._left)  # so much was sent on already
        buffer = self._left + data
        position = min(self._skip, len(buffer))
        self._skip -= position
        while len(buffer) - position >= _HEADER.size:
            kind, channel, size = _HEADER.unpack_from(buffer, position)
            end = position + _HEADER.size + size + 1
            if end > len(buffer):
                break
            payload = buffer[position + _HEADER.size : end - 1]
            if kind == _METHOD_FRAME and self._wire.reached(self._from_broker, channel, payload):
                return buffer[known:position]
            position = end
        self._left = buffer[position:]
        return buffer[known:]
