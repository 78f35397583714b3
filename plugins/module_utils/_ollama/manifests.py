# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Manifests: the JSON files that list the blobs of a model.

A manifest is treated as hostile, because others can write to the mirror or disk that it comes from. Its bytes are kept
unchanged: their SHA-256 is the model's digest, so a rewritten manifest would be another model.

Ollama reads manifests with Go's encoding/json (v0.33, manifest/manifest.go), which takes the last of several equal keys
and ignores the case of keys. A manifest that Go and Python could read differently is refused, because Ollama might then
use blobs that were not verified.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn, Optional

from .digests import digest_of, parse_digest
from .errors import CollectionError, InvalidDigestError
from .json_text import NestedTooDeeplyError, read_json

#: Bytes. By the OCI distribution specification, registries should accept manifests up to this size. The manifest of a
#: model of 10,000 tensor layers has about 3 MB.
MAX_MANIFEST_SIZE = 4 * 1024 * 1024

#: Bytes. The largest file of ext4 (16 TiB, with blocks of 4 KiB); a larger size is a mistake or an attack.
MAX_BLOB_SIZE = 16 * 1024**4

#: Accepted media types of a manifest. Ollama writes the first; registries also serve the second, of the same format.
MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)

#: The keys that decide what a manifest or a layer means.
_KEYS = {
    key.casefold(): key
    for key in ("schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "from", "name")
}


class ManifestError(CollectionError):
    """The bytes are not a valid manifest, or cannot be trusted."""

    code = "manifest_invalid"


class UnsupportedManifestError(ManifestError):
    """A manifest of a kind that this collection does not handle, such as a list of manifests."""

    code = "manifest_unsupported"


@dataclass(frozen=True)
class Layer:
    """One entry of a manifest.

    :param media_type: the use of the blob, such as ``application/vnd.ollama.image.model``.
    :param size: bytes of the blob, from the manifest.
    :param name: the name of a tensor or file, in models of many layers; else empty.
    """

    media_type: str
    digest: str
    size: int
    name: str = ""


@dataclass(frozen=True)
class Manifest:
    """A checked manifest."""

    raw: bytes
    config: Optional[Layer]
    layers: tuple[Layer, ...]

    @classmethod
    def parse(cls, raw: bytes) -> Manifest:
        """Read a manifest.

        :raises UnsupportedManifestError: for a manifest of another kind.
        :raises ManifestError: for bytes that are not a valid manifest.
        """
        body = _object(_decoded(raw), "its content")
        kind = body.get("mediaType", "")
        if "manifests" in body or (kind and kind not in MANIFEST_TYPES):
            raise UnsupportedManifestError(
                f"The manifest is of the kind {_shown(kind)}, not a list of layers",
                remedy="Publish the model itself rather than a list of its variants",
                media_type=kind if isinstance(kind, str) else None,
            )
        if body.get("schemaVersion") != 2 or not isinstance(body["schemaVersion"], int):
            raise UnsupportedManifestError(
                f"The manifest has schemaVersion {_shown(body.get('schemaVersion'))}, and only 2 is known",
                remedy="Publish the model again from an Ollama that can run it",
            )
        config = _config(body.get("config"))
        entries = body.get("layers")
        if entries is None:  # Go's empty list
            entries = []
        if not isinstance(entries, list):
            _refuse("its layers are not a list")
        layers = tuple(_layer(entry, f"layer {number}") for number, entry in enumerate(entries, 1))
        if config is None and not layers:
            _refuse("it names neither a configuration nor a layer")
        manifest = cls(raw, config, layers)
        sizes: dict[str, int] = {}
        for layer in manifest._entries:
            if sizes.setdefault(layer.digest, layer.size) != layer.size:
                _refuse(f"it gives two sizes for {layer.digest}")
        return manifest

    @property
    def digest(self) -> str:
        """The digest of the model, as Ollama shows it."""
        return digest_of(self.raw)

    @property
    def blobs(self) -> tuple[Layer, ...]:
        """Every blob once, in the order of the layers, the configuration last."""
        return tuple({layer.digest: layer for layer in self._entries}.values())

    @property
    def size(self) -> int:
        """Bytes of all blobs, each counted once."""
        return sum(blob.size for blob in self.blobs)

    @property
    def _entries(self) -> tuple[Layer, ...]:
        return self.layers if self.config is None else (*self.layers, self.config)


def _decoded(raw: bytes) -> Any:
    if len(raw) > MAX_MANIFEST_SIZE:
        _refuse(f"it has {len(raw)} bytes, more than the {MAX_MANIFEST_SIZE} that a manifest may have")
    if not raw.strip():
        _refuse("it is empty, as a file can be after a power failure")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        _refuse("it is not UTF-8")
    try:
        return read_json(text, _DECODER)
    except NestedTooDeeplyError as error:
        _refuse(f"it {error}")
    except ValueError as error:
        _refuse(f"it is not JSON ({error})")


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            _refuse(f"it has the key {_shown(key)} twice")
        seen[key] = value
    return seen


def _number(digits: str) -> int:
    # Pythons without a limit of their own take minutes to read a number of a million digits.
    if len(digits) > 20:
        _refuse("it has a number that is too large")
    return int(digits)


def _constant(name: str) -> NoReturn:
    _refuse(f"it has the number {name}, which is not JSON")


def _config(entry: object) -> Optional[Layer]:
    # Every reader in Ollama allows a configuration without a digest.
    if entry is None or _object(entry, "its configuration").get("digest") in (None, ""):
        return None
    return _layer(entry, "the configuration")


def _layer(entry: object, what: str) -> Layer:
    values = _object(entry, what)
    try:
        digest = parse_digest(values.get("digest"))
    except InvalidDigestError as error:
        _refuse(f"{what} has no valid digest: {error.message}")
    size, media_type, name = values.get("size"), values.get("mediaType", ""), values.get("name") or ""
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_BLOB_SIZE:
        _refuse(f"{what} cannot have the size {_shown(size)}")
    for text in (media_type, name):
        # Both appear in results and messages, where control characters and broken surrogates do harm.
        if not isinstance(text, str) or not text.isprintable():
            _refuse(f"{what} has a mediaType or a name that is not plain text")
    return Layer(media_type, digest, size, name)


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(f"{what} is not a JSON object")
    for key in value:
        if _KEYS.get(key.casefold(), key) != key:
            _refuse(f"{what} has the key {_shown(key)}, which Ollama takes for {_KEYS[key.casefold()]}")
    return value


def _refuse(why: str) -> NoReturn:
    raise ManifestError(f"The manifest is not valid: {why}", remedy="Publish the model again from a sound store")


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


_DECODER = json.JSONDecoder(object_pairs_hook=_unambiguous, parse_int=_number, parse_constant=_constant)
