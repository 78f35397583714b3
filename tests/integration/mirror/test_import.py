# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ollama_s3_import as a user runs it, against a real S3 server and a real file system."""

from __future__ import annotations

import dataclasses
import json
import os
import stat

import pytest
import services
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from mirror_lab import Model, assert_sound, digest_of, leftovers, options, run_module

LARGE = os.urandom(20 * 1024 * 1024)


@pytest.fixture
def model(mirror):
    return Model("llama3:8b", [LARGE, b"template", b""]).publish(mirror)


def test_import_of_a_model_brings_it_once(run, model, path):
    first = run("ollama_s3_import", name="llama3:8b", models_path=path)
    assert first.changed
    assert first.result["models"] == [
        {
            "name": "llama3:8b",
            "full_name": "registry.ollama.ai/library/llama3:8b",
            "action": "add",
            "digest": digest_of(model.raw),
            "previous_digest": None,
            "size": model.size,
        }
    ]
    assert first.result["blobs_downloaded"] == 4
    assert first.result["bytes_downloaded"] == model.size
    assert first.result["rate"] > 0
    assert_sound(path, model)
    assert leftovers(path) == []

    second = run("ollama_s3_import", name="registry.ollama.ai/library/llama3:8b", models_path=path)
    assert not second.changed
    assert second.result["blobs_downloaded"] == 0
    assert second.result["blobs_skipped"] == 4


def test_check_mode_predicts_and_touches_nothing(run, model, path):
    predicted = run("ollama_s3_import", "--check", "--diff", name="llama3:8b", models_path=path)
    assert predicted.changed
    assert predicted.result["bytes_downloaded"] == model.size
    assert f"+model llama3:8b: {digest_of(model.raw)} (21.0 MB)" in predicted.text
    assert f"+blob {digest_of(LARGE)}: 21.0 MB" in predicted.text
    assert not path.exists()

    done = run("ollama_s3_import", name="llama3:8b", models_path=path)
    for key in ("models", "blobs_downloaded", "blobs_skipped", "bytes_downloaded"):
        assert done.result[key] == predicted.result[key]


def test_import_of_an_update_replaces_the_manifest_and_removes_unused_blobs(run, mirror, model, path):
    run("ollama_s3_import", name="llama3:8b", models_path=path)
    newer = Model("llama3:8b", [LARGE, b"new template"]).publish(mirror)
    predicted = run("ollama_s3_import", "--check", "--diff", name="llama3:8b", models_path=path)
    updated = run("ollama_s3_import", name="llama3:8b", models_path=path)
    for outcome in (predicted, updated):
        assert outcome.result["models"][0]["action"] == "replace"
        assert outcome.result["models"][0]["previous_digest"] == digest_of(model.raw)
        assert outcome.result["blobs_downloaded"] == 1
        assert outcome.result["blobs_removed"] == 2
        assert outcome.result["bytes_freed"] == len(b"template")
    assert f"-blob {digest_of(b'template')}: 8 B" in predicted.text
    assert_sound(path, newer)
    assert len(list((path / "blobs").iterdir())) == 3
    assert not run("ollama_s3_import", name="llama3:8b", models_path=path).changed


def test_import_of_models_that_share_blobs_brings_each_once(run, mirror, model, path):
    other = Model("hf.co/user/repo:Q4_K_M", [LARGE, b"other template"]).publish(mirror)
    outcome = run("ollama_s3_import", models=["llama3:8b", "hf.co/user/repo:Q4_K_M", "llama3:8b"], models_path=path)
    assert outcome.result["bytes_downloaded"] == len(LARGE) + len(b"templateother template" + model.config)
    assert_sound(path, model, other)

    absent = run("ollama_s3_import", name="llama3:8b", state="absent", models_path=path)
    assert absent.changed
    assert absent.result["blobs_removed"] == 2
    assert_sound(path, other)
    assert not model.manifest_path(path).exists()
    assert not run("ollama_s3_import", name="llama3:8b", state="absent", models_path=path).changed


def test_absent_is_predicted_and_shown(run, model, path):
    model.store(path)
    predicted = run("ollama_s3_import", "--check", "--diff", name="llama3:8b", state="absent", models_path=path)
    assert predicted.changed
    assert predicted.result["bytes_freed"] == model.size
    assert f"-model llama3:8b: {digest_of(model.raw)}" in predicted.text
    assert_sound(path, model)


def test_absent_without_a_store_changes_nothing(run, path):
    assert not run("ollama_s3_import", name="llama3:8b", state="absent", models_path=path).changed
    assert not path.exists()


def test_absent_with_an_unreadable_manifest_keeps_all_blobs(run, model, path):
    model.store(path)
    broken = path / "manifests/registry.ollama.ai/library/broken/latest"
    broken.parent.mkdir()
    broken.write_bytes(b"")
    outcome = run("ollama_s3_import", name="llama3:8b", state="absent", models_path=path)
    assert outcome.changed
    assert outcome.result["blobs_removed"] == 0
    assert "a manifest that cannot be read" in outcome.text
    assert str(broken) in outcome.text
    assert len(list((path / "blobs").iterdir())) == 4


def test_prune_leaves_exactly_the_models_named(run, mirror, model, path):
    Model("old", [LARGE, b"old"]).store(path)
    mine = Model("me/mine", [b"mine"]).store(path)
    kept = run("ollama_s3_import", models=["llama3:8b"], prune=True, prune_scope=["old", "nothing*"], models_path=path)
    assert {entry["name"]: entry["action"] for entry in kept.result["models"]} == {
        "llama3:8b": "add",
        "old:latest": "remove",
    }
    assert kept.result["bytes_freed"] == len(b"old")
    assert_sound(path, model, mine)
    assert not (path / "manifests/registry.ollama.ai/library/old").exists()

    predicted = run("ollama_s3_import", "--check", "--diff", models=["llama3:8b"], prune=True, models_path=path)
    assert "-model me/mine:latest" in predicted.text
    run("ollama_s3_import", models=["llama3:8b"], prune=True, models_path=path)
    assert not mine.manifest_path(path).exists()
    assert not run("ollama_s3_import", models=["llama3:8b"], prune=True, models_path=path).changed


def test_prune_without_models_is_refused(run, model, path):
    model.store(path)
    outcome = run("ollama_s3_import", models=[], prune=True, models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == "invalid_option"
    assert_sound(path, model)


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "link"])
def test_import_replaces_a_damaged_blob(run, model, path, damage):
    run("ollama_s3_import", name="llama3:8b", models_path=path)
    blob = model.blob_path(path, digest_of(LARGE))
    if damage == "flip":
        with blob.open("r+b") as file:
            file.seek(5_000_000)
            file.write(b"damage")
    elif damage == "truncate":
        os.truncate(blob, 5_000_000)
    elif damage == "empty":
        os.truncate(blob, 0)
    else:
        blob.unlink()
        blob.symlink_to("/dev/null")
    predicted = run("ollama_s3_import", "--check", name="llama3:8b", models_path=path)
    repaired = run("ollama_s3_import", name="llama3:8b", models_path=path)
    for outcome in (predicted, repaired):
        assert outcome.changed
        assert [entry["digest"] for entry in outcome.result["repaired"]] == [digest_of(LARGE)]
        assert outcome.result["repaired"][0]["reason"]
        assert outcome.result["models"][0]["action"] == "keep"
    assert_sound(path, model)
    assert not run("ollama_s3_import", name="llama3:8b", models_path=path).changed


def test_verify_always_finds_damage_with_unchanged_times(run, model, path):
    """A failing disk changes content and nothing else; here, the record is made to agree with the damaged file."""
    run("ollama_s3_import", name="llama3:8b", models_path=path)
    blob = model.blob_path(path, digest_of(LARGE))
    with blob.open("r+b") as file:
        file.write(b"damage")
    record = path / ".legionio-ollama" / "verified.json"
    state = blob.stat()
    content = json.loads(record.read_text())
    content["blobs"][digest_of(LARGE)] = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    record.write_text(json.dumps(content))
    assert not run("ollama_s3_import", name="llama3:8b", models_path=path).changed
    assert run("ollama_s3_import", name="llama3:8b", models_path=path, verify="always").changed
    assert_sound(path, model)


def test_import_keeps_the_verified_blobs_of_ollama(run, model, path):
    model.store(path)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file()}
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=path)
    assert not outcome.changed
    assert outcome.result["blobs_skipped"] == 4
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert (path / ".legionio-ollama" / "verified.json").is_file()


def test_import_uses_blobs_without_a_manifest_and_renews_their_times(run, model, path):
    """At its start, Ollama prunes blobs that no manifest names and that are older than an hour."""
    model.store(path)
    model.manifest_path(path).unlink()
    for file in (path / "blobs").iterdir():
        os.utime(file, (1, 1))
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=path)
    assert outcome.changed
    assert outcome.result["blobs_downloaded"] == 0
    assert all(file.stat().st_mtime > 1_000_000_000 for file in (path / "blobs").iterdir())
    assert_sound(path, model)
    assert not run("ollama_s3_import", name="llama3:8b", models_path=path).changed


def test_import_sets_owner_group_and_mode(run, model, path):
    wanted = {"owner": "nobody", "group": "12345", "mode": "0640"}
    run("ollama_s3_import", name="llama3:8b", models_path=path, **wanted)
    for file in [path, *path.rglob("*")]:
        state = file.stat()
        assert (state.st_uid, state.st_gid) == (65534, 12345), file
        assert stat.S_IMODE(state.st_mode) == (0o750 if file.is_dir() else 0o640), file
    assert not run("ollama_s3_import", name="llama3:8b", models_path=path, **wanted).changed

    predicted = run("ollama_s3_import", "--check", "--diff", name="llama3:8b", models_path=path, mode="0600")
    assert predicted.changed
    assert "nobody:12345 0600" in predicted.text
    changed = run("ollama_s3_import", name="llama3:8b", models_path=path, mode="0600")
    assert changed.changed
    assert changed.result["blobs_downloaded"] == 0
    assert stat.S_IMODE(model.manifest_path(path).stat().st_mode) == 0o600
    assert not run("ollama_s3_import", name="llama3:8b", models_path=path, mode="0600").changed
    assert_sound(path, model)


def test_import_without_an_owner_uses_that_of_the_directory(run, model, path):
    path.mkdir(mode=0o750)
    os.chown(path, 65534, 12345)
    run("ollama_s3_import", name="llama3:8b", models_path=path)
    for file in path.rglob("*"):
        state = file.stat()
        assert (state.st_uid, state.st_gid) == (65534, 12345), file
        assert stat.S_IMODE(state.st_mode) == (0o750 if file.is_dir() else 0o640), file


def test_models_path_may_come_from_the_environment(run, model, path):
    assert run("ollama_s3_import", name="llama3:8b", env={"OLLAMA_MODELS": str(path)}).changed
    assert_sound(path, model)


def test_settings_may_come_from_the_environment(model, settings, path):
    outcome = run_module(
        "ollama_s3_import",
        {"name": "llama3:8b", "models_path": str(path), "bucket": settings.bucket},
        env={
            "AWS_ENDPOINT_URL": settings.endpoint_url,
            "AWS_REGION": settings.region,
            "AWS_ACCESS_KEY_ID": settings.access_key,
            "AWS_SECRET_ACCESS_KEY": settings.secret_key,
        },
    )
    assert outcome.changed


@pytest.mark.parametrize(
    "changes, code, says",
    [
        ({"secret_key": "wrong"}, "mirror_credentials", "secret_key"),
        ({"access_key": "wrong"}, "mirror_credentials", "access_key"),
        ({"access_key": None, "secret_key": None}, "mirror_credentials", "access_key and secret_key"),
        ({"bucket": "no-such-bucket"}, "mirror_bucket_missing", "no-such-bucket"),
        ({"endpoint_url": "http://127.0.0.1:9"}, "mirror_unreachable", "http://127.0.0.1:9"),
        ({"endpoint_url": "http://no-such-host.invalid"}, "mirror_unreachable", "no-such-host.invalid"),
        ({"endpoint_url": "127.0.0.1"}, "mirror_settings", "endpoint_url"),
        ({"ca_path": "/no/such/file", "endpoint_url": "https://127.0.0.1:9"}, "mirror_settings", "/no/such/file"),
        ({"prefix": "elsewhere"}, "model_missing", "elsewhere"),
    ],
)
def test_import_from_an_unusable_mirror_fails_with_one_message(model, settings, path, changes, code, says):
    arguments = options(settings, **changes)
    outcome = run_module("ollama_s3_import", {**arguments, "name": "llama3:8b", "models_path": str(path)})
    assert outcome.failed
    assert outcome.result["error_code"] == code
    assert says in outcome.result["msg"]
    assert settings.secret_key not in outcome.text
    assert not path.exists()


def test_import_of_a_missing_model_suggests_similar_names(run, model, path):
    outcome = run("ollama_s3_import", name="lama3", models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == "model_missing"
    assert outcome.result["name"] == "registry.ollama.ai/library/lama3:latest"
    assert "Did you mean llama3:8b?" in outcome.result["msg"]
    assert not path.exists()


def test_import_with_a_missing_blob_fails_before_any_byte(run, mirror, model, path):
    mirror.remove(mirror.layout.blob_key(digest_of(b"template")))
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == "mirror_incomplete"
    assert outcome.result["digest"] == digest_of(b"template")
    assert not path.exists()


def test_import_with_a_blob_of_another_size_fails_before_any_byte(run, mirror, model, path):
    mirror.write(mirror.layout.blob_key(digest_of(b"template")), b"temp", digest_of(b"template"))
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=path)
    assert outcome.result["error_code"] == "mirror_incomplete"
    assert not path.exists()


def test_import_of_a_damaged_blob_fails_and_leaves_no_blob(run, mirror, model, path):
    other = Model("other", [b"sound"]).publish(mirror)
    damaged = bytearray(LARGE)
    damaged[7_000_000] ^= 1
    mirror.write(mirror.layout.blob_key(digest_of(LARGE)), bytes(damaged), digest_of(LARGE))
    outcome = run("ollama_s3_import", models=["llama3:8b", "other"], models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == "digest_mismatch"
    assert outcome.result["digest"] == digest_of(LARGE)
    # The sound model is still imported, and no part of the other one.
    assert outcome.result["models_completed"] == ["other:latest"]
    assert outcome.result["changed"]
    assert_sound(path, other)
    assert leftovers(path) == []
    assert not model.manifest_path(path).exists()


@pytest.mark.parametrize(
    "raw, code",
    [
        (b"", "manifest_invalid"),
        (b'{"schemaVersion": 2, "layers": [{"digest": "sha256:../../../etc/passwd", "size": 1}]}', "manifest_invalid"),
        (
            b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}',
            "manifest_unsupported",
        ),
    ],
)
def test_import_with_an_untrusted_manifest_fails_before_any_byte(run, mirror, model, path, raw, code):
    mirror.write(mirror.layout.manifest_key(model.parsed), raw, digest_of(raw))
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == code
    assert "manifests/registry.ollama.ai/library/llama3/8b" in outcome.result["msg"]
    assert not path.exists()


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b/c/d", "", "llama3:", "ll ama"])
def test_import_of_an_invalid_name_is_refused(run, path, name):
    outcome = run("ollama_s3_import", name=name, models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == "invalid_name"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MiB."""
    with services.small_disk(tmp_path / "disk", "16m") as where:
        yield where


def test_import_onto_a_small_disk_fails_before_any_byte(run, model, small_disk):
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=small_disk / "models")
    assert outcome.failed
    assert outcome.result["error_code"] == "disk_full"
    assert "needs 21.0 MB" in outcome.result["msg"]
    assert "16.8 MB are free" in outcome.result["msg"]
    assert outcome.result["bytes_needed"] == model.size
    assert not (small_disk / "models").exists()


def test_import_into_an_unreachable_directory_names_it(model, settings, tmp_path):
    closed = tmp_path / "closed"
    (closed / "models").mkdir(parents=True)
    closed.chmod(0o700)
    for parent in tmp_path.parents:
        if str(parent) not in ("/", "/tmp"):
            parent.chmod(parent.stat().st_mode | 0o055)
    tmp_path.chmod(0o755)
    arguments = {**options(settings), "name": "llama3:8b", "models_path": str(closed / "models"), "owner": "nobody"}
    outcome = run_module("ollama_s3_import", arguments, "--check")
    assert f"User nobody, to whom the models will belong, may not enter {closed}" in outcome.text


def test_import_from_a_bucket_without_a_prefix_works(settings, path):
    bare = dataclasses.replace(settings, prefix="")
    model = Model("llama3", [b"weights"]).publish(Mirror(bare))
    outcome = run_module("ollama_s3_import", {**options(bare), "name": "llama3", "models_path": str(path)})
    assert outcome.changed
    assert_sound(path, model)
