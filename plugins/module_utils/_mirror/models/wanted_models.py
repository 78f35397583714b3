# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The models that an import wants from a mirror: their manifests, and the objects with their blobs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Optional

from ..._ollama.manifests import Layer, Manifest, ManifestError
from ..._ollama.names import ModelName
from ..._ollama.safe_fs import DirectoryError
from ..errors import MirrorIncompleteError, ObjectMissingError
from ..peers.piece_list import MAX_LIST, PieceList
from ..s3.mirror import READERS, Mirror
from ..s3.objects import ObjectState
from ..transfer.sources import ObjectSource
from . import catalog
from .plan import BlobChange
from .signature_check import SignatureCheck


class WantedModels:
    """Some models of a mirror. Each manifest and each object's state is requested once, until :meth:`forget`.

    :ivar signatures: checks the signature of each manifest; ``None`` for no check.
    """

    def __init__(self, mirror: Mirror, names: Sequence[ModelName]) -> None:
        self._mirror = mirror
        self.signatures: Optional[SignatureCheck] = None
        self.names = tuple(dict.fromkeys(names))
        self._manifests: dict[ModelName, Manifest] = {}
        self._objects: dict[str, ObjectState] = {}

    def manifests(self) -> Mapping[ModelName, Manifest]:
        """Return the manifest of each model.

        :raises ModelMissingError: if the mirror lacks a model.
        :raises ManifestError: if a manifest is damaged.
        :raises SignatureError: if the policy refuses the signature of a model.
        """
        if not self._manifests:
            with ThreadPoolExecutor(READERS) as pool:
                self._manifests = dict(zip(self.names, pool.map(self._manifest, self.names)))
        return self._manifests

    def forget(self) -> None:
        """Forget the manifests, for example after a wait in which a model may have been published.

        The objects of the blobs stay known: the name of a blob is its content, and a read notices a replaced object.
        """
        self._manifests = {}
        if self.signatures is not None:
            self.signatures.forget()

    def _manifest(self, name: ModelName) -> Manifest:
        raw = self._mirror.manifest(name)
        if raw is None:
            raise catalog.missing(self._mirror, name)
        try:
            manifest = Manifest.parse(raw)
        except ManifestError as error:
            url = self._mirror.settings.url(self._mirror.layout.manifest_key(name))
            error.message = f"{url}: {error.message}"
            error.details["name"] = name.full
            error.details["endpoint"] = self._mirror.settings.where
            raise
        if self.signatures is not None:
            self.signatures.check(name, manifest)
        return manifest

    @property
    def warnings(self) -> Sequence[str]:
        """The warnings about the signatures of the models."""
        return () if self.signatures is None else self.signatures.warnings

    def remember_signatures(self, names: Iterable[ModelName]) -> None:
        """Record when some of the models were signed, as :meth:`SignatureCheck.remember` does."""
        if self.signatures is not None:
            self.signatures.remember(names)

    def remember_kept_signatures(self) -> None:
        """Record when the models were signed, if an import has nothing to change.

        A user who may only read the store cannot record it, and needs no record: he cannot import a model.
        """
        with contextlib.suppress(DirectoryError):
            self.remember_signatures(self.names)

    def find_blobs(self, blobs: Sequence[BlobChange], manifests: Mapping[ModelName, Manifest]) -> None:
        """Find the objects of some blobs. An empty blob needs no object.

        :param manifests: the manifests that name the blobs, for the message.
        :raises MirrorIncompleteError: if the mirror lacks a blob, or has it in another size.
        """
        unknown = [blob.digest for blob in blobs if blob.digest not in self._objects and blob.size]
        self._objects.update(catalog.blobs(self._mirror, unknown))
        for blob in blobs:
            state = self._objects.get(blob.digest)
            if blob.size and (state is None or state.size != blob.size):
                users = [name.short for name, manifest in manifests.items() if blob.digest in digests(manifest)]
                there = "does not have it" if state is None else f"has {state.size} bytes of it"
                url = self._mirror.settings.url(self._mirror.layout.blob_key(blob.digest))
                raise MirrorIncompleteError(
                    f"Model {users[0]} needs {url} of {blob.size} bytes, and the mirror {there}",
                    remedy="Publish the model again from a store that has the whole model",
                    digest=blob.digest,
                    name=users[0],
                )

    def pieces(self, digest: str, size: int) -> Optional[PieceList]:
        """Return the list of a blob's pieces; ``None`` if the mirror has none.

        :raises PieceListError: if the list cannot be used.
        """
        try:
            content = self._mirror.read(self._mirror.layout.pieces_key(digest), MAX_LIST)
        except ObjectMissingError:
            return None
        return PieceList.parse(content, digest, size)

    def source(self, blob: BlobChange) -> ObjectSource:
        """Return the object that holds a blob, which :meth:`find_blobs` has found, as a source of the engine."""
        # The engine sends no request for an empty blob, so its object need not exist.
        empty = ObjectState(self._mirror.layout.blob_key(blob.digest), 0, "", None)
        return ObjectSource(self._mirror, self._objects[blob.digest] if blob.size else empty)


def digests(manifest: Manifest) -> set[str]:
    """Return the digests of the blobs that a manifest names."""
    return {blob.digest for blob in manifest.blobs}


def distinct_blobs(manifests: Mapping[ModelName, Manifest]) -> list[Layer]:
    """Return every blob of several models once.

    :raises ManifestError: if two manifests give a blob different sizes.
    """
    found: dict[str, Layer] = {}
    for name, manifest in manifests.items():
        for blob in manifest.blobs:
            if found.setdefault(blob.digest, blob).size != blob.size:
                raise ManifestError(
                    f"The manifest of {name} says that {blob.digest} has {blob.size} bytes, and that of another model "
                    f"{found[blob.digest].size}",
                    remedy="Publish both models again",
                    digest=blob.digest,
                    name=name.full,
                )
    return list(found.values())
