# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import os
import threading
import time
from dataclasses import replace

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import MirrorUnreachableError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers import neighbour as neighbour_file
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers import neighbourhood, pace, share
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers import swarm as swarm_file
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.neighbour import (
    FAILED,
    GOOD,
    LIED,
    Neighbour,
    NeighbourBusyError,
    NeighbourError,
    View,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.neighbourhood import PieceWatch
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.pace import Pace
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_file import PieceFile
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_list import (
    PieceHasher,
    PieceListError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_marks import PRESENT, pieces_in
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.swarm import Swarm
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.retry import PIECE_READS
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer import buffer_pool
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.bandwidth import Bandwidth
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.blob_transfer import Transfer
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import CollectionError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import Directory, Ownership
from hypothesis import given
from hypothesis import strategies as st

MIB = 1024 * 1024
CONTENT = os.urandom(8 * MIB + 100)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
PIECES = 9


class Bytes:
    """A stream of some bytes; it may break after some of them."""

    def __init__(self, content, breaks_after=None):
        self._content = content if breaks_after is None else content[:breaks_after]
        self._breaks = breaks_after is not None

    def readinto(self, view):
        if not self._content and self._breaks:
            raise MirrorUnreachableError("it broke", remedy="none")
        count = min(len(view), len(self._content))
        view[:count], self._content = self._content[:count], self._content[count:]
        return count

    def close(self):
        pass


class MirrorSource:
    """The blob in the mirror."""

    def __init__(self, content=CONTENT, broken=0):
        self.version = 0
        self.content = content
        self.broken = broken
        self.opened = []

    def open(self, start, stop):
        self.opened.append(start // MIB)
        if self.broken:
            self.broken -= 1
            return Bytes(self.content[start:stop], breaks_after=10)
        return Bytes(self.content[start:stop])

    def refresh(self, version):
        self.version += 1
        return True


class ScriptedNeighbour(Neighbour):
    """A neighbour whose answers a test decides."""

    def __init__(self, name, content=CONTENT, marks=b"1" * PIECES, importer=""):
        super().__init__(name, None)
        self.content = content
        self.view = View(marks, importer)

    def open(self, pieces, start, stop):
        if self.content is None:
            raise NeighbourError("it hangs up")
        return Bytes(self.content[start:stop])


class ScriptedWatch:
    """What a watch has found, which does not change."""

    def __init__(self, neighbours, importer, readers=None):
        self.neighbours = neighbours
        self.readers = readers or (importer,)
        self.importer = importer
        self.reading = 0
        self.importers = len(self.readers)
        self.pace = Pace()

    @property
    def sources(self):
        return [one for one in self.neighbours if one.view and one.usable]

    @property
    def alone(self):
        return not any(one.view for one in self.neighbours)

    def spread(self, number):
        return sum(1 for one in self.neighbours if one.view and one.view.marks[number] != b"0"[0])

    def owner(self, number):
        return self.readers[number % len(self.readers)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(swarm_file, "_IDLE", 0.01)
    monkeypatch.setattr(swarm_file, "PIECE_READS", replace(PIECE_READS, longest_pause=0.01))


@pytest.fixture
def file(tmp_path):
    hasher = PieceHasher(DIGEST, len(CONTENT))
    hasher.update(memoryview(CONTENT))
    with Directory.open(str(tmp_path)) as directory:
        made = PieceFile(directory, "blob", hasher.finish(), Ownership(None, None, 0o600, 0o700), directory)
        made.begin(["registry.ollama.ai/library/large/latest"])
        yield made
        made.suspend()


def swarm_of(file, source, neighbours=(), readers=None, watch=None, concurrency=4):
    transfer = Transfer(DIGEST, len(CONTENT), source, target=None)
    watch = watch or ScriptedWatch(list(neighbours), file.importer, readers and readers(file.importer))
    return Swarm(transfer, file, watch, concurrency=concurrency, bandwidth=Bandwidth(None))


def finished(swarm, within=20.0):
    """Run a swarm on a thread, and fail if it takes long."""
    errors = []

    def work():
        try:
            swarm.run()
        except CollectionError as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(within)
    assert not thread.is_alive(), "it does not end"
    if errors:
        raise errors[0]


def test_run_alone_reads_each_piece_of_the_mirror_once(file):
    source = MirrorSource()
    swarm = swarm_of(file, source)
    finished(swarm)
    assert sorted(source.opened) == list(range(PIECES))
    assert (swarm.from_mirror, swarm.from_neighbours) == (len(CONTENT), 0)
    assert file.digest() == DIGEST


def test_run_neighbours_have_all_reads_nothing_of_the_mirror(file):
    source = MirrorSource()
    swarm = swarm_of(file, source, [ScriptedNeighbour("a"), ScriptedNeighbour("b")])
    finished(swarm)
    assert source.opened == []
    assert (swarm.from_mirror, swarm.from_neighbours) == (0, len(CONTENT))
    assert file.digest() == DIGEST


def test_run_piece_of_another_reader_is_left_to_that_reader(file):
    """Two imports begin at once: this one reads its own pieces, and the other one's only when nothing moves."""
    source = MirrorSource()
    other = ScriptedNeighbour("a", marks=b"0" * PIECES, importer="f" * 16)
    swarm = swarm_of(file, source, [other], lambda me: (me, "f" * 16))
    threading.Thread(target=lambda: finished(swarm), daemon=True).start()
    deadline = threading.Event()
    for _turn in range(100):
        if file.lacking == PIECES // 2:
            break
        deadline.wait(0.05)
    assert sorted(source.opened) == [0, 2, 4, 6, 8]
    other.view = View(b"1" * PIECES, "f" * 16)
    for _turn in range(100):
        if not file.lacking:
            break
        deadline.wait(0.05)
    assert file.lacking == 0
    assert sorted(source.opened) == [0, 2, 4, 6, 8]


def test_run_neighbour_that_lies_is_found_out_at_once_and_its_pieces_come_from_the_mirror(file, monkeypatch):
    monkeypatch.setattr(swarm_file, "PATIENCE", 1000.0)
    monkeypatch.setattr(share, "SECOND_LOOK", 0.05)
    source = MirrorSource()
    liar = ScriptedNeighbour("liar", content=bytes(len(CONTENT)))
    empty = ScriptedNeighbour("empty", marks=b"0" * PIECES, importer="f" * 16)
    swarm = swarm_of(file, source, [liar, empty])
    finished(swarm)
    assert liar.verdict == LIED
    assert swarm.from_neighbours == 0
    assert sorted(source.opened) == list(range(PIECES))
    assert file.digest() == DIGEST


def test_run_neighbour_that_hangs_up_costs_its_pieces_nothing(file, monkeypatch):
    monkeypatch.setattr(share, "SECOND_LOOK", 0.05)
    monkeypatch.setattr(swarm_file, "PATIENCE", 0.1)
    monkeypatch.setattr(swarm_file, "STARVATION", 0.2)
    finished(swarm_of(file, MirrorSource(), [ScriptedNeighbour("broken", content=None)]))
    assert file.digest() == DIGEST


def test_run_neighbour_that_died_with_the_whole_blob_leaves_the_pieces_to_the_mirror(file, monkeypatch):
    """A neighbour with the whole blob is never asked again which pieces it has."""
    monkeypatch.setattr(neighbour_file, "LONGEST_REST", 0.05)
    dead = ScriptedNeighbour("dead", content=None)
    source = MirrorSource()
    swarm = swarm_of(file, source, watch=PieceWatch([dead], file.pieces, file.importer))
    finished(swarm)
    assert file.digest() == DIGEST
    assert dead.verdict == FAILED
    assert sorted(source.opened) == list(range(PIECES))


def test_run_neighbour_that_is_always_busy_does_not_keep_the_node_from_the_mirror(file, monkeypatch):
    """Its worker serves without a pause, or all its uploads are taken."""
    monkeypatch.setattr(neighbour_file, "BUSY_REST", 0.005)
    busy = ScriptedNeighbour("busy")

    def refused(*_arguments):
        raise NeighbourBusyError("it is busy")

    busy.open = refused
    source = MirrorSource()
    swarm = swarm_of(file, source, watch=PieceWatch([busy], file.pieces, file.importer))
    finished(swarm)
    assert file.digest() == DIGEST
    assert sorted(source.opened) == list(range(PIECES))


def test_run_neighbour_that_sends_byte_by_byte_is_left_alone_and_named(file, monkeypatch):
    """No silence is long enough to end its requests, and they would hold all threads for days."""
    monkeypatch.setattr(swarm_file, "SLOW_AFTER", 0.05)
    monkeypatch.setattr(neighbour_file, "LONGEST_REST", 0.05)
    slow = ScriptedNeighbour("slow")

    class Trickle(Bytes):
        def readinto(self, view):
            time.sleep(0.01)
            return super().readinto(view[:1])

    slow.open = lambda _pieces, start, stop: Trickle(CONTENT[start:stop])
    source = MirrorSource()
    swarm = swarm_of(file, source, watch=PieceWatch([slow], file.pieces, file.importer))
    finished(swarm)
    assert file.digest() == DIGEST
    assert (slow.verdict, slow.received) == (FAILED, 0)
    assert "less than 16 KiB/s" in slow.trouble
    assert sorted(source.opened) == list(range(PIECES))


class ThreadTime(threading.local):
    """A clock for each thread, which only the streams of the thread move."""

    now = 0.0

    def monotonic(self):
        return self.now


def test_run_threads_that_share_a_slow_link_do_not_blame_the_neighbour(file, monkeypatch):
    """Eight threads get 15 KiB a second each. The pace of all of them decides how much the mirror gives."""
    clock = ThreadTime()
    monkeypatch.setattr(swarm_file, "time", clock)
    for name in ("SECOND_TRY", "SECOND_TRY_OF_MIRROR"):
        monkeypatch.setattr(swarm_file, name, 1_000_000.0)

    class Shared(Bytes):
        def readinto(self, view):
            count = super().readinto(view[: 32 * 1024])
            clock.now += count / (120 * 1024 / 8)
            return count

    all_run = threading.Barrier(8)
    slow = ScriptedNeighbour("slow")

    def open_together(_pieces, start, stop):
        if not clock.now:  # the first request of a thread
            all_run.wait(20)
        return Shared(CONTENT[start:stop])

    slow.open = open_together
    swarm = swarm_of(file, MirrorSource(), [slow], concurrency=8)
    finished(swarm)
    assert file.digest() == DIGEST
    assert (slow.verdict, slow.trouble) == (GOOD, "")
    assert swarm.from_mirror <= MIB


@pytest.mark.parametrize("marks", [b"c" * PIECES, b"0" * PIECES, b"ccc000000"])
def test_run_import_of_a_neighbour_that_hangs_loses_its_pieces_to_this_node(file, monkeypatch, marks):
    """Its process is stopped, or does not reach the mirror, while the service of its node goes on."""
    for name, seconds in (("STUCK", 0.3), ("ROUND", 0.05), ("SETTLE", 0.05)):
        monkeypatch.setattr(neighbourhood, name, seconds, raising=False)
    monkeypatch.setattr(share, "SECOND_LOOK", 0.05)
    monkeypatch.setattr(swarm_file, "PATIENCE", 1000.0)
    hung = ScriptedNeighbour("hung", marks=marks, importer="f" * 16)
    hung.look = lambda _pieces: View(marks, "f" * 16)
    source = MirrorSource()
    swarm = swarm_of(file, source, watch=PieceWatch([hung], file.pieces, file.importer))
    swarm._watch.start()
    try:
        finished(swarm)
    finally:
        swarm._watch.stop()
    assert file.digest() == DIGEST
    assert sorted(source.opened) == list(range(PIECES))


class Slow(Bytes):
    """A stream that gives 32 KiB every few milliseconds."""

    def __init__(self, content, pause=0.05):
        super().__init__(content)
        self._pause = pause

    def readinto(self, view):
        time.sleep(self._pause)
        return super().readinto(view[: 32 * 1024])


@pytest.fixture
def slow_neighbour(monkeypatch):
    """A neighbour with the whole blob, slow for a node that judges soon. Its first piece comes before the others."""
    monkeypatch.setattr(pace, "SLOW", 100 * MIB)
    monkeypatch.setattr(pace, "WINDOW", 0.2)
    monkeypatch.setattr(pace, "REMEMBERED", 1000)
    slow = ScriptedNeighbour("slow")
    pauses = iter([0.01])
    slow.open = lambda _pieces, start, stop: Slow(CONTENT[start:stop], next(pauses, 0.05))
    return slow


def test_run_neighbours_are_slower_than_the_mirror_one_thread_reads_the_mirror(file, slow_neighbour, monkeypatch):
    monkeypatch.setattr(pace, "FASTER", 0.01)  # whatever else the machine does during the first read
    source = MirrorSource()
    swarm = swarm_of(file, source, [slow_neighbour])
    finished(swarm)
    assert file.digest() == DIGEST
    assert len(source.opened) >= 3 and swarm.from_neighbours > 0


def test_run_neighbours_and_mirror_are_slow_reads_one_piece_of_the_mirror(file, slow_neighbour):
    """The piece shows that the mirror would not help."""
    source = MirrorSource()
    right = source.open
    source.open = lambda start, stop: right(start, stop) and Slow(CONTENT[start:stop])
    finished(swarm_of(file, source, [slow_neighbour]))
    assert file.digest() == DIGEST
    assert len(source.opened) == 1


def test_run_mirror_does_not_answer_slow_neighbours_bring_the_blob(file, slow_neighbour):
    finished(swarm_of(file, MirrorSource(broken=10_000), [slow_neighbour]))
    assert file.digest() == DIGEST


def test_read_of_the_mirror_that_a_neighbour_overtakes_counts_only_its_own_bytes(file, monkeypatch):
    """The rest of the piece came from the neighbour, and would make the mirror seem fast."""
    clock = ThreadTime()
    monkeypatch.setattr(swarm_file, "time", clock)
    neighbours_piece = memoryview(bytearray(CONTENT[:MIB]))

    class Overtaken(Bytes):
        def readinto(self, view):
            clock.now += 1.0
            file.put(0, neighbours_piece)
            return super().readinto(view[:1000])

    source = MirrorSource()
    source.open = lambda start, stop: Overtaken(CONTENT[start:stop])
    swarm = swarm_of(file, source)
    swarm._begin(0, None, clock.now)(memoryview(bytearray(MIB)))
    assert swarm._watch.pace._mirror_rate == 1000


def test_run_mirror_breaks_off_pieces_come_again(file):
    source = MirrorSource(broken=5)
    finished(swarm_of(file, source))
    assert file.digest() == DIGEST
    assert len(source.opened) == PIECES + 5


def test_run_mirror_that_stays_broken_raises_its_error(file):
    with pytest.raises(MirrorUnreachableError):
        finished(swarm_of(file, MirrorSource(broken=10_000)))


def test_run_mirror_sends_a_wrong_piece_once_reads_it_again(file):
    """A proxy, or a disk on the way, may change bytes once. All right pieces would come again."""
    source = MirrorSource()
    right = source.open

    def wrong_once(start, stop):
        if source.opened.count(3) or start != 3 * MIB:
            return right(start, stop)
        source.opened.append(3)
        return Bytes(bytes(stop - start))

    source.open = wrong_once
    finished(swarm_of(file, source))
    assert file.digest() == DIGEST
    assert sorted(source.opened) == [0, 1, 2, 3, 3, 4, 5, 6, 7, 8]


def test_run_mirror_contradicts_the_list_raises(file):
    with pytest.raises(PieceListError):
        finished(swarm_of(file, MirrorSource(content=bytes(len(CONTENT)))))


def test_run_long_pieces_take_few_buffers(file, monkeypatch):
    """Each thread has a buffer of one piece, which has 32 MiB in a blob of 400 GB."""
    monkeypatch.setattr(buffer_pool, "MEMORY", 3 * MIB)
    threads = set()

    class Source(MirrorSource):
        def open(self, start, stop):
            time.sleep(0.02)
            threads.add(threading.current_thread())
            return super().open(start, stop)

    finished(swarm_of(file, Source()))
    assert 1 < len(threads) <= 3


def choice(swarm):
    """What the swarm would take next from its neighbours."""
    number, neighbour = swarm._from_neighbours(swarm._watch.sources)
    return number, neighbour and neighbour.name


def test_choice_a_rare_piece_of_a_busy_neighbour_waits_for_an_idle_one(file):
    """Pieces that one node has just read from the mirror must not draw all nodes to that node."""
    busy, idle = ScriptedNeighbour("busy", marks=b"100000000"), ScriptedNeighbour("idle", marks=b"011111111")
    busy.reading = 1
    swarm = swarm_of(file, MirrorSource(), [busy, idle])
    assert {choice(swarm)[1] for _turn in range(50)} == {"idle"}
    swarm._needed = 0b000000001
    assert choice(swarm) == (0, "busy")
    swarm._needed = 0
    assert choice(swarm) == (None, None)


def test_choice_of_the_pieces_of_a_neighbour_is_the_rarest(file, monkeypatch):
    monkeypatch.setattr(swarm_file, "PARTS", 1)
    some = [ScriptedNeighbour("a", marks=b"111111110"), ScriptedNeighbour("b", marks=b"111111110")]
    one = ScriptedNeighbour("c", marks=b"111111111")
    some[0].reading = some[1].reading = 1
    chosen = [choice(swarm_of(file, MirrorSource(), [*some, one])) for _turn in range(50)]
    assert chosen.count((8, "c")) > 40  # the sample of a choice may miss it


def test_choice_among_equals_is_any_piece_of_any_neighbour(file, monkeypatch):
    monkeypatch.setattr(swarm_file, "PARTS", 1)
    swarm = swarm_of(file, MirrorSource(), [ScriptedNeighbour(name) for name in "abc"])
    chosen = {choice(swarm) for _turn in range(500)}
    assert {number for number, _name in chosen} == set(range(PIECES))
    assert {name for _number, name in chosen} == {"a", "b", "c"}


def test_choice_is_near_the_first_lacking_piece_unless_the_neighbour_has_none_there(file):
    """The hash of the whole waits for the first lacking piece: 2 of 8 parts of 9 pieces are 4 pieces."""
    swarm = swarm_of(file, MirrorSource(), [ScriptedNeighbour("a")])
    swarm._needed = 0b111111110
    assert {choice(swarm)[0] for _turn in range(200)} == {1, 2, 3, 4}
    far = swarm_of(file, MirrorSource(), [ScriptedNeighbour("a", marks=b"000000011")])
    assert {choice(far)[0] for _turn in range(50)} == {7, 8}


def test_choice_of_marks_that_are_none_is_nothing(file):
    odd = ScriptedNeighbour("odd", marks=b"_ c\xff\x000+-2")
    assert choice(swarm_of(file, MirrorSource(), [odd])) == (None, None)


def test_own_pieces_come_part_by_part(file, monkeypatch):
    monkeypatch.setattr(swarm_file, "PARTS", 3)
    other = ScriptedNeighbour("a", marks=b"0" * PIECES, importer="f" * 16)
    swarm = swarm_of(file, MirrorSource(), [other], lambda me: (me,))
    orders = set()
    for _turn in range(20):
        swarm._share._among = ()
        orders.add(tuple(swarm._own_piece() for _piece in range(PIECES)))
    assert {tuple(number // 3 for number in order) for order in orders} == {(0, 0, 0, 1, 1, 1, 2, 2, 2)}
    assert len(orders) > 1


@pytest.mark.parametrize("importers, waits", [(2, False), (24, False), (240, True)])
def test_node_that_is_no_reader_waits_longer_the_more_nodes_wait(file, monkeypatch, importers, waits):
    monkeypatch.setattr(swarm_file, "PATIENCE", 1.0)
    others = ScriptedNeighbour("a", marks=b"0" * PIECES, importer="f" * 16)
    swarm = swarm_of(file, MirrorSource(), [others], lambda _me: ("f" * 16,))
    swarm._watch.importers = importers
    assert swarm._own_piece() is None
    swarm._starved_since -= 4.0
    assert (swarm._own_piece() is None) == waits


@pytest.mark.parametrize(
    "first, readers, reading, most",
    [
        (False, 24, 0, 1),  # nobody's claims are known yet
        (True, 24, 23, 1),
        (True, 24, 9, 2),
        (True, 24, 0, 4),  # no more than threads
        (False, 2, 0, 2),
        (True, 2, 19, 2),
    ],
)
def test_requests_to_the_mirror_grow_as_the_nodes_that_read_it_become_few(file, first, readers, reading, most):
    other = ScriptedNeighbour("a", marks=b"0" * PIECES, importer="f" * 16)
    swarm = swarm_of(file, MirrorSource(), [other], lambda me: (me, *map(str, range(1, readers))))
    swarm.from_mirror = MIB if first else MIB - 1
    swarm._watch.reading = reading
    assert swarm._most_mirror_requests(alone=False) == most
    assert swarm._most_mirror_requests(alone=True) == 4


@given(st.sets(st.integers(0, 20_000), min_size=1, max_size=60))
def test_pieces_as_bits_are_those_of_the_marks(numbers):
    marks = bytearray(b"0" * 20_001)
    for number in numbers:
        marks[number] = PRESENT
    pieces = pieces_in(bytes(marks))
    assert set(share.numbers_of(pieces)) == numbers
    assert set(swarm_file._some(pieces)) <= numbers
    assert swarm_file._some(1 << min(numbers)) == [min(numbers)]


def test_pieces_without_marks_are_none():
    assert pieces_in(b"") == 0
