# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings for requests of protocol versions 2 and 3, made from the configuration and the credentials of the unit."""

from __future__ import annotations

from typing import Optional

from .._fleet.dialects import served
from .._fleet.encrypted_bodies import BodyCipher
from .._fleet.tokens import SHORTEST_SECRET, TokenSettings
from ..domain.protocol_settings import ProtocolSettings
from . import credentials
from .config import Config, ProtocolConfig


def protocol_settings(config: Config) -> ProtocolSettings:
    """Return the settings for requests that state a version of the protocol.

    :raises CredentialError: if the cluster secret is missing or too short.
    :raises MissingDependencyError: if the worker must decrypt bodies without the package cryptography.
    """
    protocol = config.protocol
    instances = ["default", config.node] if protocol.instances is None else protocol.instances
    secret = _secret(protocol)
    checked = secret is not None and protocol.tokens != "ignored"
    return ProtocolSettings(
        served(protocol.versions),
        tuple(instances),
        TokenSettings(secret, protocol.issuer, protocol.audience) if checked and secret is not None else None,
        unsigned=not checked or protocol.tokens == "optional",
        cipher=BodyCipher(secret) if protocol.decrypt and secret is not None else None,
    )


def _secret(protocol: ProtocolConfig) -> Optional[str]:
    if protocol.secret_credential is None:
        return None
    secret = credentials.read(protocol.secret_credential)
    if len(secret) < SHORTEST_SECRET:
        raise credentials.CredentialError(
            f"The credential {protocol.secret_credential} has {len(secret)} characters, and a cluster secret needs"
            f" {SHORTEST_SECRET} at least",
            remedy="Write the setting crypt.cluster_secret of LegionIO into it, which has 64 hexadecimal digits",
            name=protocol.secret_credential,
        )
    return secret
