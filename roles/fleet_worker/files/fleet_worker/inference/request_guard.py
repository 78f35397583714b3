# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may ask: what is checked of requests of protocol versions 2 and 3 before their work begins.

Such a request names the instance that it is for. A lane may be shared by the nodes of several instances, so a name that
this node does not have is an error of somebody's configuration, and the reply says so.

Such a request may also be signed. A token is good for one request, which may come several times: the broker gives it
out again, and LegionIO puts it into the queue again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Optional

from .._fleet.messages import Failure
from .._fleet.tokens import UNSIGNED, TokenError, check
from .._ollama.text import printable
from ..domain.delivery import Delivery
from ..domain.protocol_settings import ProtocolSettings
from .known_tokens import KnownTokens


class RequestGuard:
    """Checks requests that state a version. For any number of threads."""

    def __init__(self, settings: ProtocolSettings) -> None:
        self._settings = settings
        self._known = KnownTokens()

    def refusal(self, document: Mapping[str, Any], delivery: Delivery) -> Optional[Failure]:
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
        return self._untrusted(document, delivery)

    def _untrusted(self, document: Mapping[str, Any], delivery: Delivery) -> Optional[Failure]:
        tokens, token = self._settings.tokens, document["signed_token"]
        if tokens is None or (token == UNSIGNED and self._settings.unsigned):
            return None
        try:
            proof = check(token, document, tokens, delivery.received)
        except TokenError as error:
            return Failure(error.code, error.message)
        request = delivery.identity or hashlib.sha256(delivery.message.body).hexdigest()
        reused = self._known.refusal(proof.token_id, request, proof.expires)
        return None if reused is None else Failure("invalid_token", reused)
