# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What upgrade_fleet and rollback_fleet do about a failed node, whose worker continues only if nothing changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from ansible.template import trust_as_template
from task_files import ROOT, tasks_of

TASKS = {
    task["name"]: task
    for task in tasks_of(yaml.safe_load((ROOT / "playbooks/tasks/change_node.yml").read_text()))
    if "name" in task
}
RELEASES = {"server": "a", "worker": "w"}


def expression(value: Any) -> Any:
    return trust_as_template("{{ " + value + " }}")


@pytest.mark.parametrize(
    "drained, links, before, now, state",
    [
        (True, ["a", "w"], {"stdout": "1"}, "1", "started"),
        (True, ["b", "w"], {"stdout": "1"}, "1", "stopped"),
        (True, ["a", "x"], {"stdout": "1"}, "1", "stopped"),
        # Ollama has the same release and other settings.
        (True, ["a", "w"], {"stdout": "1"}, "2", "stopped"),
        (False, ["a", "w"], {"stdout": "1"}, "2", "stopped"),
        (False, ["a", "w"], {"stdout": "1"}, "1", None),
        # The run failed before Ollama's turn, or does not change Ollama.
        (True, ["a", "w"], {}, "2", "started"),
        (True, ["a", "w"], {"skipped": True}, "2", "started"),
    ],
)
def test_worker_continues_only_in_front_of_the_same_ollama(
    evaluate: Any, drained: bool, links: list[str], before: dict[str, Any], now: str, state: Any
) -> None:
    task = TASKS["Start the worker again, or stop it"]
    restarted = TASKS["Record whether Ollama was started again"]["ansible.builtin.set_fact"]
    known: dict[str, Any] = {
        "__change_fleet_before": RELEASES,
        "__change_fleet_drained": drained,
        "__change_fleet_links": {"results": [{"stdout": f"releases/{link}"} for link in links]},
        "__change_fleet_ollama_before": before,
        "__change_fleet_ollama_now": {"stdout": now},
        **{name: trust_as_template(text) for name, text in {**task["vars"], **restarted}.items()},
    }
    assert evaluate("ollama_server", "due", due=expression(task["when"]), **known) is (state is not None)
    wanted = trust_as_template(task["ansible.builtin.systemd_service"]["state"])
    assert state is None or evaluate("ollama_server", "wanted", wanted=wanted, **known) == state


def test_process_of_ollama_is_read_right_before_and_after_its_change() -> None:
    names = list(TASKS)
    assert names.index("Read which process of Ollama runs") + 1 == names.index("Change Ollama")
    before, now = (TASKS[f"Read which process of Ollama runs{end}"] for end in ("", " now"))
    assert before["ansible.builtin.command"] == now["ansible.builtin.command"]
    assert before["check_mode"] is now["check_mode"] is False


@pytest.mark.parametrize(
    "before, after, noted, records",
    [
        ("aw", "bx", None, True),
        ("aw", "aw", None, False),
        # The run continues an upgrade that ended before Ollama, between Ollama and worker, or before a rollback.
        ("aw", "bx", ("aw", "bx"), False),
        ("bw", "bx", ("aw", "bx"), False),
        # The upgrade before this one wanted other releases.
        ("bx", "cx", ("aw", "bx"), True),
        # provision_fleet has changed the node to other releases since that upgrade to the same ones.
        ("cx", "bx", ("aw", "bx"), True),
        ("by", "bx", ("aw", "bx"), True),
    ],
)
def test_record_is_kept_only_by_a_run_that_continues(
    evaluate: Any, before: str, after: str, noted: Any, records: bool
) -> None:
    def parts(names: str) -> dict[str, str]:
        return dict(zip(("server", "worker"), names))

    task = TASKS["Record the releases to go back to"]
    text = json.dumps({"run": "10:00", "from": parts(noted[0]), "to": parts(noted[1])}) if noted else ""
    known = {
        "__change_fleet_records": True,
        "__change_fleet_before": parts(before),
        "__change_fleet_after": parts(after),
        "__change_fleet_noted": {"stdout": text},
        **{name: trust_as_template(value) for name, value in task["vars"].items()},
    }
    conditions = [f"({condition})" for condition in task["when"]]
    assert evaluate("ollama_server", "due", due=expression(" and ".join(conditions)), **known) is records
