# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The progress of an import: what it has done when it ends or fails."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..._ollama.errors import CollectionError
from ..._ollama.names import ModelName


@dataclass
class ImportReport:
    """What an import has done so far.

    :ivar models: the models whose manifests it wrote, or whose blobs it repaired.
    :ivar downloaded: the digests of the blobs that it put in place.
    :ivar resumed: those of the downloaded blobs that an earlier run had begun.
    :ivar removed: the digests of the blobs that it removed, since no manifest names them any more.
    :ivar bytes_received: bytes that came over the network.
    :ivar bytes_resumed: bytes that an earlier run had left on the disk.
    :ivar bytes_from_neighbours: the part of them that neighbours sent.
    :ivar neighbours: the verdict on each neighbour that sent something or failed (``peers/neighbourhood.py``).
    :ivar seconds: how long the import took.
    :ivar failures: why blobs could not be brought.
    :ivar warnings: what the import left undone.
    """

    models: list[ModelName] = field(default_factory=list)
    downloaded: list[str] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    bytes_received: int = 0
    bytes_resumed: int = 0
    bytes_from_neighbours: int = 0
    neighbours: list[dict[str, object]] = field(default_factory=list)
    seconds: float = 0.0
    failures: list[CollectionError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass
class SyncReport(ImportReport):
    """What a sync has done so far.

    :ivar pushed: the digests of the blobs that the server took from this sync.
    :ivar unverified: the digests of blobs that the server has and whose content this process cannot read.
    """

    pushed: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
