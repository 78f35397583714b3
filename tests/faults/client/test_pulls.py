# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulls whose server, registry or disk fails on the way."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import ollama as official
import pytest
import services
from depth import rounds
from registry import Registry

ROUNDS = rounds(quick=2, deep=100)
NAME = "registry.example.com:5000/team/smollm2:135m"


def wait_until_sent(registry: Registry, size: int) -> None:
    deadline = time.monotonic() + 60
    while registry.sent < size:
        assert time.monotonic() < deadline, "the pull did not get that far"
        time.sleep(0.02)


def models(server: services.OllamaServer) -> dict[str, str]:
    return {model.model or "": model.digest or "" for model in official.Client(server.url).list().models}


@pytest.mark.parametrize("how", ["kill", "stop"])
@pytest.mark.parametrize("number", range(ROUNDS))
def test_pull_through_a_restart_of_the_server_succeeds(
    start: Any, registry: Registry, empty_server: services.OllamaServer, how: str, number: int
) -> None:
    registry.rate = 40_000_000
    module = start("ollama_model", host=empty_server.url, name=NAME, insecure=True)
    wait_until_sent(registry, 10_000_000 + number * 20_000_000)
    getattr(empty_server, how)()
    time.sleep(2)  # its service manager waits as long before it starts it again
    registry.rate = None
    empty_server.start()
    result = module.result()
    assert result["changed"] is True, result.get("msg")
    assert list(models(empty_server)) == [NAME]
    answer = official.Client(empty_server.url).generate(NAME, "Hello", options={"num_predict": 2})
    assert answer.eval_count == 2, "what was pulled works"


def test_pull_from_a_registry_with_some_failures_succeeds(
    start: Any, registry: Registry, empty_server: services.OllamaServer
) -> None:
    registry.failures = [503, 502]
    result = start("ollama_model", host=empty_server.url, name=NAME, insecure=True).result()
    assert result["changed"] is True, result


def test_pull_from_a_registry_that_keeps_failing_fails_after_three_tries(
    start: Any, registry: Registry, empty_server: services.OllamaServer
) -> None:
    registry.failures = [503] * 10
    result = start("ollama_model", host=empty_server.url, name=NAME, insecure=True).result()
    assert result["failed"] and "503: failing" in result["msg"], result
    assert len(registry.failures) == 7, "three tries"


def test_pull_without_progress_fails_after_stall_timeout(
    start: Any, registry: Registry, empty_server: services.OllamaServer
) -> None:
    registry.hold_after = 30_000_000
    started = time.monotonic()
    result = start("ollama_model", host=empty_server.url, name=NAME, insecure=True, stall_timeout=3).result()
    assert result["failed"] and result["error_code"] == "stalled", result
    assert "has not moved for 3 seconds, at 'pulling" in result["msg"] and "stall_timeout" in result["msg"]
    assert 3 < time.monotonic() - started < 60
    assert models(empty_server) == {}


def test_pull_from_a_slow_registry_succeeds(
    start: Any, registry: Registry, empty_server: services.OllamaServer
) -> None:
    """The whole pull takes several times the stall timeout; only a stalled pull fails."""
    registry.rate = 12_000_000
    result = start("ollama_model", host=empty_server.url, name=NAME, insecure=True, stall_timeout=3, timeout=3).result()
    assert result["changed"] is True, result


def test_pull_of_a_damaged_blob_fails_and_leaves_no_model(
    start: Any, registry: Registry, empty_server: services.OllamaServer, tmp_path: Path
) -> None:
    digest, path = max(registry.blobs.items(), key=lambda item: item[1].stat().st_size)
    damaged = tmp_path / "damaged"
    shutil.copyfile(path, damaged)
    with damaged.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"damaged!")
    registry.blobs[digest] = damaged
    result = start("ollama_model", host=empty_server.url, name=NAME, insecure=True).result()
    assert result["failed"] and "digest mismatch" in result["msg"], result
    assert models(empty_server) == {}
    registry.blobs[digest] = path
    assert start("ollama_model", host=empty_server.url, name=NAME, insecure=True).result()["changed"] is True


def test_pull_onto_a_full_disk_fails_and_leaves_no_model(start: Any, registry: Registry, small_disk: Path) -> None:
    with services.ollama_server(small_disk / "models", env=registry.environment) as server:
        started = time.monotonic()
        result = start("ollama_model", host=server.url, name=NAME, insecure=True).result()
        assert result["failed"] and "no space left on device" in result["msg"], result
        assert "Free space" in result["msg"]
        assert time.monotonic() - started < 60
        assert models(server) == {}


def test_pull_of_a_killed_module_is_resumed_by_the_next(
    start: Any, registry: Registry, empty_server: services.OllamaServer
) -> None:
    registry.rate = 30_000_000
    module = start("ollama_model", host=empty_server.url, name=NAME, insecure=True)
    wait_until_sent(registry, 60_000_000)
    registry.rate = 200_000  # the rest would take three minutes
    module.process.kill()
    module.process.communicate()
    deadline = time.monotonic() + 60
    sent = -1
    while sent != registry.sent:
        assert time.monotonic() < deadline, "the server goes on pulling for nobody"
        sent = registry.sent
        time.sleep(1)
    registry.rate = None
    assert start("ollama_model", host=empty_server.url, name=NAME, insecure=True).result()["changed"] is True
    assert registry.sent - sent < 60_000_000, "of 98 MB, more than 40 had arrived"
