# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deliveries for tests, made by hand."""

from __future__ import annotations

import json
from typing import Any, Optional

from fleet_worker._fleet.lanes import lane as lane_named
from fleet_worker._fleet.messages import Message, Properties
from fleet_worker.domain.delivery import Delivery, LaneSettings
from fleet_worker.domain.settlement import Settlement

REPLY_TO = "llm.fleet.reply.0123456789abcdef"


class Channel:
    """A channel that remembers how deliveries were settled."""

    def __init__(self) -> None:
        self.is_open = True
        self.settled: list[tuple[Any, ...]] = []

    def basic_ack(self, tag: int) -> None:
        self.settled.append(("ack", tag))

    def basic_reject(self, tag: int, requeue: bool) -> None:
        self.settled.append(("reject", tag, requeue))

    def basic_nack(self, tag: int, requeue: bool) -> None:
        self.settled.append(("nack", tag, requeue))


def lane_settings(request_type: str = "chat", model: str = "m:1", **options: Any) -> LaneSettings:
    settings = {name: options.pop(name) for name in ("deadline", "priority") if name in options}
    made = lane_named(request_type, model, **options)
    return LaneSettings(made, **{"deadline": made.deadline, "priority": 0, **settings})


def delivery(
    body: Any = None,
    *,
    lane: Optional[LaneSettings] = None,
    headers: Optional[dict[str, Any]] = None,
    count: int = 0,
    tag: int = 1,
    channel: Optional[Channel] = None,
    received: Optional[float] = None,
    **properties: Any,
) -> Delivery:
    """A typed request, unless the properties say otherwise."""
    content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    properties = {"type": "llm.fleet.request", "reply_to": REPLY_TO, "correlation_id": "c-1", **properties}
    times = {} if received is None else {"received": received}
    return Delivery(
        lane or lane_settings(),
        Settlement(channel or Channel(), tag),
        Message(Properties(**properties), headers or {}, content),
        count,
        **times,
    )
