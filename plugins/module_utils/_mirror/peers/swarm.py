# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The download of one blob by pieces: from neighbours that have them, and otherwise from the mirror.

Each thread takes one piece after the other. It first chooses the neighbour that sends this node the fewest pieces at
that moment, and then one of the rarest pieces of this neighbour, so that rare pieces spread. The neighbour comes first
because the rarest pieces of all have just arrived at a single node: if all nodes asked for these, the links of some
nodes would be full and the links of others idle.

A node reads only the pieces from the mirror that belong to it (``neighbourhood.py``), unless it gets no piece for a
while. If its neighbours are slow, and the mirror is not (``pace.py``), one thread reads from the mirror. A piece that
takes long is requested a second time from another source.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Callable, Optional

from ..._ollama.errors import CollectionError
from ..errors import ObjectChangedError
from ..retry import PIECE_READS
from ..transfer.bandwidth import PIECE as LIMITED_PART
from ..transfer.bandwidth import Bandwidth
from ..transfer.blob_transfer import RangeStream, Transfer
from ..transfer.buffer_pool import most_buffers
from ..transfer.threads import together
from .neighbour import Neighbour, NeighbourError
from .neighbourhood import READERS, PieceWatch
from .piece_file import PieceFile
from .piece_list import PieceListError
from .piece_marks import PRESENT
from .share import Share

#: The most requests to the mirror at the same time while neighbours import the same blob, with few and many readers.
MIRROR_REQUESTS = 2
MIRROR_REQUESTS_OF_MANY = 1
MANY_READERS = 4

#: The most requests of all nodes together to the mirror when only few nodes still read it. With one request each, these
#: nodes would not fill the link of the mirror, because they also receive pieces from neighbours.
MIRROR_REQUESTS_OF_ALL = 20

#: Bytes received between two checks whether to stop.
PART = 512 * 1024

#: The number of random pieces among which the rarest is chosen. The choice costs the same for 100 and 10,000 pieces.
SAMPLE = 24

#: The parts of a blob. A node reads its pieces from the mirror part by part (``share.py``). So the pieces come nearly
#: in order, and the hash of the whole can keep up.
PARTS = 8

#: The parts from the first missing piece on that a node requests first, because the hash of the whole waits for the
#: first missing piece. With fewer parts, all nodes would request the same pieces at the same time.
NEAR = 2

#: Seconds without a new piece after which a node reads a piece of another node that no node seems to read.
PATIENCE = 4.0

#: Seconds without a new piece after which a node reads even a piece that another node is reading.
STARVATION = 60.0

#: Seconds after which an idle thread requests a late piece a second time: from another neighbour, or from the mirror.
SECOND_TRY = 5.0
SECOND_TRY_OF_MIRROR = 20.0

#: The seconds that a request to a neighbour waits for bytes before its rate counts, and the least bytes per second of
#: all threads together. The threads may share a slow link, so each of them must receive only its share of this rate.
#: Bytes that come more slowly hold a thread, and other sources have nearly always more to give.
SLOW_AFTER = 10.0
LEAST_RATE = 16 * 1024

#: Seconds after which an idle thread looks for work again.
_IDLE = 0.2


@dataclass
class _UnderWay:
    """A piece that is being received."""

    since: float
    sources: list[Optional[Neighbour]]


class Swarm:
    """One download of one blob.

    This class is long because its threads choose and receive pieces by one state, under one lock.

    :ivar from_mirror: bytes from the mirror.
    :ivar from_neighbours: bytes of right pieces from neighbours.
    """

    def __init__(
        self,
        transfer: Transfer,
        file: PieceFile,
        watch: PieceWatch,
        *,
        concurrency: int,
        bandwidth: Bandwidth,
        on_bytes: Callable[[int, bool], None] = lambda count, from_neighbour: None,
    ) -> None:
        """:param on_bytes: receives a number of bytes, and whether they came from a neighbour; on several threads."""
        self.from_mirror = 0
        self.from_neighbours = 0
        self._transfer = transfer
        self._file = file
        self._watch = watch
        # Each thread has a buffer of one piece, and the pieces of large blobs are long.
        self._concurrency = min(concurrency, most_buffers(file.pieces.piece_size), file.lacking)
        self._bandwidth = bandwidth
        self._on_bytes = on_bytes
        self._lock = threading.Lock()
        self._woken = threading.Condition(self._lock)
        #: The missing pieces that no thread is receiving, as bits (``piece_marks.py``).
        self._needed = sum(1 << number for number, there in enumerate(file.present) if not there)
        self._part = -(-len(file.present) // PARTS)
        self._under_way: dict[int, _UnderWay] = {}
        self._mirror_requests = 0
        self._mirror_failures = 0
        self._mirror_rests_until = 0.0
        self._starved_since: Optional[float] = None
        self._share = Share(file, watch, self._part)
        self._error: Optional[BaseException] = None

    def run(self) -> None:
        """Download all missing pieces.

        :raises PieceListError: if the bytes of the mirror contradict the list of pieces.
        :raises CollectionError: if the mirror fails, or the file cannot be written.
        """
        together(self._work, self._concurrency, "swarm", self._stop)
        if self._error is not None:
            raise self._error

    def _stop(self, error: BaseException) -> None:
        with self._woken:
            self._error = self._error or error
            self._woken.notify_all()

    def _work(self) -> None:
        buffer = bytearray(self._file.pieces.piece_size)
        try:
            while True:
                with self._woken:
                    if self._error is not None or not self._file.lacking:
                        self._woken.notify_all()
                        return
                    task = self._pick()
                    if task is None:
                        self._woken.wait(_IDLE)
                        continue
                task(memoryview(buffer))
        except BaseException as error:  # noqa: BLE001 - run() raises it
            self._stop(error)

    # Choice of a piece, with the lock held

    def _pick(self) -> Optional[Callable[[memoryview], None]]:
        now = time.monotonic()
        sources = self._watch.sources
        number, neighbour = self._from_neighbours(sources)
        mirror = self._from_mirror(now)
        # The mirror comes first, because its pieces are those that no neighbour has.
        if mirror is not None:
            number, neighbour = mirror, None
        if number is None:
            return self._second_try(now, sources)
        self._needed &= ~(1 << number)
        return self._begin(number, neighbour, now)

    def _begin(self, number: int, neighbour: Optional[Neighbour], now: float) -> Callable[[memoryview], None]:
        self._under_way.setdefault(number, _UnderWay(now, [])).sources.append(neighbour)
        if neighbour is None:
            self._mirror_requests += 1
            self._watch.pace.mirror_begins(number, now)
            self._file.claim(number)
            return partial(self._read_mirror, number)
        neighbour.reading += 1
        self._watch.pace.neighbour_begins(now)
        return partial(self._read_neighbour, number, neighbour)

    def _from_neighbours(self, sources: list[Neighbour]) -> tuple[Optional[int], Optional[Neighbour]]:
        """Return the least busy neighbour with a needed piece, and the rarest of some of its pieces."""
        if not self._needed:
            return None, None
        near = ((1 << NEAR * self._part) - 1) * (self._needed & -self._needed)
        for neighbour in sorted(sources, key=lambda one: (one.reading, random.random())):  # noqa: S311
            view = neighbour.view
            there = self._needed & view.pieces if view else 0
            if there:
                views = [view for one in sources if (view := one.view)]
                rarity = {
                    number: sum(view.pieces >> number & 1 for view in views) for number in _some(there & near or there)
                }
                return min(rarity, key=lambda number: (rarity[number], random.random())), neighbour  # noqa: S311
        return None, None

    @staticmethod
    def _least_busy(number: int, sources: list[Neighbour], without: list[Optional[Neighbour]]) -> Optional[Neighbour]:
        having = [one for one in sources if (view := one.view) and view.marks[number] == PRESENT and one not in without]
        return min(having, key=lambda one: (one.reading, random.random()), default=None)  # noqa: S311

    def _from_mirror(self, now: float) -> Optional[int]:
        """Return a piece to read from the mirror now; ``None`` if there is none."""
        alone = self._watch.alone
        if self._mirror_requests >= self._most_mirror_requests(alone) or now < self._mirror_rests_until:
            return None
        if alone:
            return _some(self._needed, 1)[0] if self._needed else None
        if not self._needed:
            return None
        number = self._own_piece()
        if (
            number is None
            and not self._mirror_requests
            and self._watch.pace.mirror_is_faster(self._watch.importers, now)
        ):
            number = min(_some(self._needed), key=lambda one: (self._watch.spread(one), random.random()))  # noqa: S311
        return number

    def _most_mirror_requests(self, alone: bool) -> int:
        if alone:
            return self._concurrency
        many = len(self._watch.readers) > MANY_READERS
        most = MIRROR_REQUESTS_OF_MANY if many else MIRROR_REQUESTS
        # Before its first piece has arrived, a node does not know who else reads.
        if self.from_mirror >= self._file.pieces.piece_size:
            most = max(most, MIRROR_REQUESTS_OF_ALL // (self._watch.reading + 1))
        return min(most, self._concurrency)

    def _own_piece(self) -> Optional[int]:
        """Return a piece of this node that no node has or reads; after a while without a new piece, any piece."""
        now = time.monotonic()
        number = self._share.pick(self._needed, now)
        if number is not None:
            return number
        if self._under_way:
            return None
        self._starved_since = self._starved_since or now
        hunger = (now - self._starved_since) * random.uniform(0.5, 1.0)  # noqa: S311
        # The more nodes wait, the later they get their first piece, and the more of them would read the mirror.
        if hunger < PATIENCE * max(1.0, self._watch.importers / READERS):
            return None
        sample = _some(self._needed)
        free = [number for number in sample if not self._watch.spread(number)]
        if not free and hunger > STARVATION:
            free = sample
        return random.choice(free) if free else None  # noqa: S311

    def _second_try(self, now: float, sources: list[Neighbour]) -> Optional[Callable[[memoryview], None]]:
        """Return a second request for the piece that has been running longest, if that is long; else ``None``."""
        if self._needed and self._watch.sources:
            return None
        late = min(
            (
                (one.since, number)
                for number, one in self._under_way.items()
                if len(one.sources) < 2 and not self._file.present[number]
            ),
            default=None,
        )
        if late is None or now - late[0] < SECOND_TRY:
            return None
        number = late[1]
        neighbour = self._least_busy(number, sources, self._under_way[number].sources)
        if neighbour is None and (
            None in self._under_way[number].sources
            or now - late[0] < SECOND_TRY_OF_MIRROR
            or self._mirror_requests >= MIRROR_REQUESTS
        ):
            return None
        return self._begin(number, neighbour, now)

    # Transfer of a piece, without the lock

    def _read_neighbour(self, number: int, neighbour: Neighbour, buffer: memoryview) -> None:
        start, stop = self._file.pieces.bounds(number)
        view = buffer[: stop - start]
        right = False
        try:
            with contextlib.closing(neighbour.open(self._file.pieces, start, stop)) as stream:
                whole = self._receive(number, stream, view, True)
            if whole:
                right = self._file.put(number, view)
                if right:
                    neighbour.worked(len(view))
                else:
                    neighbour.lied(number, self._file.pieces.digest)
        except OSError as error:
            neighbour.failed(error)
        finally:
            with self._woken:
                neighbour.reading -= 1
                if right:
                    self.from_neighbours += len(view)
                self._end(number, neighbour)

    def _read_mirror(self, number: int, buffer: memoryview) -> None:
        version = self._transfer.source.version
        failed = True
        try:
            # The bytes may have changed on the way, such as in a proxy. Only two wrong answers in a row are believed.
            if not (self._bring(number, buffer) or self._bring(number, buffer)):
                raise PieceListError(
                    f"Piece {number} of {self._transfer.digest} does not have its digest in the mirror's list of"
                    " pieces",
                    remedy="Publish the model again",
                    digest=self._transfer.digest,
                )
            self._mirror_failures = 0
            failed = False
        except CollectionError as error:
            if not PIECE_READS.covers(error):
                raise
            self._mirror_failed(error, version)
        finally:
            with self._woken:
                self._mirror_requests -= 1
                self._file.release(number)
                self._end(number, None, failed=failed)

    def _bring(self, number: int, buffer: memoryview) -> bool:
        """Read a piece from the mirror; return false if it is wrong."""
        start, stop = self._file.pieces.bounds(number)
        view = buffer[: stop - start]
        with contextlib.closing(self._transfer.source.open(start, stop)) as stream:
            whole = self._receive(number, stream, view, False)
        return not whole or self._file.put(number, view)

    def _mirror_failed(self, error: CollectionError, version: int) -> None:
        with self._lock:
            self._mirror_failures += 1
            failures = self._mirror_failures
            self._mirror_rests_until = time.monotonic() + PIECE_READS.pause(failures)
        if isinstance(error, ObjectChangedError):
            self._transfer.source.refresh(version)
        if PIECE_READS.is_final(failures, requests=self._concurrency):
            raise error

    def _end(self, number: int, source: Optional[Neighbour], *, failed: bool = False) -> None:
        """Record the end of a request. The caller holds the lock."""
        now, pace = time.monotonic(), self._watch.pace
        if source is None:
            pace.mirror_ended(number, now, failed=failed)
        else:
            pace.neighbour_ended(now)
        under_way = self._under_way[number]
        under_way.sources.remove(source)
        if not under_way.sources:
            del self._under_way[number]
            if not self._file.present[number]:
                self._needed |= 1 << number
        if self._file.present[number]:
            # An attempt alone does not count: a neighbour that is always busy would keep the node from the mirror.
            self._starved_since = None
        if not self._file.lacking:
            self._woken.notify_all()
        else:
            self._woken.notify()

    def _receive(self, number: int, stream: RangeStream, view: memoryview, from_neighbour: bool) -> bool:
        """Receive a piece; return false if it is not needed any more before it is complete."""
        got = 0
        waited = 0.0  # without the time that the node's own limit takes
        part = LIMITED_PART if self._bandwidth.limited else PART
        while got < len(view):
            if self._error is not None or self._file.present[number]:
                return False
            begun = time.monotonic()
            count = stream.readinto(view[got : got + part])
            waited += time.monotonic() - begun
            if not count:
                raise NeighbourError(f"its answer ended {len(view) - got} bytes early")
            got += count
            if from_neighbour and waited > SLOW_AFTER and got * self._concurrency < LEAST_RATE * waited:
                raise NeighbourError(
                    f"it sent {got} bytes in {waited:.0f} s to one of {self._concurrency} threads, which means less"
                    f" than {LEAST_RATE // 1024} KiB/s to all of them"
                )
            with self._lock:
                if from_neighbour:
                    self._watch.pace.received(count)
                else:
                    self.from_mirror += count
                    self._watch.pace.mirror_received(number, count)
            self._on_bytes(count, from_neighbour)
            debt = self._bandwidth.spend(count)
            if debt:
                with self._woken:
                    self._woken.wait_for(lambda: self._error is not None, debt)
        return True


def _some(pieces: int, most: int = SAMPLE) -> list[int]:
    """Return the numbers of some random pieces from bits. At least one bit must be set."""
    found = set()
    for _time in range(most):
        start = random.randrange(pieces.bit_length())  # noqa: S311
        rest = pieces >> start
        found.add(start + (rest & -rest).bit_length() - 1)
    return list(found)
