# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks and servers that fail while models are imported.

After each: one message, a sound store, and the next run completes.
"""

from __future__ import annotations

import os
import subprocess
import threading
from subprocess import PIPE, STDOUT

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from faulty_proxy import Fault
from mirror_lab import Model, assert_sound, command, digest_of, environment, new_bucket, options, until_another_waits

LARGE = os.urandom(100 * 1024 * 1024)
CHUNK = 8 * 1024 * 1024


@pytest.fixture(scope="module")
def published(s3):
    """A bucket with the model, for all tests that change nothing in the mirror."""
    settings = new_bucket(s3)
    return settings, Model("llama3:8b", [LARGE, b"template"]).publish(Mirror(settings))


@pytest.fixture
def settings(request, s3, published):
    """Settings for that bucket, or for a separate bucket of a test that changes the mirror."""
    return new_bucket(s3) if "mirror" in request.fixturenames else published[0]


@pytest.fixture
def model(settings, published):
    return published[1] if settings is published[0] else published[1].publish(Mirror(settings))


def completes(run, proxy, path, *models):
    """The next run, without faults, completes, and the run after that changes nothing."""
    proxy.rule = lambda request: None
    outcome = run("ollama_s3_import", models=[model.name for model in models], models_path=path)
    assert not outcome.failed, outcome.result
    assert_sound(path, *models)
    assert not run("ollama_s3_import", models=[model.name for model in models], models_path=path).changed
    return outcome


def sound(path, *models):
    if path.exists():
        assert_sound(path, *models)


@pytest.mark.parametrize("cut", [0, 1, 100_000], ids=["before the head", "at once", "on the way"])
@pytest.mark.parametrize("which", ["manifest", "state", "blob"])
def test_import_through_a_cut_connection_succeeds(run, proxy, model, path, which, cut):
    cuts = []

    def rule(request):
        chosen = {
            "manifest": "/manifests/" in request.path,
            "state": request.of_blob and request.method == "HEAD",
            "blob": request.of_blob and request.method == "GET",
        }[which]
        if chosen and len(cuts) < 2:
            cuts.append(request)
            return Fault(cut_after=cut)
        return None

    proxy.rule = rule
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=path)
    assert not outcome.failed, outcome.result
    assert cuts
    assert_sound(path, model)


def test_import_from_a_lost_server_fails_and_keeps_received_bytes(run, proxy, model, path):
    served = []

    def rule(request):
        if request.of_blob and request.range and request.method == "GET":
            served.append(request)
            if len(served) > 8:
                return Fault(cut_after=0)
        return None

    proxy.rule = rule
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=path, concurrency=2)
    assert outcome.failed
    assert outcome.result["error_code"] == "mirror_unreachable"
    assert outcome.result["bytes_downloaded"] >= 4 * CHUNK
    sound(path)
    resumed = completes(run, proxy, path, model)
    assert resumed.result["resumed"] == [digest_of(LARGE)]
    assert resumed.result["bytes_resumed"] >= 32 * 1024 * 1024
    assert resumed.result["bytes_downloaded"] + resumed.result["bytes_resumed"] <= model.size


@pytest.mark.parametrize(
    "status, code, headers, error_code",
    [
        (403, "ExpiredToken", (), "mirror_credentials"),
        (403, "AccessDenied", (), "mirror_access_denied"),
        (403, "RequestTimeTooSkewed", (), "mirror_clock_skew"),
        (404, "NoSuchKey", (), "mirror_object_missing"),
        (301, "PermanentRedirect", (("x-amz-bucket-region", "eu-west-1"),), "mirror_wrong_region"),
        (400, "AuthorizationHeaderMalformed", (), "mirror_wrong_region"),
        (507, "QuotaExceeded", (), "mirror_error"),
    ],
)
@pytest.mark.parametrize("when", ["at first", "later"])
def test_import_that_is_refused_fails_with_one_message(
    run, proxy, model, path, status, code, headers, error_code, when
):
    served = []

    def rule(request):
        if when == "later":
            if not (request.of_blob and request.method == "GET"):
                return None
            served.append(request)
            if len(served) < 6:
                return None
        return Fault(status=status, code=code, headers=headers)

    proxy.rule = rule
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == ("model_missing" if (when, status) == ("at first", 404) else error_code)
    assert outcome.result["msg"]
    sound(path)
    completes(run, proxy, path, model)


@pytest.mark.parametrize("status, code", [(500, "InternalError"), (503, "SlowDown"), (503, "ServiceUnavailable")])
def test_import_from_a_busy_server_succeeds_after_retries(run, proxy, model, path, status, code):
    busy = []

    def rule(request):
        if request.number % 3 == 1 and len(busy) < 4:
            busy.append(request)
            return Fault(status=status, code=code)
        return None

    proxy.rule = rule
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=path)
    assert not outcome.failed, outcome.result
    assert len(busy) == 4
    assert_sound(path, model)


def test_import_from_a_server_that_stays_busy_fails(run, proxy, model, path):
    proxy.rule = lambda request: Fault(status=503, code="SlowDown") if request.of_blob else None
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == "mirror_busy"
    assert "SlowDown" in outcome.result["msg"]
    completes(run, proxy, path, model)


def test_import_of_bytes_damaged_on_the_way_fails_and_keeps_no_blob(run, proxy, model, path):
    def rule(request):
        if request.of_blob and request.method == "GET" and request.range == f"bytes={CHUNK}-{2 * CHUNK - 1}":
            return Fault(flip=12345)
        return None

    proxy.rule = rule
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == "digest_mismatch"
    sound(path)
    completes(run, proxy, path, model)


class Replacement:
    """Replaces an object after that many requested ranges."""

    def __init__(self, mirror, content, digest, after):
        self.mirror, self.content, self.digest, self.after = mirror, content, digest, after
        self.seen = 0
        self.done = threading.Event()

    def __call__(self, request):
        if request.of_blob and request.method == "GET" and request.range and not request.range.startswith("bytes=0-7"):
            self.seen += 1
            if self.seen == self.after:
                return Fault(before=self.replace)
        return None

    def replace(self):
        key = self.mirror.layout.blob_key(self.digest)
        if self.content is None:
            self.mirror.remove(key)
        else:
            self.mirror.write(key, self.content, self.digest)
        self.done.set()


def test_import_of_an_object_replaced_by_equal_content_succeeds(run, proxy, mirror, model, path):
    proxy.rule = Replacement(mirror, LARGE, digest_of(LARGE), 5)
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=path, concurrency=2)
    assert proxy.rule.done.is_set()
    assert not outcome.failed, outcome.result
    assert_sound(path, model)


@pytest.mark.parametrize(
    "content, error_code",
    [
        (os.urandom(len(LARGE)), "digest_mismatch"),
        (LARGE[: len(LARGE) // 2], "mirror_object_changed"),
        (b"", "mirror_object_changed"),
        (None, "mirror_object_missing"),
    ],
    ids=["other content", "truncated", "emptied", "removed"],
)
def test_import_of_an_object_replaced_by_other_content_fails(run, proxy, mirror, model, path, content, error_code):
    proxy.rule = Replacement(mirror, content, digest_of(LARGE), 5)
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=path, concurrency=2)
    assert outcome.failed
    assert outcome.result["error_code"] == error_code
    assert outcome.result["digest"] == digest_of(LARGE)
    sound(path)
    model.publish(mirror)
    completes(run, proxy, path, model)


def test_import_through_a_proxy_without_ranges_names_it(run, proxy, model, path):
    """Some caches answer a request for a range with the whole object."""

    def rule(request):
        if request.of_blob and request.method == "GET" and request.range and len(LARGE) > CHUNK:
            return Fault(status=200, body=LARGE)
        return None

    proxy.rule = rule
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=path)
    assert outcome.failed
    assert "Range" in outcome.result["msg"]
    sound(path)
    completes(run, proxy, path, model)


def test_two_imports_at_once_leave_one_sound_store(settings, proxy, model, path):
    met = threading.Event()
    proxy.rule = lambda request: Fault(before=lambda: met.wait(120)) if request.of_blob and request.is_get else None
    arguments = options(settings, endpoint_url=proxy.url) | {"name": "llama3:8b", "models_path": str(path)}
    both = [
        subprocess.Popen(
            command("ollama_s3_import", arguments), env=environment(), stdout=PIPE, stderr=STDOUT, text=True
        )
        for _importer in range(2)
    ]
    until_another_waits(path)
    met.set()
    printed = sorted((process.communicate(timeout=120)[0] for process in both), key=lambda text: "CHANGED" not in text)
    assert " | CHANGED => " in printed[0]
    assert " | SUCCESS => " in printed[1]
    assert '"blobs_downloaded": 0' in printed[1]
    assert "Waiting for process" in printed[1]
    assert "Waiting" not in printed[0]
    assert_sound(path, model)
