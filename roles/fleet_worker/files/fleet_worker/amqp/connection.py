# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pika's connection, with three corrections: cancelled consumers, refused frames, and few packets.

After a worker cancels a consumer, deliveries arrive until the broker confirms the cancellation. pika (1.4.4,
channel.py) rejects them with a requeue, and each requeue costs a request one of its few deliveries, three on a shared
lane. This connection delivers them like all others.

Malformed properties of a requester's message never end the connection (``TolerantFrames``). The connection does not
send a frame that is too large, because the broker would close the connection.

All frames of one turn of the loop are sent together at the end of the turn. pika sends each of a message's three frames
alone. Each frame costs pika a system call, a packet, two changes of the watched events and another turn of the loop,
and wakes the broker.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pika
import pika.channel

from .._fleet.pika_messages import TolerantFrames
from ..runtime.event_loop import EventLoop


class FrameTooLargeError(Exception):
    """A frame has more bytes than the negotiated limit."""


class _Channel(pika.channel.Channel):  # type: ignore[misc]
    def _on_deliver(self, method_frame: Any, header_frame: Any, body: bytes) -> None:
        on_message = self._consumers.get(method_frame.method.consumer_tag)
        if on_message is None:
            super()._on_deliver(method_frame, header_frame, body)
        else:
            on_message(self, method_frame.method, header_frame.properties, body)


class Connection(TolerantFrames, pika.SelectConnection):  # type: ignore[misc]
    """A connection whose channels deliver all messages.

    :param loop: the loop of the connection.
    :param callbacks: the callbacks of pika's connection.
    """

    def __init__(self, parameters: pika.ConnectionParameters, loop: EventLoop, **callbacks: Any) -> None:
        self._loop = loop
        self._outgoing: list[bytes] = []
        super().__init__(parameters, custom_ioloop=loop, **callbacks)

    def _create_channel(self, channel_number: int, on_open_callback: Any) -> pika.channel.Channel:
        return _Channel(self, channel_number, on_open_callback)

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        """Send all frames, or none.

        :raises FrameTooLargeError: if a frame exceeds the limit, for which the broker would close the connection.
        """
        for frame in marshaled_frames:
            if len(frame) > self.params.frame_max:
                raise FrameTooLargeError(
                    f"A frame has {len(frame)} bytes, and the broker takes {self.params.frame_max}"
                )
        super()._output_marshaled_frames(marshaled_frames)

    def _adapter_emit_data(self, data: bytes) -> None:
        if not self._outgoing:
            self._loop.at_end_of_turn(self._send)
        self._outgoing.append(data)

    def _send(self) -> None:
        """Send the frames of this turn: at once if the socket takes them, otherwise through pika's buffer."""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        transport = self._transport
        if transport is None:
            return  # the connection was lost in this turn
        sock = transport._sock
        # TLS needs the same bytes again after it was not ready, which pika's transport handles.
        if not transport.get_write_buffer_size() and not isinstance(sock, ssl.SSLSocket):
            with suppress(OSError):  # the socket is full or broken, and pika waits or ends the connection
                data = data[sock.send(data) :]
        if data:
            transport.write(data)
