# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time limits and interrupts for a block of a task, without a second task.

Before Python 3.12, ``asyncio.wait_for`` creates a task for each coroutine, and a short request has six such waits.
``asyncio.timeout`` does the same as :func:`within`, but needs Python 3.11.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupt:
    """Cancels the block of the current task, at most once.

    :ivar has_come: whether the interrupt has cancelled the block.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._is_over = False
        self.has_come = False

    def __call__(self, *_whatever: object) -> None:
        """Cancel the block, unless it has ended."""
        if self._task is not None and not self._is_over and not self.has_come:
            self.has_come = True
            self._task.cancel()

    def close(self) -> None:
        """Note that the block has ended."""
        self._is_over = True
        uncancel = getattr(self._task, "uncancel", None)  # from Python 3.11 on, a task counts its cancellations
        if self.has_come and uncancel is not None:
            uncancel()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit the time of a block of the current task.

    :raises asyncio.TimeoutError: if the block takes longer.
    """
    interrupt = Interrupt()
    alarm = asyncio.get_running_loop().call_later(max(0.0, seconds), interrupt)
    try:
        yield
    except asyncio.CancelledError:
        if interrupt.has_come:
            raise asyncio.TimeoutError from None
        raise
    finally:
        alarm.cancel()
        interrupt.close()
