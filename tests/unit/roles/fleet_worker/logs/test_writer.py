# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever logs never waits for whoever reads the log."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fleet_worker.logs import writer as log_writer
from fleet_worker.logs.writer import LogWriter


class Reader:
    """The other end of what a writer writes to."""

    def __init__(self, kind: str) -> None:
        if kind == "pipe":
            self.end, self.descriptor = os.pipe()
        else:
            one, other = socket.socketpair()
            self.end, self.descriptor = one.detach(), other.detach()

    def read_until(self, end: bytes) -> bytes:
        """Read up to a text that must come."""
        seen = b""
        while end not in seen:
            piece = os.read(self.end, 65536)
            assert piece, "the writer has ended"
            seen += piece
        return seen

    def close(self) -> None:
        for descriptor in (self.end, self.descriptor):
            with suppress(OSError):
                os.close(descriptor)


@pytest.fixture(params=["pipe", "socket"])
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    reader = Reader(request.param)
    yield reader
    reader.close()


def dropped(number: int) -> bytes:
    return b"dropped %d\n" % number


def test_writer_whose_reader_keeps_up_writes_in_the_calling_thread(reader: Reader) -> None:
    writer = LogWriter(reader.descriptor, dropped)
    writer.write(b"one\n")
    writer.write(b"two\n")
    assert writer._thread is None
    assert reader.read_until(b"two\n") == b"one\ntwo\n"


def test_writer_that_nobody_reads_keeps_lines_whole_and_says_how_many_it_dropped(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "MAX_WAITING", 100_000)
    writer = LogWriter(reader.descriptor, dropped)
    lines = [b"%06d %s\n" % (number, b"x" * 1000) for number in range(2000)]
    for line in lines:
        writer.write(line)
    assert writer.flush(0.0) is False
    assert writer._size <= 100_000
    count = writer._dropped
    assert 0 < count < 2000
    seen = reader.read_until(b"dropped")
    seen += b"" if seen.endswith(b"\n") else reader.read_until(b"\n")
    assert seen == b"".join(lines[: 2000 - count]) + dropped(count)
    assert writer.flush(10.0) is True
    writer.write(b"again\n")
    assert reader.read_until(b"\n") == b"again\n"


def test_writer_leaves_the_descriptor_blocking_for_others(reader: Reader) -> None:
    LogWriter(reader.descriptor, dropped).write(b"x\n")
    assert os.get_blocking(reader.descriptor)


def test_writer_whose_reader_is_gone_raises_nothing(reader: Reader) -> None:
    writer = LogWriter(reader.descriptor, dropped)
    os.close(reader.end)
    writer.write(b"x\n")
    assert writer.flush(0.0) is True


def test_writer_to_a_file_appends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.write(b"before\n")
        file.flush()
        LogWriter(file.fileno(), dropped).write(b"after\n")
    assert path.read_bytes() == b"before\nafter\n"


def test_writer_that_cannot_open_its_descriptor_again_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of /proc are hidden."""

    def hidden(*_arguments: object) -> int:
        raise PermissionError

    reader = Reader("pipe")
    monkeypatch.setattr(log_writer.os, "open", hidden)
    writer = LogWriter(reader.descriptor, dropped)
    for number in range(200):
        writer.write(b"%d %s\n" % (number, b"x" * 1000))
    assert writer.flush(0.0) is False
    assert reader.read_until(b"199 ").startswith(b"0 x")
    reader.close()
