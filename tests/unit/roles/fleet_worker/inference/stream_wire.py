# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other end of an answer that goes out in several messages, with a clock that the test turns."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from fleet_worker._fleet.messages import Message, Properties, Reply
from fleet_worker.domain.publication import Done, Publication
from fleet_worker.inference import paced_publisher

from ..manual_loop import ManualLoop

ANSWER = Reply("", "llm.fleet.reply.1", Message(Properties(), {"x-legion-hostname": "gpu-01"}, b"{}"))


class StreamWire:
    """What was published, and how it is confirmed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = ManualLoop()
        monkeypatch.setattr(paced_publisher.time, "monotonic", lambda: self.loop.now)
        #: What the messages were made of.
        self.sent: list[Any] = []
        self.unconfirmed: list[Done] = []
        self.gone = 0

    def write(self, message: Any) -> Optional[Reply]:
        self.sent.append(message)
        return ANSWER

    def publish(self, _reply: Reply, done: Done) -> None:
        self.unconfirmed.append(done)

    def go(self) -> None:
        self.gone += 1

    def confirm(self, publication: Publication = Publication.CONFIRMED) -> None:
        self.unconfirmed.pop(0)(publication)


def headers(answer: Optional[Reply]) -> Any:
    assert answer is not None
    return answer.message.headers
