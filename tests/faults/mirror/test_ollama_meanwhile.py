# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running Ollama changes its store during an import: it prunes, removes and pulls."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
import services
from faulty_proxy import Fault
from mirror_lab import Model, assert_sound, digest_of, finish_module, journal, large_and_many, until_noted
from registry import running_registry

LARGE = os.urandom(100 * 1024 * 1024)


@pytest.fixture
def models(mirror):
    return large_and_many(mirror, LARGE)


def ask(server, method, path, **body):
    """Ask Ollama, and return its complete output."""
    request = urllib.request.Request(f"{server.url}{path}", json.dumps(body).encode(), method=method)
    with urllib.request.urlopen(request) as answer:
        return answer.read()


@pytest.mark.parametrize("build", ["ollama-oldest", "ollama-newest"])
def test_import_beside_an_ollama_that_keeps_restarting_succeeds(start, proxy, models, path, build):
    """Each start prunes. Ollama before v0.21 spares nothing that no manifest names, however young it is."""
    pruned = threading.Event()
    proxy.rule = lambda request: (
        Fault(before=lambda: pruned.wait(120)) if (request.content_from or 0) >= 64 * 1024 * 1024 else None
    )
    path.mkdir()
    process = start("ollama_s3_import", models=[model.name for model in models], models_path=path)
    until_noted(journal(path, digest_of(LARGE)), 48 * 1024 * 1024)
    small = models[0].blob_path(path, digest_of(b"template"))
    deadline = time.monotonic() + 60
    while not small.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for _start in range(3):
        with services.ollama_server(path, build=build):
            pass
    assert small.exists() is (build != "ollama-oldest")
    assert process.poll() is None
    pruned.set()
    outcome = finish_module(process)
    assert not outcome.failed, outcome.result
    with services.ollama_server(path, build=build):
        assert_sound(path, *models)


def test_import_beside_a_removal_fetches_the_removed_blobs_again(start, proxy, mirror, path):
    """A removal through the server drops the blobs that only its model names, also those that an import relies on."""
    other = Model("removed", [LARGE, b"template", b"of its own"])
    model = Model("large", [LARGE, b"template", LARGE[: 9 * 1024 * 1024]]).publish(mirror)
    path.mkdir()
    other.store(path)
    arrived, removed = threading.Event(), threading.Event()

    def rule(request):
        if request.of_blob and request.method == "GET":
            arrived.set()
            return Fault(before=lambda: removed.wait(60))
        return None

    with services.ollama_server(path) as server:
        proxy.rule = rule
        process = start("ollama_s3_import", name="large", models_path=path)
        assert arrived.wait(60)
        ask(server, "DELETE", "/api/delete", model="removed")
        removed.set()
        outcome = finish_module(process)
    assert not outcome.failed, outcome.result
    assert outcome.result["blobs_downloaded"] == 4  # the one that was lacking, and those that were removed
    assert_sound(path, model)
    assert not other.manifest_path(path).exists()


def test_ollama_sees_a_model_only_when_it_is_complete(run, path):
    """A real model and a running server: the server lists it without a restart, with the digest that we return."""
    run("ollama_s3_publish", name="smollm2:135m", models_path=services.model_store())

    def listed():
        with urllib.request.urlopen(f"{server.url}/api/tags") as answer:
            return [(model["name"], model["digest"]) for model in json.load(answer)["models"]]

    with services.ollama_server(path) as server:
        assert listed() == []
        outcome = run("ollama_s3_import", name="smollm2:135m", models_path=path)
        assert not outcome.failed, outcome.result
        assert listed() == [("smollm2:135m", outcome.result["models"][0]["digest"].split(":")[1])]
        assert run("ollama_s3_import", name="smollm2:135m", state="absent", models_path=path).changed
        assert listed() == []


@pytest.mark.parametrize("build", ["ollama-oldest", "ollama", "ollama-newest"])
def test_import_beside_a_pull_of_the_same_model_succeeds(start, run, proxy, path, build):
    """Both bring the same blobs to the same places, and the later one finds them."""
    name = "smollm2:135m"
    run("ollama_s3_publish", name=name, models_path=services.model_store())
    path.mkdir()
    arrived = threading.Event()

    def rule(request):
        if request.of_blob and request.method == "GET":
            arrived.set()
            return Fault(rate=10e6)
        return None

    with running_registry() as registry:
        registry.offer("registry.ollama.ai", "library/smollm2", "135m", services.model_store(), ("smollm2", "135m"))
        registry.rate = 20_000_000
        with (
            services.ollama_server(path, env=registry.environment, build=build) as server,
            ThreadPoolExecutor(1) as aside,
        ):
            proxy.rule = rule
            process = start("ollama_s3_import", name=name, models_path=path)
            assert arrived.wait(60)
            pulled = aside.submit(ask, server, "POST", "/api/pull", model=name)
            outcome = finish_module(process)
            assert b'"success"' in pulled.result(120)
            listed = json.loads(ask(server, "GET", "/api/tags"))["models"]
    assert not outcome.failed, outcome.result
    assert [model["name"] for model in listed] == [name]
    assert_sound(path)
    proxy.rule = lambda request: None
    # An Ollama of old writes the manifest in words of its own, which the import then replaces by the mirror's.
    run("ollama_s3_import", name=name, models_path=path)
    assert not run("ollama_s3_import", name=name, models_path=path).changed


def test_publish_beside_a_removal_sends_all_of_the_model_or_nothing(start, run, proxy, mirror, path):
    """The mirror gets the complete model or no part of it."""
    model = Model("large", [LARGE, b"template"]).store(path)
    asked, removed = threading.Event(), threading.Event()

    def rule(request):
        if request.of_blob and request.method in ("PUT", "POST"):
            asked.set()
            return Fault(before=lambda: removed.wait(60))
        return None

    with services.ollama_server(path) as server:
        proxy.rule = rule
        process = start("ollama_s3_publish", name="large", models_path=path)
        assert asked.wait(60)
        ask(server, "DELETE", "/api/delete", model="large")
        removed.set()
        outcome = finish_module(process)
    if outcome.failed:
        assert outcome.result["error_code"] == "not_in_store", outcome.result
        assert [name.short for name in mirror.names()] == []
    else:
        assert mirror.read(mirror.layout.blob_key(digest_of(LARGE)), len(LARGE) + 1) == LARGE
        assert mirror.manifest(model.parsed) == model.raw
