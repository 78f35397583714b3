# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of the client's tests: three versions of Ollama with separate stores that tests may change."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import services
from ansible_collections.legionio.ollama.plugins.module_utils._ollama.client import OllamaClient
from depth import choose_versions


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    choose_versions(metafunc, "server")


def own_store(model_store: Path, path: Path) -> Path:
    """A writable store with the lab's models: copied manifests, linked blobs."""
    shutil.copytree(model_store / "manifests", path / "manifests")
    (path / "blobs").mkdir()
    for blob in (model_store / "blobs").iterdir():
        (path / "blobs" / blob.name).symlink_to(blob)
    return path


@pytest.fixture(scope="session")
def server(
    request: pytest.FixtureRequest, model_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[services.OllamaServer]:
    """An Ollama of the test's version. Only the build "ollama" can infer."""
    store = own_store(model_store, tmp_path_factory.mktemp("store"))
    with services.ollama_server(store, build=request.param) as running:
        yield running


@pytest.fixture
def api(server: services.OllamaServer) -> Iterator[OllamaClient]:
    """A client of each supported version."""
    with OllamaClient(server.url) as client:
        yield client


@pytest.fixture
def client(ollama: services.OllamaServer) -> Iterator[OllamaClient]:
    """A client of the version that can infer."""
    with OllamaClient(ollama.url) as client:
        yield client
