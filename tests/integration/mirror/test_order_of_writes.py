# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order in which data reaches the disk, so that a power failure at any moment leaves a sound store."""

from __future__ import annotations

import os

from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_import import ModelImport
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings
from mirror_lab import Model, assert_sound


def test_import_writes_content_before_names_and_blobs_before_the_manifest(mirror, path, monkeypatch):
    model = Model("many", [*(os.urandom(3000) for _layer in range(20)), os.urandom(20 << 20)]).publish(mirror)
    told = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        fsync(descriptor)
        told.append(("synced", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))

    def moved(source, target, **directories):
        replace(source, target, **directories)
        told.append(("moved", target))

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    with Store(StoreSettings(str(path))) as store:
        ModelImport(mirror, store, [ModelName.parse("many")]).apply()
    assert_sound(path, model)
    blobs = [digest.replace(":", "-") for digest in model.blobs]
    for name in blobs:
        assert told.index(("synced", f"{name}.partial")) < told.index(("moved", name))
    last = max(told.index(("moved", name)) for name in blobs)
    manifest = told.index(("moved", "latest"))
    assert ("synced", "blobs") in told[last:manifest]
    assert ("synced", "many") in told[manifest:]
