# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.

from __future__ import annotations


class ModuleDocFragment:
    """Options of group broker (plugins/module_utils/_module/groups.py)."""

    DOCUMENTATION = r"""
options:
  broker_url:
    description:
      - The broker as a URL, for example C(amqps://user:password@hub.example.com:5671/vhost). The scheme C(amqps) means TLS.
      - Percent-encode each character of the user name, the password and the virtual host that has a meaning in a URL, such as V(/), V(?), V(#), V(@) and V(%).
        O(broker_username) and O(broker_password) take them as they are.
      - Excludes O(broker_host), O(broker_port), O(broker_vhost), O(broker_username), O(broker_password) and O(broker_tls).
    type: str
  broker_host:
    description:
      - Host name or address of the broker. Either O(broker_host) or O(broker_url) is required.
      - The module tries the hosts of a cluster in order until one accepts the connection. Each may be V(host:port) if O(broker_port) is not set.
    type: list
    elements: str
  broker_port:
    description:
      - Port of the broker.
      - If not set, the port is C(5671) with TLS and C(5672) without.
    type: int
  broker_vhost:
    description: Virtual host. If not set, the virtual host is C(/).
    type: str
  broker_username:
    description: User name. If not set, O(broker_client_cert) authenticates the module (SASL EXTERNAL). Without a certificate, the user is
      C(guest), which a broker accepts from its own machine only.
    type: str
  broker_password:
    description: Password of O(broker_username).
    type: str
  broker_tls:
    description:
      - Whether to use TLS.
      - If not set, the module uses TLS if a port is C(5671), or if O(broker_ca_path) or O(broker_client_cert) is set.
    type: bool
  broker_validate_certs:
    description: Whether the certificate of the broker must be valid.
    type: bool
    default: true
  broker_ca_path:
    description: File with the certificates of the authorities that may have signed the broker's certificate.
    type: path
  broker_client_cert:
    description: File with the client certificate.
    type: path
  broker_client_key:
    description: File with the private key that belongs to O(broker_client_cert).
    type: path
requirements:
  - pika >= 1.2 where the module runs
"""
