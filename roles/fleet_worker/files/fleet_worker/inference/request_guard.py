# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may ask: what is checked of requests of protocol versions 2 and 3 before their work begins.

Such a request names the instance that it is for. A lane may be shared by the nodes of several instances, so a name that
is none of this node's is an error of somebody's configuration, and the requester is told so.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Optional

from .._fleet.messages import Failure
from .._ollama.text import printable
from ..domain.protocol_settings import ProtocolSettings


class RequestGuard:
    """Checks requests that state a version. For any number of threads."""

    def __init__(self, settings: ProtocolSettings) -> None:
        self._settings = settings

    def refusal(self, document: Mapping[str, Any]) -> Optional[Failure]:
        """Return why a request must not be served; None when it may be.

        :param document: the body of a request whose envelope is complete.
        """
        instance = document["provider_instance"]
        if not any(fnmatchcase(instance, pattern) for pattern in self._settings.instances):
            known = ", ".join(self._settings.instances)
            return Failure(
                "unknown_instance",
                f"this worker is the instance {known}, not {printable(instance, 100)}; add the name to its instances",
            )
        return None
