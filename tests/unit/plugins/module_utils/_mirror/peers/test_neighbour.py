# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.neighbour import (
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


def test_failed_busy_neighbour_rests_and_is_good():
    neighbour = Neighbour("127.0.0.1", None)
    for _turn in range(2 * FAILURES):
        neighbour.failed(NeighbourBusyError("it is busy"))
    assert (neighbour.verdict, neighbour.trouble, neighbour.usable) == (GOOD, "", False)


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
