# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role of a broker refuses what would make the wrong brokers, or take a cluster apart, before it changes anything.

Ansible runs the role's checks over hosts that are this machine; `rabbitmqctl` and `getent` are scripts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sound_values import SOUND

HOSTS = ("hub1", "hub2", "hub3")
COOKIE = "A" * 20
SCRIPTS = {
    "getent": """#!/bin/sh
echo "lookup $2" >> "$LOG"
""",
    "rabbitmqctl": """#!/bin/sh
case "$*" in *cluster_status*) echo "status $HUB" >> "$LOG"; printf '%s' "$STATUS"; [ -n "$STATUS" ] ;; esac
""",
}
FACTS = {"service_mgr": "systemd", "pkg_mgr": "apt", "hostname": "host-of-{{ inventory_hostname }}"}


def check(
    tmp_path: Path, tools: Path, *arguments: str, status: str = "", cookie: str = COOKIE, **options: Any
) -> tuple[str, list[str]]:
    """Run the checks over three hosts; return Ansible's output, and what the scripts were asked.

    :param status: what `rabbitmqctl` tells of the cluster; nothing if RabbitMQ does not run.
    :param cookie: the cookie on each host.
    :param options: variables of the role, in the inventory.
    """
    for name, text in SCRIPTS.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tmp_path / "cookie").write_text(f"{cookie}\n")
    play = {
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "environment": {"HUB": "{{ inventory_hostname }}", "LOG": str(tmp_path / "log"), "STATUS": status},
        "tasks": [
            {"ansible.builtin.set_fact": {**FACTS, "cacheable": True}},
            {"ansible.builtin.include_role": {"name": "legionio.ollama.fleet_broker", "tasks_from": "preflight"}},
        ],
    }
    sound = {name: value for name, value in SOUND["fleet_broker"].items() if name != "fleet_broker_cluster"}
    hosts = {"hosts": {host: {} for host in HOSTS}}
    common = {"ansible_python_interpreter": sys.executable, **sound, **options}
    (tmp_path / "inventory.yml").write_text(json.dumps({"all": {**hosts, "vars": common}}))
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    (tmp_path / "log").touch()
    command = ["ansible-playbook", "--inventory", str(tmp_path / "inventory.yml"), str(tmp_path / "play.yml")]
    done = subprocess.run(
        [*command, f"--extra-vars=__fleet_broker_cookie_path={tmp_path}/cookie", *arguments],
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout, (tmp_path / "log").read_text().splitlines()


@pytest.mark.parametrize(
    "arguments, options, refused",
    [
        ((), {}, True),
        (("--limit", "hub2"), {}, False),
        ((), {"fleet_broker_cluster": ["{{ inventory_hostname }}"]}, False),
    ],
)
def test_several_brokers_are_made_only_on_purpose(
    tmp_path: Path, tools: Path, arguments: tuple[str, ...], options: Mapping[str, Any], refused: bool
) -> None:
    shown, _asked = check(tmp_path, tools, *arguments, **options)
    assert ("hub1, hub2, hub3 would each become a broker of its own" in shown) is refused, shown
    assert ("failed=1" in shown) is refused, shown


def test_node_outside_the_run_is_not_looked_up(tmp_path: Path, tools: Path) -> None:
    options = {"fleet_broker_cluster": list(HOSTS), "fleet_broker_erlang_cookie": COOKIE}
    shown, asked = check(tmp_path, tools, "--limit", "hub2,hub3", **options)
    assert sorted(set(asked)) == ["lookup host-of-hub2", "lookup host-of-hub3"], shown
    assert "failed=1" not in shown, shown


@pytest.mark.parametrize(
    "cookie, members, refused",
    [
        ("B" * 20, 3, True),
        # A node that is alone restarts alone; and all nodes that were stopped start at once.
        ("B" * 20, 1, False),
        ("B" * 20, 0, False),
        (COOKIE, 3, False),
    ],
)
def test_cookie_of_a_cluster_that_runs_stays(
    tmp_path: Path, tools: Path, cookie: str, members: int, refused: bool
) -> None:
    options = {"fleet_broker_cluster": list(HOSTS), "fleet_broker_erlang_cookie": COOKIE}
    status = json.dumps({"disk_nodes": [f"rabbit@{host}" for host in HOSTS[:members]]}) if members else ""
    shown, asked = check(tmp_path, tools, status=status, cookie=cookie, **options)
    assert ("is in a cluster that has another cookie" in shown) is refused, shown
    assert ("failed=1" in shown) is refused, shown
    assert any("status" in line for line in asked) is (cookie != COOKIE)
    assert "BBBB" not in shown
