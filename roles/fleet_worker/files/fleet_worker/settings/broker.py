# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection settings of the broker, made from the configuration and the credentials of the unit."""

from __future__ import annotations

from .._fleet.broker import Address, BrokerSettings, BrokerTlsSettings
from . import credentials
from .sections import BrokerConfig


def broker_settings(broker: BrokerConfig, name: str) -> BrokerSettings:
    """Return the connection settings of the broker.

    :param name: the connection name that the broker's own tools show.
    :raises CredentialError: if a secret is missing.
    """
    tls = None
    if broker.tls is not None:
        key = broker.tls.client_key_credential
        tls = BrokerTlsSettings(
            validate=broker.tls.validate_,
            ca_path=broker.tls.ca_path,
            client_cert=broker.tls.client_cert,
            client_key=str(credentials.path_of(key)) if key else None,
        )
    return BrokerSettings(
        addresses=tuple(Address.parse(text, tls=tls is not None) for text in broker.addresses),
        vhost=broker.vhost,
        username=broker.username,
        password=credentials.read(broker.password_credential) if broker.username is not None else "",
        heartbeat=broker.heartbeat,
        tls=tls,
        name=name,
    )
