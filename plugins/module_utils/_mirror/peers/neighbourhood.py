# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The neighbourhood of a node: all its neighbours, and a thread that asks them for their pieces of the current blob.

Each node decides by itself whether it may read the mirror, from data that every node can see. Of all running imports
of a blob, the few with the smallest names (which are random) are the readers, and each piece belongs to one reader. If
a node dies, the others no longer see it, and its pieces belong to other readers. The same happens if an import hangs
while the service of its node still shows its marks.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Optional

from ..._http.endpoint import IdleLimit
from ..transfer.options import NeighbourOptions
from .neighbour import FAILED, GOOD, LIED, Neighbour, View
from .pace import Pace
from .piece_list import PieceList
from .piece_marks import CLAIMED, PRESENT
from .signature import RequestSigner

#: The number of imports that read a blob from the mirror at the same time. Each reader sends its pieces to the other
#: nodes, so with few readers, their links would be the limit.
READERS = 24

#: The number of neighbours that are asked repeatedly. The readers are always among them.
ACTIVE = 48

#: The most neighbours that are asked at the same time, and the most seconds of the first round, which asks all.
ASKERS = 16
FIRST_ROUND = 5.0

#: The most idle connections to all neighbours. Many systems allow a process 1,024 open files, and a fleet may have more
#: nodes. The limit leaves a connection for each thread that reads and for each active neighbour.
MOST_IDLE = 128

#: Seconds between two rounds, and neighbours per round. One question costs each of the two nodes a millisecond.
ROUND = 1.0
ASKED = 8

#: Seconds after which a neighbour without pieces is asked again; longer if there are more than 64 neighbours.
LONG_ROUND = 3.0

#: Seconds without a new piece after which an import counts as stuck: the pieces that it reads or ought to read are left
#: to others. The more imports share the link of the mirror, the longer their first pieces take. Reads that take this
#: node long show that the mirror is slow, and then the other imports are not stuck either.
STUCK = 15.0
FEW_READERS = 4
STUCK_PACE = 3.0

#: Seconds between the first two rounds. In the second round, nodes that began at the same time see each other.
SETTLE = 1.0


@dataclass
class _Progress:
    """The progress of a neighbour's import.

    :ivar since: when it first had its pieces, as far as this node has seen.
    :ivar seen: when this node last looked.
    """

    pieces: int
    since: float
    seen: float


class Neighbourhood:
    """All neighbours of this node.

    :ivar neighbours: one for each distinct address.
    """

    def __init__(self, options: NeighbourOptions) -> None:
        signer = RequestSigner(options.secret) if options.secret else None
        limit = IdleLimit(MOST_IDLE)
        self.neighbours = [
            Neighbour(address, signer, options.tls, limit) for address in dict.fromkeys(options.addresses) if address
        ]
        self._last: Optional[PieceWatch] = None

    def watch(self, pieces: PieceList, importer: str) -> PieceWatch:
        """Return a watch over the neighbours' pieces of one blob. The watch has not asked any neighbour yet."""
        for neighbour in self.neighbours:
            neighbour.view = None
        # Imports that run at the same time reach each blob at about the same time. Without a pause, each of them would
        # read the first pieces of each blob. A node that has met no other import need not wait for one at each blob.
        self._last = PieceWatch(self.neighbours, pieces, importer, settles=self._last is None or self._last.met)
        return self._last


class PieceWatch:
    """The neighbours' pieces of one blob, which a thread keeps up to date.

    :param settles: whether to wait for other imports that begin now.
    :ivar pace: the pace of the mirror and the neighbours, which the swarm notes.
    :ivar changes: the number of finished rounds.
    :ivar readers: the sorted names of the imports that may read the mirror.
    :ivar importers: the number of running imports of the blob, this one included.
    :ivar reading: the number of neighbours that were reading the mirror in the last round.
    :ivar met: whether another import of the blob was seen, or could not be seen because the watch has not started.
    """

    def __init__(
        self, neighbours: Sequence[Neighbour], pieces: PieceList, importer: str, *, settles: bool = True
    ) -> None:
        self.pace = Pace()
        self.changes = 0
        self.readers: tuple[str, ...] = (importer,)
        self.reading = 0
        self.importers = 1
        self.met = True
        self._settles = settles
        self._neighbours = list(neighbours)
        self._pieces = pieces
        self._importer = importer
        self._progress: dict[str, _Progress] = {}  # by the names of the imports
        self._stuck: frozenset[str] = frozenset()
        #: Neighbours to ask, each with what is released after its answer; ``None`` ends a thread.
        self._jobs: SimpleQueue[Optional[tuple[Neighbour, threading.Semaphore]]] = SimpleQueue()
        self._asked: set[str] = set()  # the names of the neighbours in the queue, or being asked
        self._over = threading.Event()
        self._ending = threading.Lock()  # after the end, the views belong to the watch over the next blob
        self._thread = threading.Thread(target=self._work, name="neighbours", daemon=True)
        self._looked = dict.fromkeys((one.name for one in neighbours), 0.0)

    def start(self) -> None:
        """Ask the neighbours, twice unless one of them has the whole blob; then start the thread."""
        self.met = False
        random.shuffle(self._neighbours)
        # Daemons, and no ThreadPoolExecutor, whose threads Python joins at its end: a slow neighbour would hold the end
        # of the process.
        for _thread in range(min(ASKERS, len(self._neighbours))):
            threading.Thread(target=self._ask, name="neighbour", daemon=True).start()
        self._round(self._promising(), FIRST_ROUND)
        whole = any(one.view and not one.view.importer for one in self._neighbours)
        # Only a node that reads the mirror needs to know who else begins now, and no node needs to read the mirror if a
        # neighbour has the whole blob.
        settles = self._settles or self.met
        if settles and not whole and any(one.verdict == GOOD and not one.trouble for one in self._neighbours):
            self._over.wait(SETTLE)
            self._round(self._promising(), FIRST_ROUND)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread. An answer that comes later changes no view."""
        with self._ending:
            self._over.set()
        for _thread in range(ASKERS):
            self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join(1.0)

    @property
    def sources(self) -> list[Neighbour]:
        """The neighbours that can be asked for pieces now."""
        return [one for one in self._neighbours if one.view is not None and one.usable]

    @property
    def alone(self) -> bool:
        """Whether no neighbour has or imports the blob, except neighbours that have been busy for long."""
        return not any(one.view and not one.overloaded for one in self._neighbours)

    def spread(self, number: int) -> int:
        """Return the number of neighbours that have a piece, or are reading it from the mirror."""
        views = [view for one in self._neighbours if (view := one.view) and not one.overloaded]
        return sum(
            view.marks[number] == PRESENT or (view.marks[number] == CLAIMED and view.importer not in self._stuck)
            for view in views
        )

    def owner(self, number: int) -> str:
        """Return the reader that a piece belongs to."""
        return max(self.readers, key=lambda reader: _mixed(reader, number))

    def _work(self) -> None:
        while not self._over.wait(ROUND):
            self._round(self._due(), ROUND)

    def _promising(self) -> list[Neighbour]:
        """Return the neighbours to ask at the beginning.

        The others have failed or lied, or have just failed. Each of them would delay each blob of the import. A
        neighbour that is merely busy answers at once, and without its view the node would read the mirror.
        """
        return [one for one in self._neighbours if one.usable or not one.failing]

    def _due(self) -> list[Neighbour]:
        """Return the neighbours to ask in the next round."""
        now = time.monotonic()
        pause = LONG_ROUND * max(1.0, len(self._neighbours) / 64)
        known = sorted((one for one in self._neighbours if one.view), key=_importer)
        rest = known[READERS:]
        random.shuffle(rest)
        # A neighbour with the whole blob is not asked again.
        due = [one for one in known[:READERS] + rest[: ACTIVE - READERS] if _importer(one)]
        due += [one for one in self._neighbours if not one.view and now - self._looked[one.name] >= pause]
        due.sort(key=lambda one: self._looked[one.name])
        return [one for one in due if one.usable][:ASKED]

    def _round(self, neighbours: Sequence[Neighbour], seconds: float) -> None:
        """Ask neighbours, and wait for their answers, but no longer than some seconds."""
        ends = time.monotonic() + seconds
        answered = threading.Semaphore(0)
        # A neighbour that has not answered the last question is not asked again.
        asked = [one for one in neighbours if one.name not in self._asked]
        for one in asked:
            self._asked.add(one.name)
            self._jobs.put((one, answered))
        for _one in asked:
            if not answered.acquire(timeout=max(0.0, ends - time.monotonic())):
                break  # a slow neighbour is asked on in the background
        self._take_stock()

    def _ask(self) -> None:
        """Ask the neighbours of the queue until the watch ends."""
        while True:
            job = self._jobs.get()
            if job is None or self._over.is_set():
                return
            neighbour, answered = job
            with contextlib.suppress(Exception):  # whatever a neighbour sends, the others are asked
                self._look(neighbour)
            self._asked.discard(neighbour.name)
            answered.release()

    def _take_stock(self) -> None:
        """Determine the readers of the mirror from the views of the neighbours."""
        self._stuck = self._find_stuck()
        moving = [view for one in self._neighbours if (view := one.view) and view.importer not in self._stuck]
        names = {self._importer, *(view.importer for view in moving if view.importer)}
        self.readers = tuple(sorted(names)[:READERS])
        self.importers = len(names)
        self.met = self.met or len(names) > 1
        self.reading = sum(CLAIMED in view.marks for view in moving)
        self.changes += 1

    def _find_stuck(self) -> frozenset[str]:
        """Return the names of the imports that have got no piece for long."""
        progress = list(self._progress.items())
        crowd = min(len(progress) + 1, READERS) / FEW_READERS
        patience = max(STUCK * max(1.0, crowd), STUCK_PACE * self.pace.mirror_seconds(time.monotonic()))
        return frozenset(name for name, one in progress if one.seen - one.since > patience)

    def _note(self, view: View) -> None:
        """Note the progress of a neighbour's import."""
        now, pieces = time.monotonic(), view.marks.count(PRESENT)
        known = self._progress.get(view.importer)
        if known is None or pieces > known.pieces:
            self._progress[view.importer] = _Progress(pieces, now, now)
        else:
            known.seen = now

    def _look(self, neighbour: Neighbour) -> None:
        self._looked[neighbour.name] = time.monotonic()
        try:
            view = neighbour.look(self._pieces)
        except OSError as error:
            self._show(neighbour, None)
            neighbour.failed(error, read=False)
            return
        neighbour.answered()
        if view is None:
            neighbour.hang_up()  # or one open connection to each node of a large fleet would be too many
        # The node itself may be among its neighbours.
        if view is not None and view.importer == self._importer:
            neighbour.itself = True
            view = None
        if view is not None and view.importer:
            self._note(view)
        if neighbour.verdict == GOOD:
            self._show(neighbour, view)

    def _show(self, neighbour: Neighbour, view: Optional[View]) -> None:
        with self._ending:
            if not self._over.is_set():
                neighbour.view = view


def _importer(neighbour: Neighbour) -> str:
    """Return the name of a neighbour's running import; empty if there is none."""
    view = neighbour.view  # another thread may remove the view at any moment
    return view.importer if view else ""


def _mixed(reader: str, number: int) -> int:
    """Return a pseudorandom number for a reader and a piece, the same on every node (SplitMix64)."""
    seed = int(reader, 16) if len(reader) == 16 and set(reader) <= set("0123456789abcdef") else _number_of(reader)
    value = (seed ^ (number * 0x9E3779B97F4A7C15)) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 31)


def _number_of(text: str) -> int:
    """Return a number for a text, the same on every node."""
    return int.from_bytes(text.encode()[:8].ljust(8), "big")


def summary(neighbours: Sequence[Neighbour]) -> list[dict[str, object]]:
    """Return the verdicts on the neighbours that sent bytes, failed or lied, for a result."""
    return [
        {"peer": one.name, "bytes": one.received, "state": one.verdict, "problem": one.trouble or None}
        for one in sorted(neighbours, key=lambda one: (-one.received, one.name))
        if one.received or one.verdict in (LIED, FAILED)
    ]
