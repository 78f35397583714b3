# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads by pieces into a store: what stays of a blob that fails, and how many files stay open."""

from __future__ import annotations

import errno
import hashlib
import os
import threading

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import MirrorAccessError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models import neighbour_downloads
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.import_report import ImportReport
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.neighbour_downloads import (
    NeighbourDownloads,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers import piece_file
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.neighbour import FAILURES, View
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.neighbourhood import Neighbourhood
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_list import LEAST_BLOB, PieceList
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_marks import read_marks
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.bandwidth import Bandwidth
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.blob_transfer import Transfer
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.options import NeighbourOptions
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.partial_file import PartialFile
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import blob_file_name
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import DirectoryError

PIECE = 1024


class Mirror:
    """A blob in the mirror."""

    version = 0

    def __init__(self, content):
        self._content = content
        self.opened = 0

    def open(self, start, stop):
        self.opened += 1
        return Stream(self._content[start:stop])


class Stream:
    def __init__(self, content):
        self._content = content

    def readinto(self, view):
        view[:], self._content = self._content[: len(view)], self._content[len(view) :]
        return len(view)

    def close(self):
        pass


@pytest.fixture
def report():
    return ImportReport()


@pytest.fixture
def downloads(store, report):
    return NeighbourDownloads(Neighbourhood(NeighbourOptions()), None, store, report, 2, Bandwidth(None))


def blob(content):
    """The transfer of a blob, and its list."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    parts = [content[at : at + PIECE] for at in range(0, len(content), PIECE)]
    pieces = PieceList(digest, len(content), PIECE, tuple(hashlib.sha256(part).digest() for part in parts))
    return Transfer(digest, len(content), Mirror(content), target=None), pieces


def run(downloads, blobs):
    lists = {transfer.digest: pieces for transfer, pieces in blobs}
    return downloads.run(
        [transfer for transfer, _pieces in blobs],
        lists,
        lambda _digest: "large",
        lambda _transfer, _count, _from_neighbour: None,
        lambda _transfer: None,
    )


class Unlisted:
    """A mirror without lists of pieces, for a key that may not list the bucket."""

    def pieces(self, digest, size):
        raise MirrorAccessError(f"access to pieces/{digest} is refused")


def test_lists_that_the_mirror_does_not_give_are_a_warning(store, report):
    neighbourhood = Neighbourhood(NeighbourOptions(("gpu-02",), "s" * 32))
    downloads = NeighbourDownloads(neighbourhood, Unlisted(), store, report, 2, Bandwidth(None))
    target = PartialFile(store.partials, "blob", LEAST_BLOB, store.ownership, store.blobs, "blob")
    digest = f"sha256:{'0' * 64}"
    assert downloads.lists([Transfer(digest, LEAST_BLOB, Mirror(b""), target)]) == {}
    assert [f"{digest} comes from the mirror alone" in warning for warning in report.warnings] == [True]


def test_run_disk_that_cannot_be_read_raises_and_keeps_the_pieces(downloads, store, report, monkeypatch):
    """The mirror's list of pieces is not to blame, and a later run continues."""
    content = os.urandom(4 * PIECE)
    transfer, pieces = blob(content)

    read = os.pread

    def broken(*arguments):
        if threading.current_thread().name == "piece-hash":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(piece_file.os, "pread", broken)
        with pytest.raises(DirectoryError, match="the disk reports an error"):
            run(downloads, [(transfer, pieces)])
    assert report.warnings == []
    kept = store.partials.open_file(f"{blob_file_name(transfer.digest)}.partial")
    assert kept is not None
    os.close(kept)
    again, _pieces = blob(content)
    assert run(downloads, [(again, pieces)]) == []
    assert again.resumed > 0
    assert store.blob_state(again.digest).st_size == len(content)


def test_run_model_of_many_layers_keeps_few_files_open(downloads, store, monkeypatch):
    """The last blobs have marks until the manifest names them, so that neighbours can fetch them."""
    monkeypatch.setattr(neighbour_downloads, "MOST_MARKED", 3, raising=False)
    blobs = [blob(os.urandom(PIECE)) for _layer in range(10)]
    assert store.partials  # which opens its directory
    before = len(os.listdir("/proc/self/fd"))
    assert run(downloads, blobs) == []
    assert len(os.listdir("/proc/self/fd")) <= before + 3
    marked = [transfer for transfer, _pieces in blobs if read_marks(store.partials, blob_file_name(transfer.digest))]
    assert marked == [transfer for transfer, _pieces in blobs[-3:]]
    downloads.end()
    assert os.listdir(store.partials.path) == []


@pytest.mark.parametrize(
    "troubles, warned",
    [
        (["no route", "it refuses the signature", "no route"], "2 of 3 failed with the same problem, no route"),
        (["no route", None], ""),
        ([None], ""),
        ([], ""),
    ],
)
def test_run_without_a_usable_neighbour_names_the_most_frequent_problem(store, report, troubles, warned):
    neighbourhood = Neighbourhood(NeighbourOptions(tuple(f"gpu-{number}" for number in range(len(troubles) + 1))))
    here, *others = neighbourhood.neighbours
    here.itself = True
    for neighbour, trouble in zip(others, troubles):
        for _turn in range(FAILURES if trouble else 0):
            neighbour.failed(OSError(trouble))
    run(NeighbourDownloads(neighbourhood, None, store, report, 2, Bandwidth(None)), [])
    assert [warned in text for text in report.warnings] == ([True] if warned else [])


def test_look_at_the_node_itself_recognizes_it(monkeypatch):
    neighbourhood = Neighbourhood(NeighbourOptions(("127.0.0.1:1", "127.0.0.2:1")))
    here, other = neighbourhood.neighbours
    monkeypatch.setattr(here, "look", lambda _pieces: View(b"1", "e" * 16))
    monkeypatch.setattr(other, "look", lambda _pieces: View(b"1", "f" * 16))
    watch = neighbourhood.watch(blob(b"content")[1], "e" * 16)
    watch.start()
    watch.stop()
    assert (here.itself, other.itself) == (True, False)
