# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures of servers, networks, disks and processes during a sync to a running Ollama."""

from __future__ import annotations

import json
import os
import random
import threading
import time
import urllib.request

import faulty_proxy
import pytest
import services
from depth import rounds
from faulty_proxy import Fault
from mirror_lab import Model, assert_sound, digest_of, finish_module, until_another_waits

ROUNDS = rounds(quick=4, deep=100)
LARGE = os.urandom(60 * 1024 * 1024)


@pytest.fixture
def server(path):
    with services.ollama_server(path) as made:
        yield made


@pytest.fixture
def model(mirror):
    return Model("llama3:8b", [LARGE, b"template", b"license"]).publish(mirror)


@pytest.fixture
def before(server):
    """A proxy in front of the Ollama server."""
    with faulty_proxy.proxy(server.url) as made:
        yield made


def begin(start, server, **arguments):
    given = {"models": ["llama3:8b"], "host": server.url, "models_path": server.models_path, **arguments}
    return start("ollama_s3_sync", **given)


def sync(start, server, **arguments):
    return finish_module(begin(start, server, **arguments))


def listed(server):
    with urllib.request.urlopen(f"{server.url}/api/tags") as answer:
        return {model["name"] for model in json.load(answer)["models"]}


def completes(start, proxy, server, *models):
    proxy.rule = lambda request: None
    names = {"models": [model.name for model in models]}
    outcome = sync(start, server, **names)
    assert not outcome.failed, outcome.result
    without_strangers(server)
    assert_sound(server.models_path, *models)
    assert listed(server) == {model.name for model in models}
    assert not sync(start, server, **names).changed


def without_strangers(server):
    """A killed Ollama leaves a temporary file of an upload (sha256- and some digits), which its next start removes."""
    for file in (server.models_path / "blobs").iterdir():
        if len(file.name) != len("sha256-") + 64:
            file.unlink()


def when_large_comes(action):
    """A rule that calls something once, when the large blob is on its way, and slows it down."""
    called = threading.Event()

    def rule(request):
        if not (request.of_blob and request.method == "GET" and request.range != "bytes=0-7"):
            return None
        if request.range.startswith("bytes=16777216-") and not called.is_set():
            called.set()
            return Fault(before=action, rate=20e6)
        return Fault(rate=20e6)

    rule.called = called
    return rule


def test_sync_to_a_server_that_restarts_sends_the_blob_again(start, proxy, model, server):
    def restart():
        server.kill()
        threading.Timer(1.0, server.start).start()

    proxy.rule = when_large_comes(restart)
    outcome = sync(start, server, retries=8)
    assert proxy.rule.called.is_set()
    assert not outcome.failed, outcome.result
    without_strangers(server)
    assert_sound(server.models_path, model)


def test_sync_to_a_server_that_stays_down_names_it(start, proxy, model, server):
    proxy.rule = when_large_comes(server.kill)
    outcome = sync(start, server, retries=1)
    assert outcome.failed
    assert outcome.result["error_code"] in ("ollama_unreachable", "connection_lost")
    assert "127.0.0.1" in outcome.result["msg"]
    assert outcome.result["errors"]
    assert not model.manifest_path(server.models_path).exists()
    server.start()
    completes(start, proxy, server, model)


def test_sync_through_a_cut_connection_succeeds(start, proxy, before, model, server):
    cuts = []

    def rule(request):
        if request.method == "POST" and len(cuts) < 3:
            cuts.append(request)
            return Fault(cut_after=0)
        return None

    before.rule = rule
    outcome = sync(start, server, host=before.url, retries=5)
    assert len(cuts) == 3
    assert not outcome.failed, outcome.result
    assert_sound(server.models_path, model)


@pytest.mark.parametrize("status", [500, 503, 413])
def test_sync_with_one_refused_blob_sends_all_others(start, proxy, before, mirror, model, server, status):
    other = Model("other:1", [b"other"]).publish(mirror)
    refused = digest_of(b"license")
    before.rule = lambda request: (
        Fault(status=status, body=b'{"error":"made up"}')
        if request.method == "POST" and refused in request.path
        else None
    )
    outcome = sync(start, server, host=before.url, retries=1, models=["llama3:8b", "other:1"])
    assert outcome.failed
    (error,) = outcome.result["errors"]
    assert (error["digest"], error["status"]) == (refused, status)
    assert "made up" in error["error"]
    assert outcome.result["models_completed"] == ["other:1"]
    assert_sound(server.models_path, other)
    assert not model.manifest_path(server.models_path).exists()
    completes(start, proxy, server, model, other)


def test_sync_of_a_blob_damaged_on_the_way_is_refused_by_the_server(start, proxy, mirror, model, server):
    def rule(request):
        large = request.of_blob and request.method == "GET" and request.range
        return Fault(flip=12345) if large and request.range.startswith("bytes=8388608-") else None

    proxy.rule = rule
    outcome = sync(start, server)
    assert outcome.failed
    assert outcome.result["error_code"] == "digest_mismatch"
    assert outcome.result["errors"][0]["digest"] == digest_of(LARGE)
    assert outcome.result["blobs_uploaded"] == 3
    assert_sound(server.models_path)  # the server keeps nothing of it, under whatever name
    completes(start, proxy, server, model)


def test_sync_from_a_lost_mirror_fails_and_the_next_completes(start, proxy, model, server):
    proxy.rule = lambda request: Fault(cut_after=0) if request.range and request.range > "bytes=2" else None
    outcome = sync(start, server)
    assert outcome.failed
    assert outcome.result["error_code"] == "mirror_unreachable"
    assert outcome.result["errors"][0]["error_code"] == "mirror_unreachable"
    assert_sound(server.models_path)
    completes(start, proxy, server, model)


def test_sync_that_fills_the_disk_fails_and_the_next_completes(start, proxy, mirror, small_disk):
    content = LARGE[: 50 * 1024 * 1024]
    model = Model("llama3:8b", [content, b"template"]).publish(mirror)

    def fill():
        (small_disk / "other").write_bytes(b"x" * (20 * 1024 * 1024))

    with services.ollama_server(small_disk / "models") as server:
        proxy.rule = when_large_comes(fill)
        outcome = sync(start, server)
        assert proxy.rule.called.is_set()
        assert outcome.failed
        (error,) = outcome.result["errors"]
        assert error["digest"] == digest_of(content)
        assert error["status"] == 500
        assert "no space left" in error["error"]
        assert_sound(server.models_path)
        (small_disk / "other").unlink()
        completes(start, proxy, server, model)


def test_sync_to_a_small_disk_fails_before_any_byte(start, proxy, mirror, small_disk):
    Model("llama3:8b", [LARGE, b"x" * 10_000_000]).publish(mirror)
    with services.ollama_server(small_disk / "models") as server:
        outcome = sync(start, server)
        assert outcome.result["error_code"] == "disk_full"
        assert list((server.models_path / "blobs").iterdir()) == []


def test_two_syncs_at_once_leave_one_sound_store(start, proxy, model, server):
    met = threading.Event()
    proxy.rule = lambda request: Fault(before=lambda: met.wait(120)) if request.of_blob and request.is_get else None
    both = [begin(start, server) for _sync in range(2)]
    until_another_waits(server.models_path)
    met.set()
    outcomes = sorted((finish_module(process) for process in both), key=lambda outcome: not outcome.changed)
    assert not any(outcome.failed for outcome in outcomes)
    assert [outcome.changed for outcome in outcomes] == [True, False]
    assert "Waiting for process" in json.dumps(outcomes[1].result["warnings"])
    assert_sound(server.models_path, model)


def test_sync_of_a_blob_that_another_client_sends_succeeds(start, proxy, model, server):
    """A client without our lock posts the same blob; the server then has the blob, and accepts no more of ours."""

    def post():
        url = f"{server.url}/api/blobs/{digest_of(LARGE)}"
        urllib.request.urlopen(urllib.request.Request(url, LARGE, method="POST")).close()

    proxy.rule = when_large_comes(post)
    outcome = sync(start, server)
    assert proxy.rule.called.is_set()
    assert not outcome.failed, outcome.result
    assert_sound(server.models_path, model)


def test_sync_beside_a_pruning_ollama_succeeds(start, proxy, model, path):
    """Ollama 0.5 removes at its start every blob that no manifest names; later versions spare them for an hour."""
    with services.ollama_server(path, build="ollama-oldest") as server:

        def restart():
            server.stop()
            server.start()

        proxy.rule = when_large_comes(restart)
        outcome = sync(start, server, retries=8)
        assert proxy.rule.called.is_set()
        assert not outcome.failed, outcome.result
        assert outcome.result["blobs_uploaded"] > 4  # those that had come before the restart came again
        assert_sound(path, model)
        assert listed(server) == {"llama3:8b"}


def test_sync_killed_at_any_moment_is_completed_by_the_next(start, proxy, mirror, model, server):
    other = Model("many", [os.urandom(1000) for _layer in range(40)]).publish(mirror)
    rng = random.Random(4)
    names = {"models": ["llama3:8b", "many"]}
    killed_midway = 0
    for _round in range(ROUNDS):
        asked = threading.Event()

        def rule(request, asked=asked):
            if not request.of_blob:
                return None
            asked.set()
            return Fault(rate=8e6)  # a second at least for the large one

        proxy.rule = rule
        process = begin(start, server, **names)
        asked.wait(60)  # from its first question for a blob on, so that few kills hit a process that still starts
        time.sleep(rng.uniform(0, 1.5))
        process.kill()
        process.communicate()
        killed_midway += process.returncode == -9
        until_uploads_end(server)
        assert_sound(server.models_path)
        proxy.rule = lambda request: None
        outcome = sync(start, server, **names)
        assert not outcome.failed, outcome.result
        assert_sound(server.models_path, model, other)
        for name in ("llama3:8b", "many"):
            request = urllib.request.Request(
                f"{server.url}/api/delete", json.dumps({"model": name}).encode(), method="DELETE"
            )
            urllib.request.urlopen(request).close()
    assert killed_midway > ROUNDS / 2


def until_uploads_end(server):
    """Wait until the server notices the end of the upload, and removes its temporary file."""
    deadline = time.monotonic() + 60
    while any(len(file.name) != 71 for file in (server.models_path / "blobs").iterdir()):
        assert time.monotonic() < deadline, "the server keeps what was broken off"
        time.sleep(0.05)
