# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same work on many things."""

from __future__ import annotations

import threading
import time

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.support.parallel import each


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("count", [0, 1, 100])
def test_each_results_are_in_the_order_of_the_items(threads, count):
    assert each(lambda number: number * 2, range(count), threads) == [number * 2 for number in range(count)]


def test_each_items_run_at_the_same_time():
    together = threading.Barrier(4, timeout=10)
    each(lambda _number: together.wait(), range(4), 4)


@pytest.mark.parametrize("threads", [1, 4])
def test_each_first_error_ends_the_work(threads):
    begun = []

    def work(number):
        begun.append(number)
        if number == 3:
            raise ValueError("three")
        time.sleep(0.001)  # 10,000 of these would take seconds

    with pytest.raises(ValueError, match="three"):
        each(work, range(10_000), threads)
    assert len(begun) < 10_000
