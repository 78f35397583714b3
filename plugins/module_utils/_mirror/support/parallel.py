# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A parallel map: the same work on many items, on several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def each(work: Callable[[_Item], _Result], items: Sequence[_Item], threads: int) -> list[_Result]:
    """Return the result of the work on each item, in the order of the items.

    Each thread takes the next item when it has finished one. Submitting each item to the executor would cost 0.1 ms per
    item, which is more than the work on a small item.

    :raises Exception: the first error of the work. The remaining items are not started.
    """
    todo = deque(enumerate(items))  # threads may pop at once (collections.deque)
    done: dict[int, _Result] = {}

    def some(_number: int) -> None:
        try:
            while True:
                try:
                    number, item = todo.popleft()
                except IndexError:
                    return
                done[number] = work(item)
        except BaseException:
            todo.clear()
            raise

    count = min(threads, len(items))
    if count == 1:
        some(0)
    elif count:
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(some, range(count)))
    return [done[number] for number in range(len(items))]
