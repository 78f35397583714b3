# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Settings of a download."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from ssl import SSLContext

#: Requests that run at the same time, unless the user asks for another number.
CONCURRENCY = 8

#: Bytes of one range request, unless the user asks for another number.
CHUNK_SIZE = 8 * 1024 * 1024


@dataclass(frozen=True)
class NeighbourOptions:
    """Which neighbours an import has, and how it talks to them.

    :ivar addresses: ``host``, ``host:port`` or ``[IPv6]:port`` of each; the node itself may be among them.
    :ivar secret: what all nodes of the fleet know, and nobody else.
    :ivar tls: how to encrypt, if so.
    """

    addresses: tuple[str, ...] = ()
    secret: str = field(default="", repr=False)
    tls: Optional[SSLContext] = None


@dataclass(frozen=True)
class TransferOptions:
    """How a download uses the network.

    :param concurrency: requests that run at the same time.
    :param chunk_size: bytes of one range request.
    :param max_bandwidth: bytes per second of all requests together; ``None`` for no limit.
    :param neighbours: other nodes that may have the blobs.
    """

    concurrency: int = CONCURRENCY
    chunk_size: int = CHUNK_SIZE
    max_bandwidth: Optional[int] = None
    neighbours: NeighbourOptions = NeighbourOptions()
