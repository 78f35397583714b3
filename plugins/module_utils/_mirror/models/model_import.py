# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Import: make models of the mirror present in a store on disk, whether an Ollama runs there or not.

The order keeps the store sound whenever the power fails or Ollama prunes: blobs before the manifest that names them,
each synced and renamed into place as a whole, and after the manifest a look whether all its blobs are still there.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Callable, Optional

from ..._ollama.byte_counter import ByteCounter
from ..._ollama.digests import blob_file_name, digest_of
from ..._ollama.errors import CollectionError
from ..._ollama.manifests import Layer, Manifest, ManifestError
from ..._ollama.names import ModelName
from ..._ollama.safe_fs import DirectoryError, DiskFullError, barred, explained, user_name
from ..._ollama.store import Store
from ..errors import MirrorIncompleteError, WrongDigestError
from ..s3.mirror import READERS, Mirror
from ..s3.objects import ObjectState
from ..state.lock import LockWait, exclusive
from ..state.verification_records import VerificationRecords
from ..support.format import in_bytes
from ..support.parallel import each
from ..transfer.bandwidth import Bandwidth
from ..transfer.engine import Engine, Transfer
from ..transfer.hashing import digest_of_file
from ..transfer.options import TransferOptions
from ..transfer.partial_file import ABANDONED_AFTER, BLOCK, PartialFile, kept_bytes, remove_abandoned
from ..transfer.sources import ObjectSource
from . import catalog
from .model_removal import carry_out_removal, unused_blobs
from .places import places_of, warnings_of
from .plan import ADD, KEEP, REMOVE, REPLACE, AccessChange, BlobChange, ModelChange, Plan

#: How often blobs that vanish while they are imported are fetched again. Ollama prunes when it starts and when a model
#: is removed; more often than this in one import is no accident.
ROUNDS = 3

#: Blobs hashed at once; the disk is the limit soon.
HASHERS = 4

#: What only the content of a blob tells.
_UNKNOWN = "its content is not known"


class StoreRaceError(CollectionError):
    """Something removes blobs as fast as they are imported."""

    code = "store_race"


@dataclass
class ImportReport:
    """What an import has done so far.

    :ivar models: those whose manifest was written, or whose blobs were repaired.
    :ivar downloaded: digests of the blobs that are now in place.
    :ivar resumed: digests of those of them that an earlier run had begun.
    :ivar removed: digests of the blobs that nothing names any more, and that are gone.
    :ivar warnings: what was not done, and should be known.
    """

    models: list[ModelName] = field(default_factory=list)
    downloaded: list[str] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    bytes_received: int = 0
    bytes_resumed: int = 0
    seconds: float = 0.0
    failures: list[CollectionError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Importer:
    """One import of some models into one store.

    A model is imported under the name that Ollama finds it by: as it is in the store, where it differs in case only.

    :param prune: remove other models of the store whose names match any of these patterns (:func:`listing.matches`).
    :param verify_always: hash blobs also when they look as they did when they were last verified.
    :param options: how the download uses the network.
    :param wait: how to wait for another importer.
    :param tally: counts the bytes.
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
        tally: Optional[ByteCounter] = None,
    ) -> None:
        self._mirror = mirror
        self._store = store
        self._names = tuple(dict.fromkeys(names))
        self._prune = prune
        options = options or TransferOptions()
        self._concurrency = options.concurrency
        self._chunk_size = -(-options.chunk_size // BLOCK) * BLOCK
        self._bandwidth = Bandwidth(options.max_bandwidth)
        self._wait = wait or LockWait()
        self._tally = tally or ByteCounter()
        self._users: dict[str, str] = {}
        self._records = VerificationRecords(store.find_workspace(), believe=not verify_always)
        self._asked: dict[ModelName, Manifest] = {}  # by the names that were asked for
        self._manifests: dict[ModelName, Manifest] = {}  # by the names in the store
        self._objects: dict[str, ObjectState] = {}
        self._lock = threading.Lock()
        self.report = ImportReport()

    # Planning

    def plan(self) -> Plan:
        """Decide what is to be done. The mirror is asked once; the store is looked at each time.

        :raises ModelMissingError: when the mirror lacks a model.
        :raises MirrorIncompleteError: when the mirror lacks a blob that is needed, or has it in another size.
        :raises DiskFullError: when there is too little room for what is needed.
        """
        if not self._asked:
            with ThreadPoolExecutor(READERS) as pool:
                self._asked = dict(zip(self._names, pool.map(self._manifest, self._names)))
        present = self._present()
        places = places_of(self._names, present)
        self._manifests = {place: self._asked[name] for place, name in places.items()}
        wanted = _distinct(self._manifests)
        blobs = tuple(_blob_change(blob, problem) for blob, problem in zip(wanted, self._problems(wanted)))
        models = [self._model_change(name, manifest) for name, manifest in self._manifests.items()]
        models += [ModelChange(name, digest_of(raw), None) for name, raw in self._pruned()]
        # As Ollama's own pull does, what a model needed before and nobody needs now goes with its old manifest.
        going = {
            model.name: raw
            for model in models
            if model.action in (REPLACE, REMOVE)
            for raw in (self._store.manifest(model.name),)
            if raw is not None
        }
        unused = unused_blobs(self._store, going, self._manifests)
        plan = Plan(
            models=tuple(models),
            blobs=(*blobs, *unused.blobs),
            access=tuple(self._access_changes(blobs)),
            warnings=(
                *self._warnings(),
                *warnings_of(models, places, present),
                *self._unseen(),
                *unused.warnings,
            ),
            listed=unused.listed,
        )
        self._ask_for(plan.of(ADD, REPLACE))
        self._must_be_possible(plan)
        return plan

    def _present(self) -> Collection[ModelName]:
        """Return the models that are there now."""
        return self._store.names()

    def _manifest(self, name: ModelName) -> Manifest:
        raw = self._mirror.manifest(name)
        if raw is None:
            raise catalog.missing(self._mirror, name)
        try:
            return Manifest.parse(raw)
        except ManifestError as error:
            url = self._mirror.settings.url(self._mirror.layout.manifest_key(name))
            error.message = f"{url}: {error.message}"
            error.details["name"] = name.full
            error.details["endpoint"] = self._mirror.settings.where
            raise

    def _pruned(self) -> Iterator[tuple[ModelName, bytes]]:
        if self._prune:
            for name in self._store.names():
                raw = self._store.manifest(name) if catalog.matches(name, self._prune) else None
                if raw is not None and name not in self._manifests:
                    yield name, raw

    def _model_change(self, name: ModelName, manifest: Manifest) -> ModelChange:
        raw = self._store.manifest(name)
        return ModelChange(name, None if raw is None else digest_of(raw), manifest)

    def _problems(self, blobs: Sequence[Layer]) -> list[Optional[str]]:
        """Return what is wrong with each of some blobs of the store, as :meth:`_problem` does."""
        # Most need no more than a look at their state, and that for a thousand is not worth a thread.
        found = [self._glance(blob) for blob in blobs]
        unknown = [number for number, problem in enumerate(found) if problem is _UNKNOWN]
        for number, problem in zip(unknown, each(self._hash, [blobs[number] for number in unknown], HASHERS)):
            found[number] = problem
        return found

    def _problem(self, blob: Layer) -> Optional[str]:
        """Return what is wrong with a blob of the store: nothing, that it is not there (empty), or what else."""
        problem = self._glance(blob)
        return self._hash(blob) if problem is _UNKNOWN else problem

    def _glance(self, blob: Layer) -> Optional[str]:
        """Return what is wrong with a blob as far as that can be seen without reading it, or that it cannot."""
        state = self._store.blob_state(blob.digest)
        if state is None:
            return ""
        if not stat.S_ISREG(state.st_mode):
            return "it is not a regular file"
        if state.st_size != blob.size:
            return f"it has {state.st_size} bytes instead of {blob.size}"
        return None if self._records.knows(blob.digest, state) else _UNKNOWN

    def _hash(self, blob: Layer) -> Optional[str]:
        """Return what is wrong with the content of a blob."""
        descriptor = self._store.open_blob(blob.digest)
        if descriptor is None:
            return ""
        try:
            # The state before hashing: what changes meanwhile must not count as verified.
            state = os.fstat(descriptor)
            with explained("read", self._store.blob_path(blob.digest)):
                found = digest_of_file(descriptor)
        finally:
            os.close(descriptor)
        if found != blob.digest:
            return f"its content has the digest {found}"
        with self._lock:
            self._records.note(blob.digest, state)
        return None

    def _access_changes(self, blobs: Iterable[BlobChange]) -> Iterator[AccessChange]:
        """Yield the files that stay, but not with the owner, group or mode that was asked for."""
        asked = self._store.asked_ownership
        if asked is None:
            return
        for blob in blobs:
            state = self._store.blob_state(blob.digest)
            if state and blob.action == KEEP and asked.differs(state):
                yield AccessChange(self._store.blob_path(blob.digest), *asked.described(state))
        for name, manifest in self._manifests.items():
            state = self._store.manifest_state(name)
            if state and self._model_change(name, manifest).action == KEEP and asked.differs(state):
                yield AccessChange(self._store.manifest_path(name), *asked.described(state))

    def _warnings(self) -> Iterator[str]:
        uid, gid = self._store.ownership.uid, self._store.ownership.gid
        obstacle = barred(self._store.path, uid, gid) if uid and gid is not None else None
        if uid and obstacle:
            yield (
                f"User {user_name(uid)}, to whom the models will belong, may not enter {obstacle}; "
                "an Ollama that runs as this user will not find them"
            )

    def _unseen(self) -> Iterator[str]:
        """Yield why there may be models that prune should remove and cannot see."""
        for doubt in self._store.unseen() if self._prune else ():
            yield f"Models may remain that prune should remove: {doubt}"

    def _ask_for(self, blobs: Sequence[BlobChange]) -> None:
        unknown = [blob.digest for blob in blobs if blob.digest not in self._objects and blob.size]
        self._objects.update(catalog.blobs(self._mirror, unknown))
        for blob in blobs:
            state = self._objects.get(blob.digest)
            if blob.size and (state is None or state.size != blob.size):
                users = [name.short for name, manifest in self._manifests.items() if blob.digest in _digests(manifest)]
                there = "does not have it" if state is None else f"has {state.size} bytes of it"
                url = self._mirror.settings.url(self._mirror.layout.blob_key(blob.digest))
                raise MirrorIncompleteError(
                    f"Model {users[0]} needs {url} of {blob.size} bytes, and the mirror {there}",
                    remedy="Publish the model again from a sound store",
                    digest=blob.digest,
                    name=users[0],
                )

    def _must_be_possible(self, plan: Plan) -> None:
        if plan.changed:
            self._store.must_be_writable()
        self._need_room(plan)

    def _need_room(self, plan: Plan) -> None:
        begun = kept_bytes(self._store.find_partials())
        needed = sum(max(0, blob.size - begun.get(blob_file_name(blob.digest), 0)) for blob in plan.of(ADD, REPLACE))
        place, free = self._store.room()
        if free is not None and needed > free:
            raise DiskFullError(
                f"The import needs {in_bytes(needed)} at {place}, and {in_bytes(free)} are free",
                remedy="Free some space, or move the models directory to a larger file system",
                path=place,
                bytes_needed=needed,
                bytes_free=free,
            )

    # Carrying out

    def apply(self) -> Plan:
        """Plan once more, alone with the store, and do it. Return that plan; :attr:`report` says what was done.

        :raises CollectionError: the first failure, after everything that it does not concern was done.
        """
        start = time.monotonic()
        try:
            self._store.prepare()
            workspace, ownership = self._store.workspace, self._store.ownership
            with exclusive(workspace, ownership, self._wait.on_wait, within=self._wait.within):
                plan = todo = self.plan()
                for _round in range(ROUNDS):
                    self._carry_out(todo)
                    if self.report.failures:
                        break
                    todo = self.plan()
                    if not todo.changed:
                        break
                else:
                    raise StoreRaceError(
                        f"Blobs of {self._store.path} were removed while they were imported, {ROUNDS} times in a row",
                        remedy="Find out what removes them: an Ollama that starts over and over, or another task",
                    )
                self.remember()
                self._tidy_up()
        finally:
            self.report.seconds = time.monotonic() - start
        if self.report.failures:
            raise self.report.failures[0]
        return plan

    def remember(self) -> None:
        """Record which blobs were verified, so that the next run trusts them; a read-only store goes without."""
        if self._records.outdated:
            with contextlib.suppress(DirectoryError):
                self._records.save(self._store.workspace, self._store.blobs.names(), self._store.ownership)

    def _tidy_up(self) -> None:
        """Remove what earlier runs have begun of blobs that no model of this one has."""
        mine = {blob_file_name(blob.digest) for manifest in self._manifests.values() for blob in manifest.blobs}
        # With an exact set of models, nothing else is going to be finished. What cannot be removed is no failure.
        with contextlib.suppress(DirectoryError):
            for directory in dict.fromkeys((self._store.workspace, self._store.partials)):
                remove_abandoned(directory, mine, 0.0 if self._prune else ABANDONED_AFTER)

    def _carry_out(self, plan: Plan) -> None:
        if any(model.action in (ADD, REPLACE) for model in plan.models):
            self._keep_from_pruning(plan)
        if plan.access:
            self._change_access(plan)
        blobs = plan.of(ADD, REPLACE)
        coming = {blob.digest for blob in blobs}
        # A model is complete as soon as its own blobs are; what befalls the others does not concern it.
        lacking = {model: coming & _digests(model.after) for model in plan.models if model.after}
        for model, digests in lacking.items():
            if not digests:
                self._complete(model)

        def arrived(transfer: Transfer) -> None:
            with self._lock:
                self._note(transfer.digest)
                self.report.downloaded.append(transfer.digest)
                if transfer.resumed:
                    self.report.resumed.append(transfer.digest)
                for model, digests in lacking.items():
                    if transfer.digest in digests:
                        digests.remove(transfer.digest)
                        if not digests:
                            self._complete(model)

        self._expect(blobs)
        self._deliver(blobs, arrived)
        if not self.report.failures:
            removal = carry_out_removal(self._store, plan)
            self.report.removed += removal.digests
            self.report.warnings += removal.warnings

    def _expect(self, blobs: Sequence[BlobChange]) -> None:
        """Tell the tally what will come."""
        self._users = {blob.digest: name.short for name, manifest in self._manifests.items() for blob in manifest.blobs}
        if blobs:
            begun = kept_bytes(self._store.partials)
            kept = sum(begun.get(blob_file_name(blob.digest), 0) for blob in blobs)
            self._tally.expect(self._users[blobs[0].digest], sum(blob.size for blob in blobs), kept=kept)

    def _deliver(self, blobs: Sequence[BlobChange], arrived: Callable[[Transfer], None]) -> None:
        """Bring some blobs; those that cannot be had are among the failures of the report."""
        transfers = self._run([self._transfer(blob) for blob in blobs], arrived)
        self.report.failures += [transfer.error for transfer in transfers if transfer.error]

    def _run(self, transfers: list[Transfer], arrived: Callable[[Transfer], None]) -> list[Transfer]:
        try:
            Engine(
                concurrency=self._concurrency,
                chunk_size=self._chunk_size,
                bandwidth=self._bandwidth,
                on_bytes=lambda transfer, count: self._tally.add(count, self._users[transfer.digest]),
                on_done=arrived,
            ).run(transfers)
        finally:
            self._store.sync_blobs()
            self.report.bytes_received += sum(transfer.received for transfer in transfers)
            self.report.bytes_resumed += sum(transfer.resumed for transfer in transfers)
        for transfer in transfers:
            if isinstance(transfer.error, WrongDigestError) and isinstance(transfer.source, ObjectSource):
                transfer.source.name_damage(transfer.error)
        return transfers

    def _transfer(self, blob: BlobChange) -> Transfer:
        name = blob_file_name(blob.digest)
        store = self._store
        target = PartialFile(store.partials, name, blob.size, store.ownership, store.blobs, name)
        # For a blob without content nothing is asked; the mirror need not even have it.
        nothing = ObjectState(self._mirror.layout.blob_key(blob.digest), 0, "", None)
        state = self._objects[blob.digest] if blob.size else nothing
        return Transfer(blob.digest, blob.size, ObjectSource(self._mirror, state), target)

    def _complete(self, model: ModelChange) -> None:
        if model.after and model.action != KEEP:
            # The disk must know the names of all blobs before that of the manifest.
            self._store.sync_blobs()
            self._store.write_manifest(model.name, model.after.raw)
        if model.name not in self.report.models:
            self.report.models.append(model.name)

    def _change_access(self, plan: Plan) -> None:
        asked = self._store.asked_ownership
        if asked is None:
            return
        for blob in plan.of(KEEP):
            self._store.blobs.set_access(blob_file_name(blob.digest), asked)
            self._note(blob.digest)
        for model in plan.models:
            if model.action == KEEP:
                self._store.set_manifest_access(model.name, asked)

    def _keep_from_pruning(self, plan: Plan) -> None:
        """Touch the blobs that no manifest names yet: Ollama spares those that are younger than an hour (v0.21)."""
        users = self._store.references().users
        for blob in plan.of(KEEP):
            if blob.digest not in users:
                descriptor = self._store.open_blob(blob.digest)
                if descriptor is not None:
                    with contextlib.closing(os.fdopen(descriptor)), contextlib.suppress(PermissionError):
                        os.utime(descriptor)
                    self._note(blob.digest)

    def _note(self, digest: str) -> None:
        state = self._store.blob_state(digest)
        if state:
            self._records.note(digest, state)


def _blob_change(blob: Layer, problem: Optional[str]) -> BlobChange:
    """Return what is done about a blob, of which this is wrong (:meth:`Importer._problem`)."""
    if problem is None:
        return BlobChange(blob.digest, blob.size, KEEP)
    return BlobChange(blob.digest, blob.size, REPLACE if problem else ADD, problem)


def _digests(manifest: Manifest) -> set[str]:
    return {blob.digest for blob in manifest.blobs}


def _distinct(manifests: Mapping[ModelName, Manifest]) -> list[Layer]:
    """Return every blob of several models once."""
    found: dict[str, Layer] = {}
    for name, manifest in manifests.items():
        for blob in manifest.blobs:
            if found.setdefault(blob.digest, blob).size != blob.size:
                raise ManifestError(
                    f"The manifest of {name} gives {blob.digest} {blob.size} bytes, and that of another model "
                    f"{found[blob.digest].size}",
                    remedy="Publish both models again",
                    digest=blob.digest,
                    name=name.full,
                )
    return list(found.values())
