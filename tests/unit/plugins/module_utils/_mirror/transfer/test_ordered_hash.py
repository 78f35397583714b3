# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hash of pieces that arrive in any order, and what of them is kept for a later run."""

from __future__ import annotations

import hashlib
import mmap

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.ordered_hash import (
    BlobRange,
    OrderedHash,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import DiskFullError

PAGE = mmap.PAGESIZE
CONTENT = bytes(range(256)) * (3 * PAGE // 256)


class Target:
    """Keeps what it is given."""

    def __init__(self, there=0, useful=True):
        self.there = there
        self.useful = useful
        self.calls = []
        self.full = False

    def begin(self):
        return self.there, hashlib.sha256(CONTENT[: self.there])

    def write(self, offset, data):
        if self.full:
            raise DiskFullError("full")
        self.calls.append(("write", offset, len(data)))

    def reached(self, length, data):
        self.calls.append(("reached", length))

    def passed(self, length, data, seen):
        self.calls.append(("passed", length))

    def cut(self, length):
        self.calls.append(("cut", length))
        return self.useful


def piece(start, stop, got=None):
    buffer = mmap.mmap(-1, -(-(stop - start) // PAGE) * PAGE)
    view = memoryview(buffer)[: stop - start]
    got = stop - start if got is None else got
    view[:got] = CONTENT[start : start + got]
    return BlobRange(start, buffer, view, got, written=got == stop - start)


def begun(target=None):
    made = OrderedHash(target or Target())
    made.begin()
    return made


def advance(hashing):
    """Hash what can be hashed; return where each piece began."""
    starts = []
    while True:
        claimed = hashing.claim()
        if claimed is None:
            return starts
        hashing.hash(claimed)
        hashing.release(claimed, hashed=True)
        starts.append(claimed.start)


def test_claim_pieces_in_any_order_are_hashed_in_order():
    hashing = begun()
    hashing.add(piece(200, 300))
    assert hashing.claim() is None
    hashing.add(piece(0, 100))
    assert advance(hashing) == [0]
    hashing.add(piece(100, 200))
    assert advance(hashing) == [100, 200]
    assert hashing.length == 300
    assert hashing.digest == f"sha256:{hashlib.sha256(CONTENT[:300]).hexdigest()}"


def test_claim_while_another_thread_hashes_returns_none():
    hashing = begun()
    hashing.add(piece(0, 100))
    hashing.add(piece(100, 200))
    first = hashing.claim()
    assert hashing.busy
    assert hashing.claim() is None
    hashing.hash(first)
    hashing.release(first, hashed=True)
    assert not hashing.busy
    assert hashing.claim().start == 100


def test_claim_piece_that_is_not_written_is_not_hashed():
    hashing = begun()
    hashing.add(piece(0, 100, got=50))
    assert hashing.claim() is None


def test_release_refused_piece_leaves_the_length():
    hashing = begun()
    hashing.add(piece(0, 100))
    claimed = hashing.claim()
    hashing.release(claimed, hashed=False)
    assert hashing.length == 0


def test_begin_bytes_of_an_earlier_run_are_hashed_already():
    hashing = OrderedHash(Target(there=100))
    assert hashing.begin() == hashing.length == 100
    hashing.add(piece(100, 300))
    advance(hashing)
    assert hashing.digest == f"sha256:{hashlib.sha256(CONTENT[:300]).hexdigest()}"


def test_digest_before_begin_is_a_defect():
    with pytest.raises(RuntimeError):
        str(OrderedHash(Target()).digest)


def test_hash_piece_is_reached_before_it_passes():
    target = Target()
    hashing = begun(target)
    hashing.add(piece(0, 100))
    advance(hashing)
    assert target.calls == [("reached", 100), ("passed", 100)]


def test_save_rest_incomplete_piece_is_kept_in_whole_pages():
    target = Target()
    hashing = begun(target)
    hashing.add(piece(0, 3 * PAGE, got=PAGE + 7))
    hashing.save_rest()
    assert target.calls == [("cut", 0), ("write", 0, PAGE), ("reached", PAGE), ("passed", PAGE)]
    assert hashing.length == PAGE


def test_save_rest_piece_behind_a_gap_is_dropped():
    target = Target()
    hashing = begun(target)
    hashing.add(piece(PAGE, 2 * PAGE))
    hashing.save_rest()
    assert target.calls == []
    assert [rest.start for rest in hashing.take_rest()] == [PAGE]
    assert hashing.take_rest() == []


def test_save_rest_target_without_use_for_more_gets_nothing():
    target = Target(useful=False)
    hashing = begun(target)
    hashing.add(piece(0, PAGE))
    hashing.save_rest()
    assert target.calls == [("cut", 0)]


def test_save_rest_less_than_a_page_is_not_kept():
    target = Target()
    hashing = begun(target)
    hashing.add(piece(0, 2 * PAGE, got=PAGE - 1))
    hashing.save_rest()
    assert target.calls == [("cut", 0)]


def test_save_rest_full_disk_is_the_callers_error():
    target = Target()
    target.full = True
    hashing = begun(target)
    hashing.add(piece(0, PAGE))
    with pytest.raises(DiskFullError):
        hashing.save_rest()
    assert hashing.length == 0


def test_save_rest_after_a_thread_died_keeps_nothing():
    target = Target()
    hashing = begun(target)
    hashing.add(piece(0, 100))
    hashing.add(piece(100, 200))
    hashing.claim()
    hashing.save_rest()
    assert target.calls == []
