# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules as Ansible runs them, against real servers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
import services

#: Runs a module: its name, then its options. Returns its result, with `rc`.
RunModule = Callable[..., dict[str, Any]]


def run_module(module_name: str, /, *, check: bool = False, environment: Any = None, **options: Any) -> dict[str, Any]:
    """Run a module in a process of its own, the way it runs on a target, and return what it says."""
    arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": True}
    done = subprocess.run(
        [sys.executable, "-m", f"ansible_collections.legionio.ollama.plugins.modules.{module_name}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={**os.environ, **(environment or {})},
        capture_output=True,
        check=False,
        text=True,
    )
    assert len(done.stdout.strip().splitlines()) == 1, (
        f"one line of JSON and nothing else:\n{done.stdout}\n{done.stderr}"
    )
    result: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode != 0) == bool(result.get("failed")), done.stderr
    assert "Traceback" not in result.get("msg", "")
    return result


@pytest.fixture
def module() -> RunModule:
    return run_module


def own_store(model_store: Path, path: Path) -> Path:
    """A store that can be changed, with the lab's models: manifests copied, blobs linked."""
    shutil.copytree(model_store / "manifests", path / "manifests")
    (path / "blobs").mkdir()
    for blob in (model_store / "blobs").iterdir():
        (path / "blobs" / blob.name).symlink_to(blob)
    return path


@pytest.fixture(scope="session", params=["ollama-oldest", "ollama", "ollama-newest"])
def any_server(
    request: pytest.FixtureRequest, model_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[services.OllamaServer]:
    """Each supported version in turn, over a store that tests may change. Only the build "ollama" can infer."""
    store = own_store(model_store, tmp_path_factory.mktemp("store"))
    with services.ollama_server(store, build=request.param) as running:
        yield running
