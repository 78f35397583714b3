# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settlement of one delivery: once, and on the channel it came by.

A delivery tag means another delivery, or none, on every other channel, and an unknown tag costs the channel. So a
delivery whose channel is gone is not settled: the broker has it back, and gives it out again.
"""

from __future__ import annotations

from typing import Any, Callable


class Settlement:
    """Settles one delivery. For the I/O thread.

    :param channel: pika's channel that the delivery came by.
    :param tag: the delivery tag that the broker gave it on this channel.
    """

    def __init__(self, channel: Any, tag: int) -> None:
        self._channel = channel
        self._tag = tag
        self._settled = False

    @property
    def is_open(self) -> bool:
        """Whether the delivery can be settled: it was not, and its channel is open."""
        return not self._settled and bool(self._channel.is_open)

    def ack(self) -> bool:
        """Acknowledge the delivery; return whether that could be said."""
        return self._settle(self._channel.basic_ack)

    def reject(self) -> bool:
        """Reject the delivery, not to be given out again; return whether that could be said."""
        return self._settle(self._channel.basic_reject, requeue=False)

    def requeue(self) -> bool:
        """Return the delivery to its queue; return whether that could be said."""
        return self._settle(self._channel.basic_nack, requeue=True)

    def _settle(self, say: Callable[..., None], **options: bool) -> bool:
        if not self.is_open:
            return False
        self._settled = True
        say(self._tag, **options)
        return True
