# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The delivery of blobs to a running server, through its API."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Callable, Optional

from ..._ollama.api_errors import OllamaError
from ..._ollama.client import OllamaClient
from ..._ollama.retry import RetryPolicy
from ..._ollama.store import Store
from ..retry import is_upload_repeated
from ..transfer.blob_transfer import Transfer
from ..transfer.server_upload import ServerTarget
from .blob_downloads import BlobDownloads
from .blob_inspector import BlobInspector
from .import_report import SyncReport
from .plan import REPLACE, BlobChange, ModelChange
from .server_destination import ServerDestination


class ServerDelivery:
    """Uploads of blobs from the mirror to a server: the :class:`BlobDelivery` of a sync.

    :param pusher: a client of the server without retries.
    :param policy: the retries of a failed upload.
    """

    def __init__(
        self,
        downloads: BlobDownloads,
        store: Store,
        destination: ServerDestination,
        inspector: BlobInspector,
        report: SyncReport,
        pusher: OllamaClient,
        policy: RetryPolicy,
    ) -> None:
        self._downloads = downloads
        self._store = store
        self._destination = destination
        self._inspector = inspector
        self._report = report
        self._pusher = pusher
        self._policy = policy
        self._lock = threading.Lock()

    def deliver(
        self, blobs: Sequence[BlobChange], users: Mapping[str, str], arrived: Callable[[Transfer], None]
    ) -> None:
        """Deliver some blobs, with retries of failed uploads."""
        self._downloads.expect(blobs, users)
        todo = sorted(blobs, key=lambda blob: blob.size)
        while todo and not self._destination.agreed:
            # The smallest blob comes first and alone, to learn early whether the directory belongs to another server.
            self._deliver_with_retries(todo[:1], arrived)
            todo = todo[1:]
        self._deliver_with_retries(todo, arrived)

    def is_complete(self, model: ModelChange) -> bool:
        """Return whether the store has all blobs of a model. Ollama may have pruned blobs that arrived earlier."""
        return model.after is not None and all(self._store.blob_state(blob.digest) for blob in model.after.blobs)

    def _deliver_with_retries(self, blobs: Sequence[BlobChange], arrived: Callable[[Transfer], None]) -> None:
        todo, failures = list(blobs), 0
        while todo:
            transfers = [self._transfer(blob) for blob in todo]
            came, stopped = self._deliver_once(transfers, arrived)
            failures += 1
            again = {transfer.digest for transfer in transfers if not transfer.error} - came
            for transfer in transfers:
                if transfer.error and is_upload_repeated(transfer.error, self._policy, failures=failures):
                    again.add(transfer.digest)
                elif transfer.error:
                    transfer.error.details.setdefault("digest", transfer.digest)
                    transfer.error.details.setdefault("status", None)
                    self._report.failures.append(transfer.error)
            if stopped and not is_upload_repeated(stopped, self._policy, failures=failures):
                raise stopped
            todo = [blob for blob in todo if blob.digest in again]
            if todo:
                time.sleep(self._policy.delay(failures))

    def _deliver_once(
        self, transfers: Sequence[Transfer], arrived: Callable[[Transfer], None]
    ) -> tuple[set[str], Optional[OllamaError]]:
        """Return the digests of the blobs that arrived, and the error that ended all transfers, if there was one."""
        came: set[str] = set()

        def note(transfer: Transfer) -> None:
            came.add(transfer.digest)
            arrived(transfer)

        try:
            self._downloads.run(transfers, note)
        except OllamaError as error:
            return came, error
        return came, None

    def _transfer(self, blob: BlobChange) -> Transfer:
        if blob.action == REPLACE:
            # The API would not take the blob, because the server already has one with this digest. So the blob is
            # replaced on disk, by a rename.
            return self._downloads.transfer(blob)

        def kept(brought: bool) -> None:
            if brought:
                with self._lock:
                    self._report.pushed.append(blob.digest)
            else:
                self._inspector.distrust(blob.digest)
            self._destination.must_be_seen(blob.digest)
            # Ollama does not sync a blob, and the manifest that names the blob must not be on the disk before it.
            self._store.sync_blob(blob.digest)

        return self._downloads.transfer(blob, ServerTarget(self._pusher, blob.digest, blob.size, kept))
