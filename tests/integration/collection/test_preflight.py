# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The preflight of a role refuses a wrong value before Ansible connects to a host.

``tests/unit/roles/test_every_wrong_value.py`` tries every variable, without Ansible's run.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from sound_values import SOUND

CHOSEN = [
    ("ollama_server", "ollama_server_device_groups", "render,video"),
    ("ollama_server", "ollama_server_host", "127.0.0.1"),
    ("ollama_server", "ollama_server_versoin", "1"),
    ("ollama_models", "ollama_models_names", None),
    ("ollama_models", "ollama_models_names", [""]),
    ("fleet_worker", "fleet_worker_lanes", "chat"),
    ("fleet_worker", "fleet_worker_lanes", [{"type": "chats", "model": None}]),
    ("fleet_worker", "fleet_worker_config", {"unknown": 1}),
]
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - block:
        - ansible.builtin.include_role:
            name: legionio.ollama.{{ role }}
            tasks_from: preflight
      rescue:
        - ansible.builtin.meta: noop
"""


@pytest.mark.parametrize("mode", [[], ["--check"]])
def test_preflight_refuses_before_it_asks_the_host(tmp_path: Path, mode: list[str]) -> None:
    # An address for documentation: who asks the host finds nobody.
    hosts = {
        f"case{place}": {**SOUND[role], name: value, "role": role, "ansible_host": "192.0.2.1"}
        for place, (role, name, value) in enumerate(CHOSEN)
    }
    (tmp_path / "inventory.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
    (tmp_path / "play.yml").write_text(PLAY)
    command = ["ansible-playbook", "--inventory", str(tmp_path / "inventory.yml"), str(tmp_path / "play.yml"), *mode]
    shown = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    refusals = dict(re.findall(r"^fatal: \[(case\d+)\]: FAILED! => (.*)", shown, re.MULTILINE))
    for place, (_role, name, _value) in enumerate(CHOSEN):
        assert name in refusals.get(f"case{place}", ""), shown
    assert "unreachable=1" not in shown
