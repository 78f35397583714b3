# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions of the scheduler: the worker carries each one out, and answers it with an event."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Union


@dataclass(frozen=True)
class Consume:
    """Begin to consume a lane; ``hot`` is the second consumer."""

    queue: str
    prefetch: int
    hot: bool = False


@dataclass(frozen=True)
class Cancel:
    """Stop consuming; answered by :meth:`Scheduler.cancelled`."""

    queue: str
    hot: bool = False


@dataclass(frozen=True)
class Get:
    """Ask a lane for one request; answered by :meth:`Scheduler.got`."""

    queue: str


@dataclass(frozen=True)
class Start:
    """Run requests of one lane as one batch; answered by :meth:`Scheduler.finished` with the model."""

    model: str
    items: tuple[Any, ...]


@dataclass(frozen=True)
class GiveBack:
    """Return a request that was not started to its queue. Only when the worker leaves, or the lane is withdrawn."""

    item: Any


Action = Union[Consume, Cancel, Get, Start, GiveBack]


class Mode(enum.Enum):
    """How requests arrive: the worker gets them one by one, or the broker sends them."""

    PULL = "pull"
    PUSH = "push"
