# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Removal of models, from a store or from a mirror: manifests first, then the blobs that nothing names any more."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Optional, Protocol

from .._ollama.digests import digest_of
from .._ollama.manifests import Layer, Manifest, ManifestError
from .._ollama.names import ModelName
from .plans import KEEP, REMOVE, BlobChange, ModelChange, Plan


class Shelf(Protocol):
    """What holds models: a store or a mirror."""

    def manifest(self, name: ModelName) -> Optional[bytes]:
        """Return the bytes of a manifest, sound or not; ``None`` when there is none."""

    def references(self, *, without: Collection[ModelName] = ()) -> tuple[dict[str, list[ModelName]], list[str]]:
        """Return which models name which blobs, and where manifests are that cannot be read."""

    def remove_manifest(self, name: ModelName) -> bool:
        """Remove a manifest; return whether it may have been there."""

    def remove_blob(self, digest: str) -> bool:
        """Remove a blob; return whether it may have been there."""


def plan_removal(shelf: Shelf, names: Collection[ModelName]) -> Plan:
    """Decide what goes when some models go."""
    present = {name: raw for name in dict.fromkeys(names) for raw in (shelf.manifest(name),) if raw is not None}
    blobs, warnings = unused_blobs(shelf, present, {})
    return Plan(
        models=tuple(
            ModelChange(name, digest_of(present[name]) if name in present else None, None)
            for name in dict.fromkeys(names)
        ),
        blobs=tuple(blobs),
        warnings=tuple(warnings),
    )


def unused_blobs(
    shelf: Shelf, going: Mapping[ModelName, bytes], coming: Mapping[ModelName, Manifest]
) -> tuple[list[BlobChange], list[str]]:
    """Return what happens to the blobs of manifests that go, and what should be known about it.

    :param going: manifests that are removed or replaced, as they are now.
    :param coming: manifests that will be there.
    """
    candidates: dict[str, Layer] = {}
    for raw in going.values():
        try:
            candidates.update((blob.digest, blob) for blob in Manifest.parse(raw).blobs)
        except ManifestError:  # it goes all the same; what it named nobody can tell
            continue
    for manifest in coming.values():
        for blob in manifest.blobs:
            candidates.pop(blob.digest, None)
    if not candidates:
        return [], []
    users, unreadable = shelf.references(without=set(going) | set(coming))
    unused = [blob for blob in candidates.values() if blob.digest not in users]
    if unused and unreadable:
        reason = f"{unreadable[0]} cannot be read, and may name it"
        warning = (
            f"{len(unused)} blobs are kept that may be of no use any more, because {unreadable[0]} cannot be read "
            "and may name them; remove or repair it"
        )
        return [BlobChange(blob.digest, blob.size, KEEP, reason) for blob in unused], [warning]
    return [BlobChange(blob.digest, blob.size, REMOVE) for blob in unused], []


def carry_out_removal(shelf: Shelf, plan: Plan) -> list[str]:
    """Remove what a plan says; return the digests of the blobs that went.

    Blobs that another model has begun to name meanwhile stay.
    """
    for model in plan.models:
        if model.action == REMOVE:
            shelf.remove_manifest(model.name)
    going = plan.of(REMOVE)
    if not going:
        return []
    users, unreadable = shelf.references()
    return [
        blob.digest for blob in going if not unreadable and blob.digest not in users and shelf.remove_blob(blob.digest)
    ]
