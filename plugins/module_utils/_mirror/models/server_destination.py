# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A running server, and the directory that should be its store, as the destination of a sync.

Ollama's API accepts blobs but no manifests, so this process must also reach the store as a directory. The sync checks
that the directory belongs to the server: by the models and blobs that both have, or else by the first uploaded blob.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Optional

from ..._ollama.client import OllamaClient
from ..._ollama.errors import CollectionError
from ..._ollama.manifests import Layer, Manifest
from ..._ollama.model_list import listed
from ..._ollama.names import ModelName
from ..._ollama.safe_fs import Directory, NotPermittedError, user_name
from ..._ollama.store import MANIFESTS, Store
from ..support.parallel import each
from .blob_inspector import HASHERS, BlobInspector
from .import_report import SyncReport
from .plan import REPLACE, Plan
from .store_destination import StoreDestination

#: Seconds after which the directory must have a blob that the server has. Network file systems may report a new file
#: late: NFS caches an unchanged directory for up to 60 s, and a directory that has just changed for 30 s (nfs(5),
#: acdirmin).
SEEN_WITHIN = 30.0

#: Seconds between two checks for such a blob.
_LOOK_EVERY = 0.5


class NotItsStoreError(CollectionError):
    """The given directory is not the store of the given server."""

    code = "not_its_store"


class StoreOutOfReachError(CollectionError):
    """This process cannot write the manifests of the server."""

    code = "store_out_of_reach"


class ServerDestination:
    """A server and its store: the :class:`Destination` of a sync. Safe for use by several threads.

    :ivar agreed: whether a common model or blob has shown that the directory belongs to the server.
    """

    def __init__(self, client: OllamaClient, store: Store, inspector: BlobInspector, report: SyncReport) -> None:
        self.agreed = False
        self._client = client
        self._store = store
        self._directory = StoreDestination(store, inspector)
        self._inspector = inspector
        self._report = report
        self._listed: dict[ModelName, str] = {}
        self._contradictions: list[str] = []
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """The server and its store, as messages name them."""
        return f"{self._client.url} ({self._store.path})"

    def look(self) -> None:
        """Ask the server for its models.

        :raises OllamaError: if the server does not answer.
        """
        self._listed = {model.name: model.digest for model in listed(self._client.tags())}
        self._contradictions = []
        self._report.unverified = []

    def names(self) -> Collection[ModelName]:
        """Return the names of the models of the store, or those that the server lists if the store cannot be seen."""
        return self._directory.names() if self._store.exists else self._listed

    def manifest_digest(self, name: ModelName) -> Optional[str]:
        """Return the digest of a model's manifest. If the server lists another digest, record a contradiction."""
        server_digest = self._listed.get(name)
        if not self._store.exists:
            return server_digest
        found = self._directory.manifest_digest(name)
        # A model in the store that the server does not list is no contradiction: the server hides a model without a
        # configuration.
        if server_digest and server_digest != found:
            what = f"the digest {found}" if found else "no manifest"
            self._contradict(
                f"the server lists {name} with the digest {server_digest}, but the directory has {what} for it"
            )
        self.agreed = self.agreed or bool(server_digest and server_digest == found)
        return found

    def problems(self, blobs: Sequence[Layer]) -> list[Optional[str]]:
        """Return the problem of each blob. The server is asked for each."""
        return each(self._problem, blobs, HASHERS)

    def _problem(self, blob: Layer) -> Optional[str]:
        there = self._client.has_blob(blob.digest)
        if not self._store.exists:
            if there:
                self._believe(blob)
            return None if there else ""
        state = self._store.blob_state(blob.digest)
        if state is not None and not stat.S_ISREG(state.st_mode):
            return self._inspector.problem(blob)
        if there != (state is not None):
            lacks, has = ("the directory", "the server") if there else ("the server", "the directory")
            self._contradict(f"{has} has the blob {blob.digest}, but {lacks} does not have it")
            return ""
        if not there:
            return ""
        self.agreed = True
        try:
            return self._inspector.problem(blob)
        except NotPermittedError:
            self._believe(blob)
            return None

    def _believe(self, blob: Layer) -> None:
        with self._lock:
            self._report.unverified.append(blob.digest)

    def _contradict(self, what: str) -> None:
        with self._lock:
            self._contradictions.append(what)

    def must_be_possible(self, plan: Plan, manifests: Mapping[ModelName, Manifest]) -> None:
        """Make sure that the directory is the server's store, and that this process can carry out the plan.

        :raises NotItsStoreError: if the directory is not the server's store.
        :raises StoreOutOfReachError: if the plan changes the store, and this process cannot write to it.
        """
        if self._contradictions:
            raise self._not_its_store(self._contradictions[0])
        if plan.changed:
            self._must_be_writable(plan)
        else:
            self._must_be_listed(manifests)

    def _must_be_writable(self, plan: Plan) -> None:
        store = self._store
        writes = [store.path, os.path.join(store.path, MANIFESTS)]
        # Only a replaced blob is written to the directory; a new one goes through the server.
        writes += [os.path.dirname(store.blob_path(blob.digest)) for blob in plan.of(REPLACE)][:1]
        me = user_name(os.geteuid())
        if not store.exists:
            why = store.obstacle or f"where the task runs, {store.path} does not exist or is not a models directory"
        else:
            barred = [path for path in writes if os.path.exists(path) and not os.access(path, os.W_OK | os.X_OK)]
            if not barred:
                return
            if os.geteuid() == 0:  # for root, the reason is another one, which this raises
                with Directory.deepest(barred[0]) as directory:
                    directory.must_be_writable()
            why = f"user {me} may not write to {barred[0]}"
        raise StoreOutOfReachError(
            f"This task cannot sync models to {self._client.url}: {why}, "
            "and Ollama takes manifests only as files in its models directory",
            remedy="Run the task on the server's machine as root or as the owner of its models directory (delegate_to, "
            "become, become_user), correct models_path, or use ollama_s3_import there, which needs no server",
            path=store.path,
            host=self._client.url,
        )

    def must_list(self, manifests: Mapping[ModelName, Manifest]) -> None:
        """Make sure that the server lists some models whose manifests were just written.

        :raises NotItsStoreError: if the server does not list a model, or lists another digest.
        """
        self._listed = {model.name: model.digest for model in listed(self._client.tags())}
        self._must_be_listed(manifests)

    def _must_be_listed(self, manifests: Mapping[ModelName, Manifest]) -> None:
        for name, manifest in manifests.items():
            server_digest = self._listed.get(name)
            if server_digest != manifest.digest:
                instead = f"lists it with {server_digest}" if server_digest else "does not list it"
                raise self._not_its_store(
                    f"the directory has {name} with the digest {manifest.digest}, but the server {instead}"
                )

    def must_be_seen(self, digest: str) -> None:
        """Wait until the directory has a blob that the server has taken.

        :raises NotItsStoreError: if the directory does not get it within ``SEEN_WITHIN`` seconds.
        """
        deadline = time.monotonic() + SEEN_WITHIN
        while self._store.blob_state(digest) is None:
            if not self._client.has_blob(digest):
                return  # Ollama has already pruned the blob; the next round delivers it again
            if time.monotonic() > deadline:
                raise self._not_its_store(f"the server has received the blob {digest}, but the directory lacks it")
            time.sleep(_LOOK_EVERY)
        self.agreed = True

    def _not_its_store(self, evidence: str) -> NotItsStoreError:
        return NotItsStoreError(
            f"{self._store.path} is not the models directory of {self._client.url}: {evidence}",
            remedy="Set models_path to the models directory of the server (OLLAMA_MODELS; for the usual service "
            "/usr/share/ollama/.ollama/models), or correct host; if something changed the models meanwhile, run again",
            path=self._store.path,
            host=self._client.url,
        )
