# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions of the scheduler. The worker carries each action out, and answers with an event."""

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
    """Stop consuming; answered by :meth:`Scheduler.cancelled`, also if the broker has ended the consumer before."""

    queue: str
    hot: bool = False


@dataclass(frozen=True)
class Get:
    """Fetch one request from a lane; answered by :meth:`Scheduler.got`.

    :ivar keeps_alive: whether the get only keeps the queue from expiring. If the queue has consumers, which keep it
        alive, the worker does not fetch a request, and the answer is None.
    """

    queue: str
    keeps_alive: bool = False


@dataclass(frozen=True)
class Start:
    """Run requests of one lane as one batch; answered by :meth:`Scheduler.finished` with the model."""

    model: str
    items: tuple[Any, ...]


@dataclass(frozen=True)
class GiveBack:
    """Return a request that has not started to its queue.

    Only during a drain, if the lane is removed, or if a get has brought the request that only had to keep the queue
    alive.
    """

    item: Any


Action = Union[Consume, Cancel, Get, Start, GiveBack]


class Mode(enum.Enum):
    """How requests arrive: the broker pushes them, or the worker pulls them one by one."""

    PULL = "pull"
    PUSH = "push"
