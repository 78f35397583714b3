# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what goes over the wire of a host of the lab, and say what of it is in clear.

wire_capture.py record CONTAINER FILE         until SIGTERM; writes FILE.pid when it records
wire_capture.py stop FILE                     ends a recording
wire_capture.py judge FILE NEEDLES PORT...    fails if a text of NEEDLES (secret_search.py) was seen, or if a connection
                                              to one of the ports did not begin with TLS, or if there was none
wire_capture.py expect FILE NEEDLES           fails unless each text was seen: what `judge` would have found

A recording has every frame of the host's interface eth0, from a raw socket in its network namespace. Parts of a text
that came in two segments are found, since the segments of a connection are put together first.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import secret_search
import services

_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_RCVBUFFORCE = 33
#: Bytes that wait for this process; a model comes by as fast as two cores can encrypt.
_BUFFER = 512 * 1024 * 1024
#: Bytes; frames of a virtual interface are as large as the kernel's largest segment.
_FRAME = 128 * 1024
#: Seconds for a recording to begin or to end.
_PATIENCE = 30.0

_SYN, _ACK = 0x02, 0x10

Direction = tuple[bytes, int, bytes, int]


@dataclass
class Stream:
    """What one side of a connection said."""

    began: Optional[int] = None
    segments: dict[int, bytes] = field(default_factory=dict)

    def content(self) -> bytes:
        """Return the bytes in their order; a gap is left out, so that the rest is still searched."""
        found, expected = bytearray(), 0
        for number in sorted(self.segments):
            piece = self.segments[number]
            found += piece[max(0, expected - number) :]
            expected = max(expected, number + len(piece))
        return bytes(found)


@dataclass
class Recording:
    """All that was recorded."""

    frames: int = 0
    dropped: int = 0
    streams: dict[Direction, Stream] = field(default_factory=dict)
    rest: bytearray = field(default_factory=bytearray)

    def connections(self, port: int) -> list[tuple[bytes, bytes]]:
        """Return what client and server said in each connection to a port that began while this was recorded."""
        return [
            (stream.content(), self.streams.get((target, target_port, source, source_port), Stream()).content())
            for (source, source_port, target, target_port), stream in self.streams.items()
            if target_port == port and stream.began is not None
        ]

    def searched(self) -> bytes:
        """Return everything that was said. The streams are apart from each other, so that no text is made of two."""
        return b"\0\0\0\0".join([stream.content() for stream in self.streams.values()] + [bytes(self.rest)])


def record(container: str, path: Path) -> None:
    """Record until SIGTERM. Enters the network namespace of the container first."""
    asked = [*services.podman(), "inspect", "--format", "{{.State.Pid}}", container]
    pid = subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    with open(f"/proc/{pid}/ns/net") as namespace:
        # Python 3.12 has os.setns.
        if _setns(namespace.fileno()) != 0:
            raise OSError(f"the network namespace of {container} cannot be entered")
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    frames.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    frames.bind(("eth0", 0))
    frames.settimeout(0.2)
    over = []
    signal.signal(signal.SIGTERM, lambda _number, _frame: over.append(True))
    with path.open("wb") as file:
        Path(f"{path}.pid").write_text(str(os.getpid()))
        while not over:
            try:
                frame = frames.recv(_FRAME)
            except TimeoutError:
                continue
            file.write(struct.pack("!I", len(frame)) + frame)
        _packets, dropped = struct.unpack("II", frames.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        file.write(struct.pack("!II", 0, dropped))
    Path(f"{path}.pid").unlink()


def _setns(descriptor: int) -> int:
    import ctypes

    return int(ctypes.CDLL(None, use_errno=True).setns(descriptor, 0))


def stop(path: Path) -> None:
    """End a recording, and wait for its end."""
    process = Path(f"{path}.pid")
    os.kill(int(process.read_text()), signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE
    while process.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the recording {path} does not end")
        time.sleep(0.1)


def frames_of(path: Path, recording: Recording) -> Iterator[bytes]:
    with path.open("rb") as file:
        while header := file.read(4):
            (size,) = struct.unpack("!I", header)
            if size == 0:
                (recording.dropped,) = struct.unpack("!I", file.read(4))
                return
            yield file.read(size)
    raise ValueError(f"{path} has no end: the recorder was killed")


def read(path: Path) -> Recording:
    """Read a recording."""
    recording = Recording()
    for frame in frames_of(path, recording):
        recording.frames += 1
        take(recording, frame)
    return recording


def take(recording: Recording, frame: bytes) -> None:
    """Add an Ethernet frame. Without TCP over IPv4 in it, the whole frame is kept."""
    kind, version = frame[12:14], frame[14] >> 4 if len(frame) > 14 else 0
    if kind != b"\x08\x00" or version != 4 or frame[23] != socket.IPPROTO_TCP:
        recording.rest += frame
        return
    packet = frame[14 : 14 + struct.unpack("!H", frame[16:18])[0]] or frame[14:]
    segment = packet[(packet[0] & 15) * 4 :]
    source_port, target_port, number = struct.unpack("!HHI", segment[:8])
    stream = recording.streams.setdefault((packet[12:16], source_port, packet[16:20], target_port), Stream())
    if segment[13] & _SYN:
        stream.began = number
        stream.segments.clear()  # the same ports again
    if payload := segment[(segment[12] >> 4) * 4 :]:
        # Numbers are counted from the first, so that they go round at another place than 0.
        relative = (number - (stream.began if stream.began is not None else number)) % 2**32
        key = relative if stream.began is not None else number
        if len(payload) > len(stream.segments.get(key, b"")):
            stream.segments[key] = payload


def is_tls(client: bytes, server: bytes) -> bool:
    """Whether a connection began with a client's hello and the server's hello or alert, as records of TLS."""
    return client[:2] == b"\x16\x03" and (server[:2] in (b"\x16\x03", b"\x15\x03") or not server)


def judge(path: Path, needles: dict[str, str], ports: list[int]) -> int:
    recording = read(path)
    print(f"{recording.frames} frames, {recording.dropped} not recorded, {len(recording.searched())} bytes of content")
    wrong = recording.dropped
    for port in ports:
        connections = recording.connections(port)
        plain = [client[:40] for client, server in connections if client and not is_tls(client, server)]
        print(f"port {port}: {len(connections)} connections, {len(plain)} of them in clear: {plain}")
        wrong += len(plain) + (not connections)
    found = secret_search.found_in(recording.searched(), needles)
    print(f"{len(found)} of {len(needles)} texts seen in clear: {', '.join(sorted(found)) or 'none'}")
    return 1 if found or wrong else 0


def expect(path: Path, needles: dict[str, str]) -> int:
    missing = set(needles) - secret_search.found_in(read(path).searched(), needles)
    print(
        f"{len(needles) - len(missing)} of {len(needles)} texts seen in clear, not seen: {', '.join(sorted(missing))}"
    )
    return 1 if missing else 0


def main() -> int:
    verb, *rest = sys.argv[1:]
    if verb == "record":
        record(rest[0], Path(rest[1]))
        return 0
    if verb == "stop":
        stop(Path(rest[0]))
        return 0
    needles = secret_search.load(Path(rest[1]))
    if verb == "expect":
        return expect(Path(rest[0]), needles)
    return judge(Path(rest[0]), needles, [int(port) for port in rest[2:]])


if __name__ == "__main__":
    sys.exit(main())
