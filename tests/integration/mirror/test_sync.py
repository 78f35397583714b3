# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ollama_s3_sync as a user runs it, against a real S3 server and a real Ollama."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request

import pytest
import services
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.models.model_sync import ModelSync, ServerAccess
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.client import OllamaClient
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.retry import RetryPolicy
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.store import Store, StoreSettings
from depth import choose_versions
from mirror_lab import Model, assert_sound, digest_of, finish_module, leftovers, options, start_module

LARGE = os.urandom(20 * 1024 * 1024)
NOBODY = 65534

#: The interpreter of the tests may lie where only root can look, so that looking stays allowed; writing does not.
AS_NOBODY = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)


def pytest_generate_tests(metafunc):
    choose_versions(metafunc, "any_server", ("ollama", "ollama-oldest"))


@pytest.fixture(scope="session")
def any_server(request, tmp_path_factory):
    with services.ollama_server(tmp_path_factory.mktemp("served") / "models", build=request.param) as server:
        yield server


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    with services.ollama_server(tmp_path_factory.mktemp("served") / "models") as server:
        yield server


def empty(server):
    """Restart a server with an empty store."""
    for part in ("blobs", "manifests", ".legionio-ollama"):
        shutil.rmtree(server.models_path / part, ignore_errors=True)
    (server.models_path / "blobs").mkdir()
    return server


@pytest.fixture
def server(shared_server):
    return empty(shared_server)


@pytest.fixture
def model(mirror):
    return Model("llama3:8b", [LARGE, b"template", b""]).publish(mirror)


@pytest.fixture
def sync(run, server):
    def call(*flags, **arguments):
        return run("ollama_s3_sync", *flags, **{"host": server.url, "models_path": server.models_path, **arguments})

    return call


def listed(server):
    with urllib.request.urlopen(f"{server.url}/api/tags") as answer:
        return {model["name"]: f"sha256:{model['digest']}" for model in json.load(answer)["models"]}


@pytest.mark.every_version
def test_sync_of_a_model_brings_it_once(run, model, any_server):
    server = empty(any_server)
    given = {"host": server.url, "models_path": server.models_path}
    predicted = run("ollama_s3_sync", "--check", "--diff", name="llama3:8b", **given)
    assert list((server.models_path / "blobs").iterdir()) == []
    first = run("ollama_s3_sync", name="llama3:8b", **given)
    for outcome in (predicted, first):
        assert outcome.changed
        assert outcome.result["models"] == [
            {
                "name": "llama3:8b",
                "full_name": "registry.ollama.ai/library/llama3:8b",
                "action": "add",
                "digest": digest_of(model.raw),
                "previous_digest": None,
                "size": model.size,
            }
        ]
        assert outcome.result["blobs_downloaded"] == outcome.result["blobs_uploaded"] == 4
        assert outcome.result["blobs_skipped"] == 0
        assert outcome.result["bytes_downloaded"] == model.size
        assert outcome.result["errors"] == outcome.result["unverified"] == []
    assert f"+blob {digest_of(LARGE)}: 21.0 MB" in predicted.text
    assert f"+++ after: {server.url} ({server.models_path})" in predicted.text
    assert first.result["seconds"] > 0
    assert first.result["rate"] > 0
    assert_sound(server.models_path, model)
    assert leftovers(server.models_path) == []
    assert listed(server) == {"llama3:8b": digest_of(model.raw)}

    second = run("ollama_s3_sync", name="registry.ollama.ai/library/llama3:8b", **given)
    assert not second.changed
    assert second.result["blobs_uploaded"] == 0
    assert second.result["blobs_skipped"] == 4


def test_sync_of_an_update_sends_new_blobs_and_removes_unused_ones(sync, mirror, model, server):
    sync(name="llama3:8b")
    newer = Model("llama3:8b", [LARGE, b"new template"]).publish(mirror)
    outcome = sync(name="llama3:8b")
    assert outcome.result["models"][0]["action"] == "replace"
    assert outcome.result["models"][0]["previous_digest"] == digest_of(model.raw)
    assert outcome.result["blobs_uploaded"] == 1
    assert outcome.result["blobs_removed"] == 2
    assert outcome.result["bytes_freed"] == len(b"template")
    assert_sound(server.models_path, newer)
    assert listed(server) == {"llama3:8b": digest_of(newer.raw)}


def test_sync_of_many_small_and_shared_blobs_sends_each_once(sync, mirror, server):
    layers = [os.urandom(3000) for _layer in range(150)]
    first = Model("hf.co/user/repo:Q4_K_M", layers).publish(mirror)
    second = Model("reg.example:5000/ns/m:t", [*layers[:100], b"other"]).publish(mirror)
    outcome = sync(models=[first.name, second.name])
    assert not outcome.failed, outcome.result
    assert outcome.result["blobs_uploaded"] == 152
    assert_sound(server.models_path, first, second)
    assert set(listed(server)) == {first.name, second.name}


@pytest.mark.parametrize("damage", ["flip", "truncate", "link"])
def test_sync_replaces_a_damaged_blob_of_the_server(sync, model, server, damage):
    sync(name="llama3:8b")
    blob = model.blob_path(server.models_path, digest_of(LARGE))
    if damage == "flip":
        with blob.open("r+b") as file:
            file.write(b"damage")
    elif damage == "truncate":
        os.truncate(blob, 5_000_000)
    else:
        blob.unlink()
        blob.symlink_to("/dev/null")
    predicted = sync("--check", name="llama3:8b")
    repaired = sync(name="llama3:8b")
    for outcome in (predicted, repaired):
        assert outcome.changed
        assert [entry["digest"] for entry in outcome.result["repaired"]] == [digest_of(LARGE)]
        assert outcome.result["blobs_uploaded"] == 0
        assert outcome.result["blobs_downloaded"] == 1
    assert_sound(server.models_path, model)
    assert not sync(name="llama3:8b").changed


def test_sync_sends_a_lost_blob_again(sync, model, server):
    """A server hides a model without its configuration, so an unlisted model may still be there."""
    sync(name="llama3:8b")
    model.blob_path(server.models_path, digest_of(model.config)).unlink()
    assert listed(server) == {}
    outcome = sync(name="llama3:8b")
    assert outcome.result["blobs_uploaded"] == 1
    assert outcome.result["models"][0]["action"] == "keep"
    assert listed(server) == {"llama3:8b": digest_of(model.raw)}


def test_sync_of_a_damaged_blob_fails_for_this_blob_only(sync, mirror, model, server):
    other = Model("other", [b"sound"]).publish(mirror)
    damaged = bytearray(LARGE)
    damaged[7_000_000] ^= 1
    mirror.write(mirror.layout.blob_key(digest_of(LARGE)), bytes(damaged), digest_of(LARGE))
    outcome = sync(models=["llama3:8b", "other"])
    assert outcome.failed
    assert outcome.result["error_code"] == "digest_mismatch"
    (error,) = outcome.result["errors"]
    assert error["digest"] == digest_of(LARGE)
    assert error["status"] is None
    assert error["error"]
    assert outcome.result["models_completed"] == ["other:latest"]
    # All others were attempted, and of the damaged one the server keeps nothing, under whatever name.
    assert outcome.result["blobs_uploaded"] == 4
    assert_sound(server.models_path, other)
    assert set(listed(server)) == {"other:latest"}
    model.publish(mirror)
    assert sync(models=["llama3:8b", "other"]).changed
    assert_sound(server.models_path, model, other)


def test_sync_without_the_first_blob_still_attempts_all_others(sync, mirror, server):
    model = Model("llama3:8b", [b"x", b"template", LARGE]).publish(mirror)
    mirror.write(mirror.layout.blob_key(digest_of(b"x")), b"y", digest_of(b"x"))
    outcome = sync(name="llama3:8b")
    assert outcome.failed
    assert [error["digest"] for error in outcome.result["errors"]] == [digest_of(b"x")]
    assert outcome.result["blobs_uploaded"] == 3
    assert outcome.result["models_completed"] == []
    assert not model.manifest_path(server.models_path).exists()
    assert_sound(server.models_path)


def test_sync_with_a_missing_blob_fails_before_any_byte(sync, mirror, model, server):
    mirror.remove(mirror.layout.blob_key(digest_of(b"template")))
    outcome = sync(name="llama3:8b")
    assert outcome.result["error_code"] == "mirror_incomplete"
    assert list((server.models_path / "blobs").iterdir()) == []


# Where the models directory is not what it should be


def test_sync_finds_the_store_of_another_server_by_the_smallest_blob(sync, model, server, path):
    (path / "blobs").mkdir(parents=True)
    outcome = sync(name="llama3:8b", models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == "not_its_store"
    assert str(path) in outcome.result["msg"]
    assert "OLLAMA_MODELS" in outcome.result["msg"]
    # Neither a manifest without blobs there, nor a large blob for nothing here.
    assert list(path.glob("manifests/*/*/*/*")) == []
    assert not model.blob_path(server.models_path, digest_of(LARGE)).exists()


def test_sync_finds_the_store_of_another_server_by_its_content(sync, model, server, path):
    model.store(path)
    outcome = sync(name="llama3:8b", models_path=path)
    assert outcome.result["error_code"] == "not_its_store"
    assert list((server.models_path / "blobs").iterdir()) == []

    shutil.rmtree(path)
    (path / "blobs").mkdir(parents=True)
    sync(name="llama3:8b")
    outcome = sync(name="llama3:8b", models_path=path)
    assert outcome.result["error_code"] == "not_its_store"
    assert "the server has the blob" in outcome.result["msg"]


@pytest.mark.parametrize("what", ["missing", "not a models directory", "not writable", "out of reach"])
def test_sync_without_write_access_names_the_alternative(settings, model, server, path, what):
    if what == "not a models directory":
        path.mkdir()
    elif what == "not writable":
        path = server.models_path
    elif what == "out of reach":  # root does not follow a link that somebody else may have placed
        path.parent.joinpath("theirs").mkdir()
        os.chown(path.parent / "theirs", NOBODY, NOBODY)
        path = path.parent / "theirs" / "link"
        path.symlink_to(server.models_path)
    arguments = {**options(settings), "name": "llama3:8b", "host": server.url, "models_path": path}
    outcome = finish_module(start_module("ollama_s3_sync", arguments, *(AS_NOBODY if what == "not writable" else ())))
    assert outcome.failed
    assert outcome.result["error_code"] == "store_out_of_reach"
    for words in (str(path), "ollama_s3_import", "become", server.url):
        assert words in outcome.result["msg"]
    assert outcome.result["changed"] is False
    assert list((server.models_path / "blobs").iterdir()) == []
    assert list(path.glob("manifests/*/*/*/*")) == []


def test_sync_returns_invisible_blobs_as_unverified(sync, model, path):
    sync(name="llama3:8b")
    outcome = sync(name="llama3:8b", models_path=path)
    assert not outcome.failed, outcome.result
    assert not outcome.changed
    assert sorted(outcome.result["unverified"]) == sorted(model.blobs)


def test_sync_returns_unreadable_blobs_as_unverified(sync, settings, model, server):
    sync(name="llama3:8b")
    (server.models_path / ".legionio-ollama" / "verified.json").unlink()
    model.blob_path(server.models_path, digest_of(LARGE)).chmod(0o600)
    for parent in server.models_path.parents:
        if str(parent) not in ("/", "/tmp"):
            parent.chmod(parent.stat().st_mode | 0o055)
    # Only the user changes: what the interpreter needs lies where nobody else may look.
    mirror, client = Mirror(settings), OllamaClient(server.url)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.seteuid(NOBODY)
            with Store(StoreSettings(str(server.models_path))) as store:
                policy = RetryPolicy(0)
                syncer = ModelSync(mirror, store, [model.parsed], ServerAccess(client, client, policy))
                plan = syncer.plan()
            os.write(writer, json.dumps([plan.changed, syncer.report.unverified]).encode())
        except BaseException as error:  # noqa: BLE001 - nothing of the tests may go on in the child
            os.write(writer, json.dumps(repr(error)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as answer:
        assert json.load(answer) == [False, [digest_of(LARGE)]]


@pytest.mark.parametrize(
    "changes, code",
    [
        ({"host": "http://127.0.0.1:9", "retries": 0}, "ollama_unreachable"),
        ({"secret_key": "wrong"}, "mirror_credentials"),
        ({"name": "lama3"}, "model_missing"),
        ({"concurrency": 0}, "invalid_option"),
    ],
)
def test_sync_that_cannot_work_fails_with_one_message(sync, model, server, changes, code):
    outcome = sync(**{"name": "llama3:8b", **changes})
    assert outcome.failed
    assert outcome.result["error_code"] == code
    assert list((server.models_path / "blobs").iterdir()) == []


def test_sync_to_a_host_without_ollama_names_it(sync, settings, model):
    outcome = sync(name="llama3:8b", host=settings.endpoint_url, retries=0)
    assert outcome.failed
    assert settings.endpoint_url in outcome.result["msg"]


def test_sync_of_a_real_model_makes_it_answer(run, settings, path):
    """Publish from the lab's store, sync to an empty server, and ask it."""
    assert run("ollama_s3_publish", name="smollm2:135m", models_path=services.model_store()).changed
    with services.ollama_server(path) as server:
        outcome = run("ollama_s3_sync", name="smollm2:135m", host=server.url, models_path=path)
        assert not outcome.failed, outcome.result
        assert listed(server) == {"smollm2:135m": outcome.result["models"][0]["digest"]}
        body = {"model": "smollm2:135m", "prompt": "Say hello", "stream": False, "options": {"num_predict": 4}}
        request = urllib.request.Request(f"{server.url}/api/generate", json.dumps(body).encode())
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["done"]
