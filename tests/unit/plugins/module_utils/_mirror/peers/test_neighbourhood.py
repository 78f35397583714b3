# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a watch over the neighbours begins."""

from __future__ import annotations

import time

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers import neighbourhood
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.neighbour import Neighbour, View
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.neighbourhood import Watch
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_list import PieceList

PIECES = PieceList("sha256:" + "0" * 64, 2, 1, (b"a", b"b"))


class ScriptedNeighbour(Neighbour):
    """A neighbour with one answer to all looks."""

    def __init__(self, name, view):
        super().__init__(name, None)
        self.answer = view
        self.looks = 0

    def look(self, _pieces):
        self.looks += 1
        return self.answer


@pytest.mark.parametrize(
    "views, waits",
    [
        ([View(b"11")], False),
        ([View(b"11"), View(b"10", "f" * 16), None], False),
        ([View(b"10", "f" * 16), None], True),
        ([None], True),
        ([], False),
    ],
)
def test_start_waits_for_others_that_begin_unless_a_neighbour_has_the_whole(views, waits, monkeypatch):
    monkeypatch.setattr(neighbourhood, "SETTLE", 0.3)
    neighbours = [ScriptedNeighbour(f"gpu-{number}", view) for number, view in enumerate(views)]
    watch = Watch(neighbours, PIECES, "e" * 16)
    start = time.monotonic()
    watch.start()
    seconds = time.monotonic() - start
    looks = {one.looks for one in neighbours}
    watch.stop()
    assert (seconds >= 0.3) == waits
    assert looks <= ({2} if waits else {1})


def test_watch_counts_the_neighbours_that_read_the_mirror():
    views = [View(b"c0", "f" * 16), View(b"1c", "d" * 16), View(b"10", "c" * 16), View(b"11"), None]
    watch = Watch([ScriptedNeighbour(f"gpu-{number}", view) for number, view in enumerate(views)], PIECES, "e" * 16)
    assert watch.reading == 0
    watch.start()
    watch.stop()
    assert watch.reading == 2
