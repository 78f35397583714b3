# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of one worker."""

from __future__ import annotations

from dataclasses import dataclass

from .._fleet.broker import BrokerSettings
from ..amqp.registry_publisher import RegistrySettings
from ..domain.delivery import LaneSettings
from ..inference.circuit_breaker import BreakerSettings
from ..inference.result_cache import KEEP


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of a worker. They are fixed, except that a reload replaces the lanes.

    :ivar lanes: the lanes at the start.
    :ivar exchanges: the exchanges that each lane is bound to.
    :ivar registry: the settings for the registry; its slots are the most requests that run at the same time.
    :ivar breaker: the settings of the circuit breaker.
    :ivar starvation: the seconds of waiting after which a lane is next in turn.
    :ivar batch_bytes: the most bytes of the texts of one shared call.
    :ivar drain_timeout: the most seconds for running requests during a drain.
    :ivar duplicate_window: the seconds for which the result cache keeps an answer.
    """

    broker: BrokerSettings
    lanes: tuple[LaneSettings, ...]
    exchanges: tuple[str, ...]
    registry: RegistrySettings
    breaker: BreakerSettings
    starvation: float
    batch_bytes: int
    drain_timeout: float
    duplicate_window: float = KEEP
