# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""max_bandwidth: a task never takes less time than its limit allows. How much longer depends on the machine."""

from __future__ import annotations

import os

import pytest
import services
from mirror_lab import Model, assert_sound

LIMIT = 8 * 1024 * 1024
LARGE = os.urandom(24 * 1024 * 1024)
#: What may come at once before the limit bites: a quarter of a second's worth, and a piece for each connection.
AT_ONCE = LIMIT // 4 + 8 * 65536


@pytest.mark.parametrize("concurrency", [1, 8])
def test_import_keeps_to_the_bandwidth(run, mirror, path, concurrency):
    model = Model("llama3:8b", [LARGE, b"template"]).publish(mirror)
    given = {"name": "llama3:8b", "models_path": path, "concurrency": concurrency, "chunk_size": "1M"}
    outcome = run("ollama_s3_import", **given, max_bandwidth="8M")
    assert_sound(path, model)
    assert outcome.result["seconds"] >= (model.size - AT_ONCE) / LIMIT


def test_sync_keeps_to_the_bandwidth(run, mirror, path):
    model = Model("llama3:8b", [LARGE, b"template"]).publish(mirror)
    with services.ollama_server(path) as server:
        outcome = run("ollama_s3_sync", name="llama3:8b", models_path=path, host=server.url, max_bandwidth="8M")
    assert_sound(path, model)
    assert outcome.result["seconds"] >= (model.size - AT_ONCE) / LIMIT


def test_publish_keeps_to_the_bandwidth(run, path):
    model = Model("llama3:8b", [LARGE, b"template"]).store(path)
    outcome = run("ollama_s3_publish", name="llama3:8b", models_path=path, max_bandwidth="8M")
    assert outcome.changed
    assert outcome.result["seconds"] >= (model.size - LIMIT // 4) / LIMIT


@pytest.mark.parametrize("limit", ["10", "0", "-1"])
def test_bandwidth_that_is_too_small_is_refused(run, path, limit):
    outcome = run("ollama_s3_import", name="llama3:8b", models_path=path, max_bandwidth=limit)
    assert outcome.failed
    assert "max_bandwidth" in outcome.result["msg"]
