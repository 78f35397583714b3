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

#: Options whose values can also be in the URL.
WITHIN_URL = ("broker_host", "broker_port", "broker_vhost", "broker_username", "broker_password", "broker_tls")

#: Options that need another one.
_TOGETHER = (
    ("broker_username", "broker_password"),
    ("broker_password", "broker_username"),
    ("broker_client_key", "broker_client_cert"),
)


def require_one_broker(params: Mapping[str, Any], remedy: str = "Set broker_host or broker_url") -> None:
    """Check that exactly one way of naming the broker is used, and that no option lacks the one that belongs to it.

    For modules, the argument spec checks this.

    :param params: options that are not set are missing or None.
    :param remedy: the remedy if no broker is given.
    :raises InvalidBrokerError: without a broker, for a URL together with options that belong into the URL, or for an
        incomplete pair of options.
    """
    beside = [name for name in WITHIN_URL if params.get(name) is not None]
    if params.get("broker_url") and beside:
        raise InvalidBrokerError(
            f"broker_url excludes {', '.join(beside)}", remedy="Put these values into the URL, or omit broker_url"
        )
    if not params.get("broker_url") and not params.get("broker_host"):
        raise InvalidBrokerError("No broker is given", remedy=remedy)
    for name, other in _TOGETHER:
        if params.get(name) is not None and params.get(other) is None:
            raise InvalidBrokerError(f"{name} is set without {other}", remedy=f"Set {other} too, or omit {name}")


def broker_settings(params: Mapping[str, Any]) -> BrokerSettings:
    """Return the settings of the broker from a module's parameters.

    :raises InvalidBrokerError: if an address is invalid.
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
    encrypted = params["broker_tls"]
    if encrypted is None:
        ports = {_address(host, port, encrypted=False).port for host in params["broker_host"]}
        encrypted = bool(tls.ca_path or tls.client_cert) or TLS_PORT in ports
    elif not encrypted and (tls.ca_path or tls.client_cert):
        raise InvalidBrokerError(
            "There are TLS files for the broker, but broker_tls is false", remedy="Omit broker_tls, or the files"
        )
    addresses = tuple(_address(host, port, encrypted=encrypted) for host in params["broker_host"])
    if not addresses:
        raise InvalidBrokerError("No broker is given", remedy="Set broker_host to at least one host")
    credentials: dict[str, Any] = {}
    if params["broker_username"]:
        credentials = {"username": params["broker_username"], "password": params["broker_password"]}
    elif tls.client_cert:
        credentials = {"username": None}
    return BrokerSettings(addresses, vhost=params["broker_vhost"] or "/", tls=tls if encrypted else None, **credentials)


def _address(host: str, port: Optional[int], *, encrypted: bool) -> Address:
    if host.count(":") > 1 and not host.startswith("["):
        host = f"[{host}]"
    return Address.parse(host if port is None else f"{host}:{port}", tls=encrypted)
