# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pika's connection, with one thing put right.

What is on its way when a consumer is cancelled arrives before the broker has confirmed the cancellation. pika (1.4.4,
channel.py) rejects it with requeue: the request loses one of the few deliveries that its queue allows, three on a
shared lane, because this worker has changed its mind. Here it is delivered like any other.
"""

from __future__ import annotations

from typing import Any

import pika
import pika.channel


class _Channel(pika.channel.Channel):  # type: ignore[misc]
    def _on_deliver(self, method_frame: Any, header_frame: Any, body: bytes) -> None:
        on_message = self._consumers.get(method_frame.method.consumer_tag)
        if on_message is None:
            super()._on_deliver(method_frame, header_frame, body)
        else:
            on_message(self, method_frame.method, header_frame.properties, body)


class Connection(pika.SelectConnection):  # type: ignore[misc]
    """A connection whose channels deliver everything that they get."""

    def _create_channel(self, channel_number: int, on_open_callback: Any) -> pika.channel.Channel:
        return _Channel(self, channel_number, on_open_callback)
