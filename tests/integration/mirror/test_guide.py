# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command and play of docs/mirror.md, in order, with the rights that the guide grants."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import services
import yaml
from mirror_lab import Model, assert_sound, environment, finish_module, start_module

TESTS = Path(__file__).resolve().parents[2]
GUIDE = (TESTS.parent / "docs" / "mirror.md").read_text()
KEYS = {"reader": "reader-secret", "publisher": "publisher-secret"}

VARIABLES = {
    name
    for specs in (TESTS.parent / "roles").glob("*/meta/argument_specs.yml")
    for name in yaml.safe_load(specs.read_text())["argument_specs"]["main"]["options"]
}


@pytest.fixture
def store(tmp_path):
    """An S3 server whose users the guide creates."""
    (tmp_path / "iam").mkdir()
    with services.s3_server(options=("--iam-dir", str(tmp_path / "iam"))) as server:
        yield server


def test_guide_commands_and_plays_work(store, tmp_path, path):
    made = subprocess.run(
        [TESTS / "tools" / "venv.sh", TESTS / "requirements-guide.txt"], check=True, capture_output=True, text=True
    )
    tools = f"{made.stdout.strip()}/bin:{services.part('versitygw')}/bin"
    small = Model("llama3.2:3b", [b"weights" * 4_000_000, b"template"]).store(path)
    other = Model("nomic-embed-text", [b"embedding"]).store(path)
    served = tmp_path / "served"
    env = environment(
        PATH=f"{os.environ['PATH']}:{tools}",
        AWS_ENDPOINT_URL=store.endpoint_url,
        AWS_ACCESS_KEY_ID=store.access_key,
        AWS_SECRET_ACCESS_KEY=store.secret_key,
        AWS_DEFAULT_REGION=store.region,
        ANSIBLE_NOCOLOR="1",
        ANSIBLE_LOCALHOST_WARNING="0",
    )
    with services.ollama_server(served) as server:
        for kind, written in re.findall(r"^```(sh|yaml)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL):
            text = written
            for theirs, ours in {
                "https://s3.example.com": store.endpoint_url,
                "/var/lib/ollama/models": str(path),
                "/srv/ollama/models": str(served),
                "http://127.0.0.1:11434": server.url,
                "disk/models": str(tmp_path / "disk" / "models"),
            }.items():
                text = text.replace(theirs, ours)
            if kind == "yaml" and isinstance(yaml.safe_load(text), dict):
                assert set(yaml.safe_load(text)) <= VARIABLES, text  # for an inventory
                continue
            if kind == "sh":
                command = ["bash", "-euo", "pipefail", "-c", text]
            else:
                play = {
                    "hosts": "localhost",
                    "gather_facts": False,
                    "vars": {
                        "ansible_python_interpreter": sys.executable,
                        **{f"vault_s3_{name}_key": secret for name, secret in KEYS.items()},
                    },
                    "module_defaults": {"group/legionio.ollama.s3": {"region": store.region}},
                    "tasks": yaml.safe_load(text),
                }
                (tmp_path / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
                command = ["ansible-playbook", "-i", "localhost,", "-c", "local", str(tmp_path / "play.yml")]
            done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False, text=True)
            assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    assert_sound(served, small, other)
    assert_sound(tmp_path / "disk" / "models", small, others=("pieces", "signatures"))  # the mirror, as it is

    def module(action, who, **arguments):
        given = {"bucket": "models", "endpoint_url": store.endpoint_url, "region": store.region}
        keys = {"access_key": who, "secret_key": KEYS[who]}
        return finish_module(start_module(f"ollama_s3_{action}", {**given, **keys, **arguments}))

    # The last play pruned, and a reader cannot change anything.
    assert [entry["name"] for entry in module("info", "reader").result["models"]] == ["llama3.2:3b"]
    for arguments in ({"name": "nomic-embed-text", "models_path": path}, {"name": "llama3.2:3b", "state": "absent"}):
        refused = module("publish", "reader", **arguments)
        assert refused.failed
        assert refused.result["error_code"] == "mirror_access_denied"
    assert [entry["name"] for entry in module("info", "reader").result["models"]] == ["llama3.2:3b"]
