# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a watch over the neighbours begins."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers import neighbour as neighbour_file
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers import neighbourhood
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.neighbour import (
    FAILURES,
    Neighbour,
    NeighbourBusyError,
    NeighbourError,
    View,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.neighbourhood import (
    Neighbourhood,
    PieceWatch,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_list import PieceList
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.options import NeighbourOptions

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
    watch = PieceWatch(neighbours, PIECES, "e" * 16)
    start = time.monotonic()
    watch.start()
    seconds = time.monotonic() - start
    looks = {one.looks for one in neighbours}
    watch.stop()
    assert (seconds >= 0.3) == waits
    assert looks <= ({2} if waits else {1})


class Clock:
    """A clock that a test moves."""

    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(neighbourhood, "time", made)
    return made


def seen(watch, neighbours):
    """Let a watch look at its neighbours."""
    for one in neighbours:
        watch._look(one)
    watch._take_stock()


@pytest.mark.parametrize("imports, seconds", [(1, 15), (3, 15), (7, 30), (100, 90)])
def test_watch_drops_an_import_that_got_no_piece_for_long(clock, imports, seconds):
    """The more imports share the link of the mirror, the longer their first pieces take."""
    neighbours = [ScriptedNeighbour(f"gpu-{one}", View(b"c0", f"{one:016x}")) for one in range(imports)]
    watch = PieceWatch(neighbours, PIECES, "e" * 16)
    seen(watch, neighbours)
    clock.now += seconds
    seen(watch, neighbours)
    assert (watch.importers, watch.spread(0)) == (imports + 1, imports)
    clock.now += 1
    neighbours[0].answer = View(b"1c", f"{0:016x}")
    seen(watch, neighbours)
    assert watch.readers == (f"{0:016x}", "e" * 16)
    assert (watch.importers, watch.reading) == (2, 1)
    assert (watch.spread(0), watch.spread(1)) == (1, 1)


def test_watch_with_a_slow_mirror_waits_longer_for_the_imports_of_others(clock):
    neighbours = [ScriptedNeighbour("gpu-1", View(b"c0", "f" * 16))]
    watch = PieceWatch(neighbours, PIECES, "e" * 16)
    watch.pace.mirror_begins(1, clock.now)
    seen(watch, neighbours)
    clock.now += 20
    seen(watch, neighbours)
    assert watch.spread(0) == 1  # this node's own read has not arrived either
    watch.pace.mirror_ended(1, clock.now)
    clock.now += 40
    seen(watch, neighbours)
    assert watch.spread(0) == 1
    clock.now += 1
    seen(watch, neighbours)
    assert watch.spread(0) == 0


def test_watch_that_does_not_look_judges_nobody(clock):
    neighbours = [ScriptedNeighbour("gpu-1", View(b"c0", "f" * 16))]
    watch = PieceWatch(neighbours, PIECES, "e" * 16)
    seen(watch, neighbours)
    clock.now += 1000
    watch._take_stock()
    assert watch.spread(0) == 1


def test_start_asks_no_neighbour_that_has_failed_or_rests():
    """Each of them may be powered off, and would delay each blob of a model of many layers."""
    good, failed, resting = neighbours = [ScriptedNeighbour(name, View(b"11")) for name in ("good", "failed", "rests")]
    for _turn in range(FAILURES):
        failed.failed(OSError("no route to host"))
    resting.failed(OSError("no route to host"))
    watch = PieceWatch(neighbours, PIECES, "e" * 16)
    watch.start()
    watch.stop()
    assert [one.looks for one in (good, failed, resting)] == [1, 0, 0]


@pytest.mark.parametrize("view", [None, View(b"11")])
def test_look_with_an_answer_ends_a_row_of_failed_looks(view, monkeypatch):
    unsteady = ScriptedNeighbour("unsteady", view)
    watch = PieceWatch([unsteady], PIECES, "e" * 16)
    answer, fault = unsteady.look, NeighbourError("it broke")

    def fail(_pieces):
        raise fault

    for _turn in range(FAILURES):
        for look in (fail, answer):
            monkeypatch.setattr(unsteady, "look", look)
            watch._look(unsteady)
    assert unsteady.verdict == neighbour_file.GOOD


def test_start_asks_a_neighbour_that_is_only_busy(monkeypatch):
    """Otherwise the node would seem to be alone, and all its threads would read the mirror."""
    monkeypatch.setattr(neighbour_file, "BUSY_REST", 60.0)
    monkeypatch.setattr(neighbourhood, "SETTLE", 0.0)
    busy = ScriptedNeighbour("busy", View(b"11"))
    busy.failed(NeighbourBusyError("it is busy"))
    watch = PieceWatch([busy], PIECES, "e" * 16)
    watch.start()
    watch.stop()
    assert (busy.looks, watch.alone) == (1, False)


@pytest.mark.parametrize("view, pauses", [(None, 1), (View(b"10", "f" * 16), 3)])
def test_start_waits_again_at_later_blobs_only_in_a_fleet_that_imports_together(view, pauses, monkeypatch):
    monkeypatch.setattr(neighbourhood, "SETTLE", 0.3)
    neighbourhood_ = Neighbourhood(NeighbourOptions())
    neighbourhood_.neighbours = [ScriptedNeighbour("gpu-1", view)]
    start = time.monotonic()
    for blob in range(3):
        watch = neighbourhood_.watch(PIECES, f"{blob:016}")
        watch.start()
        watch.stop()
    assert time.monotonic() - start >= 0.3 * pauses
    assert neighbourhood_.neighbours[0].looks == 3 + pauses


def test_look_at_a_neighbour_without_the_blob_leaves_no_connection_open():
    """A process may open 1,024 files, and a fleet may have more nodes."""
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        neighbour = Neighbour(f"127.0.0.1:{listener.getsockname()[1]}", None)
        look = threading.Thread(target=PieceWatch([neighbour], PIECES, "e" * 16)._look, args=(neighbour,))
        look.start()
        connection, _address = listener.accept()
        with connection:
            connection.settimeout(20)
            connection.recv(4096)
            connection.sendall(answer)
            look.join(20)
            assert connection.recv(1) == b""


class Importing(BaseHTTPRequestHandler):
    """A neighbour that imports the blob."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        for name, value in (("Blob-Size", 2), ("Piece-Size", 1), ("Importer", f"{self.server.server_port:016x}")):
            self.send_header(f"X-{name}", str(value))
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"00")

    def log_message(self, *_arguments):
        pass


def test_watch_over_many_neighbours_with_the_blob_keeps_few_connections_open(monkeypatch):
    """A process may open 1,024 files, and a fleet may have more nodes."""
    monkeypatch.setattr(neighbourhood, "MOST_IDLE", 3)
    monkeypatch.setattr(neighbourhood, "SETTLE", 0.0)
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Importing) for _server in range(8)]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    addresses = tuple(f"127.0.0.1:{server.server_port}" for server in servers)
    neighbours = Neighbourhood(NeighbourOptions(addresses))
    watch = neighbours.watch(PIECES, "e" * 16)
    watch.start()
    watch.stop()
    try:
        assert watch.importers == 9
        assert sum(len(one._endpoint._idle) for one in neighbours.neighbours) <= 3
    finally:
        for one in neighbours.neighbours:
            one.hang_up()
        for server in servers:
            server.shutdown()
            server.server_close()


def test_watch_counts_the_neighbours_that_read_the_mirror():
    views = [View(b"c0", "f" * 16), View(b"1c", "d" * 16), View(b"10", "c" * 16), View(b"11"), None]
    watch = PieceWatch(
        [ScriptedNeighbour(f"gpu-{number}", view) for number, view in enumerate(views)], PIECES, "e" * 16
    )
    assert watch.reading == 0
    watch.start()
    watch.stop()
    assert watch.reading == 2


def test_watch_asks_a_neighbour_that_has_not_answered_only_once(monkeypatch):
    monkeypatch.setattr(neighbourhood, "FIRST_ROUND", 0.1)
    monkeypatch.setattr(neighbourhood, "SETTLE", 0.0)
    monkeypatch.setattr(neighbourhood, "ROUND", 0.01)
    monkeypatch.setattr(neighbourhood, "LONG_ROUND", 0.01)
    answers = threading.Event()
    slow, quick = ScriptedNeighbour("slow", None), ScriptedNeighbour("quick", None)
    begun = []
    slow.look = lambda _pieces: begun.append(slow) or answers.wait(20)
    watch = PieceWatch([slow, quick], PIECES, "e" * 16)
    watch.start()
    while quick.looks < 10:
        time.sleep(0.01)
    watch.stop()
    answers.set()
    assert len(begun) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_look_that_ends_after_the_watch_leaves_the_view_of_the_next_blob(fails):
    """The lists of pieces of the two blobs have different lengths."""
    slow = ScriptedNeighbour("slow", None)
    watch, next_view = PieceWatch([slow], PIECES, "e" * 16), View(b"1" * 9)

    def look(_pieces):
        watch.stop()
        slow.view = next_view
        if fails:
            raise NeighbourError("it hangs up")
        return View(b"11")

    slow.look = look
    watch._look(slow)
    assert slow.view is next_view


_ENDS = """
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers import neighbourhood
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.neighbour import Neighbour
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_list import PieceList
import time

class Slow(Neighbour):
    def look(self, _pieces):
        time.sleep(120)

neighbourhood.FIRST_ROUND = neighbourhood.SETTLE = 0.1
watch = neighbourhood.PieceWatch([Slow("slow", None)], PieceList("sha256:" + "0" * 64, 2, 1, (b"a", b"b")), "e" * 16)
watch.start()
watch.stop()
"""


def test_watch_with_a_neighbour_that_hangs_does_not_hold_the_end_of_the_process():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", _ENDS], check=True, timeout=60, env=environment)
