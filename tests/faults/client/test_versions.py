# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults that depend on the server, on the oldest supported version and on the newest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import services
from registry import Registry
from test_pulls import NAME, models, wait_until_sent
from test_uploads import arriving, blobs

BUILDS = ("ollama-oldest", "ollama-newest")


@pytest.fixture(params=BUILDS)
def other_server(request: pytest.FixtureRequest, registry: Registry) -> Iterator[services.OllamaServer]:
    """A server of another version than that of the other tests, without models."""
    with services.ollama_server(env=registry.environment, build=request.param) as server:
        yield server


def test_pull_through_a_restart_of_the_server_succeeds(
    start: Any, registry: Registry, other_server: services.OllamaServer
) -> None:
    registry.rate = 40_000_000
    module = start("ollama_model", host=other_server.url, name=NAME, insecure=True)
    wait_until_sent(registry, 30_000_000)
    other_server.kill()
    time.sleep(2)  # its service manager waits as long before it starts it again
    registry.rate = None
    other_server.start()
    result = module.result()
    assert result["changed"] is True, result
    assert list(models(other_server)) == [NAME]
    assert start("ollama_model", host=other_server.url, name=NAME, insecure=True).result()["changed"] is False


def test_pull_from_a_registry_that_fails_is_repeated(
    start: Any, registry: Registry, other_server: services.OllamaServer
) -> None:
    registry.failures = [503] * 3
    failed = start("ollama_model", host=other_server.url, name=NAME, insecure=True).result()
    assert failed["failed"] and "503: failing" in failed["msg"], failed
    registry.failures = [503, 502]
    result = start("ollama_model", host=other_server.url, name=NAME, insecure=True).result()
    assert result["changed"] is True, result


def test_upload_through_a_restart_of_the_server_succeeds(
    start: Any, other_server: services.OllamaServer, large_file: Path
) -> None:
    module = start("ollama_blob", host=other_server.url, path=str(large_file), retries=10)
    arriving(other_server)
    other_server.kill()
    other_server.start()
    assert module.result()["changed"] is True
    assert start("ollama_blob", host=other_server.url, path=str(large_file)).result()["changed"] is False


@pytest.mark.parametrize("build", BUILDS)
def test_upload_and_pull_onto_a_full_disk_fail_and_leave_nothing(
    start: Any, registry: Registry, small_disk: Path, large_file: Path, build: str
) -> None:
    with services.ollama_server(small_disk / "models", env=registry.environment, build=build) as server:
        uploaded = start("ollama_blob", host=server.url, path=str(large_file)).result()
        assert uploaded["failed"] and "no space left on device" in uploaded["msg"], uploaded
        assert blobs(server) == [] and "Free space" in uploaded["msg"]
        pulled = start("ollama_model", host=server.url, name=NAME, insecure=True).result()
        assert pulled["failed"] and "no space left on device" in pulled["msg"], pulled
        assert models(server) == {}
