# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Partial files and their journals, on a real file system."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import threading

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer import partial_file
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.partial_file import PartialFile, held
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import Directory, Ownership

INTERVAL = 1000
OURS = Ownership(None, None, 0o600, 0o700)


@pytest.fixture(autouse=True)
def short_interval(monkeypatch):
    monkeypatch.setattr(partial_file, "INTERVAL", INTERVAL)


@pytest.fixture
def directory(tmp_path):
    with Directory.open(str(tmp_path)) as opened:
        yield opened


def partial(directory, content):
    return PartialFile(directory, "blob", len(content), OURS, directory, "final")


def write(target, content, start, stop, step=100):
    """Write a range of the content as the engine does, with the hash of all before it."""
    seen = hashlib.sha256(content[:start])
    for offset in range(start, stop, step):
        piece = memoryview(content[offset : min(offset + step, stop)])
        seen.update(piece)
        target.write(offset, piece)
        target.passed(offset + len(piece), piece, seen)


def interrupted(directory, content, length):
    target = partial(directory, content)
    assert target.begin()[0] == 0
    write(target, content, 0, length)
    target.suspend()


CONTENT = os.urandom(10_000)


def test_commit_grown_file_takes_its_place(directory, tmp_path):
    target = partial(directory, CONTENT)
    offset, seen = target.begin()
    assert (offset, seen.hexdigest()) == (0, hashlib.sha256().hexdigest())
    write(target, CONTENT, 0, len(CONTENT))
    assert sorted(os.listdir(tmp_path)) == ["blob.journal", "blob.partial"]
    target.commit()
    assert os.listdir(tmp_path) == ["final"]
    assert (tmp_path / "final").read_bytes() == CONTENT


@pytest.mark.parametrize("length, kept", [(0, 0), (999, 0), (1000, 1000), (5_432, 5_000), (9_999, 9_000)])
def test_begin_after_a_kill_keeps_bytes_up_to_the_last_journal_line(directory, length, kept):
    target = partial(directory, CONTENT)
    target.begin()
    write(target, CONTENT, 0, length)
    again = partial(directory, CONTENT)
    offset, seen = again.begin()
    assert offset == kept
    assert seen.hexdigest() == hashlib.sha256(CONTENT[:kept]).hexdigest()
    write(again, CONTENT, offset, len(CONTENT))
    again.commit()
    target.suspend()


@pytest.mark.parametrize("length", [0, 1, 999, 1000, 5_432, 9_999])
def test_suspend_keeps_every_hashed_byte(directory, length):
    interrupted(directory, CONTENT, length)
    offset, seen = partial(directory, CONTENT).begin()
    assert offset == length
    assert seen.hexdigest() == hashlib.sha256(CONTENT[:length]).hexdigest()


def test_cut_bytes_behind_a_gap_make_room_to_close_the_gap(directory, tmp_path):
    target = partial(directory, CONTENT)
    target.begin()
    write(target, CONTENT, 0, 2_000)
    target.write(8_192, memoryview(CONTENT[8_192:9_000]))
    target.cut(2_000)
    assert os.stat(tmp_path / "blob.partial").st_size == 2_000
    write(target, CONTENT, 2_000, 3_000)
    target.suspend()
    assert partial(directory, CONTENT).begin()[0] == 3_000


def test_begin_interrupted_many_times_still_ends_whole(directory, tmp_path):
    position = 0
    while position < len(CONTENT):
        target = partial(directory, CONTENT)
        offset, _seen = target.begin()
        assert offset == position
        position = min(offset + 2_500, len(CONTENT))
        write(target, CONTENT, offset, position)
        target.suspend()
    target = partial(directory, CONTENT)
    write(target, CONTENT, target.begin()[0], len(CONTENT))
    target.commit()
    assert (tmp_path / "final").read_bytes() == CONTENT


def journal_lines(*offsets):
    return b"".join(b"%d %s\n" % (n, hashlib.sha256(CONTENT[:n]).hexdigest().encode()) for n in offsets)


@pytest.mark.parametrize(
    "journal, kept",
    [
        (b"", 0),
        (b"\0" * 500, 0),
        (b"not a journal\n", 0),
        (journal_lines(1000, 2000) + b"3000 abc", 2000),
        (journal_lines(1000, 2000)[:-1], 1000),
        (journal_lines(2000, 1000), 2000),
        (journal_lines(1000, 1000), 1000),
        (journal_lines(0, 1000), 0),
        (journal_lines(1000) + b"2000 " + b"0" * 64 + b"\n" + journal_lines(3000), 1000),
        (journal_lines(1000) + b"9999999999999999999 " + b"0" * 64 + b"\n", 1000),
        (journal_lines(1000, 20_000), 1000),
    ],
)
def test_begin_journal_counts_only_as_far_as_it_agrees_with_the_file(directory, tmp_path, journal, kept):
    interrupted(directory, CONTENT, 5_000)
    (tmp_path / "blob.journal").write_bytes(journal)
    target = partial(directory, CONTENT)
    assert target.begin()[0] == kept
    write(target, CONTENT, kept, len(CONTENT))
    target.suspend()
    target = partial(directory, CONTENT)
    assert target.begin()[0] == len(CONTENT)


@pytest.mark.parametrize("damage, kept", [(500, 0), (1500, 1000), (4999, 4000)])
def test_begin_damaged_file_is_kept_up_to_the_damage(directory, tmp_path, damage, kept):
    interrupted(directory, CONTENT, 5_000)
    with (tmp_path / "blob.partial").open("r+b") as file:
        file.seek(damage)
        file.write(bytes([CONTENT[damage] ^ 1]))
    assert partial(directory, CONTENT).begin()[0] == kept


def test_begin_file_with_a_bad_sector_is_kept_up_to_the_sector(directory, monkeypatch):
    """The sector would otherwise end each further run."""
    interrupted(directory, CONTENT, 5_000)
    read = os.pread

    def broken(descriptor, count, offset):
        if offset == 3_000:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor, count, offset)

    again = partial(directory, CONTENT)
    with monkeypatch.context() as patch:
        patch.setattr(partial_file.os, "pread", broken)
        offset, seen = again.begin()
    assert (offset, seen.hexdigest()) == (3_000, hashlib.sha256(CONTENT[:3_000]).hexdigest())
    write(again, CONTENT, offset, len(CONTENT))
    again.commit()


def test_begin_file_that_lost_its_end_is_kept_up_to_the_last_sound_line(directory, tmp_path):
    interrupted(directory, CONTENT, 5_000)
    os.truncate(tmp_path / "blob.partial", 3_210)
    target = partial(directory, CONTENT)
    assert target.begin()[0] == 3_000
    assert os.stat(tmp_path / "blob.partial").st_size == 3_000


def test_begin_journal_of_other_content_is_ignored(directory):
    interrupted(directory, CONTENT, 5_000)
    other = os.urandom(5_000)
    target = partial(directory, other)
    # Same beginning of the file, so it is kept; the digest of the whole tells the difference.
    assert target.begin()[0] == 5_000
    target.discard()
    assert partial(directory, other).begin()[0] == 0


def test_begin_file_longer_than_the_blob_is_cut(directory, tmp_path):
    interrupted(directory, CONTENT, 5_000)
    target = partial(directory, CONTENT[:2_500])
    assert target.begin()[0] == 2_000


def test_suspend_full_disk_that_the_close_reports_hides_no_other_error(directory, monkeypatch):
    target = partial(directory, CONTENT)
    target.begin()
    close = os.close

    def late(descriptor):
        close(descriptor)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", late)
        target.suspend()
    assert "blob.partial" in directory.names()


def test_suspend_small_file_is_removed(directory, tmp_path):
    target = PartialFile(directory, "blob", 5, OURS, directory, "final")
    target.begin()
    target.write(0, memoryview(b"12"))
    assert os.listdir(tmp_path) == ["blob.partial"]
    target.suspend()
    assert os.listdir(tmp_path) == []


def test_discard_leaves_nothing(directory, tmp_path):
    interrupted(directory, CONTENT, 5_000)
    target = partial(directory, CONTENT)
    target.begin()
    target.discard()
    assert os.listdir(tmp_path) == []
    target.suspend()
    target.discard()


def test_descriptors_any_ending_closes_them(directory):
    before = len(os.listdir("/proc/self/fd"))
    for _round in range(5):
        target = partial(directory, CONTENT)
        target.begin()
        target.suspend()
    assert len(os.listdir("/proc/self/fd")) == before


def test_held_partial_file_counts_its_disk_space(directory):
    assert held(directory, "blob") == 0
    assert held(None, "blob") == 0
    interrupted(directory, CONTENT, 9_000)
    assert held(directory, "blob") >= 9_000


def test_write_large_pieces_go_past_the_page_cache(directory, tmp_path):
    """Direct output needs complete blocks; the incomplete block at the end is written correctly, too."""
    content = os.urandom(3 * 4096 + 17)
    target = partial(directory, content)
    target.begin()
    for offset in (4096, 0, 8192, 12288):  # in any order
        page = mmap.mmap(-1, 4096)
        piece = content[offset : offset + 4096]
        page.write(piece)
        target.write(offset, memoryview(page)[: len(piece)])
    target.commit()
    assert (tmp_path / "final").read_bytes() == content


def test_begin_bytes_behind_a_hole_are_dropped(directory, tmp_path):
    """The pieces behind a gap were written when the process died; they come again."""
    target = partial(directory, CONTENT)
    target.begin()
    write(target, CONTENT, 0, 2_000)
    target.write(8_000, memoryview(CONTENT[8_000:9_000]))
    target.suspend()
    assert os.stat(tmp_path / "blob.partial").st_size >= 9_000
    assert partial(directory, CONTENT).begin()[0] == 2_000
    assert os.stat(tmp_path / "blob.partial").st_size == 2_000


def test_write_refused_direct_output_falls_back_to_the_cache(directory, tmp_path, monkeypatch):
    pwrite = os.pwrite
    refused = []

    def refuse_direct(descriptor, data, offset):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            refused.append(offset)
            raise OSError(errno.EINVAL, "no direct output here")
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", refuse_direct)
    target = partial(directory, CONTENT)
    write(target, CONTENT, target.begin()[0], len(CONTENT))
    target.commit()
    assert (tmp_path / "final").read_bytes() == CONTENT
    assert refused in ([], [0])  # nothing is refused where the flag could not be set at all


def test_write_without_direct_output_one_thread_at_a_time_writes(directory, tmp_path, monkeypatch):
    """The system lets only one write; those who wait for it there burn a processor each."""
    pwrite, another, writing, most = os.pwrite, threading.Event(), [], []

    def watched(descriptor, data, offset):
        writing.append(offset)
        most.append(len(writing))
        another.wait(0.05)  # it is never set: another one may come meanwhile, if nothing keeps it away
        writing.remove(offset)
        return pwrite(descriptor, data, offset)

    monkeypatch.delattr(os, "O_DIRECT")
    target = partial(directory, CONTENT)
    target.begin()
    monkeypatch.setattr(os, "pwrite", watched)
    threads = [
        threading.Thread(target=target.write, args=(start, memoryview(CONTENT)[start : start + 2_500]))
        for start in range(0, 10_000, 2_500)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]
    assert (tmp_path / "blob.partial").read_bytes() == CONTENT
