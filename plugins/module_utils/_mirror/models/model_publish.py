# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Publish: make models of a store present in the mirror, blobs first and the manifest last.

An object is skipped if this collection recorded the digest with it, or if it has the ETag that the blob would have. Any
other object is written again, because only a read of the whole object could show whether it is right.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Optional

from ..._ollama.byte_counter import ByteCounter
from ..._ollama.digests import digest_of
from ..._ollama.errors import CollectionError
from ..._ollama.manifests import Layer, Manifest, ManifestError
from ..._ollama.names import ModelName, spellings
from ..._ollama.safe_fs import explained
from ..._ollama.store import Store
from ..errors import ListError, MirrorAccessError, MirrorIncompleteError
from ..s3 import etags
from ..s3.mirror import READERS, Mirror
from ..signing.bundle import MAX_SIGNATURE, SignatureError, sign, verify
from ..signing.keys import PrivateKey
from ..transfer.bandwidth import Bandwidth
from ..transfer.multipart_upload import part_sizes, upload
from . import catalog
from .catalog import matches, nearest
from .model_removal import Removal, carry_out_removal, unused_blobs
from .piece_publish import lacks_pieces, publish_pieces
from .plan import ADD, KEEP, REPLACE, BlobChange, ModelChange, Plan

#: How often a publication uploads blobs again that another publication removes.
ROUNDS = 3


class NotInStoreError(CollectionError):
    """The store lacks a model, or a blob of one."""

    code = "not_in_store"


@dataclass
class PublishReport:
    """The work of a publication so far.

    :ivar models: the models that are complete, also those in which nothing had to change.
    :ivar uploaded: the digests of the uploaded blobs.
    :ivar written: the keys of the manifests, signatures and lists of pieces that were written.
    """

    models: list[ModelName] = field(default_factory=list)
    uploaded: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    removal: Removal = field(default_factory=Removal)
    bytes_sent: int = 0
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        """Whether anything in the mirror was changed."""
        return bool(self.uploaded or self.written or self.removal.changed)


class ModelPublisher:
    """One publication of some models of a store.

    :param prune: remove other models of the mirror whose names match any of these patterns, and the blobs that only
        the replaced manifests name.
    :param max_bandwidth: bytes per second; ``None`` for no limit.
    :param pieces: write the lists of pieces that nodes need to pass blobs to each other.
    :param counter: counts the bytes for the progress display.
    :param signer: signs the models; ``None`` for no signatures.
    :ivar report: the work of the publication so far.
    """

    def __init__(
        self,
        mirror: Mirror,
        store: Store,
        names: Sequence[ModelName],
        *,
        prune: Sequence[str] = (),
        max_bandwidth: Optional[int] = None,
        pieces: bool = True,
        counter: Optional[ByteCounter] = None,
        signer: Optional[PrivateKey] = None,
    ) -> None:
        self._signer = signer
        self._mirror = mirror
        self._store = store
        self._names = tuple(dict.fromkeys(names))
        self._prune = prune
        self._bandwidth = Bandwidth(max_bandwidth)
        self._pieces = pieces
        self._counter = counter or ByteCounter()
        self.report = PublishReport()

    def plan(self) -> Plan:
        """Return the plan.

        :raises NotInStoreError: if the store lacks a model or a blob.
        """
        manifests = {name: self._manifest(name) for name in self._names}
        blobs = {blob.digest: blob for manifest in manifests.values() for blob in manifest.blobs}
        with ThreadPoolExecutor(READERS) as pool:
            # Manifests come first, because an answer to GET explains an error with the key or the bucket, unlike HEAD.
            published = list(pool.map(self._mirror.manifest, manifests))
            changes = tuple(pool.map(self._blob_change, blobs.values()))
            unlisted = tuple(filter(None, pool.map(self._unlisted, blobs.values())))
        for change in changes:
            if change.action != KEEP or change.digest in unlisted:
                self._must_be_readable(change.digest)
        models = [
            ModelChange(name, None if raw is None else digest_of(raw), manifest)
            for (name, manifest), raw in zip(manifests.items(), published)
        ]
        with ThreadPoolExecutor(READERS) as pool:
            signed = [
                model.name for model, unsigned in zip(models, pool.map(self._needs_signature, models)) if unsigned
            ]
        going: dict[ModelName, bytes] = {}
        if self._prune:
            # Without prune, nothing is removed: a node may be importing the previous version of a model.
            going = {model.name: raw for model, raw in zip(models, published) if raw and model.action == REPLACE}
            others = [name for name in self._mirror.names() if name not in manifests and matches(name, self._prune)]
            for name in others:
                raw = self._mirror.manifest(name)
                if raw is not None:
                    going[name] = raw
                    models.append(ModelChange(name, digest_of(raw), None))
        unused = unused_blobs(self._mirror, going, manifests)
        return Plan(
            models=tuple(models),
            blobs=(*changes, *unused.blobs),
            signed=tuple(signed),
            warnings=(*self._doubles(models), *unused.warnings),
            pieces=unlisted,
            listed=unused.listed,
        )

    def _unlisted(self, blob: Layer) -> Optional[str]:
        """Return the digest of a blob if the mirror lacks the list of its pieces."""
        return blob.digest if self._pieces and lacks_pieces(self._mirror, blob.digest, blob.size) else None

    def _doubles(self, models: Sequence[ModelChange]) -> Iterator[str]:
        """Yield a warning for each new model whose name differs only in case from another model of the mirror."""
        new = [model.name for model in models if model.action == ADD]
        if new:
            with contextlib.suppress(MirrorAccessError, ListError):  # a key may lack the right to list
                present = self._mirror.names()
                for name in new:
                    for other in spellings(name, present):
                        yield (
                            f"The mirror has {other}, which is the same model as {name} for Ollama, because Ollama"
                            " ignores the case of names; a node can have only one of them"
                        )

    def apply(self, plan: Plan) -> None:
        """Carry out a plan; :attr:`report` has the progress."""
        start = time.monotonic()
        try:
            # One model after the other, so that a failure leaves the earlier models complete.
            todo = {blob.digest: blob for blob in plan.of(ADD, REPLACE)}
            unlisted = set(plan.pieces)
            self._counter.expect(plan.models[0].name.short, plan.bytes_to_transfer)
            for model in plan.models:
                for blob in model.after.blobs if model.after else ():
                    if blob.digest in todo:
                        self._upload(todo.pop(blob.digest), model.name)
                for layer in model.after.blobs if model.after else ():
                    if layer.digest in unlisted:
                        unlisted.remove(layer.digest)
                        self._publish_pieces(layer)
                if model.after and model.name in plan.signed:
                    self._sign(model.name, model.after)
                if model.after and model.action != KEEP:
                    key = self._mirror.layout.manifest_key(model.name)
                    self._keep(model.after.blobs, model.name)
                    self._write(key, model.after.raw, model.after.digest)
                    self._mirror.look_at_written(key, model.after.digest)
                    self._keep(model.after.blobs, model.name)
                if model.after:
                    self.report.models.append(model.name)
            carry_out_removal(self._mirror, plan, self.report.removal)
        finally:
            self.report.seconds = time.monotonic() - start

    def _keep(self, blobs: Sequence[Layer], name: ModelName) -> None:
        """Upload blobs again that the mirror had, or that this publication has uploaded, and somebody has removed.

        Another publication may remove blobs that no manifest names, also those of this model until its manifest is
        there, which may be hours later. So this is called before and after the manifest is written.

        :raises MirrorIncompleteError: if the blobs are removed again and again.
        """
        for _round in range(ROUNDS):
            found = catalog.blobs(self._mirror, [blob.digest for blob in blobs])
            gone = [blob for blob in blobs if blob.digest not in found]
            if not gone:
                return
            for blob in gone:
                self._upload(BlobChange(blob.digest, blob.size, ADD), name)
                if self._unlisted(blob):
                    self._publish_pieces(blob)
        raise MirrorIncompleteError(
            f"Blobs of {name} were removed from {self._mirror.settings.where} while the model was published,"
            f" {ROUNDS} times in a row",
            remedy="Find the task that removes models from this mirror, and publish again",
            name=name.full,
            digest=gone[0].digest,
        )

    def _needs_signature(self, model: ModelChange) -> bool:
        """Return whether a model must be signed: always with a new manifest, else if it has no valid signature."""
        if self._signer is None or model.after is None:
            return False
        if model.action != KEEP:
            # This includes a manifest that was signed before: nodes refuse an older model unless it is signed again.
            return True
        content = self._mirror.signature(model.name, model.after.digest, MAX_SIGNATURE + 1)
        try:
            return content is None or not verify(content, model.name, model.after, self._signer.ring)
        except SignatureError:
            return True

    def _sign(self, name: ModelName, manifest: Manifest) -> None:
        """Write the signature of a model. This comes before the manifest, so that a node finds each manifest signed."""
        if self._signer is not None:
            content = sign(name, manifest, self._signer)
            self._write(self._mirror.layout.signature_key(name, manifest.digest), content, digest_of(content))

    def _publish_pieces(self, blob: Layer) -> None:
        if publish_pieces(self._mirror, self._store, blob.digest, blob.size):
            self.report.written.append(self._mirror.layout.pieces_key(blob.digest))

    def _write(self, key: str, content: bytes, digest: str) -> None:
        self._mirror.write(key, content, digest)
        self.report.written.append(key)

    def _manifest(self, name: ModelName) -> Manifest:
        raw = self._store.manifest(name)
        if raw is None:
            near = nearest(name, self._store.names())
            raise NotInStoreError(
                f"The store {self._store.path} has no model {name}",
                remedy=f"Did you mean {' or '.join(near)}?" if near else "Check models_path, or pull the model first",
                name=name.full,
                path=self._store.path,
            )
        try:
            manifest = Manifest.parse(raw)
        except ManifestError as error:
            error.message = f"{self._store.manifest_path(name)}: {error.message}"
            error.remedy = "Pull or import the model again"
            error.details["name"] = name.full
            raise
        for blob in manifest.blobs:
            self._must_have(name, blob)
        return manifest

    def _must_have(self, name: ModelName, blob: Layer) -> None:
        state = self._store.blob_state(blob.digest)
        if state is None or state.st_size != blob.size:
            found = "is missing" if state is None else f"has {state.st_size} bytes instead of {blob.size}"
            raise NotInStoreError(
                f"Model {name} cannot be published: its blob {self._store.blob_path(blob.digest)} {found}",
                remedy="Pull or import the model again",
                name=name.full,
                digest=blob.digest,
            )

    def _must_be_readable(self, digest: str) -> None:
        """Make sure that this process can read a blob.

        :raises DirectoryError: if this process may not read the blob, or it is not a regular file.
        """
        descriptor = self._store.open_blob(digest)
        if descriptor is not None:
            os.close(descriptor)

    def _blob_change(self, blob: Layer) -> BlobChange:
        problem = self._problem(blob)
        if problem is None:
            return BlobChange(blob.digest, blob.size, KEEP)
        return BlobChange(blob.digest, blob.size, REPLACE if problem else ADD, problem)

    def _problem(self, blob: Layer) -> Optional[str]:
        """Return why a blob must be sent: empty if the mirror lacks it; ``None`` if it need not be sent."""
        state = self._mirror.state(self._mirror.layout.blob_key(blob.digest))
        if state is None:
            return ""
        if state.size != blob.size:
            return f"it has {state.size} bytes instead of {blob.size}"
        if state.digest is None:
            return None if self._has_etag_of(blob, state.etag) else "no digest is recorded with it"
        if state.digest != blob.digest:
            return f"the digest recorded with it is {state.digest}"
        return None

    def _has_etag_of(self, blob: Layer, etag: str) -> bool:
        descriptor = self._store.open_blob(blob.digest)
        if descriptor is None:
            return False
        try:
            with explained("read", self._store.blob_path(blob.digest)):
                sizes = part_sizes(blob.size)
                return etags.is_of_file(etag, descriptor, blob.size, blob.digest, sizes)
        finally:
            os.close(descriptor)

    def _upload(self, blob: BlobChange, name: ModelName) -> None:
        path = self._store.blob_path(blob.digest)
        descriptor = self._store.open_blob(blob.digest)
        if descriptor is None:
            raise NotInStoreError(f"{path} was removed while its model was published", remedy="Pull the model again")
        try:
            key = self._mirror.layout.blob_key(blob.digest)
            upload(
                self._mirror,
                key,
                descriptor,
                blob.size,
                blob.digest,
                path,
                bandwidth=self._bandwidth,
                on_bytes=partial(self._count, name.short),
            )
        finally:
            os.close(descriptor)
        if not self.report.uploaded:
            self._mirror.look_at_written(key, blob.digest)
        self.report.uploaded.append(blob.digest)

    def _count(self, what: str, count: int) -> None:
        self.report.bytes_sent += count
        self._counter.add(count, what)
