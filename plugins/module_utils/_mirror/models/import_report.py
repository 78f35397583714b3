# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The reports of imports: what an import has done when it ends or fails."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..._ollama.errors import CollectionError
from ..._ollama.names import ModelName
from .model_removal import Removal


@dataclass
class ImportReport:
    """The work of an import so far.

    :ivar models: the models that are complete, also those in which nothing had to change.
    :ivar manifests: the models whose manifests were written.
    :ivar downloaded: the digests of the blobs that were put in place.
    :ivar resumed: the digests of downloaded blobs that an earlier run had begun.
    :ivar removal: the models that prune removed, and the blobs that no manifest names any more.
    :ivar access_changed: whether a kept file has got another owner, group or mode.
    :ivar bytes_received: bytes from the network.
    :ivar bytes_resumed: bytes from an earlier run that were on the disk.
    :ivar bytes_from_neighbours: the part of ``bytes_received`` that neighbours sent.
    :ivar neighbours: the verdict on each neighbour that sent bytes or failed (``peers/neighbourhood.py``).
    :ivar seconds: the duration of the import.
    :ivar failures: the errors of blobs that could not be downloaded.
    :ivar warnings: messages on work that was not done.
    """

    models: list[ModelName] = field(default_factory=list)
    manifests: list[ModelName] = field(default_factory=list)
    downloaded: list[str] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    removal: Removal = field(default_factory=Removal)
    access_changed: bool = False
    bytes_received: int = 0
    bytes_resumed: int = 0
    bytes_from_neighbours: int = 0
    neighbours: list[dict[str, object]] = field(default_factory=list)
    seconds: float = 0.0
    failures: list[CollectionError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything in the store was changed."""
        return bool(self.manifests or self.downloaded or self.removal.changed or self.access_changed)


@dataclass
class SyncReport(ImportReport):
    """The work of a sync so far.

    :ivar pushed: the digests of the blobs that the server took from this sync.
    :ivar unverified: the digests of blobs on the server whose content this process cannot read.
    """

    pushed: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything in the store or on the server was changed."""
        return bool(super().changed or self.pushed)
