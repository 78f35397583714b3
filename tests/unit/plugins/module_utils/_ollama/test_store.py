# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import shutil

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.manifests import MAX_MANIFEST_SIZE
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.references import References
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import (
    Directory,
    DirectoryError,
    NotPermittedError,
    UnsafePathError,
)
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings


def manifest(*blobs):
    layers = [{"mediaType": "x", "digest": digest_of(blob), "size": len(blob)} for blob in blobs]
    return json.dumps({"schemaVersion": 2, "layers": layers}).encode()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def store(path):
    with Store(StoreSettings(str(path))) as opened:
        opened.prepare()
        yield opened


NAMES = [
    ModelName.parse(text)
    for text in ("llama3", "llama3:8b", "mike/llama", "hf.co/user/repo:Q4_K_M", "reg.example:5000/ns/m:t")
]


def test_looking_at_a_store_that_is_not_there_creates_nothing(path, tmp_path):
    with Store(StoreSettings(str(path))) as store:
        assert store.names() == []
        assert store.manifest(NAMES[0]) is None
        assert store.blob_state(digest_of(b"x")) is None
        assert store.open_blob(digest_of(b"x")) is None
        assert not store.remove_manifest(NAMES[0])
        assert not store.remove_blob(digest_of(b"x"))
        assert store.references() == References()
        assert store.find_workspace() is None
    assert list(tmp_path.iterdir()) == []


def test_manifests_lie_where_ollama_looks_for_them(store, path):
    for name in NAMES:
        store.write_manifest(name, manifest(name.full.encode()))
    assert (path / "manifests/registry.ollama.ai/library/llama3/latest").is_file()
    assert (path / "manifests/reg.example:5000/ns/m/t").is_file()
    assert sorted(store.names()) == sorted(NAMES)
    assert store.manifest(NAMES[2]) == manifest(NAMES[2].full.encode())
    # Nothing is left where Ollama or a second importer could trip over it.
    assert list((path / ".legionio-ollama").iterdir()) == []
    assert sorted(entry.name for entry in path.iterdir()) == [".legionio-ollama", "blobs", "manifests"]


def test_a_manifest_is_replaced_as_a_whole(store, path):
    store.write_manifest(NAMES[0], manifest(b"old"))
    before = os.stat(store.manifest_path(NAMES[0])).st_ino
    store.write_manifest(NAMES[0], manifest(b"new"))
    assert store.manifest(NAMES[0]) == manifest(b"new")
    assert os.stat(store.manifest_path(NAMES[0])).st_ino != before


def test_removing_a_manifest_removes_the_directories_it_leaves_empty(store, path):
    store.write_manifest(NAMES[0], manifest(b"a"))
    store.write_manifest(NAMES[1], manifest(b"b"))
    assert store.remove_manifest(NAMES[1])
    assert (path / "manifests/registry.ollama.ai/library/llama3/latest").is_file()
    assert store.remove_manifest(NAMES[0])
    assert list((path / "manifests").iterdir()) == []
    assert not store.remove_manifest(NAMES[0])


def test_directories_that_ollama_prunes_meanwhile_are_made_again(store, path, monkeypatch):
    pruned = []
    move = Directory.move

    def prune_and_move(self, name, target, new_name):
        if len(pruned) < 2:
            pruned.append(target.path)
            shutil.rmtree(path / "manifests")
        move(self, name, target, new_name)

    monkeypatch.setattr(Directory, "move", prune_and_move)
    store.write_manifest(NAMES[0], manifest(b"a"))
    assert len(pruned) == 2
    assert store.manifest(NAMES[0]) == manifest(b"a")


def test_references_tell_users_and_what_cannot_be_read(store, path):
    store.write_manifest(NAMES[0], manifest(b"shared", b"own"))
    store.write_manifest(NAMES[1], manifest(b"shared"))
    store.write_manifest(NAMES[2], b"")
    (path / "manifests/registry.ollama.ai/library/llama3/.DS_Store").write_bytes(b"x")
    found = store.references()
    assert found.users == {digest_of(b"shared"): [NAMES[1], NAMES[0]], digest_of(b"own"): [NAMES[0]]}
    assert found.names == set(NAMES[:3])
    places = [str(path / "manifests/registry.ollama.ai/library/llama3/.DS_Store"), store.manifest_path(NAMES[2])]
    assert [place in doubt for place, doubt in zip(sorted(places), sorted(found.doubts))] == [True, True]
    assert store.references(without=[NAMES[0], NAMES[1]]).users == {}


def test_files_at_other_depths_are_none_of_ours(store, path):
    (path / "manifests/registry.ollama.ai/library/llama3/latest").mkdir(parents=True)
    (path / "manifests/registry.ollama.ai/library/llama3/latest/deep").write_text("x")
    (path / "manifests/top").write_text("x")
    assert store.references() == References()


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("leads", ["somewhere", "nowhere"])
def test_a_link_among_the_manifests_that_root_does_not_follow_is_a_doubt(of_another_user, path, tmp_path, depth, leads):
    # Ollama follows it: what lies there may name every blob.
    parts = NAMES[2].manifest_parts
    of_another_user("/".join(("manifests", *parts[: depth - 1])))
    target = tmp_path / "disk"
    if leads == "somewhere":
        target.mkdir()
    link = path.joinpath("manifests", *parts[:depth])
    link.symlink_to(target)
    with Store(StoreSettings(str(path))) as store:
        doubts = store.references().doubts
    assert len(doubts) == 1
    assert str(link) in doubts[0]


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_a_link_among_the_manifests_to_a_disk_that_is_away_is_a_doubt(store, path, tmp_path, depth):
    link = path.joinpath("manifests", *NAMES[2].manifest_parts[:depth])
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / "away")
    (doubt,) = store.references().doubts
    assert f"{link} is a symbolic link whose target does not exist" in doubt


@pytest.mark.parametrize("part", ["blobs", "manifests"])
def test_a_part_on_a_disk_that_is_away_is_refused_before_any_plan(path, tmp_path, part):
    path.mkdir()
    (path / part).symlink_to(tmp_path / "away")
    with pytest.raises(DirectoryError, match=r"is a symbolic link whose target does not exist\. Mount") as caught:
        Store(StoreSettings(str(path)))
    assert caught.value.details["path"] == str(path / part)


def test_a_model_behind_a_link_to_a_disk_that_is_away_is_not_taken_for_absent(store, path, tmp_path):
    (path / "manifests" / NAMES[0].host).symlink_to(tmp_path / "away")
    with pytest.raises(DirectoryError, match="is a symbolic link whose target does not exist"):
        store.manifest(NAMES[0])


def test_a_directory_among_the_manifests_that_cannot_be_listed_is_a_doubt(store, path, monkeypatch):
    store.write_manifest(NAMES[0], manifest(b"a"))
    names = Directory.names

    def refusing(self):
        if self.path.endswith("library"):
            raise NotPermittedError(f"Could not list the directory at {self.path}")
        return names(self)

    monkeypatch.setattr(Directory, "names", refusing)
    found = store.references()
    assert not found.names
    assert [str(path / "manifests/registry.ollama.ai/library") in doubt for doubt in found.doubts] == [True]


def test_a_huge_manifest_is_not_read_whole(store, path):
    store.write_manifest(NAMES[0], b"{")
    with open(store.manifest_path(NAMES[0]), "r+b") as file:
        file.truncate(10 * MAX_MANIFEST_SIZE)
    assert len(store.manifest(NAMES[0])) == MAX_MANIFEST_SIZE + 1


@pytest.fixture
def of_another_user(path, monkeypatch):
    """Make the directories of a store as another user has them, seen by root."""

    def make(*directories):
        for directory in (".", "blobs", "manifests", *directories):
            (path / directory).mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0:
            monkeypatch.setattr(os, "geteuid", lambda: 0)
            return
        for folder, _folders, _files in os.walk(path):
            os.chown(folder, 65534, 65534)

    return make


def write_a_manifest(path):
    with Store(StoreSettings(str(path))) as store:
        store.prepare()
        store.write_manifest(NAMES[0], manifest(b"a"))


@pytest.mark.parametrize(
    "planted", ["manifests", "manifests/registry.ollama.ai", "manifests/registry.ollama.ai/library"]
)
def test_root_never_leaves_the_store_by_a_planted_link(of_another_user, path, tmp_path, planted):
    outside = tmp_path / "outside"
    outside.mkdir()
    of_another_user(planted)
    (path / planted).rmdir()
    (path / planted).symlink_to(outside)
    with pytest.raises(UnsafePathError):
        write_a_manifest(path)
    assert list(outside.iterdir()) == []


def test_a_link_in_place_of_a_manifest_is_replaced_and_never_read(of_another_user, path, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    folder = "manifests/registry.ollama.ai/library/llama3"
    of_another_user(folder)
    link = path / folder / "latest"
    link.symlink_to(secret)
    with Store(StoreSettings(str(path))) as store:
        with pytest.raises(UnsafePathError):
            store.manifest(NAMES[0])
        (doubt,) = store.references().doubts
        assert str(link) in doubt
        store.write_manifest(NAMES[0], manifest(b"b"))
        assert store.manifest(NAMES[0]) == manifest(b"b")
    assert secret.read_bytes() == b"secret"
    assert not link.is_symlink()
    assert link.stat().st_uid == path.stat().st_uid
