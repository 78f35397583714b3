# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The options of group ``fleet`` for the connection to the broker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from .._fleet.broker import TLS_PORT, Address, BrokerSettings, BrokerTlsSettings
from .._fleet.errors import InvalidBrokerError

#: Options that say what is part of a URL, too.
WITHIN_URL = ("broker_host", "broker_port", "broker_vhost", "broker_username", "broker_password")


def require_one_broker(params: Mapping[str, Any], remedy: str = "Set broker_host or broker_url") -> None:
    """Check for a plugin what the argument spec checks for a module: that the broker is named in one way.

    :param params: options that are not set are missing or None.
    :param remedy: where a broker can be given.
    :raises InvalidBrokerError: without a broker, or for a URL beside options that the URL has in it.
    """
    beside = [name for name in WITHIN_URL if params.get(name) is not None]
    if params.get("broker_url") and beside:
        raise InvalidBrokerError(
            f"broker_url excludes {', '.join(beside)}", remedy="Put all of it into the URL, or leave the URL out"
        )
    if not params.get("broker_url") and not params.get("broker_host"):
        raise InvalidBrokerError("No broker is given", remedy=remedy)


def broker_settings(params: Mapping[str, Any]) -> BrokerSettings:
    """Return the settings of the broker that a module was given.

    :raises InvalidBrokerError: when the address cannot be read.
    """
    tls = BrokerTlsSettings(
        validate=params["broker_validate_certs"],
        ca_path=params["broker_ca_path"],
        client_cert=params["broker_client_cert"],
        client_key=params["broker_client_key"],
    )
    if params["broker_url"]:
        return BrokerSettings.from_url(params["broker_url"], tls)
    port = params["broker_port"]
    encrypted = bool(port == TLS_PORT or tls.ca_path or tls.client_cert)
    addresses = tuple(_address(host, port, encrypted) for host in params["broker_host"])
    if not addresses:
        raise InvalidBrokerError("No broker is given", remedy="Set broker_host to at least one host")
    credentials: dict[str, Any] = {}
    if params["broker_username"]:
        credentials = {"username": params["broker_username"], "password": params["broker_password"]}
    elif tls.client_cert:
        credentials = {"username": None}
    return BrokerSettings(addresses, vhost=params["broker_vhost"] or "/", tls=tls if encrypted else None, **credentials)


def _address(host: str, port: Optional[int], encrypted: bool) -> Address:
    if host.count(":") > 1 and not host.startswith("["):
        host = f"[{host}]"
    return Address.parse(f"{host}:{port}" if port else host, tls=encrypted)
