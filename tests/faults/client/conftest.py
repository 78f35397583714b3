# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of Ollama that a test may break, and a registry that misbehaves on demand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import services
from fixtures import leave_in_order, model_store
from registry import Registry, running_registry

__all__ = ["model_store"]

leave_in_order()


class Module:
    """A module that runs in its own process."""

    def __init__(self, module_name: str, /, **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"ansible_collections.legionio.ollama.plugins.modules.{module_name}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
        self.process.stdin.close()
        self.process.stdin = None

    def result(self, timeout: float = 300) -> dict[str, Any]:
        """Wait for its end, and return its output: one line of JSON, without a traceback in its message."""
        output, errors = self.process.communicate(timeout=timeout)
        assert len(output.strip().splitlines()) == 1, output + errors
        result: dict[str, Any] = json.loads(output)
        assert "Traceback" not in result.get("msg", "")
        return result


@pytest.fixture
def start() -> Iterator[Any]:
    """Starts modules, and ends those that still run."""
    started: list[Module] = []

    def starting(module_name: str, /, **options: Any) -> Module:
        started.append(Module(module_name, **options))
        return started[-1]

    yield starting
    for module in started:
        if module.process.poll() is None:
            module.process.kill()
            module.process.communicate()


@pytest.fixture
def registry(model_store: Path) -> Iterator[Registry]:
    """A registry with the chat model of the lab, as registry.example.com:5000/team/smollm2:135m."""
    with running_registry() as registry:
        registry.offer("registry.example.com:5000", "team/smollm2", "135m", model_store, ("smollm2", "135m"))
        yield registry


@pytest.fixture
def empty_server(registry: Registry) -> Iterator[services.OllamaServer]:
    """A server without models that knows the registry."""
    with services.ollama_server(env=registry.environment) as server:
        yield server


@pytest.fixture
def server(model_store: Path) -> Iterator[services.OllamaServer]:
    """A server with the models of the lab, for one test alone."""
    with services.ollama_server(model_store) as server:
        yield server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 60 MB, which the chat model of the lab (98 MB) does not fit on."""
    with services.small_disk(tmp_path / "disk", "60m") as path:
        yield path


@pytest.fixture
def large_file(tmp_path: Path) -> Iterator[Path]:
    """A file of 1.5 GB that takes seconds to upload, and no space."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1_500_000_000)
    yield path
    path.unlink()
