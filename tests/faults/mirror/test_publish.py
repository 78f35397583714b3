# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed processes and network failures during a publication."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
import shutil
import threading

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.manifests import Manifest
from depth import rounds
from faulty_proxy import Fault
from mirror_lab import Model, assert_sound, digest_of, sdk_client

ROUNDS = rounds(quick=4, deep=100)
LARGE = os.urandom(40 * 1024 * 1024)  # three parts


@pytest.fixture
def models(path):
    shared = b"a license that both have"
    return [
        Model("large", [LARGE, b"template", shared]).store(path),
        Model("many", [*(os.urandom(1000) for _layer in range(10)), shared]).store(path),
    ]


def assert_sound_mirror(mirror):
    """Check that every object is complete, and that no manifest lacks a blob; return the names of the models."""
    there = set()
    for state in mirror.entries(mirror.layout.blobs):
        content = mirror.read(state.key, state.size + 1)
        assert state.key == mirror.layout.blob_key(digest_of(content)), f"{state.key} is damaged"
        there.add(digest_of(content))
    names = mirror.names()
    for name in names:
        assert {blob.digest for blob in Manifest.parse(mirror.manifest(name)).blobs} <= there, f"{name} lacks a blob"
    return {name.short for name in names}


def test_publish_killed_at_any_moment_is_completed_by_the_next(start, run, proxy, settings, models, path, tmp_path):
    """A reader of the mirror sees only complete models at any moment."""
    rng = random.Random(21)
    names = [model.name for model in models]
    requests = 0

    def count(_request):
        nonlocal requests
        requests += 1

    proxy.rule = count
    assert not run("ollama_s3_publish", models=names, models_path=path, prefix="whole").failed
    whole = requests

    for round_number in range(ROUNDS):
        prefix = f"round-{round_number}"
        mirror = Mirror(dataclasses.replace(settings, prefix=prefix))
        numbers, last = itertools.count(1), rng.randint(1, whole)
        reached, gone = threading.Event(), threading.Event()

        def until_gone(_request, numbers=numbers, last=last, reached=reached, gone=gone):
            """Let the requests before the last one pass; that one waits for the end of whoever sent it."""
            if next(numbers) != last:
                return None
            reached.set()
            return Fault(before=lambda: gone.wait(60))

        proxy.rule = until_gone
        process = start("ollama_s3_publish", models=names, models_path=path, prefix=prefix)
        assert reached.wait(120), (round_number, last)
        process.kill()
        process.communicate()
        gone.set()
        assert process.returncode == -9
        assert_sound_mirror(mirror)
        proxy.rule = lambda request: None
        outcome = run("ollama_s3_publish", models=names, models_path=path, prefix=prefix)
        assert not outcome.failed, (round_number, outcome.result)
        assert assert_sound_mirror(mirror) == {"large:latest", "many:latest"}
        assert not run("ollama_s3_publish", models=names, models_path=path, prefix=prefix).changed
        for state in list(mirror.entries("round-")):
            mirror.remove(state.key)


@pytest.mark.parametrize(
    "status, code, error_code",
    [
        (403, "ExpiredToken", "mirror_credentials"),
        (403, "AccessDenied", "mirror_access_denied"),
        (507, "QuotaExceeded", "mirror_error"),
    ],
)
def test_publish_refused_in_the_middle_leaves_a_sound_mirror(
    run, proxy, mirror, models, path, status, code, error_code
):
    def rule(request):
        if request.method == "PUT" and "partNumber=2" in request.path:
            return Fault(status=status, code=code)
        return None

    proxy.rule = rule
    outcome = run("ollama_s3_publish", models=[model.name for model in models], models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == error_code
    assert assert_sound_mirror(mirror) == set()
    uploads = sdk_client(mirror).list_multipart_uploads(Bucket=mirror.settings.bucket)
    assert not uploads.get("Uploads")
    proxy.rule = lambda request: None
    assert not run("ollama_s3_publish", models=[model.name for model in models], models_path=path).failed
    assert assert_sound_mirror(mirror) == {"large:latest", "many:latest"}


def test_publish_through_cut_connections_succeeds(run, proxy, mirror, models, path, tmp_path):
    cuts = []

    def rule(request):
        if request.number % 5 == 2 and len(cuts) < 4:
            cuts.append(request)
            return Fault(cut_after=0)
        return None

    proxy.rule = rule
    outcome = run("ollama_s3_publish", models=[model.name for model in models], models_path=path)
    assert not outcome.failed, outcome.result
    assert len(cuts) == 4
    assert assert_sound_mirror(mirror) == {"large:latest", "many:latest"}
    proxy.rule = lambda request: None
    assert not run("ollama_s3_import", models=["large", "many"], models_path=tmp_path / "other").failed
    assert_sound(tmp_path / "other", *models)


def test_publish_of_a_file_that_changes_leaves_the_mirror_without_it(run, proxy, mirror, models, path):
    def spoil():
        with models[0].blob_path(path, digest_of(LARGE)).open("r+b") as file:
            file.seek(39 * 1024 * 1024)
            file.write(b"damage")

    def rule(request):
        if request.method == "POST" and "uploads" in request.path:
            return Fault(before=spoil)
        return None

    proxy.rule = rule
    outcome = run("ollama_s3_publish", name="large", models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == "digest_mismatch"
    assert assert_sound_mirror(mirror) == set()
    shutil.rmtree(path)
