# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import socket
import ssl
import threading

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.neighbour import (
    BUSY_IN_A_ROW,
    FAILED,
    FAILURES,
    GOOD,
    LIED,
    Neighbour,
    NeighbourBusyError,
    NeighbourError,
    NeighbourLacksError,
    View,
    parse_address,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_list import PieceList

PIECES = PieceList("sha256:" + "0" * 64, 2, 1, (b"a", b"b"))


@pytest.mark.parametrize(
    "address, place",
    [
        ("node-1", ("node-1", 11480)),
        ("10.0.0.1:99", ("10.0.0.1", 99)),
        ("fe80::1", ("fe80::1", 11480)),
        ("[fe80::1]:99", ("fe80::1", 99)),
        ("[fe80::1]", ("fe80::1", 11480)),
    ],
)
def test_parse_address_of_each_kind(address, place):
    assert parse_address(address) == place


@pytest.mark.parametrize(
    "address", ["", ":99", "a b", "host:0", "host:70000", "host:x", "[fe80::1]x", "u@h", "h/p", "hö"]
)
def test_parse_address_of_no_kind_is_refused(address):
    with pytest.raises(ValueError, match=r"address|port"):
        parse_address(address)


def test_failed_several_times_in_a_row_is_left_alone():
    neighbour = Neighbour("127.0.0.1", None)
    for _turn in range(FAILURES - 1):
        neighbour.failed(NeighbourError("it broke"))
    assert neighbour.verdict == GOOD
    assert not neighbour.usable
    neighbour.worked(5)
    neighbour.failed(NeighbourError("it broke"))
    assert neighbour.verdict == GOOD
    for _turn in range(FAILURES):
        neighbour.failed(NeighbourError("it broke"))
    assert (neighbour.verdict, neighbour.trouble) == (FAILED, "it broke")


@pytest.mark.parametrize("read, verdict", [(False, GOOD), (True, FAILED)])
def test_answered_look_ends_a_row_of_failed_looks_only(read, verdict):
    """In an import of hours, a few lost packets must not cost a good neighbour."""
    neighbour = Neighbour("127.0.0.1", None)
    for _turn in range(FAILURES):
        neighbour.failed(NeighbourError("it broke"), read=read)
        neighbour.answered()
    assert neighbour.verdict == verdict


def test_worked_read_ends_a_row_of_failed_reads():
    neighbour = Neighbour("127.0.0.1", None)
    neighbour.failed(NeighbourError("it broke"))
    neighbour.worked(5)
    for _turn in range(FAILURES):
        neighbour.failed(NeighbourError("it broke"), read=False)
        neighbour.answered()
    assert neighbour.verdict == GOOD


def test_failed_busy_neighbour_rests_and_is_good():
    neighbour = Neighbour("127.0.0.1", None)
    for _turn in range(2 * FAILURES):
        neighbour.failed(NeighbourBusyError("it is busy"))
    assert (neighbour.verdict, neighbour.trouble, neighbour.usable) == (GOOD, "", False)


@pytest.fixture
def closing():
    """The address of a server that closes each connection at once, as a blob server with too many connections does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close():
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()

        threading.Thread(target=close, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("tls", [None, ssl.create_default_context()])
def test_failed_neighbour_that_closes_connections_is_busy_for_a_while(closing, tls):
    neighbour = Neighbour(closing, None, tls)
    verdicts = []
    for _turn in range(BUSY_IN_A_ROW + FAILURES):
        with pytest.raises(NeighbourError) as caught:
            neighbour.look(PIECES)
        neighbour.failed(caught.value)
        verdicts.append((neighbour.verdict, neighbour.failing))
    assert verdicts[:BUSY_IN_A_ROW] == [(GOOD, False)] * BUSY_IN_A_ROW
    assert neighbour.verdict == FAILED
    assert "without an answer" in neighbour.trouble


def test_failed_neighbour_that_lost_a_blob_has_no_view():
    neighbour = Neighbour("127.0.0.1", None)
    neighbour.view = View(b"1")
    neighbour.failed(NeighbourLacksError("gone"))
    assert (neighbour.verdict, neighbour.view) == (GOOD, None)


def test_lied_neighbour_is_never_usable_again():
    neighbour = Neighbour("127.0.0.1", None)
    neighbour.view = View(b"1")
    neighbour.lied(3, "sha256:abc")
    assert (neighbour.verdict, neighbour.view, neighbour.usable) == (LIED, None, False)
    assert "piece 3 of sha256:abc" in neighbour.trouble
