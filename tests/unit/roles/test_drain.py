# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drain waits as long as the installed unit allows, and tells why it ends."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.template import trust_as_template
from task_files import ROOT, tasks_of

(BLOCK,) = yaml.safe_load((ROOT / "playbooks/tasks/drain_node.yml").read_text())
TASKS = {task["name"]: task for task in tasks_of(BLOCK) if "name" in task}
SHOWN = "LoadState=loaded\nActiveState={}\nResult=success\nStatusText=draining\nTimeoutStopUSec={}"


def known(time: str, state: str = "deactivating") -> dict[str, Any]:
    words = {
        name: trust_as_template(text)
        for name, text in BLOCK["vars"].items()
        if name.startswith("__drain_fleet_")
        if isinstance(text, str)
    }
    return {
        **words,
        "__drain_fleet_before": {"stdout": SHOWN.format("active", time)},
        "__drain_fleet_state": {"stdout": "", "stdout_lines": SHOWN.format(state, time).splitlines()},
    }


@pytest.mark.parametrize(
    "time, seconds",
    [
        ("5min 30s", 330),
        ("1h 30s", 3630),
        ("1d 30s", 86430),
        ("90s", 90),
        ("1min 30.500s", 90),
        ("1w 2d", 777600),
        ("infinity", 86400),
    ],
)
def test_wait_is_as_long_as_the_unit_of_the_node_allows(evaluate: Any, time: str, seconds: int) -> None:
    """The inventory may have another time than the unit: of the next run of the role, or of a play's own variables."""
    wait = TASKS["Wait until the worker has stopped"]
    options = {**known(time), "fleet_worker_drain_timeout": 60}
    options["retries"] = trust_as_template(wait["retries"])
    assert int(evaluate("fleet_worker", "retries", **options)) * wait["delay"] in range(seconds + 12, seconds + 16)


def test_message_for_a_worker_that_does_not_stop_has_the_remedy(evaluate: Any) -> None:
    wait, refusal = TASKS["Wait until the worker has stopped"], TASKS["Fail if the worker has not stopped"]
    assert wait["failed_when"] is False
    message = trust_as_template(refusal["ansible.builtin.assert"]["fail_msg"])
    text = evaluate("fleet_worker", "message", message=message, **known("1h 30s"))
    for part in ("node1", "3645 s", "ActiveState=deactivating", '"systemctl kill fleet-worker.service"'):
        assert part in text
