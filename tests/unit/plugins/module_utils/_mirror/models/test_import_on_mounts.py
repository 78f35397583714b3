# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stores with a part on a file system of its own, with real mounts."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_import import ModelImport
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.partial_file import INTERVAL
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import DiskFullError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import WORKSPACE, Store, StoreSettings

NAME = ModelName.parse("llama3:8b")
SMALL, LARGE = b"small", bytes(INTERVAL + 5)


@pytest.fixture
def mounted():
    """Mount a file system of its own on a directory, or a directory a second time."""
    places = []

    def mount(place, *options):
        place.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(["mount", *options, place], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("this user cannot mount")
        places.append(place)

    yield mount
    for place in reversed(places):
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def bring(memory_mirror, tmp_path):
    """Import the model, and see that all is in place and nothing is left over."""
    raw = memory_mirror.put(NAME.full, SMALL, LARGE)

    def bring():
        path = tmp_path / "models"
        with Store(StoreSettings(str(path))) as store:
            importer = ModelImport(memory_mirror, store, [NAME])
            assert importer.apply().changed
            assert store.manifest(NAME) == raw
            assert not importer.plan().changed
        for content in (SMALL, LARGE):
            assert (path / "blobs" / digest_of(content).replace(":", "-")).read_bytes() == content
        left = [
            name
            for folder in (path, path / "blobs")
            if (folder / WORKSPACE).is_dir()
            for name in os.listdir(folder / WORKSPACE)
        ]
        assert sorted(left) == ["lock", "verified.json"]
        return path

    return bring


TMPFS = ("-t", "tmpfs", "-o", "size=40m", "tmpfs")


def test_import_blobs_on_their_own_file_system_arrive(mounted, bring, tmp_path):
    mounted(tmp_path / "models/blobs", *TMPFS)
    bring()


def test_import_blobs_in_a_bind_mount_of_the_same_file_system_arrive(mounted, bring, tmp_path):
    (tmp_path / "data").mkdir()
    mounted(tmp_path / "models/blobs", "--bind", tmp_path / "data")
    path = bring()
    assert (tmp_path / "data" / WORKSPACE).is_dir()
    with Store(StoreSettings(str(path))) as store:
        # A run that comes after an interrupted one must find the bytes that it has left.
        assert store.find_partials().path == str(path / "blobs" / WORKSPACE)


def test_import_blobs_behind_a_link_to_another_disk_arrive(mounted, bring, tmp_path):
    mounted(tmp_path / "disk", *TMPFS)
    mounted(tmp_path / "models", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs")
    (tmp_path / "models/blobs").symlink_to(tmp_path / "disk")
    bring()


@pytest.mark.parametrize("part", ["manifests", "manifests/registry.ollama.ai", "manifests/registry.ollama.ai/library"])
def test_import_manifests_on_their_own_file_system_arrive(mounted, bring, tmp_path, part):
    mounted(tmp_path / "models" / part, *TMPFS)
    bring()


def test_plan_room_is_that_of_the_file_system_of_the_blobs(mounted, memory_mirror, tmp_path):
    memory_mirror.put(NAME.full, SMALL, LARGE)
    mounted(tmp_path / "models/blobs", "-t", "tmpfs", "-o", "size=1m", "tmpfs")
    with Store(StoreSettings(str(tmp_path / "models"))) as store, pytest.raises(DiskFullError) as caught:
        ModelImport(memory_mirror, store, [NAME]).plan()
    assert str(tmp_path / "models/blobs") in caught.value.message


def test_import_partial_file_on_the_file_system_of_the_blobs_is_resumed(mounted, memory_mirror, tmp_path):
    memory_mirror.put(NAME.full, LARGE)
    mounted(tmp_path / "models/blobs", *TMPFS)
    with Store(StoreSettings(str(tmp_path / "models"))) as store:
        store.prepare()
        stem = digest_of(LARGE).replace(":", "-")
        folder = tmp_path / "models/blobs" / WORKSPACE
        assert store.partials.path == str(folder)
        (folder / f"{stem}.partial").write_bytes(LARGE[:INTERVAL])
        (folder / f"{stem}.journal").write_text(f"{INTERVAL} {digest_of(LARGE[:INTERVAL]).split(':')[1]}\n")
        importer = ModelImport(memory_mirror, store, [NAME])
        importer.apply()
    assert importer.report.bytes_resumed == INTERVAL
