# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one worker was configured to do."""

from __future__ import annotations

from dataclasses import dataclass

from .._fleet.broker import BrokerSettings
from ..amqp.registry_publisher import RegistrySettings
from ..domain.delivery import LaneSettings
from ..inference.circuit_breaker import BreakerSettings
from ..inference.result_cache import KEEP


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of a worker, which it keeps for as long as it lives, but for the lanes.

    :ivar lanes: those that it begins with.
    :ivar exchanges: each lane is bound to each of them.
    :ivar registry: the node, as the registry shows it; its slots are the requests that may run at the same time.
    :ivar breaker: when a model that Ollama cannot run is given up, and for how long.
    :ivar starvation: seconds after which a lane has its turn, whatever else waits.
    :ivar batch_bytes: of the texts that go to Ollama as one array, at most.
    :ivar drain_timeout: seconds for what runs when the worker is asked to leave.
    :ivar duplicate_window: seconds for which an answer is kept for redeliveries of its request.
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
