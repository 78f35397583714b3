# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ollama_s3_publish, ollama_s3_info and ollama_s3_file as a user runs them, against a real S3 server."""

from __future__ import annotations

import os
import stat

import pytest
from mirror_lab import Model, assert_sound, digest_of, sdk_client

LARGE = os.urandom(40 * 1024 * 1024)  # more than two parts of an upload


@pytest.fixture
def model(path):
    return Model("llama3:8b", [LARGE, b"template", b""]).store(path)


def objects(mirror):
    return {state.key: mirror.state(state.key) for state in mirror.entries("")}


def test_publish_of_a_model_sends_it_once(run, mirror, model, path):
    predicted = run("ollama_s3_publish", "--check", "--diff", name="llama3:8b", models_path=path)
    assert objects(mirror) == {}
    first = run("ollama_s3_publish", name="llama3:8b", models_path=path)
    for outcome in (predicted, first):
        assert outcome.changed
        assert outcome.result["blobs_uploaded"] == 4
        assert outcome.result["blobs_skipped"] == 0
        assert outcome.result["bytes_uploaded"] == model.size
        assert outcome.result["models"][0]["action"] == "add"
    assert f"+blob {digest_of(LARGE)}: 41.9 MB" in predicted.text

    there = objects(mirror)
    for digest, content in model.blobs.items():
        state = there.pop(mirror.layout.blob_key(digest))
        assert (state.size, state.digest) == (len(content), digest)
    pieces = f"ollama/models/pieces/{digest_of(LARGE).replace(':', '-')}"  # of a blob that has more than one
    assert sorted(there) == ["ollama/models/manifests/registry.ollama.ai/library/llama3/8b", pieces]
    assert mirror.manifest(model.parsed) == model.raw

    second = run("ollama_s3_publish", name="llama3:8b", models_path=path)
    assert not second.changed
    assert second.result["blobs_skipped"] == 4


def test_publish_result_can_be_imported(run, model, path, tmp_path):
    run("ollama_s3_publish", name="llama3:8b", models_path=path)
    run("ollama_s3_import", name="llama3:8b", models_path=tmp_path / "other")
    assert_sound(tmp_path / "other", model)


def test_publish_knows_an_object_without_a_recorded_digest_by_its_etag(run, mirror, model, path):
    run("ollama_s3_publish", name="llama3:8b", models_path=path)
    key = mirror.layout.blob_key(digest_of(b"template"))
    mirror.remove(key)  # VersityGW keeps the metadata of an object that is overwritten
    sdk_client(mirror).put_object(Bucket=mirror.settings.bucket, Key=key, Body=b"template")
    assert not run("ollama_s3_publish", name="llama3:8b", models_path=path).changed


@pytest.mark.parametrize("wrong", ["size", "digest", "content"])
def test_publish_replaces_objects_that_it_cannot_verify(run, mirror, model, path, wrong):
    run("ollama_s3_publish", name="llama3:8b", models_path=path)
    key = mirror.layout.blob_key(digest_of(b"template"))
    if wrong == "size":
        mirror.write(key, b"templat", digest_of(b"template"))
    elif wrong == "digest":
        mirror.write(key, b"template", digest_of(b"other"))
    else:
        mirror.remove(key)
        sdk_client(mirror).put_object(Bucket=mirror.settings.bucket, Key=key, Body=b"templatE")
    outcome = run("ollama_s3_publish", name="llama3:8b", models_path=path)
    assert outcome.changed
    assert [entry["digest"] for entry in outcome.result["replaced"]] == [digest_of(b"template")]
    assert mirror.read(key, 100) == b"template"
    assert not run("ollama_s3_publish", name="llama3:8b", models_path=path).changed


@pytest.mark.parametrize("which", [LARGE, b"template"], ids=["in parts", "as a whole"])
def test_publish_of_a_damaged_blob_leaves_the_mirror_without_it(run, mirror, model, path, which):
    with model.blob_path(path, digest_of(which)).open("r+b") as file:
        file.seek(len(which) - 1)
        file.write(bytes([which[-1] ^ 1]))
    outcome = run("ollama_s3_publish", name="llama3:8b", models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == "digest_mismatch"
    assert str(model.blob_path(path, digest_of(which))) in outcome.result["msg"]
    assert mirror.layout.blob_key(digest_of(which)) not in objects(mirror)
    assert mirror.manifest(model.parsed) is None
    uploads = sdk_client(mirror).list_multipart_uploads(Bucket=mirror.settings.bucket)
    assert uploads.get("Uploads", []) == []


def test_publish_of_a_missing_model_suggests_similar_names(run, model, path):
    outcome = run("ollama_s3_publish", name="lama3", models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == "not_in_store"
    assert "Did you mean llama3:8b?" in outcome.result["msg"]


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_publish_of_a_model_without_its_blobs_fails(run, mirror, model, path, damage):
    blob = model.blob_path(path, digest_of(LARGE))
    blob.unlink() if damage == "missing" else os.truncate(blob, 10)
    outcome = run("ollama_s3_publish", name="llama3:8b", models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == "not_in_store"
    assert objects(mirror) == {}


def test_publish_absent_removes_a_model(run, mirror, model, path):
    other = Model("other", [LARGE, b"other"]).publish(mirror)
    model.publish(mirror)
    predicted = run("ollama_s3_publish", "--check", "--diff", name="llama3:8b", state="absent")
    assert mirror.manifest(model.parsed) == model.raw
    assert "-model llama3:8b" in predicted.text
    done = run("ollama_s3_publish", name="llama3:8b", state="absent")
    for outcome in (predicted, done):
        assert outcome.changed
        assert outcome.result["blobs_removed"] == 2
        assert outcome.result["bytes_freed"] == len(b"template")
    assert mirror.manifest(model.parsed) is None
    assert {key for key in objects(mirror) if "/blobs/" in key} == {
        mirror.layout.blob_key(digest) for digest in other.blobs
    }
    assert not run("ollama_s3_publish", name="llama3:8b", state="absent").changed


def test_prune_leaves_exactly_the_models_named_in_the_mirror(run, mirror, model, path):
    other = Model("other", [LARGE, b"other"]).publish(mirror)
    theirs = Model("hf.co/user/repo:Q4", [b"theirs"]).publish(mirror)
    Model("llama3:8b", [b"older"]).publish(mirror)
    given = {"models": ["llama3:8b"], "models_path": path}
    kept = run("ollama_s3_publish", "--check", **given)
    assert kept.result["blobs_removed"] == 0
    predicted = run("ollama_s3_publish", "--check", "--diff", **given, prune=True, prune_scope=["other"])
    assert "-model other:latest" in predicted.text
    assert mirror.manifest(other.parsed) == other.raw
    done = run("ollama_s3_publish", **given, prune=True, prune_scope=["other"])
    for outcome in (predicted, done):
        assert {entry["name"]: entry["action"] for entry in outcome.result["models"]} == {
            "llama3:8b": "replace",
            "other:latest": "remove",
        }
        assert outcome.result["blobs_removed"] == 2
        assert outcome.result["bytes_freed"] == len(b"otherolder")
    assert mirror.manifest(other.parsed) is None
    assert mirror.manifest(theirs.parsed) == theirs.raw
    assert {key for key in objects(mirror) if "/blobs/" in key} == {
        mirror.layout.blob_key(digest) for digest in {**model.blobs, **theirs.blobs}
    }
    assert not run("ollama_s3_publish", **given, prune=True, prune_scope=["other"]).changed


def test_prune_of_the_mirror_without_models_is_refused(run, mirror, model, path):
    model.publish(mirror)
    outcome = run("ollama_s3_publish", models=[], models_path=path, prune=True)
    assert outcome.result["error_code"] == "invalid_option"
    assert mirror.manifest(model.parsed) == model.raw


def test_prune_with_a_broken_manifest_in_the_mirror_keeps_its_blobs(run, mirror, model):
    model.publish(mirror)
    mirror.write(mirror.layout.manifests + "registry.ollama.ai/library/broken/latest", b"", digest_of(b""))
    outcome = run("ollama_s3_publish", name="llama3:8b", state="absent")
    assert outcome.result["blobs_removed"] == 0
    assert "cannot be read" in outcome.text
    assert sum("/blobs/" in key for key in objects(mirror)) == 4


@pytest.mark.parametrize(
    "changes, code",
    [
        ({"secret_key": "wrong"}, "mirror_credentials"),
        ({"access_key": "wrong", "secret_key": "wrong"}, "mirror_credentials"),
        ({"bucket": "no-such-bucket"}, "mirror_bucket_missing"),
    ],
)
@pytest.mark.parametrize("module", ["ollama_s3_publish", "ollama_s3_info", "ollama_s3_file"])
def test_publish_to_an_unusable_mirror_fails_with_one_message(run, model, path, module, changes, code, tmp_path):
    own = {
        "ollama_s3_publish": {"name": "llama3:8b", "models_path": path},
        "ollama_s3_info": {},
        "ollama_s3_file": {"key": "x", "path": tmp_path / "x"},
    }[module]
    outcome = run(module, **own, **changes)
    assert outcome.failed
    assert outcome.result["error_code"] == code


def test_info_lists_models_and_broken_manifests(run, mirror, model):
    model.publish(mirror)
    Model("hf.co/user/repo:Q4_K_M", [b"weights"]).publish(mirror)
    mirror.write(mirror.layout.manifests + "registry.ollama.ai/library/broken/latest", b"{", digest_of(b"{"))
    mirror.write(mirror.layout.manifests + "registry.ollama.ai/library/.DS_Store", b"x", digest_of(b"x"))
    outcome = run("ollama_s3_info")
    assert not outcome.changed
    assert [entry["name"] for entry in outcome.result["models"]] == ["hf.co/user/repo:Q4_K_M", "llama3:8b"]
    listed = outcome.result["models"][1]
    assert listed["digest"] == digest_of(model.raw)
    assert listed["size"] == model.size
    assert [layer["size"] for layer in listed["layers"]] == [len(LARGE), 8, 0]
    assert listed["modified"].startswith("20")
    assert [entry["name"] for entry in outcome.result["broken"]] == ["broken:latest"]
    assert "not JSON" in outcome.result["broken"][0]["problem"]

    chosen = run("ollama_s3_info", "--check", name=["llama3*", "nothing"])
    assert [entry["name"] for entry in chosen.result["models"]] == ["llama3:8b"]


def test_info_of_an_empty_mirror_is_empty(run):
    outcome = run("ollama_s3_info")
    assert outcome.result["models"] == outcome.result["broken"] == []


def test_info_reads_more_than_a_page(run, mirror):
    """A page of S3's listing has 1,000 keys."""
    model = Model("m", [b"weights"]).publish(mirror)
    folder = mirror.layout.manifest_key(model.parsed).rsplit("/", 1)[0]
    for number in range(1005):
        mirror.write(f"{folder}/t{number}", model.raw, digest_of(model.raw))
    outcome = run("ollama_s3_info")
    assert len(outcome.result["models"]) == 1006


def test_file_is_published_and_fetched_once(run, mirror, tmp_path):
    source, target = tmp_path / "source.tgz", tmp_path / "target.tgz"
    source.write_bytes(LARGE)
    predicted = run("ollama_s3_file", "--check", "--diff", key="archives/a.tgz", path=source, state="published")
    assert predicted.changed
    assert f"+{digest_of(LARGE)} (41.9 MB)" in predicted.text
    assert objects(mirror) == {}
    assert run("ollama_s3_file", key="archives/a.tgz", path=source, state="published").changed
    assert objects(mirror)["archives/a.tgz"].digest == digest_of(LARGE)
    assert not run("ollama_s3_file", key="archives/a.tgz", path=source, state="published").changed

    predicted = run("ollama_s3_file", "--check", key="archives/a.tgz", path=target)
    assert predicted.changed
    assert not target.exists()
    came = run("ollama_s3_file", key="/archives/a.tgz", path=target, mode="0600")
    assert came.changed
    assert came.result["checksum"] == digest_of(LARGE)
    assert came.result["bytes_transferred"] == len(LARGE)
    assert target.read_bytes() == LARGE
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["source.tgz", "target.tgz"]
    assert not run("ollama_s3_file", key="archives/a.tgz", path=target, mode="0600").changed
    assert run("ollama_s3_file", key="archives/a.tgz", path=target, mode="u=rw,g=r").changed
    assert stat.S_IMODE(target.stat().st_mode) == 0o640

    with target.open("r+b") as file:
        file.write(b"damage")
    assert run("ollama_s3_file", key="archives/a.tgz", path=target).changed
    assert target.read_bytes() == LARGE
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_file_with_the_right_checksum_needs_no_mirror(run, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    checksum = digest_of(b"content").split(":")[1]
    outcome = run("ollama_s3_file", key="x", path=path, checksum=checksum, endpoint_url="http://127.0.0.1:9")
    assert not outcome.failed
    assert not outcome.changed


@pytest.mark.parametrize(
    "arguments, code",
    [
        ({"key": "other"}, "mirror_object_missing"),
        ({"key": "plain"}, "mirror_unverifiable"),
        ({"key": "plain", "checksum": digest_of(b"other")}, "digest_mismatch"),
        ({"key": "recorded", "checksum": digest_of(b"other")}, "digest_mismatch"),
        ({"key": "lying"}, "digest_mismatch"),
        ({"key": "recorded", "checksum": "md5:1234"}, "invalid_digest"),
    ],
)
def test_file_that_cannot_be_verified_is_not_fetched(run, mirror, tmp_path, arguments, code):
    sdk_client(mirror).put_object(Bucket=mirror.settings.bucket, Key="plain", Body=b"content")
    mirror.write("recorded", b"content", digest_of(b"content"))
    mirror.write("lying", b"content", digest_of(b"another"))
    target = tmp_path / "target"
    target.write_bytes(b"before")
    outcome = run("ollama_s3_file", path=target, **arguments)
    assert outcome.failed
    assert outcome.result["error_code"] == code
    assert target.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["target"]


def test_file_without_its_directory_fails(run, mirror, tmp_path):
    mirror.write("x", b"content", digest_of(b"content"))
    outcome = run("ollama_s3_file", key="x", path=tmp_path / "missing" / "x")
    assert outcome.failed
    assert f"{tmp_path}/missing does not exist" in outcome.result["msg"]


def test_file_of_unknown_digest_is_fetched_only_with_its_checksum(run, mirror, tmp_path):
    sdk_client(mirror).put_object(Bucket=mirror.settings.bucket, Key="plain", Body=b"")
    outcome = run("ollama_s3_file", key="plain", path=tmp_path / "x", checksum=digest_of(b""))
    assert outcome.changed
    assert (tmp_path / "x").read_bytes() == b""
