# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets that systemd keeps: which of them the next process takes, and which it closes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from fleet_gateway.runtime import descriptor_store
from fleet_gateway.runtime.descriptor_store import forget, keep, passed_listeners

from .memory_systemd import FIRST, Systemd


def is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@pytest.mark.parametrize(
    "environment",
    [{"LISTEN_PID": "1"}, {"LISTEN_PID": ""}, {"LISTEN_FDS": "many"}, {"LISTEN_FDS": "-1"}, {"LISTEN_FDS": "0"}],
)
def test_passed_listeners_of_another_process_are_left_alone(systemd: Systemd, environment: dict[str, str]) -> None:
    with listening() as kept:
        keep("http", kept)
        systemd.start_next(**environment)
        assert passed_listeners() == {}
        assert not is_closed(FIRST), "the descriptor belongs to another owner"
        os.close(FIRST)


def test_passed_listeners_are_returned_by_name_once_and_not_inherited(systemd: Systemd) -> None:
    with listening() as one, listening() as two:
        keep("one", one)
        keep("two", two)
        systemd.start_next()
        found = passed_listeners()
        assert {name: kept.getsockname() for name, kept in found.items()} == {
            "one": one.getsockname(),
            "two": two.getsockname(),
        }
        for kept in found.values():
            assert not kept.get_inheritable()
            kept.close()
    assert not any(name.startswith("LISTEN_") for name in os.environ)
    assert passed_listeners() == {}


def test_passed_listeners_second_of_a_name_is_closed(systemd: Systemd) -> None:
    with listening() as one, listening() as two:
        keep("http", one)
        keep("http", two)
        systemd.start_next()
        found = passed_listeners()
        assert found["http"].getsockname() == one.getsockname()
        assert is_closed(FIRST + 1)
        found["http"].close()


def test_passed_listeners_socket_that_does_not_listen_is_closed(systemd: Systemd) -> None:
    with socket.socket() as idle, listening() as good:
        keep("idle", idle)
        keep("good", good)
        systemd.start_next()
        found = passed_listeners()
        assert list(found) == ["good"] and is_closed(FIRST)
        found["good"].close()


def test_passed_listeners_leave_out_files(systemd: Systemd, tmp_path: Path) -> None:
    with listening() as good, (tmp_path / "file").open("w") as file:
        keep("good", good)
        systemd.start_next()
        os.dup2(FIRST, FIRST + 1)
        os.dup2(file.fileno(), FIRST)
        os.environ.update(LISTEN_FDS="2", LISTEN_FDNAMES="file:good")
        found = passed_listeners()
        assert list(found) == ["good"]
        found["good"].close()
        os.close(FIRST)


def test_forget_has_the_copies_of_one_name_closed(systemd: Systemd) -> None:
    with listening() as one, listening() as two:
        keep("one", one)
        keep("two", two)
        systemd.read()
        forget("one")
        systemd.read()
        assert list(systemd.kept) == ["two"]


@pytest.mark.parametrize("address", ["", "missing"])
def test_keep_without_systemd_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address and str(tmp_path / address))
    with listening() as kept:
        keep("http", kept)
        forget("http")
        assert kept.fileno() >= 0


def test_keep_systemd_that_reads_nothing_does_not_hold_the_gateway(systemd: Systemd) -> None:
    with listening() as kept:
        for _message in range(5000):
            keep("http", kept)
        systemd.read()
        assert len(systemd.kept["http"]) < 5000, "the channel was never full"


def test_keep_abstract_address_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"legionio-{os.getpid()}-{os.urandom(4).hex()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, listening() as kept:
        channel.bind("\0" + name)
        channel.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        descriptor_store.keep("http", kept)
        content, (descriptor,), _flags, _address = socket.recv_fds(channel, 4096, 4)
        assert content == b"FDSTORE=1\nFDNAME=http"
        os.close(descriptor)
