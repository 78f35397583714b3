# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of the documentation, run as a user would run them: by ansible-playbook, through module_defaults."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import subprocess
from pathlib import Path

import pytest
import services
import yaml
from server_play import play

MODULES = ("ollama_blob", "ollama_inference", "ollama_model", "ollama_model_info")


def examples(module: str) -> str:
    text: str = importlib.import_module(f"ansible_collections.legionio.ollama.plugins.modules.{module}").EXAMPLES
    return text


@pytest.mark.parametrize("module", MODULES)
def test_every_example_runs(
    module: str, own_server: services.OllamaServer, weights: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "tiny.gguf").symlink_to(weights)
    shutil.copytree(tiny_bert, folder / "tiny-bert")
    text = examples(module)
    # What is the user's own: the addresses and the place of the files.
    for theirs, ours in {
        "/srv/weights": str(folder),
        "https://ollama.example.com": own_server.url,
        "http://gpu-01.example.com:11434": own_server.url,
    }.items():
        text = text.replace(theirs, ours)
    tasks = yaml.safe_load(text)
    digest = "sha256:" + hashlib.sha256(weights.read_bytes()).hexdigest()
    done = play(tmp_path, tasks, own_server.url, {"tiny_digest": digest, "ollama_token": "t"})
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert done.stdout.count("\nTASK [") == len(tasks)
    assert "skipped=0" in done.stdout and "failed=0" in done.stdout


@pytest.mark.parametrize("module", MODULES)
def test_every_option_and_result_is_documented_by_ansible_doc(module: str) -> None:
    done = subprocess.run(
        ["ansible-doc", "-t", "module", f"legionio.ollama.{module}"], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    spec = importlib.import_module(f"ansible_collections.legionio.ollama.plugins.modules.{module}").SPEC.argument_spec
    for option in [
        *spec,
        "host",
        "timeout",
        "retries",
        "headers",
        "validate_certs",
        "ca_path",
        "client_cert",
        "client_key",
    ]:
        assert f" {option}" in done.stdout, option
    for section in ("ATTRIBUTES:", "EXAMPLES:", "RETURN VALUES:"):
        assert section in done.stdout
