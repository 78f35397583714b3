# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connections of the server: who gets one, and whose ends."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from blob_server import connections, http_server
from blob_server._mirror.peers import neighbourhood
from blob_server.connections import Connections

HERE, THERE = ("10.0.0.1", 50000), ("10.0.0.2", 50000)


def closed(connection: socket.socket) -> bool:
    """Return whether the other end of a connection was shut down."""
    connection.settimeout(0.1)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False


def test_enter_connection_beyond_the_most_is_refused_until_one_leaves() -> None:
    guests = Connections(most=2)
    first = guests.enter(HERE)
    assert first is not None and guests.enter(THERE) is not None
    assert guests.enter(HERE) is None
    guests.leave(first)
    guests.leave(first)
    assert guests.enter(HERE) is not None
    assert guests.enter(HERE) is None


def test_enter_strangers_of_one_address_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STRANGERS", 2)
    guests = Connections(most=100)
    known = [guests.enter(HERE) for _client in range(2)]
    assert guests.enter(HERE) is None
    assert guests.enter(THERE) is not None
    for client in known:
        guests.trust(client)
    assert guests.enter(HERE) is not None


def test_enter_address_of_ipv6_keeps_its_parts() -> None:
    client = Connections(most=1).enter(("fd00::1", 50000, 0, 2))
    assert client is not None and client[:4] == ("fd00::1", 50000, 0, 2)


def test_client_that_uses_its_port_again_is_another_client() -> None:
    """The thread of the old connection forgets the connection after its port is free."""
    guests = Connections(most=2)
    old, new = guests.enter(("10.0.0.1", 50000)), guests.enter(("10.0.0.1", 50000))
    guests.leave(old)
    guests.trust(new)
    assert guests.enter(("10.0.0.1", 50001)) is not None
    assert guests.enter(("10.0.0.1", 50002)) is None


def test_import_with_the_most_threads_is_no_crowd_of_strangers() -> None:
    """64 threads and 16 questions connect at once, and their requests come later."""
    guests = Connections(http_server._LOOKS)
    assert all(guests.enter(("10.0.0.1", port)) for port in range(64 + neighbourhood.ASKERS))
    assert connections.STRANGERS < http_server._LOOKS / 2, "a few strangers take all connections"


@pytest.fixture
def pair() -> Any:
    """Both ends of a connection: that of the server, and that of the client."""
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def test_cut_ends_the_connections_of_late_clients_alone(pair: Any) -> None:
    guests = Connections(most=3)
    server, client = pair
    late, patient, new = (guests.enter(HERE) for _client in range(3))
    assert new is not None
    guests.allow(late, server, 0.0)
    other_server, other_client = socket.socketpair()
    with other_server, other_client:
        guests.allow(patient, other_server, 60.0)
        time.sleep(0.001)
        guests.cut()
        assert (closed(client), closed(other_client)) == (True, False)
        assert server.fileno() >= 0, "the thread of the connection closes it"


def test_cut_client_that_has_made_its_step_in_time_stays(pair: Any) -> None:
    guests = Connections(most=1)
    server, client = pair
    guest = guests.enter(HERE)
    guests.allow(guest, server, 0.0)
    guests.allow(guest, server, 60.0)
    time.sleep(0.001)
    guests.cut()
    assert not closed(client)


def test_cut_connection_that_has_left_or_is_closed_is_left_alone(pair: Any) -> None:
    guests = Connections(most=2)
    server, client = pair
    left, gone = guests.enter(HERE), guests.enter(HERE)
    guests.allow(left, server, 0.0)
    guests.leave(left)
    with socket.socket() as ended:
        guests.allow(gone, ended, 0.0)
    time.sleep(0.001)
    guests.cut()
    assert not closed(client)
