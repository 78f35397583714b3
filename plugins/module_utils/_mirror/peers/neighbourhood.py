# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The neighbourhood of a node: all its neighbours, and a thread that asks them what they have of the current blob.

Which nodes may read the mirror follows from what everybody can see, so that nobody has to be asked for leave: of all
imports of a blob that are under way, the few with the smallest names (which are random) are its readers, and each piece
belongs to one reader. A node that dies is not seen any more, and its pieces belong to others.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ..transfer.options import NeighbourOptions
from .neighbour import FAILED, GOOD, LIED, Neighbour
from .piece_list import PieceList
from .piece_marks import CLAIMED, PRESENT
from .signature import RequestSigner

#: Imports that read a blob from the mirror while others of the same blob are under way. A reader sends its pieces
#: to the others, so with few readers their links are the limit.
READERS = 24

#: Neighbours that are asked again and again; the readers among them always.
ACTIVE = 48

#: The most neighbours that are asked at the same time, and the most seconds of the first round, which asks all.
ASKERS = 16
FIRST_ROUND = 5.0

#: Seconds between two rounds, and neighbours that are asked in each: a look costs both nodes a millisecond.
ROUND = 1.0
ASKED = 8

#: Seconds after which a neighbour that had nothing is asked again; longer if there are more than 64 neighbours.
LONG_ROUND = 3.0

#: Seconds after the first sign of life until the second look: nodes that begin together see each other then.
SETTLE = 1.0


class Neighbourhood:
    """All neighbours of this node.

    :ivar neighbours: every one, by its address.
    """

    def __init__(self, options: NeighbourOptions) -> None:
        signer = RequestSigner(options.secret) if options.secret else None
        self.neighbours = [
            Neighbour(address, signer, options.tls) for address in dict.fromkeys(options.addresses) if address
        ]

    def watch(self, pieces: PieceList, importer: str) -> Watch:
        """Return a watch over what the neighbours have of one blob. Nothing is known of it yet."""
        for neighbour in self.neighbours:
            neighbour.view = None
        return Watch(self.neighbours, pieces, importer)


class Watch:
    """What the neighbours have of one blob, and how it changes.

    :ivar changes: grows whenever a view changed.
    :ivar readers: names of the imports that read the mirror, this one included if it is one; sorted.
    :ivar importers: how many imports of the blob are under way, this one included.
    :ivar reading: how many neighbours were reading the mirror at the last look.
    """

    def __init__(self, neighbours: Sequence[Neighbour], pieces: PieceList, importer: str) -> None:
        self.changes = 0
        self.readers: tuple[str, ...] = (importer,)
        self.reading = 0
        self.importers = 1
        self._neighbours = list(neighbours)
        self._pieces = pieces
        self._importer = importer
        self._pool = ThreadPoolExecutor(ASKERS, thread_name_prefix="neighbour")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="neighbours", daemon=True)
        self._looked = dict.fromkeys((one.name for one in neighbours), 0.0)

    def start(self) -> None:
        """Look at all neighbours, twice unless one of them has the whole blob, and go on looking."""
        random.shuffle(self._neighbours)
        self._round(self._neighbours, FIRST_ROUND)
        whole = any(one.view and not one.view.importer for one in self._neighbours)
        # Who else begins now matters to those who read the mirror, and nobody has to if a neighbour has everything.
        if not whole and any(one.verdict == GOOD and not one.trouble for one in self._neighbours):
            self._over.wait(SETTLE)
            self._round([one for one in self._neighbours if one.usable], FIRST_ROUND)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._over.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._thread.is_alive():
            self._thread.join(1.0)

    @property
    def sources(self) -> list[Neighbour]:
        """The neighbours that can be asked for pieces now."""
        return [one for one in self._neighbours if one.view is not None and one.usable]

    @property
    def alone(self) -> bool:
        """Whether no neighbour has or gets anything of the blob."""
        return not any(one.view for one in self._neighbours)

    def spread(self, number: int) -> int:
        """Return how many neighbours have a piece, or are reading it from the mirror."""
        return sum(1 for one in self._neighbours if one.view and one.view.marks[number] in (PRESENT, CLAIMED))

    def owner(self, number: int) -> str:
        """Return the reader to whom a piece belongs."""
        return max(self.readers, key=lambda reader: _mixed(reader, number))

    def _work(self) -> None:
        while not self._over.wait(ROUND):
            self._round(self._due(), ROUND)

    def _due(self) -> list[Neighbour]:
        """Return the neighbours to be asked in a round."""
        now = time.monotonic()
        pause = LONG_ROUND * max(1.0, len(self._neighbours) / 64)
        known = sorted((one for one in self._neighbours if one.view), key=_importer)
        rest = known[READERS:]
        random.shuffle(rest)
        # A neighbour that has everything changes no more.
        due = [one for one in known[:READERS] + rest[: ACTIVE - READERS] if _importer(one)]
        due += [one for one in self._neighbours if not one.view and now - self._looked[one.name] >= pause]
        due.sort(key=lambda one: self._looked[one.name])
        return [one for one in due if one.usable][:ASKED]

    def _round(self, neighbours: Sequence[Neighbour], seconds: float) -> None:
        ends = time.monotonic() + seconds
        try:
            waiting = [self._pool.submit(self._look, one) for one in neighbours]
        except RuntimeError:  # it was stopped
            return
        for one in waiting:
            try:
                one.result(max(0.0, ends - time.monotonic()))
            except Exception:  # noqa: BLE001,S112 - a look that takes too long goes on behind
                continue
        self._take_stock()

    def _take_stock(self) -> None:
        """Note who reads the mirror, as the views of the neighbours show it."""
        names = {self._importer, *(one.view.importer for one in self._neighbours if one.view and one.view.importer)}
        self.readers = tuple(sorted(names)[:READERS])
        self.importers = len(names)
        self.reading = sum(1 for one in self._neighbours if one.view and CLAIMED in one.view.marks)
        self.changes += 1

    def _look(self, neighbour: Neighbour) -> None:
        self._looked[neighbour.name] = time.monotonic()
        try:
            view = neighbour.look(self._pieces)
        except OSError as error:
            neighbour.view = None
            neighbour.failed(error)
            return
        # The node itself may be among its neighbours.
        if view is not None and view.importer == self._importer:
            view = None
        if neighbour.verdict == GOOD:
            neighbour.view = view


def _importer(neighbour: Neighbour) -> str:
    """Return the name of the import that is under way at a neighbour; empty if none is."""
    return neighbour.view.importer if neighbour.view else ""


def _mixed(reader: str, number: int) -> int:
    """Return a number that looks random, the same on every node."""
    seed = int(reader, 16) if len(reader) == 16 and set(reader) <= set("0123456789abcdef") else _number_of(reader)
    value = (seed ^ (number * 0x9E3779B97F4A7C15)) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 31)


def _number_of(text: str) -> int:
    """Return a number for a text, the same on every node."""
    return int.from_bytes(text.encode()[:8].ljust(8), "big")


def summary(neighbours: Sequence[Neighbour]) -> list[dict[str, object]]:
    """Return the verdicts on the neighbours that sent something or failed, for a result."""
    return [
        {"peer": one.name, "bytes": one.received, "state": one.verdict, "problem": one.trouble or None}
        for one in sorted(neighbours, key=lambda one: (-one.received, one.name))
        if one.received or one.verdict in (LIED, FAILED)
    ]
