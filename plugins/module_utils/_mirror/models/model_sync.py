# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Sync: make models of the mirror present on a running server, blobs through its API and manifests in its store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from ..._ollama.byte_counter import ByteCounter
from ..._ollama.client import OllamaClient
from ..._ollama.names import ModelName
from ..._ollama.retry import RetryPolicy
from ..._ollama.store import Store
from ..s3.mirror import Mirror
from ..signing.policy import SignaturePolicy
from ..state.lock import LockWait
from ..state.verification_records import VerificationRecords
from ..transfer.options import TransferOptions
from .blob_downloads import BlobDownloads
from .blob_inspector import BlobInspector
from .import_planner import ImportPlanner
from .import_report import SyncReport
from .import_run import ImportRun
from .plan import Plan
from .server_delivery import ServerDelivery
from .server_destination import ServerDestination
from .signature_check import SignatureCheck
from .wanted_models import WantedModels


@dataclass(frozen=True)
class ServerAccess:
    """The access of a sync to its server.

    :param client: a client of the server.
    :param pusher: a client of the same server without retries, because the content of an upload cannot be read again.
    :param policy: the retries of a failed upload.
    """

    client: OllamaClient
    pusher: OllamaClient
    policy: RetryPolicy


class ModelSync:
    """One sync of some models to one server.

    :ivar report: the work of the sync so far.
    """

    def __init__(
        self,
        mirror: Mirror,
        store: Store,
        names: Sequence[ModelName],
        server: ServerAccess,
        *,
        verify_always: bool = False,
        options: Optional[TransferOptions] = None,
        wait: Optional[LockWait] = None,
        counter: Optional[ByteCounter] = None,
    ) -> None:
        """
        :param store: the store of the server, as far as this process can reach it.
        :param verify_always: hash all blobs, also those that are unchanged since they were last verified.
        :param options: the use of the network.
        :param wait: the settings of the wait for another importer.
        :param counter: counts the bytes for the progress display.
        """
        self.report = SyncReport()
        self._inspector = BlobInspector(store, VerificationRecords(store.find_workspace(), believe=not verify_always))
        self._destination = ServerDestination(server.client, store, self._inspector, self.report)
        self._wanted = WantedModels(mirror, names)
        self._mirror, self._store = mirror, store
        downloads = BlobDownloads(
            self._wanted, store, options or TransferOptions(), counter or ByteCounter(), self.report
        )
        self._planner = ImportPlanner(self._wanted, store, self._destination)
        delivery = ServerDelivery(
            downloads, store, self._destination, self._inspector, self.report, server.pusher, server.policy
        )
        self._run = ImportRun(store, self._planner, self._inspector, delivery, self.report, wait or LockWait())

    @property
    def where(self) -> str:
        """The server and its store, as messages name them."""
        return self._destination.where

    def demand_signatures(self, policy: SignaturePolicy) -> None:
        """Check the signature of each model by a policy. Must be called before the first plan."""
        self._wanted.signatures = SignatureCheck(self._mirror, self._store, policy)

    def plan(self) -> Plan:
        """Return the plan, as :meth:`ImportPlanner.plan` does.

        :raises OllamaError: if the server does not answer.
        :raises NotItsStoreError: if the directory is not the server's store.
        :raises StoreOutOfReachError: if the plan changes the store, and this process cannot write to it.
        """
        return self._planner.plan()

    def apply(self) -> Plan:
        """Plan once more under the lock of the store, carry out the plan, and make sure the server lists the models."""
        plan = self._run.apply()
        self._destination.must_list(self._planner.manifests)
        return plan

    def remember(self) -> None:
        """Save the records of verified blobs, so that the next run need not hash them, and of verified signatures."""
        self._inspector.remember()
        self._wanted.remember_kept_signatures()
