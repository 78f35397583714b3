# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key of a request."""

from __future__ import annotations

from typing import Optional

from starlette.types import Scope

from ..domain.errors import GatewayError
from ..settings.keys import ANYBODY, ApiKeys, KeyConfig


def keyholder(scope: Scope, keys: Optional[ApiKeys]) -> KeyConfig:
    """Return the key of a request.

    :param keys: ``None`` if the gateway has no keys.
    :raises GatewayError: 401 without a known key, 403 with an expired key.
    """
    if keys is None:
        return ANYBODY
    given = _given(scope)
    if not given:
        raise GatewayError(
            401, "no_key", "A key is required: send it as Authorization: Bearer KEY, or as x-api-key: KEY"
        )
    key = keys.find(given)
    if key is None:
        raise GatewayError(401, "unknown_key", "The key is not known here")
    if key.is_expired:
        raise GatewayError(403, "expired_key", f"The key {key.name} has expired; ask for a new one")
    return key


def _given(scope: Scope) -> str:
    headers: dict[bytes, bytes] = dict(scope["headers"])
    scheme, _space, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1").strip()
