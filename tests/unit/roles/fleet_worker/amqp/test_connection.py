# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to the broker: what is said in a turn goes out as one, all of it, in order, also to a slow reader."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pika
import pytest
from fleet_worker.amqp.connection import Connection, FrameTooLargeError
from fleet_worker.runtime.event_loop import EventLoop

from ..turning import turn_until

GREETING = b"AMQP\x00\x00\x09\x01"


class Line:
    """A connection that has come about as far as TCP, and its other end."""

    def __init__(self, listener: socket.socket) -> None:
        self.loop = EventLoop()
        self.lost: list[BaseException] = []
        parameters = pika.ConnectionParameters(
            *listener.getsockname(), connection_attempts=1, stack_timeout=30, socket_timeout=30
        )
        self.connection = Connection(
            parameters, self.loop, on_open_error_callback=lambda _connection, error: self.lost.append(error)
        )
        self.connect(listener)

    def connect(self, listener: socket.socket) -> None:
        listener.settimeout(0.01)
        accepted: list[socket.socket] = []

        def look() -> bool:
            with contextlib.suppress(TimeoutError, socket.timeout):
                accepted.append(listener.accept()[0])
            return bool(accepted)

        turn_until(self.loop, look)
        self.other = accepted[0]
        self.other.setblocking(False)
        assert self.receive(len(GREETING)) == GREETING

    def receive(self, number: int) -> bytes:
        """Turn until so many bytes have arrived."""
        seen = bytearray()

        def more() -> bool:
            with contextlib.suppress(BlockingIOError):
                while len(seen) < number:
                    piece = self.other.recv(1_000_000)
                    assert piece, "the connection has ended"
                    seen.extend(piece)
            return len(seen) >= number

        turn_until(self.loop, more)
        return bytes(seen)

    def say(self, *frames: bytes) -> None:
        self.connection._output_marshaled_frames(frames)


@pytest.fixture
def line() -> Iterator[Line]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        line = Line(listener)
        yield line
        line.other.close()
        line.loop.close()


def test_a_turn_is_one_packet(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    sock = line.connection._transport._sock

    class Watched:
        def send(self, data: bytes) -> int:
            sent.append(data)
            return int(sock.send(data))

        def __getattr__(self, name: str) -> Any:
            return getattr(sock, name)

    monkeypatch.setattr(line.connection._transport, "_sock", Watched())
    line.loop.add_callback_threadsafe(lambda: line.say(b"method", b"header"))
    line.loop.add_callback_threadsafe(lambda: line.say(b"body"))
    line.loop.turn()
    assert sent == [b"methodheaderbody"], "and in the same turn"
    assert line.receive(16) == b"methodheaderbody"


def test_a_frame_that_the_broker_does_not_take_is_not_sent(line: Line) -> None:
    """The broker would end the connection."""
    with pytest.raises(FrameTooLargeError):
        line.say(b"method", b"h" * (line.connection.params.frame_max + 1))
    line.say(b"next")
    assert line.receive(4) == b"next", "nothing was sent of the message before"


def test_a_header_that_pika_cannot_read_does_not_end_the_connection(line: Line) -> None:
    """A timestamp in milliseconds, for which pika raises."""
    seen: list[Any] = []
    line.connection._process_frame = seen.append
    table = b"\x01xT" + struct.pack(">Q", 1764312000000) + b"\x01yt\x01"
    payload = struct.pack(">HHQHI", 60, 0, 7, 1 << 13, len(table)) + table
    frame = struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce"
    line.other.sendall(frame[:20])
    line.other.sendall(frame[20:] + b"\x08\0\0\0\0\0\0\xce")
    turn_until(line.loop, lambda: len(seen) == 2)
    header, heartbeat = seen
    assert (header.channel_number, header.body_size, header.properties.headers["y"]) == (1, 7, True)
    assert heartbeat.NAME == "Heartbeat"
    assert not line.lost


def test_bytes_that_wait_for_the_network_follow_in_order(line: Line) -> None:
    pieces = [bytes([number]) * 100_000 for number in range(80)]
    for number, piece in enumerate(pieces):
        line.loop.add_callback_threadsafe(lambda piece=piece: line.say(piece))  # type: ignore[misc]
        if number % 3 == 0:
            line.loop.turn()
    assert line.connection._transport.get_write_buffer_size() > 0, "the other side has not read anything yet"
    assert line.receive(8_000_000) == b"".join(pieces)
    line.say(b"the end")
    assert line.receive(7) == b"the end"


def test_a_connection_that_breaks_in_the_middle_of_a_turn(line: Line) -> None:
    line.other.close()
    time.sleep(0.05)
    line.say(b"nobody")
    line.say(b"there")
    turn_until(line.loop, lambda: line.lost)
    line.connection._outgoing.append(b"too late")
    line.connection._send()
    assert not line.connection._outgoing
