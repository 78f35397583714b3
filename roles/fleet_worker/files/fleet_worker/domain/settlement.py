# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settlement of one delivery: once, and on its own channel.

On another channel, the same delivery tag means another delivery or none, and the broker closes a channel for an unknown
tag. So a delivery is not settled after the loss of its channel: the broker has requeued it, and redelivers it.
"""

from __future__ import annotations

from typing import Any, Callable


class Settlement:
    """Settles one delivery. For the I/O thread.

    :param channel: pika's channel of the delivery.
    :param tag: the delivery tag on this channel.
    """

    def __init__(self, channel: Any, tag: int) -> None:
        self._channel = channel
        self._tag = tag
        self._settled = False

    @property
    def is_open(self) -> bool:
        """Whether the delivery is unsettled and its channel is open."""
        return not self._settled and bool(self._channel.is_open)

    def ack(self) -> bool:
        """Acknowledge the delivery; return whether the channel could send the command."""
        return self._settle(self._channel.basic_ack)

    def reject(self) -> bool:
        """Reject the delivery without a requeue; return whether the channel could send the command."""
        return self._settle(self._channel.basic_reject, requeue=False)

    def requeue(self) -> bool:
        """Requeue the delivery; return whether the channel could send the command."""
        return self._settle(self._channel.basic_nack, requeue=True)

    def _settle(self, say: Callable[..., None], **options: bool) -> bool:
        if not self.is_open:
            return False
        self._settled = True
        say(self._tag, **options)
        return True
