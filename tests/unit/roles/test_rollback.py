# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback takes back one upgrade, not the older one of nodes that the last upgrade has not reached."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.template import trust_as_template
from task_files import ROOT, tasks_of

A, B, C = ({"server": name, "worker": name} for name in "abc")


@pytest.fixture(scope="module")
def refusals() -> dict[str, Any]:
    """The task that refuses: a loop of conditions and texts."""
    plays = yaml.safe_load((ROOT / "playbooks/rollback_fleet.yml").read_text())
    (task,) = (task for task in tasks_of(plays) if task.get("name") == "Record why the node cannot go back")
    return task


@pytest.mark.parametrize(
    "rc, options, refused",
    [
        (1, {}, True),
        (0, {}, False),
        (1, {"ollama_server_release": "a"}, False),
        (1, {"fleet_worker_release": "a"}, False),
    ],
)
def test_node_without_a_record_is_refused(
    evaluate: Any, refusals: dict[str, Any], rc: int, options: dict[str, str], refused: bool
) -> None:
    bad = trust_as_template(refusals["loop"][0]["bad"])
    assert evaluate("fleet_worker", "bad", bad=bad, __rollback_fleet_noted={"rc": rc}, **options) is refused


@pytest.mark.parametrize(
    "records, options, refused",
    [
        ([("10:00", C), ("09:00", B)], {}, True),
        ([("10:00", C), ("", {})], {}, True),
        ([("10:00", C), ("10:00", C)], {}, False),
        # A second run has continued the upgrade.
        ([("10:00", C), ("11:00", C)], {}, False),
        # Hosts of two kinds, in one run.
        ([("10:00", C), ("10:00", B)], {}, False),
        ([("10:00", C), ("09:00", B)], {"ollama_server_release": "a", "fleet_worker_release": "a"}, False),
    ],
)
def test_records_of_several_upgrades_are_refused(
    evaluate: Any, refusals: dict[str, Any], records: list[tuple[str, Any]], options: dict[str, str], refused: bool
) -> None:
    refusal = refusals["loop"][-1]
    hosts = [f"gpu-{number}" for number in range(len(records))]
    variables = {
        "ansible_play_hosts": hosts,
        "hostvars": {
            host: {"__rollback_fleet_run": run, "__rollback_fleet_known": to} for host, (run, to) in zip(hosts, records)
        },
        "__rollback_fleet_run": records[0][0],
        "__rollback_fleet_runs": trust_as_template(refusals["vars"]["__rollback_fleet_runs"]),
        "bad": trust_as_template(refusal["bad"]),
        "text": trust_as_template(refusal["text"]),
        **options,
    }
    assert evaluate("fleet_worker", "bad", host=hosts[0], **variables) is refused
    if refused:
        assert "--limit" in evaluate("fleet_worker", "text", host=hosts[0], **variables)
