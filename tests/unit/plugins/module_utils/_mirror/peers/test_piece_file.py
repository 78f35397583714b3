# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import hashlib
import mmap
import os
import time

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import MirrorError
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers import piece_file, piece_marks
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_file import PieceFile
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_list import PieceHasher
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.piece_marks import CLAIMED, read_marks
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer import partial_file
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.partial_file import PartialFile
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import CollectionError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import Directory, Ownership

MIB = 1024 * 1024
CONTENT = os.urandom(4 * MIB + 10)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
OURS = Ownership(None, None, 0o600, 0o700)


@pytest.fixture
def directory(tmp_path):
    with Directory.open(str(tmp_path)) as opened:
        yield opened


@pytest.fixture
def pieces():
    hasher = PieceHasher(DIGEST, len(CONTENT))
    hasher.update(memoryview(CONTENT))
    return hasher.finish()


@pytest.fixture
def short_interval(monkeypatch):
    monkeypatch.setattr(partial_file, "INTERVAL", MIB)


def piece(pieces, number):
    start, stop = pieces.bounds(number)
    return memoryview(bytearray(CONTENT[start:stop]))


def opened(directory, pieces):
    file = PieceFile(directory, "blob", pieces, OURS, directory)
    return file, file.begin(["registry.ollama.ai/library/large/latest"])


def test_put_pieces_in_any_order_make_the_blob(directory, pieces, short_interval, tmp_path):
    file, good = opened(directory, pieces)
    assert good == 0
    for number in (4, 0, 2, 1, 3):
        assert file.put(number, piece(pieces, number))
    assert file.lacking == 0
    assert file.digest() == DIGEST
    file.commit()
    assert (tmp_path / "blob").read_bytes() == CONTENT
    assert read_marks(directory, "blob").has(0, len(CONTENT))
    file.end()
    assert [entry.name for entry in tmp_path.iterdir()] == ["blob"]


def test_put_wrong_bytes_changes_nothing(directory, pieces):
    file, _good = opened(directory, pieces)
    wrong = piece(pieces, 1)
    wrong[7] ^= 1
    assert not file.put(1, wrong)
    assert file.lacking == 5
    assert not read_marks(directory, "blob").has(MIB, MIB + 1)
    file.suspend()


def test_begin_after_interruption_keeps_right_pieces_only(directory, pieces, tmp_path):
    file, _good = opened(directory, pieces)
    for number in (1, 3, 4):
        file.put(number, piece(pieces, number))
    file.suspend()
    with (tmp_path / "blob.partial").open("r+b") as damaged:
        damaged.seek(3 * MIB)
        damaged.write(b"power failure")
    again, good = opened(directory, pieces)
    assert again.present == [False, True, False, False, True]
    assert good == MIB + 10
    again.suspend()


def test_begin_piece_that_cannot_be_read_comes_again(directory, pieces, monkeypatch):
    """A bad sector would otherwise end each further run."""
    file, _good = opened(directory, pieces)
    for number in (1, 3, 4):
        file.put(number, piece(pieces, number))
    file.suspend()
    read = os.pread

    def broken(descriptor, count, offset):
        if offset == 3 * MIB:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor, count, offset)

    with monkeypatch.context() as patch:
        patch.setattr(piece_file.os, "pread", broken)
        again, good = opened(directory, pieces)
    assert again.present == [False, True, False, False, True]
    assert good == MIB + 10
    for number in (0, 2, 3):
        assert again.put(number, piece(pieces, number))
    assert again.digest() == DIGEST
    again.suspend()


def test_begin_file_without_marks_keeps_its_beginning(directory, pieces, tmp_path):
    (tmp_path / "blob.partial").write_bytes(CONTENT[: 2 * MIB + 5])
    (tmp_path / "blob.journal").write_bytes(b"")
    file, good = opened(directory, pieces)
    assert good == 2 * MIB
    file.suspend()


def alone(directory, length=0):
    """Return the bytes that a run without neighbours finds, after it has written the content up to a length."""
    file = PartialFile(directory, "blob", len(CONTENT), OURS, directory, "blob")
    found, seen = file.begin()
    for start in range(found, length, MIB):
        buffer = mmap.mmap(-1, MIB)  # direct output needs aligned memory
        buffer[:] = CONTENT[start : start + MIB]
        file.write(start, memoryview(buffer))
        seen.update(buffer)
        file.passed(start + MIB, memoryview(buffer), seen)
    file.suspend()
    return found


def put(file, pieces, *numbers):
    for number in numbers:
        assert file.put(number, piece(pieces, number))


def hashed(file, pieces, count):
    """Wait until the hash of the whole file has passed some pieces."""
    ends = time.monotonic() + 10
    while file._journal._noted < pieces.bounds(count - 1)[1]:
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_begin_run_without_neighbours_continues_after_the_pieces(directory, pieces, short_interval):
    file, _good = opened(directory, pieces)
    put(file, pieces, 1, 3, 0)
    hashed(file, pieces, 2)
    file.suspend()
    assert alone(directory) == 2 * MIB


def test_begin_after_killed_runs_with_and_without_neighbours_keeps_their_pieces(directory, pieces, short_interval):
    file, _good = opened(directory, pieces)
    put(file, pieces, 0)
    hashed(file, pieces, 1)
    file.suspend()
    assert alone(directory, 3 * MIB) == MIB
    again, good = opened(directory, pieces)
    assert again.present == [True, True, True, False, False]
    assert good == 3 * MIB
    again.suspend()


def test_begin_killed_before_its_hash_keeps_the_journal(directory, pieces, short_interval, monkeypatch):
    """A later run without neighbours continues, even if the hash of the whole file has passed only a part of it."""
    alone(directory, 3 * MIB)
    with monkeypatch.context() as patch:
        patch.setattr(PieceFile, "_digest_at", lambda self, start, stop: b"")
        file, _good = opened(directory, pieces)
    put(file, pieces, 0)
    hashed(file, pieces, 1)
    file.suspend()
    assert alone(directory) == 3 * MIB


def test_discard_removes_the_journal(directory, pieces, short_interval, tmp_path):
    file, _good = opened(directory, pieces)
    assert (tmp_path / "blob.journal").exists()
    file.discard()
    assert not list(tmp_path.iterdir())


def test_marks_of_dead_import_are_not_believed(directory, pieces):
    file, _good = opened(directory, pieces)
    file.put(0, piece(pieces, 0))
    file.claim(2)
    marks = read_marks(directory, "blob")
    assert marks.importer == file.importer
    assert marks.models == ("registry.ollama.ai/library/large/latest",)
    assert marks.marks[2] == CLAIMED
    assert marks.has(5, MIB)
    assert not marks.has(5, MIB + 1)
    assert not marks.has(2 * MIB, 2 * MIB + 1)
    file.suspend()
    assert read_marks(directory, "blob") is None


def test_begin_shows_marks_of_dead_import_only_when_verified(directory, pieces, tmp_path, monkeypatch):
    """The verification of a large file takes minutes, and its marks may promise pieces that a power failure removed."""
    file, _good = opened(directory, pieces)
    for number in (1, 3):
        file.put(number, piece(pieces, number))
    file.suspend()
    seen = []
    verify = PieceFile._digest_at

    def watched(self, start, stop):
        seen.append(read_marks(directory, "blob"))
        return verify(self, start, stop)

    monkeypatch.setattr(PieceFile, "_digest_at", watched)
    again, good = opened(directory, pieces)
    assert good == 2 * MIB
    assert len(seen) >= 2
    assert set(seen) == {None}
    assert read_marks(directory, "blob").has(MIB, 2 * MIB)
    again.suspend()


def test_begin_after_kill_during_verification_keeps_pieces(directory, pieces, monkeypatch):
    file, _good = opened(directory, pieces)
    for number in (1, 3):
        file.put(number, piece(pieces, number))
    file.suspend()

    def killed(self, start, stop):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PieceFile, "_digest_at", killed)
        with pytest.raises(KeyboardInterrupt):
            opened(directory, pieces)
    again, good = opened(directory, pieces)
    assert good == 2 * MIB
    again.suspend()


def test_begin_that_fails_releases_the_lock(directory, pieces, monkeypatch):
    """The process of the node's updates lives on, and its next import needs the lock."""
    monkeypatch.setattr(piece_marks, "_PATIENCE", 0.1)

    def full(descriptor, data, offset):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = PieceFile(directory, "blob", pieces, OURS, directory)
    with monkeypatch.context() as patch:
        patch.setattr(piece_marks.os, "pwrite", full)
        with pytest.raises(CollectionError, match="space"):
            file.begin(["registry.ollama.ai/library/large/latest"])
    again, _good = opened(directory, pieces)
    again.suspend()


def test_open_locked_marks_names_the_file(directory, pieces, monkeypatch):
    monkeypatch.setattr(piece_marks, "_PATIENCE", 0.1)
    file, _good = opened(directory, pieces)
    with pytest.raises(MirrorError, match=r"blob\.pieces"):
        opened(directory, pieces)
    file.suspend()


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"{}".ljust(4096) + b"1"])
def test_read_marks_foreign_content_is_no_import(directory, tmp_path, content):
    (tmp_path / "blob.pieces").write_bytes(content)
    with (tmp_path / "blob.pieces").open() as held:
        piece_marks.fcntl.flock(held, piece_marks.fcntl.LOCK_EX)
        assert read_marks(directory, "blob") is None
