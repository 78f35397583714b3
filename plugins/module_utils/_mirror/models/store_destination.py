# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A store on disk as the destination of an import, with or without a running Ollama."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Callable, Optional

from ..._ollama.digests import digest_of
from ..._ollama.manifests import Layer, Manifest
from ..._ollama.names import ModelName
from ..._ollama.store import Store
from ..transfer.blob_transfer import Transfer
from .blob_downloads import BlobDownloads
from .blob_inspector import BlobInspector
from .import_report import ImportReport
from .plan import BlobChange, ModelChange, Plan


class StoreDestination:
    """A store: the :class:`Destination` of an import."""

    def __init__(self, store: Store, inspector: BlobInspector) -> None:
        self._store = store
        self._inspector = inspector

    def look(self) -> None:
        """Do nothing: every method reads the store itself."""

    def names(self) -> Collection[ModelName]:
        """Return the names of the models of the store."""
        return self._store.names()

    def manifest_digest(self, name: ModelName) -> Optional[str]:
        """Return the digest of a model's manifest; ``None`` if the store lacks the model."""
        raw = self._store.manifest(name)
        return None if raw is None else digest_of(raw)

    def problems(self, blobs: Sequence[Layer]) -> list[Optional[str]]:
        """Return the problem of each blob."""
        return self._inspector.problems(blobs)

    def must_be_possible(self, plan: Plan, manifests: Mapping[ModelName, Manifest]) -> None:
        """Make sure that the store can be written to, if the plan changes it and the store is on this machine.

        :raises NotPermittedError: if this process may not write. The message names the directory.
        """
        if plan.changed and not self._store.obstacle:
            self._store.must_be_writable()


class StoreDelivery:
    """Downloads into the store: the :class:`BlobDelivery` of an import."""

    def __init__(self, downloads: BlobDownloads, report: ImportReport) -> None:
        self._downloads = downloads
        self._report = report

    def deliver(
        self, blobs: Sequence[BlobChange], users: Mapping[str, str], arrived: Callable[[Transfer], None]
    ) -> None:
        """Download some blobs. The engine makes the retries."""
        self._downloads.expect(blobs, users)
        transfers = [self._downloads.transfer(blob) for blob in blobs]
        self._downloads.run(transfers, arrived)
        self._report.failures += [transfer.error for transfer in transfers if transfer.error]

    def is_complete(self, model: ModelChange) -> bool:
        """Return true: each blob that has arrived was renamed into place."""
        return True
