# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The options for neighbours, and their translation into settings of a transfer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._mirror.peers.settings import neighbour_options
from .._mirror.transfer.options import NeighbourOptions

PEERS: dict[str, dict[str, Any]] = {
    "peers": {"type": "list", "elements": "str", "default": []},
    "peers_secret": {"type": "str", "no_log": True},
    "peers_ca_path": {"type": "path"},
    "peers_client_cert": {"type": "path"},
    "peers_client_key": {"type": "path", "no_log": False},
}


def neighbours(params: Mapping[str, Any]) -> NeighbourOptions:
    """Return the neighbours that a task names; none for a module without the option.

    :raises NeighbourSettingsError: if they are invalid.
    """
    if not params.get("peers"):
        return NeighbourOptions()
    return neighbour_options(
        params["peers"],
        params["peers_secret"],
        params["peers_ca_path"],
        params["peers_client_cert"],
        params["peers_client_key"],
    )
