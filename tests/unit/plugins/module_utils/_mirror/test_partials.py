# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Partial files and their journals, on a real file system."""

from __future__ import annotations

import hashlib
import os

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror import partials
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.partials import PartialFile, held
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.directories import Directory, Ownership

INTERVAL = 1000
OURS = Ownership(None, None, 0o600, 0o700)


@pytest.fixture(autouse=True)
def short_interval(monkeypatch):
    monkeypatch.setattr(partials, "INTERVAL", INTERVAL)


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
        piece = content[offset : min(offset + step, stop)]
        seen.update(piece)
        target.write(offset, memoryview(piece), seen)


def interrupted(directory, content, length):
    target = partial(directory, content)
    assert target.begin()[0] == 0
    write(target, content, 0, length)
    target.suspend()


CONTENT = os.urandom(10_000)


def test_a_file_grows_and_takes_its_place(directory, tmp_path):
    target = partial(directory, CONTENT)
    offset, seen = target.begin()
    assert (offset, seen.hexdigest()) == (0, hashlib.sha256().hexdigest())
    write(target, CONTENT, 0, len(CONTENT))
    assert sorted(os.listdir(tmp_path)) == ["blob.journal", "blob.partial"]
    target.commit()
    assert os.listdir(tmp_path) == ["final"]
    assert (tmp_path / "final").read_bytes() == CONTENT


@pytest.mark.parametrize("length, kept", [(0, 0), (999, 0), (1000, 1000), (5_432, 5_000), (9_999, 9_000)])
def test_what_was_written_is_kept_up_to_the_last_line_of_the_journal(directory, length, kept):
    interrupted(directory, CONTENT, length)
    target = partial(directory, CONTENT)
    offset, seen = target.begin()
    assert offset == kept
    assert seen.hexdigest() == hashlib.sha256(CONTENT[:kept]).hexdigest()
    write(target, CONTENT, offset, len(CONTENT))
    target.commit()


def test_it_can_be_interrupted_again_and_again(directory, tmp_path):
    position = 0
    while position < len(CONTENT):
        target = partial(directory, CONTENT)
        offset, _seen = target.begin()
        assert offset >= position - INTERVAL
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
def test_a_journal_is_believed_only_as_far_as_it_agrees_with_the_file(directory, tmp_path, journal, kept):
    interrupted(directory, CONTENT, 5_000)
    (tmp_path / "blob.journal").write_bytes(journal)
    target = partial(directory, CONTENT)
    assert target.begin()[0] == kept
    write(target, CONTENT, kept, len(CONTENT))
    target.suspend()
    target = partial(directory, CONTENT)
    assert target.begin()[0] == len(CONTENT)


@pytest.mark.parametrize("damage, kept", [(500, 0), (1500, 1000), (4999, 4000)])
def test_a_damaged_beginning_is_kept_up_to_the_damage(directory, tmp_path, damage, kept):
    interrupted(directory, CONTENT, 5_000)
    with (tmp_path / "blob.partial").open("r+b") as file:
        file.seek(damage)
        file.write(bytes([CONTENT[damage] ^ 1]))
    assert partial(directory, CONTENT).begin()[0] == kept


def test_a_file_that_lost_its_end_in_a_power_failure(directory, tmp_path):
    interrupted(directory, CONTENT, 5_000)
    os.truncate(tmp_path / "blob.partial", 3_210)
    target = partial(directory, CONTENT)
    assert target.begin()[0] == 3_000
    assert os.stat(tmp_path / "blob.partial").st_size == 3_000


def test_a_journal_of_other_content_is_not_believed(directory):
    interrupted(directory, CONTENT, 5_000)
    other = os.urandom(5_000)
    target = partial(directory, other)
    # Same beginning of the file, so it is kept; the digest of the whole tells the difference.
    assert target.begin()[0] == 5_000
    target.discard()
    assert partial(directory, other).begin()[0] == 0


def test_a_longer_file_than_the_blob_is_cut(directory, tmp_path):
    interrupted(directory, CONTENT, 5_000)
    target = partial(directory, CONTENT[:2_500])
    assert target.begin()[0] == 2_000


def test_a_small_file_has_no_journal_and_is_not_kept(directory, tmp_path):
    target = PartialFile(directory, "blob", 5, OURS, directory, "final")
    target.begin()
    target.write(0, memoryview(b"12"), hashlib.sha256())
    assert os.listdir(tmp_path) == ["blob.partial"]
    target.suspend()
    assert os.listdir(tmp_path) == []


def test_discarding_leaves_nothing(directory, tmp_path):
    interrupted(directory, CONTENT, 5_000)
    target = partial(directory, CONTENT)
    target.begin()
    target.discard()
    assert os.listdir(tmp_path) == []
    target.suspend()
    target.discard()


def test_descriptors_are_given_back(directory):
    before = len(os.listdir("/proc/self/fd"))
    for _round in range(5):
        target = partial(directory, CONTENT)
        target.begin()
        target.suspend()
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_the_partial_file_holds_counts_as_room(directory):
    assert held(directory, "blob") == 0
    assert held(None, "blob") == 0
    interrupted(directory, CONTENT, 9_000)
    assert held(directory, "blob") >= 9_000
