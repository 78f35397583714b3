# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The buffers of the download engine: their number bounds the memory of a download."""

from __future__ import annotations

import mmap
from typing import Optional

#: Bytes of all buffers of a download together. The process needs about 60 MB besides (Python and the SDK).
MEMORY = 48 * 1024 * 1024


class BufferPool:
    """A fixed number of buffers. It has no lock: the engine's lock guards every call.

    :param count: the largest number of buffers. A buffer is allocated when it is first needed.
    :param size: the least bytes of a buffer. A buffer has whole pages, because direct output needs them.
    """

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self._size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._free: list[mmap.mmap] = []
        self._allocated = 0

    def take(self) -> Optional[mmap.mmap]:
        """Return a buffer; ``None`` if all are in use."""
        if self._free:
            return self._free.pop()
        if self._allocated == self.count:
            return None
        self._allocated += 1
        return mmap.mmap(-1, self._size)

    def give_back(self, buffer: mmap.mmap) -> None:
        """Take back a buffer that is no longer used."""
        self._free.append(buffer)


def most_buffers(size: int) -> int:
    """Return how many buffers of some size a download may have: as many as the memory holds, and at least two."""
    return max(2, MEMORY // size)
