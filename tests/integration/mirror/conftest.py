# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the mirror's tests, over one real S3 server."""

from __future__ import annotations

import os
from pathlib import Path

import mirror_lab
import pytest
import s3_servers
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.s3.mirror import Mirror


def pytest_collection_modifyitems(config, items):
    """With S3_SERVER, which names another S3 server than the lab's own, choose the tests that use that server."""
    if "S3_SERVER" not in os.environ:
        return
    mine = Path(__file__).resolve().parent
    chosen = [item for item in items if mine in item.path.parents and "s3" in item.fixturenames]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen
    for part, reason in s3_servers.FAMILIES[os.environ["S3_SERVER"]].differences.items():
        for item in items:
            if part in item.nodeid:
                item.add_marker(pytest.mark.xfail(reason=reason))


@pytest.fixture
def settings(s3):
    """Settings for a new, empty bucket."""
    return mirror_lab.new_bucket(s3)


@pytest.fixture
def mirror(settings):
    return Mirror(settings)


@pytest.fixture
def path(tmp_path):
    """The path of a future store."""
    return tmp_path / "models"


@pytest.fixture
def run(settings):
    """Run a module against the bucket: alone, or by Ansible where a test wants the diff that Ansible shows.

    The module alone takes a fifth of the time. What Ansible does with each module is proved by test_examples.py.
    """

    def call(module, *flags, env=None, **arguments):
        arguments = {key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()}
        arguments = {**mirror_lab.options(settings), **arguments}
        if "--diff" in flags or "MIRROR_TEST_PYTHON" in os.environ:
            return mirror_lab.run_module(module, arguments, *flags, env=env)
        if "--check" in flags:
            arguments["_ansible_check_mode"] = True
        return mirror_lab.finish_module(mirror_lab.start_module(module, arguments, env=env))

    return call
