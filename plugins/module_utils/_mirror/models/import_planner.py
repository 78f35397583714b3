# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The plan of an import: which blobs and manifests to add, replace, keep or remove, and whether this is possible."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Optional, Protocol

from ..._ollama.digests import blob_file_name, digest_of
from ..._ollama.manifests import Layer, Manifest
from ..._ollama.names import ModelName
from ..._ollama.safe_fs import Directory, DiskFullError, barred, user_name
from ..._ollama.store import Store
from ..support.format import in_bytes
from ..transfer.partial_file import ABANDONED_AFTER, abandoned, kept_bytes
from . import catalog
from .model_removal import unused_blobs
from .places import places_of, warnings_of
from .plan import ADD, KEEP, REMOVE, REPLACE, AccessChange, BlobChange, ModelChange, Plan
from .wanted_models import WantedModels, distinct_blobs


class Destination(Protocol):
    """The destination of an import: a store, or a store and the server that uses it."""

    def look(self) -> None:
        """Look which models are present now. Every plan begins with this call."""

    def names(self) -> Collection[ModelName]:
        """Return the names of the models that are present."""

    def manifest_digest(self, name: ModelName) -> Optional[str]:
        """Return the digest of a model's manifest; ``None`` if the model is not present."""

    def problems(self, blobs: Sequence[Layer]) -> list[Optional[str]]:
        """Return the problem of each blob, as :class:`BlobInspector` defines it."""

    def must_be_possible(self, plan: Plan, manifests: Mapping[ModelName, Manifest]) -> None:
        """Make sure that this process can carry out a plan.

        :param manifests: the manifests of the models that the plan makes present.
        :raises CollectionError: if the plan is not possible.
        """


class ImportPlanner:
    """Plans one import of some models, each by the spelling of its name that the store has, if any.

    :ivar manifests: the manifests of the models that the last plan makes present, by their names in the store.
    :ivar prune: remove other models of the store whose names match any of these patterns (:func:`catalog.matches`).
    """

    def __init__(self, wanted: WantedModels, store: Store, destination: Destination, prune: Sequence[str] = ()) -> None:
        self.manifests: dict[ModelName, Manifest] = {}
        self.prune = prune
        self._wanted = wanted
        self._store = store
        self._destination = destination

    def plan(self) -> Plan:
        """Return the plan. Each call asks the destination; the mirror is asked once for each object.

        :raises ModelMissingError: if the mirror lacks a model.
        :raises MirrorIncompleteError: if the mirror lacks a needed blob, or has it in another size.
        :raises DiskFullError: if there is too little room for the needed blobs.
        :raises CollectionError: if the destination cannot be reached or changed.
        """
        self._destination.look()
        asked = self._wanted.manifests()
        present = self._destination.names()
        places = places_of(self._wanted.names, present)
        self.manifests = {place: asked[name] for place, name in places.items()}
        blobs = self._blob_changes()
        models = [
            ModelChange(name, self._destination.manifest_digest(name), manifest)
            for name, manifest in self.manifests.items()
        ]
        models += [ModelChange(name, digest_of(raw), None) for name, raw in self._pruned()]
        unused = unused_blobs(self._store, self._going(models), self.manifests)
        plan = Plan(
            models=tuple(models),
            blobs=(*blobs, *unused.blobs),
            access=tuple(self._access_changes(models, blobs)),
            warnings=(
                *self._wanted.warnings,
                *self._owner_warnings(),
                *warnings_of(models, places, present),
                *self._prune_warnings(),
                *unused.warnings,
            ),
            listed=unused.listed,
        )
        self._wanted.find_blobs(plan.of(ADD, REPLACE), self.manifests)
        self._destination.must_be_possible(plan, self.manifests)
        if plan.changed:
            self._need_room(plan)
        return plan

    def forget(self) -> None:
        """Let the next plan ask the mirror again."""
        self._wanted.forget()

    def remember_signature(self, name: ModelName) -> None:
        """Record when a model was signed, whose blobs are all in place."""
        self._wanted.remember_signatures([name])

    def abandoned(self, directory: Directory) -> dict[str, int]:
        """Return the partial files of a directory that a run removes before it downloads, with their bytes on disk.

        If prune removes other models, no later run needs the partial files of other models.
        """
        return dict(abandoned(directory, self._continued(), 0.0 if self.prune else ABANDONED_AFTER))

    def _continued(self) -> set[str]:
        """Return the stems of the partial files that a run of the last plan would continue."""
        return {blob_file_name(blob.digest) for manifest in self.manifests.values() for blob in manifest.blobs}

    def _blob_changes(self) -> list[BlobChange]:
        blobs = distinct_blobs(self.manifests)
        return [_blob_change(blob, problem) for blob, problem in zip(blobs, self._destination.problems(blobs))]

    def _pruned(self) -> Iterator[tuple[ModelName, bytes]]:
        """Yield name and manifest of each model that prune removes."""
        if self.prune:
            for name in self._store.names():
                raw = self._store.manifest(name) if catalog.matches(name, self.prune) else None
                if raw is not None and name not in self.manifests:
                    yield name, raw

    def _going(self, models: Sequence[ModelChange]) -> dict[ModelName, bytes]:
        """Return the present manifests that are replaced or removed.

        As in Ollama's pull, the blobs that only an old manifest names are removed together with it.
        """
        going = {}
        for model in models:
            raw = self._store.manifest(model.name) if model.action in (REPLACE, REMOVE) else None
            if raw is not None:
                going[model.name] = raw
        return going

    def _access_changes(self, models: Sequence[ModelChange], blobs: Sequence[BlobChange]) -> Iterator[AccessChange]:
        """Yield the kept files that have another owner, group or mode than the user asked for."""
        asked = self._store.asked_ownership
        if asked is None:
            return
        for blob in blobs:
            state = self._store.blob_state(blob.digest)
            if state and blob.action == KEEP and asked.differs(state):
                yield AccessChange(self._store.blob_path(blob.digest), *asked.described(state))
        for model in models:
            state = self._store.manifest_state(model.name)
            if state and model.action == KEEP and asked.differs(state):
                yield AccessChange(self._store.manifest_path(model.name), *asked.described(state))

    def _owner_warnings(self) -> Iterator[str]:
        uid, gid = self._store.ownership.uid, self._store.ownership.gid
        obstacle = barred(self._store.path, uid, gid) if uid and gid is not None else None
        if uid and obstacle:
            yield (
                f"User {user_name(uid)}, to whom the models will belong, may not enter {obstacle}; "
                "an Ollama that runs as this user will not find them"
            )

    def _prune_warnings(self) -> Iterator[str]:
        """Yield the reasons why the store may have models that prune should remove but cannot see."""
        for doubt in self._store.unseen() if self.prune else ():
            yield f"prune may leave models: {doubt}"

    def _need_room(self, plan: Plan) -> None:
        partials = self._store.find_partials()
        begun = kept_bytes(partials)
        needed = sum(max(0, blob.size - begun.get(blob_file_name(blob.digest), 0)) for blob in plan.of(ADD, REPLACE))
        place, free = self._store.room()
        if free is None or needed <= free:
            return
        others = ""
        if partials is not None:
            going = sum(self.abandoned(partials).values())
            free += going
            left = sum(size for _name, size in abandoned(partials, self._continued(), 0.0)) - going
            if left:
                others = (
                    f". Interrupted imports of other models hold {in_bytes(left)} in {partials.path}: repeat these"
                    " imports, or remove the files"
                )
        if needed > free:
            raise DiskFullError(
                f"The import needs {in_bytes(needed)} at {place}, and {in_bytes(free)} are free",
                remedy=f"Free some space, or move the models directory to a larger file system{others}",
                path=place,
                bytes_needed=needed,
                bytes_free=free,
            )


def _blob_change(blob: Layer, problem: Optional[str]) -> BlobChange:
    """Return the change for a blob with a problem, as :class:`BlobInspector` defines it."""
    if problem is None:
        return BlobChange(blob.digest, blob.size, KEEP)
    return BlobChange(blob.digest, blob.size, REPLACE if problem else ADD, problem)
