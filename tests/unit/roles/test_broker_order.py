# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role of the broker does comes in an order in which a run that ends early does no harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.template import trust_as_template

COMMAND = "ansible.builtin.command"
TASKS = Path(__file__).resolve().parents[3] / "roles/fleet_broker/tasks"


def tasks(file: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load((TASKS / file).read_text())
    return loaded


def test_every_run_on_every_host_removes_the_definitions_of_an_interrupted_one_before_the_set_up() -> None:
    main = tasks("main.yml")
    path = "{{ __fleet_broker_definitions_path }}"
    removals = [place for place, task in enumerate(main) if task.get("ansible.builtin.file", {}).get("path") == path]
    assert "when" not in main[removals[0]]
    assert main[removals[0] + 1]["ansible.builtin.include_tasks"]["file"] == "needs.yml"
    assert main[removals[0]]["tags"] == main[removals[0] + 1]["tags"]


def test_role_writes_no_file_of_rabbitmq_before_its_last_refusal() -> None:
    install = tasks("install.yml")
    refusals = [place for place, task in enumerate(install) if "ansible.builtin.assert" in task]
    writes = [place for place, task in enumerate(install) if "notify" in task]
    assert refusals
    assert max(refusals) < min(writes)


def test_rabbitmq_is_started_in_its_service_before_the_run_waits_for_it() -> None:
    install = tasks("install.yml")
    started = next(place for place, task in enumerate(install) if "start_app" in str(task.get(COMMAND)))
    waited = next(place for place, task in enumerate(install) if "await_startup" in str(task.get(COMMAND)))
    assert started < waited


@pytest.mark.parametrize(
    "answer, starts",
    [
        ({"stdout": "false\n"}, True),
        ({"stdout": "true\n"}, False),
        # The service does not answer, or the task was skipped.
        ({"rc": 69, "stdout": ""}, False),
        ({"skipped": True}, False),
    ],
)
def test_rabbitmq_is_started_in_its_service_when_it_was_stopped_there(
    evaluate: Any, answer: dict[str, Any], starts: bool
) -> None:
    start = next(task for task in tasks("install.yml") if "start_app" in str(task.get(COMMAND)))
    condition = trust_as_template("{{ " + start["when"] + " }}")
    assert evaluate("fleet_broker", "condition", condition=condition, __fleet_broker_app=answer) is starts


@pytest.mark.parametrize(
    "answer, changed",
    [
        ({"stdout": "true\n"}, True),
        ({"stdout": "false\n"}, False),
        ({"rc": 69, "stdout": "", "stderr": "unable to perform an operation on node"}, False),
        ({"rc": 2, "msg": "no such file"}, False),
    ],
)
def test_rabbitmq_that_runs_without_its_enabled_plugin_is_restarted(
    evaluate: Any, answer: dict[str, Any], changed: bool
) -> None:
    """An earlier run may have enabled the plugin, and may have been interrupted before its handlers."""
    install = tasks("install.yml")
    (asked,) = (task for task in install if "which_applications" in str(task.get(COMMAND)))
    condition = trust_as_template("{{ " + asked["changed_when"] + " }}")
    known = {"__fleet_broker_pluginless": answer, "changed": condition}
    assert evaluate("fleet_broker", "changed", **known) is changed
    assert asked["notify"] == "Fleet broker changed"
    assert asked["check_mode"] is False
    # Before the handlers, and after the start, which may have loaded the plugin.
    place = install.index(asked)
    assert install[place + 1].get("ansible.builtin.meta") == "flush_handlers"
    assert any(task["name"] == "Start RabbitMQ, now and at every boot" for task in install[:place])
