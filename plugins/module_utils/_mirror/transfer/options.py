# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Settings of a download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

#: Requests that run at the same time, unless the user asks for another number.
CONCURRENCY = 8

#: Bytes of one range request, unless the user asks for another number.
CHUNK_SIZE = 8 * 1024 * 1024


@dataclass(frozen=True)
class TransferOptions:
    """How a download uses the network.

    :param concurrency: requests that run at the same time.
    :param chunk_size: bytes of one range request.
    :param max_bandwidth: bytes per second of all requests together; ``None`` for no limit.
    """

    concurrency: int = CONCURRENCY
    chunk_size: int = CHUNK_SIZE
    max_bandwidth: Optional[int] = None
