# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A password of a URL among the parameters is not shown: not in a result, a failure, or the journal of the host."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MODULES = "ansible_collections.legionio.ollama.plugins.modules"

#: Runs a module as Ansible does; what goes to the journal is printed instead.
RUNNER = """
import importlib, io, json, sys
from ansible.module_utils import basic
arguments = json.loads(sys.argv[2])
basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
basic._ANSIBLE_PROFILE = "legacy"
basic.AnsibleModule.log = lambda self, message, log_args=None: print("journal:", message, log_args)
importlib.import_module(sys.argv[1]).main()
"""

S3 = {"bucket": "b", "access_key": "a", "secret_key": "b"}


@pytest.mark.parametrize(
    "module, arguments",
    [
        ("ollama_s3_info", {**S3, "endpoint_url": "http://user:s3cret@127.0.0.1:1"}),
        ("ollama_s3_info", {**S3, "endpoint": "http://user:s3cret@127.0.0.1:1", "nothing": 1}),
        ("ollama_s3_import", {**S3, "models": ["a"], "endpoint_url": "user:s3cret@127.0.0.1"}),
        ("ollama_model_info", {"host": "user:s3cret@127.0.0.1:1", "retries": 0}),
        ("ollama_model_info", {"host": "http://user:s3cret@127.0.0.1:1", "retries": "x"}),
        ("fleet_info", {"broker_host": ["amqp://user:s3cret@127.0.0.1:1"]}),
        ("fleet_info", {"broker_url": "amqp://user:s3cret@127.0.0.1:1", "lanes": [{}]}),
        ("ollama_model", {"host": "127.0.0.1:1", "retries": 0, "name": "a", "source": "https://user:s3cret@host/a"}),
    ],
)
def test_module_with_a_password_in_a_url_does_not_show_it(module: str, arguments: dict[str, object]) -> None:
    command = [sys.executable, "-c", RUNNER, f"{MODULES}.{module}", json.dumps(arguments)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert '"failed": true' in done.stdout, done.stdout
    assert "invocation" in done.stdout
    assert "s3cret" not in done.stdout
