# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The execution of an import's plan.

The order of the steps keeps the store consistent if the power fails or Ollama prunes. Blobs are synced and renamed into
place, each as a whole, before the manifest that names them. After the manifests, another plan shows whether all blobs
are still present.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Callable, Protocol

from ..._ollama.digests import blob_file_name
from ..._ollama.errors import CollectionError
from ..._ollama.safe_fs import DirectoryError, OwnershipError
from ..._ollama.store import Store
from ..state.lock import LockWait, exclusive
from ..transfer.blob_transfer import Transfer
from .blob_inspector import BlobInspector
from .import_planner import ImportPlanner
from .import_report import ImportReport
from .model_removal import carry_out_removal
from .plan import ADD, KEEP, REPLACE, BlobChange, ModelChange, Plan
from .wanted_models import digests

#: The most rounds of an import while blobs vanish. Ollama prunes when it starts and when a model is removed, which does
#: not happen more often during one import.
ROUNDS = 3


class StoreRaceError(CollectionError):
    """Something removes blobs as fast as they are imported."""

    code = "store_race"


class BlobDelivery(Protocol):
    """The delivery of blobs from the mirror into the store."""

    def deliver(
        self, blobs: Sequence[BlobChange], users: Mapping[str, str], arrived: Callable[[Transfer], None]
    ) -> None:
        """Deliver some blobs. The error of a blob that cannot be delivered becomes a failure of the report.

        :param users: for the digest of each blob, the name of a model that uses it.
        :param arrived: receives the transfer of each blob that is in place, on several threads.
        :raises CollectionError: an error that concerns all blobs.
        """

    def is_complete(self, model: ModelChange) -> bool:
        """Return whether the store still has all blobs of a model, after all of them were present or have arrived."""


class ImportRun:
    """The execution of an import: plans under the lock of the store, and carries out the plans."""

    def __init__(
        self,
        store: Store,
        planner: ImportPlanner,
        inspector: BlobInspector,
        delivery: BlobDelivery,
        report: ImportReport,
        wait: LockWait,
    ) -> None:
        self._store = store
        self._planner = planner
        self._inspector = inspector
        self._delivery = delivery
        self._report = report
        self._wait = wait
        self._lock = threading.Lock()

    def apply(self) -> Plan:
        """Plan once more under the lock of the store, and carry out the plan. Return that plan.

        :raises CollectionError: the first failure, after all work that the failures do not concern.
        """
        start = time.monotonic()
        try:
            self._store.prepare()
            workspace, ownership = self._store.workspace, self._store.ownership
            with exclusive(workspace, ownership, self._wait.on_wait, within=self._wait.within):
                # Another run may have imported a newer model during the wait for the lock.
                self._planner.forget()
                plan = self._apply_until_stable()
        finally:
            self._report.seconds = time.monotonic() - start
        if self._report.failures:
            raise self._report.failures[0]
        return plan

    def _apply_until_stable(self) -> Plan:
        """Carry out plans until a new plan changes nothing; return the first plan."""
        plan = todo = self._planner.plan()
        # The plan counts on their room, so they go before the first download.
        self._remove_abandoned()
        for _round in range(ROUNDS):
            self._carry_out(todo)
            if self._report.failures:
                break
            todo = self._planner.plan()
            if not todo.changed:
                break
        else:
            raise self._unstable(todo)
        self._inspector.remember()
        return plan

    def _unstable(self, plan: Plan) -> CollectionError:
        """Return the error for an import that would have to carry out a plan once more after the last round."""
        if plan.access and not replace(plan, access=()).changed:
            file = plan.access[0]
            return OwnershipError(
                f"{file.path} still has the owner and mode {file.before} after they were set to {file.after}: its file"
                " system does not keep them",
                remedy="Omit owner, group and mode, and choose them when the file system is mounted (uid, gid and"
                " file_mode for CIFS, uid, gid and fmask for FAT); or find the process that changes them back",
                path=file.path,
            )
        return StoreRaceError(
            f"Blobs of {self._store.path} were removed while they were imported, {ROUNDS} times in a row",
            remedy="Find the process that removes them: an Ollama that restarts repeatedly, or another task",
        )

    def _remove_abandoned(self) -> None:
        """Remove the files that earlier runs left, and that no run will continue."""
        self._store.remove_temporary()
        with contextlib.suppress(DirectoryError):  # a failed removal is harmless
            for directory in dict.fromkeys((self._store.workspace, self._store.find_partials())):
                if directory is not None:
                    for name in self._planner.abandoned(directory):
                        directory.remove(name)

    def _carry_out(self, plan: Plan) -> None:
        if any(model.action in (ADD, REPLACE) for model in plan.models):
            self._keep_from_pruning(plan)
        if plan.access:
            self._change_access(plan)
        blobs = plan.of(ADD, REPLACE)
        coming = {blob.digest for blob in blobs}
        # A model is complete as soon as its own blobs have arrived, regardless of the blobs of other models.
        lacking = {model: coming & digests(model.after) for model in plan.models if model.after}
        for model, lacked in lacking.items():
            if not lacked:
                self._complete(model)

        def arrived(transfer: Transfer) -> None:
            with self._lock:
                self._inspector.note(transfer.digest)
                self._report.downloaded.append(transfer.digest)
                if transfer.resumed:
                    self._report.resumed.append(transfer.digest)
                for model, lacked in lacking.items():
                    if transfer.digest in lacked:
                        lacked.remove(transfer.digest)
                        if not lacked:
                            self._complete(model)

        self._delivery.deliver(blobs, self._users(), arrived)
        if not self._report.failures:
            carry_out_removal(self._store, plan, self._report.removal)

    def _users(self) -> dict[str, str]:
        manifests = self._planner.manifests.items()
        return {blob.digest: name.short for name, manifest in manifests for blob in manifest.blobs}

    def _complete(self, model: ModelChange) -> None:
        """Write the manifest of a model whose blobs have arrived. If some vanished, the next round delivers them."""
        if not self._delivery.is_complete(model):
            return
        # Before the manifest: after a kill between the two, no older signature can replace the new model.
        self._planner.remember_signature(model.name)
        if model.after and model.action != KEEP:
            # The names of all blobs must be on the disk before that of the manifest.
            self._store.sync_blobs()
            self._store.write_manifest(model.name, model.after.raw)
            self._report.manifests.append(model.name)
        if model.name not in self._report.models:
            self._report.models.append(model.name)

    def _change_access(self, plan: Plan) -> None:
        asked = self._store.asked_ownership
        if asked is None:
            return
        users = self._users()
        for blob in plan.of(KEEP):
            # A plan also keeps blobs that no model of the plan uses. Nobody has inspected these.
            if blob.digest in users:
                if self._store.blobs.set_access(blob_file_name(blob.digest), asked):
                    self._report.access_changed = True
                self._inspector.note(blob.digest)
        for model in plan.models:
            if model.action == KEEP and self._store.set_manifest_access(model.name, asked):
                self._report.access_changed = True

    def _keep_from_pruning(self, plan: Plan) -> None:
        """Touch the blobs that no manifest names yet: Ollama does not prune blobs younger than an hour (v0.21).

        They may be from an upload whose sync was killed, so they are also synced to the disk.
        """
        users = self._store.references().users
        for blob in plan.of(KEEP):
            if blob.digest not in users and self._store.sync_blob(blob.digest, touch=True):
                self._inspector.note(blob.digest)
