# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of the roles' options that can work, and facts of a host where they do."""

from __future__ import annotations

import datetime
from typing import Any

CHECKSUM = "sha256:" + "0" * 64

#: What the roles ask of a host, for one that they support.
FACTS = {
    "architecture": "x86_64",
    "nodename": "node1",
    "os_family": "Debian",
    "packages": {},
    "service_mgr": "systemd",
}

SOUND: dict[str, dict[str, Any]] = {
    "ollama_server": {"ollama_server_version": "0.24.0", "ollama_server_checksum": CHECKSUM},
    "ollama_models": {"ollama_models_names": ["smollm2:135m"], "ollama_models_s3_bucket": "models"},
    "fleet_broker": {
        "fleet_broker_cluster": ["node1"],
        "fleet_broker_worker_password": "secret",
        "fleet_broker_requester_password": "other",
    },
    "fleet_gateway": {
        "fleet_gateway_broker_addresses": ["hub", "hub:5672", "[::1]:5671"],
        "fleet_gateway_broker_password": "secret",
        "fleet_gateway_keys": [{"name": "alice", "hash": CHECKSUM, "expires": datetime.date(2030, 1, 1)}],
    },
    "fleet_worker": {
        "fleet_worker_broker_addresses": ["hub", "hub:5672", "[::1]:5671"],
        "fleet_worker_broker_password": "secret",
        "fleet_worker_lanes": [{"type": "chat", "model": "smollm2:135m"}],
    },
}
