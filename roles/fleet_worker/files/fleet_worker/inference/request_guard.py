# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of requests of protocol versions 2 and 3 before their work begins: instance and token.

Such a request names an instance. The nodes of several instances may share a lane, so an unknown instance means a wrong
configuration somewhere, and the reply says so.

Such a request may also have a token. A token is valid for one request, but the request may arrive several times: the
broker redelivers it, and LegionIO publishes it again.
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
        """Return the failure of a request that must not be served; ``None`` if it may be served.

        :param document: the body of a request with a complete envelope.
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
