# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pika's connection, with some things put right, and one made cheaper.

What is on its way when a consumer is cancelled arrives before the broker has confirmed the cancellation. pika (1.4.4,
channel.py) rejects it with requeue: the request loses one of the few deliveries that its queue allows, three on a
shared lane, because this worker has changed its mind. Here it is delivered like any other.

What a requester wrote into the properties of a message never ends the connection (``TolerantFrames``). A frame that
the broker does not take is not sent: the broker would end the connection for it.

What is sent goes out at the end of a turn of the loop, as one. pika sends each frame by itself, three for a message: a
system call and a packet each, for which the broker is woken each time, after two switches of what the loop watches and
another turn of it.
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
    """A frame has more bytes than broker and client have agreed on."""


class _Channel(pika.channel.Channel):  # type: ignore[misc]
    def _on_deliver(self, method_frame: Any, header_frame: Any, body: bytes) -> None:
        on_message = self._consumers.get(method_frame.method.consumer_tag)
        if on_message is None:
            super()._on_deliver(method_frame, header_frame, body)
        else:
            on_message(self, method_frame.method, header_frame.properties, body)


class Connection(TolerantFrames, pika.SelectConnection):  # type: ignore[misc]
    """A connection whose channels deliver everything that they get.

    :param loop: that it lives on.
    :param callbacks: as pika's connection takes them.
    """

    def __init__(self, parameters: pika.ConnectionParameters, loop: EventLoop, **callbacks: Any) -> None:
        self._loop = loop
        self._outgoing: list[bytes] = []
        super().__init__(parameters, custom_ioloop=loop, **callbacks)

    def _create_channel(self, channel_number: int, on_open_callback: Any) -> pika.channel.Channel:
        return _Channel(self, channel_number, on_open_callback)

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        """Send frames, all of them or none.

        :raises FrameTooLargeError: when the broker would end the connection for one of them.
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
        """Send what has been said in this turn: at once if the network takes it, and else as pika does."""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        transport = self._transport
        if transport is None:
            return  # lost in this very turn
        sock = transport._sock
        # TLS has to be given the same bytes again after it was not ready: pika's transport knows how.
        if not transport.get_write_buffer_size() and not isinstance(sock, ssl.SSLSocket):
            with suppress(OSError):  # no room now, or broken: it is pika that waits, or ends the connection
                data = data[sock.send(data) :]
        if data:
            transport.write(data)
