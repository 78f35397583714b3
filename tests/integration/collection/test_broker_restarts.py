# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes of a broker restart one after the other, and none after one that does not come back.

Ansible runs the handlers of the role over three hosts that are this machine; `systemctl` and `rabbitmqctl` are scripts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

HANDLERS = Path(__file__).resolve().parents[3] / "roles/fleet_broker/handlers/main.yml"
HOSTS = ("hub1", "hub2", "hub3")
SCRIPTS = {
    "systemctl": """#!/bin/sh
case "$*" in
*show*) printf 'LoadState=loaded\\nActiveState=active\\nSubState=running\\n' ;;
*restart*) echo "restart $HUB" >> "$LOG"; [ "restart $HUB" != "$BROKEN" ] ;;
esac
""",
    "rabbitmqctl": """#!/bin/sh
echo "$1 $HUB" >> "$LOG"; [ "$1 $HUB" != "$BROKEN" ]
""",
}


def restarted(tmp_path: Path, tools: Path, broken: str, changed: Sequence[str], running: Sequence[str]) -> list[str]:
    """Run the handlers after a change on some hosts; return what was done to which host.

    :param broken: what fails, and the host on which it does.
    """
    for name, text in SCRIPTS.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    hosts = {
        host: {"changed": host in changed, "__fleet_broker_active": {"rc": 0 if host in running else 3}}
        for host in HOSTS
    }
    play = {
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "environment": {"HUB": "{{ inventory_hostname }}", "LOG": str(tmp_path / "log"), "BROKEN": broken},
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "fleet_broker_cluster": list(HOSTS),
            "fleet_broker_start_timeout": 10,
            "__fleet_broker_restartable": True,
        },
        "tasks": [
            {"ansible.builtin.debug": {}, "changed_when": "changed", "notify": "Fleet broker changed"},
            {"ansible.builtin.meta": "flush_handlers"},
        ],
        "handlers": [{"ansible.builtin.import_tasks": str(HANDLERS)}],
    }
    (tmp_path / "inventory.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    (tmp_path / "log").touch()
    subprocess.run(
        ["ansible-playbook", "--inventory", str(tmp_path / "inventory.yml"), str(tmp_path / "play.yml")],
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        check=False,
        stdout=subprocess.DEVNULL,
    )
    return (tmp_path / "log").read_text().splitlines()


@pytest.mark.parametrize(
    "broken, changed, running, done",
    [
        ("", HOSTS, HOSTS, [f"{what} {host}" for host in HOSTS for what in ("restart", "await_startup")]),
        ("restart hub1", HOSTS, HOSTS, ["restart hub1"]),
        ("await_startup hub2", HOSTS[1:], HOSTS, ["restart hub2", "await_startup hub2"]),
        # The run has started the others already.
        ("", HOSTS, HOSTS[2:], ["restart hub3", "await_startup hub3"]),
    ],
)
def test_nodes_restart_in_turn_and_none_after_one_that_stays_down(
    tmp_path: Path, tools: Path, broken: str, changed: Sequence[str], running: Sequence[str], done: list[str]
) -> None:
    assert restarted(tmp_path, tools, broken, changed, running) == done
