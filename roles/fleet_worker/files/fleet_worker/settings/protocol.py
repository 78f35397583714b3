# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How requests of protocol versions 2 and 3 are served, from what is configured."""

from __future__ import annotations

from .._fleet.dialects import served
from ..domain.protocol_settings import ProtocolSettings
from .config import Config


def protocol_settings(config: Config) -> ProtocolSettings:
    """Return what requests that state a version of the protocol are served under."""
    protocol = config.protocol
    instances = ["default", config.node] if protocol.instances is None else protocol.instances
    return ProtocolSettings(served(protocol.versions), tuple(instances))
