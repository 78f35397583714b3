# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The marks file: what the blob server believes of it, and what a later import keeps."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import MirrorError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers import piece_marks
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_list import PieceList
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_marks import (
    CLAIMED,
    MISSING,
    PRESENT,
    PieceMarks,
    SharedMarks,
    pieces_in,
    read_marks,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import Directory, Ownership

MIB = 1024 * 1024
PIECES = PieceList("sha256:" + "a" * 64, 3 * MIB + 5, MIB, (b"d" * 32,) * 4)
OURS = Ownership(None, None, 0o600, 0o700)
MODELS = ("registry.ollama.ai/library/large/latest",)
LINE = {"importer": "a1", "size": PIECES.size, "piece_size": MIB, "models": MODELS}


@pytest.fixture
def directory(tmp_path):
    with Directory.open(str(tmp_path)) as opened:
        yield opened


@pytest.fixture
def made(directory):
    """Make the marks of an import; all are closed at the end."""
    with contextlib.ExitStack() as stack:

        def make(**others):
            marks = PieceMarks(others.get("directory", directory), "blob", others.get("pieces", PIECES), OURS)
            stack.callback(marks.close)
            return marks

        yield make


@pytest.fixture
def locked(tmp_path):
    """Write a marks file that an import seems to hold."""
    with contextlib.ExitStack() as stack:

        def write(content):
            (tmp_path / "blob.pieces").write_bytes(content)
            file = stack.enter_context((tmp_path / "blob.pieces").open("rb"))
            fcntl.flock(file, fcntl.LOCK_EX)

        yield write


@pytest.mark.parametrize(
    "marks, bits",
    [(b"", 0), (b"0", 0), (b"1", 1), (b"01", 2), (b"1c01", 9), (b"\xff1x1", 10), (b"1" * 200, 2**200 - 1)],
)
def test_pieces_in_marks_are_bits_of_the_present_ones(marks, bits):
    assert pieces_in(marks) == bits


@pytest.mark.parametrize(
    "start, stop, has",
    [
        (0, 1, True),
        (0, 2 * MIB, True),
        (MIB + 1, 2 * MIB, True),
        (0, 2 * MIB + 1, False),
        (2 * MIB, 2 * MIB + 1, False),
        (3 * MIB, 3 * MIB + 5, True),
        (3 * MIB, 3 * MIB + 6, False),
        (2 * MIB - 1, 3 * MIB + 5, False),
        (5, 5, False),
        (6, 5, False),
        (-1, 5, False),
    ],
)
def test_has_range_whose_pieces_are_all_present(start, stop, has):
    marks = SharedMarks("a1", PIECES.size, MIB, MODELS, b"11c1")
    assert marks.has(start, stop) is has


def test_has_range_beyond_the_marks_is_missing():
    assert not SharedMarks("a1", PIECES.size, MIB, MODELS, b"11").has(MIB, 3 * MIB)


def test_marks_of_a_running_import_are_read_as_they_change(made, directory):
    marks = made()
    assert marks.open() == bytes([MISSING]) * 4
    assert read_marks(directory, "blob") is None, "the pieces are not verified yet"
    marks.publish(MODELS, b"0010")
    marks.set(0, CLAIMED)
    marks.set(3, PRESENT)
    assert read_marks(directory, "blob") == SharedMarks(marks.importer, PIECES.size, MIB, MODELS, b"c011")
    assert read_marks(directory, "other") is None and read_marks(None, "blob") is None
    assert made().importer != marks.importer


@pytest.mark.parametrize("removes", [False, True])
def test_marks_of_an_ended_import_are_not_read(made, directory, tmp_path, removes):
    marks = made()
    marks.open()
    marks.publish(MODELS, b"1111")
    if removes:
        marks.remove()
    else:
        marks.close()
    marks.close()
    assert read_marks(directory, "blob") is None
    assert (tmp_path / "blob.pieces").exists() is not removes


def test_open_marks_of_an_earlier_import_are_kept_but_not_believed(made, directory):
    first = made()
    first.open()
    first.publish(MODELS, b"1010")
    first.close()
    second = made()
    assert second.open() == b"1010"
    assert read_marks(directory, "blob") is None, "a crash may have lost the pieces"
    second.close()
    third = made()
    assert third.open() == b"1010"
    third.publish(MODELS, b"1000")
    assert read_marks(directory, "blob").marks == b"1000"


@pytest.mark.parametrize("length", [1, 4096, 4096 + 3, 4096 + 5])
def test_open_file_of_another_length_has_no_marks(made, directory, tmp_path, length):
    (tmp_path / "blob.pieces").write_bytes(b"1" * length)
    marks = made()
    assert marks.open() == bytes([MISSING]) * 4
    marks.publish(MODELS, b"0001")
    assert read_marks(directory, "blob").marks == b"0001"


def test_publish_many_models_names_the_first_alone(made, directory):
    marks = made()
    marks.open()
    many = [f"registry.ollama.ai/library/large-{number}/latest" for number in range(200)]
    marks.publish(many, b"0000")
    assert read_marks(directory, "blob").models == (many[0],)
    marks.publish(many[:3], b"0000")
    assert read_marks(directory, "blob").models == tuple(many[:3])


def test_open_file_that_another_process_holds_is_an_error_after_a_wait(made, monkeypatch):
    monkeypatch.setattr(piece_marks, "_PATIENCE", 0.1)
    made().open()
    with pytest.raises(MirrorError, match="locked"):
        made().open()


def test_open_waits_for_a_reader(made, directory, monkeypatch):
    """A server locks the file for a moment to see whether an import holds it."""
    marks = made()
    marks.open()
    marks.close()
    descriptor = directory.open_file("blob.pieces")
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    monkeypatch.setattr(piece_marks.time, "sleep", lambda _seconds: fcntl.flock(descriptor, fcntl.LOCK_UN))
    made().open()
    os.close(descriptor)


def test_marks_without_locks_are_not_read(made, directory, monkeypatch):
    def no_locks(_descriptor, _operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(piece_marks.fcntl, "flock", no_locks)
    marks = made()
    marks.open()
    marks.publish(MODELS, b"1111")
    assert read_marks(directory, "blob") is None


def test_set_mark_that_cannot_be_written_is_left_out(made, directory, monkeypatch):
    marks = made()
    marks.open()
    marks.publish(MODELS, b"0000")

    def full(_descriptor, _content, _offset):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(piece_marks.os, "pwrite", full)
        marks.set(0, PRESENT)
    assert read_marks(directory, "blob").marks == b"0000"


def test_read_foreign_values_are_cut(locked, directory):
    locked(json.dumps({**LINE, "importer": "a" * 100, "piece_size": 0, "models": [5]}).encode().ljust(4096) + b"1111")
    marks = read_marks(directory, "blob")
    assert (marks.importer, marks.piece_size, marks.models) == ("a" * 32, 1, ("5",))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"5",
        b"no JSON",
        b"\xff",
        json.dumps({**LINE, "size": None}).encode(),
        json.dumps({**LINE, "size": "many"}).encode(),
        json.dumps({**LINE, "size": float("inf")}).encode(),
        json.dumps({**LINE, "piece_size": float("nan")}).encode(),
        json.dumps({**LINE, "models": 5}).encode(),
    ],
)
def test_read_line_that_is_not_of_an_import_has_no_marks(locked, directory, line):
    locked(line.ljust(4096) + b"1111")
    assert read_marks(directory, "blob") is None
