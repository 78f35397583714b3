# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of the documentation, run as a user would run them: by ansible-playbook, through module_defaults."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import services
import yaml
from mirror_lab import Model, digest_of, environment, options

NAMES = ("llama3:8b", "llama3:70b", "nomic-embed-text")


@pytest.fixture
def models(mirror):
    return [Model(name, [b"weights of " + name.encode(), b"template"]).publish(mirror) for name in NAMES]


@pytest.mark.parametrize("module", ["import", "publish", "sync", "info", "file"])
def test_every_example_runs(module, models, settings, path, tmp_path):
    text: str = importlib.import_module(
        f"ansible_collections.legionio.ollama.plugins.modules.ollama_s3_{module}"
    ).EXAMPLES
    archive = tmp_path / "ollama-linux-amd64.tar.zst"
    archive.write_bytes(b"archive")
    if module == "publish":
        for model in models:
            model.store(path)
    with services.ollama_server(path) as server:
        # What is the user's own: addresses, places, names.
        for theirs, ours in {
            "/usr/share/ollama/.ollama/models": str(path),
            "/srv/ollama/models": str(path),
            "/srv/downloads/": f"{tmp_path}/",
            "/var/tmp/ollama.tar.zst": str(tmp_path / "fetched.tar.zst"),
            "http://gpu-01.example.com:11434": server.url,
            "https://s3.example.com": str(settings.endpoint_url),
            "bucket: llm-models": f"bucket: {settings.bucket}",
            "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef": digest_of(b"archive"),
        }.items():
            text = text.replace(theirs, ours)
        tasks = yaml.safe_load(text)
        for task in tasks:
            task.pop("become", None)  # the tests run as root, and where there is no sudo
        if module == "file":
            tasks.reverse()  # what is fetched must have been put there
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "vars": {
                "ansible_python_interpreter": sys.executable,
                **{f"{who}_access_key": settings.access_key for who in ("reader", "publisher")},
                **{f"{who}_secret_key": settings.secret_key for who in ("reader", "publisher")},
            },
            "module_defaults": {
                "group/legionio.ollama.s3": options(settings),
                "group/legionio.ollama.server": {"host": server.url},
            },
            "tasks": tasks,
        }
        book = tmp_path / "play.yml"
        book.write_text(yaml.safe_dump([play], sort_keys=False))
        done = subprocess.run(
            ["ansible-playbook", "-i", "localhost,", "-c", "local", str(book)],
            env=environment(ANSIBLE_NOCOLOR="1", ANSIBLE_LOCALHOST_WARNING="0"),
            capture_output=True,
            check=False,
            text=True,
        )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert done.stdout.count("\nTASK [") == len(tasks)
    assert "skipped=0" in done.stdout and "failed=0" in done.stdout
