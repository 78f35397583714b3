# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The settings of neighbours, from a task or a configuration."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Optional

from ..._ollama.errors import CollectionError
from ..transfer.options import NeighbourOptions
from .neighbour import parse_address
from .signature import SHORTEST_SECRET


class NeighbourSettingsError(CollectionError):
    """The settings of neighbours are invalid."""

    code = "peers"


def neighbour_options(
    addresses: Sequence[str],
    secret: Optional[str],
    ca_path: Optional[str] = None,
    client_cert: Optional[str] = None,
    client_key: Optional[str] = None,
) -> NeighbourOptions:
    """Return the checked options of the neighbours. Without addresses, the other settings are ignored.

    :param ca_path: the file with the authorities of the neighbours' certificates; ``None`` for no encryption.
    :raises NeighbourSettingsError: if an address is invalid, the secret is too short, or a certificate cannot be read.
    """
    if not addresses:
        return NeighbourOptions()
    for address in addresses:
        try:
            parse_address(address)
        except ValueError as error:
            raise NeighbourSettingsError(
                f"peers: {error}", remedy="Write it as host, host:port or [IPv6]:port"
            ) from error
    secret = (secret or "").strip()
    if len(secret) < SHORTEST_SECRET:
        raise NeighbourSettingsError(
            f"The secret of the peers has fewer than {SHORTEST_SECRET} characters",
            remedy="Make one with openssl rand -hex 32, and give it to all nodes",
        )
    context = None
    if ca_path:
        try:
            context = ssl.create_default_context(cafile=ca_path)
            if client_cert:
                # Without a password, OpenSSL asks the terminal for that of an encrypted key, and waits.
                context.load_cert_chain(client_cert, client_key, password="")
        except (OSError, ValueError) as error:
            raise NeighbourSettingsError(
                f"The certificates for the peers cannot be read: {error}",
                remedy="Correct the paths of the authorities, the certificate and its key, which must not be encrypted",
            ) from error
    return NeighbourOptions(tuple(addresses), secret, context)
