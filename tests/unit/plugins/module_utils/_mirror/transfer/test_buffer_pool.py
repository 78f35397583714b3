# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool of buffers: how many there are, and how long."""

from __future__ import annotations

import mmap

from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.buffer_pool import BufferPool


def test_take_all_in_use_returns_none():
    pool = BufferPool(2, 1000)
    buffers = [pool.take(), pool.take()]
    assert None not in buffers
    assert pool.take() is None


def test_take_buffer_that_was_given_back_is_used_again():
    pool = BufferPool(1, 1000)
    buffer = pool.take()
    pool.give_back(buffer)
    assert pool.take() is buffer
    assert pool.take() is None


def test_take_buffer_has_whole_pages():
    assert len(BufferPool(1, 1).take()) == mmap.PAGESIZE
    assert len(BufferPool(1, mmap.PAGESIZE + 1).take()) == 2 * mmap.PAGESIZE
