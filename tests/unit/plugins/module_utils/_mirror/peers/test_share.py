# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The share of a node: the pieces that it reads from the mirror, and their order."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.share import (
    SECOND_LOOK,
    Share,
    numbers_of,
)

COUNT = 12
ALL = 2**COUNT - 1


class Fleet:
    """A node "a" with a file of some pieces, and what it sees of its neighbours.

    :ivar owners: the owner of each piece.
    :ivar found: pieces that a neighbour has or reads.
    """

    def __init__(self, part=COUNT):
        self.readers = ("a", "b")
        self.owners = ["ab"[number % 2] for number in range(COUNT)]
        self.found = set()
        self.file = SimpleNamespace(importer="a", present=[False] * COUNT)
        self.share = Share(self.file, self, part)

    def owner(self, number):
        return self.owners[number]

    def spread(self, number):
        return int(number in self.found)

    def picks(self, needed=ALL, now=0.0):
        """Return all pieces that the node takes now, in order."""
        found = []
        while (number := self.share.pick(needed, now)) is not None:
            found.append(number)
        return found


@pytest.fixture
def fleet():
    return Fleet()


@pytest.mark.parametrize("pieces, numbers", [(0, []), (1, [0]), (0b1010, [1, 3]), (1 << 1000, [1000])])
def test_numbers_of_bits_begin_with_the_lowest(pieces, numbers):
    assert numbers_of(pieces) == numbers


def test_pick_returns_each_piece_of_the_node_once(fleet):
    assert sorted(fleet.picks()) == [0, 2, 4, 6, 8, 10]
    assert fleet.picks() == []


def test_pick_node_that_is_not_a_reader_takes_nothing(fleet):
    fleet.readers = ("b", "c")
    assert fleet.picks() == []


def test_pick_leaves_out_pieces_that_are_not_needed_or_that_a_neighbour_has(fleet):
    fleet.found = {4}
    assert sorted(fleet.picks(ALL & ~(1 << 6))) == [0, 2, 8, 10]


def test_pick_piece_that_a_neighbour_gets_later_is_left_out(fleet):
    first = fleet.share.pick(ALL, 0.0)
    fleet.found = {0, 2, 4, 6, 8, 10} - {first}
    assert fleet.picks() == []


def test_pick_piece_that_has_come_from_a_neighbour_meanwhile_is_left_out(fleet):
    first = fleet.share.pick(ALL, 0.0)
    come = {0, 2, 4} - {first}
    rest = {0, 2, 4, 6, 8, 10} - {first} - come
    assert set(fleet.picks(ALL & ~sum(1 << number for number in come))) == rest


def test_pick_takes_part_by_part_and_each_part_in_random_order():
    orders = Counter(tuple(Fleet(part=4).picks()) for _import in range(50))
    assert all([number // 4 for number in order] == [0, 0, 1, 1, 2, 2] for order in orders)
    assert len(orders) > 1, "two nodes that disagree on the owner read the same pieces"


def test_pick_other_readers_share_the_needed_pieces_again(fleet):
    taken = [fleet.share.pick(ALL, 0.0) for _piece in range(2)]
    fleet.readers = ("a",)
    fleet.owners = ["a"] * COUNT
    needed = ALL & ~sum(1 << number for number in taken)
    assert sorted(fleet.picks(needed)) == sorted(set(range(COUNT)) - set(taken))


def test_pick_pieces_of_a_neighbour_that_died_are_taken_at_the_second_look(fleet):
    fleet.found = {4, 6}
    fleet.file.present = [number in {0, 2, 8, 10} for number in range(COUNT)]
    assert sorted(fleet.picks(now=10.0)) == [0, 2, 8, 10]
    fleet.found = {6}
    assert fleet.picks(now=10.0 + SECOND_LOOK) == []
    assert fleet.picks(now=10.1 + SECOND_LOOK) == [4]
    assert fleet.picks(now=10.2 + SECOND_LOOK) == []
    assert fleet.picks(now=10.3 + 2 * SECOND_LOOK) == [4], "its reader may have failed"


def test_pick_no_second_look_while_pieces_are_unchecked(fleet):
    picked = [fleet.share.pick(ALL, now) for now in (0.0, 100.0, 100.0, 100.0, 100.0, 100.0)]
    assert sorted(picked) == [0, 2, 4, 6, 8, 10]
