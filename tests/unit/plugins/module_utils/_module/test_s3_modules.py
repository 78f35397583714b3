# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of the mirror: the options that they refuse, and what they report of a plan and of a run."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import MirrorAccessError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.digests import digest_of
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import CollectionError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.names import ModelName
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import Directory, NotPermittedError
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store
from module_run import Run, run_module

from ..memory_mirror import MemoryMirror
from .memory_ollama import MemoryOllama

WEIGHTS, TEMPLATE = b"weights" * 100, b"template"


def run(module: str, *, check: bool = False, **options: Any) -> Run:
    return run_module(module, {"bucket": "models", **options}, check=check)


@pytest.fixture
def models(tmp_path: Path) -> str:
    return str(tmp_path / "models")


def test_import_reports_the_plan_then_the_run_then_nothing(memory_mirror: MemoryMirror, models: str) -> None:
    memory_mirror.put("a:1", WEIGHTS, TEMPLATE)
    check, first, second = (
        run("ollama_s3_import", name="a:1", models_path=models, check=check) for check in (True, False, False)
    )
    assert [outcome.changed for outcome in (check, first, second)] == [True, True, False]
    assert check.result["models"] == first.result["models"] and check.result["diff"] == first.result["diff"]
    assert first.result["blobs_downloaded"] == 2 and first.result["bytes_downloaded"] == len(WEIGHTS + TEMPLATE)
    assert (second.result["blobs_downloaded"], second.result["blobs_skipped"]) == (0, 2)
    (model,) = first.result["models"]
    assert (model["name"], model["action"], model["previous_digest"]) == ("a:1", "add", None)


def test_import_plan_for_another_machine_asks_nothing_of_this_one(
    memory_mirror: MemoryMirror, models: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise NotPermittedError("this machine was asked")

    memory_mirror.put("a:1", WEIGHTS)
    run("ollama_s3_import", name="a:1", models_path=models)
    monkeypatch.setattr(Directory, "must_be_writable", refuse)
    monkeypatch.setattr(os, "statvfs", refuse)
    outcome = run("ollama_s3_import", name="a:1", models_path=models, elsewhere=True, check=True)
    assert [model["action"] for model in outcome.result["models"]] == ["add"]
    real = run("ollama_s3_import", name="a:1", models_path=models, elsewhere=True)
    assert real.failed and real.result["error_code"] == "invalid_option"


def test_import_failure_tells_the_server_and_what_was_done(memory_mirror: MemoryMirror, models: str) -> None:
    memory_mirror.put("a:1", WEIGHTS, TEMPLATE)
    key = memory_mirror.layout.blob_key(digest_of(TEMPLATE))
    memory_mirror.objects[key] = TEMPLATE[::-1]
    memory_mirror.store.digests[key] = digest_of(TEMPLATE)
    outcome = run("ollama_s3_import", name="a:1", models_path=models, concurrency=1)
    assert outcome.failed and not outcome.result["models_completed"] and "endpoint" in outcome.result
    assert not list(Path(models).glob("manifests/**/1"))


def damage(mirror: MemoryMirror, content: bytes) -> None:
    mirror.objects[mirror.layout.blob_key(digest_of(content))] = content[::-1]


def test_import_failure_that_wrote_nothing_changed_nothing(memory_mirror: MemoryMirror, models: str) -> None:
    memory_mirror.put("a:1", TEMPLATE)
    run("ollama_s3_import", name="a:1", models_path=models)
    memory_mirror.put("b:1", WEIGHTS + b"end")
    damage(memory_mirror, WEIGHTS + b"end")
    outcome = run("ollama_s3_import", models=["a:1", "b:1"], models_path=models)
    assert outcome.failed and not outcome.changed and outcome.result["models_completed"] == ["a:1"]


def test_import_failure_after_a_change_of_access_changed_something(memory_mirror: MemoryMirror, models: str) -> None:
    memory_mirror.put("a:1", TEMPLATE)
    run("ollama_s3_import", name="a:1", models_path=models)
    memory_mirror.put("b:1", WEIGHTS + b"end")
    damage(memory_mirror, WEIGHTS + b"end")
    arguments = {"models": ["a:1", "b:1"], "models_path": models, "mode": "0640"}
    assert [run("ollama_s3_import", **arguments).changed for _time in range(2)] == [True, False]


def test_import_failure_after_a_removal_changed_something(
    memory_mirror: MemoryMirror, models: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a:1", "b:1"):
        memory_mirror.put(name, name.encode())
    run("ollama_s3_import", models=["a:1", "b:1"], models_path=models)

    def refuse(_store: Store, _digest: str) -> bool:
        raise CollectionError("no")

    monkeypatch.setattr(Store, "remove_blob", refuse)
    pruned = run("ollama_s3_import", models=["a:1"], prune=True, models_path=models)
    assert pruned.failed and pruned.changed
    removed = run("ollama_s3_import", name="a:1", state="absent", models_path=models)
    assert removed.failed and removed.changed


def test_import_absent_removes_every_spelling_and_its_blobs(memory_mirror: MemoryMirror, models: str) -> None:
    memory_mirror.put("a:1", WEIGHTS)
    run("ollama_s3_import", name="a:1", models_path=models)
    removed = run("ollama_s3_import", name="A:1", state="absent", models_path=models)
    assert (removed.changed, removed.result["blobs_removed"], removed.result["bytes_freed"]) == (True, 1, len(WEIGHTS))
    assert not run("ollama_s3_import", name="A:1", state="absent", models_path=models).changed


def test_import_prune_removes_what_is_not_listed(memory_mirror: MemoryMirror, models: str) -> None:
    for name in ("a:1", "b:1"):
        memory_mirror.put(name, name.encode())
    run("ollama_s3_import", models=["a:1", "b:1"], models_path=models)
    pruned = run("ollama_s3_import", models=["a:1"], prune=True, models_path=models)
    assert pruned.changed and [model["action"] for model in pruned.result["models"]] == ["keep", "remove"]


@pytest.mark.parametrize(
    "options, text",
    [
        ({"name": "a b"}, "a b"),
        ({"name": "a", "concurrency": 65}, "concurrency is 65, and must be between 1 and 64"),
        ({"name": "a", "chunk_size": "1K"}, "chunk_size is 1024"),
        ({"name": "a", "max_bandwidth": "10"}, "max_bandwidth is 10 bytes a second"),
        ({"models": [], "prune": True}, "prune would remove every model"),
        ({"name": "a", "prefix": "../x"}, "prefix"),
    ],
)
def test_import_options_that_make_no_sense_are_refused_before_the_store_is_opened(
    models: str, options: dict[str, Any], text: str
) -> None:
    outcome = run("ollama_s3_import", models_path=models, **options)
    assert outcome.typed and text in outcome.result["msg"] and not Path(models).exists()


def test_publish_reports_the_plan_then_the_run_then_nothing(memory_mirror: MemoryMirror, models: str) -> None:
    memory_mirror.put("a:1", WEIGHTS, TEMPLATE)
    run("ollama_s3_import", name="a:1", models_path=models)
    memory_mirror.objects.clear()
    check, first, second = (
        run("ollama_s3_publish", name="a:1", models_path=models, check=check) for check in (True, False, False)
    )
    assert [outcome.changed for outcome in (check, first, second)] == [True, True, False]
    assert (first.result["blobs_uploaded"], first.result["bytes_uploaded"]) == (2, len(WEIGHTS + TEMPLATE))
    assert (second.result["blobs_uploaded"], second.result["blobs_skipped"]) == (0, 2)
    removed = run("ollama_s3_publish", name="a:1", state="absent", models_path=models)
    assert removed.changed and memory_mirror.objects == {}


def test_publish_failure_after_a_write_changed_something(
    memory_mirror: MemoryMirror, models: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_mirror.put("a:1", WEIGHTS, TEMPLATE)
    run("ollama_s3_import", name="a:1", models_path=models)
    del memory_mirror.objects[memory_mirror.layout.manifest_key(ModelName.parse("a:1"))]
    memory_mirror.put("b:1", b"other")

    def refuse(_key: str) -> None:
        raise MirrorAccessError("no")

    monkeypatch.setattr(memory_mirror.store, "delete", refuse)
    arguments = {"models": ["a:1"], "prune": True, "models_path": models}
    first, second = (run("ollama_s3_publish", **arguments) for _time in range(2))
    assert first.failed and first.changed and first.result["blobs_uploaded"] == 0
    assert second.failed and not second.changed


def test_publish_absent_failure_after_a_removal_changed_something(
    memory_mirror: MemoryMirror, models: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_mirror.put("a:1", WEIGHTS)
    delete = memory_mirror.store.delete

    def refuse_blobs(key: str) -> None:
        if "/blobs/" in key:
            raise MirrorAccessError("no")
        delete(key)

    monkeypatch.setattr(memory_mirror.store, "delete", refuse_blobs)
    outcome = run("ollama_s3_publish", name="a:1", state="absent", models_path=models)
    assert outcome.failed and outcome.changed


def test_info_lists_models_and_names_broken_ones(memory_mirror: MemoryMirror) -> None:
    memory_mirror.put("a:1", WEIGHTS, TEMPLATE)
    memory_mirror.put("b:1", WEIGHTS)
    memory_mirror.objects[next(key for key in memory_mirror.objects if key.endswith("/b/1"))] = b"{"
    result = run("ollama_s3_info").result
    assert [model["name"] for model in result["models"]] == ["a:1"]
    assert result["models"][0]["size"] == len(WEIGHTS + TEMPLATE)
    assert [model["name"] for model in result["broken"]] == ["b:1"]


def test_file_is_fetched_once_and_replaced_when_it_differs(memory_mirror: MemoryMirror, tmp_path: Path) -> None:
    memory_mirror.objects["releases/a.bin"] = WEIGHTS
    path, checksum = tmp_path / "a.bin", hashlib.sha256(WEIGHTS).hexdigest()
    check, first, second = (
        run("ollama_s3_file", key="/releases/a.bin", path=str(path), checksum=checksum, mode="0640", check=check)
        for check in (True, False, False)
    )
    assert [outcome.changed for outcome in (check, first, second)] == [True, True, False]
    assert path.read_bytes() == WEIGHTS and path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o600)
    opened = run("ollama_s3_file", key="releases/a.bin", path=str(path), checksum=checksum, mode="0640")
    assert opened.changed and "mode: 0600" in opened.result["diff"]["before"]
    assert "mode: 0640" in opened.result["diff"]["after"]
    assert (first.result["checksum"], first.result["bytes_transferred"]) == (digest_of(WEIGHTS), len(WEIGHTS))
    path.write_bytes(b"changed")
    assert run("ollama_s3_file", key="releases/a.bin", path=str(path), checksum=checksum).changed


def test_file_mode_of_a_link_is_that_of_its_target(memory_mirror: MemoryMirror, tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(WEIGHTS)
    target.chmod(0o600)
    link.symlink_to(target)
    checksum = hashlib.sha256(WEIGHTS).hexdigest()
    runs = [run("ollama_s3_file", key="a", path=str(link), checksum=checksum, mode="0640") for _time in range(2)]
    assert [outcome.changed for outcome in runs] == [True, False]
    assert link.is_symlink() and target.stat().st_mode & 0o777 == 0o640


def test_file_is_published_once(memory_mirror: MemoryMirror, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(WEIGHTS)
    first, second = (
        run("ollama_s3_file", key="releases/a.bin", path=str(path), state="published") for _time in range(2)
    )
    assert (first.changed, second.changed) == (True, False) and memory_mirror.objects["releases/a.bin"] == WEIGHTS


@pytest.mark.parametrize("options", [{"key": "a/../b"}, {"key": "a", "checksum": "md5:1"}])
def test_file_options_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    assert run("ollama_s3_file", path=str(tmp_path / "x"), **options).typed


def test_sync_uploads_through_the_api_and_is_unchanged_then(
    memory_mirror: MemoryMirror, tmp_path: Path, ollama: MemoryOllama
) -> None:
    ollama.directory = tmp_path / "models"
    (ollama.directory / "blobs").mkdir(parents=True)
    (ollama.directory / "manifests").mkdir()
    memory_mirror.put("a:1", WEIGHTS, TEMPLATE)
    arguments = {"name": "a:1", "host": ollama.url, "retries": 0, "models_path": str(ollama.directory)}
    check, first, second = (run("ollama_s3_sync", check=check, **arguments) for check in (True, False, False))
    assert [outcome.changed for outcome in (check, first, second)] == [True, True, False]
    assert (check.result["blobs_uploaded"], first.result["blobs_uploaded"], first.result["errors"]) == (2, 2, [])
    assert ollama.requests == [("POST", "blob")] * 2


def test_sync_of_a_server_whose_store_is_elsewhere_says_so(
    memory_mirror: MemoryMirror, tmp_path: Path, ollama: MemoryOllama
) -> None:
    memory_mirror.put("a:1", WEIGHTS)
    outcome = run("ollama_s3_sync", name="a:1", host=ollama.url, retries=0, models_path=str(tmp_path / "gone"))
    assert outcome.typed and "is not a models directory" in outcome.result["msg"]
