# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The reports of imports: what an import has done when it ends or fails."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..._ollama.errors import CollectionError
from ..._ollama.names import ModelName


@dataclass
class ImportReport:
    """The work of an import so far.

    :ivar models: the models whose manifests were written, or whose blobs were repaired.
    :ivar downloaded: the digests of the blobs that were put in place.
    :ivar resumed: the digests of downloaded blobs that an earlier run had begun.
    :ivar removed: the digests of the blobs that were removed because no manifest names them any more.
    :ivar bytes_received: bytes from the network.
    :ivar bytes_resumed: bytes from an earlier run that were on the disk.
    :ivar bytes_from_neighbours: the part of ``bytes_received`` that neighbours sent.
    :ivar neighbours: the verdict on each neighbour that sent bytes or failed (``peers/neighbourhood.py``).
    :ivar seconds: the duration of the import.
    :ivar failures: the errors of blobs that could not be downloaded.
    :ivar warnings: messages on work that was not done.
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
    """The work of a sync so far.

    :ivar pushed: the digests of the blobs that the server took from this sync.
    :ivar unverified: the digests of blobs on the server whose content this process cannot read.
    """

    pushed: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
