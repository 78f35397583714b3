# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifications to systemd."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_worker.runtime.systemd import Notifier


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_each_word_is_one_datagram(systemd: socket.socket) -> None:
    notifier = Notifier()
    notifier.ready()
    notifier.status("3 lanes,\n2 running")
    notifier.status("3 lanes,\n2 running")
    notifier.alive()
    notifier.extend(1.5)
    notifier.stopping()
    told = [systemd.recv(4096).decode() for _word in range(5)]
    assert told == ["READY=1", "STATUS=3 lanes, 2 running", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=1500000", "STOPPING=1"]


def test_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"fleet-worker-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        Notifier().ready()
        assert listening.recv(4096) == b"READY=1"


def test_message_without_a_listener_is_dropped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().ready()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    Notifier().ready()


def test_messages_that_find_no_room_are_sent_later_and_nobody_waits(systemd: socket.socket) -> None:
    notifier = Notifier()
    filled = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as filling:
        try:
            while True:
                filling.sendto(b"x", systemd.getsockname())
                filled += 1
        except BlockingIOError:
            pass
    notifier.ready()
    notifier.status("one")
    notifier.status("two")
    for _number in range(filled):
        systemd.recv(4096)
    notifier.resend()
    notifier.resend()
    systemd.setblocking(False)
    told = [systemd.recv(4096).decode() for _word in range(2)]
    assert told == ["READY=1", "STATUS=two"]
    with pytest.raises(BlockingIOError):
        systemd.recv(4096)


@pytest.mark.parametrize(
    "microseconds, process, seconds",
    [
        ("20000000", None, 20.0),
        ("20000000", "this one", 20.0),
        ("20000000", "1", None),
        (None, None, None),
        ("", None, None),
    ],
)
def test_the_interval_of_the_watchdog(
    microseconds: str, process: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WATCHDOG_USEC", microseconds), ("WATCHDOG_PID", process)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, str(os.getpid()) if value == "this one" else value)
    assert Notifier().watchdog_interval == seconds


def test_a_status_with_foreign_text_is_printable(systemd: socket.socket) -> None:
    Notifier().status("\x1b[31m \ud800 " + "x" * 100_000)
    told = systemd.recv(65536).decode()
    assert told.isprintable() and len(told) < 1100
