# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher with its own AMQP code, which sends any bytes; the broker confirms or refuses each message."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Sequence
from typing import Any, Optional

from .amqp_frames import METHOD, WireMessage, long_string, method, publish, short_string, split, table

#: Seconds for the broker to answer anything.
PATIENCE = 60.0

_CHANNEL = 1
_START, _TUNE, _OPEN_OK, _CLOSE = (10, 10), (10, 30), (10, 41), (10, 50)
_CHANNEL_OPEN_OK, _CHANNEL_CLOSE = (20, 11), (20, 40)
_SELECT_OK = (85, 11)
_RETURN, _ACK, _NACK = (60, 50), (60, 80), (60, 120)


class RefusedByBrokerError(Exception):
    """The broker has closed the connection or the channel for a message."""


class RawPublisher:
    """Publishes messages; it connects by itself, again when the broker has closed the connection."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        self._socket: Optional[socket.socket] = None
        self._received = b""
        self._frames: list[tuple[int, int, bytes]] = []
        self._frame_max = 131072
        self._published = 0

    def publish(self, messages: Sequence[WireMessage]) -> None:
        """Publish messages, and wait until the broker has confirmed all of them.

        :raises RefusedByBrokerError: when it refuses one of them, or has no queue for it.
        """
        if self._socket is None:
            self._connect()
        first = self._published + 1
        self._published += len(messages)
        open_tags = set(range(first, self._published + 1))
        try:
            self._write(b"".join(publish(_CHANNEL, message, self._frame_max) for message in messages))
            refused = ""
            while open_tags:
                name, arguments = self._next_method()
                if name == _RETURN:
                    refused = f"returned: {arguments[:200]!r}"
                elif name in (_ACK, _NACK):
                    tag, flags = struct.unpack(">QB", arguments)
                    open_tags -= {one for one in open_tags if one == tag or (flags & 1 and one <= tag)}
                    if name == _NACK:
                        refused = "the queue is full"
            if refused:
                raise RefusedByBrokerError(refused)
        except (OSError, EOFError) as error:
            self.close()
            raise RefusedByBrokerError(f"the connection broke: {error}") from error

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
        self._socket, self._received, self._frames, self._published = None, b"", [], 0

    def _connect(self) -> None:
        self._socket = socket.create_connection((self._broker.host, self._broker.port), PATIENCE)
        self._write(b"AMQP\x00\x00\x09\x01")
        self._wait_for(_START)
        login = b"\0" + self._broker.username.encode() + b"\0" + self._broker.password.encode()
        start_ok = table([]) + short_string(b"PLAIN") + long_string(login) + short_string(b"en_US")
        self._write(method(0, 10, 11, start_ok))
        channels, self._frame_max, _heartbeat = struct.unpack(">HIH", self._wait_for(_TUNE))
        self._write(method(0, 10, 31, struct.pack(">HIH", channels, self._frame_max, 0)))
        self._write(method(0, 10, 40, short_string(b"/") + short_string(b"") + b"\0"))
        self._wait_for(_OPEN_OK)
        self._write(method(_CHANNEL, 20, 10, short_string(b"")))
        self._wait_for(_CHANNEL_OPEN_OK)
        self._write(method(_CHANNEL, 85, 10, b"\0"))
        self._wait_for(_SELECT_OK)

    def _wait_for(self, wanted: tuple[int, int]) -> bytes:
        while True:
            name, arguments = self._next_method()
            if name == wanted:
                return arguments

    def _next_method(self) -> tuple[tuple[int, int], bytes]:
        while True:
            while not self._frames:
                self._read()
            kind, _channel, payload = self._frames.pop(0)
            if kind != METHOD:
                continue  # a heartbeat, or the content of a message that was returned
            name: tuple[int, int] = struct.unpack_from(">HH", payload)
            if name in (_CLOSE, _CHANNEL_CLOSE):
                self.close()
                length = payload[6]
                raise RefusedByBrokerError(payload[7 : 7 + length].decode(errors="backslashreplace"))
            return name, payload[4:]

    def _read(self) -> None:
        assert self._socket is not None
        data = self._socket.recv(65536)
        if not data:
            raise EOFError("the broker has hung up")
        self._frames, self._received = split(self._received + data)

    def _write(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.sendall(data)
