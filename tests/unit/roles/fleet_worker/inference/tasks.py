# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks for tests, made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Optional

from fleet_worker.domain.delivery import Delivery
from fleet_worker.inference.cancel_token import CancelToken
from fleet_worker.inference.deltas import DeltaPublisher
from fleet_worker.inference.task import Task

from ..deliveries import delivery


def task_of(made: Optional[Delivery] = None, **options: Any) -> Task:
    """A task whose deltas go nowhere.

    :param options: of the delivery, if none is given.
    """
    loop = SimpleNamespace(add_callback_threadsafe=lambda _callback: None)
    stop = CancelToken()
    return Task(made or delivery(**options), stop, DeltaPublisher(loop, lambda _reply, _done: None, stop.abandon))
