# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The options of a download."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from ssl import SSLContext

#: The default number of requests at the same time.
CONCURRENCY = 8

#: The default bytes of one range request.
CHUNK_SIZE = 8 * 1024 * 1024


@dataclass(frozen=True)
class NeighbourOptions:
    """The neighbours of an import, and how to connect to them.

    :ivar addresses: each as ``host``, ``host:port`` or ``[IPv6]:port``; the node itself may be among them.
    :ivar secret: the secret that all nodes of the fleet share.
    :ivar tls: the TLS settings; ``None`` for no encryption.
    """

    addresses: tuple[str, ...] = ()
    secret: str = field(default="", repr=False)
    tls: Optional[SSLContext] = None


@dataclass(frozen=True)
class TransferOptions:
    """The use of the network by a download.

    :param concurrency: the number of requests at the same time.
    :param chunk_size: bytes of one range request.
    :param max_bandwidth: bytes per second of all requests together; ``None`` for no limit.
    :param neighbours: other nodes that may have the blobs.
    """

    concurrency: int = CONCURRENCY
    chunk_size: int = CHUNK_SIZE
    max_bandwidth: Optional[int] = None
    neighbours: NeighbourOptions = NeighbourOptions()
