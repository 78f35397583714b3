# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role sets up a cluster through one node, and tells the reason if that node does not answer.

Ansible runs the role over hosts that are this machine; `rabbitmqctl` is a script. Nothing is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sound_values import SOUND

HOSTS = ("hub1", "hub2", "hub3")
RABBITMQCTL = """#!/bin/sh
echo "$HUB $*" >> "$LOG"
case "$*" in
*export_definitions*) printf '%s' "$ANSWER"; printf '%s\\nwith hashes' "$ERROR" >&2; [ -z "$ERROR" ] ;;
esac
"""
STOPPED = "Error: this command requires the 'rabbit' app to be running on the target node."


def set_up(tmp_path: Path, tools: Path, *arguments: str, error: str = "") -> tuple[str, list[str]]:
    """Run the role over a cluster that has nothing yet; return Ansible's output, and the nodes that were asked.

    :param error: what `rabbitmqctl` tells instead of the definitions.
    """
    (tools / "rabbitmqctl").write_text(RABBITMQCTL)
    (tools / "rabbitmqctl").chmod(0o755)
    options = {**SOUND["fleet_broker"], "fleet_broker_cluster": list(HOSTS), "fleet_broker_install": False}
    play = {
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "environment": {
            "HUB": "{{ inventory_hostname }}",
            "LOG": str(tmp_path / "log"),
            "ERROR": error,
            "ANSWER": "" if error else "{}",
        },
        "vars": {"ansible_python_interpreter": sys.executable, **options},
        "roles": ["legionio.ollama.fleet_broker"],
    }
    (tmp_path / "inventory.yml").write_text(json.dumps({"all": {"hosts": {host: {} for host in HOSTS}}}))
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        ["ansible-playbook", "--inventory", str(tmp_path / "inventory.yml"), str(tmp_path / "play.yml"), *arguments],
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    asked = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines() if "export_definitions" in line]
    return done.stdout, asked


def test_first_node_that_takes_part_sets_up_the_cluster(tmp_path: Path, tools: Path) -> None:
    shown, asked = set_up(tmp_path, tools, "--check", "--limit", "hub2,hub3")
    assert asked == ["hub2"], shown
    assert "Would change the virtual host /: made" in shown


def test_unreadable_definitions_stop_the_task_with_their_reason_alone(tmp_path: Path, tools: Path) -> None:
    shown, asked = set_up(tmp_path, tools, error=STOPPED)
    assert (asked, "fatal: [hub1]" in shown) == (["hub1"], True), shown
    assert STOPPED.rstrip(".") in shown
    assert "with hashes" not in shown


@pytest.mark.parametrize(
    "answer, reason",
    [
        # What timeout prints is no answer of RabbitMQ.
        (
            {"rc": 127, "stderr_lines": ["timeout: failed to run command"]},
            "(exit code 127): the host has no rabbitmqctl;",
        ),
        ({"rc": 124, "stderr_lines": []}, "(exit code 124): no answer"),
        ({"rc": 69, "stderr_lines": ["Error: it failed. ", "more"]}, "(exit code 69): Error: it failed"),
    ],
)
def test_reason_fits_the_answer_of_rabbitmqctl(evaluate: Any, answer: dict[str, Any], reason: str) -> None:
    told = evaluate("fleet_broker", "__fleet_broker_unread_definitions", __fleet_broker_exported=answer).strip()
    assert reason in told
    assert not told.endswith(".")


def test_check_mode_lists_the_whole_set_up_of_a_broker_that_is_stopped(tmp_path: Path, tools: Path) -> None:
    shown, _asked = set_up(tmp_path, tools, "--check", error=STOPPED)
    assert "fatal" not in shown
    assert "Would change the virtual host /: made" in shown
    assert STOPPED.rstrip(".") in shown
