# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Import: make models of the mirror present in a store on disk, with or without a running Ollama."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from ..._ollama.byte_counter import ByteCounter
from ..._ollama.names import ModelName
from ..._ollama.store import Store
from ..s3.mirror import Mirror
from ..signing.policy import SignaturePolicy
from ..state.lock import LockWait
from ..state.verification_records import VerificationRecords
from ..transfer.options import TransferOptions
from .blob_downloads import BlobDownloads
from .blob_inspector import BlobInspector
from .import_planner import ImportPlanner
from .import_report import ImportReport
from .import_run import ImportRun
from .plan import Plan
from .signature_check import SignatureCheck
from .store_destination import StoreDelivery, StoreDestination
from .wanted_models import WantedModels


class ModelImport:
    """One import of some models into one store.

    :ivar report: the work of the import so far.
    """

    def __init__(
        self,
        mirror: Mirror,
        store: Store,
        names: Sequence[ModelName],
        *,
        prune: Sequence[str] = (),
        verify_always: bool = False,
        options: Optional[TransferOptions] = None,
        wait: Optional[LockWait] = None,
        counter: Optional[ByteCounter] = None,
    ) -> None:
        """
        :param prune: remove other models of the store whose names match any of these patterns.
        :param verify_always: hash all blobs, also those that are unchanged since they were last verified.
        :param options: the use of the network.
        :param wait: the settings of the wait for another importer.
        :param counter: counts the bytes for the progress display.
        """
        self.report = ImportReport()
        self._inspector = BlobInspector(store, VerificationRecords(store.find_workspace(), believe=not verify_always))
        self._wanted = WantedModels(mirror, names)
        self._mirror, self._store = mirror, store
        downloads = BlobDownloads(
            self._wanted, store, options or TransferOptions(), counter or ByteCounter(), self.report
        )
        self._planner = ImportPlanner(self._wanted, store, StoreDestination(store, self._inspector), prune)
        delivery = StoreDelivery(downloads, self.report)
        self._run = ImportRun(store, self._planner, self._inspector, delivery, self.report, wait or LockWait())

    def demand_signatures(self, policy: SignaturePolicy) -> None:
        """Check the signature of each model by a policy. Must be called before the first plan."""
        self._wanted.signatures = SignatureCheck(self._mirror, self._store, policy)

    def plan(self) -> Plan:
        """Return the plan, as :meth:`ImportPlanner.plan` does."""
        return self._planner.plan()

    def apply(self) -> Plan:
        """Plan once more under the lock of the store, and carry out the plan, as :meth:`ImportRun.apply` does."""
        return self._run.apply()

    def remember(self) -> None:
        """Save the records of verified blobs, so that the next run need not hash them, and of verified signatures."""
        self._inspector.remember()
        self._wanted.remember_kept_signatures()
