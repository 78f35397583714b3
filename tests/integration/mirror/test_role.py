# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role ollama_models brings every model that can come, and names each of the others with its reason."""

from __future__ import annotations

import getpass
import grp
import os
import subprocess
import sys

import pytest
import yaml
from mirror_lab import Model, digest_of, environment


@pytest.fixture
def play(settings, path, tmp_path):
    """Run the role to import models on this machine."""

    def run(names, *arguments, **variables):
        task = {
            "ansible.builtin.include_role": {"name": "legionio.ollama.ollama_models", "tasks_from": "import"},
            "vars": {
                "ollama_models_names": names,
                "ollama_models_path": str(path),
                "ollama_models_owner": getpass.getuser(),
                "ollama_models_group": grp.getgrgid(os.getgid()).gr_name,
                **{
                    f"ollama_models_s3_{option}": getattr(settings, option)
                    for option in ("bucket", "endpoint_url", "region", "access_key", "secret_key")
                },
                **variables,
            },
        }
        book = tmp_path / "play.yml"
        said = {"ansible.builtin.debug": {"msg": "later: {{ __ollama_models_failures }}"}}
        play = {
            "hosts": "localhost",
            "gather_facts": True,
            "gather_subset": ["!all"],
            "vars": {"ansible_python_interpreter": sys.executable},
            "tasks": [task, said],
        }
        book.write_text(yaml.safe_dump([play], sort_keys=False))
        return subprocess.run(
            ["ansible-playbook", "-i", "localhost,", "-c", "local", *arguments, str(book)],
            env=environment(ANSIBLE_NOCOLOR="1", ANSIBLE_LOCALHOST_WARNING="0"),
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return run


@pytest.fixture
def good(mirror):
    return [Model(name, [b"weights of " + name.encode()]).publish(mirror) for name in ("one:1b", "two:1b")]


def test_role_with_a_model_that_the_mirror_lacks_brings_the_others(play, good, path):
    done = play(["one:1b", "nosuch:1b", "two:1b"])
    assert done.returncode != 0
    assert "localhost lacks models that ollama_models_names declares; the others are there" in done.stdout
    assert "nosuch:1b" in done.stdout
    for model in good:
        assert model.manifest_path(path).exists()


def test_role_with_a_damaged_manifest_brings_the_others(play, good, mirror, path):
    damaged = Model("bad:1b", [b"weights"])
    mirror.write(mirror.layout.manifest_key(damaged.parsed), b"{", digest_of(b"{"))
    done = play(["bad:1b", "one:1b"])
    assert done.returncode != 0
    assert "bad:1b" in done.stdout
    assert good[0].manifest_path(path).exists()


def test_role_with_a_damaged_blob_brings_the_others(play, good, mirror, path):
    """The plan is valid, and the transfer fails."""
    damaged = Model("bad:1b", [b"weights that will be damaged"]).publish(mirror)
    digest = next(iter(damaged.blobs))
    content = damaged.blobs[digest]
    mirror.write(mirror.layout.blob_key(digest), b"x" * len(content), digest)
    done = play(["bad:1b", "one:1b"])
    assert done.returncode != 0
    assert "localhost lacks models" in done.stdout
    assert digest in done.stdout
    assert good[0].manifest_path(path).exists()
    assert not damaged.manifest_path(path).exists()


def test_role_that_leaves_failures_to_its_caller_continues(play, good, path):
    done = play(["one:1b", "nosuch:1b"], __ollama_models_fail_later=True)
    assert done.returncode == 0, done.stdout
    assert "later: [" in done.stdout.replace("'", "") and "nosuch:1b" in done.stdout
    assert good[0].manifest_path(path).exists()


def test_role_in_check_mode_names_models_that_cannot_be_imported(play, good, path):
    done = play(["one:1b", "nosuch:1b"], "--check")
    assert done.returncode != 0
    assert "one:1b would be added" in done.stdout and "nosuch:1b" in done.stdout
    assert not path.exists()


def test_role_without_its_mirror_fails_at_once(play, settings, path):
    done = play(["one:1b"], ollama_models_s3_bucket="nosuchbucket")
    assert done.returncode != 0
    assert "mirror_bucket_missing" in done.stdout
    assert not path.exists()
