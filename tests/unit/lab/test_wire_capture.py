# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge of recordings finds what is in clear, in one frame or in two, and lets TLS alone."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import wire_capture

PROMPT = {"the prompt": "The lighthouse keeper asks"}
HELLO, ANSWER = b"\x16\x03\x01\x02\x00", b"\x16\x03\x03\x00\x7a"
CLIENT, SERVER = (b"\x0a\xd5\x04\x0b", 40000), (b"\x0a\xd5\x04\x0a", 5671)


def frame(
    source: tuple[bytes, int], target: tuple[bytes, int], number: int, payload: bytes, flags: int = 0x10
) -> bytes:
    segment = struct.pack("!HHIIBBHHH", source[1], target[1], number, 0, 5 << 4, flags, 0, 0, 0) + payload
    packet = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0) + source[0] + target[0] + segment
    return b"\0" * 12 + b"\x08\x00" + packet + b"\0" * 6  # Ethernet pads short frames


def conversation(*said: bytes, start: int = 2**32 - 10) -> list[bytes]:
    """A connection that begins with TLS, and then says what is given, each as a segment."""
    frames = [frame(CLIENT, SERVER, start, b"", 0x02), frame(SERVER, CLIENT, 5, b"", 0x12)]
    number = start + 1
    for payload in (HELLO, *said):
        frames.append(frame(CLIENT, SERVER, number % 2**32, payload))
        number += len(payload)
    return [*frames, frame(SERVER, CLIENT, 6, ANSWER)]


def judged(tmp_path: Path, frames: list[bytes], dropped: int = 0) -> int:
    path = tmp_path / "recording"
    end = struct.pack("!II", 0, dropped)
    path.write_bytes(b"".join(struct.pack("!I", len(one)) + one for one in frames) + end)
    return wire_capture.judge(path, PROMPT, [5671])


def test_judge_of_tls_alone_passes(tmp_path: Path) -> None:
    assert judged(tmp_path, conversation(b"\x17\x03\x03 sealed")) == 0


def test_judge_of_a_text_in_two_segments_out_of_order_fails(tmp_path: Path) -> None:
    frames = conversation(b"The lighth", b"ouse keeper asks")
    frames[3], frames[4] = frames[4], frames[3]
    assert judged(tmp_path, frames) == 1


def test_judge_of_a_text_sent_twice_fails(tmp_path: Path) -> None:
    frames = conversation(b"The lighthouse ", b"keeper asks")
    assert judged(tmp_path, [*frames[:4], *frames[3:]]) == 1


def test_judge_of_a_text_in_another_protocol_fails(tmp_path: Path) -> None:
    other = b"\0" * 12 + b"\x86\xdd" + b"The lighthouse keeper asks"
    assert judged(tmp_path, [*conversation(b"sealed"), other]) == 1


def test_judge_of_a_connection_in_clear_fails(tmp_path: Path) -> None:
    plain = [frame(CLIENT, SERVER, 1, b"", 0x02), frame(CLIENT, SERVER, 2, b"AMQP\0\0\x09\x01")]
    assert judged(tmp_path, plain) == 1


@pytest.mark.parametrize("frames, dropped", [([], 0), (conversation(b"sealed"), 1)])
def test_judge_of_a_recording_that_lacks_something_fails(tmp_path: Path, frames: list[bytes], dropped: int) -> None:
    assert judged(tmp_path, frames, dropped) == 1


def test_expect_fails_unless_every_text_was_seen(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    judged(tmp_path, conversation(b"The lighthouse keeper asks"))
    assert wire_capture.expect(path, PROMPT) == 0
    assert wire_capture.expect(path, {**PROMPT, "the password": json.dumps("long enough")}) == 1
