# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Sync: make models of the mirror present on a running server: blobs through its API, manifests in its store.

Ollama's API takes blobs and cannot take a manifest, so that the store must be within reach as a directory. Whether the
directory is this server's store is not believed but seen: in what both have, or else in the first and smallest blob.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, Optional

from ..._ollama.api_errors import OllamaError
from ..._ollama.client import OllamaClient
from ..._ollama.errors import CollectionError
from ..._ollama.manifests import Layer, Manifest
from ..._ollama.model_list import listed
from ..._ollama.names import ModelName
from ..._ollama.retry import RetryPolicy
from ..._ollama.safe_fs import Directory, NotPermittedError, user_name
from ..._ollama.store import MANIFESTS, Store
from ..s3.mirror import Mirror
from ..support.parallel import each
from ..transfer.engine import Transfer
from ..transfer.server_upload import ServerTarget
from . import model_import
from .model_import import HASHERS, Importer
from .plan import REPLACE, BlobChange, ModelChange, Plan

#: Seconds until a blob that the server has must be seen in its store. Network file systems remember for a while that a
#: file was not there: NFS up to 60 s for a directory that does not change, and this one just did (nfs(5), acdirmin).
SEEN_WITHIN = 30.0


class NotItsStoreError(CollectionError):
    """The directory that was named is not the store of the server that was named."""

    code = "not_its_store"


class StoreOutOfReachError(CollectionError):
    """The manifests of the server cannot be written from here."""

    code = "store_out_of_reach"


@dataclass
class SyncReport(model_import.ImportReport):
    """What a sync has done so far.

    :ivar pushed: digests of the blobs that the server took from us.
    :ivar unverified: digests of blobs that the server has, and whose content cannot be seen from here.
    """

    pushed: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)


class Syncer(Importer):
    """One sync of some models to one server.

    :param store: that of the server, as far as it can be reached.
    :param client: of the server.
    :param pusher: of the same server, making no request twice.
    :param policy: how often, and after how long, an upload that broke off is made again.
    """

    report: SyncReport

    def __init__(
        self,
        mirror: Mirror,
        store: Store,
        names: Sequence[ModelName],
        *,
        client: OllamaClient,
        pusher: OllamaClient,
        policy: RetryPolicy,
        **options: Any,
    ) -> None:
        super().__init__(mirror, store, names, **options)
        self._client = client
        self._pusher = pusher
        self._policy = policy
        self._listed: dict[ModelName, str] = {}
        self._contradictions: list[str] = []
        self._agreed = False
        self._doubtful: set[str] = set()
        self.report = SyncReport()

    @property
    def where(self) -> str:
        """What is made as the mirror is, for people."""
        return f"{self._client.url} ({self._store.path})"

    # Planning

    def plan(self) -> Plan:
        """Decide what is to be done, as an import does; and whether it can be done from here.

        :raises OllamaError: when the server does not answer.
        :raises NotItsStoreError: when the directory is not the server's store.
        :raises StoreOutOfReachError: when something must be written there, and cannot be.
        """
        self._listed = {model.name: model.digest for model in listed(self._client.tags())}
        self._contradictions = []
        self.report.unverified = []
        return super().plan()

    def _present(self) -> Collection[ModelName]:
        return self._store.names() if self._store.exists else self._listed

    def _model_change(self, name: ModelName, manifest: Manifest) -> ModelChange:
        if not self._store.exists:
            return ModelChange(name, self._listed.get(name), manifest)
        change = super()._model_change(name, manifest)
        told = self._listed.get(name)
        # What is there without being listed may just lack its configuration, so that the server hides it.
        if told and told != change.before:
            what = f"the digest {change.before}" if change.before else "no manifest"
            self._contradict(f"the server lists {name} with the digest {told}, and the directory has {what} for it")
        self._agreed = self._agreed or bool(told and told == change.before)
        return change

    def _problems(self, blobs: Sequence[Layer]) -> list[Optional[str]]:
        return each(self._problem, blobs, HASHERS)  # the server is asked of each

    def _problem(self, blob: Layer) -> Optional[str]:
        there = self._client.has_blob(blob.digest)
        if not self._store.exists:
            if there:
                self._believe(blob)
            return None if there else ""
        state = self._store.blob_state(blob.digest)
        if state is not None and not stat.S_ISREG(state.st_mode):
            return super()._problem(blob)
        if there != (state is not None):
            lacks, has = ("the directory", "the server") if there else ("the server", "the directory")
            self._contradict(f"{has} has the blob {blob.digest}, and {lacks} has not")
            return ""
        if not there:
            return ""
        self._agreed = True
        try:
            return super()._problem(blob)
        except NotPermittedError:
            self._believe(blob)
            return None

    def _believe(self, blob: Layer) -> None:
        with self._lock:
            self.report.unverified.append(blob.digest)

    def _contradict(self, what: str) -> None:
        with self._lock:
            self._contradictions.append(what)

    def _must_be_possible(self, plan: Plan) -> None:
        if self._contradictions:
            raise self._not_its_store(self._contradictions[0])
        if plan.changed:
            self._must_be_writable(plan)
            self._need_room(plan)
            return
        for name, manifest in self._manifests.items():
            if self._listed.get(name) != manifest.digest:
                raise self._not_listed(name, manifest)

    def _must_be_writable(self, plan: Plan) -> None:
        store = self._store
        writes = [store.path, os.path.join(store.path, MANIFESTS)]
        # Only what is replaced is written to the directory; what is new goes through the server.
        writes += [os.path.dirname(store.blob_path(blob.digest)) for blob in plan.of(REPLACE)][:1]
        me = user_name(os.geteuid())
        if not store.exists:
            why = store.obstacle or f"where the task runs, {store.path} is not there, or is no models directory"
        else:
            barred = [path for path in writes if os.path.exists(path) and not os.access(path, os.W_OK | os.X_OK)]
            if not barred:
                return
            if os.geteuid() == 0:  # it is no matter of users
                with Directory.deepest(barred[0]) as directory:
                    directory.must_be_writable()
            why = f"user {me} may not write to {barred[0]}"
        raise StoreOutOfReachError(
            f"Models cannot be put on {self._client.url} from here: {why}, "
            "and Ollama takes manifests only as files in its models directory",
            remedy="Run the task on the server's machine as root or as the owner of its models directory (delegate_to, "
            "become, become_user), correct models_path, or use ollama_s3_import there, which needs no server",
            path=store.path,
            host=self._client.url,
        )

    def _not_its_store(self, evidence: str) -> NotItsStoreError:
        return NotItsStoreError(
            f"{self._store.path} is not the models directory of {self._client.url}: {evidence}",
            remedy="Set models_path to what the server was started with (OLLAMA_MODELS; for the usual service "
            "/usr/share/ollama/.ollama/models), or correct host; if something changed the models meanwhile, run again",
            path=self._store.path,
            host=self._client.url,
        )

    def _not_listed(self, name: ModelName, manifest: Manifest) -> NotItsStoreError:
        told = self._listed.get(name)
        instead = f"lists it with {told}" if told else "does not list it"
        return self._not_its_store(f"{name} is there with the digest {manifest.digest}, and the server {instead}")

    # Carrying out

    def apply(self) -> Plan:
        """Plan once more, alone with the store, and do it; in the end the server must list the models."""
        plan = super().apply()
        self._listed = {model.name: model.digest for model in listed(self._client.tags())}
        for name, manifest in self._manifests.items():
            if self._listed.get(name) != manifest.digest:
                raise self._not_listed(name, manifest)
        return plan

    def _deliver(self, blobs: Sequence[BlobChange], arrived: Callable[[Transfer], None]) -> None:
        todo = sorted(blobs, key=lambda blob: blob.size)
        while todo and not self._agreed:
            # The smallest alone: nobody wants to learn after 40 GB that the directory is another server's.
            self._attempt(todo[:1], arrived)
            todo = todo[1:]
        self._attempt(todo, arrived)

    def _attempt(self, blobs: Sequence[BlobChange], arrived: Callable[[Transfer], None]) -> None:
        """Bring some blobs, all of them, and those again whose upload broke off."""
        todo, failures = list(blobs), 0
        while todo:
            transfers = [self._transfer(blob) for blob in todo]
            came: set[str] = set()
            stopped: Optional[OllamaError] = None

            try:
                self._run(transfers, partial(_remember, came, arrived))
            except OllamaError as error:  # the server is out of reach for all of them
                stopped = error
            failures += 1
            again = {transfer.digest for transfer in transfers if not transfer.error} - came
            for transfer in transfers:
                if transfer.error and self._again(transfer.error, failures):
                    again.add(transfer.digest)
                elif transfer.error:
                    transfer.error.details.setdefault("digest", transfer.digest)
                    transfer.error.details.setdefault("status", None)
                    self.report.failures.append(transfer.error)
            if stopped and not self._again(stopped, failures):
                raise stopped
            todo = [blob for blob in todo if blob.digest in again]
            if todo:
                time.sleep(self._policy.delay(failures))

    def _again(self, error: CollectionError, failures: int) -> bool:
        return isinstance(error, OllamaError) and self._policy.retries_after(error, failures=failures, repeatable=True)

    def _transfer(self, blob: BlobChange) -> Transfer:
        transfer = super()._transfer(blob)
        if blob.action == REPLACE:
            # The API would say that it has the blob and take nothing. On disk it is replaced without a moment in which
            # it is missing.
            return transfer

        def kept(brought: bool) -> None:
            self._must_be_seen(blob)
            with self._lock:
                if brought:
                    self.report.pushed.append(blob.digest)
                else:
                    self._doubtful.add(blob.digest)

        transfer.target = ServerTarget(self._pusher, blob.digest, blob.size, kept)
        return transfer

    def _must_be_seen(self, blob: BlobChange) -> None:
        deadline = time.monotonic() + SEEN_WITHIN
        while self._store.blob_state(blob.digest) is None:
            if not self._client.has_blob(blob.digest):
                return  # pruned already; the next round brings it again
            if time.monotonic() > deadline:
                raise self._not_its_store(f"the server has got the blob {blob.digest}, and the directory has not")
            time.sleep(0.5)
        self._agreed = True

    def _note(self, digest: str) -> None:
        # What the server has from somebody else is not known to be sound until it is hashed.
        if digest not in self._doubtful:
            super()._note(digest)

    def _complete(self, model: ModelChange) -> None:
        # Ollama may have pruned what came before; then the next round brings it, and the manifest.
        if model.after and all(self._store.blob_state(blob.digest) for blob in model.after.blobs):
            super()._complete(model)


def _remember(came: set[str], arrived: Callable[[Transfer], None], transfer: Transfer) -> None:
    came.add(transfer.digest)
    arrived(transfer)
