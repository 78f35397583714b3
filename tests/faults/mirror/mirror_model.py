# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model of a mirror and of a store, without product code, to check invariants after any server behaviour."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Models:
    """Manifests by full name in path form (``host/namespace/model/tag``), and blobs by digest."""

    manifests: Mapping[str, bytes]
    blobs: Mapping[str, bytes]

    def of(self, name: str) -> list[str]:
        """Return the digests that a manifest names; none when it is not a manifest."""
        try:
            found = json.loads(self.manifests[name])
            return [entry["digest"] for entry in (*found["layers"], *([found["config"]] if found["config"] else []))]
        except (ValueError, TypeError, KeyError, RecursionError):
            return []

    def sound(self, digest: str) -> bool:
        """Return whether a blob exists and has its digest."""
        return digest in self.blobs and digest_of(self.blobs[digest]) == digest

    def whole(self, name: str) -> bool:
        """Return whether a model exists with all of its blobs."""
        return name in self.manifests and all(self.sound(digest) for digest in self.of(name))


def of_objects(objects: Mapping[str, bytes], root: str) -> Models:
    """Return the models of a mirror.

    :param root: what the keys begin with: empty, or ending in a slash.
    """
    return _models(
        {key[len(root) :]: content for key, content in objects.items() if key.startswith(root)},
    )


def of_store(path: Path) -> Models:
    """Return the models of a store."""
    files = {str(file.relative_to(path)): file for part in ("manifests", "blobs") for file in path.glob(f"{part}/**/*")}
    return _models({name: file.read_bytes() for name, file in files.items() if file.is_file()})


def _models(files: Mapping[str, bytes]) -> Models:
    manifests = {
        name[len("manifests/") :]: content
        for name, content in files.items()
        if name.startswith("manifests/") and name.count("/") == 4
    }
    blobs = {
        name[len("blobs/") :].replace("-", ":", 1): content
        for name, content in files.items()
        if name.startswith("blobs/sha256-")
    }
    return Models(manifests, blobs)


def losses(
    before: Models, after: Models, *, leaving: Collection[str] = (), arriving: Mapping[str, bytes] | None = None
) -> list[str]:
    """Return the losses, in words.

    :param leaving: models that were to be removed.
    :param arriving: manifests that were to be written.
    """
    arriving = arriving or {}
    lost: list[str] = []
    for name, raw in before.manifests.items():
        now = after.manifests.get(name)
        if name in leaving and now is None:
            continue
        if now is None:
            lost.append(f"the manifest of {name} is gone")
        elif now != raw and now != arriving.get(name):
            lost.append(f"the manifest of {name} is neither the one before nor the one that was to come")
        elif now == raw:
            gone = [digest for digest in before.of(name) if before.sound(digest) and not after.sound(digest)]
            lost += [f"{name} has lost {digest}" for digest in gone]
    for name in after.manifests:
        if name in arriving and after.manifests[name] == arriving[name] and not after.whole(name):
            lost.append(f"{name} was written and is not whole")
    return lost
