# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed processes, full disks and remains of earlier runs, during an import."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import threading
import time

import pytest
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.partial_file import PartialFile
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.safe_fs import Directory, DiskFullError, Ownership
from depth import rounds
from faulty_proxy import Fault
from mirror_lab import (
    Model,
    assert_sound,
    digest_of,
    finish_module,
    journal,
    large_and_many,
    leftovers,
    new_bucket,
    options,
    start_module,
    until_noted,
)

ROUNDS = rounds(quick=4, deep=100)
LARGE = os.urandom(100 * 1024 * 1024)


@pytest.fixture(scope="module")
def published(s3):
    """A bucket with the models, for all tests that change nothing in the mirror."""
    settings = new_bucket(s3)
    return settings, large_and_many(Mirror(settings), LARGE)


@pytest.fixture
def settings(request, s3, published):
    """Settings for that bucket, or for a separate bucket of a test that changes the mirror."""
    return new_bucket(s3) if "mirror" in request.fixturenames else published[0]


@pytest.fixture
def models(published):
    return published[1]


def interrupt(start, proxy, path):
    """Import the large model, and kill the import midway; return its journal."""
    killed = threading.Event()
    proxy.rule = lambda request: (
        Fault(before=lambda: killed.wait(120)) if (request.content_from or 0) >= 48 * 1024 * 1024 else None
    )
    process = start("ollama_s3_import", name="large", models_path=path)
    noted = journal(path, digest_of(LARGE))
    until_noted(noted, 16 * 1024 * 1024)
    process.kill()
    process.communicate()
    killed.set()
    return noted


def assert_no_half_model(path):
    """All models that Ollama can see are complete and sound at any moment."""
    if (path / "blobs").is_dir():
        assert_sound(path)


def test_import_killed_at_any_moment_is_completed_by_the_next(start, run, proxy, models, path):
    """Each round starts from an empty store, is killed once or twice at random moments, and completes."""
    rng = random.Random(20)
    names = [model.name for model in models]
    killed_midway = 0
    for round_number in range(ROUNDS):
        received = 0
        proxy.rule = lambda request: Fault(rate=20e6) if request.of_blob else None
        for _kill in range(rng.choice((1, 2))):
            process = start("ollama_s3_import", models=names, models_path=path)
            time.sleep(rng.uniform(0.2, 2.0))
            process.kill()
            process.communicate()
            killed_midway += process.returncode == -9
            assert_no_half_model(path)
        proxy.rule = lambda request: None
        outcome = run("ollama_s3_import", models=names, models_path=path)
        assert not outcome.failed, (round_number, outcome.result)
        received += outcome.result["bytes_downloaded"]
        assert_sound(path, *models)
        if outcome.changed:  # a run without a change does not take the lock, and so removes nothing
            assert leftovers(path) == []
        assert not run("ollama_s3_import", models=names, models_path=path).changed
        shutil.rmtree(path)
    assert killed_midway > ROUNDS / 2


def test_import_killed_near_its_end_repeats_few_bytes(start, run, proxy, mirror, path):
    model = Model("large", [LARGE]).publish(mirror)
    reached = threading.Event()

    def rule(request):
        if request.of_blob and request.method == "GET" and request.range.startswith(f"bytes={88 * 1024 * 1024}-"):
            reached.set()
            return Fault(rate=1e5)
        return None

    proxy.rule = rule
    process = start("ollama_s3_import", name="large", models_path=path)
    assert reached.wait(60)
    until_noted(journal(path, digest_of(LARGE)), 64 * 1024 * 1024)
    process.kill()
    process.communicate()
    proxy.rule = lambda request: None
    outcome = run("ollama_s3_import", name="large", models_path=path)
    assert_sound(path, model)
    assert outcome.result["resumed"] == [digest_of(LARGE)]
    # What was in flight, and what came since the last line of the journal.
    assert outcome.result["bytes_downloaded"] <= 40 * 1024 * 1024


@pytest.mark.parametrize("what", ["journal", "partial", "both", "links", "directories"])
def test_import_with_damaged_partial_files_succeeds(start, run, proxy, models, path, tmp_path, what):
    noted = interrupt(start, proxy, path)
    workspace, partial = noted.parent, noted.with_suffix(".partial")
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    for file in (noted, partial):
        if what == file.suffix[1:] or what == "both":
            with file.open("r+b") as opened:
                opened.write(os.urandom(200))
        elif what == "links":
            file.unlink()
            file.symlink_to(precious)
        elif what == "directories":
            file.unlink()
    (workspace / "verified.json").write_bytes(os.urandom(100))
    if what == "directories":
        shutil.rmtree(workspace)
        workspace.mkdir()
        (workspace / "something-else").write_bytes(b"foreign")
    proxy.rule = lambda request: None
    outcome = run("ollama_s3_import", name="large", models_path=path)
    assert not outcome.failed, outcome.result
    assert_sound(path, models[0])
    assert precious.read_bytes() == b"precious"


def test_import_with_the_journal_of_another_blob_starts_over(run, models, path):
    """The journal agrees with its file, so that only the complete digest shows that neither belongs to the blob."""
    foreign = os.urandom(48 * 1024 * 1024)
    workspace = path / ".legionio-ollama"
    workspace.mkdir(parents=True)
    stem = digest_of(LARGE).replace(":", "-")
    (workspace / f"{stem}.partial").write_bytes(foreign)
    lengths = [number * 16 * 1024 * 1024 for number in (1, 2, 3)]
    lines = [f"{length} {hashlib.sha256(foreign[:length]).hexdigest()}\n" for length in lengths]
    (workspace / f"{stem}.journal").write_text("".join(lines))
    outcome = run("ollama_s3_import", name="large", models_path=path)
    assert not outcome.failed, outcome.result
    assert outcome.result["bytes_downloaded"] >= len(LARGE)
    assert_sound(path, models[0])
    assert leftovers(path) == []


@pytest.mark.parametrize("prune", [True, False])
def test_import_removes_the_partial_file_of_an_older_model(start, run, proxy, mirror, path, prune):
    """The model was published again while the node was off. Without prune, the partial file may be another task's."""
    Model("large", [LARGE]).publish(mirror)
    noted = interrupt(start, proxy, path)
    newer = Model("large", [os.urandom(30 * 1024 * 1024)]).publish(mirror)
    proxy.rule = lambda request: None
    outcome = run("ollama_s3_import", models=["large"], models_path=path, prune=prune)
    assert not outcome.failed, outcome.result
    assert_sound(path, newer)
    assert bool(leftovers(path)) is not prune

    for name in leftovers(path):
        week_ago = time.time() - 8 * 24 * 3600
        os.utime(noted.parent / name, (week_ago, week_ago))
    newest = Model("large", [b"small"]).publish(mirror)
    assert run("ollama_s3_import", models=["large"], models_path=path, prune=prune).changed
    assert_sound(path, newest)
    assert leftovers(path) == []


def test_import_into_a_closed_directory_names_it(settings, models, tmp_path):
    closed = tmp_path / "closed"
    (closed / "models").mkdir(parents=True)
    os.chown(closed, 12345, 12345)
    closed.chmod(0o700)
    # Root without the capabilities that let it pass everywhere.
    drop = "-dac_override,-dac_read_search"
    process = start_module(
        "ollama_s3_import",
        {**options(settings), "name": "many", "models_path": closed / "models"},
        *("setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}"),
    )
    outcome = finish_module(process)
    assert outcome.failed
    assert outcome.result["error_code"] == "not_permitted"
    assert str(closed) in outcome.result["msg"]


def test_import_onto_a_disk_that_fills_up_fails_with_the_remedy(start, run, proxy, mirror, small_disk):
    content = LARGE[: 50 * 1024 * 1024]
    model = Model("large", [content]).publish(mirror)
    path = small_disk / "models"
    filled = threading.Event()

    def fill():
        with (small_disk / "other").open("wb") as file:
            file.write(b"x" * (20 * 1024 * 1024))
        filled.set()

    def rule(request):
        if request.of_blob and request.method == "GET" and not filled.is_set():
            return Fault(before=fill)
        return None

    proxy.rule = rule
    outcome = run("ollama_s3_import", name="large", models_path=path)
    assert filled.is_set()
    assert outcome.failed
    assert outcome.result["error_code"] == "disk_full"
    assert "full" in outcome.result["msg"]
    assert "Free some space" in outcome.result["msg"]
    assert_sound(path)
    assert not model.manifest_path(path).exists()

    (small_disk / "other").unlink()
    outcome = run("ollama_s3_import", name="large", models_path=path)
    assert not outcome.failed, outcome.result
    assert outcome.result["bytes_resumed"] > 0
    assert_sound(path, model)


def test_partial_file_on_a_full_disk_keeps_its_beginning(small_disk):
    """The bytes that continue the beginning stay: bytes behind a gap make room for the journal's line."""
    mib = 1024 * 1024
    ownership = Ownership(None, None, 0o600, 0o700)
    content = memoryview(LARGE)[: 50 * mib]

    with Directory.open(str(small_disk)) as directory:
        target = PartialFile(directory, "blob", len(content), ownership, directory, "final")
        _offset, seen = target.begin()
        for start in (0, 24 * mib):
            target.write(start, content[start : start + 16 * mib])
        fill_up(small_disk)
        seen.update(content[: 16 * mib])
        with pytest.raises(DiskFullError):
            target.passed(16 * mib, content[: 16 * mib], seen)
        target.suspend()

        again = PartialFile(directory, "blob", len(content), ownership, directory, "final")
        assert again.begin()[0] == 16 * mib
        again.suspend()


def fill_up(disk):
    subprocess.run(["dd", "if=/dev/zero", f"of={disk}/other", "bs=64k"], capture_output=True, check=False)
    with (disk / "rest").open("wb", buffering=0) as rest, contextlib.suppress(OSError):
        while rest.write(b"x"):
            pass


def test_import_onto_a_full_disk_leaves_nothing(run, mirror, small_disk):
    Model("small", [b"x" * 5000]).publish(mirror)
    fill_up(small_disk)
    outcome = run("ollama_s3_import", name="small", models_path=small_disk / "models")
    assert outcome.failed
    assert outcome.result["error_code"] == "disk_full"
    assert sorted(path.name for path in small_disk.iterdir()) == ["other", "rest"]


def test_import_onto_a_read_only_file_system_names_it(run, models, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    path = small_disk / "models"
    outcome = run("ollama_s3_import", name="many", models_path=path)
    assert outcome.failed
    assert outcome.result["error_code"] == "not_permitted"
    assert "read-only" in outcome.result["msg"]
    assert str(path) in outcome.result["msg"]


def test_import_of_a_complete_store_works_on_a_read_only_file_system(run, mirror, small_disk):
    model = Model("small", [b"x" * 5000]).publish(mirror)
    model.store(small_disk / "models")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    outcome = run("ollama_s3_import", name="small", models_path=small_disk / "models")
    assert not outcome.failed, outcome.result
    assert not outcome.changed
