# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Removal of models from a store or from a mirror: manifests first, then the blobs that no manifest names any more.

Blobs are removed only if the list of the remaining models seems complete: it has every model that was read a moment
before, and each of its manifests can be read. Otherwise all blobs stay, and a warning says why.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Optional, Protocol

from ..._ollama.digests import digest_of
from ..._ollama.errors import CollectionError
from ..._ollama.manifests import Layer, Manifest, ManifestError
from ..._ollama.names import ModelName
from ..._ollama.references import References
from ..._ollama.safe_fs import NotPermittedError
from .plan import KEEP, REMOVE, BlobChange, ModelChange, Plan

#: The reason to keep a blob that no known model names.
_MAY_BE_NAMED = "a manifest that cannot be read may name it"


class NotRemovedError(CollectionError):
    """The server confirmed the removal of a manifest that is still there."""

    code = "not_removed"


class Shelf(Protocol):
    """A store or a mirror."""

    @property
    def where(self) -> str:
        """Return the name of the store or mirror in messages."""

    def manifest(self, name: ModelName) -> Optional[bytes]:
        """Return the bytes of a manifest, valid or not; ``None`` if there is none."""

    def references(self, *, without: Collection[ModelName] = ()) -> References:
        """Return the blobs that each model names, with every reason why this may be incomplete."""

    def remove_manifest(self, name: ModelName) -> bool:
        """Remove a manifest; return whether it may have existed."""

    def remove_blob(self, digest: str) -> bool:
        """Remove a blob; return whether it may have existed."""


class Unused(NamedTuple):
    """The changes to the blobs of manifests that are removed or replaced.

    :param warnings: why some blobs are kept.
    :param listed: the models that were present, as in :attr:`Plan.listed`.
    """

    blobs: tuple[BlobChange, ...] = ()
    warnings: tuple[str, ...] = ()
    listed: frozenset[ModelName] = frozenset()


@dataclass
class Removal:
    """The work of a removal so far.

    :ivar models: the models whose manifests were removed.
    :ivar digests: the digests of the removed blobs.
    :ivar warnings: why some blobs are kept that should have been removed, and which models lack a removed blob.
    """

    models: list[ModelName] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything was removed."""
        return bool(self.models or self.digests)


def plan_removal(shelf: Shelf, names: Collection[ModelName]) -> Plan:
    """Plan the removal of some models."""
    present = {name: raw for name in dict.fromkeys(names) for raw in (shelf.manifest(name),) if raw is not None}
    unused = unused_blobs(shelf, present, {})
    return Plan(
        models=tuple(
            ModelChange(name, digest_of(present[name]) if name in present else None, None)
            for name in dict.fromkeys(names)
        ),
        blobs=unused.blobs,
        warnings=unused.warnings,
        listed=unused.listed,
    )


def unused_blobs(shelf: Shelf, going: Mapping[ModelName, bytes], coming: Mapping[ModelName, Manifest]) -> Unused:
    """Return the changes to the blobs of manifests that are removed or replaced.

    :param going: the present bytes of the manifests that are removed or replaced.
    :param coming: the manifests that the plan makes present.
    """
    candidates: dict[str, Layer] = {}
    unknown = []
    for name, raw in going.items():
        try:
            candidates.update((blob.digest, blob) for blob in Manifest.parse(raw).blobs)
        except ManifestError as error:  # the manifest itself is still removed
            unknown.append(f"The blobs of {name} are kept, because its manifest cannot be read: {error.message}")
    for manifest in coming.values():
        for blob in manifest.blobs:
            candidates.pop(blob.digest, None)
    if not candidates:
        return Unused(warnings=tuple(unknown))
    # These manifests were read a moment ago, so a list without them is incomplete.
    found = _references(shelf, known=set(going), without=set(going) | set(coming))
    unused = [blob for blob in candidates.values() if blob.digest not in found.users]
    if unused and found.doubts:
        return Unused(
            tuple(BlobChange(blob.digest, blob.size, KEEP, _MAY_BE_NAMED) for blob in unused),
            (*unknown, _kept(len(unused), found.doubts)),
            frozenset(found.names),
        )
    changes = tuple(BlobChange(blob.digest, blob.size, REMOVE) for blob in unused)
    return Unused(changes, tuple(unknown), frozenset(found.names))


def carry_out_removal(shelf: Shelf, plan: Plan, removal: Optional[Removal] = None) -> Removal:
    """Carry out the removals of a plan, and return the work.

    A blob stays if another model names it by now, if a manifest that cannot be read may name it, or if only the server
    of the store may remove it.

    :param removal: the record to which the work is added step by step; by default, a new one.
    :raises NotRemovedError: if a manifest still exists although the server confirmed its removal.
    """
    removal = Removal() if removal is None else removal
    removed = {model.name for model in plan.models if model.action == REMOVE}
    for name in sorted(removed):
        existed = shelf.remove_manifest(name)
        # S3 confirms every removal, and so does a proxy that has not asked the server.
        if shelf.manifest(name) is not None:
            raise NotRemovedError(
                f"{shelf.where} confirmed the removal of the manifest of {name}, but the manifest is still there",
                remedy="Run again: another task may have restored it. If this persists, a proxy in front of the S3"
                " server, or a lock on the bucket, keeps objects from being removed",
                name=name.full,
            )
        if existed:
            removal.models.append(name)
    going = plan.of(REMOVE)
    if not going:
        return removal
    written = {model.name for model in plan.models if model.after}
    found = _references(shelf, known=(plan.listed | written) - removed)
    unused = [blob for blob in going if blob.digest not in found.users]
    if unused and found.doubts:
        removal.warnings.append(_kept(len(unused), found.doubts))
        return removal
    _remove_blobs(shelf, unused, removal)
    return removal


def _remove_blobs(shelf: Shelf, blobs: Sequence[BlobChange], removal: Removal) -> None:
    gone: list[str] = []
    for number, blob in enumerate(blobs):
        try:
            if shelf.remove_blob(blob.digest):
                gone.append(blob.digest)
                removal.digests.append(blob.digest)
        except NotPermittedError as error:
            removal.warnings.append(
                f"{len(blobs) - number} blobs that no manifest names any more are kept: {error}."
                " Ollama's next pruning removes them"
            )
            break
    # A publication that found these blobs may have written its manifest, and looked at them for the last time, between
    # the look at the manifests and the removal.
    try:
        users = shelf.references().users if gone else {}
    except CollectionError as error:
        removal.warnings.append(
            f"Whether a model was put into {shelf.where} while {len(gone)} blobs were removed, and lacks some of them"
            f" now, is unknown: {error}"
        )
        return
    for name in sorted({name for digest in gone for name in users.get(digest, ())}):
        removal.warnings.append(
            f"{name} was put into {shelf.where} while its blobs were removed, and lacks some of them now."
            " Put the model there again"
        )


def _references(shelf: Shelf, *, known: Collection[ModelName], without: Collection[ModelName] = ()) -> References:
    """Return the references of a shelf, with a doubt for each present model that its list lacks.

    :param known: models that were present a moment ago.
    """
    found = shelf.references(without=without)
    for name in sorted(set(known) - found.names):
        unlisted = References() if name in without else found
        if unlisted.add(name, partial(shelf.manifest, name), f"the manifest of {name}"):
            found.names.add(name)
            found.doubts.append(f"The list of models is incomplete: it lacks {name}, which exists")
    return found


def _kept(count: int, doubts: Sequence[str]) -> str:
    more = f" ({len(doubts) - 1} more such places)" if len(doubts) > 1 else ""
    return f"{count} blobs are kept, because a manifest that cannot be read may name them: {doubts[0]}{more}"
